/**
 * Who may ask at all. Any web page can make its visitor's browser send requests to a server on the visitor's own machine; the
 * names in Host and Origin tell such requests apart (design, section 9). Every answer carries the fixed headers of
 * spec/http-api-execution.md section 2.3. There are no CORS headers unless an origin is configured.
 */
import { JobmonError } from '@jobmon/contracts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ApiContext } from './context';

/** On every answer. Styles may be inline because the documentation's viewer sets them on its elements; scripts may not. */
export const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'referrer-policy': 'strict-origin-when-cross-origin',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'x-xss-protection': '1; mode=block',
};

const OWN_NAMES = ['localhost', '127.0.0.1', '[::1]'];

/** Refuses a foreign Origin or an unknown Host with FORBIDDEN before anything else of a request is looked at. */
export function guardRequests(server: FastifyInstance, context: ApiContext): void {
  const hosts = new Set(context.config.http.allowed_hosts.map((host) => host.toLowerCase()));
  const origins = new Set(context.config.http.allowed_origins);
  server.addHook('onRequest', (request, reply, done) => {
    reply.headers(SECURITY_HEADERS);
    const { host = '', origin } = request.headers;
    const isProbe = request.url.startsWith('/health/');
    if (!isProbe && !isServed(host.toLowerCase(), request.socket, hosts)) {
      return done(
        new JobmonError('FORBIDDEN', `this server does not answer to the name '${host.slice(0, 255)}'; see http.allowed_hosts`),
      );
    }
    if (origin === undefined || origin === `http://${host}` || origin === `https://${host}`) return done();
    if (!origins.has(origin)) {
      return done(
        new JobmonError('FORBIDDEN', `pages of '${origin.slice(0, 255)}' may not call this server; see http.allowed_origins`),
      );
    }
    allowOrigin(request, reply, origin);
    if (request.method !== 'OPTIONS') return done();
    void reply.code(204).send();
  });
}

/**
 * Whether a Host header names this server: its own names or the very address that the connection came to (no web page can
 * forge an address in numbers), with the port that the connection came to; or a configured name.
 */
function isServed(host: string, socket: FastifyRequest['socket'], allowed: ReadonlySet<string>): boolean {
  const port = String(socket.localPort);
  const colon = host.lastIndexOf(':');
  const hasPort = colon > host.lastIndexOf(']');
  const name = hasPort ? host.slice(0, colon) : host;
  if ((hasPort ? host.slice(colon + 1) : '80') === port) {
    if (OWN_NAMES.includes(name)) return true;
    const address = (socket.localAddress ?? '').replace(/^::ffff:/, '');
    if (name === (address.includes(':') ? `[${address}]` : address)) return true;
  }
  return allowed.size > 0 && (allowed.has(host) || allowed.has(name));
}

function allowOrigin(request: FastifyRequest, reply: FastifyReply, origin: string): void {
  reply.header('access-control-allow-origin', origin).header('vary', 'Origin');
  if (request.method !== 'OPTIONS') return;
  reply
    .header('access-control-allow-methods', 'GET, POST, PUT')
    .header('access-control-allow-headers', 'Authorization, Content-Type')
    .header('access-control-max-age', '600');
}
