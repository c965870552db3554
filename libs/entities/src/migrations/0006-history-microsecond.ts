/** The sixth migration: history rows tell the part of the second too. Run again after a cut it changes nothing. */
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { columnSql, isSqlite } from './shape';

const TABLE = 'task_instance_history';
const COLUMN = { name: 'microsecond', type: 'int', default: 0 } as const;

export class HistoryMicrosecond1763900000006 implements MigrationInterface {
  readonly name = 'HistoryMicrosecond1763900000006';

  /** A column with a constant default is added without touching a row, on both databases. */
  async up(runner: QueryRunner): Promise<void> {
    const table = await runner.getTable(TABLE);
    if (table?.findColumnByName(COLUMN.name) !== undefined) return;
    const instant = isSqlite(runner) ? '' : ', ALGORITHM=INSTANT';
    await runner.query(`ALTER TABLE ${TABLE} ADD COLUMN ${columnSql(runner, TABLE, COLUMN)}${instant}`);
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; a backup file stands beside a SQLite database');
  }
}
