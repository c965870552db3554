/**
 * The stream of log records over NATS JetStream: one stream `jobmon-log`, one durable consumer that all sinks share. The sink makes both and
 * makes them again when they are gone (NATS lost its store); senders only publish. The stream is bounded: when it is full its oldest
 * messages go.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { JobmonError, type SentLogRecord } from '@jobmon/contracts';
import { metrics, type Logger } from '@jobmon/runtime';
import { AckPolicy, DiscardPolicy, nanos, RetentionPolicy, StorageType, type JsMsg, type NatsConnection } from 'nats';
import { LOG_CONSUMER, LOG_STREAM, LOG_SUBJECT } from './log-subjects';
import { placedInTime, type LogReader, type LogStream, type StoreRecords } from './log-stream';

const PUBLISH_MS_MAX = 5_000;
/** Messages that a reader holds at one time: at most 16 MiB. */
const MESSAGES_MAX = 32;
/** How long one question for messages stays open. */
const ASK_MS = 5_000;
const PAUSE_MS_MIN = 250;
const PAUSE_MS_MAX = 5_000;
/** A message repeated within this time is known by the stream itself. */
const DUPLICATE_MS = 120_000;
/** Records that nobody stored for so long are of no use any more. */
const AGE_MS_MAX = 7 * 24 * 3_600_000;

export interface NatsLogStreamOptions {
  readonly log: Logger;
  /** Bytes of the stream on the disks of NATS. */
  readonly bytes_max: number;
  /** What a reader has not stored within this time is given to another; 10 s when absent. */
  readonly ack_ms?: number;
}

/** Over a connection of its own: a flood of records delays no request. Closes it at the end. */
export function natsLogStream(connection: NatsConnection, options: NatsLogStreamOptions): LogStream {
  const jetstream = connection.jetstream({ timeout: PUBLISH_MS_MAX });
  return {
    async publish(records) {
      try {
        // The same records are the same message, however often they are sent.
        await jetstream.publish(LOG_SUBJECT, JSON.stringify(records), { msgID: records[0]?.record_id });
      } catch (error) {
        throw explained(error, connection);
      }
    },
    read: (store) => new NatsLogReader(connection, options, store),
    close: () => connection.drain(),
  };
}

/**
 * Makes stream and consumer, or brings their settings to ours.
 *
 * @throws JobmonError UNAVAILABLE: there is no JetStream, or it refuses.
 */
export async function ensureLogStream(
  connection: NatsConnection,
  { bytes_max, ack_ms = 10_000 }: NatsLogStreamOptions,
): Promise<void> {
  const stream = {
    subjects: [LOG_SUBJECT],
    max_bytes: bytes_max,
    max_age: nanos(AGE_MS_MAX),
    discard: DiscardPolicy.Old,
    duplicate_window: nanos(DUPLICATE_MS),
  };
  try {
    const manager = await connection.jetstreamManager({ timeout: PUBLISH_MS_MAX });
    const isThere = await manager.streams.info(LOG_STREAM).then(
      () => true,
      (error: unknown) => {
        if (apiCodeOf(error) === STREAM_NOT_FOUND) return false;
        throw error;
      },
    );
    if (isThere) await manager.streams.update(LOG_STREAM, stream);
    else {
      await manager.streams.add({
        ...stream,
        name: LOG_STREAM,
        storage: StorageType.File,
        // What a reader has stored is gone from the stream.
        retention: RetentionPolicy.Workqueue,
      });
    }
    await manager.consumers.add(LOG_STREAM, {
      durable_name: LOG_CONSUMER,
      ack_policy: AckPolicy.Explicit,
      ack_wait: nanos(ack_ms),
      max_ack_pending: 1_000,
    });
  } catch (error) {
    throw explained(error, connection);
  }
}

/** Of the API of JetStream. */
const STREAM_NOT_FOUND = 10_059;
const CONSUMER_NOT_FOUND = 10_014;

/**
 * Modes: **asking**: a question for messages is open, and what came is stored at once, while more comes; **broken**: JetStream did
 * not answer, stream and consumer are made again at growing pauses; **closed**.
 */
class NatsLogReader implements LogReader {
  private readonly closing = new AbortController();
  private readonly asking: Promise<void>;
  private readonly storing: Promise<void>;
  private waiting: { readonly message: JsMsg; readonly since_ms: number }[] = [];
  private failure: string | null = null;
  private wake: () => void = () => undefined;

  constructor(
    private readonly connection: NatsConnection,
    private readonly options: NatsLogStreamOptions,
    private readonly store: StoreRecords,
  ) {
    this.asking = this.ask();
    this.storing = this.storeAll();
  }

  trouble(): string | null {
    return this.failure;
  }

  async close(): Promise<void> {
    this.closing.abort();
    this.wake();
    await this.storing;
    await this.asking;
  }

