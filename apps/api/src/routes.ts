/**
 * The routes, made by one loop over the operations of the contracts. What the api owns it calls; everything else it sends over
 * the bus to its owner. Nothing here knows a particular operation. POST answers 200, and every answer is JSON.
 *
 * The Python protocol stands under two prefixes: clients before 3.4.21 ask for `/api/v2`, whose routes are those of `/api/v3`
 * (spec/http-api-execution.md section 8.1).
 */
import { JobmonError, namesCaller, OPERATIONS, type HttpBinding, type Operation } from '@jobmon/contracts';
import { createSender } from '@jobmon/messaging';
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import { z } from 'zod';
import { bodyBytesMaxOf, objectIn } from './body';
import { compressed } from './compression';
import type { ApiContext, Call } from './context';
import { handlersOf, type Answer } from './handlers';
import { makeGate, type Gate } from './gate';
import { answerMethodNotAllowed, type Fault } from './refusal';
import { contextOf } from './request-log';
import { sendEvents } from './stream';
import { originOf } from './trace';

/** The methods that Fastify routes; each path answers 405 to those it does not have. */
const METHODS: readonly HTTPMethods[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
/** Faults named in one answer. */
const FAULTS_MAX = 20;
/** Where the Python protocol stands, and where its elder clients look for it. */
const PYTHON_PREFIX = '/api/v3/';
const PYTHON_PREFIX_ELDER = '/api/v2/';
/** L3: the elder prefix answered it in a shape that nobody reads any more, so there it is not served at all. */
const NOT_UNDER_ELDER_PREFIX = '/api/v3/task_template_resource_usage';
/** What clients before 3.4.0 put beside the fields of a request, for the log (spec/http-api-execution.md section 2.2). */
const CONTEXT_KEY = 'server_structlog_context';

/** Registers every operation that has an HTTP binding. `closing` is aborted when the server stops. */
export function registerRoutes(server: FastifyInstance, context: ApiContext, closing: AbortSignal): void {
  const sender = createSender(context.messenger);
  const handlers = handlersOf(context, sender);
  const methods = new Map<string, { url: string; allowed: HTTPMethods[] }>();
  const gate = makeGate(server, context);
  for (const operation of OPERATIONS) {
    const { http } = operation;
    if (http === undefined) continue;
    const own = handlers.get(operation);
    if (operation.owner === 'api' && own === undefined)
      throw new Error(`the api owns ${operation.name} and has no handler for it`);
    const answer: Answer = own ?? ((request, call) => sender.send(operation, request as never, call.context));
    const handler = handlerOf(operation, http, answer, context, gate, closing);
    for (const path of pathsOf(http)) {
      const url = path.replace(/\{(\w+)\}/g, ':$1');
      // The router tells paths apart by their words, not by how their parameters are called.
      const words = path.replace(/\{\w+\}/g, '{}');
      methods.set(words, { url, allowed: [...(methods.get(words)?.allowed ?? []), http.method] });
      server.route({
        method: http.method,
        url,
        bodyLimit: bodyBytesMaxOf(http),
        config: { operation: operation.name },
        onRequest: gate.hooks(operation, path),
        handler,
      });
    }
  }
  for (const { url, allowed } of methods.values()) {
    const others = METHODS.filter((method) => !allowed.includes(method));
    server.route({ method: others, url, handler: answerMethodNotAllowed(allowed) });
  }
  // Python's clients join prefix and path, so they may ask for the root without its slash; spec/http-api-execution.md section 2.1.
  for (const prefix of [PYTHON_PREFIX, PYTHON_PREFIX_ELDER]) {
    server.get(prefix.slice(0, -1), (_request, reply) => reply.redirect(prefix, 307));
  }
}

/** Every path that reaches an operation. */
function pathsOf({ path }: HttpBinding): string[] {
  if (!path.startsWith(PYTHON_PREFIX) || path === NOT_UNDER_ELDER_PREFIX) return [path];
  return [path, PYTHON_PREFIX_ELDER + path.slice(PYTHON_PREFIX.length)];
}

function handlerOf(
  operation: Operation,
  http: HttpBinding,
  answer: Answer,
  context: ApiContext,
  gate: Gate,
  closing: AbortSignal,
) {
  const toWire = http.toWire as ((reply: unknown) => unknown) | undefined;
  const isPython = http.path.startsWith(PYTHON_PREFIX);
  const isCallersName = namesCaller(operation);
  const fields = operation.request instanceof z.ZodObject ? new Set(Object.keys(operation.request.shape)) : undefined;
  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const watched = http.stream ? gate.ended(request) : undefined;
    if (watched !== undefined) reply.raw.once('close', () => watched.stop());
    const call = callOf(request, reply, watched === undefined ? closing : AbortSignal.any([watched.signal, closing]));
    const value = await answer(
      requestIn(operation, http, fields, request, isCallersName ? request.principal?.user : undefined),
      call,
    );
    if (http.stream) return sendEvents(value as AsyncIterable<unknown>, reply, call.signal(), context.log);
    if (closing.aborted || context.stopping?.aborted) reply.header('connection', 'close');
    reply.header('content-type', 'application/json; charset=utf-8');
    const text = JSON.stringify(toWire === undefined ? value : toWire(value));
    return reply.send(isPython ? await compressed(text, request, reply) : text);
  };
}

