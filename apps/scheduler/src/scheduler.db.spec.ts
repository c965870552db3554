/** What a scheduler alone does for the runs that it holds, and what that costs. */
import { pauseWorkflow, queueTasks, resumeWorkflow, type AttemptReport } from '@jobmon/contracts';
import { send } from '@jobmon/messaging';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { Bench } from '../test/bench';
import { loadGraph, nodeIds } from './rows';

describe('lists of node ids', () => {
  it.each([
    [null, []],
    ['null', []],
    ['[]', []],
    ['[3, 4]', [3, 4]],
    ['"[3, 4]"', [3, 4]],
    ['"\\"[3]\\""', [3]],
    [
      [3, 4],
      [3, 4],
    ],
  ])('%j are %j', (stored, ids) => expect(nodeIds(stored)).toEqual(ids));

  it('are refused when they are something else', () => {
    expect(() => nodeIds('{"a": 1}')).toThrow('list of node ids');
  });
});

describeOnDatabases('the scheduler', (database) => {
  let bench: Bench;
  const insert = (wanted: WorkflowToInsert): Promise<InsertedWorkflow> =>
    insertWorkflow(database(), { user: 'ada', run_status: 'B', workflow_status: 'Q', ...wanted });

  const write = (sql: string): Promise<void> =>
    database().write({ label: 'test' }, function* () {
      yield { sql };
    });

  beforeEach(async () => {
    bench = await Bench.open(database());
  });
  afterEach(async () => {
    await bench.close();
    // The tests share a database: none leaves a run behind that the next one's scheduler would find.
    await database().write({ label: 'test.end' }, function* () {
      yield { sql: "UPDATE workflow_run SET status = 'E' WHERE status <> 'D'" };
    });
  });

  it('takes a bound run and walks it tier by tier to DONE, by the clock alone', async () => {
    const workflow = await insert({ tasks: 40, upstreams: (at) => (at < 10 ? [] : [at - 10, at - (at % 10) - 10]) });
    expect(await bench.workToEnd(workflow)).toBe('D');
    expect(await bench.taskStatuses(workflow)).toBe('D'.repeat(40));
    expect(bench.started).toEqual([...workflow.task_ids]);
  });

  it('needs no look of the clock when events arrive', async () => {
    const workflow = await insert({ tasks: 30, upstreams: (at) => (at < 10 ? [] : [at - 10]) });
    bench.scheduler.start();
    const deadline = Date.now() + 10_000;
    while ((await bench.runStatus(workflow)) !== 'D' && Date.now() < deadline) {
      await bench.work(() => 'D');
      await bench.scheduler.quiet();
    }
    expect(await bench.runStatus(workflow)).toBe('D');
  });

  it('queues a failed attempt again, and ends in ERROR when one fails for good, with its downstreams untouched', async () => {
    const workflow = await insert({ tasks: 4, max_attempts: 2, upstreams: (at) => (at === 3 ? [2] : []) });
    const [once, , always] = workflow.task_ids;
    const failures = new Map<number, number>();
    const ending = (id: number): AttemptReport['status'] => {
      failures.set(id, (failures.get(id) ?? 0) + 1);
      return id === always || (id === once && failures.get(id) === 1) ? 'E' : 'D';
    };
    expect(await bench.workToEnd(workflow, ending)).toBe('E');
    expect(await bench.taskStatuses(workflow)).toBe('DDFG');
    expect([...failures.values()]).toEqual([2, 1, 2]);
  });

  it('goes on from what the database says when another scheduler begins in the middle', async () => {
    const workflow = await insert({ tasks: 20, upstreams: (at) => (at < 10 ? [] : [at - 10]) });
    await bench.seconds(1);
    await bench.work(() => 'D', 5);
    await bench.scheduler.stop();
    const second = bench.another();
    for (let round = 0; round < 20 && (await bench.runStatus(workflow)) === 'R'; round += 1) {
      await bench.seconds(6, second);
      await bench.work(() => 'D');
    }
    expect(await bench.runStatus(workflow)).toBe('D');
    expect([...bench.started].sort((a, b) => a - b)).toEqual([...workflow.task_ids]);
    await second.stop();
  });

  it('keeps within the limits of workflow and array, and fills them again when something has finished', async () => {
    const workflow = await insert({ tasks: 12, max_concurrently_running: 5, array_max_concurrently_running: 3 });
    expect(await bench.workToEnd(workflow)).toBe('D');
    expect(bench.liveMost).toBe(3);
  });

  it('asks again within half a minute when a limit was raised and nothing runs', async () => {
    const workflow = await insert({ tasks: 3, max_concurrently_running: 0 });
    await bench.seconds(10);
    expect(await bench.taskStatuses(workflow)).toBe('GGG');
    await database().write({ label: 'test.limit' }, function* () {
      yield { sql: 'UPDATE workflow SET max_concurrently_running = 10 WHERE id = ?', params: [workflow.workflow_id] };
    });
    await bench.seconds(30);
    expect(await bench.taskStatuses(workflow)).toBe('QQQ');
  });

  it('runs what can be run when a task can never be queued, and ends in ERROR', async () => {
    const workflow = await insert({ tasks: 3 });
    await database().write({ label: 'test.resources' }, function* () {
      yield { sql: 'UPDATE task SET task_resources_id = NULL WHERE id = ?', params: [workflow.task_ids[1]!] };
    });
    expect(await bench.workToEnd(workflow)).toBe('E');
    expect(await bench.taskStatuses(workflow)).toBe('DGD');
  });

  it('ends a run without tasks, and leaves runs of Python clients alone', async () => {
    const empty = await insert({ tasks: 0 });
    const python = await insert({ tasks: 2, driver: 'client' });
    await bench.seconds(2);
    expect(await bench.runStatus(empty)).toBe('D');
    expect(await bench.runStatus(python)).toBe('B');
    expect(await bench.taskStatuses(python)).toBe('GG');
  });

  it('race 21: does nothing more for a run that was ended by somebody else', async () => {
    const workflow = await insert({ tasks: 3, upstreams: (at) => (at === 0 ? [] : [at - 1]) });
    await bench.seconds(1);
    await database().write({ label: 'test.stop' }, function* () {
      yield { sql: "UPDATE workflow_run SET status = 'C' WHERE id = ?", params: [workflow.workflow_run_id] };
    });
    await bench.work(() => 'D');
    await bench.seconds(20);
    expect(await bench.taskStatuses(workflow)).toMatch(/^.GG$/);
  });

  it('holds at most 2,000 queued tasks of a run, asked for by the thousand', async () => {
    const workflow = await insert({ tasks: 2_500 });
    const sizes: number[] = [];
    const { request } = bench.messenger;
    bench.messenger.request = function (operation, requests, options) {
      if (operation.name === queueTasks.name)
        sizes.push(...requests.map((each) => (each as { task_ids: number[] }).task_ids.length));
      return request.call(bench.messenger, operation, requests, options) as never;
    };
    await bench.seconds(1);
    expect(sizes).toEqual([1_000, 1_000]);
    expect((await bench.taskStatuses(workflow)).replaceAll('G', '')).toHaveLength(2_000);
  });

  it('race 22: costs 60 statements to find runs, 12 to look at a standing run and 10 to beat in an idle minute, and reads no task', async () => {
    const workflow = await insert({ tasks: 3_000, upstreams: (at) => (at === 0 ? [] : [0]) });
    await bench.seconds(10);
    await database().write({ label: 'test.past' }, function* () {
      yield { sql: "UPDATE task SET status_date = '2026-01-01 00:00:00' WHERE workflow_id = ?", params: [workflow.workflow_id] };
    });
    const before = { ...database().counts };
    await bench.seconds(60);
    const { statements, rows_read, rows_written } = database().counts;
    expect(statements - before.statements).toBeLessThanOrEqual(60 + 12 + 10);
    // A run's row a look, and its row and its lease a beat.
    expect(rows_read - before.rows_read).toBeLessThanOrEqual(60 + 4);
    expect(rows_written - before.rows_written).toBeLessThanOrEqual(2);
  });

  it('queues nothing of a paused run, and goes on when the pause is lifted', async () => {
    const workflow = await insert({ tasks: 3 });
    await bench.seconds(1);
    expect(await bench.taskStatuses(workflow)).toBe('QQQ');
    const asked = { workflow_id: workflow.workflow_id, user: 'ada', reason: '' };
    await send(bench.messenger, pauseWorkflow, asked);
    expect(await bench.work(() => 'D')).toBe(0);
    await send(bench.messenger, resumeWorkflow, { ...asked, mode: 'hot', resources: [], client_version: '' });
    expect(await bench.work(() => 'U')).toBe(3);
    await send(bench.messenger, pauseWorkflow, asked);
    await bench.seconds(20);
    expect(await bench.taskStatuses(workflow)).toBe('GGG');
    await send(bench.messenger, resumeWorkflow, { ...asked, mode: 'hot', resources: [], client_version: '' });
    await bench.seconds(1);
    expect(await bench.taskStatuses(workflow)).toBe('QQQ');
    expect(await bench.workToEnd(workflow)).toBe('D');
  });

  it('brings a run that was told to stop to its end, and then the resume that waits for it', async () => {
    const workflow = await insert({ tasks: 2, run_status: 'H', instance_status: (at) => (at === 0 ? 'Q' : 'R'), agent_id: 1 });
    await bench.seconds(1);
    expect([await bench.taskStatuses(workflow), await bench.runStatus(workflow)]).toEqual(['GQ', 'H']);
    const asked = { workflow_id: workflow.workflow_id, user: 'ada', reason: '', client_version: '' };
    const waiting = await send(bench.messenger, resumeWorkflow, { ...asked, mode: 'hot', resources: [] });
    expect(waiting).toMatchObject({ workflow_run_id: workflow.workflow_run_id, is_pending: true });
    await write("UPDATE workflow_command SET moved_date = '2001-01-01 00:00:00'");
    await bench.seconds(2);
    expect(await bench.runStatus(workflow)).toBe('H');
    await write(`UPDATE task_instance SET status = 'E' WHERE id = ${workflow.task_instance_ids[1]}`);
    await write(`UPDATE task SET status = 'F' WHERE id = ${workflow.task_ids[1]}`);
    await bench.seconds(3);
    const runs = await database().read<{ status: string }>('SELECT status FROM workflow_run WHERE workflow_id = ? ORDER BY id', [
      workflow.workflow_id,
    ]);
    expect(runs.map(({ status }) => status)).toEqual(['T', 'R']);
    expect(await bench.taskStatuses(workflow)).toBe('QQ');
    expect(await database().read('SELECT * FROM workflow_command')).toEqual([]);
  });

  it('reads a graph in pages', async () => {
    const workflow = await insert({ tasks: 6_000, upstreams: (at) => (at === 0 ? [] : [at - 1]) });
    const before = database().counts.statements;
    const graph = await loadGraph(database(), workflow.workflow_id);
    expect(graph.size).toBe(6_000);
    expect(database().counts.statements - before).toBe(1 + 2 + 7);
  });
});
