/**
 * Rows that are found by a unique name and made when they are missing: arguments and the types of attributes. Names are
 * compared exactly here. A database may compare otherwise (by case, or without blanks at the end), and two such names
 * would then be one row: that is a CONFLICT, never a silent mistake.
 */
import { JobmonError } from '@jobmon/contracts';
import type { Dialect, Procedure } from '@jobmon/entities';

/** Tables whose rows are an id and a unique name. */
export type NamedTable = 'arg' | 'task_attribute_type' | 'workflow_attribute_type';

/** Ids of all names, in one to three statements. Found rows are not inserted again, which would use up ids. */
export function* idsOfNames(dialect: Dialect, table: NamedTable, names: readonly string[]): Procedure<Map<string, number>> {
  const ids = new Map<string, number>();
  if (names.length === 0) return ids;
  const given = dialect.jsonRows('given', { name: 'text' });
  const find = `SELECT row.id AS id, row.name AS name FROM ${given} LEFT JOIN ${table} row ON row.name = given.name`;
  const missing = (): { name: string }[] => names.filter((name) => !ids.has(name)).map((name) => ({ name }));
  const look = function* (): Procedure<void> {
    const { rows } = yield { sql: find, params: [JSON.stringify(missing())] };
    for (const { id, name } of rows as { id: number | null; name: string | null }[]) {
      if (id !== null && name !== null) ids.set(name, id);
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