  private async ask(): Promise<void> {
    const { signal } = this.closing;
    const jetstream = this.connection.jetstream({ timeout: PUBLISH_MS_MAX });
    for (let pause_ms = PAUSE_MS_MIN, isMade = false; !signal.aborted;) {
      try {
        if (!isMade) await ensureLogStream(this.connection, this.options);
        isMade = true;
        this.noteFailure(null);
        if (this.waiting.length >= MESSAGES_MAX) {
          await this.changed();
          continue;
        }
        const batch = MESSAGES_MAX - this.waiting.length;
        const messages = jetstream.fetch(LOG_STREAM, LOG_CONSUMER, { batch, expires: ASK_MS });
        let came = 0;
        const stop = (): void => messages.stop();
        signal.addEventListener('abort', stop);
        try {
          for await (const message of messages) {
            came += 1;
            this.waiting.push({ message, since_ms: performance.now() });
            this.wake();
          }
        } finally {
          signal.removeEventListener('abort', stop);
        }
        // A question to a consumer that is gone ends like one that nothing came to.
        if (came === 0 && !signal.aborted) await this.requireConsumer();
        pause_ms = PAUSE_MS_MIN;
      } catch (error) {
        if (signal.aborted || this.connection.isClosed()) return;
        isMade = false;
        this.noteFailure(explained(error, this.connection).message);
        await pause(pause_ms, undefined, { signal }).catch(() => undefined);
        pause_ms = Math.min(pause_ms * 2, PAUSE_MS_MAX);
      }
    }
  }

  private async requireConsumer(): Promise<void> {
    const manager = await this.connection.jetstreamManager({ timeout: PUBLISH_MS_MAX, checkAPI: false });
    await manager.consumers.info(LOG_STREAM, LOG_CONSUMER);
  }

  /** Tells a change of the cause once. */
  private noteFailure(failure: string | null): void {
    if (failure !== null && failure !== this.failure) this.options.log.warn(failure);
    if (failure === null && this.failure !== null) this.options.log.info('log records arrive again');
    this.failure = failure;
  }

  private async storeAll(): Promise<void> {
    const { signal } = this.closing;
    for (let pause_ms = PAUSE_MS_MIN; ;) {
      if (this.waiting.length === 0) {
        if (signal.aborted) return;
        await this.changed();
        continue;
      }
      // What comes meanwhile is of the next batch.
      const batch = [...this.waiting];
      try {
        const records = batch.flatMap(({ message }) => recordsOf(message));
        const begun_ms = performance.now();
        await this.store(records);
        metrics.batch_size.observe({ queue: 'log' }, records.length);
        for (const { message, since_ms } of batch) {
          metrics.queue_wait_seconds.observe({ queue: 'log' }, (begun_ms - since_ms) / 1_000);
          message.ack();
        }
        this.waiting = this.waiting.slice(batch.length);
        this.wake();
        pause_ms = PAUSE_MS_MIN;
      } catch (error) {
        this.options.log.warn({ error, messages: batch.length }, 'log records could not be stored and are stored later');
        // What is not stored by then is given to another, or to us again after our next start.
        if (signal.aborted) return;
        for (const { message } of batch) message.working();
        await pause(pause_ms, undefined, { signal }).catch(() => undefined);
        pause_ms = Math.min(pause_ms * 2, PAUSE_MS_MAX);
      }
    }
  }

  /** Resolves at the next change of what waits. */
  private changed(): Promise<void> {
    return new Promise((resolve) => {
      const former = this.wake;
      this.wake = () => {
        this.wake = () => undefined;
        former();
        resolve();
      };
    });
  }
}

/** What a message holds, the time of each record near the stream's. A message that is no list of records holds none. */
function recordsOf(message: JsMsg): unknown[] {
  let records: unknown;
  try {
    records = message.json();
  } catch {
    records = undefined;
  }
  // What is no list is refused by whoever stores, as one record of a wrong form.
  if (!Array.isArray(records)) return [records];
  const arrived_ms = Math.floor(message.info.timestampNanos / 1e6);
  return records.map((record: Partial<SentLogRecord> | null) => placedInTime(record, arrived_ms));
}

function apiCodeOf(error: unknown): number | undefined {
  return (error as { api_error?: { err_code?: number } } | null)?.api_error?.err_code;
}

/** The sentence that a person can act on. */
function explained(error: unknown, connection: NatsConnection): JobmonError {
  if (error instanceof JobmonError) return error;
  const { code, message } = error as { code?: string; message?: string };
  const server = connection.isClosed() ? 'NATS' : `NATS at ${connection.getServer()}`;
  const unavailable = (sentence: string) => new JobmonError('UNAVAILABLE', sentence, undefined, { cause: error });
  // 503: nobody answers for JetStream, or for this stream. 10076, 10039: it is off for the server, for the account.
  if (code === '503' || apiCodeOf(error) === 10_076 || apiCodeOf(error) === 10_039) {
    return unavailable(
      `${server} has no JetStream or no stream ${LOG_STREAM} in it: start nats-server with -js (or jetstream {} in its ` +
        'configuration) and the log sink',
    );
  }
  if (apiCodeOf(error) === STREAM_NOT_FOUND || apiCodeOf(error) === CONSUMER_NOT_FOUND) {
    return unavailable(`${server} has lost the stream ${LOG_STREAM}: the log sink makes it again`);
  }
  if (code === 'TIMEOUT' || code === 'DISCONNECT' || code === 'CONNECTION_CLOSED') {
    return unavailable(`${server} does not answer: see to the network and the server`);
  }
  return unavailable(
    `${server} refuses log records (${message ?? String(error)}): see to the rights of this account and to the disk of NATS`,
  );
}
