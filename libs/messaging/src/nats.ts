/**
 * The bus between processes: NATS request and reply, the owner's name as queue group, so that each message goes to one member of the
 * service. The texts are those of the bus inside one process; this file only carries them.
 *
 * Modes: **up**; **down** while the connection is lost: requests wait for it within their own time and a bound of bytes, events are
 * dropped, and what was on its way when it was lost is answered with UNAVAILABLE at once, whether or not it was done (a repeat has no
 * second effect); **draining**, from the call of `drain` on: nothing new is taken, what was accepted is answered; **closed**.
 */
import { setTimeout as pause } from 'node:timers/promises';
import {
  JobmonError,
  MESSAGE_BYTES_MAX,
  OPERATIONS,
  subjectOf,
  subjectOfEvent,
  type Event,
  type Operation,
  type PayloadOf,
  type ReplyOf,
  type RequestOf,
  type Service,
} from '@jobmon/contracts';
import { metrics, type Logger } from '@jobmon/runtime';
import { Events, StringCodec, type Msg, type NatsConnection, type Subscription } from 'nats';
import { encode } from './encode';
import { answerMessage, failure, joinOutcomes, readOutcomes, refuseMessage, writeCalls } from './envelope';
import { DRAIN_MS_MAX, TIMEOUT_MS_DEFAULT } from './in-process';
import type { Handler, MessageCounts, Messenger, Outcome, RequestOptions } from './messenger';
import { openNats, type NatsSettings } from './nats-connection';
import { groupOfRefusals, subjectOfAll } from './rights';

export interface NatsOptions extends NatsSettings {
  readonly log: Logger;
  /** Shows in the server's list of connections. */
  readonly name: string;
}

/** A messenger that can be away for a while. */
export interface NatsMessenger extends Messenger {
  /** `down` while the connection is lost; it is opened again by itself. */
  state(): 'up' | 'down';
  /** Until NATS knows of everything that this process answers and listens to. @throws Error when the connection is lost meanwhile */
  flush(): Promise<void>;
}

/** Bytes of requests that wait for a lost connection; beyond it a request is refused at once. */
const BACKLOG_BYTES_MAX = 16 * 1024 * 1024;

/** Messages that are being answered at one time; one more is refused at once. Far above what the queues behind it take. */
const ANSWERING_MAX = 10_000;

/**
 * After so long a subject that no process here knows is refused: by then whoever does know it, a process of a newer release, has had the time
 * to answer, and of two answers the first one counts.
 */
const UNKNOWN_MS = 1_000;
const UNKNOWN_MAX = 100;

/** Calls in one message; twice what the sender puts into one. Each that is wrong costs time, and others wait meanwhile. */
const CALLS_MAX = 1_000;

/** Of a flood of messages that are none of ours so many are told in the log each second; all are counted. */
const TOLD_MAX = 10;

/** How long a request that nobody answers is asked again, from the first pause on, which doubles. Nobody has done anything with it. */
const NOBODY_MS_MAX = 2_000;
const NOBODY_MS_MIN = 20;

/** What this release asks and answers: while nobody answers one of these, NATS itself or the caller's time says so. */
const KNOWN: ReadonlySet<string> = new Set(OPERATIONS.map(subjectOf));

const text = StringCodec();

/**
 * Joins the bus. Does not wait for a server that is not there: whoever calls tries again.
 *
 * @throws JobmonError UNAVAILABLE with cause and cure (`openNats`)
 */
export async function natsMessenger({ log, name, ...settings }: NatsOptions): Promise<NatsMessenger> {
  return new Nats(await openNats(name, settings, log), log);
}

/** What a request waits for besides its answer. */
interface Interruption {
  readonly promise: Promise<never>;
  readonly raise: (error: JobmonError) => void;
}

class Nats implements NatsMessenger {
  readonly counts: MessageCounts = { messages: 0, bytes: 0 };
  private readonly handled = new Map<string, Subscription>();
  /** By service whose operations are answered here: hears all that is sent to it, for what nobody knows. */
  private readonly refusing = new Map<string, Subscription>();
  private readonly events = new Map<string, { subscription: Subscription; listeners: Set<(text: string) => void> }>();
  private isOpen = true;
  private isUp = true;
  private backlog_bytes = 0;
  private returned: (() => void)[] = [];
  private lost = interruption();
  /** Messages that are being answered here, and requests of this process that have no answer yet. */
  private inFlight = 0;
  private answering = 0;
  /** Messages for unknown operations that wait for their refusal. */
  private unknown = 0;
  /** Refusals that were told in the log since then. */
  private told = { since_ms: 0, count: 0 };
  private quiet: (() => void)[] = [];
  private drained: Promise<void> | undefined;

