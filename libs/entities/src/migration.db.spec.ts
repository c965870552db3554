/**
 * What becomes of a migration that fails, is held up or is killed: it says where, nothing is lost, the next one goes on. The failures are
 * real ones of the database.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { buildHouse, describeOnDatabaseKinds, ROOT, runSql, until } from '@jobmon/testkit';
import { createConnection } from 'mysql2/promise';
import { pino } from 'pino';
import { openDatabase, schemaStatus } from './index';
import { MIGRATIONS } from './schema';

const log = pino({ level: 'silent' });
const VERSION = MIGRATIONS.length;
/** The tenth makes two tables and fills the second one. */
const NAMES = MIGRATIONS.map((migration) => new migration().name);
const FAILING = NAMES[9]!;

describeOnDatabaseKinds('a migration', (kind) => {
  let place: { url: string; remove: () => Promise<void> };
  let told: string[];
  beforeEach(async () => {
    place = await kind.place();
    told = [];
  });
  afterEach(() => place.remove());

  const migrate = async (): Promise<void> => {
    await (await openDatabase({ url: place.url, log, onMigration: (name) => told.push(name) })).close();
  };

  /** `db migrate` of a process, killed when it tells of a step; how it ended. */
  async function killedAt(name: string): Promise<unknown> {
    const program = join(ROOT, 'dist', 'apps', 'admin', 'main.js');
    const child = spawn(process.execPath, [program, 'db', 'migrate'], { env: { ...process.env, JOBMON__DB__URL: place.url } });
    let said = '';
    child.stderr.on('data', (text: Buffer) => {
      said += text.toString();
      if (said.includes(name)) child.kill('SIGKILL');
    });
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    expect(said).toContain('Migrating ');
    return signal ?? code;
  }

  it('that fails in its middle names its step, the cause and what to do; mended, the next one goes on there', async () => {
    // A table of somebody else's stands where a step makes its own: the step's last statement does not find its columns.
    await runSql(place.url, ['CREATE TABLE schema_rule (id INTEGER PRIMARY KEY)']);
    const failure = await migrate().then(
      () => undefined,
      (error: unknown) => error as Error,
    );
    const cause = kind.name === 'sqlite' ? 'has no column named needs_migration' : `Unknown column 'needs_migration'`;
    const cure = kind.name === 'sqlite' ? 'The file is as it was before' : 'run jobmon-server db migrate again';
    expect(failure).toMatchObject({ name: 'JobmonError', code: 'MALFORMED' });
    expect(failure!.message).toMatch(`the migration ${FAILING} (10 of ${VERSION}) of `);
    expect(failure!.message).toMatch(cause);
    expect(failure!.message).toMatch(cure);

    // What came before it stays on a server; a file is as it was.
    const stays = kind.name === 'sqlite' ? 0 : 9;
    expect(await schemaStatus(place.url)).toMatchObject({ version: stays, is_fit: false, pending: NAMES.slice(stays) });

    await runSql(place.url, ['DROP TABLE schema_rule']);
    told = [];
    await migrate();
    expect(told).toEqual(NAMES.slice(stays));
    expect(await schemaStatus(place.url)).toMatchObject({ version: VERSION, is_fit: true });
  });

  it('that finds all of its work done already changes nothing: every step may be repeated', async () => {
    await migrate();
    const [before] = await runSql(place.url, ['SELECT name FROM migrations ORDER BY id']);
    await runSql(place.url, ['DELETE FROM migrations']);
    told = [];
    await migrate();
    expect(told).toEqual(NAMES);
    expect(await runSql(place.url, ['SELECT name FROM migrations ORDER BY id'])).toEqual([before]);
    const [rules, arrivals] = await runSql(place.url, ['SELECT id FROM schema_rule', 'SELECT id FROM arg_type']);
    expect([rules!.length, arrivals!.length]).toEqual([1, 3]);
  });

  it('that is killed with -9 in its middle is finished by the next one', async () => {
    buildHouse();
    // A file may be done before the signal comes: another one then.
    for (let tried = 1; (await killedAt(NAMES[6]!)) !== 'SIGKILL'; tried += 1) {
      if (tried === 10) throw new Error('db migrate was never hit');
      await place.remove();
      place = await kind.place();
    }
    expect((await schemaStatus(place.url)).version).toBeLessThan(VERSION);
    await migrate();
    expect(await schemaStatus(place.url)).toMatchObject({ version: VERSION, pending: [], is_fit: true });
  });

  if (kind.name === 'mariadb') {
    it('that is held up by a transaction lets services pass meanwhile, and goes on when the transaction has ended', async () => {
      await migrate();
      // As if the thirteenth and all behind it had never been: its index is to be made on a table that somebody reads in a transaction, as backups do.
      await runSql(place.url, [
        `DELETE FROM migrations WHERE name IN (${NAMES.slice(12)
          .map((name) => `'${name}'`)
          .join(',')})`,
        'DROP INDEX ix_task_instance_run_status_array_resources ON task_instance',
      ]);
      const reader = await createConnection(place.url.replace(/^mariadb:/, 'mysql:'));
      await reader.query('START TRANSACTION');
      await reader.query('SELECT id FROM task_instance LIMIT 1');
      told = [];
      const migrating = migrate();
      const waits = `SELECT ID FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table metadata lock' AND DB = DATABASE()`;
      await until('the migration waits for the table', async () => (await runSql(place.url, [waits]))[0]!.length > 0);
      // Who reads the table now waits behind the migration, until that gives way.
      const began = performance.now();
      expect((await runSql(place.url, ['SELECT COUNT(*) AS n FROM task_instance']))[0]).toHaveLength(1);
      const waited = performance.now() - began;
      await reader.query('COMMIT');
      await reader.end();
      await migrating;
      expect(told).toEqual(NAMES.slice(12));
      expect(await schemaStatus(place.url)).toMatchObject({ version: VERSION, is_fit: true });
      // It gives way after 2 s; without that it would hold everybody up for as long as the reader stays.
      expect(waited).toBeLessThan(20_000);
    });
  }
});
