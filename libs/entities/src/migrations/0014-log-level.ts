/**
 * The fourteenth migration: log records of a level in the order of their times, so that the newest errors are not looked for among the warnings that
 * were said after them. Like the table itself it is made in the database of a server and in the file of records beside a SQLite database. Nothing
 * that was there changes: an older release works on it. Run again after a cut it changes nothing.
 */
import { TableIndex, type MigrationInterface, type QueryRunner } from 'typeorm';
import { isSqlite } from './shape';

const TABLE = 'log_record';
const INDEX = 'ix_log_record_level';

export class LogLevel1763900000014 implements MigrationInterface {
  readonly name = 'LogLevel1763900000014';

  async up(runner: QueryRunner): Promise<void> {
    if (!isSqlite(runner)) await addIndex(runner);
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; a backup file stands beside a SQLite database');
  }
}

/** Of the file of records beside a SQLite database. */
export class LogLevelFile1763900000003 implements MigrationInterface {
  readonly name = 'LogLevelFile1763900000003';

  async up(runner: QueryRunner): Promise<void> {
    await addIndex(runner);
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward');
  }
}

async function addIndex(runner: QueryRunner): Promise<void> {
  const table = await runner.getTable(TABLE);
  if (table?.indices.some(({ name }) => name === INDEX) === true) return;
  await runner.createIndex(TABLE, new TableIndex({ name: INDEX, columnNames: ['level', 'id'] }));
}
