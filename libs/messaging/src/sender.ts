/**
 * How the api sends calls: those of an operation with a batch key are coalesced, one message of an operation in flight at a
 * time (two at 64 callers measured no faster), split so that no message is larger than the bus takes. Calls of other operations go as messages of
 * their own.
 */
import { MESSAGE_BYTES_MAX, type Operation, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import { Coalescer } from './coalescer';
import { TIMEOUT_MS_DEFAULT } from './in-process';
import { replyOf, send, type MessageContext, type Messenger, type Outcome, type RequestOptions } from './messenger';

export interface Sender {
  /**
   * Sends one call and answers its reply; throws its error as a JobmonError. A call over the bus's limit is TOO_LARGE. A time-out is heard for
   * calls that go alone.
   */
  send<O extends Operation>(operation: O, request: RequestOf<O>, options?: RequestOptions): Promise<ReplyOf<O>>;
  /** Takes no more calls of coalesced operations and waits for those it took. */
  drain(): Promise<void>;
}

/** Calls in one message; the state machine's own batches have as many rows. */
const CALLS_MAX = 500;
/** Calls of one operation that wait; at 5,000 a second this is what the longest accepted delay of 2 s holds. */
const WAITING_MAX = 10_000;
/**
 * How long a message of many calls is waited for. Whoever was to answer is dead or frozen then, and all that waits behind the message goes to
 * another: as short as a takeover within 10 s needs (docs/decisions/leases.md), longer than any batch of a healthy database.
 */
const ANSWER_MS_MAX = 6_000;
/** A call that has waited so long for its message is answered with UNAVAILABLE: with the message's own time it would be too late for its caller. */
const WAITING_MS_MAX = TIMEOUT_MS_DEFAULT - ANSWER_MS_MAX;
/** What a message needs besides its requests: the envelope and the request ids of its context. */
const ENVELOPE_BYTES_MAX = 2_048;
/** Request ids told with a coalesced message: enough to find it by any of a few, bounded for the envelope. */
const REQUEST_IDS_MAX = 8;

interface Call {
  readonly request: unknown;
  readonly context: MessageContext;
}

export function createSender(messenger: Messenger): Sender {
  const coalescers = new Map<string, Coalescer<Call, unknown>>();

  const coalescerOf = (operation: Operation): Coalescer<Call, unknown> => {
    const known = coalescers.get(operation.name);
    if (known !== undefined) return known;
    const coalescer = new Coalescer<Call, unknown>({
      name: operation.name,
      run: (calls) =>
        messenger.request(
          operation,
          calls.map((call) => call.request),
          { ...joinedContext(calls), timeout_ms: ANSWER_MS_MAX },
        ),
      rows_max: CALLS_MAX,
      bytes_max: MESSAGE_BYTES_MAX - ENVELOPE_BYTES_MAX,
      sizeOf: (call) => bytesOf(call.request),
      waiting_max: WAITING_MAX,
      waiting_ms_max: WAITING_MS_MAX,
    });
    coalescers.set(operation.name, coalescer);
    return coalescer;
  };

  return {
    async send<O extends Operation>(operation: O, request: RequestOf<O>, options: RequestOptions = {}): Promise<ReplyOf<O>> {
      if (operation.batch === undefined) return send(messenger, operation, request, options);
      const { timeout_ms: _, ...context } = options;
      return replyOf((await coalescerOf(operation).add({ request, context })) as Outcome<ReplyOf<O>>);
    },
    async drain() {
      await Promise.all([...coalescers.values()].map((coalescer) => coalescer.drain()));
    },
  };
}

/** Bytes of a request in its message, with the comma behind it. */
function bytesOf(request: unknown): number {
  try {
    return Buffer.byteLength(JSON.stringify(request)) + 1;
  } catch {
    // No JSON at all (a bigint, a cycle): it never gets into a message, the messenger refuses it by name.
    return 0;
  }
}

/** One context for a message of many calls: the ids of the first few, joined by commas; a trace only where it is the one of all that tell one. */
function joinedContext(calls: readonly Call[]): MessageContext {
  const ids: string[] = [];
  const traces = new Set<string>();
  for (const { context } of calls) {
    if (context.request_id !== undefined && ids.length < REQUEST_IDS_MAX) ids.push(context.request_id.slice(0, 128));
    if (context.trace_id !== undefined) traces.add(context.trace_id);
  }
  const [trace_id] = traces.size === 1 ? traces : [];
  return { ...(ids.length > 0 && { request_id: ids.join(',') }), ...(trace_id !== undefined && { trace_id }) };
}
