/**
 * The database of the transitions benchmark, spoken to directly: makes it, fills it with launched task instances of one run
 * that a Python client drives, and measures what the driver alone can do with the very same writes.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeDatabase, parseDatabaseUrl } from '@jobmon/runtime';
import SqliteHandle from 'better-sqlite3';
import { createConnection } from 'mysql2/promise';

export type Kind = 'sqlite' | 'mariadb';

/** A connection of the driver itself, without any of our code between. */
export interface RawDatabase {
  readonly kind: Kind;
  /** Address for the house. */
  readonly url: string;
  /** Name and version, for the report. */
  readonly version: string;
  /** Opens it once the house has made the tables. */
  open(): Promise<void>;
  run(sql: string, params?: readonly (string | number)[]): Promise<{ affected: number; value: unknown }>;
  /** The server's process, when there is one and it is on this machine. */
  serverPid(): Promise<number | null>;
  close(): Promise<void>;
}

/** A file of its own in `folder`. */
export function sqliteDatabase(folder: string): RawDatabase {
  const file = join(folder, 'bench.sqlite');
  let handle: SqliteHandle.Database | undefined;
  return {
    kind: 'sqlite',
    url: `sqlite:${file}`,
    version: `SQLite ${(new SqliteHandle(':memory:').prepare('SELECT sqlite_version() AS v').get() as { v: string }).v}, synchronous FULL`,
    async open() {
      handle = new SqliteHandle(file);
      handle.pragma('synchronous = FULL');
    },
    async run(sql, params = []) {
      const statement = handle!.prepare(sql);
      if (statement.reader) return { affected: 0, value: Object.values(statement.get(...params) as object)[0] };
      return { affected: statement.run(...params).changes, value: undefined };
    },
    serverPid: () => Promise.resolve(null),
    async close() {
      handle?.close();
    },
  };
}

/** A database with a random name on the server at `server`, dropped at the end. */
export async function mariadbDatabase(server: string): Promise<RawDatabase> {
  const address = parseDatabaseUrl(new URL('/mysql', server).href);
  if (address.kind === 'sqlite') throw new Error(`${describeDatabase(address)} is no MariaDB server`);
  const { host, port, user, password } = address;
  const database = `jobmon_test_${randomBytes(6).toString('hex')}`;
  const connection = await createConnection({ host, port, user, password });
  const [[row]] = (await connection.query('SELECT VERSION() AS v, @@innodb_flush_log_at_trx_commit AS flush')) as unknown as [
    [{ v: string; flush: number }],
  ];
  await connection.query(`CREATE DATABASE ${database} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`);
  return {
    kind: 'mariadb',
    url: `mariadb://${encodeURIComponent(user)}:${encodeURIComponent(password)}@${host}:${port}/${database}`,
    version: `MariaDB ${row.v.split('-')[0]}, innodb_flush_log_at_trx_commit ${row.flush}`,
    async open() {
      await connection.query(`USE ${database}`);
      await connection.query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
    },
    async run(sql, params = []) {
      const [result] = await connection.query(sql, [...params]);
      if (Array.isArray(result)) return { affected: 0, value: Object.values(result[0] as object)[0] };
      return { affected: result.affectedRows, value: undefined };
    },
    async serverPid() {
      const [[row]] = (await connection.query('SELECT @@pid_file AS file')) as unknown as [[{ file: string }]];
      try {
        return Number(readFileSync(row.file, 'latin1'));
      } catch {
        return null;
      }
    },
    async close() {
      await connection.query(`DROP DATABASE ${database}`);
      await connection.end();
    },
  };
}

const SEED_ROWS = 1_000;
/** Ids of the one workflow, its run and its array. */
const OWNER_ID = 1;

/** Makes the run that owns the instances: driven by a client, so that nobody but the callers moves anything. */
export async function seedRun(database: RawDatabase): Promise<void> {
  const now = 'CURRENT_TIMESTAMP';
  await database.run(
    `INSERT INTO workflow (id, dag_id, workflow_args_hash, task_hash, name, max_concurrently_running, status, created_date, status_date) VALUES (${OWNER_ID}, 1, '1', '1', 'bench', 2147483647, 'R', ${now}, ${now})`,
  );
  await database.run(
    `INSERT INTO workflow_run (id, workflow_id, \`user\`, status, created_date, status_date, heartbeat_date) VALUES (${OWNER_ID}, ${OWNER_ID}, 'ada', 'R', ${now}, ${now}, '2099-01-01 00:00:00')`,
  );
  await database.run(
    `INSERT INTO \`array\` (id, name, task_template_version_id, workflow_id, max_concurrently_running, created_date) VALUES (${OWNER_ID}, 'bench', 1, ${OWNER_ID}, 2147483647, ${now})`,
  );
}

