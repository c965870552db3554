/**
 * What a swarm asks every 30 s: which tasks have another status than before (E49). Tasks are read in pages, because on SQLite a read
 * stops the event loop. All of 100,000 tasks cost 0.2 s of processor time, JSON and caller included; one page does for a few changes.
 */
import { JobmonError, type getTaskStatusUpdates, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import type { Room } from '../context';
import { taskRanges, type ArrayOfTasks } from './task-range';

/**
 * Seconds that the answered cursor lies in the past. No write transaction lives longer than 5 s (a lock is waited for 3 s at most), so
 * a status with an older date is committed by the time of the answer (race 48).
 */
const CURSOR_SECONDS_BACK = 10;
/** Rows of one page. */
const PAGE_ROWS = 5_000;

interface ChangedTask {
  readonly id: number;
  readonly status: string;
}

/** E49. The time is read first: what changes while the tasks are read comes again with the next cursor. */
export async function findStatusUpdates(
  { database }: Room,
  { workflow_id, last_sync }: RequestOf<typeof getTaskStatusUpdates>,
): Promise<ReplyOf<typeof getTaskStatusUpdates>> {
  const [now] = await database.read<{ time: string; workflow_id: number | null }>(
    `SELECT ${database.dialect.nowPlusSeconds} AS time, (SELECT id FROM workflow WHERE id = ?) AS workflow_id`,
    [-CURSOR_SECONDS_BACK, workflow_id],
  );
  if (now?.workflow_id == null) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
  const since = cursorIn(last_sync);
  const pages = since === undefined ? everyTask(database, workflow_id) : tasksSince(database, workflow_id, since);
  // A task that changes between two pages stands in both: the later one counts.
  const statuses = new Map<number, string>();
  for await (const page of pages) for (const { id, status } of page) statuses.set(id, status);
  const tasks_by_status: Record<string, number[]> = {};
  for (const [id, status] of statuses) (tasks_by_status[status] ??= []).push(id);
  return { tasks_by_status, time: now.time };
}

/** The cursor as a date of whole seconds; undefined when there is none, or when it is no date: then everything is asked for. */
function cursorIn(last_sync: unknown): string | undefined {
  const found = typeof last_sync === 'string' ? /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d+)?$/.exec(last_sync) : null;
  if (found === null) return undefined;
  const date = new Date(`${found[1]}T${found[2]}Z`);
  // 31 February is read as a day of March; a database would not take it.
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(found[1] ?? '') ? `${found[1]} ${found[2]}` : undefined;
}

async function* everyTask(database: Database, workflow_id: number): AsyncGenerator<ChangedTask[]> {
  const arrays = await database.read<ArrayOfTasks>('SELECT id, workflow_id FROM `array` WHERE workflow_id = ? ORDER BY id', [
    workflow_id,
  ]);
  for await (const { where, params } of taskRanges(database, arrays)) {
    yield database.read<ChangedTask>(`SELECT t.id AS id, t.status AS status FROM task t WHERE ${where}`, params);
  }
  // Older programs may have left tasks without an array.
  yield database.read<ChangedTask>('SELECT id, status FROM task WHERE workflow_id = ? AND array_id IS NULL', [workflow_id]);
}

/**
 * By (workflow_id, status_date), whose index holds the status too. A page ends inside a second, so the rest of that second is read by
 * id before the next page begins behind it.
 */
async function* tasksSince(database: Database, workflow_id: number, since: string): AsyncGenerator<ChangedTask[]> {
  const select = 'SELECT id, status, status_date FROM task WHERE workflow_id = ? AND status_date';
  type Dated = ChangedTask & { status_date: string };
  for (let date = since, isIncluded = true; ; isIncluded = false) {
    const page = await database.read<Dated>(`${select} ${isIncluded ? '>=' : '>'} ? ORDER BY status_date LIMIT ${PAGE_ROWS}`, [
      workflow_id,
      date,
    ]);
    yield page;
    if (page.length < PAGE_ROWS) return;
    date = page[page.length - 1]!.status_date;
    for (let after = 0, isFull = true; isFull;) {
      const rest = await database.read<Dated>(`${select} = ? AND id > ? ORDER BY id LIMIT ${PAGE_ROWS}`, [
        workflow_id,
        date,
        after,
      ]);
      yield rest;
      isFull = rest.length === PAGE_ROWS;
      after = rest.at(-1)?.id ?? after;
    }
  }
}
