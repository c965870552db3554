/**
 * The database in one file. Two connections: a writer that runs each procedure whole and synchronously in `BEGIN IMMEDIATE`,
 * so nothing else of this process can come between, and a read-only one for everything else, which sees committed rows
 * only. TypeORM shares one connection among all its query runners, so it is given the read-only one.
 *
 * Other processes may hold the file's write lock. Waiting for it inside SQLite would stop the event loop, so busy_timeout is 0
 * and the writer tries again after a short pause; reads go on meanwhile.
 */
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  readSync,
  openSync,
  closeSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { JobmonError } from '@jobmon/contracts';
import { makeFolder, type Logger } from '@jobmon/runtime';
import SqliteHandle from 'better-sqlite3';
import { DataSource, type MigrationInterface } from 'typeorm';
import type { Database, Dialect, Procedure, SqlValue, StatementCounts, StatementResult, WriteOptions } from './database';
import { SQLITE_ENTITIES } from './entities';
import { causeOf, runMigrations, type OnMigration } from './migration';
import {
  hasRule,
  keepDatesAsText,
  MIGRATIONS,
  MIGRATIONS_SQL,
  pendingMigrations,
  RULE_SQL,
  storedSchema,
  type StoredSchema,
} from './schema';

/** Bound of all waiting and trying again of one write (design section 4). */
const WRITE_PATIENCE_MS = 5_000;
/** Bound of waiting for another process that migrates the same file. */
const MIGRATION_PATIENCE_MS = 60_000;
/** Writes that may wait for their turn; one more is answered UNAVAILABLE. */
const WRITES_WAITING_MAX = 10_000;
/** Pause before the lock is tried again: this much plus as much again by chance. */
const RETRY_PAUSE_MS = 5;
/** Milliseconds of statements in one turn of the event loop; what comes after them waits for the next one. */
const TURN_MS_MAX = 10;
/** An account that is this old is cleared by whoever waits for it: once, on a busy machine, no turn had cleared it, and everything waited for ever. */
const ACCOUNT_MS_MAX = 250;
/** Prepared statements kept for each connection; the house has about a hundred constant ones. */
const STATEMENTS_CACHED_MAX = 500;
const BATCH_BYTES_MAX = 8 * 1024 * 1024;

export const sqliteDialect: Dialect = {
  name: 'sqlite',
  now: 'CURRENT_TIMESTAMP',
  microsecond: `(CAST(substr(strftime('%f', 'now'), 4) AS INTEGER) * 1000)`,
  nowPlusSeconds: `datetime('now', ? || ' seconds')`,
  forUpdate: '',
  forUpdateOfFree: '',
  byPrimaryKey: '',
  joinInOrder: 'CROSS JOIN',
  insertIgnore: 'INSERT OR IGNORE',
  jsonRows(alias, columns) {
    const types = { int: 'INTEGER', text: 'TEXT', real: 'REAL' } as const;
    const list = Object.entries(columns).map(
      ([name, type]) => `CAST(json_extract(value, '$.${name}') AS ${types[type]}) AS \`${name}\``,
    );
    return `(SELECT ${list.join(', ')} FROM json_each(?)) AS ${alias}`;
  },
  onDuplicate: (key, assignments) =>
    `ON CONFLICT (${key.map((column) => `\`${column}\``).join(', ')}) DO UPDATE SET ${assignments}`,
  inserted: (column) => `excluded.\`${column}\``,
};

/** What a file holds, and the chain of migrations that makes it so. */
export interface SqliteSchema {
  readonly entities: readonly (new () => object)[];
  readonly migrations: readonly (new () => MigrationInterface)[];
}
const SCHEMA: SqliteSchema = { entities: SQLITE_ENTITIES, migrations: MIGRATIONS };

/** Opens, makes or migrates the file and starts its two connections. Its schema is the house's when it isn't given. */
export async function openSqlite(file: string, log: Logger, schema = SCHEMA, onMigration?: OnMigration): Promise<Database> {
  try {
    makeFolder(dirname(file));
    refuseOtherFiles(file);
    const isNew = !existsSync(file);
    await migrate(file, log, schema, onMigration);
    // Commands and output tails are nobody else's business; SQLite gives the files beside it the same mode.
    if (isNew) chmodSync(file, 0o600);
    // SQLite opens a file that may only be read without a word, and fails at the first write.
    accessSync(file, constants.W_OK);
    return await SqliteDatabase.open(file, schema);
  } catch (error) {
    throw explained(error, file);
  }
}

