/** Tools and their versions as the Python protocol binds them, and what the api answers about itself. */
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import { ok } from '../../test/definitions';
import { call, serve, type Served } from '../../test/serve';

describeOnDatabases('tools of the Python protocol', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database());
  });
  afterAll(() => served.close());

  const post = (path: string, body: unknown) => call(served, 'POST', `/api/v3${path}?client_jobmon_version=3.6.0`, body);
  const get = (path: string) => call(served, 'GET', `/api/v3${path}?client_jobmon_version=3.6.0`);
  const write = (sql: string, ...params: (string | number)[]) => database().change(sql, ...params);

  it('E36 finds the tool again under the same name, and writes nothing for it', async () => {
    const first = await post('/tool', { name: 'demo_tool' });
    expect([first.status, first.json]).toEqual([200, { tool: [expect.any(Number), 'demo_tool'] }]);
    const { transactions } = { ...database().counts };
    expect((await post('/tool', { name: 'demo_tool' })).text).toBe(first.text);
    expect(database().counts.transactions).toBe(transactions);
    expect((await post('/tool', { name: 'Demo_tool' })).json.tool[0]).not.toBe(first.json.tool[0]);
  });

  it('E36 makes one tool when many callers name it at one time', async () => {
    const answers = await Promise.all(Array.from({ length: 16 }, () => post('/tool', { name: 'at one time' })));
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(await database().read('SELECT COUNT(*) AS n FROM tool WHERE name = ?', ['at one time'])).toEqual([{ n: 1 }]);
  });

  it('E36 keeps names of 255 characters and of any letters, and refuses what no column holds', async () => {
    for (const name of ['', 'x'.repeat(255), 'naïve \u{1F40D} "quoted" \\', 'a/b?c']) {
      expect((await post('/tool', { name })).json).toEqual({ tool: [expect.any(Number), name] });
    }
    for (const body of [{}, { name: null }, { name: 7 }, { name: 'x'.repeat(256) }, { name: 'a\0b' }, { nam: 'x' }]) {
      const { status, json } = await post('/tool', body);
      expect([status, json.error.status_code]).toEqual([400, '400']);
    }
  });

  it('E39 makes a new version each time, and E37 lists them ascending', async () => {
    const [tool_id] = (await post('/tool', { name: 'with versions' })).json.tool;
    expect((await get(`/tool/${tool_id}/tool_versions`)).json).toEqual({ tool_versions: [] });
    const made = [await post('/tool_version', { tool_id }), await post('/tool_version', { tool_id: String(tool_id) })];
    const versions = made.map(({ json }) => json.tool_version);
    expect(versions).toEqual([
      [expect.any(Number), tool_id],
      [expect.any(Number), tool_id],
    ]);
    expect(versions[1][0]).toBeGreaterThan(versions[0][0]);
    const listed = await get(`/tool/${tool_id}/tool_versions`);
    expect([listed.status, listed.json]).toEqual([200, { tool_versions: versions }]);
  });

  it('E39 gives as many callers as E37 told of no version the same first one, and everybody else a new one', async () => {
    const [tool_id] = (await post('/tool', { name: 'started at one time' })).json.tool;
    const told = await Promise.all(Array.from({ length: 8 }, () => get(`/tool/${tool_id}/tool_versions`)));
    expect(told.map(({ json }) => json)).toEqual(told.map(() => ({ tool_versions: [] })));
    const made = await Promise.all(told.map(() => post('/tool_version', { tool_id })));
    expect(new Set(made.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    const first = made[0]!.json.tool_version;
    const second = (await post('/tool_version', { tool_id })).json.tool_version;
    expect(second[0]).toBeGreaterThan(first[0]);
    expect((await get(`/tool/${tool_id}/tool_versions`)).json).toEqual({ tool_versions: [first, second] });
    expect(await database().read('SELECT * FROM tool_first_version WHERE tool_id = ?', [tool_id])).toEqual([]);
  });

  it('E39 does not wait for a caller that was told so a minute ago and never asked', async () => {
    const [tool_id] = (await post('/tool', { name: 'given up' })).json.tool;
    for (let caller = 0; caller < 2; caller++) await get(`/tool/${tool_id}/tool_versions`);
    const first = (await post('/tool_version', { tool_id })).json.tool_version;
    await write(`UPDATE tool_first_version SET told_date = '2026-01-01 00:00:00' WHERE tool_id = ?`, tool_id);
    const second = (await post('/tool_version', { tool_id })).json.tool_version;
    expect(second[0]).toBeGreaterThan(first[0]);
    expect(await database().read('SELECT * FROM tool_first_version WHERE tool_id = ?', [tool_id])).toEqual([]);
  });

  it('E37 answers no versions of an unknown tool, E39 does not know it', async () => {
    expect((await get('/tool/99999/tool_versions')).json).toEqual({ tool_versions: [] });
    const refused = await post('/tool_version', { tool_id: 99_999 });
    expect([refused.status, refused.json.error.type]).toEqual([404, 'NOT_FOUND']);
    expect(await database().read('SELECT COUNT(*) AS n FROM tool_version WHERE tool_id = 99999')).toEqual([{ n: 0 }]);
  });

  it('E39 refuses a body without its tool with 400, E37 and E40 refuse a path that is no number with 422', async () => {
    for (const body of [{}, { tool_id: 'x' }, { tool_id: null }, { tool_id: 1.5 }, { tool_id: -1 }, { tool_id: [1] }]) {
      expect((await post('/tool_version', body)).status).toBe(400);
    }
    for (const path of ['/tool/abc/tool_versions', '/tool_version/abc/task_templates']) {
      const { status, json } = await get(path);
      expect([status, json.detail[0].loc[0], json.detail[0].input]).toEqual([422, 'path', 'abc']);
    }
  });

  it('E40 lists the templates of a version', async () => {
    const [tool_id] = (await post('/tool', { name: 'with templates' })).json.tool;
    const [version] = (await post('/tool_version', { tool_id })).json.tool_version;
    expect((await get(`/tool_version/${version}/task_templates`)).json).toEqual({ task_templates: [] });
    const ids = [];
    for (const task_template_name of ['stage_two', 'stage_one']) {
      ids.push((await post('/task_template', { tool_version_id: version, task_template_name })).json.task_template_id);
    }
    expect((await get(`/tool_version/${version}/task_templates`)).json).toEqual({
      task_templates: [
        [ids[0], version, 'stage_two'],
        [ids[1], version, 'stage_one'],
      ],
    });
    expect((await get('/tool_version/99999/task_templates')).status).toBe(404);
  });

  const usage = (tool: string, query: string) => call(served, 'GET', `/api/v3/tool/${tool}/tool_resource_usage?${query}`);

  it('E38 answers each node argument of done tasks with what their attempt used, of workflows made within the days', async () => {
    const inserted = await insertWorkflow(database(), {
      tasks: 3,
      task_status: (position) => (position === 2 ? 'F' : 'D'),
      instance_status: (position) => (position === 2 ? 'E' : 'D'),
    });
    const [{ name: tool }] = (await database().read<{ name: string }>('SELECT name FROM tool WHERE id = ?', [
      inserted.tool_id,
    ])) as [{ name: string }];
    await write('INSERT INTO arg (name) VALUES (?)', `usage_${tool}`);
    const [{ id: arg_id }] = (await database().read<{ id: number }>('SELECT id FROM arg WHERE name = ?', [`usage_${tool}`])) as [
      { id: number },
    ];
    for (const [position, node_id] of inserted.node_ids.entries()) {
      await write('INSERT INTO node_arg (node_id, arg_id, val) VALUES (?, ?, ?)', node_id, arg_id, String(position));
    }
    const used = inserted.task_instance_ids[1] as number;
    await write("UPDATE task_instance SET wallclock = '12', maxrss = '4096' WHERE id = ?", used);
    await write("UPDATE workflow SET created_date = '2026-03-07 23:59:59' WHERE id = ?", inserted.workflow_id);

    const answered = await usage(tool, 'start_date=2026-03-01&end_date=2026-03-07&client_jobmon_version=3.6.0');
    expect([answered.status, answered.json]).toEqual([
      200,
      [
        {
          ti_id: inserted.task_instance_ids[0],
          ti_wallclock: null,
          ti_maxrss: null,
          node_arg_val: '0',
          ti_requested_resources: '{"cores": 1}',
        },
        { ti_id: used, ti_wallclock: '12', ti_maxrss: '4096', node_arg_val: '1', ti_requested_resources: '{"cores": 1}' },
      ],
    ]);
    for (const days of ['start_date=2026-03-08&end_date=2026-03-08', 'start_date=2026-03-01&end_date=2026-03-06']) {
      expect((await usage(tool, days)).json).toEqual([]);
    }
    expect((await usage('nobody', 'start_date=2026-03-01&end_date=2026-03-07')).json).toEqual([]);
  });

  it.each([
    'end_date=2026-03-01',
    'start_date=2026-03-01',
    'start_date=2026-03-01&end_date=2026-03-09',
    'start_date=2026-03-09&end_date=2026-03-01',
    'start_date=2026-02-29&end_date=2026-03-01',
    'start_date=2026-3-1&end_date=2026-03-01',
    'start_date=yesterday&end_date=2026-03-01',
    'start_date=&end_date=',
  ])('E38 refuses %s with a bare sentence', async (query) => {
    const { status, json } = await usage('demo_tool', query);
    expect([status, json]).toEqual([400, { error: expect.any(String) }]);
  });

  it('S4 always fails in the shape of an error', async () => {
    const { status, headers, json } = await call(served, 'GET', '/api/v3/test_bad');
    expect([status, headers['content-type'], json]).toEqual([
      500,
      'application/json; charset=utf-8',
      {
        error: { type: 'INTERNAL', code: 'INTERNAL', exception_message: expect.any(String), status_code: '500' },
        detail: expect.any(String),
      },
    ]);
    expect((await call(served, 'GET', '/api/v3/test_bad')).status).toBe(500);
  });

  it('S5 tells the version of the protocol', async () => {
    expect(await ok(served, 'GET', '/api/v3/api_version?client_jobmon_version=3.6.0')).toEqual({ status: 'v3' });
  });
});
