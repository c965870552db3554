/** `jobmon-server db` on both databases, as it is typed. */
import { openDatabase } from '@jobmon/entities';
import { describeOnDatabaseKinds, type DatabaseKind } from '@jobmon/testkit';
import { createConnection } from 'mysql2/promise';
import { pino } from 'pino';
import { typed } from '../test/typed';

describeOnDatabaseKinds('jobmon-server db', (kind) => {
  let place: Awaited<ReturnType<DatabaseKind['place']>>;
  beforeEach(async () => {
    place = await kind.place();
  });
  afterEach(() => place.remove());

  it('says what is missing, brings it, and says that nothing is missing', async () => {
    const before = await typed('db', 'status', '--db', place.url, '-o', 'json');
    expect(before.code).toBe(1);
    const found = JSON.parse(before.out) as { version: number; version_known: number; pending: string[]; verdict: string };
    expect([found.version, found.pending.length]).toEqual([0, found.version_known]);
    expect(found.verdict).toMatch(/run jobmon-server db migrate/);

    expect((await typed('db', 'migrate', '--db', place.url)).code).toBe(0);
    const after = await typed('db', 'status', '--db', place.url);
    expect([after.code, after.out]).toEqual([
      0,
      expect.stringMatching(/pending +nothing\nverdict +services of this release work on it/),
    ]);
    const again = await typed('db', 'migrate', '--db', place.url);
    expect([again.code, again.err]).toEqual([0, expect.stringMatching(/^Nothing was missing: the schema has version \d+/)]);
  });

  if (kind.name === 'mariadb') {
    it('migrates once when it is called twice at one time', async () => {
      const told: string[][] = [[], []];
      const open = async (names: string[]): Promise<void> => {
        const onMigration = (name: string): void => void names.push(name);
        await (await openDatabase({ url: place.url, log: pino({ level: 'silent' }), onMigration })).close();
      };
      await Promise.all(told.map(open));
      expect(Math.min(...told.map((names) => names.length))).toBe(0);
      expect(told.flat().length).toBeGreaterThan(5);
    });

    it('waits with --wait for a database that comes late, tells each cause once, and gives up after its time', async () => {
      const late = new URL(place.url);
      late.pathname = `${late.pathname}_late`;
      const name = late.pathname.slice(1);
      const onServer = async (sql: string): Promise<void> => {
        const connection = await createConnection(place.url.replace(/^mariadb:/, 'mysql:'));
        await connection.query(sql);
        await connection.end();
      };
      const given = await typed('db', 'migrate', '--wait', '1', '--db', late.toString());
      expect([given.code, given.err]).toEqual([
        1,
        expect.stringMatching(/\nError: the database did not come within 1 s: there is no database/),
      ]);
      const waiting = typed('db', 'migrate', '--wait', '120', '--db', late.toString());
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      await onServer(`CREATE DATABASE ${name}`);
      const { code, err } = await waiting;
      expect([code, err]).toEqual([0, expect.stringMatching(/\nMigrated: the schema has version \d+\.\n$/)]);
      expect(err.match(/^Waiting for the database, for at most 120 s: there is no database .*: create it/gm)).toHaveLength(1);
      await onServer(`DROP DATABASE ${name}`);
      expect((await typed('db', 'migrate', '--wait', 'soon')).code).toBe(2);
    });

    it('leaves a database alone that another program keeps its migrations in', async () => {
      const foreign = await kind.place();
      const connection = await createConnection(foreign.url.replace(/^mariadb:/, 'mysql:'));
      try {
        await connection.query('CREATE TABLE migrations (id INT, migration VARCHAR(255), batch INT)');
        for (const command of ['migrate', 'status']) {
          const refused = await typed('db', command, '--db', foreign.url);
          expect([command, refused.code, refused.err]).toEqual([
            command,
            1,
            expect.stringMatching(/^Error: the database \S+ on \S+ belongs to another program, .*: name another by db\.url\n$/),
          ]);
        }
        const [tables] = await connection.query('SHOW TABLES');
        expect(tables).toHaveLength(1);
      } finally {
        await connection.end();
        await foreign.remove();
      }
    });

    it('names cause and cure, without the password', async () => {
      const wrong = new URL(place.url);
      wrong.password = 'not-this-one';
      const refused = await typed('db', 'migrate', '--db', wrong.toString());
      expect([refused.code, refused.err]).toEqual([
        1,
        expect.stringMatching(
          /^Error: the database server .* refuses user .*: correct the password, or name db\.tls_ca_file .*\n$/,
        ),
      ]);
      expect(refused.err).not.toContain('not-this-one');
      wrong.pathname = '/there_is_none';
      wrong.password = new URL(place.url).password;
      expect((await typed('db', 'status', '--db', wrong.toString())).err).toMatch(
        /there is no database there_is_none .*: create it/,
      );
    });
  }
});

it('refuses what it does not know, with exit code 2', async () => {
  expect((await typed('db', 'mirgate')).code).toBe(2);
  const wrong = await typed('db', 'status', '--db', 'postgres://x/y');
  expect([wrong.code, wrong.err]).toEqual([
    1,
    expect.stringMatching(/--db.* must start with sqlite:, mysql:\/\/ or mariadb:\/\//),
  ]);
});
