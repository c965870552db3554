/**
 * Opens the house's database: takes the address apart, brings the schema to ours, and gives back the seam of `database.ts`.
 * Whatever can go wrong at the start is answered by one sentence with cause and cure, fit to be printed by a main program.
 */
import { parseDatabaseUrl, type Logger } from '@jobmon/runtime';
import type { Database } from './database';
import { LogArrivalRow, LogRecordRow } from './log-record';
import { openMariadb } from './mariadb';
import type { OnMigration } from './migration';
import { LogRecordFile1763900000001 } from './migrations/0008-log-record';
import { LogArrivalFile1763900000002 } from './migrations/0011-log-arrival';
import { LogLevelFile1763900000003 } from './migrations/0014-log-level';
import { hasRule, MIGRATIONS_SQL, refuseOlderSchema, RULE_SQL, storedSchema } from './schema';
import { openSqlite } from './sqlite';

export interface DatabaseSettings {
  /** `sqlite:FILE`, `mysql://USER:PASSWORD@HOST:PORT/DATABASE` or `mariadb://…`. */
  readonly url: string;
  readonly log: Logger;
  /** False: the schema of a server's database must be there already, and nothing is changed. True when absent. */
  readonly migrates?: boolean;
  /** Connections of this process to a server; each costs the server about 1 MiB. 16 when absent. */
  readonly connections_max?: number;
  /** Told before each migration: its name, and which one it is of how many. */
  readonly onMigration?: OnMigration;
}

/**
 * Opens a database and migrates it when needed. A SQLite file and its folder are made when they do not exist; a database on
 * a server must exist, its tables need not.
 *
 * @throws JobmonError MALFORMED for an address that can't be read, a file that is no database, or a schema that is newer than
 * ours; UNAVAILABLE for a server, a file or a folder that can't be reached or written.
 */
export async function openDatabase(settings: DatabaseSettings): Promise<Database> {
  const address = parseDatabaseUrl(settings.url);
  return address.kind === 'sqlite'
    ? openSqlite(address.file, settings.log, undefined, settings.onMigration)
    : openMariadb(address, settings);
}

/** Behind the name of a SQLite database stands the file of its log records. */
export const RECORDS_SUFFIX = '.log-records';

/**
 * The database that holds the log records of `database`, which was opened by `url`: itself on a server; beside a SQLite file a second file, so
 * that what is said of the work never waits for the work, nor the other way round. Closing it leaves `database` open.
 *
 * @throws as `openDatabase`.
 */
export async function openLogRecords(database: Database, { url, log }: DatabaseSettings): Promise<Database> {
  const address = parseDatabaseUrl(url);
  if (address.kind !== 'sqlite') return Object.create(database, { close: { value: async () => undefined } }) as Database;
  return openSqlite(`${address.file}${RECORDS_SUFFIX}`, log, {
    entities: [LogRecordRow, LogArrivalRow],
    migrations: [LogRecordFile1763900000001, LogArrivalFile1763900000002, LogLevelFile1763900000003],
  });
}

/**
 * Asks an open database whether its schema is one that this program works on.
 *
 * @throws JobmonError as `refuseOlderSchema` does.
 */
export async function requireSchema(database: Database): Promise<void> {
  const names = (await database.read<{ name: string }>(MIGRATIONS_SQL)).map(({ name }) => name);
  const [rule] = hasRule(names) ? await database.read(RULE_SQL) : [];
  refuseOlderSchema(storedSchema(names, rule), 'the database');
}

/** Whether a statement failed because a row with the same key exists: the primary key or a unique one, on either database. */
export function isDuplicateKey(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === 'ER_DUP_ENTRY' || code === 'SQLITE_CONSTRAINT_UNIQUE' || code === 'SQLITE_CONSTRAINT_PRIMARYKEY';
}
