/**
 * Refusals over HTTP. `/api/v4` answers `{"error": {code, message, details?}}`. Everything else has the shapes that Python
 * clients know (spec/http-api-execution.md section 2.4, spec/http-api-inspection.md section 1.1): `error` with the status as text, and
 * `detail` with the same sentence, for what the route itself refuses; `detail` alone for what is refused around it. An error that nobody named is a defect: its cause goes to the log, once, and the
 * caller learns no more than that.
 */
import { JobmonError, type ErrorCode } from '@jobmon/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from '@jobmon/runtime';
import { originOf } from './trace';

/** One value that its schema refuses, in the shape of both protocols' lists. */
export interface Fault {
  readonly type: string;
  /** `path` or `query` or `body`, then the way to the value. */
  readonly loc: readonly (string | number)[];
  readonly msg: string;
  /** The value of a path or query parameter; null when it is missing, or when it stands in a body. */
  readonly input: unknown;
}

export function sendError(thrown: unknown, request: FastifyRequest, reply: FastifyReply, log: Logger): void {
  const error = named(thrown);
  if (error.code === 'INTERNAL') {
    log.error({ err: error.cause ?? error, ...originOf(request), route: request.routeOptions.url }, 'a request met a defect');
  }
  reply.refusal = error;
  if (error.code === 'UNAUTHORIZED') reply.header('www-authenticate', 'Bearer');
  if (error.code === 'TOO_MANY')
    reply.header('retry-after', String((error.details as { retry_after_seconds: number }).retry_after_seconds));
  const body = request.url.startsWith('/api/v4') ? { error: error.toBody() } : elderShape(error);
  send(reply, error.kind.http_status, body);
}

/** The framework's own refusals (a broken URL, a broken header) are the caller's mistakes too. */
function named(thrown: unknown): JobmonError {
  if (thrown instanceof JobmonError) return thrown;
  const status = (thrown as { statusCode?: number } | undefined)?.statusCode;
  const message = thrown instanceof Error ? thrown.message.slice(0, 300) : '';
  if (status === 413) return new JobmonError('TOO_LARGE', message);
  if (status !== undefined && status >= 400 && status < 500) return new JobmonError('MALFORMED', message);
  if (status === 503) return new JobmonError('UNAVAILABLE', message);
  return JobmonError.from(thrown);
}

/** Refused by what stands around the routes: these have always been `detail`. */
const AROUND: ReadonlySet<ErrorCode> = new Set([
  'UNAUTHORIZED',
  'FORBIDDEN',
  'TOO_MANY',
  'METHOD_NOT_ALLOWED',
  'TOO_LARGE',
  'UNAVAILABLE',
  'UNPROCESSABLE',
]);

function elderShape(error: JobmonError): unknown {
  if (error.code === 'UNPROCESSABLE')
    return { detail: (error.details as { faults?: Fault[] } | undefined)?.faults ?? error.message };
  if (AROUND.has(error.code)) return { detail: error.message };
  const { code, message, kind } = error;
  // Two routes answer a bare sentence: E38 and E47.
  if ((error.details as { is_bare?: boolean } | undefined)?.is_bare === true) return { error: message };
  return {
    error: { type: code, code, exception_message: message, status_code: String(kind.http_status) },
    detail: message,
  };
}

export function answerNotFound(request: FastifyRequest, reply: FastifyReply): void {
  if (request.url.startsWith('/api/v4')) {
    const error = new JobmonError('NOT_FOUND', 'there is no such path; GET /api/openapi.json lists all that there are');
    return send(reply, 404, { error: error.toBody() });
  }
  send(reply, 404, { detail: 'Not Found' });
}

/** The handler of the methods that a path does not have. */
export function answerMethodNotAllowed(allowed: readonly string[]) {
  return (request: FastifyRequest, reply: FastifyReply): void => {
    reply.header('allow', allowed.join(', '));
    const error = new JobmonError('METHOD_NOT_ALLOWED', `${request.method} is not one of ${allowed.join(', ')}`);
    send(reply, 405, request.url.startsWith('/api/v4') ? { error: error.toBody() } : { detail: 'Method Not Allowed' });
  };
}

function send(reply: FastifyReply, status: number, body: unknown): void {
  void reply.code(status).header('content-type', 'application/json; charset=utf-8').send(JSON.stringify(body));
}
