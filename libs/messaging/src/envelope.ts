/**
 * What a message looks like on any transport, and how a service answers one: `{"requests": [...], "context": {...}}` out,
 * a list of outcomes back. A transport only carries the texts. A call that cannot be sent, is malformed or fails is an
 * outcome of its own and does not touch its neighbours.
 */
import { JobmonError, MESSAGE_BYTES_MAX, type ErrorBody, type Operation, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import type { Logger } from '@jobmon/runtime';
import type { z } from 'zod';
import { encode } from './encode';
import type { Handler, MessageContext, Outcome } from './messenger';

/** A message ready to be carried, and the outcomes of calls that are not in it. */
export interface WrittenCalls<Reply> {
  /** Absent when no call can be sent. */
  readonly text?: string;
  /** One entry for each call in order; undefined where the message's answer will tell. */
  readonly refused: (Outcome<Reply> | undefined)[];
}

/** Writes calls as one message. A call that is no plain JSON is a defect of the sender: INTERNAL for it alone, and logged. */
export function writeCalls<O extends Operation>(
  operation: O,
  requests: readonly RequestOf<O>[],
  context: MessageContext,
  log: Logger,
): WrittenCalls<ReplyOf<O>> {
  const refused: (Outcome<ReplyOf<O>> | undefined)[] = requests.map(() => undefined);
  let list: string;
  try {
    list = encode(requests);
  } catch {
    const texts: string[] = [];
    for (const [index, request] of requests.entries()) {
      try {
        texts.push(encode(request));
      } catch (error) {
        log.error({ operation: operation.name, ...context, error }, 'a request cannot cross the bus');
        refused[index] = failure(JobmonError.from(error).toBody());
      }
    }
    if (texts.length === 0) return { refused };
    list = `[${texts.join(',')}]`;
  }
  const text = `{"requests":${list},"context":${encode(context)}}`;
  const bytes = Buffer.byteLength(text);
  if (bytes <= MESSAGE_BYTES_MAX) return { text, refused };
  const tooLarge = failure(tooLargeBody(`a message to ${operation.name}`, bytes));
  return { refused: refused.map((outcome) => outcome ?? tooLarge) };
}

/** The outcomes of all calls: those that were refused before sending, the others from the answer in order. */
export function joinOutcomes<Reply>(refused: (Outcome<Reply> | undefined)[], answered: Outcome<Reply>[]): Outcome<Reply>[] {
  let next = 0;
  return refused.map((outcome) => {
    if (outcome !== undefined) return outcome;
    next += 1;
    return answered[next - 1] ?? failure({ code: 'INTERNAL', message: 'the answer holds fewer outcomes than calls' });
  });
}

/** Reads the answer to a message of `count` calls; one error in the place of the list is every call's. */
export function readOutcomes<Reply>(text: string, count: number): Outcome<Reply>[] {
  const answer = JSON.parse(text) as Outcome<Reply>[] | { error: ErrorBody };
  return Array.isArray(answer) ? answer : new Array<Outcome<Reply>>(count).fill(failure(answer.error));
}

/** The answer to a message that is no list of calls. */
export function refuseMessage(error: ErrorBody): string {
  return JSON.stringify(failure(error));
}

/** Answers one message with its handler: reads, validates, calls, checks, writes. Never throws. */
export async function answerMessage<O extends Operation>(
  operation: O,
  handler: Handler<O>,
  text: string,
  log: Logger,
): Promise<string> {
  const { requests, context } = JSON.parse(text) as { requests: unknown[]; context: MessageContext };
  const outcomes: (Outcome<ReplyOf<O>> | undefined)[] = [];
  const valid: RequestOf<O>[] = [];
  for (const request of requests) {
    const parsed = operation.request.safeParse(request);
    if (parsed.success) valid.push(parsed.data as RequestOf<O>);
    outcomes.push(parsed.success ? undefined : failure(malformedBody(operation, parsed.error)));
  }
  const said = valid.length === 0 ? [] : await callHandler(operation, handler, valid, context, log);
  return writeOutcomes(operation, joinOutcomes(outcomes, said), context, log);
}

async function callHandler<O extends Operation>(
  operation: O,
  handler: Handler<O>,
  requests: RequestOf<O>[],
  context: MessageContext,
  log: Logger,
): Promise<Outcome<ReplyOf<O>>[]> {
  const count = requests.length;
  try {
    const outcomes = await handler(requests, context);
    if (outcomes.length !== count) throw new Error(`the handler answered ${outcomes.length} outcomes to ${count} requests`);
    return outcomes;
  } catch (thrown) {
    const error = JobmonError.from(thrown);
    // Only the cause's own words are lost on the way; an error that the handler named is logged where it stops.
    if (error.code === 'INTERNAL') log.error({ operation: operation.name, ...context, error: thrown }, 'a handler failed');
    return new Array<Outcome<ReplyOf<O>>>(count).fill(failure(error.toBody()));
  }
}

function writeOutcomes<Reply>(operation: Operation, outcomes: Outcome<Reply>[], context: MessageContext, log: Logger): string {
  let text: string;
  try {
    text = writeList(outcomes);
  } catch {
    text = `[${outcomes.map((outcome) => writeOne(operation, outcome, context, log)).join(',')}]`;
  }
  const bytes = Buffer.byteLength(text);
  if (bytes <= MESSAGE_BYTES_MAX) return text;
  log.error({ operation: operation.name, ...context, bytes }, 'an answer is too large for the bus');
  const tooLarge = failure(tooLargeBody(`the answer of ${operation.name}`, bytes));
  return JSON.stringify(outcomes.map(() => tooLarge));
}

function writeList<Reply>(outcomes: Outcome<Reply>[]): string {
  for (const outcome of outcomes) {
    if (!('error' in outcome) && outcome.ok === undefined) throw new JobmonError('INTERNAL', 'an outcome without a reply');
  }
  return encode(outcomes);
}

function writeOne<Reply>(operation: Operation, outcome: Outcome<Reply>, context: MessageContext, log: Logger): string {
  try {
    return writeList([outcome]).slice(1, -1);
  } catch (error) {
    log.error({ operation: operation.name, ...context, error }, 'a reply cannot cross the bus');
    return JSON.stringify(failure(JobmonError.from(error).toBody()));
  }
}

function malformedBody(operation: Operation, error: z.ZodError): ErrorBody {
  const [issue] = error.issues;
  const place = issue === undefined || issue.path.length === 0 ? 'the request' : issue.path.join('.');
  return { code: 'MALFORMED', message: `${operation.name}: ${place}: ${issue?.message ?? 'breaks its schema'}` };
}

function tooLargeBody(what: string, bytes: number): ErrorBody {
  return { code: 'TOO_LARGE', message: `${what} has ${bytes} bytes, at most ${MESSAGE_BYTES_MAX} cross the bus` };
}

export function failure(error: ErrorBody): { error: ErrorBody } {
  return { error };
}
