/**
 * One house to a SQLite file. Two of them would each have an agent, a scheduler and counts of their own over the same rows, and
 * nobody could say which one a client had found. Other programs may read and write the file as before: what is held is a
 * lock on a second, empty file beside it, by SQLite's own locking, which the kernel releases with the process. So a lock that
 * a killed process left behind does not exist.
 */
import { existsSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import { JobmonError } from '@jobmon/contracts';
import { makeFolder, parseDatabaseUrl } from '@jobmon/runtime';
import SqliteHandle from 'better-sqlite3';
import { refuseOtherFiles } from './sqlite';

/**
 * Holds the file of a database address for this process until the returned function is called. An address of a server is not
 * held: several houses may share it. Where the lock file can't be made nothing is held, and opening the database says why.
 *
 * @throws JobmonError CONFLICT when another process holds it.
 */
export function holdDatabase(url: string): () => void {
  const address = parseDatabaseUrl(url);
  if (address.kind !== 'sqlite') return () => undefined;
  let handle: SqliteHandle.Database | undefined;
  try {
    makeFolder(dirname(address.file));
    // Nothing is laid beside a file that will be refused, and a file with two names is one file.
    refuseOtherFiles(address.file);
    const file = existsSync(address.file) ? realpathSync(address.file) : address.file;
    handle = new SqliteHandle(`${file}.house`, { timeout: 0 });
    handle.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    handle?.close();
    if (String((error as { code?: unknown }).code).startsWith('SQLITE_BUSY')) {
      throw new JobmonError(
        'CONFLICT',
        `another Jobmon server uses the database ${address.file}: stop that one, or name another file by --db sqlite:FILE`,
      );
    }
    return () => undefined;
  }
  const held = handle;
  return () => void held.close();
}
