/** How the tasks of a workflow stand and why they failed, a page at a time. */
import { JobmonError, type listTaskErrors, type listTaskStatuses, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import { idList, type Database } from '@jobmon/entities';
import type { Room } from './context';
import { idsAfter } from './task-view';

/** Characters of one error that is listed. */
const ERROR_CHARACTERS_MAX = 10_000;
/** Errors of one page: the newest of its tasks. */
const ERRORS_MAX = 2_000;

type Statuses = ReplyOf<typeof listTaskStatuses>;
type Errors = ReplyOf<typeof listTaskErrors>;

/** @throws JobmonError NOT_FOUND */
export async function findStatuses({ database }: Room, request: RequestOf<typeof listTaskStatuses>): Promise<Statuses> {
  const ids = await pageOf(database, { ...request, status: undefined });
  if (ids.length === 0) return { statuses: [], next: null };
  const { sql, params } = idList(ids);
  const rows = await database.read<{ id: number; status: Statuses['statuses'][number][1] }>(
    `SELECT id, status FROM task WHERE id IN ${sql} ORDER BY id`,
    params,
  );
  return { statuses: rows.map(({ id, status }) => [id, status]), next: nextOf(ids, request.limit) };
}

interface ErrorRow {
  readonly task_id: number;
  readonly task_instance_id: number;
  readonly error_time: string | null;
  readonly description: string;
}

/** @throws JobmonError NOT_FOUND */
export async function findErrors({ database }: Room, request: RequestOf<typeof listTaskErrors>): Promise<Errors> {
  const ids = await pageOf(database, { ...request, status: 'F' });
  if (ids.length === 0) return { tasks: [], next: null };
  const { sql, params } = idList(ids);
  const names = await database.read<{ id: number; name: string }>(
    `SELECT id, name FROM task WHERE id IN ${sql} ORDER BY id`,
    params,
  );
  const { joinInOrder } = database.dialect;
  const rows = await database.read<ErrorRow>(
    `SELECT ti.task_id AS task_id, ti.id AS task_instance_id, e.error_time AS error_time,
            SUBSTR(e.description, 1, ${ERROR_CHARACTERS_MAX}) AS description
       FROM task_instance ti ${joinInOrder} task_instance_error_log e ON e.task_instance_id = ti.id
      WHERE ti.task_id IN ${sql} ORDER BY e.id DESC LIMIT ${ERRORS_MAX}`,
    params,
  );
  const errors = new Map(ids.map((id): [number, Errors['tasks'][number]['errors']] => [id, []]));
  for (const { task_id, ...error } of rows.reverse()) errors.get(task_id)?.push(error);
  const tasks = names.map(({ id, name }) => ({ task_id: id, name, errors: errors.get(id) ?? [] }));
  return { tasks, next: nextOf(ids, request.limit) };
}

interface Page {
  readonly workflow_id: number;
  readonly after: number;
  readonly limit: number;
  readonly status: string | undefined;
}

async function pageOf(database: Database, { workflow_id, after, limit, status }: Page): Promise<number[]> {
  const [workflow] = await database.read('SELECT id FROM workflow WHERE id = ?', [workflow_id]);
  if (workflow === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
  const rows = await database.read<{ id: number }>('SELECT id FROM array WHERE workflow_id = ? ORDER BY id', [workflow_id]);
  return idsAfter(database, { workflow_id, arrays: rows.map(({ id }) => id), after, status, size: limit });
}

function nextOf(ids: readonly number[], limit: number): number | null {
  return ids.length < limit ? null : ids[ids.length - 1]!;
}
