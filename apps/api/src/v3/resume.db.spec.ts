/** Resume over HTTP on both databases: runs told to stop, their attempts settled, tasks made ready in pieces that are joined and gone on with. */
import { continueCommand, type TaskInstanceStatus, type TaskStatus } from '@jobmon/contracts';
import { send } from '@jobmon/messaging';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases, insertWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { call, serve, type Answered, type Served } from '../../test/serve';

/** Every live status of an attempt with the status of its task. */
const LIVE: readonly (readonly [TaskInstanceStatus, TaskStatus])[] = [
  ['Q', 'Q'],
  ['I', 'I'],
  ['O', 'O'],
  ['R', 'R'],
  ['T', 'R'],
  ['X', 'O'],
  ['K', 'R'],
];

describeOnDatabases('resume', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)] });
  });
  afterAll(() => served.close());

  const get = (path: string): Promise<Answered> => call(served, 'GET', `/api/v3/${path}`, undefined, {});
  const post = (path: string, body: unknown = {}): Promise<Answered> => call(served, 'POST', `/api/v3/${path}`, body, {});
  const put = (path: string, body: unknown = {}): Promise<Answered> => call(served, 'PUT', `/api/v3/${path}`, body, {});
  const insert = (more: WorkflowToInsert = {}) => insertWorkflow(database(), { driver: 'client', ...more });
  const live = (more: WorkflowToInsert = {}) =>
    insert({
      tasks: LIVE.length,
      instance_status: (at) => LIVE[at]![0],
      task_status: (at) => LIVE[at]![1],
      ...more,
    });
  const one = async (sql: string) => Object.values((await database().read(sql))[0]!)[0];
  const stands = async (made: { workflow_id: number; workflow_run_id: number }) =>
    `${await one(`SELECT status FROM workflow_run WHERE id = ${made.workflow_run_id}`)} ` +
    `${await one(`SELECT status FROM workflow WHERE id = ${made.workflow_id}`)}`;
  /** `attempt task` of each task by position. */
  const attempts = async (workflow_id: number) =>
    (
      await database().read<{ ti: string; t: string }>(
        `SELECT ti.status AS ti, t.status AS t FROM task_instance AS ti JOIN task AS t ON t.id = ti.task_id
          WHERE t.workflow_id = ${workflow_id} ORDER BY ti.id`,
      )
    ).map(({ ti, t }) => `${ti} ${t}`);
  const errors = async (workflow_id: number) =>
    Number(
      await one(
        `SELECT COUNT(*) FROM task_instance_error_log AS e JOIN task_instance AS ti ON ti.id = e.task_instance_id
           JOIN task AS t ON t.id = ti.task_id WHERE t.workflow_id = ${workflow_id}`,
      ),
    );
  /** Tasks by status as they stand, and as they are counted. */
  const counts = async (workflow_id: number) => {
    const read = async (sql: string) =>
      (await database().read<{ status: string; n: number }>(sql)).map(({ status, n }) => `${Number(n)} ${status}`).join(', ');
    return [
      await read(`SELECT status, COUNT(*) AS n FROM task WHERE workflow_id = ${workflow_id} GROUP BY status ORDER BY status`),
      await read(
        `SELECT status, SUM(n) AS n FROM task_status_count WHERE workflow_id = ${workflow_id} GROUP BY status HAVING SUM(n) <> 0 ORDER BY status`,
      ),
    ];
  };
  /** Factories write no counts: those that stand become the first. */
  const countTasks = (workflow_id: number) =>
    database().write({ label: 'test' }, function* () {
      yield {
        sql: `INSERT INTO task_status_count (workflow_id, array_id, status, writer, n)
              SELECT workflow_id, array_id, status, 'test', COUNT(*) FROM task WHERE workflow_id = ? GROUP BY workflow_id, array_id, status`,
        params: [workflow_id],
      };
    });

  it.each([
    ['B', 'Q', true, 'C'],
    ['I', 'I', true, 'C'],
    ['O', 'O', false, 'H'],
    ['R', 'R', true, 'C'],
    ['R', 'R', false, 'H'],
    ['L', 'G', true, 'L'],
    ['C', 'R', false, 'C'],
    ['E', 'F', true, 'E'],
  ] as const)(
    'E44 a run in %s (workflow in %s, cold: %s) is told: %s (race 43)',
    async (run_status, workflow_status, cold, expected) => {
      const made = await insert({ run_status, workflow_status });
      const answers = await Promise.all(
        Array.from({ length: 8 }, () => post(`workflow/${made.workflow_id}/set_resume`, { reset_running_jobs: cold })),
      );
      expect(answers.map(({ status, text }) => `${status} ${text}`)).toEqual(Array(8).fill('200 {}'));
      expect(await stands(made)).toBe(`${expected} ${workflow_status}`);
    },
  );

  it('E44 stops a run that the server drives too, answers an unknown workflow alike, and refuses what is malformed', async () => {
    const made = await insertWorkflow(database(), { driver: 'server' });
    expect((await post(`workflow/${made.workflow_id}/set_resume`, { reset_running_jobs: true })).text).toBe('{}');
    expect(await stands(made)).toBe('C R');
    expect((await post('workflow/2000000000/set_resume', { reset_running_jobs: true })).text).toBe('{}');
    expect((await post(`workflow/${made.workflow_id}/set_resume`)).status).toBe(400);
    expect((await post(`workflow/${made.workflow_id}/set_resume`, { reset_running_jobs: 'x' })).status).toBe(400);
  });

  it('E44 leaves a starting run no more than 93 s for the next sign of its client (race 44)', async () => {
    const made = await insert({ run_status: 'B', workflow_status: 'Q', deadline_seconds: 273 });
    await post(`workflow/${made.workflow_id}/set_resume`, { reset_running_jobs: true });
    const { now } = database().dialect;
    const [row] = await database().read<{ heartbeat_date: string; now: string }>(
      `SELECT heartbeat_date, ${now} AS now FROM workflow_run WHERE id = ${made.workflow_run_id}`,
    );
    expect((Date.parse(row!.heartbeat_date) - Date.parse(row!.now)) / 1000).toBeLessThanOrEqual(93);
  });

  it.each(['L', 'B', 'I', 'O', 'R', 'C', 'H'] as const)('E45 a run in %s holds its workflow (race 43)', async (run_status) => {
    const { workflow_id } = await insert({ run_status });
    const { status, json } = await get(`workflow/${workflow_id}/is_resumable`);
    expect([status, json]).toEqual([200, { workflow_is_resumable: false, pending_kill_self: 0 }]);
  });

  it('E45 is true when no run holds the workflow and it is bound, and counts K over all runs', async () => {
    const { workflow_id } = await insert({
      run_status: 'T',
      workflow_status: 'H',
      tasks: 3,
      instance_status: (at) => (at ? 'K' : 'R'),
    });
    expect((await get(`workflow/${workflow_id}/is_resumable`)).json).toEqual({
      workflow_is_resumable: true,
      pending_kill_self: 2,
    });
    await database().write({ label: 'test' }, function* () {
      yield { sql: `UPDATE workflow SET created_date = NULL WHERE id = ${workflow_id}` };
    });
    expect((await get(`workflow/${workflow_id}/is_resumable`)).json).toEqual({
      workflow_is_resumable: false,
      pending_kill_self: 2,
    });
    const unknown = await get('workflow/2000000000/is_resumable');
    expect([unknown.status, unknown.json.detail]).toEqual([404, 'there is no workflow 2000000000']);
    expect((await get('workflow/x/is_resumable')).status).toBe(422);
  });

  it.each([
    ['C', ['F F', 'F F', 'K O', 'K R', 'K R', 'K O', 'K R'], 6],
    ['H', ['F F', 'F F', 'K O', 'R R', 'K R', 'K O', 'K R'], 5],
    ['R', ['F F', 'F F', 'K O', 'K R', 'K R', 'K O', 'K R'], 6],
  ] as const)(
    'E57 settles the attempts of a run in %s with their tasks, once (races 26, 30, 32)',
    async (run_status, expected, num_terminated) => {
      const made = await live({ run_status });
      await countTasks(made.workflow_id);
      const other = await live({ run_status });
      const path = `workflow_run/${made.workflow_run_id}/terminate_task_instances`;
      const answers = await Promise.all(Array.from({ length: 8 }, () => put(path)));
      for (const { status, json } of answers) {
        expect([status, json]).toEqual([200, { workflow_run_id: made.workflow_run_id, num_terminated: expect.any(Number) }]);
      }
      expect(answers.reduce((sum, { json }) => sum + json.num_terminated, 0)).toBe(num_terminated);
      expect(await attempts(made.workflow_id)).toEqual(expected);
      expect(await errors(made.workflow_id)).toBe(num_terminated);
      expect(await attempts(other.workflow_id)).toEqual(LIVE.map((pair) => pair.join(' ')));
      const [truth, counted] = await counts(made.workflow_id);
      expect(counted).toBe(truth);
    },
  );

  it('E57 that comes when the run has ended leaves alone what a hot resume let run (race 44)', async () => {
    const made = await live({ run_status: 'H' });
    const terminate = () => put(`workflow_run/${made.workflow_run_id}/terminate_task_instances`);
    await terminate();
    await post(`workflow/${made.workflow_id}/force_cleanup_kill_self`);
    expect(await stands(made)).toBe('T H');
    const before = await attempts(made.workflow_id);
    expect(before[3]).toBe('R R');
    // Its client was told H by its last heartbeat, and knows of nothing else yet.
    const late = await Promise.all([terminate(), terminate()]);
    expect(late.map(({ status, json }) => [status, json.num_terminated])).toEqual([
      [200, 0],
      [200, 0],
    ]);
    expect(await attempts(made.workflow_id)).toEqual(before);
  });

  it('E57 does 2,300 attempts in pieces, none of a server run, and knows no unknown run', async () => {
    const made = await insert({ run_status: 'C', tasks: 2_300, instance_status: 'O', task_status: 'O' });
    const { json } = await put(`workflow_run/${made.workflow_run_id}/terminate_task_instances`);
    expect(json).toEqual({ workflow_run_id: made.workflow_run_id, num_terminated: 2_300 });
    const server = await insertWorkflow(database(), { driver: 'server', instance_status: 'R', task_status: 'R' });
    expect((await put(`workflow_run/${server.workflow_run_id}/terminate_task_instances`)).json).toMatchObject({
      num_terminated: 0,
    });
    expect((await put('workflow_run/2000000000/terminate_task_instances')).status).toBe(404);
  });

  it('E46 ends what was told to stop, attempts and runs, and finds nothing the second time (races 26, 44)', async () => {
    const made = await live({ run_status: 'C' });
    await countTasks(made.workflow_id);
    const path = `workflow/${made.workflow_id}/force_cleanup_kill_self`;
    const { status, json } = await post(path);
    expect([status, json]).toEqual([200, { num_cleaned_up: 1, num_workflow_runs_finalized: 1 }]);
    expect((await attempts(made.workflow_id)).at(-1)).toBe('F F');
    expect(await stands(made)).toBe('T H');
    expect(await errors(made.workflow_id)).toBe(1);
    expect((await post(path)).json).toEqual({ num_cleaned_up: 0, num_workflow_runs_finalized: 0 });
    const [truth, counted] = await counts(made.workflow_id);
    expect(counted).toBe(truth);
    expect((await post('workflow/2000000000/force_cleanup_kill_self')).status).toBe(404);
  });

  it('E46 closes an attempt whose task was reset, and leaves what the server drives (race 46)', async () => {
    const reset = await insert({ run_status: 'E', workflow_status: 'F', instance_status: 'K', task_status: 'G' });
    expect((await post(`workflow/${reset.workflow_id}/force_cleanup_kill_self`)).json).toMatchObject({ num_cleaned_up: 1 });
    expect(await attempts(reset.workflow_id)).toEqual(['F G']);
    const server = await insertWorkflow(database(), { driver: 'server', instance_status: 'K', task_status: 'R' });
    const { json } = await post(`workflow/${server.workflow_id}/force_cleanup_kill_self`);
    expect([json, await stands(server)]).toEqual([{ num_cleaned_up: 0, num_workflow_runs_finalized: 0 }, 'R R']);
  });

  it('E18 resets all but D, hot all but what runs too (races 28, 30, 53)', async () => {
    for (const reset_if_running of [false, true]) {
      // What a run that failed fast, timed out or was stopped leaves behind stands until the next run is asked for.
      const made = await live({ run_status: 'S', workflow_status: 'F' });
      await countTasks(made.workflow_id);
      const { status, json } = await post(`task/${made.workflow_id}/set_resume_state`, { reset_if_running });
      expect([status, json]).toEqual([200, {}]);
      const running = reset_if_running ? 'K G' : 'R R';
      expect(await attempts(made.workflow_id)).toEqual(['F G', 'F G', 'K G', running, 'K G', 'K G', 'K G']);
      const [truth, counted] = await counts(made.workflow_id);
      expect(counted).toBe(truth);
      expect((await post(`task/${made.workflow_id}/set_resume_state`, { reset_if_running })).json).toEqual({});
      expect(await attempts(made.workflow_id)).toEqual(['F G', 'F G', 'K G', running, 'K G', 'K G', 'K G']);
    }
  });

  it('E18 is refused in words while a run is live or the workflow is not bound; unknown is 404', async () => {
    const made = await live({ run_status: 'R' });
    const { status, json } = await post(`task/${made.workflow_id}/set_resume_state`, { reset_if_running: true });
    expect([status, json]).toEqual([200, { err_msg: expect.stringMatching(/held by its run/) }]);
    expect(await attempts(made.workflow_id)).toEqual(LIVE.map((pair) => pair.join(' ')));
    expect((await post('task/2000000000/set_resume_state', { reset_if_running: true })).status).toBe(404);
    expect((await post(`task/${made.workflow_id}/set_resume_state`)).status).toBe(400);
  });

  it('E18 does 3,500 tasks in pieces, under a row that says so, eight callers together, each task once', async () => {
    const made = await insert({ tasks: 3_500, run_status: 'E', workflow_status: 'F', instance_status: 'R', task_status: 'R' });
    const { workflow_id } = made;
    await countTasks(workflow_id);
    const rows: unknown[] = [];
    const { write } = database();
    const pieces = jest.spyOn(database(), 'write').mockImplementation(async (options, procedure) => {
      const done = await write.call(database(), options, procedure);
      if (options.label === 'workflow.set_resume_state') {
        rows.push(...(await database().read(`SELECT operation FROM workflow_command WHERE workflow_id = ${workflow_id}`)));
      }
      return done as never;
    });
    try {
      const sent = Array.from({ length: 8 }, () => post(`task/${workflow_id}/set_resume_state`, { reset_if_running: true }));
      const answers = await Promise.all(sent);
      expect(new Set(answers.map(({ status, text }) => `${status} ${text}`))).toEqual(new Set(['200 {}']));
    } finally {
      pieces.mockRestore();
    }
    expect(rows[0]).toEqual({ operation: 'workflow.set_resume_state' });
    expect(new Set(await attempts(workflow_id))).toEqual(new Set(['K G']));
    expect(await errors(workflow_id)).toBe(3_500);
    expect(await counts(workflow_id)).toEqual(['3500 G', '3500 G']);
    expect(await one(`SELECT COUNT(*) FROM workflow_command WHERE workflow_id = ${workflow_id}`)).toBe(0);
  }, 60_000);

  it('E18 that a crash cut off is gone on with by whoever finds its row; until then nothing else begins', async () => {
    const made = await insert({ tasks: 2_500, run_status: 'E', workflow_status: 'F', instance_status: 'R', task_status: 'R' });
    const { workflow_id } = made;
    const { write } = database();
    let pieces = 0;
    const cut = jest.spyOn(database(), 'write').mockImplementation(async (options, procedure) => {
      if (options.label === 'workflow.set_resume_state' && ++pieces > 1) throw new Error('the process ends here');
      return write.call(database(), options, procedure) as never;
    });
    try {
      expect((await post(`task/${workflow_id}/set_resume_state`, { reset_if_running: true })).status).toBe(500);
    } finally {
      cut.mockRestore();
    }
    const done = await attempts(workflow_id);
    expect(done.filter((pair) => pair === 'K G')).toHaveLength(1_000);

    const link = { workflow_id, user: 'ann', jobmon_version: '3', next_report_increment: 93 };
    expect((await post('workflow_run', link)).status).toBe(503);
    expect((await put(`workflow/${workflow_id}/reset`, { partial_reset: true })).status).toBe(503);
    expect(await send(served.messenger, continueCommand, { workflow_id })).toEqual({ is_ended: true });
    expect(new Set(await attempts(workflow_id))).toEqual(new Set(['K G']));
    expect(await send(served.messenger, continueCommand, { workflow_id })).toEqual({ is_ended: true });
    expect((await post('workflow_run', link)).json).toMatchObject({ status: 'L' });
  }, 60_000);
});
