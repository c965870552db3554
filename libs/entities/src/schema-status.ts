/** What the schema of a database is, for a person who looks: nothing is changed, and no schema is refused. */
import { existsSync } from 'node:fs';
import { JobmonError } from '@jobmon/contracts';
import { parseDatabaseUrl } from '@jobmon/runtime';
import SqliteHandle from 'better-sqlite3';
import { readMigrations } from './mariadb';
import { knownMigrations, refuseOlderSchema } from './schema';

export interface SchemaStatus {
  /** Migrations that have run. */
  readonly version: number;
  /** Migrations that this release knows. */
  readonly version_known: number;
  /** Those of this release that have not run, in their order. */
  readonly pending: readonly string[];
  /** Whether services of this release work on it. */
  readonly is_fit: boolean;
  /** The same as a sentence, with its cause and cure. */
  readonly verdict: string;
}

/**
 * Reads the list of migrations that have run.
 *
 * @throws JobmonError UNAVAILABLE for a database that can't be reached, MALFORMED for an address or a file that is none.
 */
export async function schemaStatus(url: string): Promise<SchemaStatus> {
  const address = parseDatabaseUrl(url);
  const applied = address.kind === 'sqlite' ? migrationsOfFile(address.file) : await readMigrations(address);
  const known = knownMigrations();
  const facts = {
    version: applied.length,
    version_known: known.length,
    pending: known.filter((name) => !applied.includes(name)),
  };
  try {
    refuseOlderSchema(applied, 'this database');
    return { ...facts, is_fit: true, verdict: 'services of this release work on it' };
  } catch (error) {
    return { ...facts, is_fit: false, verdict: (error as JobmonError).message };
  }
}

function migrationsOfFile(file: string): string[] {
  if (!existsSync(file)) return [];
  const handle = new SqliteHandle(file, { readonly: true, timeout: 5_000 });
  try {
    const table = handle.prepare(`SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'`).get();
    if (table === undefined) return [];
    return (handle.prepare('SELECT name FROM migrations ORDER BY id').all() as { name: string }[]).map(({ name }) => name);
  } catch (error) {
    throw new JobmonError(
      'MALFORMED',
      `the file ${file} can't be read as a database (${(error as Error).message}): name another`,
    );
  } finally {
    handle.close();
  }
}
