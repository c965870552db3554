/**
 * The shapes of set-based statement that the write path is made of: rows locked by primary key, rows updated from one
 * JSON parameter, rows listed by id, and instances of runs found by their status. They differ between the two databases in word order only, and that difference
 * ends here.
 */
import type { Dialect, SqlValue, Statement } from './database';

/**
 * `(?,?,…)` and its parameters for a list of ids, padded with the last id to the next power of two: eleven texts serve all
 * lists of up to 1,024 ids, so the drivers' statement caches stay small. Never empty: an empty list matches no row.
 */
export function idList(ids: readonly number[]): { readonly sql: string; readonly params: SqlValue[] } {
  const last = ids.at(-1) ?? 0;
  const width = 2 ** Math.ceil(Math.log2(Math.max(1, ids.length)));
  return {
    sql: `(${Array<string>(width).fill('?').join(',')})`,
    params: Array.from({ length: width }, (_, at) => ids[at] ?? last),
  };
}

/**
 * Locks rows by primary key, ascending, and answers `columns`. The index is forced on MariaDB: on a small table the optimizer
 * would rather scan it, and a scan waits for every row that somebody else holds.
 */
export function lockRows(dialect: Dialect, table: string, columns: string, ids: readonly number[]): Statement {
  const list = idList(ids);
  return {
    sql: `SELECT ${columns} FROM ${table}${dialect.byPrimaryKey} WHERE id IN ${list.sql} ORDER BY id${dialect.forUpdate}`,
    params: list.params,
  };
}

/**
 * Updates `table` from rows given as one JSON parameter with a column `id` that names the row by primary key. In `set` and `where` the
 * table's columns are written `table.column` and the parameter's `given.column`; the left side of an assignment is bare.
 */
export function updateRows(
  dialect: Dialect,
  update: {
    readonly table: string;
    readonly given: Readonly<Record<string, 'int' | 'text' | 'real'>>;
    readonly rows: readonly Readonly<Record<string, SqlValue | undefined>>[];
    readonly set: Readonly<Record<string, string>>;
    readonly where: string;
  },
): Statement {
  const { table } = update;
  const given = dialect.jsonRows('given', update.given);
  const params = [JSON.stringify(update.rows)];
  const assignments = Object.entries(update.set);
  if (dialect.name === 'sqlite') {
    const set = assignments.map(([column, value]) => `${column} = ${value}`).join(', ');
    return { sql: `UPDATE ${table} SET ${set} FROM ${given} WHERE ${table}.id = given.id AND (${update.where})`, params };
  }
  const set = assignments.map(([column, value]) => `${table}.${column} = ${value}`).join(', ');
  return {
    sql: `UPDATE ${given} ${dialect.joinInOrder} ${table}${dialect.byPrimaryKey} ON ${table}.id = given.id SET ${set} WHERE ${update.where}`,
    params,
  };
}

/**
 * The instances `ti` in these statuses of the runs `wr` that a condition names, as a derived table `alias` with the columns of
 * `select`: a branch for each status, its parameters those of the condition again. With `status IN (…)` in the join MariaDB looks up the
 * run alone and reads all instances that it ever had.
 */
export function instancesByStatus(
  alias: string,
  select: string,
  statuses: readonly string[],
  where: { readonly sql: string; readonly params: readonly SqlValue[] },
): { readonly sql: string; readonly params: SqlValue[] } {
  const branches = statuses.map(
    (letter) =>
      `SELECT ${select} FROM workflow_run AS wr JOIN task_instance AS ti ON ti.workflow_run_id = wr.id AND ti.status = '${letter}' ` +
      `WHERE ${where.sql}`,
  );
  return { sql: `(${branches.join(' UNION ALL ')}) AS ${alias}`, params: statuses.flatMap(() => [...where.params]) };
}
