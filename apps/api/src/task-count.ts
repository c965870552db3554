/**
 * How many tasks of a workflow stand in each status, counted from the tasks themselves: other programs change them too, and a
 * count that was kept beside them would not know. One index holds all that is counted (docs/schema.md).
 */
import type { TaskStatus } from '@jobmon/contracts';
import { lockRows, type Database, type Dialect, type Procedure, type Statement } from '@jobmon/entities';

/** By status letter; a status in which no task stands is left out. */
export async function countTasks(database: Database, workflow_id: number): Promise<Partial<Record<TaskStatus, number>>> {
  const rows = await database.read<{ status: TaskStatus; n: number | string }>(
    'SELECT status, COUNT(*) AS n FROM task WHERE workflow_id = ? GROUP BY status',
    [workflow_id],
  );
  return Object.fromEntries(rows.map(({ status, n }) => [status, Number(n)]));
}

/** Writer of what `recount` finds: nobody else writes these rows, and it writes them under the workflow's lock. */
const RECOUNT_WRITER = 'recount';

/**
 * Brings the kept counts of a workflow to what stands. Tasks and kept counts are read by one statement, so of one moment, and only
 * the difference is added: transitions that come in between add theirs beside it. 3 statements, 2 when nothing differs.
 */
export async function recount(database: Database, workflow_id: number): Promise<void> {
  const { dialect } = database;
  await database.write({ label: 'task_status_count.recount' }, function* (): Procedure<void> {
    yield lockRows(dialect, 'workflow', 'id', [workflow_id]);
    const { rows } = yield {
      sql: `SELECT array_id, status, SUM(n) AS n FROM (
              SELECT COALESCE(array_id, 0) AS array_id, status, COUNT(*) AS n FROM task WHERE workflow_id = ?
               GROUP BY COALESCE(array_id, 0), status
              UNION ALL
              SELECT array_id, status, -SUM(n) AS n FROM task_status_count WHERE workflow_id = ? GROUP BY array_id, status
            ) AS counted GROUP BY array_id, status HAVING SUM(n) <> 0 ORDER BY array_id, status`,
      params: [workflow_id, workflow_id],
    };
    if (rows.length === 0) return;
    const differences = (rows as { array_id: number; status: TaskStatus; n: number | string }[]).map((row) => ({
      ...row,
      n: Number(row.n),
    }));
    yield upsertCounts(dialect, workflow_id, RECOUNT_WRITER, differences);
  });
}

/** Adds to a writer's kept counts of a workflow. */
export function upsertCounts(
  dialect: Dialect,
  workflow_id: number,
  writer: string,
  counts: readonly { array_id: number; status: TaskStatus; n: number }[],
): Statement {
  const upsert = dialect.onDuplicate(
    ['workflow_id', 'array_id', 'status', 'writer'],
    `n = task_status_count.n + ${dialect.inserted('n')}`,
  );
  return {
    sql: `INSERT INTO task_status_count (workflow_id, array_id, status, writer, n)
          SELECT ?, given.array_id, given.status, ?, given.n
            FROM ${dialect.jsonRows('given', { array_id: 'int', status: 'text', n: 'int' })} WHERE 1 = 1 ${upsert}`,
    params: [workflow_id, writer, JSON.stringify(counts)],
  };
}
