/**
 * The database on a server: MariaDB 10.11 or newer, MySQL 8 by construction. Statements go through the pool of the TypeORM
 * data source, each write in one transaction on one connection.
 *
 * A write that fails before its COMMIT was sent has changed nothing and is run again: deadlock, lock time-out, a lost or killed
 * connection, a server that is away. When the connection is lost after COMMIT was sent nobody can know what became
 * of it: the caller is told so, and repeats under its own guards.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { JobmonError } from '@jobmon/contracts';
import type { Logger } from '@jobmon/runtime';
import * as mysql from 'mysql2';
import { DataSource } from 'typeorm';
import type {
  Database,
  Dialect,
  Procedure,
  SqlValue,
  Statement,
  StatementCounts,
  StatementResult,
  WriteOptions,
} from './database';
import { ENTITIES } from './entities';
import { closeIdle } from './mariadb-idle';
import {
  explained,
  isConnectionProblem,
  isPoolExhausted,
  isReadOnly,
  isRefused,
  isRefusalOfCommit,
  isRepeatable,
  isStatementLimit,
  type ServerAddress,
} from './mariadb-error';
import { migrateServer, readSchema, whereOf } from './mariadb-migration';
import { tlsOptions } from './mariadb-tls';
import type { OnMigration } from './migration';
import { keepDatesAsText, MIGRATIONS, refuseOlderSchema, type StoredSchema } from './schema';

/** How a database on a server is opened; see `DatabaseSettings`. */
export interface OpenSettings {
  readonly log: Logger;
  readonly migrates?: boolean;
  readonly connections_max?: number;
  readonly onMigration?: OnMigration;
}

/** Bound of all trying again of one write or read (design section 4). No attempt starts after it. */
const PATIENCE_MS = 5_000;
const LOCK_WAIT_SECONDS = 3;
const STATEMENT_SECONDS = 5;
/** A process that stands still between two statements of a transaction must not keep its locks from all others: MariaDB rolls it back. */
const TRANSACTION_IDLE_SECONDS = 5;
/** A server that does not even refuse: longer than the statement limit, which is the server's own. */
const ANSWER_TIMEOUT_MS = 6_000;
const CONNECT_TIMEOUT_MS = 4_000;
/** Two cores of a server are busy with fewer; the rest are reads. Each costs the server about 1 MiB. */
export const CONNECTIONS_MAX = 16;
/** Requests that may wait for a connection; one more is answered UNAVAILABLE. */
const REQUESTS_WAITING_MAX = 10_000;
/** Pause before an attempt is repeated: this much plus as much again by chance. */
const RETRY_PAUSE_MS = 5;
/** The same where a new connection is needed: each failure in succession doubles it up to here, so that nobody storms a server that starts. */
const RECONNECT_PAUSE_MS_MAX = 200;
const COLLATION = 'utf8mb4_bin';

/** The dialect for tables whose texts are compared by `collation`. */
export function mariadbDialect(collation: string): Dialect {
  const types = { int: 'BIGINT', text: `LONGTEXT CHARACTER SET utf8mb4 COLLATE ${collation}`, real: 'DOUBLE' } as const;
  return {
    name: 'mariadb',
    now: 'UTC_TIMESTAMP()',
    microsecond: 'MICROSECOND(UTC_TIMESTAMP(6))',
    nowPlusSeconds: 'DATE_ADD(UTC_TIMESTAMP(), INTERVAL ? SECOND)',
    forUpdate: ' FOR UPDATE',
    forUpdateOfFree: ' FOR UPDATE SKIP LOCKED',
    byPrimaryKey: ' FORCE INDEX (PRIMARY)',
    joinInOrder: 'STRAIGHT_JOIN',
    insertIgnore: 'INSERT IGNORE',
    jsonRows(alias, columns) {
      const list = Object.entries(columns).map(([name, type]) => `\`${name}\` ${types[type]} PATH '$.${name}'`);
      return `JSON_TABLE(?, '$[*]' COLUMNS (${list.join(', ')})) AS ${alias}`;
    },
    onDuplicate: (_key, assignments) => `ON DUPLICATE KEY UPDATE ${assignments}`,
    inserted: (column) => `VALUES(\`${column}\`)`,
  };
}

