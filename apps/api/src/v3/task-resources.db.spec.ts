/** Requested resources of the Python protocol: stored anew each time, and read back whoever wrote them. */
import { describeOnDatabases } from '@jobmon/testkit';
import { call, serve, type Served } from '../../test/serve';

describeOnDatabases('requested resources of the Python protocol', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database());
  });
  afterAll(() => served.close());

  const bind = (body: unknown) => call(served, 'POST', '/api/v3/task/bind_resources?client_jobmon_version=3.6.0', body);
  const read = (id: number | string) => call(served, 'POST', `/api/v3/task_resources/${id}?client_jobmon_version=3.6.0`, {});
  const count = async () => Number((await database().read<{ n: number }>('SELECT COUNT(*) AS n FROM task_resources'))[0]!.n);
  const requested = { cores: 1, memory: 1, runtime: 3600, stdout: '/opt/example', stderr: '/opt/example' };

  it('E16 answers a bare number, another one each time, and E35 reads both', async () => {
    const body = { queue_id: 3, task_resources_type_id: 'O', requested_resources: requested };
    const [first, second] = [await bind(body), await bind(body)];
    expect(first.text).toMatch(/^[1-9][0-9]*$/);
    expect([first.status, first.headers['content-type']]).toEqual([200, 'application/json; charset=utf-8']);
    expect(second.json).toBeGreaterThan(first.json);
    for (const { json: id } of [first, second]) {
      const { status, json } = await read(id);
      expect([status, json]).toEqual([200, { requested_resources: requested, queue_name: 'null.q' }]);
    }
    expect(
      await database().read('SELECT queue_id, task_resources_type_id AS type, identity FROM task_resources WHERE id = ?', [
        first.json,
      ]),
    ).toEqual([{ queue_id: 3, type: 'O', identity: null }]);
  });

  it('E16 takes the types that a swarm makes, digits for the queue, and no type at all', async () => {
    for (const type of ['V', 'A', undefined]) {
      const { json: id } = await bind({ queue_id: '3', task_resources_type_id: type, requested_resources: {} });
      const [row] = await database().read('SELECT task_resources_type_id AS type FROM task_resources WHERE id = ?', [id]);
      expect(row).toEqual({ type: type ?? 'O' });
    }
  });

  it('E16 refuses what cannot be stored, and writes nothing', async () => {
    const before = await count();
    const good = { queue_id: 3, task_resources_type_id: 'O', requested_resources: requested };
    let nested: unknown = 1;
    for (let level = 0; level < 100; level++) nested = [nested];
    for (const [status, change] of [
      [404, { queue_id: 99_999 }],
      [400, { queue_id: undefined }],
      [400, { queue_id: null }],
      [400, { queue_id: -3 }],
      [400, { task_resources_type_id: 'X' }],
      [400, { task_resources_type_id: 7 }],
      [400, { requested_resources: undefined }],
      [400, { requested_resources: [1] }],
      [400, { requested_resources: 'cores' }],
      [400, { requested_resources: { a: 'x'.repeat(65_536) } }],
      [400, { requested_resources: { nested } }],
    ] as const) {
      const answered = await bind({ ...good, ...change });
      expect([answered.status, JSON.stringify(change).slice(0, 60)]).toEqual([status, JSON.stringify(change).slice(0, 60)]);
    }
    expect(await count()).toBe(before);
  });

  it('E16 keeps a NUL in a value, since JSON text holds it as an escape', async () => {
    const { json: id } = await bind({ queue_id: 3, requested_resources: { a: '\0' } });
    expect((await read(id)).json.requested_resources).toEqual({ a: '\0' });
  });

  it('E35 returns true, false and null, from JSON as from Python notation', async () => {
    const value = { a: true, b: false, c: null, d: [1.5, 'x'], e: { f: "it's" } };
    const { json: id } = await bind({ queue_id: 3, requested_resources: value });
    expect((await read(id)).json.requested_resources).toEqual(value);
    const texts: [string, unknown][] = [
      [`{'a': True, 'b': False, 'c': None, 'd': [1.5, 'x'], 'e': {'f': "it's"}}`, value],
      ["{'cores': (1, 20)}", { cores: [1, 20] }],
      ['{}', {}],
      ['not a value', null],
    ];
    for (const [text, expected] of texts) {
      await database().write({ label: 'test' }, function* () {
        yield { sql: 'UPDATE task_resources SET requested_resources = ?, queue_id = NULL WHERE id = ?', params: [text, id] };
      });
      expect((await read(id)).json).toEqual({ requested_resources: expected, queue_name: null });
    }
  });

  it('E35 answers both null for an unknown id, and 422 for what is none', async () => {
    const unknown = await read(99_999);
    expect([unknown.status, unknown.json]).toEqual([200, { requested_resources: null, queue_name: null }]);
    for (const id of ['abc', '-1', '0', '1.5', '99999999999']) expect((await read(id)).status).toBe(422);
  });
});
