/**
 * Opens the house's database: takes the address apart, brings the schema to ours, and gives back the seam of `database.ts`.
 * Whatever can go wrong at the start is answered by one sentence with cause and cure, fit to be printed by a main program.
 */
import { parseDatabaseUrl, type Logger } from '@jobmon/runtime';
import type { Database } from './database';
import { openMariadb } from './mariadb';
import { openSqlite } from './sqlite';

export interface DatabaseSettings {
  /** `sqlite:FILE`, `mysql://USER:PASSWORD@HOST:PORT/DATABASE` or `mariadb://…`. */
  readonly url: string;
  readonly log: Logger;
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
  return address.kind === 'sqlite' ? openSqlite(address.file, settings.log) : openMariadb(address, settings.log);
}

/** Whether a statement failed because a row with the same key exists: the primary key or a unique one, on either database. */
export function isDuplicateKey(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === 'ER_DUP_ENTRY' || code === 'SQLITE_CONSTRAINT_UNIQUE' || code === 'SQLITE_CONSTRAINT_PRIMARYKEY';
}
