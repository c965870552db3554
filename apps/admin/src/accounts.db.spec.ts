/** The accounts of docker/accounts.sql on a real MariaDB: each can do what it is for, and nothing else. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeOnDatabaseKinds, type DatabaseKind } from '@jobmon/testkit';
import { createConnection, type Connection } from 'mysql2/promise';
import { typed } from '../test/typed';

const SQL = readFileSync(join(__dirname, '../../../docker/accounts.sql'), 'utf8');
const ACCOUNTS = ['app', 'migrate', 'read_only', 'read-only'];

describeOnDatabaseKinds('the accounts of docker/accounts.sql', (kind) => {
  if (kind.name !== 'mariadb') {
    it('are for a database on a server; a SQLite file has none', () => expect(SQL).not.toMatch(/sqlite/i));
    return;
  }
  // Accounts belong to the whole server, which other tests use too.
  const mark = randomBytes(4).toString('hex');
  const password = randomBytes(12).toString('hex');
  let place: Awaited<ReturnType<DatabaseKind['place']>>;
  let root: Connection;
  const urlOf = (account: string): string => {
    const url = new URL(place.url);
    url.username = `${account}_${mark}`;
    url.password = password;
    return String(url);
  };

  beforeAll(async () => {
    place = await kind.place();
    root = await createConnection({ uri: place.url.replace(/^mariadb:/, 'mysql:'), multipleStatements: true });
    const database = new URL(place.url).pathname.slice(1);
    const text = SQL.replaceAll('`docker`', `\`${database}\``)
      .replaceAll(/'([\w-]+)'@'%'/g, `'$1_${mark}'@'%'`)
      .replaceAll(/@[A-Z_]+_PASSWORD@/g, password);
    await root.query(text);
    await root.query(text); // A second run changes nothing.
  });
  afterAll(async () => {
    for (const account of ACCOUNTS) await root.query(`DROP USER IF EXISTS '${account}_${mark}'@'%'`);
    await root.end();
    await place.remove();
  });

  /** What a statement of an account comes to: rows, or the server's code of refusal. */
  async function as(account: string, sql: string): Promise<unknown> {
    const connection = await createConnection(urlOf(account).replace(/^mariadb:/, 'mysql:'));
    try {
      return (await connection.query(sql))[0];
    } catch (error) {
      return (error as { code?: string }).code;
    } finally {
      await connection.end();
    }
  }

  it('migrate brings the schema; app works on data and not on the schema; read_only reads', async () => {
    const app = await typed('db', 'migrate', '--db', urlOf('app'));
    expect([app.code, app.err]).toEqual([1, expect.stringMatching(/may not use the database .*: grant it the rights/)]);
    const migrated = await typed('db', 'migrate', '--db', urlOf('migrate'));
    expect([migrated.code, migrated.err]).toEqual([0, expect.stringMatching(/Migrated: the schema has version \d+/)]);
    expect((await typed('db', 'status', '--db', urlOf('app'))).code).toBe(0);

    expect(await as('app', "INSERT INTO tool (name) VALUES ('a tool')")).toMatchObject({ affectedRows: 1 });
    expect(await as('app', "UPDATE tool SET name = 'another' WHERE name = 'a tool'")).toMatchObject({ affectedRows: 1 });
    for (const statement of [
      'ALTER TABLE tool ADD COLUMN more INT',
      'DROP TABLE tool',
      'CREATE TABLE more (id INT)',
      'TRUNCATE tool',
    ]) {
      expect([statement, await as('app', statement)]).toEqual([statement, 'ER_TABLEACCESS_DENIED_ERROR']);
    }
    for (const reader of ['read_only', 'read-only']) {
      expect(await as(reader, 'SELECT name FROM tool')).toEqual(expect.arrayContaining([{ name: 'another' }]));
      for (const view of ['v_workflow', 'v_workflow_run', 'v_task', 'v_task_instance', 'v_task_error'])
        expect([view, await as(reader, `SELECT * FROM ${view}`)]).toEqual([view, []]);
      for (const statement of [
        "INSERT INTO tool (name) VALUES ('x')",
        'UPDATE tool SET name = 1',
        'DELETE FROM tool',
        'DROP TABLE tool',
      ]) {
        expect([statement, await as(reader, statement)]).toEqual([statement, 'ER_TABLEACCESS_DENIED_ERROR']);
      }
    }
    expect(await as('migrate', 'ALTER TABLE tool ADD COLUMN more INT')).toMatchObject({ affectedRows: 0 });
    for (const account of ACCOUNTS) {
      const seen = (await as(account, 'SHOW DATABASES')) as { Database: string }[];
      expect(seen.map(({ Database }) => Database)).not.toContain('mysql');
    }
  });
});