function callOf(request: FastifyRequest, reply: FastifyReply, closing: AbortSignal): Call {
  let signal: AbortSignal | undefined;
  return {
    context: originOf(request),
    principal: request.principal,
    signal: () => {
      if (signal !== undefined) return signal;
      const hungUp = new AbortController();
      if (reply.raw.destroyed) hungUp.abort();
      reply.raw.once('close', () => hungUp.abort());
      return (signal = AbortSignal.any([hungUp.signal, closing]));
    },
    answered: () =>
      new Promise((resolve) => {
        if (reply.raw.destroyed) return resolve(reply.raw.writableFinished);
        reply.raw.once('close', () => resolve(reply.raw.writableFinished));
      }),
  };
}

/**
 * Path, query and body as one object that the operation's schema accepts; the path wins over the body, the body over the query.
 * Of a query only `fields`, those that the schema names, are taken: Python's clients add their version to every URL. A body of a
 * GET is not looked at (clients before 3.4.0 send one). `user` stands in the place of whoever the request says that asks.
 */
function requestIn(
  operation: Operation,
  http: HttpBinding,
  fields: ReadonlySet<string> | undefined,
  request: FastifyRequest,
  user: string | undefined,
): unknown {
  const params = request.params as Record<string, string>;
  const query = request.query as Record<string, unknown>;
  const body = http.method === 'GET' ? {} : objectIn(request.body as Buffer | undefined, http.lossless);
  if (http.path.startsWith(PYTHON_PREFIX)) takeContext(request, query, body);
  const inQuery = new Set<string>();
  // Into the body, not into a copy: a hostile one has a million keys, and copying them takes as long as reading them.
  for (const [name, value] of Object.entries(query)) {
    if (name === '__proto__' || Object.hasOwn(body, name) || fields?.has(name) === false) continue;
    body[name] = value;
    inQuery.add(name);
  }
  const parsed = operation.request.safeParse(Object.assign(body, params, user === undefined ? {} : { user }));
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.slice(0, FAULTS_MAX).map((issue): Fault => {
    const name = String(issue.path[0]);
    const where = name in params ? 'path' : http.method === 'GET' || inQuery.has(name) ? 'query' : 'body';
    const isMissing = issue.path.length === 1 && !Object.hasOwn(body, name);
    return {
      type: isMissing ? 'missing' : issue.code,
      loc: [where, ...(issue.path as (string | number)[])],
      msg: issue.message,
      input: where === 'body' || isMissing ? null : body[name],
    };
  });
  // As the Python server looks at a request: its address first, its body after that.
  const inAddress = faults.filter((fault) => fault.loc[0] !== 'body');
  if (inAddress.length > 0) throw new JobmonError('UNPROCESSABLE', sentenceOf(parsed.error.issues), { faults: inAddress });
  throw new JobmonError('MALFORMED', sentenceOf(parsed.error.issues), { faults });
}

/** Takes the log context of elder clients out of query and body, where it would pass for a field, and gives it to the log. */
function takeContext(request: FastifyRequest, query: Record<string, unknown>, body: Record<string, unknown>): void {
  for (const part of [query, body]) {
    if (!Object.hasOwn(part, CONTEXT_KEY)) continue;
    const context = contextOf(part[CONTEXT_KEY]);
    if (context !== undefined) request.clientContext = { ...request.clientContext, ...context };
    delete part[CONTEXT_KEY];
  }
}

function sentenceOf(issues: readonly z.core.$ZodIssue[]): string {
  const [first] = issues;
  const where = (first?.path ?? []).map((step) => (typeof step === 'number' ? `[${step}]` : `.${String(step)}`)).join('');
  const others = issues.length > 1 ? ` (and ${issues.length - 1} more)` : '';
  return `${where.replace(/^\./, '') || 'the request'}: ${first?.message ?? 'is not valid'}${others}`;
}
