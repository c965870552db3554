/**
 * The routes, made by one loop over the operations of the contracts. What the api owns it calls; everything else it sends over
 * the bus to its owner. Nothing here knows a particular operation. POST answers 200, and every answer is JSON.
 */
import { JobmonError, OPERATIONS, type HttpBinding, type Operation } from '@jobmon/contracts';
import { createSender } from '@jobmon/messaging';
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import type { z } from 'zod';
import { objectIn } from './body';
import type { ApiContext, Call } from './context';
import { handlersOf, type Answer } from './handlers';
import { requireToken } from './guard';
import { answerMethodNotAllowed, type Fault } from './refusal';
import { sendEvents } from './stream';

/** The methods that Fastify routes; each path answers 405 to those it does not have. */
const METHODS: readonly HTTPMethods[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
/** Faults named in one answer. */
const FAULTS_MAX = 20;

/** Registers every operation that has an HTTP binding. `closing` is aborted when the server stops. */
export function registerRoutes(server: FastifyInstance, context: ApiContext, closing: AbortSignal): void {
  const sender = createSender(context.messenger);
  const handlers = handlersOf(context, sender);
  const methods = new Map<string, HTTPMethods[]>();
  const guard = requireToken(context.token);
  for (const operation of OPERATIONS) {
    const { http } = operation;
    if (http === undefined) continue;
    const own = handlers.get(operation);
    if (operation.owner === 'api' && own === undefined)
      throw new Error(`the api owns ${operation.name} and has no handler for it`);
    const answer: Answer = own ?? ((request, call) => sender.send(operation, request as never, { request_id: call.request_id }));
    const url = http.path.replace(/\{(\w+)\}/g, ':$1');
    methods.set(url, [...(methods.get(url) ?? []), http.method]);
    server.route({
      method: http.method,
      url,
      bodyLimit: http.body_bytes_max,
      onRequest: http.path.startsWith('/api/v4/') && http.method !== 'GET' ? [guard] : [],
      handler: handlerOf(operation, http, answer, context, closing),
    });
  }
  for (const [url, allowed] of methods) {
    const others = METHODS.filter((method) => !allowed.includes(method));
    server.route({ method: others, url, handler: answerMethodNotAllowed(allowed) });
  }
  // Python's clients join prefix and path, so they may ask for the root without its slash; spec/http-api-execution.md section 2.1.
  server.get('/api/v3', (_request, reply) => reply.redirect('/api/v3/', 307));
}

function handlerOf(operation: Operation, http: HttpBinding, answer: Answer, context: ApiContext, closing: AbortSignal) {
  const toWire = http.toWire as ((reply: unknown) => unknown) | undefined;
  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const call = callOf(request, reply, closing);
    const value = await answer(requestIn(operation, http, request), call);
    if (http.stream) return sendEvents(value as AsyncIterable<unknown>, reply, call.signal(), context.log);
    if (closing.aborted) reply.header('connection', 'close');
    reply.header('content-type', 'application/json; charset=utf-8');
    return reply.send(JSON.stringify(toWire === undefined ? value : toWire(value)));
  };
}

function callOf(request: FastifyRequest, reply: FastifyReply, closing: AbortSignal): Call {
  let signal: AbortSignal | undefined;
  return {
    request_id: request.id,
    signal: () => {
      if (signal !== undefined) return signal;
      const hungUp = new AbortController();
      if (reply.raw.destroyed) hungUp.abort();
      reply.raw.once('close', () => hungUp.abort());
      return (signal = AbortSignal.any([hungUp.signal, closing]));
    },
  };
}

/** Path, query and body as one object that the operation's schema accepts; the path wins over the body, the body over the query. */
function requestIn(operation: Operation, http: HttpBinding, request: FastifyRequest): unknown {
  const params = request.params as Record<string, string>;
  const body: Record<string, unknown> = http.method === 'GET' ? {} : objectIn(request.body as Buffer | undefined);
  // Into the body, not into a copy: a hostile one has a million keys, and copying them takes as long as reading them.
  for (const [name, value] of Object.entries(request.query as Record<string, unknown>)) {
    if (name !== '__proto__' && !Object.hasOwn(body, name)) body[name] = value;
  }
  const parsed = operation.request.safeParse(Object.assign(body, params));
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.slice(0, FAULTS_MAX).map((issue): Fault => {
    const where = String(issue.path[0]) in params ? 'path' : http.method === 'GET' ? 'query' : 'body';
    return { type: issue.code, loc: [where, ...(issue.path as (string | number)[])], msg: issue.message };
  });
  const code = faults.some((fault) => fault.loc[0] === 'body') ? 'MALFORMED' : 'UNPROCESSABLE';
  throw new JobmonError(code, sentenceOf(parsed.error.issues), { faults });
}

function sentenceOf(issues: readonly z.core.$ZodIssue[]): string {
  const [first] = issues;
  const where = (first?.path ?? []).map((step) => (typeof step === 'number' ? `[${step}]` : `.${String(step)}`)).join('');
  const others = issues.length > 1 ? ` (and ${issues.length - 1} more)` : '';
  return `${where.replace(/^\./, '') || 'the request'}: ${first?.message ?? 'is not valid'}${others}`;
}
