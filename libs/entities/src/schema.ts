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
import { ServiceInstance1763900000010 } from './migrations/0010-service-instance';
import { LogArrival1763900000011 } from './migrations/0011-log-arrival';
import { PersonEvent1763900000012 } from './migrations/0012-person-event';
import { TaskInstanceKind1763900000013 } from './migrations/0013-task-instance-kind';
import { LogLevel1763900000014 } from './migrations/0014-log-level';
import { Views1763900000015 } from './migrations/0015-views';

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
  ServiceInstance1763900000010,
  LogArrival1763900000011,
  PersonEvent1763900000012,
  TaskInstanceKind1763900000013,
  LogLevel1763900000014,
  Views1763900000015,
] as const;

const MIGRATION_NAMES: readonly string[] = MIGRATIONS.map((migration) => new migration().name);

/** What a database says of its schema. */
export interface StoredSchema {
  /** Names of the migrations that have run, oldest first. */
  readonly migrations: readonly string[];
  /** The migration that a program must know to work on it. Null: all that have run, since no rule is stored. */
  readonly needs_migration: string | null;
  /** The first release that knows it, for people. */
  readonly oldest_release: string | null;
}

/** Names of the migrations that have run; the table is there when one has. */
export const MIGRATIONS_SQL = 'SELECT name FROM migrations ORDER BY id';
/** To be asked when `hasRule` says so. */
export const RULE_SQL = 'SELECT needs_migration, oldest_release FROM schema_rule WHERE id = 1';
const RULE_MIGRATION = new ServiceInstance1763900000010().name;

/** Whether the rule's table is there. */
export const hasRule = (migrations: readonly string[]): boolean => migrations.includes(RULE_MIGRATION);

export function storedSchema(
  migrations: readonly string[],
  rule?: { readonly needs_migration?: unknown; readonly oldest_release?: unknown },
): StoredSchema {
  const { needs_migration = null, oldest_release = null } = rule ?? {};
  return { migrations, needs_migration: needs_migration as string | null, oldest_release: oldest_release as string | null };
}

/**
 * Which migrations of ours are missing, given what the database says of its schema. One that ran migrations that we do not know was
 * made by a newer release; it may allow us nevertheless. `known`: those of another chain, by name.
 *
 * @throws JobmonError MALFORMED when it does not, and for one that ran none of ours: it is another program's.
 */
export function pendingMigrations(stored: StoredSchema, where: string, known = MIGRATION_NAMES): readonly string[] {
  const { migrations, needs_migration, oldest_release } = stored;
  const unknown = migrations.filter((name) => !known.includes(name));
  const missing = known.filter((name) => !migrations.includes(name));
  const isAllowed = needs_migration !== null && known.includes(needs_migration) && missing.length === 0;
  if (migrations.length > 0 && missing.length === known.length && oldest_release === null) throw notOurs(where);
  if (unknown.length > 0 && !isAllowed) {
    const release = oldest_release === null ? 'a newer version of Jobmon' : `Jobmon ${oldest_release} or newer`;
    throw new JobmonError(
      'MALFORMED',
      `the schema of ${where} (version ${migrations.length}) is newer than this program knows (version ${known.length}): ` +
        `start ${release}, or restore the backup that was made before it was migrated`,
    );
  }
  return missing;
}

/** What is said of a database that another program keeps its tables in. */
export function notOurs(where: string): JobmonError {
  return new JobmonError(
    'MALFORMED',
    `${where} belongs to another program, which keeps a table \`migrations\` of its own there: name another by db.url`,
  );
}

/** Names of our migrations, oldest first. */
export function knownMigrations(): readonly string[] {
  return MIGRATION_NAMES;
}

/**
 * Refuses a schema that misses migrations of ours, for processes that don't migrate.
 *
 * @throws JobmonError UNAVAILABLE with details `{check: 'migrations'}` for an older one: somebody may migrate it at any time.
 * MALFORMED for a newer one that does not allow us.
 */
export function refuseOlderSchema(stored: StoredSchema, where: string): void {
  const pending = pendingMigrations(stored, where);
  if (pending.length === 0) return;
  throw new JobmonError(
    'UNAVAILABLE',
    `the schema of ${where} is older than this program needs (version ${stored.migrations.length} of ${MIGRATION_NAMES.length}): run jobmon-server db migrate`,
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
