/**
 * Brings a table that another program made (the Python system 3.x, or a migration of ours that was cut off) to the shape we
 * want, without touching its rows: adds our columns, widens what is too narrow for us, drops the indexes that cost writes
 * and serve no query, adds the missing ones. Every step looks first, so all of it may run twice.
 */
import type { QueryRunner } from 'typeorm';
import { columnSql, createIndex, isSqlite, type ColumnShape, type IndexShape, type TableShape } from './shape';

interface ExistingColumn {
  readonly name: string;
  /** Lower-case type without its length. */
  readonly type: string;
  /** Characters, of a VARCHAR. */
  readonly length: number | null;
  /** MariaDB only. */
  readonly collation: string | null;
}

interface ExistingIndex {
  readonly name: string;
  readonly unique: boolean;
  readonly columns: readonly string[];
}

export interface ExistingTable {
  readonly columns: ReadonlyMap<string, ExistingColumn>;
  readonly indexes: readonly ExistingIndex[];
}

/**
 * Indexes of the Python system that go, as columns by table: prefixes or twins of another index, or on a column whose every
 * change they slow down (spec/data-model.md section 7; docs/schema.md tells the reason for each). An index of this list is
 * dropped only when its name is one that the Python system's migrations give, `fkidx_…` or `ix_…`.
 */
const DROPPED: Readonly<Record<string, readonly (readonly string[])[]>> = {
  task_template: [['tool_version_id']],
  task_template_version: [['task_template_id']],
  template_arg_map: [['task_template_version_id']],
  node: [['task_template_version_id']],
  workflow_attribute: [['workflow_id']],
  workflow_run: [['status'], ['status', 'jobmon_version', 'jobmon_server_version']],
  array: [['task_template_version_id']],
  task: [
    ['status'],
    ['task_resources_id'],
    ['workflow_id'],
    ['workflow_id', 'status_date'],
    ['name'],
    ['status_date'],
    ['task_args_hash'],
  ],
  task_attribute: [['task_id']],
  task_instance: [
    ['array_id'],
    ['status'],
    ['task_resources_id'],
    ['workflow_run_id'],
    ['array_id', 'array_batch_num', 'array_step_id'],
    ['status', 'status_date'],
    ['array_batch_num'],
    ['array_step_id'],
    ['distributor_id'],
  ],
};

/** Every table of the database with its columns and indexes. */
export async function existingTables(runner: QueryRunner): Promise<Map<string, ExistingTable>> {
  return isSqlite(runner) ? sqliteTables(runner) : mariadbTables(runner);
}

async function sqliteTables(runner: QueryRunner): Promise<Map<string, ExistingTable>> {
  const tables = new Map<string, ExistingTable>();
  const found: { name: string }[] = await runner.query(`SELECT name FROM sqlite_master WHERE type = 'table'`);
  for (const { name } of found) {
    const columns: { name: string; type: string }[] = await runner.query(`SELECT name, type FROM pragma_table_info(?)`, [name]);
    const indexed: { name: string; is_unique: number; column: string }[] = await runner.query(
      `SELECT l.name AS name, l."unique" AS is_unique, i.name AS "column"
         FROM pragma_index_list(?) l, pragma_index_info(l.name) i ORDER BY l.name, i.seqno`,
      [name],
    );
    tables.set(name, {
      columns: new Map(columns.map((c) => [c.name, { ...typeOf(c.type), name: c.name, collation: null }])),
      indexes: gather(indexed.map((row) => ({ ...row, is_unique: row.is_unique === 1 }))),
    });
  }
  return tables;
}

function typeOf(declared: string): { type: string; length: number | null } {
  const [, type = declared, length] = /^(\w+)(?:\((\d+)\))?/.exec(declared) ?? [];
  return { type: type.toLowerCase(), length: length === undefined ? null : Number(length) };
}

async function mariadbTables(runner: QueryRunner): Promise<Map<string, ExistingTable>> {
  const columns: Record<string, string | number | null>[] = await runner.query(
    `SELECT TABLE_NAME AS table_name, COLUMN_NAME AS name, DATA_TYPE AS type, CHARACTER_MAXIMUM_LENGTH AS length,
            COLLATION_NAME AS collation
       FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()`,
  );
  const indexed: Record<string, string | number>[] = await runner.query(
    `SELECT TABLE_NAME AS table_name, INDEX_NAME AS name, NON_UNIQUE AS non_unique, COLUMN_NAME AS \`column\`
       FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() AND INDEX_NAME <> 'PRIMARY'
      ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX`,
  );
  const tables = new Map<string, ExistingTable>();
  for (const name of new Set(columns.map((c) => String(c.table_name)))) {
    const own = columns.filter((c) => c.table_name === name);
    tables.set(name, {
      columns: new Map(
        own.map((c) => [
          String(c.name),
          {
            name: String(c.name),
            type: String(c.type).toLowerCase(),
            length: c.length === null ? null : Number(c.length),
            collation: c.collation === null ? null : String(c.collation),
          },
        ]),
      ),
      indexes: gather(
        indexed
          .filter((i) => i.table_name === name)
          .map((i) => ({ name: String(i.name), is_unique: Number(i.non_unique) === 0, column: String(i.column) })),
      ),
    });
  }
  return tables;
}

