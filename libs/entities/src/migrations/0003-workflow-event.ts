/**
 * The third migration: what people do to workflows is recorded, a run can be paused, a workflow has a priority. Each step looks
 * first: run again after a cut it changes nothing.
 */
import { Table, type MigrationInterface, type QueryRunner } from 'typeorm';
import { columnSql, isSqlite, type ColumnShape } from './shape';

/** Columns without a default that are NULL on every row: added without touching one, on both databases. */
const COLUMNS: readonly { readonly table: string; readonly column: ColumnShape }[] = [
  { table: 'workflow', column: { name: 'priority', type: 'int', nullable: true } },
  { table: 'workflow_run', column: { name: 'is_paused', type: 'smallint', nullable: true } },
];

export class WorkflowEvent1763900000003 implements MigrationInterface {
  readonly name = 'WorkflowEvent1763900000003';

  async up(runner: QueryRunner): Promise<void> {
    const sqlite = isSqlite(runner);
    const int = { type: sqlite ? 'integer' : 'int' };
    const text = sqlite ? {} : { charset: 'utf8mb4', collation: 'utf8mb4_bin' };
    const lengths = { user: 150, verb: 32 };
    await runner.createTable(
      new Table({
        name: 'workflow_event',
        columns: [
          {
            name: 'id',
            type: sqlite ? 'integer' : 'bigint',
            isPrimary: true,
            isGenerated: true,
            generationStrategy: 'increment',
          },
          { name: 'workflow_id', ...int },
          { name: 'workflow_run_id', ...int, isNullable: true },
          { name: 'date', type: 'datetime' },
          { name: 'microsecond', ...int },
          { name: 'user', type: 'varchar', length: String(lengths.user), ...text },
          { name: 'verb', type: 'varchar', length: String(lengths.verb), ...text },
          { name: 'reason', type: 'text', ...text },
          { name: 'detail', type: 'json' },
        ],
        indices: [{ name: 'ix_workflow_event_workflow_id', columnNames: ['workflow_id'] }],
        checks: sqlite
          ? Object.entries(lengths).map(([name, length]) => ({
              name: `ck_workflow_event_${name}_length`,
              expression: `length("${name}") <= ${length}`,
            }))
          : [],
        ...(sqlite ? {} : { engine: 'InnoDB' }),
      }),
      true,
    );
    for (const { table, column } of COLUMNS) {
      const found = await runner.getTable(table);
      if (found?.findColumnByName(column.name) !== undefined) continue;
      const instant = sqlite ? '' : ', ALGORITHM=INSTANT';
      await runner.query(`ALTER TABLE ${table} ADD COLUMN ${columnSql(runner, table, column)}${instant}`);
    }
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; a backup file stands beside a SQLite database');
  }
}
