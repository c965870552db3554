/** Log records as they come. The sink has them; whoever follows is told by a hint that some were stored, and looks on a clock too. */
import {
  listLogRecords,
  logRecordIdAt,
  logRecordStored,
  timeOfLogRecord,
  timeOfMoment,
  type followLogRecords,
  type LogRecord,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Call, Room } from './context';
import { News } from './workflow-view';

/** A follower asks at most this often, however much is said. */
const LOOK_MS_MIN = 100;
/** It asks this often without being told anything: a lost hint costs time only. */
const LOOK_MS_MAX = 2_000;
const PAGE_MAX = 1_000;
/** Processes send at their own pace: so far behind the newest record that was told, others are looked for that came later. */
const LATE_MS = 5_000;
/** Records that a follower is known to have been told; one that comes later than so many others is not told any more. */
const TOLD_MAX = 20_000;

/** Follows until the caller hangs up or the server closes. Throws NOT_FOUND and UNAVAILABLE at its first look. */
export async function* followRecords(
  { messenger, sender }: Room,
  { after, since, ...filters }: RequestOf<typeof followLogRecords>,
  call: Call,
): AsyncGenerator<ReplyOf<typeof followLogRecords>, void, void> {
  const signal = call.signal();
  const news = new News();
  let hinted: string | undefined;
  const stop = messenger.subscribe(logRecordStored, ({ from }) => {
    if (hinted === undefined || from < hinted) hinted = from;
    news.tell();
  });
  const begin = after ?? logRecordIdAt(since === undefined ? Date.now() : timeOfMoment(since));
  const told = new Told(begin);
  let isFirst = true;
  try {
    while (!signal.aborted) {
      news.forget();
      const from = hinted;
      hinted = undefined;
      let fresh: LogRecord[] = [];
      let at: string | null = told.lookFrom(from);
      while (at !== null && !signal.aborted) {
        const page: ReplyOf<typeof listLogRecords> = await sender.send(
          listLogRecords,
          { ...filters, order: 'oldest', after: at, limit: PAGE_MAX },
          { request_id: call.request_id },
        );
        fresh = page.records.filter(({ record_id }) => told.isNew(record_id));
        if (fresh.length > 0 || isFirst) yield { records: fresh };
        isFirst = false;
        at = page.next;
      }
      await news.wait(LOOK_MS_MAX, signal);
      // Whatever comes in this pause is read together.
      await sleep(LOOK_MS_MIN, undefined, { signal }).catch(() => undefined);
    }
  } finally {
    stop();
  }
}

/** Which records a follower has been told: the last ones by their ids, all older ones by a line. */
class Told {
  private readonly recent = new Set<string>();
  private newest: string;

  /** What stands behind `line` is told, what does not is told already or will never be. */
  constructor(private line: string) {
    this.newest = line;
  }

  /** From where to look: from the lowest id that a hint named, else from where records may still come late. */
  lookFrom(hinted: string | undefined): string {
    const from = logRecordIdAt(hinted === undefined ? timeOfLogRecord(this.newest) - LATE_MS : timeOfLogRecord(hinted));
    return from > this.line ? from : this.line;
  }

  /** Notes the record; false when it was told before. */
  isNew(record_id: string): boolean {
    if (this.recent.has(record_id)) return false;
    this.recent.add(record_id);
    if (record_id > this.newest) this.newest = record_id;
    if (this.recent.size > TOLD_MAX) {
      const oldest = this.recent.values().next().value as string;
      this.recent.delete(oldest);
      if (oldest > this.line) this.line = oldest;
    }
    return true;
  }
}
