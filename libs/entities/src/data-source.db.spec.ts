import { execFile } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describeOnDatabaseKinds, makePythonDatabase, runSql } from '@jobmon/testkit';
import { pino } from 'pino';
import { openDatabase, requireSchema, schemaStatus } from './index';
import { MIGRATIONS } from './schema';

const log = pino({ level: 'silent' });
const folder = mkdtempSync(join(tmpdir(), 'jobmon-open-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The refusal of an address: one sentence for a person, without the password. */
async function refusal(url: string, code: 'MALFORMED' | 'UNAVAILABLE'): Promise<string> {
  const error = await openDatabase({ url, log }).then(
    async (database) => {
      await database.close();
      throw new Error('it was opened');
    },
    (thrown) => thrown as Error & { code: string },
  );
  expect(error).toMatchObject({ name: 'JobmonError', code });
  expect(error.message).not.toMatch(/\n|secret|stack/);
  return error.message;
}

describeOnDatabaseKinds('openDatabase', (kind) => {
  it('refuses a schema that is newer than ours and leaves it alone', async () => {
    const place = await kind.place();
    try {
      await (await openDatabase({ url: place.url, log })).close();
      await runSql(place.url, [
        `INSERT INTO migrations (\`timestamp\`, name) VALUES (9999999999999, 'Later9999999999999')`,
        `UPDATE schema_rule SET needs_migration = 'Later9999999999999', oldest_release = '7.0.0'`,
      ]);
      expect(await refusal(place.url, 'MALFORMED')).toMatch(/is newer than this program knows .*: start Jobmon 7.0.0 or newer/);
      await runSql(place.url, ['DELETE FROM schema_rule']);
      expect(await refusal(place.url, 'MALFORMED')).toMatch(/is newer than this program knows .*: start a newer version/);
      expect(await schemaStatus(place.url)).toMatchObject({ is_fit: false, pending: [], unknown: ['Later9999999999999'] });
    } finally {
      await place.remove();
    }
  });

  if (kind.name === 'mariadb') {
    it('does not migrate for a service: it names the command, says that waiting helps, and opens when somebody has migrated', async () => {
      const place = await kind.place();
      const open = () => openDatabase({ url: place.url, log, migrates: false });
      try {
        const older = { code: 'UNAVAILABLE', details: { check: 'migrations' } };
        const message = expect.stringMatching(
          /is older than this program needs \(version 0 of \d+\): run jobmon-server db migrate/,
        );
        await expect(open()).rejects.toMatchObject({ ...older, message });
        await (await openDatabase({ url: place.url, log })).close();
        const database = await open();
        await requireSchema(database);
        await runSql(place.url, [`DELETE FROM migrations WHERE name = '${new MIGRATIONS[9]().name}'`]);
        await expect(requireSchema(database)).rejects.toMatchObject(older);
        await database.close();
      } finally {
        await place.remove();
      }
    });
  }

  it('works on a schema that is newer than ours and allows us, and changes nothing of it', async () => {
    const place = await kind.place();
    try {
      await (await openDatabase({ url: place.url, log })).close();
      await runSql(place.url, [`INSERT INTO migrations (\`timestamp\`, name) VALUES (9999999999999, 'Later9999999999999')`]);
      for (const migrates of kind.name === 'sqlite' ? [true] : [true, false]) {
        const database = await openDatabase({ url: place.url, log, migrates });
        await requireSchema(database);
        expect(await database.read('SELECT COUNT(*) AS n FROM migrations')).toEqual([{ n: MIGRATIONS.length + 1 }]);
        await database.close();
      }
      const status = { is_fit: true, version: MIGRATIONS.length + 1, oldest_release: '0.1.0', unknown: ['Later9999999999999'] };
      expect(await schemaStatus(place.url)).toMatchObject(status);
      // One of both kinds is of a program that is none of ours, whatever its rule says.
      await runSql(place.url, [`DELETE FROM migrations WHERE name = '${new MIGRATIONS[8]().name}'`]);
      expect(await refusal(place.url, 'MALFORMED')).toMatch(/is newer than this program knows/);
    } finally {
      await place.remove();
    }
  });

  it('migrates once when several open it at once, here and in other processes', async () => {
    const place = await kind.place();
    try {
      await makePythonDatabase(place.url);
      const opened = await Promise.all([1, 2, 3].map(() => openDatabase({ url: place.url, log })));
      expect(await opened[0]!.read('SELECT COUNT(*) AS n FROM migrations')).toEqual([{ n: MIGRATIONS.length }]);
      expect(await opened[1]!.read('SELECT COUNT(*) AS n FROM arg_type')).toEqual([{ n: 3 }]);
      await Promise.all(opened.map((database) => database.close()));
    } finally {
      await place.remove();
    }
  });

  it('migrates a fresh place once when two processes start together', async () => {
    const place = await kind.place();
    try {
      const script = join(__dirname, '../../..', 'node_modules/.cache', `jobmon-open-${process.pid}-${kind.name}.cjs`);
      await bundle(script);
      await Promise.all([1, 2].map(() => promisify(execFile)(process.execPath, [script, place.url])));
      rmSync(script);
      const [migrations, types] = await runSql(place.url, ['SELECT name FROM migrations', 'SELECT id FROM arg_type']);
      expect([migrations!.length, types!.length]).toEqual([MIGRATIONS.length, 3]);
    } finally {
      await place.remove();
    }
  });

  if (kind.name === 'sqlite') {
    it('names what is wrong with a file or its folder', async () => {
      const text = join(folder, 'text.sqlite');
      writeFileSync(text, 'this is no database, but long enough to be one'.repeat(100));
      expect(await refusal(`sqlite:${text}`, 'MALFORMED')).toBe(
        `${text} is damaged or no SQLite database: restore a backup of it, or name another file`,
      );
      expect(readFileSync(text, 'utf8')).toMatch(/^this is no database/);

      const torn = join(folder, 'torn.sqlite');
      await (await openDatabase({ url: `sqlite:${torn}`, log })).close();
      writeFileSync(torn, Buffer.concat([readFileSync(torn).subarray(0, 100), Buffer.alloc(50_000, 7)]));
      expect(await refusal(`sqlite:${torn}`, 'MALFORMED')).toMatch(/is damaged/);

      const file = join(folder, 'a-file');
      writeFileSync(file, '');
      expect(await refusal(`sqlite:${file}/jobmon.sqlite`, 'UNAVAILABLE')).toMatch(/can't be written \(E\w+\): allow writing/);
      expect(await refusal(`sqlite:${folder}`, 'UNAVAILABLE')).toMatch(/is a folder/);
      expect(await refusal('sqlite:/proc/jobmon/jobmon.sqlite', 'UNAVAILABLE')).toMatch(/can't be written/);
    });

    it('names a read-only folder', async () => {
      const locked = join(folder, 'locked');
      mkdirSync(locked);
      chmodSync(folder, 0o755);
      chmodSync(locked, 0o555);
      // Root may write anywhere, so as root the attempt is made as somebody else.
      const isRoot = process.geteuid?.() === 0;
      if (isRoot) process.seteuid!(65_534);
      try {
        expect(await refusal(`sqlite:${locked}/jobmon.sqlite`, 'UNAVAILABLE')).toMatch(/can't be written/);
      } finally {
        if (isRoot) process.seteuid!(0);
      }
      expect(existsSync(join(locked, 'jobmon.sqlite'))).toBe(false);
    });

    it('names a file that may be read only', async () => {
      const file = join(folder, 'read-only.sqlite');
      await (await openDatabase({ url: `sqlite:${file}`, log })).close();
      chmodSync(folder, 0o755);
      chmodSync(file, 0o444);
      const isRoot = process.geteuid?.() === 0;
      if (isRoot) process.seteuid!(65_534);
      try {
        expect(await refusal(`sqlite:${file}`, 'UNAVAILABLE')).toMatch(/can't be written/);
      } finally {
        if (isRoot) process.seteuid!(0);
      }
    });

    it('lets nobody else read a file that it makes, nor those beside it', async () => {
      const file = join(folder, 'own', 'mine.sqlite');
      const database = await openDatabase({ url: `sqlite:${file}`, log });
      await database.write({ label: 'test' }, function* () {
        yield { sql: `INSERT INTO tool (name) VALUES ('a')` };
      });
      const modes = ['', '-wal', '-shm'].map((suffix) => statSync(file + suffix).mode & 0o777);
      await database.close();
      expect(modes).toEqual([0o600, 0o600, 0o600]);
    });

    it('takes an empty file for a new database, and makes the folder of a new one', async () => {
      const empty = join(folder, 'empty.sqlite');
      writeFileSync(empty, '');
      await (await openDatabase({ url: `sqlite:${empty}`, log })).close();
      await (await openDatabase({ url: `sqlite:${folder}/new/folder/jobmon.sqlite`, log })).close();
      expect(existsSync(join(folder, 'new/folder/jobmon.sqlite'))).toBe(true);
    });
  } else {
    it('names what is wrong with a server or an account', async () => {
      const place = await kind.place();
      const at = (change: (url: URL) => void): string => {
        const url = new URL(place.url);
        change(url);
        return url.toString();
      };
      try {
        expect(
          await refusal(
            at((url) => (url.password = 'secret')),
            'UNAVAILABLE',
          ),
        ).toMatch(/refuses user '\w+' with this password/);
        expect(
          await refusal(
            at((url) => (url.pathname = '/jobmon_test_none')),
            'UNAVAILABLE',
          ),
        ).toMatch(/there is no database/);
        expect(
          await refusal(
            at((url) => (url.hostname = 'no-such-host.invalid')),
            'UNAVAILABLE',
          ),
        ).toMatch(/is not known/);
        const closed = createServer().listen(0, '127.0.0.1');
        await new Promise((resolve) => closed.once('listening', resolve));
        const { port } = closed.address() as { port: number };
        await new Promise((resolve) => closed.close(resolve));
        expect(
          await refusal(
            at((url) => (url.port = String(port))),
            'UNAVAILABLE',
          ),
        ).toMatch(/no database server answers at/);
      } finally {
        await place.remove();
      }
    });

    it('gives up on a server that accepts and says nothing', async () => {
      const silent = createServer(() => undefined).listen(0, '127.0.0.1');
      await new Promise((resolve) => silent.once('listening', resolve));
      const { port } = silent.address() as { port: number };
      try {
        expect(await refusal(`mariadb://u:secret@127.0.0.1:${port}/d`, 'UNAVAILABLE')).toMatch(/does not answer/);
      } finally {
        silent.close();
      }
    });
  }
});

/** A program that opens the database of its argument, in one file, for a process of its own. */
async function bundle(outfile: string): Promise<void> {
  const { build } = await import('esbuild');
  await build({
    stdin: {
      contents: `import { openDatabase } from '@jobmon/entities'; import { pino } from 'pino';
        openDatabase({ url: process.argv[2], log: pino({ level: 'silent' }) }).then((database) => database.close());`,
      resolveDir: __dirname,
    },
    bundle: true,
    platform: 'node',
    format: 'cjs',
    packages: 'external',
    outfile,
    logLevel: 'silent',
    tsconfig: join(__dirname, '../../..', 'tsconfig.base.json'),
  });
}
