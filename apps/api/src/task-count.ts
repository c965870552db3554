/**
 * How many tasks of a workflow stand in each status, counted from the tasks themselves: other programs change them too, and a
 * count that was kept beside them would not know. One index holds all that is counted (docs/schema.md).
 */
import type { TaskStatus } from '@jobmon/contracts';
import { lockRows, type Database, type Dialect, type Procedure, type Statement } from '@jobmon/entities';

/** Tasks of one array in one status. */
export interface TaskCount {
  /** Null for tasks that older programs left without an array: then `version` tells the template version of their nodes. */
  readonly array_id: number | null;
  readonly version?: number;
  readonly status: TaskStatus;
  readonly n: number;
  readonly attempts_min: number;
  readonly attempts_max: number;
  readonly attempts: number;
  /** Attempts beyond the first of each task, all together. */
  readonly retries: number;
}

const COUNTS = `t.status AS status, COUNT(*) AS n, MIN(t.num_attempts) AS attempts_min, MAX(t.num_attempts) AS attempts_max,
  SUM(t.num_attempts) AS attempts, SUM(CASE WHEN t.num_attempts > 1 THEN t.num_attempts - 1 ELSE 0 END) AS retries`;

/** One statement counts all tasks, from an index alone: 100,000 in 0.05 s (docs/schema.md); a second those without an array. */
export async function countTasks(database: Database, workflow_id: number): Promise<TaskCount[]> {
  const counts = await readCounts(
    database,
    `SELECT t.array_id AS array_id, ${COUNTS} FROM task t WHERE t.workflow_id = ? GROUP BY t.array_id, t.status`,
    workflow_id,
  );
  const ofArrays = counts.filter(({ array_id }) => array_id !== null);
  if (ofArrays.length === counts.length) return counts;
  const ofNodes = await readCounts(
    database,
    `SELECT NULL AS array_id, n.task_template_version_id AS version, ${COUNTS} FROM task t LEFT JOIN node n ON n.id = t.node_id
      WHERE t.workflow_id = ? AND t.array_id IS NULL GROUP BY n.task_template_version_id, t.status`,
    workflow_id,
  );
  return [...ofArrays, ...ofNodes];
}

async function readCounts(database: Database, sql: string, workflow_id: number): Promise<TaskCount[]> {
  const rows = await database.read<Record<keyof TaskCount, number | string | null>>(sql, [workflow_id]);
  return rows.map((row) => {
    const { array_id, version, status, ...numbers } = row;
    const counted = Object.fromEntries(Object.entries(numbers).map(([name, n]) => [name, Number(n)]));
    const of = version === undefined ? { array_id } : { array_id, version };
    return { ...of, status, ...counted } as unknown as TaskCount;
  });
}

/** By status letter; a status in which no task stands is left out. */
export function totalsOf(counts: readonly Pick<TaskCount, 'status' | 'n'>[]): Partial<Record<TaskStatus, number>> {
  const totals: Partial<Record<TaskStatus, number>> = {};
  for (const { status, n } of counts) if (n !== 0) totals[status] = (totals[status] ?? 0) + n;
  return totals;
}

/** The kept counts by array, 0 for those without one: the same cost for a million tasks as for ten. */
export async function keptCounts(
  database: Database,
  workflow_id: number,
): Promise<{ array_id: number; status: TaskStatus; n: number }[]> {
  const rows = await database.read<{ array_id: number; status: TaskStatus; n: number | string }>(
    `SELECT array_id, status, SUM(n) AS n FROM task_status_count WHERE workflow_id = ? GROUP BY array_id, status HAVING SUM(n) > 0`,
    [workflow_id],
  );
  return rows.map((row) => ({ ...row, n: Number(row.n) }));
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
