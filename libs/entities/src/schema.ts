/** The version of the schema, and what every TypeORM data source of the house needs to be told. */
import { JobmonError } from '@jobmon/contracts';
import type { DataSource } from 'typeorm';
import { Schema1763800000001 } from './migrations/0001-schema';
import { WorkflowCommand1763900000002 } from './migrations/0002-workflow-command';
import { WorkflowEvent1763900000003 } from './migrations/0003-workflow-event';
import { AgentRoom1763900000004 } from './migrations/0004-agent-room';
import { ToolFirstVersion1763900000005 } from './migrations/0005-tool-first-version';
import { HistoryMicrosecond1763900000006 } from './migrations/0006-history-microsecond';
import { WorkflowRunLease1763900000007 } from './migrations/0007-workflow-run-lease';
import { ApiToken1763900000009 } from './migrations/0009-api-token';

/** The migration chain, oldest first. The schema's version is the number of its entries that have run. */
export const MIGRATIONS = [
  Schema1763800000001,
  WorkflowCommand1763900000002,
  WorkflowEvent1763900000003,
  AgentRoom1763900000004,
  ToolFirstVersion1763900000005,
  HistoryMicrosecond1763900000006,
  WorkflowRunLease1763900000007,
  ApiToken1763900000009,
] as const;

const MIGRATION_NAMES: readonly string[] = MIGRATIONS.map((migration) => new migration().name);

/**
 * Which migrations of ours are missing, given the names that the database says have run.
 *
 * @throws JobmonError MALFORMED when the database has run one that we do not know: it was made by a newer version.
 */
export function pendingMigrations(applied: readonly string[], where: string): readonly string[] {
  const unknown = applied.filter((name) => !MIGRATION_NAMES.includes(name));
  if (unknown.length > 0) {
    throw new JobmonError(
      'MALFORMED',
      `the schema of ${where} (version ${applied.length}) is newer than this program knows (version ${MIGRATION_NAMES.length}): ` +
        'start a newer version of Jobmon, or restore the backup that was made before it was migrated',
    );
  }
  return MIGRATION_NAMES.filter((name) => !applied.includes(name));
}

/**
 * Lets dates pass through TypeORM as the text that the database holds. By itself TypeORM makes each a Date, by the time zone of
 * this process on one of the databases and by UTC on the other.
 */
export function keepDatesAsText(dataSource: DataSource): void {
  const driver = dataSource.driver;
  const hydrate = driver.prepareHydratedValue.bind(driver);
  const persist = driver.preparePersistentValue.bind(driver);
  driver.prepareHydratedValue = (value, column) => (column.type === 'datetime' ? value : hydrate(value, column));
  driver.preparePersistentValue = (value, column) => (column.type === 'datetime' ? value : persist(value, column));
}
