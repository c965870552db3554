import { JobmonError } from '@jobmon/contracts';
import { describeOnDatabases, runSql, type TestDatabase } from '@jobmon/testkit';
import SqliteHandle from 'better-sqlite3';
import type { Procedure } from './index';
import { Agent, isDuplicateKey } from './index';

/** Names, newlines, quotes, NUL, characters of two, three and four bytes, and what a careless template would break at. */
const ODD_TEXTS = [
  '',
  ' a ',
  "it's",
  '"quoted"',
  'a\nb\r\n\tc',
  'nul\u0000inside',
  'Ü節😀',
  'back\\slash',
  '%_?',
  '${x}',
  '\u2028',
];

describeOnDatabases('Database', (database) => {
  const write = <T>(procedure: () => Procedure<T>): Promise<T> => database().write({ label: 'test' }, procedure);
  const read = <Row>(sql: string, ...params: (string | number)[]): Promise<Row[]> => database().read<Row>(sql, params);
  const names = async (like: string): Promise<string[]> =>
    (await read<{ name: string }>('SELECT name FROM tool WHERE name LIKE ? ORDER BY id', like)).map((row) => row.name);
  const insert = (name: string): { sql: string; params: string[] } => ({
    sql: 'INSERT INTO tool (name) VALUES (?)',
    params: [name],
  });

  it('answers what the procedure returns, after its rows are there for all', async () => {
    const id = await write(function* () {
      const made = yield insert('committed');
      return made.insert_id;
    });
    expect(await read('SELECT id FROM tool WHERE name = ?', 'committed')).toEqual([{ id }]);
  });

  it('leaves nothing of a procedure that throws, and throws on what it threw', async () => {
    const thrown = new JobmonError('CONFLICT', 'changed my mind');
    await expect(
      write(function* () {
        yield insert('rolled back');
        throw thrown;
      }),
    ).rejects.toBe(thrown);
    expect(await names('rolled back')).toEqual([]);
  });

  it('leaves nothing of a procedure whose statement fails', async () => {
    const failed = write(function* () {
      yield insert('twice');
      yield insert('twice');
    });
    expect(await failed.then(() => false, isDuplicateKey)).toBe(true);
    expect(await names('twice')).toEqual([]);
    await expect(
      write(function* () {
        yield insert('before the wrong one');
        yield { sql: 'SELECT name FROM nowhere' };
      }),
    ).rejects.toMatchObject({ message: expect.stringMatching(/nowhere/) });
    expect(await names('before the wrong one')).toEqual([]);
  });

  it('shows no reader what is not committed', async () => {
    const seen: unknown[] = [];
    await write(function* () {
      yield insert('half done');
      // The procedure goes on only when readers on other connections have looked; bounded by the number of looks.
      if (database().dialect.name === 'sqlite') {
        const driver = database().dataSource.driver as unknown as { databaseConnection: SqliteHandle.Database };
        seen.push(driver.databaseConnection.prepare(`SELECT name FROM tool WHERE name = 'half done'`).all());
        const other = new SqliteHandle(database().url.slice('sqlite:'.length), { readonly: true });
        seen.push(other.prepare(`SELECT name FROM tool WHERE name = 'half done'`).all());
        other.close();
      } else {
        void names('half done').then((found) => seen.push(found));
        void database()
          .dataSource.query(`SELECT name FROM tool WHERE name = 'half done'`)
          .then((found: unknown) => seen.push(found));
        for (let look = 0; look < 500 && seen.length < 2; look += 1) yield { sql: 'SELECT SLEEP(0.01)' };
      }
    });
    expect(seen).toEqual([[], []]);
    expect(await names('half done')).toHaveLength(1);
  });

  it('keeps a counter exact under 50 concurrent writers, a third of which roll back', async () => {
    await write(function* () {
      yield insert('counter');
      yield { sql: `INSERT INTO workflow_attribute_type (id, name) VALUES (77, '0')` };
    });
    const outcomes = await Promise.allSettled(
      Array.from({ length: 50 }, (_, writer) =>
        write(function* () {
          const { rows } = yield {
            sql: `SELECT name FROM workflow_attribute_type WHERE id = 77${database().dialect.forUpdate}`,
          };
          const next = String(Number(rows[0]!.name) + 1);
          yield { sql: 'UPDATE workflow_attribute_type SET name = ? WHERE id = 77', params: [next] };
          if (writer % 3 === 0) throw new JobmonError('CONFLICT', 'not this one');
        }),
      ),
    );
    const committed = outcomes.filter((outcome) => outcome.status === 'fulfilled').length;
    expect(committed).toBe(33);
    expect(await read('SELECT name FROM workflow_attribute_type WHERE id = 77')).toEqual([{ name: '33' }]);
  });

  it('takes rows of odd texts through one JSON parameter, to insert and to update', async () => {
    const { jsonRows } = database().dialect;
    const rows = jsonRows('r', { position: 'int', name: 'text', x: 'real' });
    await write(function* () {
      yield {
        sql: `INSERT INTO workflow_attribute (workflow_id, workflow_attribute_type_id, value)
              SELECT 900 + r.x * 2, r.position, r.name FROM ${rows}`,
        params: [JSON.stringify(ODD_TEXTS.map((name, position) => ({ position, name, x: 0.5 })))],
      };
    });
    const stored = await read<{ value: string }>('SELECT value FROM workflow_attribute WHERE workflow_id = 901 ORDER BY 1');
    expect(new Set(stored.map((row) => row.value))).toEqual(new Set(ODD_TEXTS));
    const matched = await write(function* () {
      const found = yield {
        sql: `SELECT a.workflow_attribute_type_id AS position, r.name AS name FROM ${rows}
                JOIN workflow_attribute a ON a.workflow_id = 901 AND a.value = r.name`,
        params: [JSON.stringify(ODD_TEXTS.map((name) => ({ name })))],
      };
      return found.rows;
    });
    expect(matched).toHaveLength(ODD_TEXTS.length);
    for (const { position, name } of matched) expect(ODD_TEXTS[Number(position)]).toBe(name);
  });

  it('gives NULL for an absent or null member of a JSON row, and numbers as they are', async () => {
    const rows = database().dialect.jsonRows('r', { a: 'int', b: 'text', c: 'real', d: 'int' });
    const found = await database().read(`SELECT a, b, c, d FROM ${rows}`, [
      JSON.stringify([{ a: 5_000_000_000, b: null, c: 1.25 }]),
    ]);
    expect(found).toEqual([{ a: 5_000_000_000, b: null, c: 1.25, d: null }]);
  });

  it('upserts, and leaves alone what exists when told so', async () => {
    const { insertIgnore, onDuplicate, inserted } = database().dialect;
    const key = ['workflow_id', 'array_id', 'status', 'writer'];
    const add = (n: number) =>
      write(function* () {
        yield {
          sql: `INSERT INTO task_status_count (workflow_id, array_id, status, writer, n) VALUES (1, 1, 'G', 'w', ?)
                ${onDuplicate(key, `n = task_status_count.n + ${inserted('n')}`)}`,
          params: [n],
        };
      });
    await add(5);
    await add(-7);
    expect(await read('SELECT SUM(n) AS n FROM task_status_count WHERE workflow_id = 1')).toEqual([{ n: -2 }]);
    const ignored = await write(function* () {
      const result = yield {
        sql: `${insertIgnore} INTO task_status_count (workflow_id, array_id, status, writer, n)
              VALUES (1, 1, 'G', 'w', 9), (1, 1, 'Q', 'w', 9)`,
      };
      return result.affected;
    });
    expect(ignored).toBe(1);
    expect(await read('SELECT status, n FROM task_status_count WHERE workflow_id = 1 ORDER BY status')).toEqual([
      { status: 'G', n: -2 },
      { status: 'Q', n: 9 },
    ]);
  });

  it('tells how many rows a condition matched, changed or not, and the first id of several', async () => {
    const [same, first, second] = await write(function* () {
      const made = yield { sql: `INSERT INTO tool (name) VALUES ('many 1'), ('many 2'), ('many 3')` };
      const next = yield insert('many 4');
      const updated = yield { sql: `UPDATE tool SET name = name WHERE name LIKE 'many%'` };
      return [updated.affected, made.insert_id, next.insert_id];
    });
    expect(same).toBe(4);
    expect(second).toBe(first! + 3);
    expect(await read(`SELECT name FROM tool WHERE id = ?`, first!)).toEqual([{ name: 'many 1' }]);
  });

  it('gives ids above 32 bits as numbers, and dates as the text that the database holds', async () => {
    const { now, nowPlusSeconds } = database().dialect;
    const id = await write(function* () {
      const agent = (ids: string, first: string) => ({
        sql: `INSERT INTO agent (${ids}hostname, \`user\`, any_user, clusters, state_directory, process_id, version, registered_date,
                lease_until_date) VALUES (${first}'h', 'u', 0, '[]', '/s', 1, 'v', '2024-03-31 02:30:00', ${nowPlusSeconds})`,
        params: [60],
      });
      yield agent('id, ', '5000000000, ');
      return (yield agent('', '')).insert_id;
    });
    expect(id).toBe(5_000_000_001);
    const agent = await database().dataSource.getRepository(Agent).findOneByOrFail({ id });
    // An hour that does not exist in some zones: no Date may have been made of it.
    expect(agent).toMatchObject({ id, registered_date: '2024-03-31 02:30:00', ended_date: null });
    const [row] = await read<Record<string, string>>(
      `SELECT registered_date AS d, lease_until_date AS u, ${now} AS n FROM agent WHERE id = ?`,
      id,
    );
    expect(row!.d).toBe('2024-03-31 02:30:00');
    expect(row!.n).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);
    const clock = Date.parse(`${row!.n!.replace(' ', 'T')}Z`);
    expect(Math.abs(clock - Date.now())).toBeLessThan(5_000);
    expect(Math.abs(Date.parse(`${row!.u!.replace(' ', 'T')}Z`) - clock - 60_000)).toBeLessThan(5_000);
  });

  it('counts what a piece of work cost', async () => {
    const before = { ...database().counts };
    await write(function* () {
      yield insert('counted 1');
      yield { sql: `SELECT name FROM tool WHERE name = 'counted 1'` };
    });
    await names('counted 1');
    const { counts } = database();
    expect({
      statements: counts.statements - before.statements,
      transactions: counts.transactions - before.transactions,
      rows_read: counts.rows_read - before.rows_read,
      rows_written: counts.rows_written - before.rows_written,
      retries: counts.retries - before.retries,
    }).toEqual({ statements: 3, transactions: 1, rows_read: 2, rows_written: 1, retries: 0 });
  });
});

describeOnDatabases('a closed Database', (database) => {
  it('finishes what it accepted and takes nothing more', async () => {
    const open: TestDatabase = database();
    const accepted = open.write({ label: 'test' }, function* () {
      return (yield { sql: `INSERT INTO tool (name) VALUES ('last')` }).affected;
    });
    await open.close();
    expect(await accepted).toBe(1);
    for (const late of [open.read('SELECT 1'), open.write({ label: 'test' }, function* () {})]) {
      await expect(late).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    }
    const [rows] = await runSql(open.url, [`SELECT name FROM tool WHERE name = 'last'`]);
    expect(rows).toHaveLength(1);
  });
});
