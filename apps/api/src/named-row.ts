/**
 * Rows that are found by a unique name and made when they are missing: arguments and the types of attributes. Names are
 * compared exactly here. A database may compare otherwise (by case, or without blanks at the end), and two such names
 * would then be one row: that is a CONFLICT, never a silent mistake.
 */
import { JobmonError } from '@jobmon/contracts';
import type { Database, Dialect, Procedure, Statement } from '@jobmon/entities';

/** Tables whose rows are an id and a unique name. */
export type NamedTable = 'arg' | 'task_attribute_type' | 'workflow_attribute_type';

/**
 * Ids of all names, in one to three statements. Found rows are not inserted again, which would use up ids. With `as_stored` a name
 * that the database takes for another is the other's row, as it always was for the Python protocol.
 */
export function* idsOfNames(
  dialect: Dialect,
  table: NamedTable,
  names: readonly string[],
  matching: 'exact' | 'as_stored' = 'exact',
): Procedure<Map<string, number>> {
  const ids = new Map<string, number>();
  if (names.length === 0) return ids;
  const given = dialect.jsonRows('given', { name: 'text' });
  const find = `SELECT row.id AS id, row.name AS name, given.name AS given_name FROM ${given} LEFT JOIN ${table} row ON row.name = given.name`;
  const missing = (): { name: string }[] => names.filter((name) => !ids.has(name)).map((name) => ({ name }));
  const look = function* (): Procedure<void> {
    const { rows } = yield { sql: find, params: [JSON.stringify(missing())] };
    for (const { id, name, given_name } of rows as { id: number | null; name: string; given_name: string }[]) {
      if (id !== null && (name === given_name || matching === 'as_stored')) ids.set(given_name, id);
    }
  };
  yield* look();
  if (missing().length > 0) {
    yield {
      sql: `${dialect.insertIgnore} INTO ${table} (name) SELECT given.name FROM ${given}`,
      params: [JSON.stringify(missing())],
    };
    yield* look();
  }
  const [lost] = missing();
  if (lost !== undefined) {
    throw new JobmonError('CONFLICT', `the database cannot tell the name '${lost.name}' from another that is stored already`);
  }
  return ids;
}

/** The row of exactly this name, else the one that the database takes for it. */
export function rowNamed<Row extends { readonly name: string }>(rows: readonly Row[], name: string): Row | undefined {
  return rows.find((row) => row.name === name) ?? rows[0];
}

/** Rows that `find` reads; when there are none, `insert` makes them, with care for whoever makes the same at this moment. */
export async function findOrInsert<Row>(database: Database, label: string, find: Statement, insert: Statement): Promise<Row[]> {
  const standing = await database.read<Row>(find.sql, find.params);
  if (standing.length > 0) return standing;
  return database.write({ label }, function* (): Procedure<Row[]> {
    yield insert;
    return (yield find).rows as Row[];
  });
}
