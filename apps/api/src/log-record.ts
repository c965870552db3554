/**
 * Log records as they come. The sink has them and numbers them as they are committed; a follower goes on from the last number that it has heard of,
 * so nothing passes it by, however late or from however many sinks. It is told by a hint that some were stored, and looks on a clock too.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  listArrivedLogRecords,
  listLogRecords,
  logRecordStored,
  type followLogRecords,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import type { Call, Room } from './context';
import { News } from './workflow-view';

/** A follower asks at most this often, however much is said. */
const LOOK_MS_MIN = 100;
/** It asks this often without being told anything: a lost hint costs time only. */
const LOOK_MS_MAX = 2_000;
const PAGE_MAX = 1_000;

type Reply = ReplyOf<typeof followLogRecords>;

/** Follows until the caller hangs up or the server closes. Throws NOT_FOUND and UNAVAILABLE at its first look. */
export async function* followRecords(
  { messenger, sender }: Room,
  { after, ...filters }: RequestOf<typeof followLogRecords>,
  call: Call,
): AsyncGenerator<Reply, void, void> {
  const signal = call.signal();
  const context = call.context;
  const news = new News();
  const stop = messenger.subscribe(logRecordStored, () => news.tell());
  try {
    const begin = await sender.send(listArrivedLogRecords, { ...filters, after, limit: PAGE_MAX }, context);
    if (after === undefined && filters.since !== undefined) yield* standing(begin.arrival);
    // Told even when it is empty: whoever asked knows then that he is heard.
    yield { records: begin.records, arrival: begin.arrival };
    let { arrival, has_more } = begin;
    while (!signal.aborted) {
      if (!has_more) {
        await news.wait(LOOK_MS_MAX, signal);
        // Whatever comes in this pause is read together.
        await sleep(LOOK_MS_MIN, undefined, { signal }).catch(() => undefined);
        if (signal.aborted) return;
      }
      news.forget();
      const page = await sender.send(listArrivedLogRecords, { ...filters, after: arrival, limit: PAGE_MAX }, context);
      ({ arrival, has_more } = page);
      if (page.records.length > 0) yield { records: page.records, arrival };
    }
  } finally {
    stop();
  }

  /** Those that had come by then, by their time; others are told as they came. Whoever is cut off meanwhile begins again. */
  async function* standing(arrival: number): AsyncGenerator<Reply, void, void> {
    for (let at: string | null | undefined; at !== null && !signal.aborted;) {
      const page: ReplyOf<typeof listLogRecords> = await sender.send(
        listLogRecords,
        { ...filters, order: 'oldest', after: at, limit: PAGE_MAX },
        context,
      );
      const records = page.records.filter((record) => record.arrival <= arrival);
      if (records.length > 0) yield { records, arrival: null };
      at = page.next;
    }
  }
}
