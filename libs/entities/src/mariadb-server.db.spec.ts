/** A server that is set otherwise than ours, restarts, fails over, is full, or closes what rests: on a MariaDB of this file's own. */
import { setTimeout as pause } from 'node:timers/promises';
import { describeOnDatabaseKinds, MariadbProcess, TcpProxy } from '@jobmon/testkit';
import * as mysql from 'mysql2/promise';
import { pino } from 'pino';
import { openDatabase, type Database } from './index';

const log = pino({ level: 'silent' });

describeOnDatabaseKinds('a database server over the years', (kind) => {
  if (kind.name !== 'mariadb') return;
  let server: MariadbProcess;
  let database: Database;
  let url: string;
  beforeAll(async () => {
    server = await MariadbProcess.start();
    await server.run(
      "CREATE USER 'app'@'%' IDENTIFIED BY 'first'",
      "GRANT ALL ON jobmon.* TO 'app'@'%'",
      // Nothing of ours may hang on these.
      "SET GLOBAL time_zone = '+05:30'",
      "SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'",
    );
    url = server.url.replace(/\/\/.*@/, '//app:first@');
    database = await openDatabase({ url, log, connections_max: 6 });
  }, 60_000);
  afterAll(async () => {
    await database?.close();
    await server?.remove();
  }, 60_000);

  const insert = (name: string) =>
    database.write({ label: 'test' }, function* () {
      const { rows } = yield { sql: 'SELECT CONNECTION_ID() AS id' };
      yield { sql: 'INSERT INTO tool (name) VALUES (?)', params: [name] };
      return Number(rows[0]!.id);
    });
  const count = async (name: string): Promise<number> =>
    (await database.read('SELECT id FROM tool WHERE name = ?', [name])).length;

  it('has one clock, UTC, and its own rules of SQL, however the server is set', async () => {
    const { now, nowPlusSeconds } = database.dialect;
    const [row] = await database.read<{ now: string; later: string; sum: string; text: string; zone: string }>(
      `SELECT ${now} AS now, ${nowPlusSeconds} AS later, TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW()) AS sum, "it""s\\\\" AS text, @@time_zone AS zone`,
      [60],
    );
    expect(row).toMatchObject({ sum: 0, text: 'it"s\\', zone: '+00:00' });
    expect(Math.abs(Date.parse(`${row!.now.replace(' ', 'T')}Z`) - Date.now())).toBeLessThan(60_000);
    expect(Date.parse(row!.later) - Date.parse(row!.now)).toBe(60_000);
    const strict = database.write({ label: 'test' }, function* () {
      yield { sql: 'INSERT INTO tool (name) VALUES (?)', params: ['x'.repeat(10_000)] };
    });
    await expect(strict).rejects.toMatchObject({ code: 'ER_DATA_TOO_LONG' });
  });

  it('answers 1,000 requests without an error on a server that closes what rests for 2 s', async () => {
    await server.run('SET GLOBAL wait_timeout = 2');
    const impatient = await openDatabase({ url, log, connections_max: 6 });
    const ask = async (i: number): Promise<unknown> =>
      i % 2 === 0 ? impatient.read('SELECT id FROM tool LIMIT 1') : impatient.dataSource.query('SELECT id FROM arg_type LIMIT 1');
    try {
      const burst = async (): Promise<number> => (await Promise.all(Array.from({ length: 200 }, (_, i) => ask(i)))).length;
      const closedByServer = async (): Promise<number> => {
        const [row] = await impatient.read<{ Value: string }>("SHOW GLOBAL STATUS LIKE 'Aborted_clients'");
        return Number(row!.Value);
      };
      let answered = await burst();
      const before = await closedByServer();
      for (const gap_ms of [1_990, 2_010, 0, 0]) {
        await pause(gap_ms);
        answered += await burst();
      }
      expect([answered, impatient.counts.retries]).toEqual([1_000, 0]);
      // Without the rule it would be all six, at the end of the second pause at the latest.
      expect((await closedByServer()) - before).toBeLessThan(3);
    } finally {
      await impatient.close();
      await server.run('SET GLOBAL wait_timeout = 28800');
    }
  }, 60_000);

  it('has no more connections than it was given, and answers all that waits for one', async () => {
    const proxy = await TcpProxy.to(url);
    const small = await openDatabase({ url: proxy.url(url), log, connections_max: 3 });
    try {
      let most = 0;
      const asked = Array.from({ length: 60 }, async (_, i) => {
        const rows = await small.read<{ i: number }>('SELECT ? AS i, SLEEP(0.01) AS slept', [i]);
        most = Math.max(most, proxy.connections);
        return rows[0]!.i;
      });
      expect(await Promise.all(asked)).toEqual(Array.from({ length: 60 }, (_, i) => i));
      expect(most).toBe(3);
    } finally {
      await small.close();
      await proxy.close();
    }
  });

  it('throws a connection away whose server takes no writes (1290), and writes on a new one when there is one that does', async () => {
    const before = await insert('before the fail-over');
    await server.run('SET GLOBAL read_only = 1');
    let isWritten = false;
    const written = insert('in the fail-over').finally(() => (isWritten = true));
    await pause(300);
    expect(isWritten).toBe(false);
    expect(await count('before the fail-over')).toBe(1);
    await server.run('SET GLOBAL read_only = 0');
    expect(await written).not.toBe(before);
    expect(await count('in the fail-over')).toBe(1);
  });

  it('says so when no server takes writes for longer than it is patient', async () => {
    await server.run('SET GLOBAL read_only = 1');
    try {
      const refused = { code: 'UNAVAILABLE', message: expect.stringContaining('takes no writes (read_only)') };
      await expect(insert('never')).rejects.toMatchObject(refused);
    } finally {
      await server.run('SET GLOBAL read_only = 0');
    }
    expect(await count('never')).toBe(0);
  }, 30_000);

  it('waits for a connection of a server that has none left (1040), and says what to do where it gets none', async () => {
    await database.close();
    await server.run('SET GLOBAL max_connections = 10');
    const mine: mysql.Connection[] = [];
    const take = async (): Promise<void> => {
      for (;;) mine.push(await mysql.createConnection(url.replace('mariadb:', 'mysql:')));
    };
    try {
      // One is left, for the look at the server at the start.
      await expect(take()).rejects.toMatchObject({ errno: 1040 });
      await expect(openDatabase({ url, log })).rejects.toMatchObject({
        code: 'UNAVAILABLE',
        message: expect.stringMatching(/all connections of .* are taken: raise its max_connections/),
      });
      await Promise.all(mine.splice(0, 4).map((connection) => connection.end()));
      database = await openDatabase({ url, log, connections_max: 6 });
      await expect(take()).rejects.toMatchObject({ errno: 1040 });
      const { retries } = database.counts;
      const written = Promise.all(Array.from({ length: 6 }, (_, i) => insert(`crowd ${i}`)));
      const end = Date.now() + 4_000;
      while (database.counts.retries === retries && Date.now() < end) await pause(10);
      await Promise.all(mine.splice(0).map((connection) => connection.end()));
      await written;
      expect(database.counts.retries).toBeGreaterThan(retries);
    } finally {
      await Promise.all(mine.map((connection) => connection.end()));
      await server.run('SET GLOBAL max_connections = 200');
    }
  }, 60_000);

  it('names the password when it was changed under a process that runs', async () => {
    await server.run("ALTER USER 'app'@'%' IDENTIFIED BY 'second'");
    try {
      const late = openDatabase({ url, log });
      await expect(late).rejects.toMatchObject({
        code: 'UNAVAILABLE',
        message: expect.stringMatching(/refuses user 'app' with this password/),
      });
      // What is connected goes on; what must connect anew is refused.
      await server.run("KILL USER 'app'");
      await expect(insert('refused')).rejects.toMatchObject({
        code: 'UNAVAILABLE',
        message: expect.stringMatching(/refuses user 'app' with this password: correct the password/),
      });
    } finally {
      await server.run("ALTER USER 'app'@'%' IDENTIFIED BY 'first'");
    }
    await insert('accepted again');
  }, 30_000);

  it('keeps all that it answered through a restart of the server in the middle, and writes nothing twice', async () => {
    const answered: string[] = [];
    const unknown: string[] = [];
    let isOver = false;
    const writer = async (w: number): Promise<void> => {
      for (let i = 0; !isOver; i += 1) {
        const name = `writer ${w} ${i}`;
        try {
          await insert(name);
          answered.push(name);
        } catch (error) {
          expect(error).toMatchObject({ code: 'UNAVAILABLE' });
          if ((error as { details?: { commit_unknown?: true } }).details?.commit_unknown) unknown.push(name);
        }
      }
    };
    const writing = Promise.all([1, 2, 3, 4].map(writer));
    const until = async (n: number): Promise<void> => {
      for (const end = Date.now() + 30_000; answered.length < n && Date.now() < end;) await pause(10);
      expect(answered.length).toBeGreaterThanOrEqual(n);
    };
    await until(40);
    await server.kill();
    const before = answered.length;
    await server.startAgain();
    await until(before + 40);
    isOver = true;
    await writing;
    const stored = await database.read<{ name: string; n: number }>(
      "SELECT name, COUNT(*) AS n FROM tool WHERE name LIKE 'writer %' GROUP BY name",
    );
    const names = new Set(stored.map(({ name }) => name));
    expect(answered.filter((name) => !names.has(name))).toEqual([]);
    expect(stored.filter(({ n }) => n !== 1)).toEqual([]);
    const known = new Set([...answered, ...unknown]);
    expect([...names].filter((name) => !known.has(name))).toEqual([]);
  }, 120_000);
});
