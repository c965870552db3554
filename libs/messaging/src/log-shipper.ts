/**
 * Brings what waits in a process's log queue onto the stream to the sink. While a message is in flight, whatever is logged waits and goes next: no
 * clock decides how many records a message has. A stream that does not take them is asked again at growing pauses; meanwhile the queue
 * fills, and what has no room in it is dropped and counted there. Whoever logs notices nothing of all this.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { SentLogRecord } from '@jobmon/contracts';
import { metrics, type LogQueue, type Logger } from '@jobmon/runtime';
import { LOG_MESSAGE_BYTES_MAX, type LogStream } from './log-stream';

/** Records of one message, and bytes of it, with room for the brackets around them. */
const RECORDS_MAX = 500;
const BYTES_MAX = LOG_MESSAGE_BYTES_MAX - 64;
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
  readonly stream: Pick<LogStream, 'publish'>;
  readonly log: Logger;
}

export function shipLogs({ queue, stream, log }: ShipperOptions): LogShipper {
  const closing = new AbortController();
  const givenUp = new AbortController();
  let isFailing = false;

  const publish = async (records: readonly SentLogRecord[]): Promise<void> => {
    for (let pause_ms = PAUSE_MS_MIN; !givenUp.signal.aborted; pause_ms = Math.min(pause_ms * 2, PAUSE_MS_MAX)) {
      try {
        await stream.publish(records);
        metrics.log_records.inc({ outcome: 'sent' }, records.length);
        if (isFailing) log.info({ shed: queue.counts.shed }, 'log records reach the sink again');
        isFailing = false;
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
      for (const message of messagesOf(queue.take(RECORDS_MAX))) await publish(message);
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
function messagesOf(records: readonly SentLogRecord[]): SentLogRecord[][] {
  const messages: SentLogRecord[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const record of records) {
    const own = Buffer.byteLength(JSON.stringify(record)) + 1;
    if (bytes + own > BYTES_MAX) {
      messages.push([]);
      bytes = 0;
    }
    messages.at(-1)?.push(record);
    bytes += own;
  }
  return messages;
}
