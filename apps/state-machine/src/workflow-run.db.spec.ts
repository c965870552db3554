/** Server runs on both databases: linked once, moved with their workflow or not at all, kept alive. */
import { workflowRunChanged, WorkflowRunStatus } from '@jobmon/contracts';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import { execute, replies, startMachine } from '../test/started-machine';
import { followedBy, pathOf } from './workflow-run';

describe('the way of a run', () => {
  test('leads to R through I and O, to D from R alone, to E from where it may fail', () => {
    const ways = Object.values(WorkflowRunStatus).map((from) => [
      from,
      ...(['R', 'D', 'E'] as const).map((to) => pathOf(from, to)?.join('') ?? '-'),
    ]);
    expect(ways.filter(([, ...paths]) => paths.some((path) => path !== '-'))).toEqual([
      ['B', 'IOR', '-', 'E'],
      ['I', 'OR', '-', 'E'],
      ['O', 'R', '-', 'E'],
      ['R', '-', 'D', 'E'],
      ['C', '-', 'D', '-'],
      ['H', '-', 'D', '-'],
    ]);
  });

  test('takes the workflow along, or is refused', () => {
    expect(followedBy('Q', ['I', 'O', 'R'])).toBe('R');
    expect(followedBy('F', ['L', 'B'])).toBe('Q');
    expect(followedBy('G', ['I', 'O', 'R'])).toBeNull();
    expect(followedBy('D', ['E'])).toBeNull();
  });
});

