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
import { LogRecord1763900000008 } from './migrations/0008-log-record';
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
  LogRecord1763900000008,
  ApiToken1763900000009,
] as const;

const MIGRATION_NAMES: readonly string[] = MIGRATIONS.map((migration) => new migration().name);

/**
 * Which migrations of ours are missing, given the names that the database says have run. `known`: those of another chain, by name.
 *
 * @throws JobmonError MALFORMED when the database has run one that we do not know: it was made by a newer version.
 */
export function pendingMigrations(applied: readonly string[], where: string, known = MIGRATION_NAMES): readonly string[] {
  const unknown = applied.filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    throw new JobmonError(
      'MALFORMED',
      `the schema of ${where} (version ${applied.length}) is newer than this program knows (version ${known.length}): ` +
        'start a newer version of Jobmon, or restore the backup that was made before it was migrated',
    );
  }
  return known.filter((name) => !applied.includes(name));
}

/** Names of our migrations, oldest first. */
export function knownMigrations(): readonly string[] {
  return MIGRATION_NAMES;
}

/**
 * Refuses a schema that misses migrations of ours, for processes that don't migrate.
 *
 * @throws JobmonError UNAVAILABLE with details `{check: 'migrations'}` for an older one: somebody may migrate it at any time.
 * MALFORMED for a newer one.
 */
export function refuseOlderSchema(applied: readonly string[], where: string): void {
  const pending = pendingMigrations(applied, where);
  if (pending.length === 0) return;
  throw new JobmonError(
    'UNAVAILABLE',
    `the schema of ${where} is older than this program needs (version ${applied.length} of ${MIGRATION_NAMES.length}): run jobmon-server db migrate`,
    { check: 'migrations' },
  );
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
