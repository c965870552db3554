/**
 * Brings what waits in a process's log queue to the sink, by a stream or by a call. While a message is in flight, whatever is logged waits and goes next: no
 * clock decides how many records a message has. A stream that does not take them is asked again at growing pauses; meanwhile the queue
 * fills, and what has no room in it is dropped and counted there; when the way is free again, the number is said. Whoever logs notices nothing of all this.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { MESSAGE_BYTES_MAX, type SentLogRecord } from '@jobmon/contracts';
import type { LogQueue } from './log-queue';
import type { Logger } from './logging';
import { metrics } from './metrics';

/** Records of one message. */
const RECORDS_MAX = 500;
/** For the brackets around them. */
const BRACKETS_BYTES = 64;
const PAUSE_MS_MIN = 250;
const PAUSE_MS_MAX = 5_000;
/** At its end a process waits so long for the stream to take what was logged last. */
const FLUSH_MS_MAX = 2_000;

export interface LogShipper {
  /** Sends what waits, for at most 2 s, and ends. */
  close(): Promise<void>;
}

export interface ShipperOptions {
  readonly queue: LogQueue;
  /** Gives one message away; throws when it could not, and is asked again with the same. */
  readonly stream: { publish(records: readonly SentLogRecord[]): Promise<void> };
  readonly log: Logger;
  /** Of one message as JSON; what the bus carries when absent. */
  readonly bytes_max?: number;
}

export function shipLogs({ queue, stream, log, bytes_max = MESSAGE_BYTES_MAX }: ShipperOptions): LogShipper {
  const closing = new AbortController();
  const givenUp = new AbortController();
  let isFailing = false;
  /** What had no room by the last time that it was said. */
  let shed_said = 0;

  const publish = async (records: readonly SentLogRecord[]): Promise<void> => {
    for (let pause_ms = PAUSE_MS_MIN; !givenUp.signal.aborted; pause_ms = Math.min(pause_ms * 2, PAUSE_MS_MAX)) {
      try {
        await stream.publish(records);
        metrics.log_records.inc({ outcome: 'sent' }, records.length);
        if (isFailing) log.info('log records reach the sink again');
        isFailing = false;
        const shed = queue.counts.shed - shed_said;
        // Said when there is room for saying it.
        if (shed > 0 && queue.isRoomy) {
          shed_said = queue.counts.shed;
          log.warn({ shed }, 'there was no room for log records: they stand in the log of this process alone');
        }
        return;
      } catch (error) {
        if (!isFailing) {
          const sentence = error instanceof Error ? error.message : String(error);
          log.warn(`log records do not reach the sink and stand in the log of this process alone: ${sentence}`);
        }
        isFailing = true;
        await pause(pause_ms, undefined, { signal: givenUp.signal }).catch(() => undefined);
      }
    }
  };

  const run = async (): Promise<void> => {
    while (!givenUp.signal.aborted) {
      await queue.filled(closing.signal);
      if (queue.waiting === 0) return;
      for (const message of messagesOf(queue.take(RECORDS_MAX), bytes_max - BRACKETS_BYTES)) await publish(message);
    }
  };
  const running = run();

  return {
    async close() {
      closing.abort();
      const timer = setTimeout(() => givenUp.abort(), FLUSH_MS_MAX);
      await running;
      clearTimeout(timer);
    },
  };
}

/** Records in their order, in as few messages as their bytes allow. */
function messagesOf(records: readonly SentLogRecord[], bytes_max: number): SentLogRecord[][] {
  const messages: SentLogRecord[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const record of records) {
    const own = Buffer.byteLength(JSON.stringify(record)) + 1;
    if (bytes + own > bytes_max) {
      messages.push([]);
      bytes = 0;
    }
    messages.at(-1)?.push(record);
    bytes += own;
  }
  return messages;
}
