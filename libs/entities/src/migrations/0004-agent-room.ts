/** The fourth migration: what an agent has to give, and the orders to it. Run again after a cut it adds what is missing. */
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { columnSql, type ColumnShape } from './shape';

const TABLE = 'agent';
const COLUMNS: readonly ColumnShape[] = [
  { name: 'cores', type: 'int', nullable: true },
  { name: 'memory_mib', type: 'int', nullable: true },
  { name: 'drain_date', type: 'datetime', nullable: true },
  { name: 'drain_reason', type: 'varchar', length: 1000, nullable: true },
  { name: 'set_aside_date', type: 'datetime', nullable: true },
  { name: 'set_aside_reason', type: 'varchar', length: 1000, nullable: true },
];

export class AgentRoom1763900000004 implements MigrationInterface {
  readonly name = 'AgentRoom1763900000004';

  async up(runner: QueryRunner): Promise<void> {
    const table = await runner.getTable(TABLE);
    for (const column of COLUMNS) {
      if (table?.findColumnByName(column.name) !== undefined) continue;
      await runner.query(`ALTER TABLE ${TABLE} ADD COLUMN ${columnSql(runner, TABLE, column)}`);
    }
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; a backup file stands beside a SQLite database');
  }
}
