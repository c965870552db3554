/**
 * One log line and one measurement for each request, when it is answered: at debug when all went well, else at the level that its error code
 * deserves. Every request has an id, the caller's own when it sends a sane one; it is answered and travels with every message
 * that the request causes.
 */
import { randomBytes } from 'node:crypto';
import type { JobmonError } from '@jobmon/contracts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { metrics, type Logger } from '@jobmon/runtime';
import { LoginRefusal } from './principal';
import { originOf } from './trace';

declare module 'fastify' {
  interface FastifyReply {
    /** The error that this reply carries, for the log. */
    refusal: JobmonError | null;
  }
  interface FastifyContextConfig {
    /** The operation that the route answers. */
    operation?: string;
  }
  interface FastifyRequest {
    /** What the caller wants attached to the log line of this request, wherever it said so. */
    clientContext: object | undefined;
  }
}

/** Tells this process' ids from those of others; the number behind it tells its requests apart. */
const PROCESS_PREFIX = randomBytes(6).toString('base64url');
let counted = 0;
/** A larger context is not written into the log. */
const CONTEXT_CHARS_MAX = 2_000;
/** Told in the log in place of a status that nobody heard; no answer has it. */
const STATUS_HUNG_UP = 499;

/** The caller's id when it is short and harmless to print, else a new one. */
export function requestIdOf(given: string | string[] | undefined): string {
  if (typeof given === 'string' && /^[\w.:/-]{1,128}$/.test(given)) return given;
  counted += 1;
  return `${PROCESS_PREFIX}-${counted}`;
}

export function logRequests(server: FastifyInstance, log: Logger): void {
  server.decorateReply('refusal', null);
  server.decorateRequest('clientContext', undefined);
  server.addHook('onRequest', (request, reply, done) => {
    request.clientContext = contextOf(request.headers['x-server-structlog-context']);
    reply.header('x-request-id', request.id);
    // Not Fastify's hook for answered requests: it keeps silent when the caller hangs up first.
    reply.raw.once('close', () => {
      measure(request, reply);
      const level = reply.refusal?.kind.level ?? 'debug';
      if (!log.isLevelEnabled(level)) return;
      const status = reply.raw.writableFinished ? reply.raw.statusCode : STATUS_HUNG_UP;
      log[level](lineOf(request, status, reply.elapsedTime, reply.refusal), 'request');
    });
    done();
  });
}

/** One that the cut of an address goes through is still told from other text. */
const CREDENTIAL_CHARS_MAX = 4_000;
/** A credential where it should not be: in an address. */
const CREDENTIAL = /jobmon_[\w-]{43}|eyJ[\w-]+\.[\w-]+\.[\w-]*/g;

/** Requests that no operation answers (health, documentation, unknown paths) are counted together. */
function measure({ routeOptions }: FastifyRequest, { refusal, raw, elapsedTime }: FastifyReply): void {
  const code = refusal?.code ?? (raw.writableFinished ? 'OK' : 'HUNG_UP');
  metrics.request_seconds.observe({ operation: routeOptions.config.operation ?? 'none', code }, elapsedTime / 1_000);
  if (refusal instanceof LoginRefusal) metrics.login_refusals.inc({ reason: refusal.reason });
}

function lineOf(
  request: FastifyRequest,
  status: number,
  elapsed_ms: number,
  refusal: JobmonError | null,
): Record<string, unknown> {
  const line: Record<string, unknown> = {
    ...originOf(request),
    method: request.method,
    route: request.routeOptions.url ?? 'unknown',
    path: request.url
      .slice(0, 300 + CREDENTIAL_CHARS_MAX)
      .replace(CREDENTIAL, '(a credential)')
      .slice(0, 300),
    status,
    elapsed_ms: Math.round(elapsed_ms * 10) / 10,
  };
  if (refusal !== null) Object.assign(line, { code: refusal.code, reason: refusal.message.slice(0, 300) });
  if (refusal instanceof LoginRefusal) Object.assign(line, { refused: refusal.reason, address: request.callerAddress ?? null });
  if (request.principal !== undefined) line.user = request.principal.user;
  if (request.clientContext !== undefined) line.client_context = request.clientContext;
  return line;
}

/** What Python clients attach to the lines of a request: an object, or its JSON text. Undefined for all that is no small object. */
export function contextOf(given: unknown): object | undefined {
  try {
    const text = typeof given === 'string' ? given : JSON.stringify(given);
    if (text === undefined || text.length > CONTEXT_CHARS_MAX) return undefined;
    const value: unknown = typeof given === 'string' ? JSON.parse(given) : given;
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