  constructor(
    private readonly connection: NatsConnection,
    private readonly log: Logger,
  ) {
    void this.follow();
  }

  state(): 'up' | 'down' {
    return this.isUp ? 'up' : 'down';
  }

  flush(): Promise<void> {
    return this.connection.flush();
  }

  async request<O extends Operation>(
    operation: O,
    requests: RequestOf<O>[],
    options: RequestOptions = {},
  ): Promise<Outcome<ReplyOf<O>>[]> {
    const { timeout_ms = TIMEOUT_MS_DEFAULT, ...context } = options;
    if (!this.isOpen) return requests.map(() => failure(unavailable('the bus is closed').toBody()));
    const { text: message, refused } = writeCalls(operation, requests, context, this.log);
    if (message === undefined) return joinOutcomes(refused, []);
    this.inFlight += 1;
    try {
      const answer = await this.ask(operation, message, performance.now() + timeout_ms);
      return joinOutcomes(refused, readOutcomes<ReplyOf<O>>(answer, requests.length));
    } catch (thrown) {
      const failed = failure(explained(thrown, operation, timeout_ms).toBody());
      return refused.map((outcome) => outcome ?? failed);
    } finally {
      this.leave();
    }
  }

  private async ask(operation: Operation, message: string, due_ms: number): Promise<string> {
    const payload = text.encode(message);
    if (!this.isUp) await this.waitForReturn(payload.length, due_ms);
    this.count(payload.length);
    const reply = await this.askSomebody(subjectOf(operation), payload, due_ms);
    this.count(reply.data.length);
    return text.decode(reply.data);
  }

  /** Asks again for a moment while nobody is there: after a restart of NATS whoever asks may be back before whoever answers. */
  private async askSomebody(subject: string, payload: Uint8Array, due_ms: number): Promise<Msg> {
    const until_ms = Math.min(due_ms, performance.now() + NOBODY_MS_MAX);
    for (let rest_ms = NOBODY_MS_MIN; ; rest_ms *= 2) {
      const timeout = Math.max(1, due_ms - performance.now());
      try {
        return await Promise.race([this.connection.request(subject, payload, { timeout }), this.lost.promise]);
      } catch (thrown) {
        if ((thrown as { code?: string }).code !== '503' || !this.isOpen || performance.now() + rest_ms > until_ms) throw thrown;
      }
      await pause(rest_ms);
    }
  }

