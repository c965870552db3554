/**
 * The second way of log lines: besides standard output, lines of level warn and above, and lines that name an attempt, wait here to be sent
 * to the log sink. Whoever logs never waits for that: a line is put into a list, and nothing else is done with it at that moment. The list is
 * bounded; when it is full the second copy of a line is dropped and counted, the first one stands in standard output as always.
 */
import { randomBytes } from 'node:crypto';
import { LOG_LEVELS, LOG_RECORD_DIGITS, LOG_SENDER_DIGITS, type SentLogRecord } from '@jobmon/contracts';
import { recordOfLine } from './log-record';
import { metrics } from './metrics';

/** Lines that wait, and characters of them: some seconds of a process that says more than it should. */
const LINES_MAX = 20_000;
const CHARS_MAX = 16 * 1024 * 1024;
/** A longer line is made into its record, which is cut, at once: waiting whole it would take the room of many. */
const LINE_CHARS_MAX = 64 * 1024;

/** Stands in every line about an attempt; pino writes members so. */
const ATTEMPT = '"task_instance_id":';

interface Waiting {
  readonly sequence: number;
  readonly line: string;
  readonly record?: SentLogRecord;
}

export interface LogQueueOptions {
  /** Lines that may wait; 20,000 when absent. */
  readonly lines_max?: number;
}

export class LogQueue {
  /** What became of lines since the process began. `shed`: there was no room. */
  readonly counts = { taken: 0, shed: 0 };
  private readonly sender = Array.from(randomBytes(LOG_SENDER_DIGITS), (byte) => LOG_RECORD_DIGITS[byte % 32]).join('');
  private readonly lines_max: number;
  private lines: Waiting[] = [];
  /** Lines before this are gone. */
  private head = 0;
  private chars = 0;
  private sequence = 0;
  private wake: (() => void) | undefined;

  constructor({ lines_max = LINES_MAX }: LogQueueOptions = {}) {
    this.lines_max = lines_max;
  }

  /** Lines that wait. */
  get waiting(): number {
    return this.lines.length - this.head;
  }

  /** Less than half of the room is taken. */
  get isRoomy(): boolean {
    return this.waiting * 2 < this.lines_max && this.chars * 2 < CHARS_MAX;
  }

  /** Takes a line if it is of those that are kept and there is room. Never throws. `level`: pino's number. */
  offer(line: string, level: number): void {
    if (level < LOG_LEVELS.warn && !line.includes(ATTEMPT)) return;
    const isLong = line.length > LINE_CHARS_MAX;
    if (this.waiting >= this.lines_max || this.chars + Math.min(line.length, LINE_CHARS_MAX) > CHARS_MAX) {
      this.counts.shed += 1;
      metrics.log_records.inc({ outcome: 'shed' });
      return;
    }
    const { sequence } = this;
    this.sequence += 1;
    this.lines.push(isLong ? { sequence, line: '', record: recordOfLine(line, this.sender, sequence) } : { sequence, line });
    this.chars += isLong ? LINE_CHARS_MAX : line.length;
    this.counts.taken += 1;
    this.wake?.();
  }

  /** Takes the oldest lines out, at most so many, as records. */
  take(count_max: number): SentLogRecord[] {
    const records: SentLogRecord[] = [];
    while (records.length < count_max && this.waiting > 0) {
      const { sequence, line, record } = this.lines[this.head] as Waiting;
      this.head += 1;
      this.chars -= record === undefined ? line.length : LINE_CHARS_MAX;
      records.push(record ?? recordOfLine(line, this.sender, sequence));
    }
    // The gone front is cut off when it is the larger half: each line is moved once at most.
    if (this.head * 2 >= this.lines.length) {
      this.lines = this.lines.slice(this.head);
      this.head = 0;
    }
    return records;
  }

  /** Resolves when a line waits, or when the signal is aborted. For one waiter. */
  async filled(signal: AbortSignal): Promise<void> {
    if (this.waiting > 0 || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        this.wake = undefined;
        resolve();
      };
      this.wake = wake;
      signal.addEventListener('abort', wake);
    });
  }
}
