/** The fifth migration: the table of tools whose first version is being made. Run again after a cut it changes nothing. */
import { Table, type MigrationInterface, type QueryRunner } from 'typeorm';
import { isSqlite } from './shape';

export class ToolFirstVersion1763900000005 implements MigrationInterface {
  readonly name = 'ToolFirstVersion1763900000005';

  async up(runner: QueryRunner): Promise<void> {
    const sqlite = isSqlite(runner);
    const int = (name: string): { name: string; type: string } => ({ name, type: sqlite ? 'integer' : 'int' });
    await runner.createTable(
      new Table({
        name: 'tool_first_version',
        columns: [{ ...int('tool_id'), isPrimary: true }, int('callers'), { name: 'told_date', type: 'datetime' }],
        ...(sqlite ? {} : { engine: 'InnoDB' }),
      }),
      true,
    );
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; a backup file stands beside a SQLite database');
  }
}
