/** What is asked about some tasks: their newest error, what waits for them, what they used. */
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow } from '@jobmon/testkit';
import { call, serve, type Served } from '../../test/serve';

describeOnDatabases('questions about tasks of the Python protocol', (database) => {
  let served: Served;
  /** Three tasks in a row, and one beside them; each with an attempt. */
  let own: InsertedWorkflow;
  beforeAll(async () => {
    served = await serve(database());
    own = await insertWorkflow(database(), {
      driver: 'client',
      tasks: 4,
      upstreams: (position) => (position === 1 || position === 2 ? [position - 1, 3] : []),
      instance_status: 'E',
    });
  });
  afterAll(() => served.close());

  const get = (path: string) => call(served, 'GET', `/api/v3${path}`);
  const write = (sql: string, ...params: (string | number | null)[]) => database().change(sql, ...params);
  let step = 0;
  /** Another attempt of a task. */
  const attempt = (position: number, status: string, nodename: string, wallclock: string | null, maxrss: string | null) =>
    write(
      `INSERT INTO task_instance (workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, status,
         nodename, wallclock, maxrss) VALUES (?, ?, ?, ?, 2, ?, ?, ?, ?, ?)`,
      ...[own.workflow_run_id, own.array_id, own.task_ids[position]!, own.task_resources_id, step++],
      ...[status, nodename, wallclock, maxrss],
    );
  const error = (task_instance_id: number, description: string) =>
    write(
      'INSERT INTO task_instance_error_log (task_instance_id, error_time, description) VALUES (?, NULL, ?)',
      task_instance_id,
      description,
    );

  it('E17 answers the newest error of the newest attempt that has any', async () => {
    const path = `/task/${own.task_ids[0]}/most_recent_ti_error`;
    expect((await get(path)).json).toEqual({ error_description: '', task_instance_id: null });
    const first = own.task_instance_ids[0]!;
    const second = await attempt(0, 'E', 'n', null, null);
    await error(second, 'first word of the second');
    await error(second, 'last word of the second \u{1F40D}');
    await error(first, 'a late word of the first');
    await attempt(0, 'E', 'n', null, null);
    const answered = await get(path);
    expect([answered.status, answered.json]).toEqual([
      200,
      { error_description: 'last word of the second \u{1F40D}', task_instance_id: second },
    ]);
    expect((await get(`/task/${own.task_ids[1]}/most_recent_ti_error`)).json).toEqual({
      error_description: '',
      task_instance_id: null,
    });
  });

  it('L2 answers what the newest attempt that is D used, and nulls when none is', async () => {
    const path = `/task_resource_usage?task_id=${own.task_ids[1]}&client_jobmon_version=3.6.0`;
    expect((await get(path)).json).toEqual({ resource_usage: [null, null, null, null] });
    await attempt(1, 'D', 'node-1', '12', '50844672');
    await attempt(1, 'D', 'node-2', '13', null);
    await attempt(1, 'E', 'node-3', '14', '1');
    const answered = await get(path);
    expect([answered.status, answered.json]).toEqual([200, { resource_usage: [1, 'node-2', '13', null] }]);
  });

  it('E17 L2 do not know a task that is not there, and want an id', async () => {
    expect((await get('/task/2000000000/most_recent_ti_error')).status).toBe(404);
    expect((await get('/task_resource_usage?task_id=2000000000')).status).toBe(404);
    expect((await get('/task/x/most_recent_ti_error')).status).toBe(422);
    expect((await get('/task_resource_usage?task_id=x')).status).toBe(422);
    const missing = await get('/task_resource_usage');
    expect([missing.status, missing.json.detail[0].loc]).toEqual([422, ['query', 'task_id']]);
  });

  const ask = (version: string, body: unknown) => call(served, 'POST', `/api/v3/task/get_downstream_tasks${version}`, body);

  it('L1 answers what waits for each task, as a list or, for elder clients, as its text', async () => {
    const { dag_id, node_ids, task_ids } = own;
    const [first, second, third, beside] = node_ids as [number, number, number, number];
    const lists = { '0': [second], '1': [third], '2': null, '3': [second, third] };
    const answerWith = (form: (ids: number[]) => unknown) => ({
      downstream_tasks: Object.fromEntries(
        Object.entries(lists).map(([at, ids]) => [
          task_ids[Number(at)],
          [[first, second, third, beside][Number(at)], ids && form(ids)],
        ]),
      ),
    });
    const asLists = answerWith((ids) => ids);
    const asText = answerWith((ids) => `[${ids.join(', ')}]`);
    for (const version of ['3.4.24', '3.5', '3.6.0', '4.0.0', '3.10.0', '3.4.8.dev3', '3.1.0+stage']) {
      const { status, json } = await ask(`?client_jobmon_version=${version}`, { task_ids, dag_id });
      expect([version, status, json]).toEqual([version, 200, asLists]);
    }
    for (const version of [
      '?client_jobmon_version=3.4.23',
      '?client_jobmon_version=3.3.0',
      '?client_jobmon_version=2.9.9',
      '?client_jobmon_version=3.4',
      '?client_jobmon_version=x',
      '?client_jobmon_version=',
      '?client_jobmon_version=3.6&client_jobmon_version=3.6',
      '',
    ]) {
      const { status, json } = await ask(version, { task_ids: task_ids.map(String), dag_id: String(dag_id) });
      expect([version, status, json]).toEqual([version, 200, asText]);
    }
    expect((await ask('', { task_ids: [], dag_id })).json).toEqual({ downstream_tasks: {} });
  });

  it('L1 reads the lists of elder rows: null, empty, and text of their text', async () => {
    const { dag_id, node_ids, task_ids } = await insertWorkflow(database(), { driver: 'client', tasks: 6 });
    const forms = [null, 'null', '[]', '[7, 8]', JSON.stringify('[7, 8]'), JSON.stringify(JSON.stringify('[7, 8]'))];
    for (const [at, form] of forms.entries()) {
      await write('UPDATE edge SET downstream_node_ids = ? WHERE dag_id = ? AND node_id = ?', form, dag_id, node_ids[at]!);
    }
    const { json } = await ask('?client_jobmon_version=3.6.0', { task_ids, dag_id });
    expect(task_ids.map((id) => json.downstream_tasks[id][1])).toEqual([null, null, null, [7, 8], [7, 8], [7, 8]]);
    await write('DELETE FROM edge WHERE dag_id = ? AND node_id = ?', dag_id, node_ids[0]!);
    expect((await ask('?client_jobmon_version=3.6.0', { task_ids: [task_ids[0]], dag_id })).json).toEqual({
      downstream_tasks: { [task_ids[0]!]: [node_ids[0], null] },
    });
  });

  it('L1 does not know a graph or a task that is not there, nor a task of another graph', async () => {
    const other = await insertWorkflow(database(), { driver: 'client' });
    const { dag_id, task_ids } = own;
    expect((await ask('', { task_ids, dag_id: 2_000_000_000 })).status).toBe(404);
    expect((await ask('', { task_ids: [...task_ids, 2_000_000_000], dag_id })).status).toBe(404);
    expect((await ask('', { task_ids: [...task_ids, ...other.task_ids], dag_id })).status).toBe(404);
    for (const body of [
      { task_ids },
      { dag_id },
      { task_ids: 7, dag_id },
      { task_ids: ['x'], dag_id },
      { task_ids: null, dag_id },
    ]) {
      expect((await ask('', body)).status).toBe(400);
    }
  });
});
