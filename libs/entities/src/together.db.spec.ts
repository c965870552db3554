/** Statements that go in one message: on a server they cost one way there and back, and else nothing differs from one after the other. */
import { describeOnDatabases, TcpProxy } from '@jobmon/testkit';
import { pino } from 'pino';
import { isDuplicateKey, openDatabase, together, type Procedure, type Statement } from './index';

describeOnDatabases('statements together', (database, kind) => {
  const write = <T>(procedure: () => Procedure<T>): Promise<T> => database().write({ label: 'test' }, procedure);
  const insert = (name: string): Statement => ({ sql: 'INSERT INTO tool (name) VALUES (?)', params: [name] });
  const select = (like: string): Statement => ({ sql: 'SELECT name FROM tool WHERE name LIKE ? ORDER BY id', params: [like] });
  const rename = (from: string, to: string): Statement => ({
    sql: 'UPDATE tool SET name = ? WHERE name = ?',
    params: [to, from],
  });
  const names = async (like: string): Promise<string[]> =>
    (await database().read<{ name: string }>('SELECT name FROM tool WHERE name LIKE ? ORDER BY id', [like])).map(
      ({ name }) => name,
    );

  it('are answered each in its place, as they are one after the other', async () => {
    const list = (mark: string): Statement[] => [
      insert(`${mark} a`),
      select(`${mark} %`),
      insert(`${mark} b`),
      rename(`${mark} a`, `${mark} c`),
      rename(`${mark} nobody`, `${mark} d`),
      select(`${mark} %`),
    ];
    const at_once = await write(() => together(list('once')));
    const in_turn = await write(function* () {
      const results = [];
      for (const statement of list('turn')) results.push({ ...(yield statement) });
      return results;
    });
    expect(at_once.map(({ affected }) => affected)).toEqual([1, 1, 1, 1, 0, 2]);
    expect(at_once.map(({ affected }) => affected)).toEqual(in_turn.map(({ affected }) => affected));
    expect(at_once.map(({ rows }) => rows.map(({ name }) => name))).toEqual([[], ['once a'], [], [], [], ['once c', 'once b']]);
    const [first, , second] = at_once;
    expect(second!.insert_id).toBeGreaterThan(first!.insert_id);
    expect(first!.insert_id).toBeGreaterThan(0);
  });

  it('may be none or one, and what follows them sees what they did', async () => {
    const seen = await write(function* () {
      const none = yield* together([]);
      const one = yield* together([insert('alone')]);
      const { rows } = yield select('alone');
      return [none.length, one[0]!.affected, rows.length];
    });
    expect(seen).toEqual([0, 1, 1]);
  });

  it('leave nothing when one of them fails: those behind it are not run, those before it are taken back', async () => {
    let isReached = false;
    const failed = write(function* () {
      yield insert('half before');
      yield* together([insert('half a'), insert('half b'), insert('half a'), insert('half c')]);
      isReached = true;
    });
    expect(await failed.then(() => false, isDuplicateKey)).toBe(true);
    expect(isReached).toBe(false);
    expect(await names('half %')).toEqual([]);
    // The connection is as good as before.
    await write(() => together([insert('half after'), select('half %')]));
    expect(await names('half %')).toEqual(['half after']);
  });

  it('keep apart what stands in their values', async () => {
    const odd = ["odd '; DROP TABLE tool; --", 'odd /* ; */ ?', 'odd \\', 'odd ";\n#', 'odd ?;?'];
    const results = await write(() => together([...odd.map(insert), select('odd %')]));
    expect(results).toHaveLength(odd.length + 1);
    expect(results.at(-1)!.rows.map(({ name }) => name)).toEqual(odd);
  });

  it('leave the statements as they were given: one that was among them is answered at once when it comes alone', async () => {
    const again = select('reused %');
    const counts = await write(function* () {
      yield* together([again, insert('reused a')]);
      const { rows } = yield again;
      const [last] = yield* together([again]);
      return [rows.length, last!.rows.length];
    });
    expect(counts).toEqual([1, 1]);
  });

  it('go in several messages where one would be larger than the database takes', async () => {
    const size = Math.floor(database().batch_bytes_max * 0.6);
    const long = (letter: string): Statement => ({ sql: 'SELECT LENGTH(?) AS bytes', params: [letter.repeat(size)] });
    const results = await write(() => together([long('a'), insert('between'), long('b'), long('c'), select('between')]));
    expect(results.map(({ rows }) => Number(rows[0]?.bytes ?? rows.length))).toEqual([size, 0, size, size, 1]);
  });

  if (kind.name !== 'mariadb') return;

  it('are one message to the server, with the begin of the transaction', async () => {
    let messages = 0;
    const wire = await TcpProxy.to(database().url, 0, () => ({
      heard: (direction, data) => {
        if (direction === 'up' && data !== 'end') messages += 1;
      },
    }));
    const through = await openDatabase({ url: wire.url(database().url), log: pino({ level: 'silent' }), connections_max: 1 });
    const cost = async (procedure: () => Procedure<unknown>): Promise<number> => {
      await through.read('SELECT 1');
      const before = messages;
      await through.write({ label: 'test' }, procedure);
      return messages - before;
    };
    try {
      const five = (): Statement[] => Array.from({ length: 5 }, (_, n) => select(`nobody ${n}`));
      // The other one is the commit.
      expect(await cost(() => together(five()))).toBe(2);
      expect(
        await cost(function* () {
          for (const statement of five()) yield statement;
        }),
      ).toBe(6);
      expect(through.counts.statements).toBe(12);
    } finally {
      await through.close();
      await wire.close();
    }
  });

  it('are run again with all of their transaction when one of them lost a deadlock', async () => {
    await write(() => together([insert('one 0'), insert('two 0')]));
    const add = (name: string): Statement => ({
      sql: `UPDATE tool SET name = CONCAT(name, '+') WHERE name LIKE ?`,
      params: [`${name} 0%`],
    });
    const { retries } = database().counts;
    const holds = new Set<string>();
    const cross = (first: string, second: string) =>
      write(function* () {
        yield add(first);
        holds.add(first);
        for (let look = 0; look < 1_000 && !holds.has(second); look += 1) yield { sql: 'SELECT SLEEP(0.01)' };
        return yield* together([select('one 0%'), add(second), select(`${second} 0%`)]);
      });
    const both = await Promise.all([cross('one', 'two'), cross('two', 'one')]);
    expect(both.map((results) => results.map(({ affected }) => affected))).toEqual([
      [1, 1, 1],
      [1, 1, 1],
    ]);
    expect(database().counts.retries - retries).toBe(1);
    expect((await names('% 0%')).sort()).toEqual(['one 0++', 'two 0++']);
  });
});
