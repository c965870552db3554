/**
 * The tenth migration: services with their signs of life, and which programs may work on this schema. Run again after a cut it changes nothing.
 *
 * A later migration that programs of before can't live with (a column that goes, a letter that is new) says so in its own steps: it sets
 * `schema_rule.needs_migration` to its name and `oldest_release` to the release that knows it. One that only adds leaves the row alone, and
 * programs of before go on.
 */
import { Table, type MigrationInterface, type QueryRunner } from 'typeorm';
import { isSqlite } from './shape';

/** The release that brought this migration. */
const RELEASE = '0.1.0';

export class ServiceInstance1763900000010 implements MigrationInterface {
  readonly name = 'ServiceInstance1763900000010';

  async up(runner: QueryRunner): Promise<void> {
    const sqlite = isSqlite(runner);
    const make = (name: string, lengths: Readonly<Record<string, number>>, columns: Table['columns']): Promise<void> =>
      runner.createTable(
        new Table({
          name,
          columns,
          checks: sqlite
            ? Object.entries(lengths).map(([column, length]) => ({
                name: `ck_${name}_${column}_length`,
                expression: `length("${column}") <= ${length}`,
              }))
            : [],
          ...(sqlite ? {} : { engine: 'InnoDB' }),
        }),
        true,
      );
    const table = (name: string, keys: readonly [string, string, number?][]) => {
      const columns = keys.map(([column, type, length], at) => ({
        name: column,
        type,
        ...(length === undefined
          ? {}
          : { length: String(length), ...(sqlite ? {} : { charset: 'utf8mb4', collation: 'utf8mb4_bin' }) }),
        isPrimary: name === 'service_instance' ? at < 2 : at < 1,
      }));
      const lengths = Object.fromEntries(keys.flatMap(([column, , length]) => (length === undefined ? [] : [[column, length]])));
      return make(name, lengths, new Table({ name, columns }).columns);
    };
    await table('service_instance', [
      ['service', 'varchar', 32],
      ['instance', 'varchar', 150],
      ['started_date', 'datetime'],
      ['expires_date', 'datetime'],
    ]);
    await table('schema_rule', [
      ['id', sqlite ? 'integer' : 'int'],
      ['needs_migration', 'varchar', 150],
      ['oldest_release', 'varchar', 50],
    ]);
    const ignore = sqlite ? 'INSERT OR IGNORE' : 'INSERT IGNORE';
    await runner.query(
      `${ignore} INTO schema_rule (id, needs_migration, oldest_release) VALUES (1, '${this.name}', '${RELEASE}')`,
    );
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; a backup file stands beside a SQLite database');
  }
}
