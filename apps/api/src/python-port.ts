/**
 * Where Python clients are answered with login on. They send no credentials, so that where they come from is all that can be looked at: a port
 * of its own, which the administrator opens to a trusted network alone, or the address that the call comes from (`caller-address.ts`).
 */
import { createServer, type IncomingMessage } from 'node:http';
import type { BlockList } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { JobmonError } from '@jobmon/contracts';
import type { Config } from '@jobmon/runtime';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { isWithin, networksOf } from './caller-address';
import type { ApiContext } from './context';

/** What is in flight on the port when the server closes is given this long. */
const CLOSE_PATIENCE_MS = 5_000;
const CLOSE_LOOK_MS = 50;

/** What makes a request trusted. */
export interface Trust {
  readonly networks: BlockList;
  /** Requests that came by the port of the Python protocol. */
  readonly internal: WeakSet<IncomingMessage>;
}

/** Whether a request came by the port of its own, or from a named network. `address`: where it comes from, null when nobody knows. */
export function isTrusted(request: FastifyRequest, address: string | null, { networks, internal }: Trust): boolean {
  return internal.has(request.raw) || (address !== null && isWithin(networks, address));
}

/**
 * Opens the port when one is set, as soon as the server is ready, and closes it with the server. A port that is taken keeps the server from
 * its start.
 */
export function openPythonPort(server: FastifyInstance, auth: Config['auth'], { config, log }: ApiContext): Trust {
  const trust: Trust = { networks: networksOf(auth.python_networks), internal: new WeakSet() };
  const { python_port } = auth;
  if (python_port === undefined) return trust;
  const { keepAliveTimeout, requestTimeout, headersTimeout } = server.server;
  const port = createServer({ keepAliveTimeout, requestTimeout, headersTimeout }, (request, response) => {
    trust.internal.add(request);
    server.routing(request, response);
  });
  server.addHook('onReady', (done) => {
    const host = auth.python_host ?? config.http.host ?? '127.0.0.1';
    port.once('error', (error: NodeJS.ErrnoException) => {
      done(
        new JobmonError(
          'UNAVAILABLE',
          `cannot listen on ${host} port ${python_port} for Python clients (${error.code}): see auth.python_port and auth.python_host`,
        ),
      );
    });
    port.listen({ host, port: python_port }, () => {
      log.info({ python_port: (port.address() as { port: number }).port }, 'Python clients are answered on a port of their own');
      done();
    });
  });
  let inFlight = 0;
  port.on('request', (_request, response) => {
    inFlight += 1;
    response.once('close', () => (inFlight -= 1));
  });
  server.addHook('preClose', (done) => {
    port.close();
    done();
  });
  server.addHook('onClose', async () => {
    for (const since = performance.now(); inFlight > 0 && performance.now() - since < CLOSE_PATIENCE_MS;)
      await pause(CLOSE_LOOK_MS);
    port.closeAllConnections();
  });
  return trust;
}