function gather(rows: readonly { name: string; is_unique: boolean; column: string }[]): ExistingIndex[] {
  const indexes = new Map<string, { name: string; unique: boolean; columns: string[] }>();
  for (const row of rows) {
    const found = indexes.get(row.name);
    if (found === undefined) indexes.set(row.name, { name: row.name, unique: row.is_unique, columns: [row.column] });
    else found.columns.push(row.column);
  }
  return [...indexes.values()];
}

/** Adds, widens, numbers twins, drops and indexes, in this order. */
export async function adaptExistingTable(runner: QueryRunner, shape: TableShape, found: ExistingTable): Promise<void> {
  for (const column of shape.columns) {
    const standing = found.columns.get(column.name);
    if (standing === undefined) {
      await runner.query(`ALTER TABLE \`${shape.name}\` ADD COLUMN ${columnSql(runner, shape.name, column)}`);
    } else if (!isSqlite(runner) && mustBeModified(shape, column, standing)) {
      await runner.query(`ALTER TABLE \`${shape.name}\` MODIFY COLUMN ${columnSql(runner, shape.name, column)}`);
    }
  }
  const missing = shape.indexes.filter((index) => !found.indexes.some((standing) => covers(standing, index)));
  if (shape.name === 'task_instance' && missing.some((index) => index.columns.includes('twin'))) await numberTwins(runner);
  for (const index of missing) await createIndex(runner, shape.name, await asAllowedByRows(runner, shape.name, index));
  for (const standing of found.indexes) {
    const goes = DROPPED[shape.name]?.some((columns) => isSame(columns, standing.columns)) ?? false;
    if (!goes || !/^(fkidx|ix)_/.test(standing.name)) continue;
    await runner.query(
      isSqlite(runner) ? `DROP INDEX \`${standing.name}\`` : `ALTER TABLE \`${shape.name}\` DROP INDEX \`${standing.name}\``,
    );
  }
}

/**
 * A text column that can't hold every character (latin1, 3-byte utf8) or is narrower than ours, and the names of arguments
 * when they do not differ by case. A column whose text is no text to us (JSON) is left as it is: readers accept both.
 */
function mustBeModified(shape: TableShape, column: ColumnShape, standing: ExistingColumn): boolean {
  if (column.type !== 'varchar' && column.type !== 'text') return false;
  if (column.length !== undefined && standing.length !== null && standing.length < column.length) return true;
  if (standing.collation === null) return false;
  if (shape.name === 'arg' && column.name === 'name') return standing.collation !== 'utf8mb4_bin';
  return !standing.collation.startsWith('utf8mb4_');
}

function covers(standing: ExistingIndex, wanted: IndexShape): boolean {
  return isSame(standing.columns, wanted.columns) && (standing.unique || wanted.unique !== true);
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i]);
}

/**
 * Rows that share their array, batch number and step get numbers 0, 1, 2 … in the order of their ids, so that the unique
 * key of the place can be made; every other row keeps 0. Rows that are written later have 0 and can't be twins.
 */
async function numberTwins(runner: QueryRunner): Promise<void> {
  const numbered = `(SELECT id, ROW_NUMBER() OVER (PARTITION BY array_id, array_batch_num, array_step_id ORDER BY id) - 1 AS twin
       FROM task_instance) n`;
  await runner.query(
    isSqlite(runner)
      ? `UPDATE task_instance SET twin = n.twin FROM ${numbered} WHERE n.id = task_instance.id AND n.twin > 0`
      : `UPDATE task_instance t JOIN ${numbered} ON n.id = t.id SET t.twin = n.twin WHERE n.twin > 0`,
  );
}

/**
 * A unique index as it is, or a plain one when the rows of an older schema (3.2 had no unique key on two of the tables)
 * already break it: a migration never fails because of twins.
 */
async function asAllowedByRows(runner: QueryRunner, table: string, index: IndexShape): Promise<IndexShape> {
  if (index.unique !== true) return index;
  const key = index.columns.map((name) => {
    const prefix = index.prefix?.[name];
    return prefix === undefined ? `\`${name}\`` : `substr(\`${name}\`, 1, ${prefix})`;
  });
  const notNull = index.columns.map((name) => `\`${name}\` IS NOT NULL`).join(' AND ');
  const twins: unknown[] = await runner.query(
    `SELECT 1 AS twin FROM \`${table}\` WHERE ${notNull} GROUP BY ${key.join(', ')} HAVING COUNT(*) > 1 LIMIT 1`,
  );
  return twins.length === 0 ? index : { ...index, unique: undefined };
}