/** Connects, migrates when needed (else requires that nothing is needed), and starts the pool. */
export async function openMariadb(address: ServerAddress, settings: OpenSettings): Promise<Database> {
  try {
    const server = await probe(address, settings);
    return await MariadbDatabase.open(address, server, settings.connections_max);
  } catch (error) {
    throw explained(error, address);
  }
}

/** What must be known of a server before the pool starts. */
interface Server {
  readonly isMariadb: boolean;
  readonly max_allowed_packet: number;
  readonly collation: string;
}

/** One try on one connection; it notes when its COMMIT is on the way. */
type Attempt<T> = (connection: mysql.PoolConnection, attempt: { isCommitSent: boolean }) => Promise<T>;

class MariadbDatabase implements Database {
  readonly dialect: Dialect;
  readonly batch_bytes_max: number;
  readonly counts: StatementCounts = { statements: 0, transactions: 0, rows_read: 0, rows_written: 0, retries: 0 };
  private readonly pool: mysql.Pool;
  /** What was accepted and has not ended; closing waits for it. */
  private readonly running = new Set<Promise<unknown>>();
  private isClosed = false;

  private constructor(
    readonly dataSource: DataSource,
    private readonly address: ServerAddress,
    server: Server,
  ) {
    this.dialect = mariadbDialect(server.collation);
    this.batch_bytes_max = Math.floor(server.max_allowed_packet / 2);
    this.pool = (dataSource.driver as unknown as { pool: mysql.Pool }).pool;
  }

  static async open(address: ServerAddress, server: Server, connections_max?: number): Promise<MariadbDatabase> {
    const driver = {
      ...mysql,
      createPool: (options: mysql.PoolOptions) => {
        const pool = mysql.createPool(options);
        // Sent before any statement of whoever asked for the connection; commands of a connection keep their order.
        pool.on('connection', (connection) => {
          for (const sql of sessionStatements(server.isMariadb)) {
            connection.query(sql, (error: unknown) => {
              if (error) connection.destroy();
            });
          }
        });
        closeIdle(pool);
        return pool;
      },
    };
    const dataSource = new DataSource({ ...dataSourceOptions(address, connections_max), driver });
    keepDatesAsText(dataSource);
    await dataSource.initialize();
    return new MariadbDatabase(dataSource, address, server);
  }

  async read<Row>(sql: string, params: readonly SqlValue[] = []): Promise<Row[]> {
    const result = await this.patiently('read', async (connection) => {
      const message = new Message(connection, this.counts, this.batch_bytes_max);
      const answer = await message.add({ sql, params });
      await message.send();
      return answer;
    });
    return result.rows as Row[];
  }

  async write<T>(options: WriteOptions, procedure: () => Procedure<T>): Promise<T> {
    return this.patiently(options.label, async (connection, attempt) => {
      const message = new Message(connection, this.counts, this.batch_bytes_max);
      message.put('START TRANSACTION');
      const running = procedure();
      let step = running.next();
      while (!step.done) {
        const result = await message.add(step.value);
        if (step.value.goesWithNext !== true) await message.send();
        step = running.next(result);
      }
      await message.send();
      attempt.isCommitSent = true;
      await query(connection, 'COMMIT');
      attempt.isCommitSent = false;
      this.counts.transactions += 1;
      return step.value;
    });
  }

