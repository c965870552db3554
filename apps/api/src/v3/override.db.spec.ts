/** Changes by people over HTTP on both databases: tasks put to D or G, whole workflows reset, and the questions asked before. */
import type { TaskInstanceStatus, TaskStatus } from '@jobmon/contracts';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { call, serve, type Answered, type Served } from '../../test/serve';

describeOnDatabases('overrides', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)] });
  });
  afterAll(() => served.close());

  const get = (path: string): Promise<Answered> => call(served, 'GET', `/api/v3/${path}`, undefined, {});
  const put = (path: string, body: unknown = {}): Promise<Answered> => call(served, 'PUT', `/api/v3/${path}`, body, {});
  const update = (body: unknown): Promise<Answered> => put('task/update_statuses', body);
  const insert = (more: WorkflowToInsert = {}) =>
    insertWorkflow(database(), { driver: 'client', run_status: 'E', workflow_status: 'F', ...more });
  /** 0 → 1 → 2, 0 → 3, and 4 alone. */
  const graph = (more: WorkflowToInsert = {}) => insert({ tasks: 5, upstreams: (at) => [[], [0], [1], [0], []][at]!, ...more });
  const one = async (sql: string) => Object.values((await database().read(sql))[0]!)[0];
  const tasks = async ({ workflow_id }: InsertedWorkflow) =>
    (await database().read<{ status: string }>(`SELECT status FROM task WHERE workflow_id = ${workflow_id} ORDER BY id`))
      .map(({ status }) => status)
      .join('');
  const instances = async ({ workflow_run_id }: InsertedWorkflow) =>
    (
      await database().read<{ status: string }>(
        `SELECT status FROM task_instance WHERE workflow_run_id = ${workflow_run_id} ORDER BY id`,
      )
    )
      .map(({ status }) => status)
      .join('');
  const workflow = ({ workflow_id }: InsertedWorkflow) => one(`SELECT status FROM workflow WHERE id = ${workflow_id}`);
  const write = (sql: string) =>
    database().write({ label: 'test' }, function* () {
      yield { sql };
    });
  /** Deltas that this test's changes made must be those of the tasks. */
  const expectCounts = async (made: InsertedWorkflow, before: string) => {
    const counted = await database().read<{ status: string; n: number }>(
      `SELECT status, SUM(n) AS n FROM task_status_count WHERE workflow_id = ${made.workflow_id} GROUP BY status`,
    );
    const sum = new Map(counted.map(({ status, n }) => [status, Number(n)]));
    for (const letter of before) sum.set(letter, (sum.get(letter) ?? 0) + 1);
    const after = new Map<string, number>();
    for (const letter of await tasks(made)) after.set(letter, (after.get(letter) ?? 0) + 1);
    expect([...sum].filter(([, n]) => n !== 0).sort()).toEqual([...after].sort());
  };

  it('C4 puts tasks back to G: attempts 0, the fence cleared, dates set (race 47), attempts stopped, a D workflow → F', async () => {
    const attempts: TaskInstanceStatus[] = ['D', 'D', 'R', 'K', 'Q'];
    const statuses: TaskStatus[] = ['D', 'D', 'R', 'F', 'Q'];
    const made = await graph({
      workflow_status: 'D',
      run_status: 'D',
      instance_status: (at) => attempts[at]!,
      task_status: (at) => statuses[at]!,
    });
    await write(`UPDATE task SET status_date = '2020-01-01 00:00:00' WHERE workflow_id = ${made.workflow_id}`);
    const answered = await update({
      workflow_id: String(made.workflow_id),
      task_ids: made.task_ids.slice(1),
      new_status: 'G',
      recursive: false,
      workflow_status: null,
    });
    expect([answered.status, answered.json]).toEqual([
      200,
      { message: expect.any(String), updated_task_ids: 4, killed_task_instances: 2, workflow_status: 'F' },
    ]);
    expect([await tasks(made), await workflow(made)]).toEqual(['DGGGG', 'F']);
    const rows = await database().read<{ num_attempts: number; current: number; status_date: string }>(
      `SELECT num_attempts, current_task_instance_id AS current, status_date FROM task WHERE workflow_id = ${made.workflow_id} ORDER BY id`,
    );
    expect(
      rows.map(({ num_attempts, current, status_date }) => `${num_attempts} ${current > 0} ${status_date > '2021'}`),
    ).toEqual(['1 true false', ...Array<string>(4).fill('0 false true')]);
    expect(await instances(made)).toBe('DDKKF');
    await expectCounts(made, statuses.join(''));
    const again = await update({ workflow_id: made.workflow_id, task_ids: made.task_ids.slice(1), new_status: 'G' });
    expect(again.json).toMatchObject({ updated_task_ids: 0, killed_task_instances: 0 });
  });

  it('C4 puts tasks to D, one or a list, and the workflow with the last', async () => {
    const made = await graph({ task_status: 'F' });
    expect((await update({ workflow_id: made.workflow_id, task_ids: made.task_ids[0], new_status: 'D' })).json).toMatchObject({
      updated_task_ids: 1,
      workflow_status: 'F',
    });
    expect(await tasks(made)).toBe('DFFFF');
    const rest = made.task_ids.slice(1).map(String);
    expect((await update({ workflow_id: made.workflow_id, task_ids: rest, new_status: 'D' })).json).toMatchObject({
      updated_task_ids: 4,
      workflow_status: 'D',
    });
    expect([await tasks(made), await workflow(made)]).toEqual(['DDDDD', 'D']);
    await expectCounts(made, 'FFFFF');
  });

  it.each([
    ['D', 2, 'DDDFF'],
    ['G', 1, 'FGGFF'],
    ['G', 0, 'GGGGF'],
  ] as const)('C4 recursive to %s from task %d reaches %s', async (new_status, at, expected) => {
    const made = await graph({ task_status: 'F' });
    const { json } = await update({ workflow_id: made.workflow_id, task_ids: [made.task_ids[at]], new_status, recursive: true });
    expect(json.updated_task_ids).toBe([...expected].filter((letter) => letter === new_status).length);
    expect(await tasks(made)).toBe(expected);
  });

  it('C4 with all does every task of the workflow in pieces, eight callers together, each task once', async () => {
    const made = await insert({ tasks: 2_300, task_status: 'F', instance_status: 'E' });
    const request = { workflow_id: made.workflow_id, task_ids: 'all', new_status: 'G', recursive: true };
    const answers = await Promise.all(Array.from({ length: 8 }, () => update(request)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    expect(await tasks(made)).toBe('G'.repeat(2_300));
    await expectCounts(made, 'F'.repeat(2_300));
    expect((await update({ ...request, new_status: 'D' })).json).toMatchObject({ updated_task_ids: 2_300, workflow_status: 'D' });
    await expectCounts(made, 'F'.repeat(2_300));
  }, 60_000);

  it('C4 changes a running workflow only where nothing behind the task has started, and never one that the server drives', async () => {
    const running = { run_status: 'R', workflow_status: 'R' } as const;
    const used = await graph({ ...running, task_status: (at) => (at === 1 ? 'D' : 'G') });
    const refused = await update({ workflow_id: used.workflow_id, task_ids: [used.task_ids[0]], new_status: 'G' });
    expect([refused.status, typeof refused.json.detail]).toEqual([400, 'string']);
    expect((await update({ workflow_id: used.workflow_id, task_ids: 'all', new_status: 'G' })).status).toBe(400);
    const unused = await update({ workflow_id: used.workflow_id, task_ids: [used.task_ids[1]], new_status: 'G' });
    expect([unused.status, unused.json.workflow_status, await tasks(used)]).toEqual([200, 'R', 'GGGGG']);
    const server = await insertWorkflow(database(), { driver: 'server', task_status: 'F' });
    expect((await update({ workflow_id: server.workflow_id, task_ids: [...server.task_ids], new_status: 'G' })).status).toBe(400);
    expect(await tasks(server)).toBe('F');
  });

  it.each([
    ['Q', 'F'],
    ['I', 'F'],
    ['O', 'O'],
    ['R', 'R'],
  ] as const)(
    'C4 to D: an attempt in %s, which nobody would take any more or which may run, is %s after it',
    async (status, after) => {
      const made = await insert({ run_status: 'R', workflow_status: 'R', instance_status: status, task_status: status });
      const request = { workflow_id: made.workflow_id, task_ids: [...made.task_ids], new_status: 'D' };
      const answers = [await update(request), await update(request)];
      expect(answers.map(({ json }) => json.killed_task_instances)).toEqual([after === 'F' ? 1 : 0, 0]);
      expect(await instances(made)).toBe(after);
      expect(await tasks(made)).toBe('D');
      await expectCounts(made, status);
    },
  );

  it('C4 a task put to D while it runs stays D whatever its attempt reports', async () => {
    const made = await insert({ run_status: 'R', workflow_status: 'R', instance_status: 'R', task_status: 'R' });
    expect((await update({ workflow_id: made.workflow_id, task_ids: [...made.task_ids], new_status: 'D' })).json).toMatchObject({
      updated_task_ids: 1,
      killed_task_instances: 0,
      workflow_status: 'R',
    });
    const path = `/api/v3/task_instance/${made.task_instance_ids[0]}/log_error_worker_node`;
    expect((await call(served, 'POST', path, { error_state: 'E', error_description: 'x' }, {})).json).toEqual({ status: 'E' });
    expect(await tasks(made)).toBe('D');
  });

  it('C4 refuses what is malformed or foreign with 400 and a detail, and changes nothing', async () => {
    const made = await graph({ task_status: 'F' });
    const other = await graph({ task_status: 'F' });
    const { workflow_id } = made;
    const [task] = made.task_ids;
    const bodies: unknown[] = [
      {},
      { workflow_id, new_status: 'G' },
      { workflow_id, task_ids: 'some', new_status: 'G' },
      { workflow_id, task_ids: [task] },
      { workflow_id, task_ids: [task], new_status: 'R' },
      { workflow_id, task_ids: [task, other.task_ids[0]], new_status: 'G' },
      { workflow_id, task_ids: [other.task_ids[0]], new_status: 'G' },
      { workflow_id, task_ids: [2_000_000_000], new_status: 'G' },
      { workflow_id, task_ids: [-1], new_status: 'G' },
      { workflow_id, task_ids: [task], new_status: 'G', recursive: 'yes' },
    ];
    for (const body of bodies) {
      const { status, json } = await update(body);
      expect([body, status, typeof json.detail]).toEqual([body, 400, 'string']);
    }
    expect((await update({ workflow_id: 2_000_000_000, task_ids: [task], new_status: 'G' })).status).toBe(404);
    expect((await update({ workflow_id, task_ids: [], new_status: 'G' })).json).toMatchObject({ updated_task_ids: 0 });
    expect(await tasks(made)).toBe('FFFFF');
  });

  it.each([
    [false, 'GGGGG', 4],
    [true, 'DGGGG', 3],
  ])('C23 resets a workflow (partial: %s), its attempts stopped', async (partial_reset, expected, reset_tasks) => {
    const statuses: TaskStatus[] = ['D', 'G', 'F', 'R', 'A'];
    const attempts: TaskInstanceStatus[] = ['D', 'E', 'E', 'R', 'Z'];
    const made = await graph({ task_status: (at) => statuses[at]!, instance_status: (at) => attempts[at]! });
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => put(`workflow/${made.workflow_id}/reset`, { partial_reset })),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    for (const { json } of answers) expect(Object.keys(json).sort()).toEqual(['killed_task_instances', 'reset_tasks']);
    expect(answers.reduce((sum, { json }) => sum + json.reset_tasks, 0)).toBe(reset_tasks);
    expect(answers.reduce((sum, { json }) => sum + json.killed_task_instances, 0)).toBe(1);
    expect([await tasks(made), await workflow(made)]).toEqual([expected, 'G']);
    await expectCounts(made, statuses.join(''));
    const link = { workflow_id: made.workflow_id, user: 'ann', jobmon_version: '3', next_report_increment: 93 };
    expect((await call(served, 'POST', '/api/v3/workflow_run', link, {})).json).toMatchObject({ status: 'L' });
  });

  it('C23 ends an overdue run that was told to stop, refuses any other live one with 400, and does not know an unknown workflow', async () => {
    const overdue = await insert({ run_status: 'C', workflow_status: 'R', deadline_seconds: -5, task_status: 'F' });
    expect((await put(`workflow/${overdue.workflow_id}/reset`)).json).toEqual({ reset_tasks: 1, killed_task_instances: 0 });
    expect(await one(`SELECT status FROM workflow_run WHERE id = ${overdue.workflow_run_id}`)).toBe('T');
    expect(await workflow(overdue)).toBe('G');
    for (const run_status of ['C', 'R', 'L'] as const) {
      const live = await insert({ run_status, workflow_status: 'R', task_status: 'F' });
      expect((await put(`workflow/${live.workflow_id}/reset`, { partial_reset: true })).status).toBe(400);
      expect([await tasks(live), await workflow(live)]).toEqual(['F', 'R']);
      expect(await one(`SELECT status FROM workflow_run WHERE id = ${live.workflow_run_id}`)).toBe(run_status);
    }
    expect((await put('workflow/2000000000/reset', { partial_reset: false })).status).toBe(404);
    expect((await put('workflow/x/reset', { partial_reset: false })).status).toBe(422);
  });

  it('C19 is true when all tasks are of one workflow that has ended', async () => {
    const ask = async (task_ids: unknown) => {
      const { status, json } = await call(served, 'POST', '/api/v3/workflow_validation', { task_ids }, {});
      return status === 200 ? json : status;
    };
    for (const [workflow_status, validation] of [
      ['F', true],
      ['D', true],
      ['A', true],
      ['H', true],
      ['R', false],
      ['G', false],
    ] as const) {
      const made = await graph({ workflow_status });
      expect(await ask([...made.task_ids, 2_000_000_000])).toEqual({ validation, workflow_status });
    }
    const [one, two] = [await insert(), await insert()];
    expect(await ask([one.task_ids[0], two.task_ids[0]])).toEqual({ validation: false, workflow_status: null });
    expect(await ask([2_000_000_000])).toEqual({ validation: false, workflow_status: null });
    expect(await ask([])).toEqual({ validation: true, workflow_status: null });
    expect(await ask(undefined)).toBe(400);
    expect(await ask(['x'])).toBe(400);
  });

  it('C21 knows who has run a workflow', async () => {
    const { workflow_id } = await insert({ user: 'ada' });
    const ask = (path: string) => get(`workflow/${path}`);
    expect((await ask(`${workflow_id}/validate_username/ada`)).json).toEqual({ validation: true });
    expect((await ask(`${workflow_id}/validate_username/bob`)).json).toEqual({ validation: false });
    expect((await ask('2000000000/validate_username/ada')).status).toBe(404);
    expect((await ask('x/validate_username/ada')).status).toBe(422);
  });

  it('C22 answers the newest run when it failed and was the caller', async () => {
    const ask = async (id: number, user = 'ada') => (await get(`workflow/${id}/validate_for_workflow_reset/${user}`)).json;
    for (const [run_status, mayReset] of [
      ['E', true],
      ['S', true],
      ['T', true],
      ['A', true],
      ['D', false],
      ['R', false],
    ] as const) {
      const made = await insert({ run_status });
      expect(await ask(made.workflow_id)).toEqual({ workflow_run_id: mayReset ? made.workflow_run_id : null });
      expect(await ask(made.workflow_id, 'bob')).toEqual({ workflow_run_id: null });
    }
    const made = await insert();
    await write(
      `INSERT INTO workflow_run (workflow_id, \`user\`, status) VALUES (${made.workflow_id}, 'ada', 'R'), (${made.workflow_id}, 'ada', 'G')`,
    );
    expect(await ask(made.workflow_id)).toEqual({ workflow_run_id: null });
    expect((await get('workflow/2000000000/validate_for_workflow_reset/ada')).status).toBe(404);
  });
});
