/**
 * The way of log records from every process to the log sink, beside the bus of requests: a stream that keeps what it was given until a
 * reader has stored it. Two kinds: NATS JetStream (`nats-log-stream.ts`) and one inside the process.
 *
 * A reader may be given the same records twice; their ids tell.
 */
import { JobmonError, logRecordId, MESSAGE_BYTES_MAX, timeOfLogRecord, type SentLogRecord } from '@jobmon/contracts';

/** Stores records; may be asked to store the same again. A failure means: not stored, ask again. */
export type StoreRecords = (records: unknown[]) => Promise<void>;

export interface LogReader {
  /** Null while records arrive, else one sentence with cause and cure. */
  trouble(): string | null;
  /** Takes nothing more, waits for what is being stored. */
  close(): Promise<void>;
}

export interface LogStream {
  /**
   * Gives records away, of which one message is made. When this resolves they are out of this process's hands. At most
   * `LOG_MESSAGE_BYTES_MAX` as JSON.
   *
   * @throws JobmonError UNAVAILABLE when they could not be given away; a repeat with the same records is stored once.
   */
  publish(records: readonly SentLogRecord[]): Promise<void>;
  /** Reads on and on until the reader is closed; of several readers, of any process, each message is given to one. */
  read(store: StoreRecords): LogReader;
  close(): Promise<void>;
}

/** A record whose time is further from its arrival than this is placed at its arrival: its sender's clock is wrong, and its place would be as well. */
const CLOCK_MS_MAX = 24 * 3_600_000;

/** The record with a time near that of its arrival, by the receiver's clock; what it said itself is in `detail.said_at_ms` then. */
export function placedInTime<Record extends Partial<SentLogRecord> | null>(record: Record, arrived_ms: number): Record {
  if (typeof record?.record_id !== 'string') return record;
  const said_ms = timeOfLogRecord(record.record_id);
  if (Math.abs(said_ms - arrived_ms) <= CLOCK_MS_MAX) return record;
  const record_id = logRecordId(arrived_ms, record.record_id.slice(10, 20), 0).slice(0, 20) + record.record_id.slice(20);
  return { ...record, record_id, detail: { ...record.detail, said_at_ms: said_ms } };
}

/** Of one message of records; a record alone is smaller in any case. */
export const LOG_MESSAGE_BYTES_MAX = MESSAGE_BYTES_MAX;

/** A stream inside the process, which keeps nothing itself: giving away ends when the reader has stored. */
export function inProcessLogStream(): LogStream {
  let store: StoreRecords | undefined;
  let storing: Promise<void> = Promise.resolve();
  return {
    async publish(records) {
      if (store === undefined) throw new JobmonError('UNAVAILABLE', 'nobody stores log records: the log sink is not there');
      const copy = JSON.parse(JSON.stringify(records)) as unknown[];
      const mine = storing.catch(() => undefined).then(() => store?.(copy));
      storing = mine;
      await mine;
    },
    read(given) {
      store = given;
      return {
        trouble: () => null,
        close: async () => {
          store = undefined;
          await storing.catch(() => undefined);
        },
      };
    },
    close: async () => undefined,
  };
}
