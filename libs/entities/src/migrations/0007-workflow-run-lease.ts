/** The seventh migration: schedulers with their deadlines, and which of them holds which run. Run again after a cut it changes nothing. */
import { Table, type MigrationInterface, type QueryRunner } from 'typeorm';
import { isSqlite } from './shape';

const NAME_LENGTH = 150;

export class WorkflowRunLease1763900000007 implements MigrationInterface {
  readonly name = 'WorkflowRunLease1763900000007';

  async up(runner: QueryRunner): Promise<void> {
    const sqlite = isSqlite(runner);
    const text = sqlite ? {} : { charset: 'utf8mb4', collation: 'utf8mb4_bin' };
    const engine = sqlite ? {} : { engine: 'InnoDB' };
    const checkLength = (table: string, column: string) =>
      sqlite ? [{ name: `ck_${table}_${column}_length`, expression: `length("${column}") <= ${NAME_LENGTH}` }] : [];
    await runner.createTable(
      new Table({
        name: 'workflow_run_lease',
        columns: [
          { name: 'workflow_run_id', type: sqlite ? 'integer' : 'int', isPrimary: true },
          { name: 'scheduler_instance', type: 'varchar', length: String(NAME_LENGTH), isNullable: true, ...text },
          { name: 'fence', type: sqlite ? 'integer' : 'bigint' },
        ],
        indices: [{ name: 'ix_workflow_run_lease_scheduler_instance', columnNames: ['scheduler_instance'] }],
        checks: checkLength('workflow_run_lease', 'scheduler_instance'),
        ...engine,
      }),
      true,
    );
    await runner.createTable(
      new Table({
        name: 'scheduler',
        columns: [
          { name: 'instance', type: 'varchar', length: String(NAME_LENGTH), isPrimary: true, ...text },
          { name: 'expires_date', type: 'datetime' },
        ],
        checks: checkLength('scheduler', 'instance'),
        ...engine,
      }),
      true,
    );
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; a backup file stands beside a SQLite database');
  }
}
