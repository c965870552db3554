/** The form in which migrations write tables down, and the statements that differ between the two databases. */
import type { QueryRunner } from 'typeorm';

/** One column in a form that fits a line; `build` turns it into what TypeORM wants on the database at hand. */
export interface ColumnShape {
  readonly name: string;
  readonly type: 'int' | 'bigint' | 'smallint' | 'varchar' | 'text' | 'json' | 'datetime';
  readonly length?: number;
  readonly nullable?: true;
  readonly key?: 'increment' | 'part';
  readonly default?: number;
}

export interface IndexShape {
  readonly name: string;
  readonly columns: readonly string[];
  readonly unique?: true;
  /** MariaDB needs a prefix on a TEXT column: characters by column name. */
  readonly prefix?: Readonly<Record<string, number>>;
}

export interface TableShape {
  readonly name: string;
  readonly columns: readonly ColumnShape[];
  readonly indexes: readonly IndexShape[];
}

export function isSqlite(runner: QueryRunner): boolean {
  return runner.connection.options.type === 'better-sqlite3';
}

/** Makes an index by SQL: the table API knows no key prefixes, and MariaDB requires them on TEXT. */
export async function createIndex(runner: QueryRunner, table: string, index: IndexShape): Promise<void> {
  const columns = index.columns.map((name) => {
    const prefix = isSqlite(runner) ? undefined : index.prefix?.[name];
    return `\`${name}\`${prefix === undefined ? '' : `(${prefix})`}`;
  });
  const unique = index.unique === true ? 'UNIQUE ' : '';
  await runner.query(`CREATE ${unique}INDEX \`${index.name}\` ON \`${table}\` (${columns.join(', ')})`);
}

/** A column's type, nullability, default and length CHECK as SQL, for adding or widening it. */
export function columnSql(runner: QueryRunner, table: string, column: ColumnShape): string {
  const sqlite = isSqlite(runner);
  const isText = column.type === 'varchar' || column.type === 'text';
  const parts = [
    `\`${column.name}\``,
    sqlite && (column.type === 'int' || column.type === 'bigint')
      ? 'integer'
      : `${column.type}${column.length === undefined ? '' : `(${column.length})`}`,
    ...(isText && !sqlite ? ['CHARACTER SET utf8mb4 COLLATE utf8mb4_bin'] : []),
    column.nullable === true ? 'NULL' : 'NOT NULL',
    ...(column.default === undefined ? [] : [`DEFAULT ${column.default}`]),
  ];
  if (sqlite && column.type === 'varchar') {
    // In quotes: TypeORM finds the constraints of a table by them.
    parts.push(`CONSTRAINT "ck_${table}_${column.name}_length" CHECK (length("${column.name}") <= ${column.length})`);
  }
  return parts.join(' ');
}
