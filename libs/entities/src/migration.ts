/**
 * Running the missing migrations of an open data source, on either database: one after the other, each told before it begins, and
 * a sentence about the one that failed.
 */
import { JobmonError } from '@jobmon/contracts';
import { MigrationExecutor, type DataSource } from 'typeorm';

export type OnMigration = (name: string, number: number, count: number) => void;

/** What went wrong with a step, for whoever explains it. */
export interface FailedMigration {
  /** `the migration NAME (2 of 5) of WHERE failed`. */
  readonly sentence: string;
  readonly error: unknown;
}

/**
 * Runs what is pending. A step is run again for as long as `mayTryAgain` says so (it is asked after each failure, and waits by itself).
 * Every step can be repeated: it looks at what is there first.
 *
 * @throws what `explain` makes of the failed step.
 */
export async function runMigrations(
  dataSource: DataSource,
  where: string,
  {
    onMigration,
    explain,
    mayTryAgain = async () => false,
  }: {
    readonly onMigration?: OnMigration;
    readonly explain: (failed: FailedMigration) => unknown;
    readonly mayTryAgain?: (error: unknown) => Promise<boolean>;
  },
): Promise<void> {
  const executor = new MigrationExecutor(dataSource);
  const pending = await executor.getPendingMigrations();
  for (const [index, migration] of pending.entries()) {
    onMigration?.(migration.name, index + 1, pending.length);
    for (let isDone = false; !isDone;) {
      try {
        await executor.executeMigration(migration);
        isDone = true;
      } catch (error) {
        if (await mayTryAgain(error)) continue;
        throw explain({
          sentence: `the migration ${migration.name} (${index + 1} of ${pending.length}) of ${where} failed`,
          error,
        });
      }
    }
  }
}

/** The cause in a person's words: of a sentence of ours as it is, of a driver without what it was asked. */
export const causeOf = (error: unknown): string => (error instanceof JobmonError ? error.message : (error as Error).message);
