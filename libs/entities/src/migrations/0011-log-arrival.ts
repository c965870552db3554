/**
 * The eleventh migration: the order in which log records came. Like the table itself it is made in the database of a server and in the file of records
 * beside a SQLite database. Records of before it have the number 0: whoever follows has been told of them or never will be.
 */
import { Table, TableIndex, type MigrationInterface, type QueryRunner } from 'typeorm';
import { columnSql, isSqlite } from './shape';

const TABLE = 'log_record';
const COLUMN = { name: 'arrival', type: 'bigint', default: 0 } as const;
const INDEX = 'ix_log_record_arrival';

export class LogArrival1763900000011 implements MigrationInterface {
  readonly name = 'LogArrival1763900000011';

  async up(runner: QueryRunner): Promise<void> {
    if (!isSqlite(runner)) await addArrival(runner);
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; a backup file stands beside a SQLite database');
  }
}

/** Of the file of records beside a SQLite database. */
export class LogArrivalFile1763900000002 implements MigrationInterface {
  readonly name = 'LogArrivalFile1763900000002';

  async up(runner: QueryRunner): Promise<void> {
    await addArrival(runner);
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward');
  }
}

/** Each step looks first: run again after a cut it changes nothing. */
async function addArrival(runner: QueryRunner): Promise<void> {
  const sqlite = isSqlite(runner);
  const table = await runner.getTable(TABLE);
  if (table?.findColumnByName(COLUMN.name) === undefined) {
    await runner.query(
      `ALTER TABLE ${TABLE} ADD COLUMN ${columnSql(runner, TABLE, COLUMN)}${sqlite ? '' : ', ALGORITHM=INSTANT'}`,
    );
  }
  if (table?.indices.some(({ name }) => name === INDEX) !== true) {
    await runner.createIndex(TABLE, new TableIndex({ name: INDEX, columnNames: [COLUMN.name] }));
  }
  await runner.createTable(
    new Table({
      name: 'log_arrival',
      columns: [
        { name: 'id', type: sqlite ? 'integer' : 'int', isPrimary: true },
        { name: 'arrival', type: 'bigint' },
      ],
      ...(sqlite ? {} : { engine: 'InnoDB' }),
    }),
    true,
  );
  await runner.query(`${sqlite ? 'INSERT OR IGNORE' : 'INSERT IGNORE'} INTO log_arrival (id, arrival) VALUES (1, 0)`);
}
