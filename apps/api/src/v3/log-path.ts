/** Where the output of a workflow's task instances stands (C1). */
import { JobmonError, type findArrayTasks, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import type { Room } from '../context';
import { taskRanges, type ArrayOfTasks } from './task-range';

type Row = ReplyOf<typeof findArrayTasks>['array_tasks'][number];

/** Instances whose paths are read by one statement. */
const PAGE_ROWS = 5_000;

/** C1. The newest instances first; only those that are shown are read whole. */
export async function findLogPaths(
  { database }: Room,
  { workflow_id, array_name, job_name, limit }: RequestOf<typeof findArrayTasks>,
): Promise<ReplyOf<typeof findArrayTasks>> {
  const [workflow] = await database.read('SELECT id FROM workflow WHERE id = ?', [workflow_id]);
  if (workflow === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
  const arrays = await database.read<ArrayOfTasks & { name: string }>(
    'SELECT id, workflow_id, name FROM array WHERE workflow_id = ? ORDER BY id',
    [workflow_id],
  );
  const wanted = array_name === '' ? arrays : arrays.filter(({ name }) => name === array_name);
  const ids = await instanceIds(database, wanted, job_name ?? '');
  ids.sort((a, b) => b - a);
  const shown = limit === 0 ? ids : ids.slice(0, limit);
  const rows: Row[] = [];
  for (let from = 0; from < shown.length; from += PAGE_ROWS) {
    for (const row of await readPaths(database, shown.slice(from, from + PAGE_ROWS))) rows.push(row);
  }
  return { array_tasks: rows };
}

async function instanceIds(database: Database, arrays: readonly ArrayOfTasks[], job_name: string): Promise<number[]> {
  const ids: number[] = [];
  const isNamed = job_name === '' ? '' : ' AND t.name = ?';
  for await (const { where, params } of taskRanges(database, arrays)) {
    const rows = await database.read<{ id: number }>(
      `SELECT ti.id AS id FROM task t ${database.dialect.joinInOrder} task_instance ti ON ti.task_id = t.id WHERE ${where}${isNamed}`,
      [...params, ...(job_name === '' ? [] : [job_name])],
    );
    for (const { id } of rows) ids.push(id);
  }
  return ids;
}

async function readPaths(database: Database, ids: readonly number[]): Promise<Row[]> {
  const { dialect } = database;
  return database.read<Row>(
    `SELECT t.id AS TASK_ID, t.name AS TASK_NAME, a.name AS ARRAY_NAME, ti.id AS TASK_INSTANCE_ID,
            COALESCE(ti.stdout, '') AS OUTPUT_PATH, COALESCE(ti.stderr, '') AS ERROR_PATH
       FROM ${dialect.jsonRows('given', { id: 'int' })}
       ${dialect.joinInOrder} task_instance ti ON ti.id = given.id
       ${dialect.joinInOrder} task t ON t.id = ti.task_id
       ${dialect.joinInOrder} array a ON a.id = t.array_id ORDER BY ti.id DESC`,
    [JSON.stringify(ids.map((id) => ({ id })))],
  );
}
