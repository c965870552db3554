/** Where the output of a workflow's task instances stands (C1). */
import type { findArrayTasks, ReplyOf, RequestOf } from '@jobmon/contracts';
import type { Room } from '../context';
import { strayRanges, taskRanges, type ArrayOfTasks, type TaskRange } from './task-range';
import { requireWorkflow } from './workflow-template';

type Row = ReplyOf<typeof findArrayTasks>['array_tasks'][number];

const COLUMNS = `t.id AS TASK_ID, t.name AS TASK_NAME, COALESCE(a.name, '') AS ARRAY_NAME, ti.id AS TASK_INSTANCE_ID,
  COALESCE(ti.stdout, '') AS OUTPUT_PATH, COALESCE(ti.stderr, '') AS ERROR_PATH`;
/** Instances whose paths are read by one statement. */
const PAGE_ROWS = 5_000;

/** C1. The newest instances first; with a limit only those that are shown are read whole. A task without an array shows `''` for its name. */
export async function findLogPaths(
  { database }: Room,
  { workflow_id, array_name, job_name, limit }: RequestOf<typeof findArrayTasks>,
): Promise<ReplyOf<typeof findArrayTasks>> {
  await requireWorkflow(database, workflow_id);
  const arrays = await database.read<ArrayOfTasks & { name: string }>(
    'SELECT id, workflow_id, name FROM array WHERE workflow_id = ? ORDER BY id',
    [workflow_id],
  );
  const wanted = array_name === '' ? arrays : arrays.filter(({ name }) => name === array_name);
  const named =
    job_name === undefined || job_name === '' ? { where: '', params: [] } : { where: ' AND t.name = ?', params: [job_name] };
  const { joinInOrder, jsonRows } = database.dialect;
  const rows: Row[] = [];
  const ids: number[] = [];
  const addRange = async (range: TaskRange): Promise<void> => {
    const from = `task t ${joinInOrder} task_instance ti ON ti.task_id = t.id`;
    const where = `WHERE ${range.where}${named.where}`;
    const params = [...range.params, ...named.params];
    if (limit === 0) {
      const sql = `SELECT ${COLUMNS} FROM ${from} LEFT JOIN array a ON a.id = t.array_id ${where}`;
      for (const row of await database.read<Row>(sql, params)) rows.push(row);
    } else {
      const sql = `SELECT ti.id AS id FROM ${from} ${where}`;
      for (const { id } of await database.read<{ id: number }>(sql, params)) ids.push(id);
    }
  };
  for await (const range of taskRanges(database, wanted)) await addRange(range);
  if (array_name === '') for await (const range of strayRanges(database, workflow_id)) await addRange(range);
  const newest = ids.sort((a, b) => b - a).slice(0, limit);
  for (let from = 0; from < newest.length; from += PAGE_ROWS) {
    const page = newest.slice(from, from + PAGE_ROWS).map((id) => ({ id }));
    const sql = `SELECT ${COLUMNS} FROM ${jsonRows('given', { id: 'int' })} ${joinInOrder} task_instance ti ON ti.id = given.id
                   ${joinInOrder} task t ON t.id = ti.task_id LEFT JOIN array a ON a.id = t.array_id`;
    for (const row of await database.read<Row>(sql, [JSON.stringify(page)])) rows.push(row);
  }
  return { array_tasks: rows.sort((a, b) => b.TASK_INSTANCE_ID - a.TASK_INSTANCE_ID) };
}
