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
  const rows = new Map<string, string[]>();
  for (const { tableName } of database.dataSource.entityMetadatas) {
    if (tableName === LEFT_OUT) continue;
    const found = await database.read(`SELECT * FROM \`${tableName}\``);
    rows.set(tableName, found.map((row) => JSON.stringify(but === 'dates' ? withoutDates(row) : row)).sort());
  }
  return rows;
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
