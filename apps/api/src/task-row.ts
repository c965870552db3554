/** Rows of tasks and of their attributes, inserted by a few set-based statements for both protocols. */
import type { Dialect, Procedure } from '@jobmon/entities';
import { upsertCounts } from './task-count';

/** Writer of the counts: all of the api's processes share one, since each writes under the workflow's lock. */
const COUNT_WRITER = 'api';

/** A task to insert. */
export interface TaskRow {
  readonly node_id: number;
  readonly task_args_hash: string;
  readonly array_id: number;
  readonly name: string;
  readonly command: string;
  readonly task_resources_id: number;
  readonly max_attempts: number;
  /** JSON. */
  readonly resource_scales: string;
  /** JSON. */
  readonly fallback_queues: string;
  readonly identity: string;
}

/**
 * Inserts tasks in G and counts them; answers their ids in the given order. The caller holds the workflow's row, so nobody else
 * inserts any of its tasks. 3 statements.
 */
export function* insertTasks(dialect: Dialect, workflow_id: number, rows: readonly TaskRow[]): Procedure<number[]> {
  const columns = {
    node_id: 'int',
    task_args_hash: 'text',
    array_id: 'int',
    name: 'text',
    command: 'text',
    task_resources_id: 'int',
    max_attempts: 'int',
    resource_scales: 'text',
    fallback_queues: 'text',
    identity: 'text',
  } as const;
  const list = Object.keys(columns);
  yield {
    sql: `INSERT INTO task (workflow_id, num_attempts, status, status_date, current_task_instance_id, ${list.join(', ')})
          SELECT ?, 0, 'G', ${dialect.now}, 0, ${list.map((column) => `given.${column}`).join(', ')}
            FROM ${dialect.jsonRows('given', columns)}`,
    params: [workflow_id, JSON.stringify(rows)],
  };
  const made = yield {
    sql: `SELECT given.at AS at, t.id AS task_id FROM ${dialect.jsonRows('given', { at: 'int', identity: 'text' })}
            LEFT JOIN task t ON t.identity = given.identity`,
    params: [JSON.stringify(rows.map(({ identity }, at) => ({ at, identity })))],
  };
  const ids = new Array<number>(rows.length);
  for (const { at, task_id } of made.rows as { at: number; task_id: number }[]) ids[at] = task_id;
  const counts = new Map<number, number>();
  for (const { array_id } of rows) counts.set(array_id, (counts.get(array_id) ?? 0) + 1);
  yield upsertCounts(
    dialect,
    workflow_id,
    COUNT_WRITER,
    [...counts].map(([array_id, n]) => ({ array_id, status: 'G', n })),
  );
  return ids;
}

/** Stores attributes; a known one takes the new value. */
export function* upsertTaskAttributes(
  dialect: Dialect,
  rows: readonly { readonly task_id: number; readonly type_id: number; readonly value: string | null }[],
): Procedure<void> {
  if (rows.length === 0) return;
  const upsert = dialect.onDuplicate(['task_id', 'task_attribute_type_id'], `value = ${dialect.inserted('value')}`);
  yield {
    sql: `INSERT INTO task_attribute (task_id, task_attribute_type_id, value)
          SELECT given.task_id, given.type_id, given.value
            FROM ${dialect.jsonRows('given', { task_id: 'int', type_id: 'int', value: 'text' })} WHERE 1 = 1 ${upsert}`,
    params: [JSON.stringify(rows)],
  };
}