  /** Until the connection is there again, at most until `due_ms`. @throws JobmonError UNAVAILABLE */
  private async waitForReturn(bytes: number, due_ms: number): Promise<void> {
    if (this.backlog_bytes + bytes > BACKLOG_BYTES_MAX)
      throw unavailable('the connection to NATS is lost and too much waits for it');
    this.backlog_bytes += bytes;
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        this.returned.push(resolve);
        const late = (): void => reject(unavailable('the connection to NATS is lost'));
        timer = setTimeout(late, Math.max(0, due_ms - performance.now()));
      });
    } finally {
      clearTimeout(timer);
      this.backlog_bytes -= bytes;
    }
  }

  handle<O extends Operation>(operation: O, handler: Handler<O>): void {
    const subject = subjectOf(operation);
    if (this.handled.has(subject)) throw new JobmonError('INTERNAL', `${operation.name} has a handler already`);
    const callback = (error: Error | null, message: Msg): void => {
      if (error !== null) this.log.error({ operation: operation.name, error }, 'NATS does not let this process answer');
      else void this.answer(operation, handler, message);
    };
    this.handled.set(subject, this.connection.subscribe(subject, { queue: operation.owner, callback }));
    this.refuseUnknown(operation.owner);
  }

  /** Answers what is sent to a service and is none of its operations: one member of it, so that it is said and counted once. */
  private refuseUnknown(owner: Service): void {
    if (this.refusing.has(owner)) return;
    const callback = (error: Error | null, message: Msg): void => {
      if (error !== null) return this.log.error({ owner, error }, 'NATS does not let this process refuse what nobody knows');
      if (KNOWN.has(message.subject) || this.handled.has(message.subject)) return;
      void this.refuseLate(owner, message);
    };
    this.refusing.set(owner, this.connection.subscribe(subjectOfAll(owner), { queue: groupOfRefusals(owner), callback }));
  }

  private async refuseLate(owner: Service, message: Msg): Promise<void> {
    const { subject } = message;
    metrics.message_refusals.inc({ reason: 'unknown' });
    // Of a flood only the first ones are answered.
    if (this.unknown >= UNKNOWN_MAX) return;
    this.tell({ subject }, 'a message on the bus is for no operation of this release and is refused');
    this.unknown += 1;
    await pause(UNKNOWN_MS, undefined, { ref: false });
    this.unknown -= 1;
    if (!this.isOpen || !this.isUp) return;
    const cure = 'see that all processes are of one release';
    const sentence = `the ${owner} of this release answers no ${JSON.stringify(subject)}: ${cure}`;
    message.respond(text.encode(refuseMessage({ code: 'UNAVAILABLE', message: sentence })));
  }

  private async answer<O extends Operation>(operation: O, handler: Handler<O>, message: Msg): Promise<void> {
    if (this.answering >= ANSWERING_MAX) return this.refuseOverload(operation, message);
    this.inFlight += 1;
    this.answering += 1;
    const stop = metrics.message_seconds.startTimer({ operation: operation.name });
    try {
      this.count(message.data.length);
      const asked = message.data.length > MESSAGE_BYTES_MAX ? undefined : text.decode(message.data);
      const isOurs = asked !== undefined && isCalls(asked);
      const payload = text.encode(
        isOurs ? await answerMessage(operation, handler, asked, this.log) : this.refuse(operation, message),
      );
      this.count(payload.length);
      // An answer without a connection is lost: whoever asked was told so by its own.
      if (!message.respond(payload)) this.log.warn({ operation: operation.name }, 'a message on the bus wants no answer');
    } catch (error) {
      this.log.error({ operation: operation.name, error }, 'an answer could not be sent');
    } finally {
      stop();
      this.answering -= 1;
      this.leave();
    }
  }

  private refuseOverload(operation: Operation, message: Msg): void {
    metrics.message_refusals.inc({ reason: 'overload' });
    this.log.debug({ operation: operation.name }, 'a message on the bus was refused: too many are being answered');
    const sentence = `${operation.name}: this process is answering ${ANSWERING_MAX} messages already; send it again`;
    message.respond(text.encode(refuseMessage({ code: 'UNAVAILABLE', message: sentence })));
  }

  private refuse(operation: Operation, { data }: Msg): string {
    metrics.message_refusals.inc({ reason: 'garbage' });
    this.tell({ operation: operation.name, bytes: data.length }, 'a message on the bus is none of ours and was refused');
    const sentence = `the message is no list of at most ${CALLS_MAX} calls in ${MESSAGE_BYTES_MAX} bytes`;
    return refuseMessage({ code: 'MALFORMED', message: `${operation.name}: ${sentence}` });
  }

  /** Warns, unless there was much to warn of within this second: a flood must not fill the log. */
  private tell(what: object, sentence: string): void {
    const now_ms = performance.now();
    if (now_ms - this.told.since_ms >= 1_000) this.told = { since_ms: now_ms, count: 0 };
    this.told.count += 1;
    if (this.told.count <= TOLD_MAX) this.log.warn(what, sentence);
  }

  publish<E extends Event>(event: E, payload: PayloadOf<E>): void {
    if (!this.isOpen || !this.isUp) return;
    try {
      const data = text.encode(encode(payload));
      if (data.length > MESSAGE_BYTES_MAX) throw new JobmonError('TOO_LARGE', `an event of ${data.length} bytes`);
      this.count(data.length);
      this.connection.publish(subjectOfEvent(event), data);
    } catch (error) {
      this.log.error({ event: event.name, error }, 'an event cannot cross the bus');
    }
  }

  subscribe<E extends Event>(event: E, listener: (payload: PayloadOf<E>) => void): () => void {
    const subject = subjectOfEvent(event);
    const hear = (said: string): void => {
      try {
        listener(event.payload.parse(JSON.parse(said)) as PayloadOf<E>);
      } catch (error) {
        this.log.error({ event: event.name, error }, 'a listener failed');
      }
    };
    const heard = this.events.get(subject) ?? this.listen(event, subject);
    heard.listeners.add(hear);
    return () => {
      heard.listeners.delete(hear);
      if (heard.listeners.size > 0 || this.events.get(subject) !== heard) return;
      this.events.delete(subject);
      heard.subscription.unsubscribe();
    };
  }

  private listen(event: Event, subject: string): { subscription: Subscription; listeners: Set<(text: string) => void> } {
    const listeners = new Set<(text: string) => void>();
    const callback = (error: Error | null, { data }: Msg): void => {
      if (error !== null) return this.log.error({ event: event.name, error }, 'NATS does not let this process listen');
      const said = text.decode(data);
      for (const hear of [...listeners]) hear(said);
    };
    const heard = { subscription: this.connection.subscribe(subject, { callback }), listeners };
    this.events.set(subject, heard);
    return heard;
  }

  drain(): Promise<void> {
    return (this.drained ??= this.close());
  }

  private async close(): Promise<void> {
    this.isOpen = false;
    const events = [...this.events.values()].map(({ subscription }) => subscription);
    // Refusals end first: while they are there, NATS would not say that nobody answers any more.
    const subscriptions = [...this.refusing.values(), ...this.handled.values(), ...events];
    // The server is told first; what it had sent until then is still answered.
    if (this.isUp) await within(Promise.allSettled(subscriptions.map((subscription) => subscription.drain())), DRAIN_MS_MAX);
    if (!(await within(this.untilQuiet(), DRAIN_MS_MAX))) {
      this.log.warn({ in_flight: this.inFlight, waited_ms: DRAIN_MS_MAX }, 'the bus closes while messages are being answered');
    }
    if (this.isUp)
      await within(
        this.connection.flush().catch(() => undefined),
        DRAIN_MS_MAX,
      );
    await this.connection.close();
  }

  /** Keeps the mode. */
  private async follow(): Promise<void> {
    for await (const { type } of this.connection.status()) {
      if (type === Events.Disconnect && this.isUp) {
        this.isUp = false;
        this.lost.raise(unavailable('the connection to NATS was lost before the answer came'));
        this.lost = interruption();
      } else if (type === Events.Reconnect) {
        this.isUp = true;
        for (const resolve of this.returned.splice(0)) resolve();
      }
    }
  }

  private untilQuiet(): Promise<void> {
    return this.inFlight === 0 ? Promise.resolve() : new Promise((resolve) => this.quiet.push(resolve));
  }

  private leave(): void {
    this.inFlight -= 1;
    if (this.inFlight === 0) for (const resolve of this.quiet.splice(0)) resolve();
  }

  private count(bytes: number): void {
    this.counts.messages += 1;
    this.counts.bytes += bytes;
  }
}