  /** Waits for accepted reads and writes, then closes the pool. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    await Promise.allSettled(this.running);
    await this.dataSource.destroy();
  }

  private async patiently<T>(label: string, run: Attempt<T>): Promise<T> {
    if (this.isClosed) throw new JobmonError('UNAVAILABLE', 'the database is closed');
    const answer = this.untilDone(label, run);
    this.running.add(answer);
    try {
      return await answer;
    } finally {
      this.running.delete(answer);
    }
  }

  /** Runs an attempt on a connection, again while its failure has changed nothing and time is left. */
  private async untilDone<T>(label: string, run: Attempt<T>): Promise<T> {
    const deadline = Date.now() + PATIENCE_MS;
    for (let lost = 0; ;) {
      const attempt = { isCommitSent: false };
      let connection: mysql.PoolConnection | undefined;
      try {
        connection = await this.connection();
        const answer = await run(connection, attempt);
        connection.release();
        return answer;
      } catch (error) {
        if (connection !== undefined) await rollBack(connection, error);
        if (attempt.isCommitSent && !isRefusalOfCommit(error)) {
          const message = `${label}: the connection to the database was lost while it committed; whether it did is not known`;
          throw new JobmonError('UNAVAILABLE', message, { commit_unknown: true }, { cause: error });
        }
        if (isStatementLimit(error)) {
          throw new JobmonError('UNAVAILABLE', `${label}: a statement took longer than ${STATEMENT_SECONDS} s`, undefined, {
            cause: error,
          });
        }
        if (isPoolExhausted(error)) {
          throw new JobmonError('UNAVAILABLE', `${label}: ${REQUESTS_WAITING_MAX} requests wait for the database already`);
        }
        if (isRefused(error)) throw explained(error, this.address);
        if (!isRepeatable(error)) throw error;
        if (Date.now() >= deadline) {
          const why = explained(error, this.address);
          const message =
            why instanceof JobmonError ? `the database is away: ${why.message}` : 'the database is held up by locks';
          throw new JobmonError('UNAVAILABLE', `${label}: ${message}`, undefined, { cause: error });
        }
        lost = connection === undefined || isConnectionProblem(error) || isReadOnly(error) ? lost + 1 : 0;
      }
      this.counts.retries += 1;
      const pause_ms = lost === 0 ? RETRY_PAUSE_MS : Math.min(RETRY_PAUSE_MS * 2 ** Math.min(lost, 10), RECONNECT_PAUSE_MS_MAX);
      await pause(pause_ms * (1 + Math.random()));
    }
  }

  private connection(): Promise<mysql.PoolConnection> {
    return new Promise((resolve, reject) => {
      this.pool.getConnection((error, connection) => (error ? reject(error) : resolve(connection)));
    });
  }
}

type Answer = mysql.RowDataPacket[] | mysql.ResultSetHeader;

/** A result that is filled in when its answer has come. */
type ResultToBe = { -readonly [Member in keyof StatementResult]: StatementResult[Member] };

/** Statements on their way to the server: as many as may go together go in one message. */
class Message {
  private texts: string[] = [];
  private results: ResultToBe[] = [];
  private bytes = 0;

  constructor(
    private readonly connection: mysql.Connection,
    private readonly counts: StatementCounts,
    private readonly bytes_max: number,
  ) {}

  /** Takes a statement and answers its result, empty until `send`. What would make the message too large goes before it. */
  async add({ sql, params = [] }: Statement): Promise<StatementResult> {
    const text = mysql.format(
      sql,
      params.map((value) => (typeof value === 'bigint' ? value.toString() : value)),
    );
    if (this.bytes > 0 && this.bytes + Buffer.byteLength(text) > this.bytes_max) await this.send();
    this.counts.statements += 1;
    return this.put(text);
  }

  /** A text as it is, which counts as no statement. */
  put(text: string): StatementResult {
    const result: ResultToBe = { rows: [], affected: 0, insert_id: 0 };
    this.texts.push(text);
    this.results.push(result);
    this.bytes += Buffer.byteLength(text) + 1;
    return result;
  }

  /** Sends what was taken since the last time and fills the results in. */
  async send(): Promise<void> {
    const { texts, results } = this;
    if (texts.length === 0) return;
    [this.texts, this.results, this.bytes] = [[], [], 0];
    const answer = await query(this.connection, texts.join(';'), texts.length);
    const answers = texts.length === 1 ? [answer as Answer] : (answer as Answer[]);
    for (const [index, result] of results.entries()) this.fill(result, answers[index] as Answer);
  }

  private fill(result: ResultToBe, answer: Answer): void {
    if (Array.isArray(answer)) {
      result.rows = answer;
      result.affected = answer.length;
      this.counts.rows_read += answer.length;
    } else {
      result.affected = answer.affectedRows;
      result.insert_id = answer.insertId;
      this.counts.rows_written += answer.affectedRows;
    }
  }
}

/** Sends statements with their values in them. Each has as long as the server itself gives it. */
function query(connection: mysql.Connection, sql: string, statements = 1): Promise<Answer | Answer[]> {
  const timeout = ANSWER_TIMEOUT_MS + (statements - 1) * STATEMENT_SECONDS * 1_000;
  return new Promise((resolve, reject) => {
    connection.query({ sql, timeout }, (error, result) => (error ? reject(error) : resolve(result as Answer | Answer[])));
  });
}

