/**
 * The eighth migration: log records. On a server they are a table of the database; beside a SQLite file they have a file of their own
 * (`log-record.ts`), whose only migration stands here too. Run again after a cut they change nothing.
 */
import { Table, type MigrationInterface, type QueryRunner } from 'typeorm';
import { isSqlite } from './shape';

export class LogRecord1763900000008 implements MigrationInterface {
  readonly name = 'LogRecord1763900000008';

  async up(runner: QueryRunner): Promise<void> {
    if (!isSqlite(runner)) await createTable(runner);
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; a backup file stands beside a SQLite database');
  }
}

/** Of the file of records beside a SQLite database. */
export class LogRecordFile1763900000001 implements MigrationInterface {
  readonly name = 'LogRecordFile1763900000001';

  async up(runner: QueryRunner): Promise<void> {
    await createTable(runner);
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward');
  }
}

async function createTable(runner: QueryRunner): Promise<void> {
  const sqlite = isSqlite(runner);
  const int = { type: sqlite ? 'integer' : 'int', isNullable: true };
  const text = sqlite ? {} : { charset: 'utf8mb4', collation: 'utf8mb4_bin' };
  const lengths = { id: 26, service: 64, instance: 150, request_id: 255, trace_id: 64 };
  const varchar = (name: keyof typeof lengths) => ({ name, type: 'varchar', length: String(lengths[name]), ...text });
  await runner.createTable(
    new Table({
      name: 'log_record',
      columns: [
        { ...varchar('id'), isPrimary: true },
        { name: 'date', type: 'datetime' },
        { name: 'level', type: 'smallint' },
        varchar('service'),
        varchar('instance'),
        { ...varchar('request_id'), isNullable: true },
        { name: 'workflow_id', ...int },
        { name: 'workflow_run_id', ...int },
        { name: 'task_id', ...int },
        { name: 'task_instance_id', ...int },
        { ...varchar('trace_id'), isNullable: true },
        { name: 'text', type: 'text', ...text },
        { name: 'detail', type: 'text', ...text },
      ],
      indices: ['workflow_id', 'task_id'].map((name) => ({ name: `ix_log_record_${name}`, columnNames: [name, 'id'] })),
      checks: sqlite
        ? Object.entries(lengths).map(([name, length]) => ({
            name: `ck_log_record_${name}_length`,
            expression: `length("${name}") <= ${length}`,
          }))
        : [],
      ...(sqlite ? {} : { engine: 'InnoDB' }),
    }),
    true,
  );
}