class SqliteDatabase implements Database {
  readonly dialect = sqliteDialect;
  readonly batch_bytes_max = BATCH_BYTES_MAX;
  readonly counts: StatementCounts = { statements: 0, transactions: 0, rows_read: 0, rows_written: 0, retries: 0 };
  private readonly reader: StatementCache;
  private readonly writer: StatementCache;
  /** Ends when the last write that was accepted has ended; the next one waits for it. */
  private turn: Promise<unknown> = Promise.resolve();
  private waiting = 0;
  /** Milliseconds that statements took in this turn of the event loop. */
  private spent_ms = 0;
  /** Ends when the last attempt that waits for a turn has been made; the next one waits for it. */
  private line: Promise<unknown> = Promise.resolve();
  private in_line = 0;
  /** When the account was begun, on the process's own clock. */
  private account_began = 0;
  private isClosed = false;

  private constructor(
    private readonly file: string,
    readonly dataSource: DataSource,
    private readonly write_handle: SqliteHandle.Database,
    read_handle: SqliteHandle.Database,
  ) {
    this.reader = new StatementCache(read_handle);
    this.writer = new StatementCache(write_handle);
  }

  static async open(file: string, schema: SqliteSchema): Promise<SqliteDatabase> {
    const writer = new SqliteHandle(file, { fileMustExist: true, timeout: 0 });
    try {
      // Another process may be opening the file at this moment, or closing it as its last one.
      const deadline = Date.now() + WRITE_PATIENCE_MS;
      await untilUnlocked(deadline, () => writer.pragma('journal_mode = WAL'));
      writer.pragma('synchronous = FULL');
      const dataSource = new DataSource({ ...dataSourceOptions(file, schema), readonly: true });
      prepareDriver(dataSource);
      await untilUnlocked(deadline, () => dataSource.initialize());
      return new SqliteDatabase(file, dataSource, writer, handleOf(dataSource));
    } catch (error) {
      writer.close();
      throw error;
    }
  }

  async read<Row>(sql: string, params: readonly SqlValue[] = []): Promise<Row[]> {
    if (this.isClosed) throw new JobmonError('UNAVAILABLE', 'the database is closed');
    const rows = await this.whileBusy('read', Date.now() + WRITE_PATIENCE_MS, () => this.reader.get(sql).all(...params) as Row[]);
    this.counts.statements += 1;
    this.counts.rows_read += rows.length;
    return rows;
  }

  async write<T>(options: WriteOptions, procedure: () => Procedure<T>): Promise<T> {
    if (this.isClosed) throw new JobmonError('UNAVAILABLE', 'the database is closed');
    if (this.waiting >= WRITES_WAITING_MAX) {
      throw new JobmonError('UNAVAILABLE', `${WRITES_WAITING_MAX} writes wait for the database already`);
    }
    this.waiting += 1;
    const deadline = Date.now() + WRITE_PATIENCE_MS;
    const previous = this.turn;
    const mine = previous.then(() => this.run(options, deadline, procedure));
    this.turn = mine.catch(() => undefined);
    try {
      return await mine;
    } catch (error) {
      throw isFileProblem(error) ? explained(error, this.file) : error;
    } finally {
      this.waiting -= 1;
    }
  }

  /** Waits for accepted writes, then closes both connections. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    await this.turn;
    await this.dataSource.destroy();
    this.write_handle.close();
  }

  private run<T>(options: WriteOptions, deadline: number, procedure: () => Procedure<T>): Promise<T> {
    return this.whileBusy(options.label, deadline, () => {
      this.writer.get('BEGIN IMMEDIATE').run();
      try {
        const answer = this.drive(procedure());
        this.writer.get('COMMIT').run();
        this.counts.transactions += 1;
        return answer;
      } catch (error) {
        // SQLite has rolled back by itself when the disk is full or broken.
        if (this.write_handle.inTransaction) this.writer.get('ROLLBACK').run();
        throw error;
      }
    });
  }

  private drive<T>(running: Procedure<T>): T {
    let step = running.next();
    while (!step.done) {
      const result = this.execute(step.value.sql, step.value.params ?? []);
      step = running.next(result);
    }
    return step.value;
  }

  private execute(sql: string, params: readonly SqlValue[]): StatementResult {
    const statement = this.writer.get(sql);
    this.counts.statements += 1;
    if (statement.reader) {
      const rows = statement.all(...params) as Record<string, SqlValue>[];
      this.counts.rows_read += rows.length;
      return { rows, affected: rows.length, insert_id: 0 };
    }
    const { changes, lastInsertRowid } = statement.run(...params);
    this.counts.rows_written += changes;
    // Ids of one INSERT follow each other; SQLite tells the last of them.
    return { rows: [], affected: changes, insert_id: changes === 0 ? 0 : Number(lastInsertRowid) - changes + 1 };
  }

  /** Runs an attempt again after a short pause for as long as the file is locked by another process and time is left. */
  private async whileBusy<T>(label: string, deadline: number, attempt: () => T): Promise<T> {
    for (;;) {
      try {
        return await this.inTurn(attempt);
      } catch (error) {
        if (!isBusy(error)) throw error;
        if (Date.now() >= deadline) {
          throw new JobmonError(
            'UNAVAILABLE',
            `${label}: another process holds the lock of the database ${this.file}`,
            undefined,
            {
              cause: error,
            },
          );
        }
      }
      this.counts.retries += 1;
      await pause(RETRY_PAUSE_MS * (1 + Math.random()));
    }
  }

