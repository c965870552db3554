/** Queueing on both databases: batches and steps, limits, repeats, refusals. */
import { LIMIT_NONE, LIVE_TASK_INSTANCE_STATUSES, taskQueued } from '@jobmon/contracts';
import { instancesByStatus } from '@jobmon/entities';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import { countTasks, execute, expectTruth, historyOf, replies, startMachine } from '../test/started-machine';

interface Instance {
  readonly id: number;
  readonly task_id: number;
  readonly task_resources_id: number;
  readonly array_batch_num: number;
  readonly array_step_id: number;
  readonly status: string;
}

describeOnDatabases('task.queue', (database) => {
  const instancesOf = (workflow_run_id: number): Promise<Instance[]> =>
    database().read<Instance>(
      'SELECT id, task_id, task_resources_id, array_batch_num, array_step_id, status FROM task_instance WHERE workflow_run_id = ? ORDER BY id',
      [workflow_run_id],
    );

  test('makes one batch of a list in any order: steps ascend with task ids, instance ids with steps (race 35)', async () => {
    const made = await insertWorkflow(database(), { tasks: 5 });
    const before = await countTasks(database(), made.workflow_id);
    const { machine, messenger } = startMachine(database());
    const told = new Promise((resolve) => messenger.subscribe(taskQueued, resolve));
    const shuffled = [3, 1, 4, 0].map((position) => made.task_ids[position]!);
    const [reply] = replies([await machine.queueTasks({ workflow_run_id: made.workflow_run_id, task_ids: shuffled })]);
    expect(reply).toEqual({ statuses: shuffled.map((id) => [id, 'Q']), held_back: [] });
    const instances = await instancesOf(made.workflow_run_id);
    expect(
      instances.map(({ task_id, array_batch_num, array_step_id, status }) => [task_id, array_batch_num, array_step_id, status]),
    ).toEqual([0, 1, 3, 4].map((position, step) => [made.task_ids[position], 1, step, 'Q']));
    expect(await historyOf(database(), instances[0]!.id)).toEqual(['Q']);
    const tasks = await database().read<{ current: number; num_attempts: number }>(
      "SELECT current_task_instance_id AS current, num_attempts FROM task WHERE workflow_id = ? AND status = 'Q' ORDER BY id",
      [made.workflow_id],
    );
    expect(tasks).toEqual(instances.map(({ id }) => ({ current: id, num_attempts: 1 })));
    expect(await told).toEqual({ workflow_run_id: made.workflow_run_id, count: 4 });
    await expectTruth(database(), made.workflow_id, before);
  });

  test('a repeat, alone or at the same time, makes no second attempt (races 12, 23, 34)', async () => {
    const made = await insertWorkflow(database(), { tasks: 3, task_status: (position) => (position === 0 ? 'D' : 'G') });
    const one = startMachine(database()).machine;
    const two = startMachine(database(), 'other').machine;
    const request = { workflow_run_id: made.workflow_run_id, task_ids: [...made.task_ids] };
    const answers = replies(await Promise.all([one, two, one, two].map((machine) => machine.queueTasks(request))));
    for (const answer of answers) expect(answer.statuses.map(([, status]) => status)).toEqual(['D', 'Q', 'Q']);
    expect(await instancesOf(made.workflow_run_id)).toHaveLength(2);
  });

  test('one batch for each resources row; numbers go on where the array stands', async () => {
    const made = await insertWorkflow(database(), { tasks: 4 });
    const other = await execute(
      database(),
      "INSERT INTO task_resources (queue_id, task_resources_type_id, requested_resources) VALUES (?, 'O', '{}')",
      [made.queue_id],
    );
    const [a, b, c, d] = made.task_ids as [number, number, number, number];
    await execute(database(), 'UPDATE task SET task_resources_id = ? WHERE id IN (?, ?)', [other, a, c]);
    const { machine } = startMachine(database());
    const queue = async (task_ids: number[]) =>
      replies([await machine.queueTasks({ workflow_run_id: made.workflow_run_id, task_ids })]);
    await queue([a, b, c]);
    await queue([d]);
    const instances = await instancesOf(made.workflow_run_id);
    expect(instances.map((row) => [row.task_id, row.task_resources_id, row.array_batch_num, row.array_step_id])).toEqual([
      [b, made.task_resources_id, 1, 0],
      [a, other, 2, 0],
      [c, other, 2, 1],
      [d, made.task_resources_id, 3, 0],
    ]);
  });

  test('an A task is queued again with one attempt more', async () => {
    const made = await insertWorkflow(database(), { task_status: 'A', instance_status: 'Z' });
    const { machine } = startMachine(database());
    await machine.queueTasks({ workflow_run_id: made.workflow_run_id, task_ids: [...made.task_ids] });
    const [task] = await database().read('SELECT status, num_attempts FROM task WHERE id = ?', [made.task_ids[0]!]);
    expect(task).toEqual({ status: 'Q', num_attempts: 2 });
    expect((await instancesOf(made.workflow_run_id)).map((row) => row.array_batch_num)).toEqual([1, 2]);
  });

  test.each([
    ['the workflow', { max_concurrently_running: 3 }],
    ['the array', { array_max_concurrently_running: 3 }],
  ])('the limit of %s holds back what comes later in the list, and lets it in when something ends', async (_, limits) => {
    const made = await insertWorkflow(database(), { tasks: 5, ...limits });
    const { machine } = startMachine(database());
    const request = { workflow_run_id: made.workflow_run_id, task_ids: [...made.task_ids].reverse() };
    const [first] = replies([await machine.queueTasks(request)]);
    expect(first?.held_back).toEqual([made.task_ids[1], made.task_ids[0]]);
    expect(first?.statuses.map(([, status]) => status)).toEqual(['Q', 'Q', 'Q', 'G', 'G']);
    const [instance] = await instancesOf(made.workflow_run_id);
    await execute(database(), "UPDATE task_instance SET status = 'D' WHERE id = ?", [instance!.id]);
    const [second] = replies([await machine.queueTasks(request)]);
    expect(second?.held_back).toEqual([made.task_ids[0]]);
  });

  test('the look for live instances passes by those that have ended', async () => {
    if (database().dialect.name !== 'mariadb') return;
    const made = await insertWorkflow(database(), { tasks: 2_000, task_status: 'D', instance_status: 'D' });
    const live = instancesByStatus('live', 'ti.array_id', LIVE_TASK_INSTANCE_STATUSES, {
      sql: 'wr.workflow_id = ?',
      params: [made.workflow_id],
    });
    // The plan rests on what the server knows of the tables, which it looks at now and then by itself.
    await database().dataSource.query('ANALYZE TABLE workflow_run, task_instance');
    const plan = await database().read<{ table: string; ref: string }>(`EXPLAIN SELECT COUNT(*) FROM ${live.sql}`, live.params);
    const looks = plan.filter(({ table }) => table === 'ti').map(({ ref }) => ref.replace(/\w+\.wr\.id/, 'run'));
    expect(looks).toEqual(LIVE_TASK_INSTANCE_STATUSES.map(() => 'run,const'));
  });

  test('two callers at once do not exceed a limit (race 56)', async () => {
    const made = await insertWorkflow(database(), { tasks: 40, max_concurrently_running: 7 });
    const machines = [startMachine(database(), 'one').machine, startMachine(database(), 'two').machine];
    await Promise.all(
      made.task_ids.map((id, at) => machines[at % 2]!.queueTasks({ workflow_run_id: made.workflow_run_id, task_ids: [id] })),
    );
    expect(await instancesOf(made.workflow_run_id)).toHaveLength(7);
  });

  test('a limit of 0 holds back all, no limit holds back none', async () => {
    const none = await insertWorkflow(database(), { tasks: 2, max_concurrently_running: 0 });
    const all = await insertWorkflow(database(), { tasks: 2, max_concurrently_running: LIMIT_NONE });
    const { machine } = startMachine(database());
    for (const [made, held] of [
      [none, 2],
      [all, 0],
    ] as const) {
      const [reply] = replies([
        await machine.queueTasks({ workflow_run_id: made.workflow_run_id, task_ids: [...made.task_ids] }),
      ]);
      expect(reply?.held_back).toHaveLength(held);
    }
  });

  test('nothing is queued for a client run or a run that is not running', async () => {
    const client = await insertWorkflow(database(), { driver: 'client' });
    const ended = await insertWorkflow(database(), { run_status: 'E', workflow_status: 'F' });
    const { machine } = startMachine(database());
    for (const made of [client, ended]) {
      const [reply] = replies([
        await machine.queueTasks({ workflow_run_id: made.workflow_run_id, task_ids: [...made.task_ids] }),
      ]);
      expect(reply).toEqual({ statuses: [[made.task_ids[0], 'G']], held_back: [] });
      expect(await instancesOf(made.workflow_run_id)).toEqual([]);
    }
  });

  test('refused whole: an unknown run, a task of another workflow', async () => {
    const made = await insertWorkflow(database(), { tasks: 2 });
    const other = await insertWorkflow(database());
    const { machine } = startMachine(database());
    expect(await machine.queueTasks({ workflow_run_id: 2_000_000_000, task_ids: [1] })).toMatchObject({
      error: { code: 'NOT_FOUND' },
    });
    const mixed = [made.task_ids[0]!, other.task_ids[0]!];
    expect(await machine.queueTasks({ workflow_run_id: made.workflow_run_id, task_ids: mixed })).toMatchObject({
      error: { code: 'NOT_FOUND', details: { task_ids: [other.task_ids[0]] } },
    });
    expect(await instancesOf(made.workflow_run_id)).toEqual([]);
  });
});
