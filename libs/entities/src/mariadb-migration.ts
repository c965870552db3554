/**
 * Migrating a database on a server, while services of the release before work on it. A change of the schema commits by itself there: migrations
 * are not rolled back but repeated, and the next call goes on with the one that failed or was cut off.
 */
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { JobmonError } from '@jobmon/contracts';
import type { DataSource } from 'typeorm';
import type { OpenSettings, Select } from './mariadb';
import { explained, isConnectionProblem, isReadOnly, type ServerAddress } from './mariadb-error';
import { causeOf, runMigrations } from './migration';
import { hasRule, MIGRATIONS_SQL, notOurs, pendingMigrations, RULE_SQL, storedSchema, type StoredSchema } from './schema';

/** Bound of waiting for another process that migrates. */
const MIGRATION_LOCK_SECONDS = 60;
/**
 * A change of a table waits for all transactions that have touched it, and whoever touches it then waits behind the change: services, too. So it gives
 * way after this time and tries again after a pause in which they catch up. Both together stay below what a client may wait.
 */
const TABLE_LOCK_SECONDS = 2;
const TABLE_LOCK_PAUSE_MS = 2_000;
/** Longest that one step is held up so; then the call ends, and another one goes on. */
const TABLE_LOCK_PATIENCE_MS = 60_000;
const LOCK_WAIT_TIMEOUT_ERRNO = 1205;

export const whereOf = (address: ServerAddress): string => `the database ${address.database} on ${address.host}:${address.port}`;

/**
 * Brings the schema to ours under a lock that others wait for. `open` makes a data source of one connection, not yet initialized.
 *
 * @throws JobmonError UNAVAILABLE when another process migrates for too long, when a step is held up by somebody's transaction, or when
 * the server went away; MALFORMED when a step failed for another cause. Both name the step.
 */
export async function migrateServer(
  address: ServerAddress,
  select: Select,
  open: () => DataSource,
  { log, onMigration }: OpenSettings,
): Promise<void> {
  const where = whereOf(address);
  if (pendingMigrations(await readSchema(select, where), where).length === 0) return;
  const lock = `jobmon_migration_${createHash('sha256').update(address.database).digest('hex').slice(0, 40)}`;
  const [locked] = await select('SELECT GET_LOCK(?, ?) AS locked', [lock, MIGRATION_LOCK_SECONDS]);
  if (locked?.locked !== 1) {
    throw new JobmonError(
      'UNAVAILABLE',
      `another process has been migrating ${where} for ${MIGRATION_LOCK_SECONDS} s: wait for it`,
    );
  }
  const pending = pendingMigrations(await readSchema(select, where), where);
  if (pending.length === 0) return;
  const dataSource = open();
  await dataSource.initialize();
  try {
    await dataSource.query(`SET SESSION lock_wait_timeout = ${TABLE_LOCK_SECONDS}`);
    const deadline = Date.now() + TABLE_LOCK_PATIENCE_MS;
    await runMigrations(dataSource, where, {
      onMigration,
      mayTryAgain: async (error) => {
        if (!isHeldUp(error) || Date.now() >= deadline) return false;
        await pause(TABLE_LOCK_PAUSE_MS);
        return true;
      },
      explain: ({ sentence, error }) => {
        const canWait = isHeldUp(error) || isConnectionProblem(error) || isReadOnly(error);
        const cause = isHeldUp(error)
          ? `a transaction that has been open for ${TABLE_LOCK_PATIENCE_MS / 1_000} s, of a backup perhaps, holds its table: wait for its end (SHOW PROCESSLIST names it)`
          : causeOf(explained(error, address));
        return new JobmonError(
          canWait ? 'UNAVAILABLE' : 'MALFORMED',
          `${sentence}: ${cause}. Services of the release before work on. When the cause is mended, run jobmon-server db migrate again: it goes on with this step`,
          undefined,
          { cause: error },
        );
      },
    });
  } finally {
    await dataSource.destroy();
  }
  log.info({ database: address.database, migrations: pending }, 'the database was migrated');
}

const isHeldUp = (error: unknown): boolean => (error as { errno?: unknown } | null)?.errno === LOCK_WAIT_TIMEOUT_ERRNO;

export async function readSchema(select: Select, where: string): Promise<StoredSchema> {
  const [table] = await select(
    `SELECT MAX(COLUMN_NAME = 'name') AS hasNames FROM information_schema.COLUMNS
      WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'migrations' GROUP BY TABLE_NAME`,
  );
  if (table === undefined) return storedSchema([]);
  if (table.hasNames !== 1) throw notOurs(where);
  const names = (await select(MIGRATIONS_SQL)).map((row) => String(row.name));
  return storedSchema(names, hasRule(names) ? (await select(RULE_SQL))[0] : undefined);
}
