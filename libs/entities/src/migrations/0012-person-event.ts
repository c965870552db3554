/** The twelfth migration: who changed definitions, graphs and agents is recorded. Run again after a cut it changes nothing. */
import { Table, type MigrationInterface, type QueryRunner } from 'typeorm';
import { isSqlite } from './shape';

export class PersonEvent1763900000012 implements MigrationInterface {
  readonly name = 'PersonEvent1763900000012';

  async up(runner: QueryRunner): Promise<void> {
    const sqlite = isSqlite(runner);
    const int = { type: sqlite ? 'integer' : 'int' };
    const text = sqlite ? {} : { charset: 'utf8mb4', collation: 'utf8mb4_bin' };
    const lengths = { user: 150, operation: 64 };
    await runner.createTable(
      new Table({
        name: 'person_event',
        columns: [
          {
            name: 'id',
            type: sqlite ? 'integer' : 'bigint',
            isPrimary: true,
            isGenerated: true,
            generationStrategy: 'increment',
          },
          { name: 'date', type: 'datetime' },
          { name: 'microsecond', ...int },
          { name: 'user', type: 'varchar', length: String(lengths.user), ...text },
          { name: 'operation', type: 'varchar', length: String(lengths.operation), ...text },
          { name: 'subject_id', ...int },
        ],
        checks: sqlite
          ? Object.entries(lengths).map(([name, length]) => ({
              name: `ck_person_event_${name}_length`,
              expression: `length("${name}") <= ${length}`,
            }))
          : [],
        ...(sqlite ? {} : { engine: 'InnoDB' }),
      }),
      true,
    );
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; a backup file stands beside a SQLite database');
  }
}
