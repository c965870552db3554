/** Arrays as clients bind them, and the limits of arrays and workflows. */
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow } from '@jobmon/testkit';
import { call, serve, type Served } from '../../test/serve';

describeOnDatabases('arrays and limits of the Python protocol', (database) => {
  let served: Served;
  /** Two workflows, the second with a run that the server drives. */
  let own: InsertedWorkflow;
  let servers: InsertedWorkflow;
  beforeAll(async () => {
    served = await serve(database());
    own = await insertWorkflow(database(), { driver: 'client', max_concurrently_running: 70, array_max_concurrently_running: 7 });
    servers = await insertWorkflow(database(), { max_concurrently_running: 80, array_max_concurrently_running: 8 });
  });
  afterAll(() => served.close());

  const get = (path: string) => call(served, 'GET', `/api/v3${path}?client_jobmon_version=3.6.0`);
  const send = (method: 'POST' | 'PUT', path: string, body: unknown) => call(served, method, `/api/v3${path}`, body);
  const newVersion = async (): Promise<number> => (await insertWorkflow(database())).task_template_version_id;
  const limitPath = (workflow: InsertedWorkflow): string =>
    `/workflow/${workflow.workflow_id}/get_array_max_concurrently_running/${workflow.task_template_version_id}`;

  it('E1 makes an array once, and later only takes its limit', async () => {
    const task_template_version_id = await newVersion();
    const body = { workflow_id: own.workflow_id, task_template_version_id, max_concurrently_running: 5, name: 'naïve \u{1F40D}' };
    const first = await send('POST', '/array', body);
    expect([first.status, first.json]).toEqual([200, { array_id: expect.any(Number) }]);
    const again = await send('POST', '/array', { ...body, max_concurrently_running: '2147483647', name: 'another' });
    expect([again.status, again.json]).toEqual([200, first.json]);
    const rows = await database().read(
      'SELECT name, workflow_id, task_template_version_id, max_concurrently_running, created_date FROM `array` WHERE id = ?',
      [first.json.array_id as number],
    );
    const { name } = body;
    expect(rows).toEqual([
      {
        name,
        workflow_id: own.workflow_id,
        task_template_version_id,
        max_concurrently_running: 2_147_483_647,
        created_date: expect.any(String),
      },
    ]);
  });

  it('E1 makes one array when many callers bind it at one time', async () => {
    const task_template_version_id = await newVersion();
    const body = { workflow_id: own.workflow_id, task_template_version_id, max_concurrently_running: 5, name: 'x' };
    const answers = await Promise.all(Array.from({ length: 12 }, () => send('POST', '/array', body)));
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(answers[0]!.status).toBe(200);
    const rows = await database().read('SELECT id FROM `array` WHERE task_template_version_id = ? AND workflow_id = ?', [
      task_template_version_id,
      own.workflow_id,
    ]);
    expect(rows).toHaveLength(1);
  });

  it('E1 refuses what it cannot store, and ids that are not there', async () => {
    const good = { ...own, max_concurrently_running: 1, name: 'x' };
    const status = async (change: Record<string, unknown>): Promise<number> =>
      (await send('POST', '/array', { ...good, ...change })).status;
    expect(await status({})).toBe(200);
    expect(await status({ workflow_id: 2_000_000_000 })).toBe(404);
    expect(await status({ task_template_version_id: 2_000_000_000 })).toBe(404);
    for (const change of [
      { name: 'x'.repeat(256) },
      { name: null },
      { name: 7 },
      { name: 'a\0b' },
      { max_concurrently_running: -1 },
      { max_concurrently_running: 2_147_483_648 },
      { max_concurrently_running: 'many' },
      { max_concurrently_running: undefined },
      { workflow_id: 'x' },
      { workflow_id: undefined },
    ]) {
      expect([change, await status(change)]).toEqual([change, 400]);
    }
  });

  it('E6 E7 E47 answer the limits, and 404 for what is not there', async () => {
    expect((await get(`/array/${servers.array_id}/get_array_max_concurrently_running`)).json).toEqual({
      max_concurrently_running: 8,
    });
    expect((await get(limitPath(servers))).json).toEqual({ max_concurrently_running: 8 });
    expect((await get(`/workflow/${servers.workflow_id}/get_max_concurrently_running`)).json).toEqual({
      max_concurrently_running: 80,
    });
    for (const path of [
      '/array/2000000000/get_array_max_concurrently_running',
      '/workflow/2000000000/get_max_concurrently_running',
      limitPath({ ...own, workflow_id: servers.workflow_id }),
      limitPath({ ...own, task_template_version_id: 2_000_000_000 }),
    ]) {
      const { status, json } = await get(path);
      expect([path, status, json.error.status_code]).toEqual([path, 404, '404']);
    }
    expect((await get('/array/x/get_array_max_concurrently_running')).status).toBe(422);
    expect((await get('/workflow/0/get_max_concurrently_running')).status).toBe(422);
  });

  it('E48 sets the limit of a workflow, E54 that of an array, from numbers and from digits', async () => {
    const workflow = `/workflow/${own.workflow_id}`;
    const { task_template_version_id } = own;
    for (const max_tasks of [3, '100', 0, '2147483647', 41]) {
      const set = await send('PUT', `${workflow}/update_max_concurrently_running`, { max_tasks });
      expect([set.status, set.json]).toEqual([200, { message: expect.stringContaining(String(max_tasks)) }]);
      expect((await get(`${workflow}/get_max_concurrently_running`)).json).toEqual({
        max_concurrently_running: Number(max_tasks),
      });
      const ofArray = await send('PUT', `${workflow}/update_array_max_concurrently_running`, {
        max_tasks,
        task_template_version_id: String(task_template_version_id),
      });
      expect([ofArray.status, ofArray.json]).toEqual([200, { message: expect.stringContaining(String(max_tasks)) }]);
      expect((await get(limitPath(own))).json).toEqual({ max_concurrently_running: Number(max_tasks) });
    }
    expect((await get(`/workflow/${servers.workflow_id}/get_max_concurrently_running`)).json).toEqual({
      max_concurrently_running: 80,
    });
  });

  it('E48 E54 refuse what is no limit, and ids that are not there', async () => {
    const before = [await get(`/workflow/${own.workflow_id}/get_max_concurrently_running`), await get(limitPath(own))];
    const { task_template_version_id } = own;
    const set = async (path: string, max_tasks: unknown, change: Record<string, unknown> = {}, workflow_id = own.workflow_id) => {
      const body = { max_tasks, task_template_version_id, ...change };
      return (await send('PUT', `/workflow/${workflow_id}/${path}`, body)).status;
    };
    for (const path of ['update_max_concurrently_running', 'update_array_max_concurrently_running']) {
      for (const wrong of [
        -1,
        '-1',
        1.5,
        '1.5',
        2_147_483_648,
        '99999999999',
        'many',
        '',
        ' 7',
        null,
        undefined,
        [1],
        {},
        true,
      ]) {
        expect([path, wrong, await set(path, wrong)]).toEqual([path, wrong, 400]);
      }
      expect(await set(path, 5, {}, 2_000_000_000)).toBe(404);
    }
    const ofArray = 'update_array_max_concurrently_running';
    expect(await set(ofArray, 5, { task_template_version_id: servers.task_template_version_id })).toBe(404);
    expect(await set(ofArray, 5, { task_template_version_id: undefined })).toBe(400);
    const after = [await get(`/workflow/${own.workflow_id}/get_max_concurrently_running`), await get(limitPath(own))];
    expect(after.map(({ text }) => text)).toEqual(before.map(({ text }) => text));
  });

  it('E1 E48 E54 change nothing of a run that the server drives', async () => {
    const { workflow_id, task_template_version_id } = servers;
    const set = await send('PUT', `/workflow/${workflow_id}/update_max_concurrently_running`, { max_tasks: 1 });
    expect([set.status, set.json]).toEqual([200, { message: expect.stringContaining('nothing changed') }]);
    const ofArray = await send('PUT', `/workflow/${workflow_id}/update_array_max_concurrently_running`, {
      max_tasks: 1,
      task_template_version_id,
    });
    expect([ofArray.status, ofArray.json]).toEqual([200, { message: expect.stringContaining('nothing changed') }]);
    const bound = await send('POST', '/array', { workflow_id, task_template_version_id, max_concurrently_running: 1, name: 'x' });
    expect([bound.status, bound.json]).toEqual([200, { array_id: servers.array_id }]);
    expect((await get(`/workflow/${workflow_id}/get_max_concurrently_running`)).json).toEqual({ max_concurrently_running: 80 });
    expect((await get(limitPath(servers))).json).toEqual({ max_concurrently_running: 8 });
  });
});
