/**
 * Log records into the table, and out of it when their time is over. Stored by one statement of any number of rows; a record that is
 * there already is left alone, so nothing happens twice. Measured: `bench/results/log.md`.
 */
import { LOG_LEVELS, SentLogRecord, timeTextOf } from '@jobmon/contracts';
import { idList, type Database, type Procedure } from '@jobmon/entities';
import { metrics } from '@jobmon/runtime';

/** Rows of one transaction. On SQLite nothing else of the process turns meanwhile: about 20 ms. */
const ROWS_MAX = 1_000;
/** Characters of the parameter of one statement, of which each is three bytes at most; or what the database takes, if that is less. */
const CHARS_MAX = 1024 * 1024;
/** A transaction of a sink that says nothing for so long is rolled back by MariaDB. */
const IDLE_SECONDS_MAX = 10;
/** Rows deleted in one transaction, and the pause after it, so that whoever stores has his turn. */
const DELETED_MAX = 1_000;

const COLUMNS = {
  id: 'text',
  date: 'text',
  level: 'int',
  service: 'text',
  instance: 'text',
  request_id: 'text',
  workflow_id: 'int',
  workflow_run_id: 'int',
  task_id: 'int',
  task_instance_id: 'int',
  trace_id: 'text',
  text: 'text',
  detail: 'text',
  arrival: 'int',
} as const;
const NAMES = Object.keys(COLUMNS)
  .map((name) => `\`${name}\``)
  .join(', ');

export interface Stored {
  /** Rows that are new. */
  readonly stored: number;
  /** Values that are no records. */
  readonly refused: number;
}

/**
 * Stores records as they came over the stream. `records` is where they go, `database` where the ids of workflows, runs, tasks and attempts stand:
 * a record that names an attempt is found by its task, run and workflow too, whatever its sender knew.
 */
export async function storeRecords(records: Database, database: Database, values: readonly unknown[]): Promise<Stored> {
  const parsed = values.map((value) => SentLogRecord.safeParse(value));
  const good = parsed.flatMap((result) => (result.success ? [result.data] : []));
  const known = await withIds(database, good);
  const stored = await insertRecords(records, known);
  const refused = values.length - good.length;
  metrics.log_records.inc({ outcome: 'stored' }, stored);
  if (refused > 0) metrics.log_records.inc({ outcome: 'refused' }, refused);
  return { stored, refused };
}

/** Inserts records whose ids are complete, in transactions of a bounded size; answers how many are new. */
export async function insertRecords(records: Database, known: readonly SentLogRecord[]): Promise<number> {
  const rows = known.map(rowOf).sort((a, b) => (a.id < b.id ? -1 : 1));
  let stored = 0;
  for (const piece of piecesOf(rows, Math.min(CHARS_MAX, records.batch_bytes_max / 3))) {
    stored += await records.write({ label: 'log_record.store' }, () => insert(records, piece));
  }
  return stored;
}

/**
 * Numbers are taken and held until the commit: of several sinks one inserts at a time, and numbers become visible in their order. A sink that stops in
 * the middle of that (a frozen process) is cut off by the server, so that others go on.
 */
function* insert({ dialect }: Database, rows: readonly object[]): Procedure<number> {
  // For MySQL, which has no such setting, the second half is a comment.
  if (dialect.name === 'mariadb')
    yield { sql: `SET @unused = NULL /*M! , SESSION idle_write_transaction_timeout = ${IDLE_SECONDS_MAX} */` };
  yield { sql: 'UPDATE log_arrival SET arrival = arrival + ? WHERE id = 1', params: [rows.length] };
  const [last] = (yield { sql: 'SELECT arrival FROM log_arrival WHERE id = 1' }).rows as { arrival: number }[];
  const first = last!.arrival - rows.length + 1;
  const numbered = rows.map((row, at) => ({ ...row, arrival: first + at }));
  const sql = `${dialect.insertIgnore} INTO log_record (${NAMES}) SELECT ${NAMES} FROM ${dialect.jsonRows('given', COLUMNS)}`;
  return (yield { sql, params: [JSON.stringify(numbered)] }).affected;
}

function rowOf({ record_id, level, detail, ...rest }: SentLogRecord) {
  return {
    id: record_id,
    date: timeTextOf(record_id).slice(0, 19),
    level: LOG_LEVELS[level],
    ...rest,
    detail: JSON.stringify(detail),
  };
}

/** Pieces of at most `ROWS_MAX` rows and `chars_max` characters; a row alone is smaller. */
function piecesOf<Row extends object>(rows: readonly Row[], chars_max: number): Row[][] {
  const pieces: Row[][] = [];
  let chars = Number.POSITIVE_INFINITY;
  for (const row of rows) {
    const own = JSON.stringify(row).length + 1;
    if (chars + own > chars_max || (pieces.at(-1)?.length ?? 0) >= ROWS_MAX) {
      pieces.push([]);
      chars = 0;
    }
    pieces.at(-1)?.push(row);
    chars += own;
  }
  return pieces;
}

type Ids = Pick<SentLogRecord, 'workflow_id' | 'workflow_run_id' | 'task_id' | 'task_instance_id'>;

/** The records with the ids that follow from those they have. */
async function withIds(database: Database, records: readonly SentLogRecord[]): Promise<SentLogRecord[]> {
  let known = records as SentLogRecord[];
  for (const [by, table, gives] of FOLLOWS) {
    const wanted = known.filter((record) => record[by] !== null && gives.some((name) => record[name] === null));
    if (wanted.length === 0) continue;
    const rows = await rowsOf<Ids & { id: number }>(database, table, gives, [...new Set(wanted.map((record) => record[by]!))]);
    known = known.map((record) => {
      const row = record[by] === null ? undefined : rows.get(record[by]);
      if (row === undefined) return record;
      return { ...record, ...Object.fromEntries(gives.map((name) => [name, record[name] ?? row[name]])) };
    });
  }
  return known;
}

/** What follows from what: the row of `table` with that id names the others. */
const FOLLOWS: readonly (readonly [keyof Ids, string, readonly (keyof Ids)[]])[] = [
  ['task_instance_id', 'task_instance', ['task_id', 'workflow_run_id']],
  ['workflow_run_id', 'workflow_run', ['workflow_id']],
  ['task_id', 'task', ['workflow_id']],
];
/** Ids looked up in one statement. */
const IDS_MAX = 1_000;

async function rowsOf<Row extends { id: number }>(
  database: Database,
  table: string,
  columns: readonly string[],
  ids: readonly number[],
): Promise<Map<number, Row>> {
  const rows = new Map<number, Row>();
  for (let at = 0; at < ids.length; at += IDS_MAX) {
    const list = idList(ids.slice(at, at + IDS_MAX));
    const found = await database.read<Row>(`SELECT id, ${columns.join(', ')} FROM ${table} WHERE id IN ${list.sql}`, list.params);
    for (const row of found) rows.set(row.id, row);
  }
  return rows;
}

/**
 * Deletes one piece of the oldest records before a place; answers how many. Costs by what is deleted, since ids are in the order of time.
 */
export async function deleteBefore(records: Database, record_id: string): Promise<number> {
  const [last] = await records.read<{ id: string }>(
    `SELECT id FROM log_record WHERE id < ? ORDER BY id LIMIT 1 OFFSET ${DELETED_MAX - 1}`,
    [record_id],
  );
  return records.write({ label: 'log_record.delete' }, function* () {
    const sql = `DELETE FROM log_record WHERE id ${last === undefined ? '<' : '<='} ?`;
    return (yield { sql, params: [last?.id ?? record_id] }).affected;
  });
}
