/** All rows of a database at one moment, and what came between two moments: to see that a request did what it should and nothing else. */
import type { Database } from '@jobmon/entities';

/**
 * Rows of each table as text. Left out are the kept counts: they are derived from the tasks, and a read may mend them.
 */
export type Rows = ReadonlyMap<string, readonly string[]>;

/** Rows added, and rows changed, by table; a table where neither happened is absent. */
export type Difference = Readonly<Record<string, readonly [added: number, changed: number]>>;

const LEFT_OUT = 'task_status_count';

/** Every row of every table; with `but: 'dates'` without the columns that hold a time. */
export async function allRows(database: Database, but?: 'dates'): Promise<Rows> {
  const tables = database.dataSource.entityMetadatas.map(({ tableName }) => tableName).filter((name) => name !== LEFT_OUT);
  const found = await Promise.all(tables.map((name) => database.read(`SELECT * FROM \`${name}\``)));
  const texts = found.map((rows) => rows.map((row) => JSON.stringify(but === 'dates' ? withoutDates(row) : row)).sort());
  return new Map(tables.map((name, at) => [name, texts[at]!]));
}

/**
 * Reads all rows, and again only when a row was written since: the database counts what it writes, and in a spec nobody else does.
 * A refused request is proved to have changed nothing without reading anything twice.
 */
export function rowsReader(database: Database, but?: 'dates'): () => Promise<Rows> {
  let read: { written: number; rows: Rows } | undefined;
  return async () => {
    const written = database.counts.rows_written;
    if (read?.written !== written) read = { written, rows: await allRows(database, but) };
    return read.rows;
  };
}

/** What a house finds when it starts: rows of these tables stay when all others go. */
const SEEDED = /_(status|type)$|^(cluster|queue)$/;
/** Name tables that end like seeded ones. */
const NOT_SEEDED = /_attribute_type$|^task_resources$/;

/** Removes every row but those that a new database has. */
export async function removeRows(database: Database): Promise<void> {
  const tables = database.dataSource.entityMetadatas.map(({ tableName }) => tableName);
  await database.write({ label: 'test.remove_rows' }, function* () {
    for (const name of tables.filter((one) => !SEEDED.test(one) || NOT_SEEDED.test(one)))
      yield { sql: `DELETE FROM \`${name}\`` };
  });
}

function withoutDates(row: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(row).filter(([column]) => !column.endsWith('_date')));
}

/** What came and what went: of the rows of a table that are another now, as many were added as there are more of them. */
export function difference(before: Rows, after: Rows): Difference {
  const found: Record<string, [number, number]> = {};
  for (const [table, rows] of after) {
    const stood = new Map<string, number>();
    for (const row of before.get(table) ?? []) stood.set(row, (stood.get(row) ?? 0) + 1);
    let came = 0;
    for (const row of rows) {
      const left = stood.get(row) ?? 0;
      if (left === 0) came += 1;
      else stood.set(row, left - 1);
    }
    const went = [...stood.values()].reduce((sum, count) => sum + count, 0);
    if (came > 0 || went > 0) found[table] = [came - went, went];
  }
  return found;
}
