/**
 * What a former agent left in the state directory and no agent answers for any more: attempts whose end was acknowledged just
 * before a crash, and attempts that were given to somebody else meanwhile. At most one process of a task (design rule 5.11):
 * what still runs of them is killed.
 */
import { readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { attemptsDirectory, look, voidAttempt } from './attempt-folder';
import { signalSession } from './processes';

/** What was found and cleared. */
export interface Leftovers {
  /** Folders that were removed. */
  readonly removed: number;
  /** Commands that still ran and were killed, with their process groups. */
  readonly killed: number;
}

/**
 * Clears every attempt of the state directory but those to `keep`. To be called after the server has told which attempts are
 * this agent's, and before anything new is started. Folders go one after the other; one that can't be removed stays for the
 * next start.
 */
export async function clearLeftovers(state_directory: string, keep: ReadonlySet<number>): Promise<Leftovers> {
  const attempts = attemptsDirectory(state_directory);
  let removed = 0;
  let killed = 0;
  for (const name of namesIn(attempts)) {
    if (keep.has(Number(name))) continue;
    const path = join(attempts, name);
    if (/^[0-9]+$/.test(name)) {
      // A launcher of the former agent may have it among its requests still.
      if (look(attempts, Number(name)).is === 'unclaimed') voidAttempt(attempts, Number(name));
      const found = look(attempts, Number(name));
      if (found.is === 'running' || found.is === 'lost') signalSession(found.command, 'SIGKILL');
      if (found.is === 'running') killed++;
    }
    // Retried since the launcher of what was killed writes its exit status about now.
    await rm(path, { recursive: true, force: true, maxRetries: 3 }).then(
      () => removed++,
      () => undefined,
    );
  }
  return { removed, killed };
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
