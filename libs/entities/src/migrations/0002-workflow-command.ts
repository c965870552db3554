/** The second migration: the table of commands that are being done on whole workflows. Run again after a cut it changes nothing. */
import { Table, type MigrationInterface, type QueryRunner } from 'typeorm';
import { isSqlite } from './shape';

export class WorkflowCommand1763900000002 implements MigrationInterface {
  readonly name = 'WorkflowCommand1763900000002';

  async up(runner: QueryRunner): Promise<void> {
    const sqlite = isSqlite(runner);
    const int = (name: string): { name: string; type: string } => ({ name, type: sqlite ? 'integer' : 'int' });
    await runner.createTable(
      new Table({
        name: 'workflow_command',
        columns: [
          { ...int('workflow_id'), isPrimary: true },
          {
            name: 'operation',
            type: 'varchar',
            length: '64',
            ...(sqlite ? {} : { charset: 'utf8mb4', collation: 'utf8mb4_bin' }),
          },
          { name: 'request', type: 'json' },
          int('after_array_id'),
          int('after_task_id'),
          int('tasks'),
          int('attempts'),
          { name: 'started_date', type: 'datetime' },
          { name: 'moved_date', type: 'datetime' },
        ],
        checks: sqlite ? [{ name: 'ck_workflow_command_operation_length', expression: 'length("operation") <= 64' }] : [],
        ...(sqlite ? {} : { engine: 'InnoDB' }),
      }),
      true,
    );
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; a backup file stands beside a SQLite database');
  }
}
