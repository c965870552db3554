/** What the schema of a database is, for a person who looks: nothing is changed, and no schema is refused. */
import { existsSync } from 'node:fs';
import { JobmonError } from '@jobmon/contracts';
import { parseDatabaseUrl } from '@jobmon/runtime';
import SqliteHandle from 'better-sqlite3';
import { readMariadbSchema } from './mariadb';
import { knownMigrations, refuseOlderSchema, storedSchema, type StoredSchema } from './schema';
import { readSqliteSchema } from './sqlite';

export interface SchemaStatus {
  /** Migrations that have run. */
  readonly version: number;
  /** Migrations that this release knows. */
  readonly version_known: number;
  /** Those of this release that have not run, in their order. */
  readonly pending: readonly string[];
  /** Those of a newer release that have run. */
  readonly unknown: readonly string[];
  /** The oldest release that the schema still allows; null where it does not say. */
  readonly oldest_release: string | null;
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
  const stored = address.kind === 'sqlite' ? schemaOfFile(address.file) : await readMariadbSchema(address);
  const known = knownMigrations();
  const facts = {
    version: stored.migrations.length,
    version_known: known.length,
    pending: known.filter((name) => !stored.migrations.includes(name)),
    unknown: stored.migrations.filter((name) => !known.includes(name)),
    oldest_release: stored.oldest_release,
  };
  try {
    refuseOlderSchema(stored, 'this database');
    return { ...facts, is_fit: true, verdict: 'services of this release work on it' };
  } catch (error) {
    return { ...facts, is_fit: false, verdict: (error as JobmonError).message };
  }
}

function schemaOfFile(file: string): StoredSchema {
  if (!existsSync(file)) return storedSchema([]);
  const handle = new SqliteHandle(file, { readonly: true, timeout: 5_000 });
  try {
    return readSqliteSchema(handle);
  } catch (error) {
    throw new JobmonError(
      'MALFORMED',
      `the file ${file} can't be read as a database (${(error as Error).message}): name another`,
    );
  } finally {
    handle.close();
  }
}