/** Whether a text is a list of not too many calls with its context, as `writeCalls` writes it. */
function isCalls(asked: string): boolean {
  try {
    const { requests, context } = JSON.parse(asked) as { requests?: unknown; context?: unknown };
    return Array.isArray(requests) && requests.length <= CALLS_MAX && typeof context === 'object' && context !== null;
  } catch {
    return false;
  }
}

function explained(thrown: unknown, { name }: Operation, timeout_ms: number): JobmonError {
  if (thrown instanceof JobmonError) return thrown;
  const { code, message } = thrown as { code?: string; message?: string };
  if (code === '503') return unavailable(`nobody answers ${name}`);
  if (code === 'TIMEOUT') return unavailable(`${name} was not answered within ${timeout_ms} ms`);
  if (code === 'PERMISSIONS_VIOLATION') return new JobmonError('FORBIDDEN', `this process may not ask for ${name}: ${message}`);
  return unavailable(`${name} could not be asked: ${message ?? String(thrown)}`);
}

function unavailable(message: string): JobmonError {
  return new JobmonError('UNAVAILABLE', message);
}

function interruption(): Interruption {
  let raise: Interruption['raise'] = () => undefined;
  const promise = new Promise<never>((_, reject) => (raise = reject));
  // Nobody may be waiting.
  promise.catch(() => undefined);
  return { promise, raise };
}

/** True when it ended in time. */
async function within(work: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => (timer = setTimeout(() => resolve(false), ms)));
  const inTime = await Promise.race([work.then(() => true), late]);
  clearTimeout(timer);
  return inTime;
}