  /**
   * Makes an attempt when this turn of the event loop has time for it. Nothing here waits for input or output: without this, whoever has much
   * to write would keep the event loop to himself. Nobody overtakes those who wait: else who reads again and again is always before them.
   */
  private async inTurn<T>(attempt: () => T): Promise<T> {
    if (this.in_line === 0 && this.spent_ms <= TURN_MS_MAX) return this.timed(attempt);
    this.in_line += 1;
    const mine = this.line.then(async () => {
      while (this.spent_ms > TURN_MS_MAX) {
        await nextTurn();
        if (performance.now() - this.account_began > ACCOUNT_MS_MAX) this.spent_ms = 0;
      }
      this.in_line -= 1;
      return this.timed(attempt);
    });
    this.line = mine.catch(() => undefined);
    return mine;
  }

  /** Adds what an attempt takes to the account of this turn, which the next one clears. */
  private timed<T>(attempt: () => T): T {
    const since = performance.now();
    if (this.spent_ms === 0) {
      this.account_began = since;
      setImmediate(() => (this.spent_ms = 0));
    }
    try {
      return attempt();
    } finally {
      this.spent_ms += performance.now() - since;
    }
  }
}

/** Prepared statements of one connection by their text; the one used longest ago goes first when there are too many. */
class StatementCache {
  private readonly statements = new Map<string, SqliteHandle.Statement>();

  constructor(private readonly handle: SqliteHandle.Database) {}

  get(sql: string): SqliteHandle.Statement {
    let statement = this.statements.get(sql);
    if (statement === undefined) {
      statement = this.handle.prepare(sql);
      if (this.statements.size >= STATEMENTS_CACHED_MAX) this.statements.delete(this.statements.keys().next().value!);
    } else {
      this.statements.delete(sql);
    }
    this.statements.set(sql, statement);
    return statement;
  }
}

/** A file that holds something else must not be taken for an empty database; a pipe would be waited for without end. */
export function refuseOtherFiles(file: string): void {
  if (!existsSync(file)) return;
  if (!statSync(file).isFile()) {
    throw new JobmonError('UNAVAILABLE', `${file} is a folder, a device or a pipe: name a file for the database`);
  }
  const descriptor = openSync(file, 'r');
  try {
    const header = Buffer.alloc(16);
    const bytes = readSync(descriptor, header, 0, 16, 0);
    if (bytes > 0 && header.toString('latin1') !== 'SQLite format 3\0') throw corrupt(file);
  } finally {
    closeSync(descriptor);
  }
}

function dataSourceOptions(file: string, { entities, migrations }: SqliteSchema) {
  return {
    type: 'better-sqlite3' as const,
    driver: SqliteHandle,
    database: file,
    timeout: 0,
    entities: [...entities],
    migrations: [...migrations],
    synchronize: false,
    logging: false,
  };
}

/** Dates stay text, and BIGINT is INTEGER, which has 64 bits here and is the only type that counts up by itself. */
export function prepareDriver(dataSource: DataSource): void {
  keepDatesAsText(dataSource);
  const driver = dataSource.driver;
  const normalize = driver.normalizeType.bind(driver);
  driver.normalizeType = (column) => (column.type === 'bigint' ? 'integer' : normalize(column));
}

function handleOf(dataSource: DataSource): SqliteHandle.Database {
  return (dataSource.driver as unknown as { databaseConnection: SqliteHandle.Database }).databaseConnection;
}

/**
 * Runs the missing migrations in one transaction on a connection of its own. A process that comes second waits for the first
 * and finds nothing left to do. A file with tables in it is copied beside itself before anything is changed.
 */
