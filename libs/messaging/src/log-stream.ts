/**
 * The way of log records from every process to the log sink, beside the bus of requests: a stream that keeps what it was given until a
 * reader has stored it. Two kinds: NATS JetStream (`nats-log-stream.ts`) and one inside the process.
 *
 * A reader may be given the same records twice; their ids tell.
 */
import { JobmonError, MESSAGE_BYTES_MAX, type SentLogRecord } from '@jobmon/contracts';

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