/** Gives a connection back clean, or not at all: after an error of the connection itself nothing can be said about it. */
async function rollBack(connection: mysql.PoolConnection, error: unknown): Promise<void> {
  if (isConnectionProblem(error) || isReadOnly(error)) {
    connection.destroy();
    return;
  }
  try {
    await query(connection, 'ROLLBACK');
    connection.release();
  } catch {
    connection.destroy();
  }
}

/** Settings of every connection of the pool. */
function sessionStatements(isMariadb: boolean): string[] {
  const settings = [
    `time_zone = '+00:00'`,
    `sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'`,
    `innodb_lock_wait_timeout = ${LOCK_WAIT_SECONDS}`,
    ...(isMariadb
      ? [`max_statement_time = ${STATEMENT_SECONDS}`, `idle_transaction_timeout = ${TRANSACTION_IDLE_SECONDS}`]
      : [`max_execution_time = ${STATEMENT_SECONDS * 1000}`]),
  ];
  return ['SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED', `SET SESSION ${settings.join(', SESSION ')}`];
}

function dataSourceOptions(address: ServerAddress, connections_max = CONNECTIONS_MAX) {
  const { ssl, ...stream } = tlsOptions(address);
  return {
    type: 'mariadb' as const,
    host: address.host,
    port: address.port,
    username: address.user,
    password: address.password,
    database: address.database,
    ...(ssl && { ssl }),
    charset: COLLATION,
    timezone: 'Z',
    dateStrings: true,
    supportBigNumbers: true,
    bigNumberStrings: false,
    connectTimeout: CONNECT_TIMEOUT_MS,
    // What may go together goes in one message (`together`).
    multipleStatements: true,
    poolSize: connections_max,
    // Sums are DECIMAL: numbers here as they are on SQLite. JSON stays text, as MariaDB itself gives it.
    extra: {
      ...stream,
      queueLimit: REQUESTS_WAITING_MAX,
      jsonStrings: true,
      decimalNumbers: true,
      enableKeepAlive: true,
      gracefulEnd: true,
    },
    entities: [...ENTITIES],
    migrations: [...MIGRATIONS],
    synchronize: false,
    logging: false,
  };
}

/**
 * Looks at the server on a connection of its own, and runs the missing migrations under a lock that others wait for, or refuses a
 * schema that misses some.
 */
function probe(address: ServerAddress, settings: OpenSettings): Promise<Server> {
  return onConnection(address, async (select) => {
    const [facts] = await select('SELECT VERSION() AS version, @@max_allowed_packet AS max_allowed_packet');
    const open = (): DataSource => new DataSource({ ...dataSourceOptions(address), poolSize: 1 });
    if (settings.migrates ?? true) await migrateServer(address, select, open, settings);
    else refuseOlderSchema(await readSchema(select, whereOf(address)), whereOf(address));
    const [column] = await select(
      `SELECT COLLATION_NAME AS collation FROM information_schema.COLUMNS
        WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'node' AND COLUMN_NAME = 'node_args_hash'`,
    );
    return {
      isMariadb: String(facts!.version).includes('MariaDB'),
      max_allowed_packet: Number(facts!.max_allowed_packet),
      collation: String(column?.collation ?? COLLATION),
    };
  });
}

/** What the database says of its schema. Changes nothing. */
export async function readMariadbSchema(address: ServerAddress): Promise<StoredSchema> {
  try {
    return await onConnection(address, (select) => readSchema(select, whereOf(address)));
  } catch (error) {
    throw explained(error, address);
  }
}

/** Acts on a connection of its own, which is ended with it. Errors are those of the driver. */
export async function onConnection<T>(address: ServerAddress, act: (select: Select) => Promise<T>): Promise<T> {
  const connection = mysql.createConnection({
    host: address.host,
    port: address.port,
    user: address.user,
    password: address.password,
    database: address.database,
    charset: COLLATION,
    connectTimeout: CONNECT_TIMEOUT_MS,
    ...tlsOptions(address),
  });
  // A connection that is lost between two statements says so here; the statement that follows fails and is explained.
  connection.on('error', () => undefined);
  const select: Select = async (sql, params = []) =>
    await new Promise((resolve, reject) => {
      connection.query(sql, [...params], (error, rows) => (error ? reject(error) : resolve(rows as Record<string, SqlValue>[])));
    });
  try {
    return await act(select);
  } finally {
    connection.destroy();
  }
}

export type Select = (sql: string, params?: readonly SqlValue[]) => Promise<Record<string, SqlValue>[]>;
