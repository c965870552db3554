/**
 * Server-sent events: each value as one `data:` line of JSON. A comment every 15 s keeps proxies from closing a silent stream
 * and tells a listener that the server lives. The stream ends when its values end, when the listener hangs up, and when the
 * server closes; a listener that sees no last value opens it again.
 */
import { once } from 'node:events';
import type { FastifyReply } from 'fastify';
import type { Logger } from '@jobmon/runtime';
import { originOf } from './trace';

const COMMENT_INTERVAL_MS = 15_000;

/** Sends the values. What is thrown before the first value is thrown on, so that an unknown id is an ordinary 404. */
export async function sendEvents(
  values: AsyncIterable<unknown>,
  reply: FastifyReply,
  signal: AbortSignal,
  log: Logger,
): Promise<FastifyReply> {
  const iterator = values[Symbol.asyncIterator]();
  let step = await iterator.next();
  const { raw } = reply;
  reply.header('content-type', 'text/event-stream; charset=utf-8');
  reply.header('cache-control', 'no-store').header('connection', 'close').header('x-accel-buffering', 'no');
  const headers = reply.getHeaders();
  reply.hijack();
  raw.writeHead(200, headers as Record<string, string>);
  const timer = setInterval(() => raw.write(': still here\n\n'), COMMENT_INTERVAL_MS);
  try {
    while (step.done !== true && !signal.aborted) {
      const hasRoom = raw.write(`data: ${JSON.stringify(step.value)}\n\n`);
      if (!hasRoom) await once(raw, 'drain', { signal });
      step = await iterator.next();
    }
  } catch (thrown) {
    if (!signal.aborted) log.warn({ err: thrown, ...originOf(reply.request) }, 'a stream of events broke off');
  } finally {
    clearInterval(timer);
    await iterator.return?.();
    raw.end();
  }
  return reply;
}