describeOnDatabases('workflow_run', (database) => {
  const submission = (workflow_id: number) => ({ workflow_id, user: 'ada', working_directory: '/home/ada', client_version: '1' });
  const stands = async (workflow_id: number) =>
    database().read(
      'SELECT wr.id, wr.status, wr.driver, w.status AS workflow_status FROM workflow AS w ' +
        'LEFT JOIN workflow_run AS wr ON wr.workflow_id = w.id WHERE w.id = ? ORDER BY wr.id',
      [workflow_id],
    );
  /** A workflow that is bound, with an ended run of an earlier time. */
  const bound = async (more: object = {}) => insertWorkflow(database(), { run_status: 'E', workflow_status: 'G', ...more });

  test('submit makes one bound run, however often and from wherever it is asked', async () => {
    const made = await bound();
    const machines = ['one', 'two'].map((name) => startMachine(database(), name).machine);
    const answers = replies(
      await Promise.all([0, 1, 0, 1].map((at) => machines[at]!.submitWorkflowRun(submission(made.workflow_id)))),
    );
    expect(new Set(answers.map((answer) => `${answer.workflow_run_id} ${answer.status}`)).size).toBe(1);
    expect(await stands(made.workflow_id)).toEqual([
      { id: made.workflow_run_id, status: 'E', driver: 'server', workflow_status: 'Q' },
      { id: answers[0]!.workflow_run_id, status: 'B', driver: 'server', workflow_status: 'Q' },
    ]);
    const [run] = await database().read(
      `SELECT user, working_directory, heartbeat_date > ${database().dialect.now} AS alive FROM workflow_run WHERE id = ?`,
      [answers[0]!.workflow_run_id],
    );
    expect(run).toEqual({ user: 'ada', working_directory: '/home/ada', alive: 1 });
  });

  test.each([
    ['a live client run', { driver: 'client', run_status: 'I', workflow_status: 'I' }],
    ['a workflow that is DONE', { run_status: 'D', workflow_status: 'D' }],
    ['a workflow that cannot be linked from where it stands', { run_status: 'E', workflow_status: 'O' }],
    [
      'live attempts of an earlier run (race 28)',
      { run_status: 'E', workflow_status: 'F', driver: 'client', instance_status: 'R' },
    ],
  ] as const)('submit refuses %s and writes nothing', async (_, more) => {
    const made = await insertWorkflow(database(), more);
    const before = await stands(made.workflow_id);
    const { machine } = startMachine(database());
    expect(await machine.submitWorkflowRun(submission(made.workflow_id))).toMatchObject({ error: { code: 'CONFLICT' } });
    expect(await stands(made.workflow_id)).toEqual(before);
    expect(await machine.submitWorkflowRun(submission(2_000_000_000))).toMatchObject({ error: { code: 'NOT_FOUND' } });
  });

  test('a run goes B, R, D with its workflow, and each step is told once', async () => {
    const made = await bound({ task_status: 'D' });
    const { machine, messenger } = startMachine(database());
    const told: string[] = [];
    const isDone = new Promise<void>((resolve) =>
      messenger.subscribe(workflowRunChanged, ({ status }) => {
        told.push(status);
        if (status === 'D') resolve();
      }),
    );
    const [submitted] = replies([await machine.submitWorkflowRun(submission(made.workflow_id))]);
    const workflow_run_id = submitted!.workflow_run_id;
    expect(replies([await machine.moveWorkflowRun({ workflow_run_id, to: 'D' })])).toEqual([{ workflow_run_id, status: 'B' }]);
    for (let times = 0; times < 2; times += 1) {
      expect(replies([await machine.moveWorkflowRun({ workflow_run_id, to: 'R' })])).toEqual([{ workflow_run_id, status: 'R' }]);
    }
    for (let times = 0; times < 2; times += 1) {
      expect(replies([await machine.moveWorkflowRun({ workflow_run_id, to: 'D' })])).toEqual([{ workflow_run_id, status: 'D' }]);
    }
    expect((await stands(made.workflow_id)).at(-1)).toMatchObject({ status: 'D', workflow_status: 'D' });
    await isDone;
    expect(told).toEqual(['B', 'R', 'D']);
  });

  test('D waits for every task, E for every live instance', async () => {
    const made = await insertWorkflow(database(), { tasks: 2, task_status: (position) => (position === 0 ? 'D' : 'F') });
    const { machine } = startMachine(database());
    const { workflow_run_id } = made;
    expect(replies([await machine.moveWorkflowRun({ workflow_run_id, to: 'D' })])).toEqual([{ workflow_run_id, status: 'R' }]);
    expect(replies([await machine.moveWorkflowRun({ workflow_run_id, to: 'E' })])).toEqual([{ workflow_run_id, status: 'E' }]);
    expect((await stands(made.workflow_id))[0]).toMatchObject({ status: 'E', workflow_status: 'F' });
    const live = await insertWorkflow(database(), { instance_status: 'K', task_status: 'F' });
    expect(replies([await machine.moveWorkflowRun({ workflow_run_id: live.workflow_run_id, to: 'E' })])).toMatchObject([
      { status: 'R' },
    ]);
  });

  test.each([
    ['the last of many', "status = 'F'"],
    ['one that an older program left without an array', "status = 'F', array_id = NULL"],
  ])('D waits for every task: %s', async (_, change) => {
    const made = await insertWorkflow(database(), { tasks: 5_002, task_status: 'D' });
    const { machine } = startMachine(database());
    const { workflow_run_id } = made;
    const last = made.task_ids.at(-1) as number;
    await execute(database(), `UPDATE task SET ${change} WHERE id = ?`, [last]);
    expect(replies([await machine.moveWorkflowRun({ workflow_run_id, to: 'D' })])).toEqual([{ workflow_run_id, status: 'R' }]);
    await execute(database(), "UPDATE task SET status = 'D' WHERE id = ?", [last]);
    expect(replies([await machine.moveWorkflowRun({ workflow_run_id, to: 'D' })])).toEqual([{ workflow_run_id, status: 'D' }]);
  });

  test('neither half moves when the other cannot (race 41), and a client run is left alone', async () => {
    const { machine } = startMachine(database());
    const torn = await insertWorkflow(database(), { run_status: 'R', workflow_status: 'H', task_status: 'D' });
    const client = await insertWorkflow(database(), { driver: 'client', task_status: 'D' });
    for (const made of [torn, client]) {
      const before = await stands(made.workflow_id);
      expect(replies([await machine.moveWorkflowRun({ workflow_run_id: made.workflow_run_id, to: 'D' })])).toMatchObject([
        { status: 'R' },
      ]);
      expect(await stands(made.workflow_id)).toEqual(before);
    }
    expect(await machine.moveWorkflowRun({ workflow_run_id: 2_000_000_000, to: 'R' })).toMatchObject({
      error: { code: 'NOT_FOUND' },
    });
  });

  test('a beat moves the deadline of live server runs only, and answers every run that exists', async () => {
    const overdue = { deadline_seconds: -60 } as const;
    const live = await insertWorkflow(database(), overdue);
    const ended = await insertWorkflow(database(), { ...overdue, run_status: 'E', workflow_status: 'F' });
    const client = await insertWorkflow(database(), { ...overdue, driver: 'client' });
    const ids = [live, ended, client].map((made) => made.workflow_run_id);
    const { machine } = startMachine(database());
    const [reply] = replies([await machine.beatWorkflowRuns({ leases: [...ids, 2_000_000_000].map((id) => [id, 0]) })]);
    expect(reply?.statuses).toEqual([
      [ids[0], 'R'],
      [ids[1], 'E'],
      [ids[2], 'R'],
    ]);
    const rows = await database().read<{ alive: number }>(
      `SELECT heartbeat_date > ${database().dialect.now} AS alive FROM workflow_run WHERE id IN (${ids.join(',')}) ORDER BY id`,
    );
    expect(rows.map((row) => Number(row.alive))).toEqual([1, 0, 0]);
  });

  test('an id is never given to two live runs of one workflow', async () => {
    const made = await bound();
    const { machine } = startMachine(database());
    const [first] = replies([await machine.submitWorkflowRun(submission(made.workflow_id))]);
    await execute(database(), "UPDATE workflow_run SET status = 'E' WHERE id = ?", [first!.workflow_run_id]);
    await execute(database(), "UPDATE workflow SET status = 'F' WHERE id = ?", [made.workflow_id]);
    const [second] = replies([await machine.submitWorkflowRun(submission(made.workflow_id))]);
    expect(second!.workflow_run_id).toBeGreaterThan(first!.workflow_run_id);
  });
});
