/** What only a server has: deadlocks, lock time-outs, killed connections, and an answer to COMMIT that never arrives. */
import { describeOnDatabaseKinds, runSql, TcpProxy, type TestDatabase } from '@jobmon/testkit';
import * as mysql from 'mysql2/promise';
import { pino } from 'pino';
import { openDatabase, type Database, type Procedure } from './index';

const log = pino({ level: 'silent' });

describeOnDatabaseKinds('a database on a server', (kind) => {
  if (kind.name !== 'mariadb') return;
  let database: TestDatabase;
  let raw: mysql.Connection;

  beforeAll(async () => {
    database = await kind.open();
    raw = await mysql.createConnection(database.url.replace('mariadb:', 'mysql:'));
    await raw.query(`INSERT INTO tool (id, name) VALUES (1, 'a'), (2, 'b')`);
  });
  afterAll(async () => {
    await raw?.end();
    await database?.drop();
  });

  const rename = (id: number, name: string) => ({ sql: 'UPDATE tool SET name = ? WHERE id = ?', params: [name, id] });
  /** Goes on when something has happened elsewhere; at most 10 s. */
  function* until(happened: () => boolean): Procedure<void> {
    for (let look = 0; look < 1_000 && !happened(); look += 1) yield { sql: 'SELECT SLEEP(0.01)' };
    if (!happened()) throw new Error('what was waited for did not happen');
  }

  it('runs the loser of a deadlock again', async () => {
    const retries = database.counts.retries;
    const holds = new Set<number>();
    const cross = (first: number, second: number): Promise<void> =>
      database.write({ label: 'test' }, function* () {
        yield rename(first, `first ${first}`);
        holds.add(first);
        yield* until(() => holds.has(second));
        yield rename(second, `second ${second}`);
      });
    await Promise.all([cross(1, 2), cross(2, 1)]);
    expect(database.counts.retries - retries).toBe(1);
  });

  it('runs a write again whose wait for a lock timed out', async () => {
    const retries = database.counts.retries;
    await raw.query('START TRANSACTION');
    await raw.query('SELECT id FROM tool WHERE id = 1 FOR UPDATE');
    const began = Date.now();
    const write = database.write({ label: 'test' }, function* () {
      // The second attempt comes after the time-out of the first: only then is the lock given back.
      if (database.counts.retries > retries) void raw.query('COMMIT');
      yield rename(1, 'waited');
    });
    await write;
    expect(database.counts.retries - retries).toBe(1);
    expect(Date.now() - began).toBeGreaterThanOrEqual(2_900);
  });

  it('runs a write again whose connection was killed before the commit', async () => {
    const retries = database.counts.retries;
    await database.write({ label: 'test' }, function* () {
      const { rows } = yield { sql: 'SELECT CONNECTION_ID() AS id' };
      yield { sql: `INSERT INTO tool (name) VALUES ('killed')` };
      if (database.counts.retries === retries) {
        void raw.query(`KILL ${Number(rows[0]!.id)}`);
        yield* until(() => false);
      }
    });
    expect(database.counts.retries - retries).toBe(1);
    expect(await database.read(`SELECT name FROM tool WHERE name = 'killed'`)).toHaveLength(1);
  });

  it('rolls back the transaction of a process that stands still in the middle of it, so that its locks are free', async () => {
    await database.write({ label: 'test' }, function* () {
      yield rename(1, 'before');
    });
    const frozen = database.write({ label: 'test' }, function* () {
      yield rename(1, 'frozen');
      // The whole process: no timer, no answer of the server.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 6_500);
      yield rename(2, 'frozen');
    });
    await expect(frozen).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    const [rows] = await raw.query<mysql.RowDataPacket[]>('SELECT id FROM tool WHERE name = ? FOR UPDATE', ['frozen']);
    expect(rows).toEqual([]);
  }, 60_000);

  it('answers a statement over its limit, and goes on', async () => {
    const [limits] = await database.read('SELECT @@max_statement_time AS s, @@innodb_lock_wait_timeout AS l, @@time_zone AS z');
    expect(limits).toEqual({ s: 5, l: 3, z: '+00:00' });
    const slow = database.write({ label: 'test' }, function* () {
      yield { sql: `INSERT INTO tool (name) VALUES ('slow')` };
      yield { sql: 'SET STATEMENT max_statement_time = 0.05 FOR SELECT SLEEP(5)' };
    });
    await expect(slow).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining('took longer') });
    expect(await database.read(`SELECT name FROM tool WHERE name = 'slow'`)).toEqual([]);
  });

  it('reads half of max_allowed_packet', async () => {
    const [row] = await database.read<{ n: number }>('SELECT @@max_allowed_packet AS n');
    expect(database.batch_bytes_max).toBe(row!.n / 2);
  });

  describe('behind a wire that breaks', () => {
    let wire: TcpProxy;
    let behind: Database;

    beforeAll(async () => {
      wire = await TcpProxy.to(database.url);
      behind = await openDatabase({ url: wire.url(database.url), log });
    });
    afterAll(async () => {
      await behind?.close();
      await wire?.close();
    });

    const insert = (name: string): Promise<void> =>
      behind.write({ label: 'test' }, function* () {
        yield { sql: 'INSERT INTO tool (name) VALUES (?)', params: [name] };
      });
    const count = async (name: string): Promise<number> =>
      (await database.read('SELECT id FROM tool WHERE name = ?', [name])).length;

    it('says that the commit is unknown when its answer is lost, and does not repeat it', async () => {
      wire.breakAfter('COMMIT');
      await expect(insert('answer lost')).rejects.toMatchObject({ code: 'UNAVAILABLE', details: { commit_unknown: true } });
      // The server got the COMMIT; it needs a moment to run it.
      for (let look = 0; look < 200 && (await count('answer lost')) === 0; look += 1)
        await runSql(database.url, ['DO SLEEP(0.01)']);
      expect(await count('answer lost')).toBe(1);
    });

    it('repeats what broke before the commit, and reads too', async () => {
      wire.breakAfter('INSERT INTO tool');
      await insert('broken before');
      expect(await count('broken before')).toBe(1);
      wire.breakAfter('SELECT name FROM tool');
      expect(await behind.read(`SELECT name FROM tool WHERE name = 'broken before'`)).toHaveLength(1);
    });

    it('does not wait for ever for a server that a network swallows, and says that the commit is unknown', async () => {
      const began = Date.now();
      const write = behind.write({ label: 'test' }, function* () {
        yield { sql: "INSERT INTO tool (name) VALUES ('swallowed')" };
        // From here on nothing comes back: the COMMIT goes out, its answer does not.
        wire.silence('down');
        return 1;
      });
      await expect(write).rejects.toMatchObject({ code: 'UNAVAILABLE', details: { commit_unknown: true } });
      expect(Date.now() - began).toBeGreaterThanOrEqual(5_900);
      expect(Date.now() - began).toBeLessThan(12_000);
      await wire.mend();
      expect(await count('swallowed')).toBe(1);
      await insert('after the silence');
    }, 30_000);

    it('gives up after 5 s when the server stays away, and works again when it is back', async () => {
      await wire.cut();
      const began = Date.now();
      await expect(insert('away')).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining('away') });
      expect(Date.now() - began).toBeGreaterThanOrEqual(5_000);
      expect(Date.now() - began).toBeLessThan(8_000);
      await wire.mend();
      await insert('back');
      expect(await count('back')).toBe(1);
    });
  });
});