/** Adds launched instances, each the current one of a launched task; instance and task have the same id. */
export async function seedInstances(database: RawDatabase, first_id: number, count: number): Promise<void> {
  await database.run('BEGIN');
  for (let from = first_id; from < first_id + count; from += SEED_ROWS) {
    const ids = Array.from({ length: Math.min(SEED_ROWS, first_id + count - from) }, (_, nth) => from + nth);
    const tasks = ids.map(
      (id) =>
        `(${id},${OWNER_ID},${id},'${id}',${OWNER_ID},'fit-${id}','fit --location ${id}',1,1,3,'O',CURRENT_TIMESTAMP,${id})`,
    );
    await database.run(
      `INSERT INTO task (id, workflow_id, node_id, task_args_hash, array_id, name, command, task_resources_id, num_attempts, max_attempts, status, status_date, current_task_instance_id) VALUES ${tasks.join()}`,
    );
    const instances = ids.map(
      (id) => `(${id},${OWNER_ID},${OWNER_ID},${id},1,1,${id},'O',CURRENT_TIMESTAMP,CURRENT_TIMESTAMP,'2099-01-01 00:00:00')`,
    );
    await database.run(
      `INSERT INTO task_instance (id, workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, status, submitted_date, status_date, report_by_date) VALUES ${instances.join()}`,
    );
  }
  await database.run('COMMIT');
}

/** Rows of one batch of the raw measurement; what the state machine's own batches hold at most. */
const RAW_BATCH_ROWS = 500;

/**
 * The database's limit: moves the instances O→R→D by what a transition has to write (a guarded update of instance and of
 * task, a history row), 500 rows a transaction, one connection, no locks taken beforehand and nothing decided. Answers
 * transitions a second.
 */
export async function measureRaw(database: RawDatabase, first_id: number, count: number): Promise<number> {
  const started = performance.now();
  for (const [from, to, sequence] of [
    ['O', 'R', 1],
    ['R', 'D', 2],
  ] as const) {
    for (let first = first_id; first < first_id + count; first += RAW_BATCH_ROWS) {
      const ids = Array.from({ length: Math.min(RAW_BATCH_ROWS, first_id + count - first) }, (_, nth) => first + nth);
      await database.run('BEGIN');
      for (const table of ['task', 'task_instance']) {
        const { affected } = await database.run(
          `UPDATE ${table} SET status = '${to}', status_date = CURRENT_TIMESTAMP WHERE id IN (${ids.join()}) AND status = '${from}'`,
        );
        if (affected !== ids.length) throw new Error(`${table}: ${affected} of ${ids.length} rows were updated`);
      }
      const history = ids.map((id) => `(${id},${sequence},'${from}','${to}',CURRENT_TIMESTAMP,'W',5)`);
      await database.run(
        `INSERT INTO task_instance_history (task_instance_id, sequence, from_status, to_status, date, actor, reason) VALUES ${history.join()}`,
      );
      await database.run('COMMIT');
    }
  }
  return (count * 2) / ((performance.now() - started) / 1000);
}

/** What of the instances is not as it must be after a round: not D, its task not D, or not two history rows. 0 is right. */
export async function countWrong(database: RawDatabase, first_id: number, count: number): Promise<number> {
  const range = `BETWEEN ${first_id} AND ${first_id + count - 1}`;
  const numberOf = async (sql: string): Promise<number> => Number((await database.run(sql)).value);
  const instances = await numberOf(`SELECT COUNT(*) AS n FROM task_instance WHERE id ${range} AND status = 'D'`);
  const tasks = await numberOf(`SELECT COUNT(*) AS n FROM task WHERE id ${range} AND status = 'D'`);
  const history = await numberOf(`SELECT COUNT(*) AS n FROM task_instance_history WHERE task_instance_id ${range}`);
  return count - instances + (count - tasks) + Math.abs(2 * count - history);
}