async function migrate(file: string, log: Logger, schema: SqliteSchema, onMigration?: OnMigration): Promise<void> {
  const known = schema.migrations.map((Migration) => new Migration().name ?? Migration.name);
  const deadline = Date.now() + MIGRATION_PATIENCE_MS;
  const dataSource = new DataSource(dataSourceOptions(file, schema));
  prepareDriver(dataSource);
  await untilUnlocked(deadline, () => dataSource.initialize());
  const handle = handleOf(dataSource);
  try {
    const standing = await untilUnlocked(deadline, () => readSqliteSchema(handle));
    if (pendingMigrations(standing, file, known).length === 0) return;
    await untilUnlocked(deadline, () => handle.pragma('journal_mode = WAL'));
    await untilUnlocked(deadline, () => handle.exec('BEGIN IMMEDIATE'));
    const applied = readSqliteSchema(handle);
    const pending = pendingMigrations(applied, file, known);
    if (pending.length > 0) {
      if (hasTables(handle)) await backUp(file, applied.migrations.length, log);
      await runMigrations(dataSource, file, {
        onMigration,
        explain: ({ sentence, error }) => (codeOf(error) === 'SQLITE_ERROR' ? failed(sentence, error) : error),
      });
    }
    handle.exec('COMMIT');
    if (pending.length > 0) log.info({ file, migrations: pending }, 'the database was migrated');
  } finally {
    if (handle.open && handle.inTransaction) handle.exec('ROLLBACK');
    await dataSource.destroy();
  }
}

/** Of a statement that the file's tables do not allow; what is wrong with the file itself is told by `explained`. */
const failed = (sentence: string, error: unknown): JobmonError =>
  new JobmonError(
    'MALFORMED',
    `${sentence}: ${causeOf(error)}. The file is as it was before; when the cause is mended, the next start migrates it`,
    undefined,
    { cause: error },
  );

function hasTables(handle: SqliteHandle.Database): boolean {
  return handle.prepare(`SELECT 1 FROM sqlite_master WHERE type = 'table' LIMIT 1`).get() !== undefined;
}

/** What a file says of its schema. */
export function readSqliteSchema(handle: SqliteHandle.Database): StoredSchema {
  const exists = handle.prepare(`SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'`).get();
  if (exists === undefined) return storedSchema([]);
  const names = (handle.prepare(MIGRATIONS_SQL).all() as { name: string }[]).map((row) => row.name);
  return storedSchema(names, hasRule(names) ? (handle.prepare(RULE_SQL).get() as object) : undefined);
}

/** `FILE.2026-01-31T12-00-00.schema-0.backup`; it appears under this name only when it is whole. */
async function backUp(file: string, version: number, log: Logger): Promise<void> {
  const date = new Date().toISOString().slice(0, 19).replaceAll(':', '-');
  const backup = `${file}.${date}.schema-${version}.backup`;
  const source = new SqliteHandle(file, { readonly: true, timeout: WRITE_PATIENCE_MS });
  try {
    await source.backup(`${backup}.part`);
    renameSync(`${backup}.part`, backup);
  } catch (error) {
    rmSync(`${backup}.part`, { force: true });
    throw error;
  } finally {
    source.close();
  }
  log.info({ file, backup }, 'a backup of the database was made before its migration');
}

async function untilUnlocked<T>(deadline: number, attempt: () => T | Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!isBusy(error) || Date.now() >= deadline) throw error;
    }
    await pause(RETRY_PAUSE_MS * (1 + Math.random()));
  }
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : '';
}

function isBusy(error: unknown): boolean {
  const code = codeOf(error);
  return code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED') || code === 'SQLITE_PROTOCOL';
}

function isFileProblem(error: unknown): boolean {
  return /^SQLITE_(FULL|IOERR|READONLY|CANTOPEN|CORRUPT|NOTADB)/.test(codeOf(error));
}

function corrupt(file: string, cause?: unknown): JobmonError {
  return new JobmonError(
    'MALFORMED',
    `${file} is damaged or no SQLite database: restore a backup of it, or name another file`,
    undefined,
    { cause },
  );
}

/** The sentence that a person can act on, for every failure of a file that has one. */
function explained(error: unknown, file: string): unknown {
  if (error instanceof JobmonError) return error;
  const code = codeOf(error);
  const unavailable = (message: string) => new JobmonError('UNAVAILABLE', message, undefined, { cause: error });
  if (code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB') return corrupt(file, error);
  if (code === 'SQLITE_FULL' || code === 'ENOSPC') {
    return unavailable(`the disk of the database ${file} is full: make room, nothing that was answered is lost`);
  }
  if (/^(SQLITE_READONLY|SQLITE_CANTOPEN|EACCES|EROFS|EPERM|ENOTDIR|EISDIR|ENOENT|EEXIST)/.test(code)) {
    return unavailable(
      `the database ${file} can't be written (${code}): allow writing to the file and its folder, or name another`,
    );
  }
  if (code.startsWith('SQLITE_IOERR'))
    return unavailable(`reading or writing the database ${file} failed (${code}): check its disk`);
  if (isBusy(error))
    return unavailable(`another process holds the lock of the database ${file}: end it, or wait until it has finished`);
  return error;
}
