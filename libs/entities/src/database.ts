/**
 * The seam between the house and its database. One interface, two implementations (`sqlite.ts`, `mariadb.ts`), one
 * conformance suite. Which of the two is running is known here and in the dialect's fragments, nowhere else.
 *
 * A write is a *procedure*: a generator that yields statements and is given their results. The driver runs it inside one
 * transaction. On MariaDB each yield awaits the connection; on SQLite the whole procedure runs synchronously inside
 * `BEGIN IMMEDIATE`, so nothing else of the process can come between. A procedure therefore never awaits anything, holds no
 * state outside itself, and may be run again from its start: after a deadlock the driver rolls back and calls the factory anew.
 */
import type { DataSource } from 'typeorm';

export type SqlValue = string | number | bigint | null | Buffer;

/** One statement with `?` placeholders. */
export interface Statement {
  readonly sql: string;
  readonly params?: readonly SqlValue[];
  /**
   * It may be sent in one message with the statement after it, and its result is there when that one's is: set by `together`, which knows
   * to look at results only then. Where a message costs nothing it is run at once.
   */
  readonly goesWithNext?: true;
  /** What to count when the transaction that ran it has committed; must not fail. A database that nobody measures leaves it alone. */
  readonly onCommit?: () => void;
}

/** Rows of a SELECT; or, for a write, how many rows its condition matched and the first id that it gave. */
export interface StatementResult<Row = Record<string, SqlValue>> {
  readonly rows: Row[];
  readonly affected: number;
  readonly insert_id: number;
}

/** A transaction as a generator. The value it returns is the answer, given only after the commit. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- a procedure's statements have results of many row shapes
export type Procedure<T> = Generator<Statement, T, StatementResult<any>>;

/**
 * Statements of which none needs another's result: run in this order, in one message to a server instead of one each. When one fails,
 * those behind it are not run, and the transaction is rolled back as always.
 */
export function* together(statements: readonly Statement[]): Procedure<StatementResult[]> {
  const results: StatementResult[] = [];
  for (const [index, statement] of statements.entries()) {
    // A copy: the caller may have kept his, and give it again where it goes alone.
    results.push(yield index === statements.length - 1 ? statement : { ...statement, goesWithNext: true });
  }
  return results;
}

/** SQL that differs between the two databases. Everything else is written once. */
export interface Dialect {
  readonly name: 'sqlite' | 'mariadb';
  /** The database's clock in UTC, as DATETIME of whole seconds. */
  readonly now: string;
  /** The part of the second that `now` leaves away, in microseconds; SQLite's clock tells milliseconds. The same moment as `now` beside it. */
  readonly microsecond: string;
  /** `now` plus a number of seconds given by one `?`. */
  readonly nowPlusSeconds: string;
  /** Appended to a SELECT by primary key: ` FOR UPDATE`, or nothing where the writer is alone. */
  readonly forUpdate: string;
  /** The same, leaving away the rows that somebody else holds instead of waiting for them. */
  readonly forUpdateOfFree: string;
  /** Behind a table's name: its rows are found by primary key, whatever the optimizer thinks of a small table. */
  readonly byPrimaryKey: string;
  /** A join whose left side is read first, whatever the optimizer thinks. */
  readonly joinInOrder: string;
  /** `INSERT` that leaves rows alone whose key exists: `INSERT IGNORE` or `INSERT OR IGNORE`. */
  readonly insertIgnore: string;
  /**
   * A derived table of rows given as ONE JSON parameter (an array of objects): `(SELECT … FROM …) AS alias` with a typed
   * column for each entry, so that one constant statement writes any number of rows.
   */
  jsonRows(alias: string, columns: Readonly<Record<string, 'int' | 'text' | 'real'>>): string;
  /** An upsert's tail: on a duplicate of `key`, run `assignments` (which may use `inserted(column)`). */
  onDuplicate(key: readonly string[], assignments: string): string;
  /** In `onDuplicate`: the value that the INSERT would have written. */
  inserted(column: string): string;
}

/** What a write asks besides its statements. */
export interface WriteOptions {
  /** Names the write in logs and metrics. */
  readonly label: string;
}

/** Counts for tests and metrics: what a piece of work really cost. */
export interface StatementCounts {
  statements: number;
  transactions: number;
  rows_read: number;
  rows_written: number;
  retries: number;
}

export interface Database {
  readonly dialect: Dialect;
  /** Ordinary reads through TypeORM. Committed rows only. Writing through it is banned by lint outside migrations. */
  readonly dataSource: DataSource;
  /** Largest request to the database in bytes: half of `max_allowed_packet` (read at connect), 8 MiB on SQLite. */
  readonly batch_bytes_max: number;
  readonly counts: StatementCounts;
  /** One SELECT outside any transaction; sees committed rows only. */
  read<Row = Record<string, SqlValue>>(sql: string, params?: readonly SqlValue[]): Promise<Row[]>;
  /**
   * Runs a procedure in one transaction. Deadlock, lock time-out, a busy SQLite and a connection lost before the COMMIT
   * roll back and run it again, at most 5 s in all; then `JobmonError('UNAVAILABLE')`. A connection lost after COMMIT
   * was sent is answered by `JobmonError('UNAVAILABLE')` with details `{commit_unknown: true}`: the caller's guards make a
   * repeat safe. Any error thrown by the procedure itself rolls back and is thrown on.
   */
  write<T>(options: WriteOptions, procedure: () => Procedure<T>): Promise<T>;
  close(): Promise<void>;
}
