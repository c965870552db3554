/** Task instances over the wire of the Python protocol: what swarm, distributor and worker send, and exactly what they read. */
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { call, serve, type Answered, type Served } from '../../test/serve';

const DATE = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/;
const UNKNOWN = 2_000_000_000;

describeOnDatabases('task instances of the Python protocol', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)] });
  });
  afterAll(() => served.close());

  const post = (path: string, body: unknown): Promise<Answered> =>
    call(served, 'POST', `/api/v3${path}?client_jobmon_version=3.6.0`, body, {});
  const ok = async (path: string, body: unknown): Promise<unknown> => {
    const answered = await post(path, body);
    expect([answered.status, answered.headers['content-type']]).toEqual([200, 'application/json; charset=utf-8']);
    return answered.json;
  };
  const get = (path: string): Promise<Answered> =>
    call(served, 'GET', `/api/v3${path}?client_jobmon_version=3.6.0`, undefined, {});
  const client = (more: WorkflowToInsert = {}): Promise<InsertedWorkflow> =>
    insertWorkflow(database(), { driver: 'client', ...more });
  const queued = (tasks = 3): Promise<InsertedWorkflow> => client({ tasks, task_status: 'Q', instance_status: 'Q' });
  const rows = (sql: string, params: (string | number)[] = []) => database().read<Record<string, never>>(sql, params);
  const instances = (made: InsertedWorkflow) =>
    rows(
      'SELECT ti.status, t.status AS task_status, ti.distributor_id, ti.submitted_date, ti.report_by_date FROM task_instance AS ti ' +
        'JOIN task AS t ON t.id = ti.task_id WHERE ti.workflow_run_id = ? ORDER BY ti.id',
      [made.workflow_run_id],
    );
  const statuses = async (made: InsertedWorkflow) =>
    (await instances(made)).map((row) => `${row.status}${row.task_status}`).join(' ');
  const set = (sql: string, params: (string | number)[] = []): Promise<void> =>
    database().write({ label: 'test' }, function* () {
      yield { sql, params };
    });

  it('E2 answers the current status of every task asked about and makes one batch', async () => {
    const made = await client({ tasks: 4, task_status: (at) => (at === 3 ? 'D' : at === 1 ? 'A' : 'G') });
    const other = await client({});
    const [a, b, c, d] = made.task_ids as [number, number, number, number];
    const body = {
      task_ids: [d, c, a, other.task_ids[0], UNKNOWN, b],
      task_resources_id: made.task_resources_id,
      workflow_run_id: made.workflow_run_id,
      cluster_id: 3,
    };
    const path = `/array/${made.array_id}/queue_task_batch`;
    const expected = { tasks_by_status: { D: [d], Q: [c, a, b], G: [other.task_ids[0]] } };
    expect(await ok(path, body)).toEqual(expected);
    expect(await ok(path, body)).toEqual(expected);
    const made_instances = await rows(
      'SELECT task_id, array_id, task_resources_id, array_batch_num, array_step_id, status, submitted_date, report_by_date ' +
        'FROM task_instance WHERE workflow_run_id = ? ORDER BY id',
      [made.workflow_run_id],
    );
    expect(made_instances).toEqual(
      [a, b, c].map((task_id, array_step_id) => ({
        task_id,
        array_id: made.array_id,
        task_resources_id: made.task_resources_id,
        array_batch_num: 1,
        array_step_id,
        status: 'Q',
        submitted_date: null,
        report_by_date: null,
      })),
    );
    const tasks = await rows('SELECT status, num_attempts FROM task WHERE workflow_id = ? ORDER BY id', [made.workflow_id]);
    expect(tasks.map((task) => `${task.status}${task.num_attempts}`)).toEqual(['Q1', 'Q1', 'Q1', 'D0']);
    expect(await ok(path, { ...body, task_ids: [] })).toEqual({ tasks_by_status: {} });
  });

  it('E2 refuses what is malformed or does not exist, and changes nothing then', async () => {
    const made = await client();
    const good = {
      task_ids: [...made.task_ids],
      task_resources_id: made.task_resources_id,
      workflow_run_id: made.workflow_run_id,
    };
    const path = `/array/${made.array_id}/queue_task_batch`;
    for (const [status, at, body] of [
      [400, path, { ...good, task_ids: undefined }],
      [400, path, { ...good, task_ids: 'all' }],
      [400, path, { ...good, task_ids: [-1] }],
      [400, path, { ...good, task_resources_id: null }],
      [400, path, { ...good, workflow_run_id: {} }],
      [400, path, [good]],
      [404, path, { ...good, workflow_run_id: UNKNOWN }],
      [404, path, { ...good, task_resources_id: UNKNOWN }],
      [404, `/array/${UNKNOWN}/queue_task_batch`, good],
      [422, '/array/x/queue_task_batch', good],
    ] as const) {
      expect([at, body, (await post(at, body)).status]).toEqual([at, body, status]);
    }
    expect(await instances(made)).toEqual([]);
  });

  it('E30 answers what this call took, grouped by array, batch and resources', async () => {
    const made = await queued();
    const path = '/task_instance/instantiate_task_instances';
    const name = (await rows('SELECT name FROM array WHERE id = ?', [made.array_id]))[0]?.name;
    const ids = [...made.task_instance_ids];
    const batch = [made.array_id, name, 1, made.task_resources_id, ids];
    expect(await ok(path, { task_instance_ids: ids })).toEqual({ task_instance_batches: [batch] });
    expect(await statuses(made)).toBe('II II II');
    expect(await ok(path, { task_instance_ids: ids })).toEqual({ task_instance_batches: [batch] });
    expect(await ok(path, { task_instance_ids: ids.slice(1) })).toEqual({ task_instance_batches: [] });
    expect(await ok(path, { task_instance_ids: [...ids, UNKNOWN] })).toEqual({ task_instance_batches: [] });
    expect(await ok(path, { task_instance_ids: [] })).toEqual({ task_instance_batches: [] });
    expect((await post(path, {})).status).toBe(400);
    expect((await post(path, { task_instance_ids: [1.5] })).status).toBe(400);
  });

  it('E3 launches what is in I and leaves what runs', async () => {
    const made = await client({
      tasks: 3,
      task_status: (at) => (['I', 'R', 'Q'] as const)[at]!,
      instance_status: (at) => (['I', 'R', 'Q'] as const)[at]!,
    });
    const path = `/array/${made.array_id}/transition_to_launched`;
    expect(await ok(path, { batch_number: 1, next_report_increment: 279.0 })).toEqual({});
    const [launched, running, waiting] = await instances(made);
    expect(launched).toEqual({
      status: 'O',
      task_status: 'O',
      distributor_id: null,
      submitted_date: expect.stringMatching(DATE),
      report_by_date: expect.stringMatching(DATE),
    });
    expect([running, waiting]).toEqual([
      { status: 'R', task_status: 'R', distributor_id: null, submitted_date: null, report_by_date: null },
      { status: 'Q', task_status: 'Q', distributor_id: null, submitted_date: null, report_by_date: null },
    ]);
    expect(await ok(path, { batch_number: 1, next_report_increment: 279 })).toEqual({});
    expect(await ok(path, { batch_number: 77, next_report_increment: '279.0' })).toEqual({});
    expect(await statuses(made)).toBe('OO RR QQ');
    expect((await post(`/array/${UNKNOWN}/transition_to_launched`, { batch_number: 1, next_report_increment: 1 })).status).toBe(
      404,
    );
    for (const wrong of [
      {},
      { batch_number: 1 },
      { batch_number: 1, next_report_increment: 'soon' },
      { batch_number: 0, next_report_increment: 9 },
    ]) {
      expect((await post(path, wrong)).status).toBe(400);
    }
  });

  it('E4 ends what was ordered to stop in the batch, its tasks with it', async () => {
    const made = await client({
      tasks: 4,
      task_status: (at) => (['O', 'R', 'R', 'G'] as const)[at]!,
      instance_status: (at) => (['K', 'K', 'R', 'K'] as const)[at]!,
    });
    const path = `/array/${made.array_id}/transition_to_killed`;
    expect(await ok(path, { batch_number: 1 })).toEqual({});
    expect(await statuses(made)).toBe('FF FF RR FG');
    expect(await ok(path, { batch_number: '1' })).toEqual({});
    expect(await ok(path, { batch_number: 2 })).toEqual({});
    expect((await post(path, {})).status).toBe(400);
    expect((await post(`/array/${UNKNOWN}/transition_to_killed`, { batch_number: 1 })).status).toBe(404);
  });

  it('E5 stores the map of its body, whatever else is in it', async () => {
    const made = await client({ tasks: 2, task_status: 'O', instance_status: 'O' });
    const other = await client({ task_status: 'O', instance_status: 'O' });
    const [a, b] = made.task_instance_ids as [number, number];
    const path = `/array/${made.array_id}/log_distributor_id`;
    const body = {
      [b]: '8_2',
      [a]: 81,
      [other.task_instance_ids[0]!]: 'theirs',
      [UNKNOWN]: '9',
      server_structlog_context: { telemetry_array_id: '3' },
    };
    expect(await ok(path, body)).toEqual({ success: true });
    expect(await ok(path, body)).toEqual({ success: true });
    expect((await instances(made)).map((row) => row.distributor_id)).toEqual(['81', '8_2']);
    expect((await instances(other)).map((row) => row.distributor_id)).toEqual([null]);
    expect(await ok(path, {})).toEqual({ success: true });
    expect((await post(path, { [a]: 'x'.repeat(21) })).status).toBe(400);
    expect((await post(path, { [a]: ['8'] })).status).toBe(400);
    expect((await post(path, { [a]: null })).status).toBe(400);
    expect((await post(`/array/${UNKNOWN}/log_distributor_id`, {})).status).toBe(404);
    expect((await instances(made)).map((row) => row.distributor_id)).toEqual(['81', '8_2']);
  });

  it('E19 answers by position, with the resources’ folders', async () => {
    const made = await client({ task_status: 'O', instance_status: 'O' });
    const [id] = made.task_instance_ids as [number];
    await set('UPDATE task_resources SET requested_resources = ? WHERE id = ?', ['{"stdout": "/logs"}', made.task_resources_id]);
    const body = { process_group_id: '24951', next_report_increment: 279.0, nodename: 'n1', distributor_id: '8_1' };
    const path = `/task_instance/${id}/log_running`;
    const tuple = (status: string) => [
      id,
      status,
      made.workflow_run_id,
      made.task_ids[0],
      'task_0',
      'echo 0',
      made.workflow_id,
      '/logs',
      null,
    ];
    expect(await ok(path, body)).toEqual({ task_instance: tuple('R') });
    expect(await ok(path, body)).toEqual({ task_instance: tuple('R') });
    expect(await ok(path, { ...body, process_group_id: 24952 })).toEqual({ task_instance: tuple('F') });
    for (const wrong of [
      { ...body, process_group_id: undefined },
      { ...body, process_group_id: null },
      { ...body, process_group_id: [] },
      { ...body, process_group_id: true },
      { ...body, next_report_increment: null },
      { ...body, next_report_increment: -1 },
      { ...body, distributor_id: {} },
      { ...body, nodename: 'n'.repeat(151) },
    ]) {
      expect([wrong, (await post(path, wrong)).status]).toEqual([wrong, 400]);
    }
    expect((await post(`/task_instance/${UNKNOWN}/log_running`, body)).status).toBe(404);
    expect((await post('/task_instance/x/log_running', body)).status).toBe(422);
  });

  it('E20, E22 and E23 answer the status that stands', async () => {
    const made = await client({ task_status: 'R', instance_status: 'R' });
    const path = `/task_instance/${made.task_instance_ids[0]}`;
    expect(await ok(`${path}/log_report_by`, { next_report_increment: 279.0, stdout: '/o' })).toEqual({ status: 'R' });
    const failed = { error_state: 'E', error_description: 'exit code 1', stdout_log: 'o', stderr_log: 'e', nodename: 'n1' };
    expect(await ok(`${path}/log_error_worker_node`, failed)).toEqual({ status: 'E' });
    expect(await ok(`${path}/log_error_worker_node`, failed)).toEqual({ status: 'E' });
    expect(await ok(`${path}/log_done`, {})).toEqual({ status: 'E' });
    expect(await ok(`${path}/log_report_by`, { next_report_increment: 9.3 })).toEqual({ status: 'E' });
    expect(await statuses(made)).toBe('EG');
    const errors = (await get(`${path}/task_instance_error_log`)).json as { task_instance_error_log: unknown[] };
    expect(errors).toEqual({ task_instance_error_log: [[expect.any(Number), expect.stringMatching(DATE), 'exit code 1']] });
    expect((await post(`${path}/log_error_worker_node`, { error_state: 'Q', error_description: '' })).status).toBe(400);
    expect((await post(`${path}/log_error_worker_node`, { error_state: 'E' })).status).toBe(400);
    expect((await post(`${path}/log_report_by`, {})).status).toBe(400);
  });

  it('E22 and E23 take texts of any length, NUL and half a character in it, and keep their last 10,000 characters', async () => {
    const made = await client({ tasks: 2, task_status: 'R', instance_status: 'R' });
    const long = `${'x'.repeat(1_048_576)}${'😀'.repeat(9_997)}\u0000\ud800!`;
    const kept = `${'😀'.repeat(9_997)}\u0000\ufffd!`;
    const [first, second] = made.task_instance_ids as [number, number];
    expect(await ok(`/task_instance/${first}/log_done`, { stdout_log: long, stderr_log: long })).toEqual({ status: 'D' });
    const failed = { error_state: 'E', error_description: long };
    expect(await ok(`/task_instance/${second}/log_error_worker_node`, failed)).toEqual({ status: 'E' });
    expect(await ok(`/task_instance/${second}/log_error_worker_node`, failed)).toEqual({ status: 'E' });
    const [row] = await rows('SELECT stdout_log FROM task_instance WHERE id = ?', [first]);
    expect(row?.stdout_log).toBe(kept);
    const { json } = await get(`/task_instance/${second}/task_instance_error_log`);
    expect(json).toEqual({ task_instance_error_log: [[expect.any(Number), expect.any(String), kept]] });
  });

  it('E21 moves the deadline of those in O; without ids the answer is null', async () => {
    const made = await client({
      tasks: 2,
      task_status: (at) => (at === 0 ? 'O' : 'R'),
      instance_status: (at) => (at === 0 ? 'O' : 'R'),
    });
    const path = '/task_instance/log_report_by/batch';
    const ids = [...made.task_instance_ids, UNKNOWN];
    expect(await ok(path, { next_report_increment: 279.0, task_instance_ids: ids })).toEqual({});
    expect((await instances(made)).map((row) => row.report_by_date)).toEqual([expect.stringMatching(DATE), null]);
    for (const none of [{}, { task_instance_ids: [] }, { task_instance_ids: null }]) {
      const answered = await post(path, { next_report_increment: 279, ...none });
      expect([answered.status, answered.text]).toEqual([200, 'null']);
      expect(answered.headers['content-type']).toContain('application/json');
    }
    expect((await post(path, { task_instance_ids: ids })).status).toBe(400);
    expect((await post(path, { next_report_increment: 9, task_instance_ids: { 1: 2 } })).status).toBe(400);
  });

  it('E24 answers an empty list for an instance without errors, 404 for none', async () => {
    const made = await queued(1);
    expect((await get(`/task_instance/${made.task_instance_ids[0]}/task_instance_error_log`)).json).toEqual({
      task_instance_error_log: [],
    });
    expect((await get(`/task_instance/${UNKNOWN}/task_instance_error_log`)).status).toBe(404);
    expect((await get('/task_instance/x/task_instance_error_log')).status).toBe(422);
  });

  it('E25 finds the instance at a step, steps counted from 0', async () => {
    const made = await queued();
    for (const [step, task_instance_id] of made.task_instance_ids.entries()) {
      const answered = await get(`/get_array_task_instance_id/${made.array_id}/1/${step}`);
      expect([answered.status, answered.json]).toEqual([200, { task_instance_id }]);
    }
    const missing = await get(`/get_array_task_instance_id/${made.array_id}/1/3`);
    expect([missing.status, missing.json]).toMatchObject([
      404,
      { error: { exception_message: expect.any(String), status_code: '404' } },
    ]);
    for (const wrong of ['x/1/0', `${made.array_id}/x/0`, `${made.array_id}/1/-1`, `${made.array_id}/1/99999999999`]) {
      expect([wrong, (await get(`/get_array_task_instance_id/${wrong}`)).status]).toEqual([wrong, 422]);
    }
  });

  it('E26 makes W of what could not be submitted, with one error row for each text', async () => {
    const made = await client({ task_status: 'I', instance_status: 'I', max_attempts: 1 });
    const path = `/task_instance/${made.task_instance_ids[0]}/log_no_distributor_id`;
    expect(await ok(path, { no_id_err_msg: 'Traceback' })).toEqual({ message: '' });
    expect(await ok(path, { no_id_err_msg: 'Traceback' })).toEqual({ message: expect.stringMatching(/./) });
    expect(await statuses(made)).toBe('WF');
    const errors = (await get(`/task_instance/${made.task_instance_ids[0]}/task_instance_error_log`)).json;
    expect(errors).toEqual({ task_instance_error_log: [[expect.any(Number), expect.any(String), 'Traceback']] });
    expect((await post(path, {})).status).toBe(400);
    expect((await post(`/task_instance/${UNKNOWN}/log_no_distributor_id`, { no_id_err_msg: 'x' })).status).toBe(404);
  });

  it('E27 launches one instance, and takes the id of one that has run or ended', async () => {
    const body = { distributor_id: '12', next_report_increment: 279.0 };
    for (const [from, becomes] of [
      ['I', 'OO'],
      ['R', 'RR'],
      ['D', 'DD'],
      ['E', 'EG'],
      ['F', 'FF'],
    ] as const) {
      const task_status = from === 'E' ? 'G' : from;
      const made = await client({ task_status, instance_status: from });
      const answer = await ok(`/task_instance/${made.task_instance_ids[0]}/log_distributor_id`, body);
      expect(answer).toEqual({ message: expect.any(String) });
      expect(await ok(`/task_instance/${made.task_instance_ids[0]}/log_distributor_id`, body)).toEqual({
        message: expect.any(String),
      });
      expect(await statuses(made)).toBe(becomes);
      expect(await instances(made)).toMatchObject([{ distributor_id: '12', report_by_date: expect.stringMatching(DATE) }]);
      for (const wrong of [{ ...body, distributor_id: 'x'.repeat(21) }, { distributor_id: '1' }, { next_report_increment: 1 }]) {
        expect((await post(`/task_instance/${made.task_instance_ids[0]}/log_distributor_id`, wrong)).status).toBe(400);
      }
    }
  });

  it('E28 stores where the job ran, and an error row only with a move', async () => {
    const made = await client({ task_status: 'O', instance_status: 'X' });
    const path = `/task_instance/${made.task_instance_ids[0]}/log_known_error`;
    const body = { error_state: 'E', error_message: 'never heard of', distributor_id: '7', nodename: 'n3' };
    expect(await ok(path, { ...body, error_state: 'Z', nodename: null })).toEqual({ message: expect.stringMatching(/./) });
    expect(await statuses(made)).toBe('XO');
    expect(await ok(path, body)).toEqual({ message: '' });
    expect(await ok(path, body)).toEqual({ message: expect.stringMatching(/./) });
    expect(await ok(path, { ...body, error_message: 'another text' })).toEqual({ message: expect.stringMatching(/./) });
    expect(await statuses(made)).toBe('EG');
    expect(await rows('SELECT nodename, distributor_id FROM task_instance WHERE id = ?', [made.task_instance_ids[0]!])).toEqual([
      { nodename: 'n3', distributor_id: '7' },
    ]);
    const errors = (await get(`/task_instance/${made.task_instance_ids[0]}/task_instance_error_log`)).json;
    expect(errors).toEqual({ task_instance_error_log: [[expect.any(Number), expect.any(String), 'never heard of']] });
    for (const wrong of [
      { error_state: 'E' },
      { error_message: 'x' },
      { ...body, error_state: 'N' },
      { ...body, error_message: {} },
    ]) {
      expect((await post(path, wrong)).status).toBe(400);
    }
    expect((await post(`/task_instance/${UNKNOWN}/log_known_error`, body)).status).toBe(404);
  });

  it('E28 takes what a plug-in says that is no failure, a job that still runs above all, and does nothing', async () => {
    const made = await client({ task_status: 'R', instance_status: 'T' });
    const [id] = made.task_instance_ids as [number];
    for (const error_state of ['R', 'D', 'K', 'W', 'Q']) {
      const answer = await ok(`/task_instance/${id}/log_known_error`, { error_state, error_message: 'still there' });
      expect(answer).toEqual({ message: expect.stringMatching(/stands at T/) });
    }
    expect(await statuses(made)).toBe('TR');
    expect((await get(`/task_instance/${id}/task_instance_error_log`)).json).toEqual({ task_instance_error_log: [] });
  });

  it('E29 gives up what is overdue, and leaves what was heard of again (race 39)', async () => {
    const made = await client({ task_status: 'R', instance_status: 'T' });
    const [id] = made.task_instance_ids as [number];
    const path = `/task_instance/${id}/log_unknown_error`;
    const body = { error_state: 'U', error_message: 'nobody knows' };
    const { now, nowPlusSeconds } = database().dialect;
    await set(`UPDATE task_instance SET report_by_date = ${nowPlusSeconds} WHERE id = ?`, [60, id]);
    expect(await ok(path, body)).toEqual({ message: expect.stringMatching(/./) });
    expect(await statuses(made)).toBe('TR');
    await set(`UPDATE task_instance SET report_by_date = ${now} WHERE id = ?`, [id]);
    expect(await ok(path, body)).toEqual({ message: '' });
    expect(await ok(path, body)).toEqual({ message: expect.stringMatching(/./) });
    expect(await statuses(made)).toBe('UG');
    const errors = (await get(`/task_instance/${id}/task_instance_error_log`)).json;
    expect(errors).toEqual({ task_instance_error_log: [[expect.any(Number), expect.any(String), 'nobody knows']] });
    expect((await post(path, {})).status).toBe(400);
  });

  it('E60 answers the difference to what the distributor holds', async () => {
    const letters = ['Q', 'Q', 'I', 'D', 'E'] as const;
    const made = await client({ tasks: 5, task_status: 'R', instance_status: (at) => letters[at]! });
    const other = await queued(1);
    const [q1, q2, i, d, e] = made.task_instance_ids as [number, number, number, number, number];
    const path = `/workflow_run/${made.workflow_run_id}/sync_status`;
    const ask = async (status: string, task_instance_ids: unknown[]) => {
      const answer = (await ok(path, { status, task_instance_ids })) as { status_updates: unknown; time: string };
      expect(answer).toEqual({ status_updates: expect.anything(), time: expect.stringMatching(DATE) });
      return answer.status_updates;
    };
    expect(await ask('Q', [])).toEqual({ Q: [q1, q2] });
    expect(await ask('Q', [q2, q1])).toEqual({});
    expect(await ask('Q', [q2])).toEqual({ Q: [q1] });
    expect(await ask('R', [e, d, String(i), q1])).toEqual({ Q: [q1], I: [i], D: [d], E: [e] });
    expect(await ask('Q', [q1, q2, q1, d, other.task_instance_ids[0], UNKNOWN])).toEqual({ D: [d] });
    expect(await ask('K', [])).toEqual({});
    expect((await post(`/workflow_run/${UNKNOWN}/sync_status`, { status: 'Q', task_instance_ids: [] })).status).toBe(404);
    for (const wrong of [
      { status: 'Q' },
      { task_instance_ids: [] },
      { status: 'J', task_instance_ids: [] },
      { status: 'Q', task_instance_ids: 'x' },
    ]) {
      expect((await post(path, wrong)).status).toBe(400);
    }
  });

  it('E60 pages through more than one read brings', async () => {
    const made = await client({ tasks: 10_500, task_status: 'O', instance_status: 'O' });
    const path = `/workflow_run/${made.workflow_run_id}/sync_status`;
    const ids = [...made.task_instance_ids];
    const sorted = [...ids].sort((a, b) => a - b);
    expect(((await ok(path, { status: 'O', task_instance_ids: [] })) as { status_updates: unknown }).status_updates).toEqual({
      O: sorted,
    });
    expect(((await ok(path, { status: 'O', task_instance_ids: ids })) as { status_updates: unknown }).status_updates).toEqual({});
    expect(((await ok(path, { status: 'R', task_instance_ids: ids })) as { status_updates: unknown }).status_updates).toEqual({
      O: sorted,
    });
  });

  it('E61 answers an empty object and marks what is silent', async () => {
    const made = await client({ tasks: 2, task_status: 'R', instance_status: 'R' });
    const { nowPlusSeconds } = database().dialect;
    await set(`UPDATE task_instance SET report_by_date = ${nowPlusSeconds} WHERE id = ?`, [-1, made.task_instance_ids[0]!]);
    await set(`UPDATE task_instance SET report_by_date = ${nowPlusSeconds} WHERE id = ?`, [60, made.task_instance_ids[1]!]);
    const path = `/workflow_run/${made.workflow_run_id}/set_status_for_triaging`;
    expect(await ok(path, {})).toEqual({});
    expect(await statuses(made)).toBe('TR RR');
    expect(await ok(path, undefined)).toEqual({});
    expect((await post(`/workflow_run/${UNKNOWN}/set_status_for_triaging`, {})).status).toBe(404);
    expect((await post('/workflow_run/x/set_status_for_triaging', {})).status).toBe(422);
  });

  it('E2 to E5, E19 to E23, E26 to E30 and E61 change nothing on a run that the server drives (design rule 5.7)', async () => {
    const letters = ['Q', 'I', 'O', 'R', 'T', 'K', 'X'] as const;
    const tasks = ['Q', 'I', 'O', 'R', 'R', 'R', 'O'] as const;
    const made = await insertWorkflow(database(), {
      tasks: 8,
      task_status: (at) => tasks[at] ?? 'G',
      instance_status: (at) => letters[at] ?? 'E',
    });
    await set(
      `UPDATE task_instance SET report_by_date = ${database().dialect.nowPlusSeconds}, status_date = '2020-01-01 00:00:00' WHERE workflow_run_id = ?`,
      [-1, made.workflow_run_id],
    );
    const before = await rows('SELECT * FROM task_instance WHERE workflow_run_id = ? ORDER BY id', [made.workflow_run_id]);
    const tasksBefore = await rows('SELECT * FROM task WHERE workflow_id = ? ORDER BY id', [made.workflow_id]);
    const { array_id, task_resources_id, workflow_run_id } = made;
    expect(
      await ok(`/array/${array_id}/queue_task_batch`, { task_ids: [made.task_ids[7]], task_resources_id, workflow_run_id }),
    ).toEqual({
      tasks_by_status: { G: [made.task_ids[7]] },
    });
    await ok(`/array/${array_id}/transition_to_launched`, { batch_number: 1, next_report_increment: 9 });
    await ok(`/array/${array_id}/transition_to_killed`, { batch_number: 1 });
    await ok(`/array/${array_id}/log_distributor_id`, Object.fromEntries(made.task_instance_ids.map((id) => [id, '1'])));
    expect(await ok('/task_instance/instantiate_task_instances', { task_instance_ids: made.task_instance_ids })).toEqual({
      task_instance_batches: [],
    });
    await ok('/task_instance/log_report_by/batch', { next_report_increment: 9, task_instance_ids: made.task_instance_ids });
    await ok(`/workflow_run/${workflow_run_id}/set_status_for_triaging`, {});
    for (const id of made.task_instance_ids) {
      const path = `/task_instance/${id}`;
      await ok(`${path}/log_running`, { process_group_id: 1, next_report_increment: 9, nodename: 'n' });
      await ok(`${path}/log_report_by`, { next_report_increment: 9, stdout: '/o' });
      await ok(`${path}/log_no_distributor_id`, { no_id_err_msg: 'x' });
      await ok(`${path}/log_distributor_id`, { distributor_id: '1', next_report_increment: 9 });
      await ok(`${path}/log_known_error`, { error_state: 'E', error_message: 'x', nodename: 'n' });
      await ok(`${path}/log_unknown_error`, { error_state: 'U', error_message: 'x' });
      await ok(`${path}/log_error_worker_node`, { error_state: 'F', error_description: 'x' });
      await ok(`${path}/log_done`, { stdout_log: 'x' });
    }
    expect(await rows('SELECT * FROM task_instance WHERE workflow_run_id = ? ORDER BY id', [workflow_run_id])).toEqual(before);
    expect(await rows('SELECT * FROM task WHERE workflow_id = ? ORDER BY id', [made.workflow_id])).toEqual(tasksBefore);
  });
});
