/**
 * How one room of the house speaks to another. The batch is the native unit: a request carries many calls of one operation
 * and gets an outcome for each. Two transports implement this interface and pass one conformance suite; no handler can tell
 * them apart. Only plain JSON crosses it: no Date, Map, class instance, function, bigint, NaN or undefined array slot.
 */
import {
  JobmonError,
  type ErrorBody,
  type Event,
  type Operation,
  type PayloadOf,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';

/** What became of one call: its reply, or the error that its handler named. */
export type Outcome<T> = { readonly ok: T } | { readonly error: ErrorBody };

/** Travels beside a message. */
export interface MessageContext {
  /** Ties the log lines of one HTTP request together across services. */
  readonly request_id?: string;
  /** Of the caller's trace, 32 hexadecimal digits (W3C Trace Context), where it told one. */
  readonly trace_id?: string;
}

/**
 * Handles a message. Must answer one outcome for each request, in order. Throwing answers every call of the message with that
 * error.
 */
export type Handler<O extends Operation> = (requests: RequestOf<O>[], context: MessageContext) => Promise<Outcome<ReplyOf<O>>[]>;

export interface RequestOptions extends MessageContext {
  /** After this the calls are answered with UNAVAILABLE; the handler may still finish. 14 s when absent (clients cut at 20 s). */
  readonly timeout_ms?: number;
}

/** What crossed the bus since this messenger was made, for tests and metrics: what a piece of work really cost. */
export interface MessageCounts {
  /** Messages sent: requests, their answers, and events. */
  messages: number;
  /** Bytes of their texts in UTF-8. */
  bytes: number;
}

export interface Messenger {
  readonly counts: MessageCounts;
  /**
   * Sends calls of one operation to one member of its owner's group. Never throws for a call: time-out, no handler and a
   * closed transport are outcomes with UNAVAILABLE. A message over `MESSAGE_BYTES_MAX` is an outcome with TOO_LARGE for
   * every call in it; splitting is the sender's business (the coalescer does it).
   */
  request<O extends Operation>(operation: O, requests: RequestOf<O>[], options?: RequestOptions): Promise<Outcome<ReplyOf<O>>[]>;
  /** Answers an operation. Requests are validated by the operation's schema before the handler sees them. */
  handle<O extends Operation>(operation: O, handler: Handler<O>): void;
  /** Tells whoever listens; never waits, never throws. */
  publish<E extends Event>(event: E, payload: PayloadOf<E>): void;
  /** Listens until the returned function is called. A listener that throws is logged and changes nothing. */
  subscribe<E extends Event>(event: E, listener: (payload: PayloadOf<E>) => void): () => void;
  /** Takes nothing new, waits until accepted messages are answered (at most 20 s), then closes. */
  drain(): Promise<void>;
}

/** The reply of one call, or its error thrown. */
export async function send<O extends Operation>(
  messenger: Messenger,
  operation: O,
  request: RequestOf<O>,
  options?: RequestOptions,
): Promise<ReplyOf<O>> {
  const [outcome] = await messenger.request(operation, [request], options);
  return replyOf(outcome);
}

/** The reply inside an outcome, or its error thrown. */
export function replyOf<T>(outcome: Outcome<T> | undefined): T {
  if (outcome === undefined) throw new JobmonError('INTERNAL', 'a handler answered fewer outcomes than it was given requests');
  if ('error' in outcome) throw JobmonError.fromBody(outcome.error);
  return outcome.ok;
}
