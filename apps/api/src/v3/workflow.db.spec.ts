/** Workflows as the Python protocol binds them: one for each identity, whoever asks and whoever made it. */
import { describeOnDatabases } from '@jobmon/testkit';
import { digits, makeTemplate, ok, workflowRequest } from '../../test/definitions';
import { call, serve, type Served } from '../../test/serve';

/** Two numbers that are one to JSON.parse. */
const NEAR = [
  '21148187612544702081889138714050651741386166132495224305229279581462721472967',
  '21148187612544702081889138714050651741386166132495224305229279581462721472968',
] as const;

describeOnDatabases('workflows of the Python protocol', (database) => {
  let served: Served;
  let tool_version_id: number;
  let dag_id: number;
  beforeAll(async () => {
    served = await serve(database());
    tool_version_id = (await makeTemplate(served, 'workflows')).tool_version_id;
    dag_id = (await call(served, 'POST', '/api/v3/dag', '{"dag_hash": 2244519120726179502}')).json.dag_id;
  });
  afterAll(() => served.close());

  /** Hashes are numbers of the body's text, as clients write them. */
  const bind = (changes: Record<string, unknown> = {}) => {
    const body = {
      tool_version_id,
      dag_id,
      workflow_args_hash: NEAR[0],
      task_hash: NEAR[1],
      description: 'd',
      name: 'demo',
      workflow_args: 'bad_args_1',
      max_concurrently_running: 2_147_483_647,
      workflow_attributes: { owner: 'me' },
      ...changes,
    };
    const text = JSON.stringify(body).replace(/("(?:workflow_args_hash|task_hash)":)"(-?[0-9.e]+)"/g, '$1$2');
    return call(served, 'POST', '/api/v3/workflow?client_jobmon_version=3.6.0', text);
  };
  const matching = (hash: string) => call(served, 'GET', `/api/v3/workflow/${hash}?client_jobmon_version=3.6.0`);
  const stored = async (workflow_id: number) =>
    (
      await database().read(
        'SELECT name, description, workflow_args, max_concurrently_running AS max, status, created_date, task_hash FROM workflow WHERE id = ?',
        [workflow_id],
      )
    )[0];
  const attributes = async (workflow_id: number) =>
    Object.fromEntries(
      (
        await database().read<{ name: string; value: string | null }>(
          `SELECT t.name AS name, a.value AS value FROM workflow_attribute a JOIN workflow_attribute_type t ON t.id = a.workflow_attribute_type_id
            WHERE a.workflow_id = ?`,
          [workflow_id],
        )
      ).map(({ name, value }) => [name, value]),
    );
  const write = (sql: string, ...params: (string | number)[]) => database().change(sql, ...params);
  const count = async () => Number((await database().read<{ n: number }>('SELECT COUNT(*) AS n FROM workflow'))[0]!.n);

  it('E41 makes a workflow in G without its date, and answers it again to a repeat', async () => {
    const workflow_args_hash = digits('made');
    const first = await bind({ workflow_args_hash });
    const { workflow_id } = first.json;
    expect([first.status, first.json]).toEqual([200, { workflow_id: expect.any(Number), status: 'G', newly_created: true }]);
    expect((await bind({ workflow_args_hash })).json).toEqual({ workflow_id, status: 'G', newly_created: false });
    expect(await stored(workflow_id)).toEqual({
      name: 'demo',
      description: 'd',
      workflow_args: 'bad_args_1',
      max: 2_147_483_647,
      status: 'G',
      created_date: null,
      task_hash: NEAR[1],
    });
    expect(await attributes(workflow_id)).toEqual({ owner: 'me' });
  });

  it('E41 overwrites the description of a known one, sets attributes, and keeps status, arguments and other attributes', async () => {
    const workflow_args_hash = digits('known');
    const { workflow_id } = (await bind({ workflow_args_hash, workflow_attributes: { a: '1', b: '2' } })).json;
    await write("UPDATE workflow SET status = 'F', created_date = '2026-01-02 03:04:05' WHERE id = ?", workflow_id);
    const again = await bind({
      workflow_args_hash,
      description: null,
      name: 'anew \u{1F40D}',
      workflow_args: 'others',
      max_concurrently_running: '7',
      workflow_attributes: { b: null, c: 3 },
    });
    expect(again.json).toEqual({ workflow_id, status: 'F', newly_created: false });
    expect(await stored(workflow_id)).toEqual({
      name: 'anew \u{1F40D}',
      description: null,
      workflow_args: 'bad_args_1',
      max: 7,
      status: 'F',
      created_date: '2026-01-02 03:04:05',
      task_hash: NEAR[1],
    });
    expect(await attributes(workflow_id)).toEqual({ a: '1', b: null, c: '3' });
  });

  it('E41 is another workflow for another digit of a hash, another graph or another tool version', async () => {
    const other_dag = (await call(served, 'POST', '/api/v3/dag', '{"dag_hash": 2244519120726179503}')).json.dag_id;
    const other_version = (await makeTemplate(served, 'another tool')).tool_version_id;
    const ids = [];
    for (const changes of [
      { workflow_args_hash: NEAR[0], task_hash: NEAR[0] },
      { workflow_args_hash: NEAR[0], task_hash: NEAR[1] },
      { workflow_args_hash: NEAR[1], task_hash: NEAR[0] },
      { workflow_args_hash: NEAR[0], task_hash: NEAR[0], dag_id: other_dag },
      { workflow_args_hash: NEAR[0], task_hash: NEAR[0], tool_version_id: other_version },
    ]) {
      const { json } = await bind(changes);
      expect(json.newly_created).toBe(true);
      ids.push(json.workflow_id);
    }
    expect(new Set(ids).size).toBe(5);
    // The reply of E42 is compared as text by the client, so not one digit may be lost.
    expect((await matching(NEAR[0])).json).toEqual({
      matching_workflows: [
        [NEAR[0], tool_version_id, '2244519120726179502'],
        [NEAR[1], tool_version_id, '2244519120726179502'],
        [NEAR[0], tool_version_id, '2244519120726179503'],
        [NEAR[0], other_version, '2244519120726179502'],
      ],
    });
  });

  it('E41 gives two starts of one script at one time one workflow', async () => {
    const workflow_args_hash = digits('at one time');
    const answers = await Promise.all(Array.from({ length: 12 }, () => bind({ workflow_args_hash })));
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    expect(new Set(answers.map(({ json }) => json.workflow_id)).size).toBe(1);
    expect(answers.filter(({ json }) => json.newly_created)).toHaveLength(1);
    expect(
      await database().read('SELECT COUNT(*) AS n FROM workflow WHERE workflow_args_hash = ?', [workflow_args_hash]),
    ).toEqual([{ n: 1 }]);
  });

  it('E41 finds a workflow that another program stored without our identity, of twins the first', async () => {
    const hash = digits('by others');
    const insert = () =>
      write(
        `INSERT INTO workflow (tool_version_id, dag_id, workflow_args_hash, task_hash, max_concurrently_running, status)
         VALUES (?, ?, ?, ?, 5, 'H')`,
        tool_version_id,
        dag_id,
        hash,
        NEAR[1],
      );
    const [first] = [await insert(), await insert()];
    expect((await bind({ workflow_args_hash: hash })).json).toEqual({ workflow_id: first, status: 'H', newly_created: false });
  });

  it('E41 and the native registration find the same workflow', async () => {
    const hashes = { workflow_args_hash: digits('both ways'), task_hash: digits('both ways, tasks') };
    const dag_hash = '2244519120726179502';
    const template = { tool_version_id, task_template_version_id: 0 };
    const native = await ok(served, 'POST', '/api/v4/workflows', workflowRequest(template, 'both ways', { ...hashes, dag_hash }));
    expect((await bind(hashes)).json).toEqual({ workflow_id: native.workflow_id, status: 'G', newly_created: false });
  });

  it('E41 refuses what it does not know or cannot store, and makes nothing', async () => {
    const before = await count();
    const names = Object.keys({ description: 0, name: 0, workflow_args: 0, max_concurrently_running: 0, workflow_attributes: 0 });
    const missing = [...names, 'tool_version_id', 'dag_id', 'workflow_args_hash', 'task_hash'].map((name) => [
      400,
      { [name]: undefined },
    ]);
    for (const [status, changes] of [
      ...missing,
      [404, { tool_version_id: 99_999 }],
      [404, { dag_id: 99_999 }],
      [400, { tool_version_id: null }],
      [400, { dag_id: 'x' }],
      [400, { workflow_args_hash: '-7' }],
      [400, { workflow_args_hash: '1.5' }],
      [400, { task_hash: '1e30' }],
      [400, { task_hash: '1'.repeat(79) }],
      [400, { task_hash: 'abc' }],
      [400, { name: 'x'.repeat(256) }],
      [400, { name: 7 }],
      [400, { name: 'a\0b' }],
      [400, { description: 'ü'.repeat(32_768) }],
      [400, { workflow_args: ['x'] }],
      [400, { max_concurrently_running: -1 }],
      [400, { max_concurrently_running: 2_147_483_648 }],
      [400, { max_concurrently_running: null }],
      [400, { max_concurrently_running: 1.5 }],
      [400, { workflow_attributes: [] }],
      [400, { workflow_attributes: { a: 'x'.repeat(256) } }],
      [400, { workflow_attributes: { ['x'.repeat(256)]: 'a' } }],
      [400, { workflow_attributes: { a: { b: 1 } } }],
      [400, { workflow_attributes: { 'a\0': 'b' } }],
    ] as [number, Record<string, unknown>][]) {
      const answered = await bind({ workflow_args_hash: digits('refused'), ...changes });
      expect([answered.status, changes]).toEqual([status, changes]);
    }
    expect(await count()).toBe(before);
  });

  it('E42 answers none for unknown arguments, and 400 for a path that is no integer', async () => {
    for (const hash of ['48776085988676622893733990745267095809257966686656188119329713792186568116705', '0', '-1']) {
      const { status, json } = await matching(hash);
      expect([status, json]).toEqual([200, { matching_workflows: [] }]);
    }
    for (const hash of ['abc', '1.5', '0x10', '1e3', '%20']) {
      const { status, json } = await matching(hash);
      expect([status, json.error.status_code]).toEqual([400, '400']);
    }
  });

  it('E43 sets attributes by name, also to null, whoever sets them at one time', async () => {
    const { workflow_id } = (await bind({ workflow_args_hash: digits('attributes'), workflow_attributes: {} })).json;
    const set = (workflow_attributes: unknown, id: number | string = workflow_id) =>
      call(served, 'PUT', `/api/v3/workflow/${id}/workflow_attributes?client_jobmon_version=3.6.0`, { workflow_attributes });
    const first = await set({ a: 'b', n: null });
    expect([first.status, first.json]).toEqual([200, {}]);
    expect((await set({ a: 'c', d: 'ü\u{1F40D}' })).json).toEqual({});
    expect((await set({})).json).toEqual({});
    expect(await attributes(workflow_id)).toEqual({ a: 'c', n: null, d: 'ü\u{1F40D}' });
    const answers = await Promise.all(Array.from({ length: 12 }, (_, n) => set({ [`shared ${n % 3}`]: 'x', other: 'y' })));
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`))).toEqual(new Set(['200 {}']));
    expect(Object.keys(await attributes(workflow_id))).toHaveLength(7);
    for (const bad of [undefined, null, [], 'x', { a: 'x'.repeat(256) }, { a: [1] }, { '': 'x' }])
      expect((await set(bad)).status).toBe(400);
    expect((await set({ a: 'x' }, 99_999)).status).toBe(404);
    expect((await set({ a: 'x' }, 'abc')).status).toBe(422);
    expect((await attributes(workflow_id)).a).toBe('c');
  });
});
