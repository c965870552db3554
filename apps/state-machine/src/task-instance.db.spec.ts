/** Reports of workers and agents on both databases: what each stores, moves and answers, and what it leaves alone. */
import { taskChanged, type AttemptReport } from '@jobmon/contracts';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow } from '@jobmon/testkit';
import {
  countTasks,
  errorsOf,
  execute,
  expectTruth,
  historyOf,
  insertAgent,
  replies,
  standing,
  startMachine,
} from '../test/started-machine';
import type { Report } from './task-instance';

const running = (task_instance_id: number, more: object = {}): Report => ({
  name: 'log_running',
  request: { task_instance_id, process_group_id: 77, next_report_increment: 279, nodename: 'n1', ...more },
});
const done = (task_instance_id: number, more: object = {}): Report => ({
  name: 'log_done',
  request: { task_instance_id, stdout_log: 'out', stderr_log: 'err', nodename: 'n1', ...more },
});
const failed = (task_instance_id: number, error_state: 'E' | 'Z' | 'U' | 'F' = 'E', more: object = {}): Report => ({
  name: 'log_error_worker_node',
  request: { task_instance_id, error_state, error_description: 'it broke', ...more },
});
const beat = (task_instance_id: number, more: object = {}): Report => ({
  name: 'log_report_by',
  request: { task_instance_id, next_report_increment: 279, ...more },
});
const attempt = (agent_id: number, task_instance_id: number, status: AttemptReport['status'], more: object = {}): Report => ({
  name: 'report_attempt',
  request: { agent_id, report: { task_instance_id, status, ...more } },
});

describeOnDatabases('reports of workers', (database) => {
  const workflow = (
    instance: 'Q' | 'I' | 'O' | 'R' | 'T' | 'K' | 'X' | 'D' | 'E',
    more: object = {},
  ): Promise<InsertedWorkflow> => {
    const follows = { Q: 'Q', I: 'I', O: 'O', R: 'R', T: 'R', K: 'R', X: 'O', D: 'D', E: 'G' } as const;
    return insertWorkflow(database(), { driver: 'client', instance_status: instance, task_status: follows[instance], ...more });
  };
  const only = async (made: InsertedWorkflow) => (await standing(database(), made.task_instance_ids))[0]!;

  test('E19 starts an attempt, stores who runs it, and answers what the worker needs', async () => {
    const made = await workflow('O');
    const { machine } = startMachine(database());
    const [id] = made.task_instance_ids as [number];
    expect(replies(await machine.report([running(id, { distributor_id: '8_1' })]))).toEqual([
      {
        task_instance_id: id,
        status: 'R',
        workflow_run_id: made.workflow_run_id,
        task_id: made.task_ids[0],
        task_name: 'task_0',
        command: 'echo 0',
        workflow_id: made.workflow_id,
        stdout_dir: null,
        stderr_dir: null,
      },
    ]);
    expect(await only(made)).toMatchObject({
      status: 'R',
      task_status: 'R',
      nodename: 'n1',
      process_group_id: 77,
      distributor_id: '8_1',
      history_sequence: 1,
    });
    const [deadline] = await database().read<{ late: number }>(
      `SELECT report_by_date > ${database().dialect.now} AS late FROM task_instance WHERE id = ?`,
      [id],
    );
    expect(Number(deadline?.late)).toBe(1);
  });

  test('E19 answers R again to the same process alone; anybody else reads F and stores nothing', async () => {
    const made = await workflow('I');
    const { machine } = startMachine(database());
    const [id] = made.task_instance_ids as [number];
    const other = running(id, { process_group_id: 78 });
    const statuses = replies(await machine.report([running(id), running(id), other, running(id, { nodename: 'n2' })]));
    expect(statuses.map(({ status }) => status)).toEqual(['R', 'R', 'F', 'F']);
    expect(replies(await machine.report([running(id), other])).map(({ status }) => status)).toEqual(['R', 'F']);
    expect(await only(made)).toMatchObject({ status: 'R', nodename: 'n1', process_group_id: 77 });
    expect(await historyOf(database(), id)).toEqual(['R']);
  });

  test.each([
    ['K', 'F', 'F'],
    ['X', 'E', 'G'],
    ['D', 'D', 'D'],
    ['E', 'E', 'G'],
    ['Q', 'Q', 'Q'],
  ] as const)('E19 on %s answers %s and leaves the task at %s', async (status, answered, task) => {
    const made = await workflow(status);
    const { machine } = startMachine(database());
    const [reply] = replies(await machine.report([running(made.task_instance_ids[0]!)]));
    expect(reply?.status).toBe(answered);
    expect(await only(made)).toMatchObject({ status: answered, task_status: task, nodename: 'n1' });
  });

  test('E19 reads the output folders from the resources, and survives resources that are no JSON', async () => {
    const made = await workflow('O', { tasks: 2 });
    const { machine } = startMachine(database());
    const set = (text: string): Promise<number> =>
      execute(database(), 'UPDATE task_resources SET requested_resources = ? WHERE id = ?', [text, made.task_resources_id]);
    await set('{"stdout": "/logs/a", "stderr": 5}');
    const [first] = replies(await machine.report([running(made.task_instance_ids[0]!)]));
    expect(first).toMatchObject({ stdout_dir: '/logs/a', stderr_dir: null });
    await set("{'stdout': '/logs'}");
    const [second] = replies(await machine.report([running(made.task_instance_ids[1]!)]));
    expect(second).toMatchObject({ status: 'R', stdout_dir: null });
  });

  test('E20 stores only what was sent, in any status, and brings T back (races 27 and 38)', async () => {
    const made = await workflow('T');
    const { machine } = startMachine(database());
    const [id] = made.task_instance_ids as [number];
    expect(replies(await machine.report([beat(id, { stdout: '/o', distributor_id: '5' })]))).toEqual([{ status: 'R' }]);
    expect(replies(await machine.report([beat(id, { stderr: '/e', stdout: null })]))).toEqual([{ status: 'R' }]);
    expect(await only(made)).toMatchObject({ status: 'R', task_status: 'R', stdout: '/o', stderr: '/e', distributor_id: '5' });
    const killed = await workflow('K');
    expect(replies(await machine.report([beat(killed.task_instance_ids[0]!)]))).toEqual([{ status: 'K' }]);
    expect(String((await only(killed)).report_by_date)).toMatch(/^\d{4}-/);
  });

  test('E22 from R, T and K counts; a repeat and a late one answer what stands, and keep what was sent', async () => {
    const { machine } = startMachine(database());
    for (const status of ['R', 'T', 'K'] as const) {
      const made = await workflow(status);
      const [id] = made.task_instance_ids as [number];
      expect(replies(await machine.report([done(id)]))).toEqual([{ status: 'D' }]);
      expect(replies(await machine.report([done(id), failed(id)]))).toEqual([{ status: 'D' }, { status: 'D' }]);
      expect(await only(made)).toMatchObject({ status: 'D', task_status: 'D', stdout_log: 'out', stderr_log: 'err' });
      expect(await historyOf(database(), id)).toEqual(['D']);
    }
    const failedBefore = await workflow('E');
    expect(replies(await machine.report([done(failedBefore.task_instance_ids[0]!, { stdout_log: 'kept' })]))).toEqual([
      { status: 'E' },
    ]);
    expect(await only(failedBefore)).toMatchObject({ status: 'E', task_status: 'G', stdout_log: 'kept' });
  });

  test('E23 retries while attempts are left and is fatal when they are used up', async () => {
    const { machine } = startMachine(database());
    const expected = [
      ['E', 'G', 'F'],
      ['Z', 'A', 'F'],
      ['U', 'G', 'F'],
    ] as const;
    for (const [state, left, usedUp] of expected) {
      const more = await workflow('R');
      const last = await workflow('R', { max_attempts: 1 });
      await machine.report([failed(more.task_instance_ids[0]!, state), failed(last.task_instance_ids[0]!, state)]);
      expect(await only(more)).toMatchObject({ status: state, task_status: left });
      expect(await only(last)).toMatchObject({ status: state, task_status: usedUp });
    }
    const running = await workflow('R');
    expect(replies(await machine.report([failed(running.task_instance_ids[0]!, 'F')]))).toEqual([{ status: 'R' }]);
  });

  test('one error row for each instance, state and text, however often it is sent (race 40)', async () => {
    const made = await workflow('K');
    const { machine } = startMachine(database());
    const [id] = made.task_instance_ids as [number];
    // E is untimely on a killed attempt; its text is kept once. F with the same text is another state.
    await machine.report([failed(id, 'E'), failed(id, 'E')]);
    await machine.report([failed(id, 'E')]);
    expect(await errorsOf(database(), id)).toEqual(['it broke']);
    await machine.report([failed(id, 'F'), failed(id, 'F')]);
    await machine.report([failed(id, 'F')]);
    expect(await errorsOf(database(), id)).toEqual(['it broke', 'it broke']);
    await machine.report([failed(id, 'E', { error_description: 'It broke' })]);
    expect(await errorsOf(database(), id)).toEqual(['it broke', 'it broke', 'It broke']);
    expect(await only(made)).toMatchObject({ status: 'F', task_status: 'F' });
  });

  test('output of any kind is kept exactly, its last 10,000 characters', async () => {
    const made = await workflow('R', { tasks: 2 });
    const { machine } = startMachine(database());
    const text = `a\u0000b\u0001\n\r\t"'\\ ünï 😀 \u2028 ${'{"x":1}'}`;
    const long = `${'x'.repeat(50_000)}${'😀'.repeat(9_999)}!`;
    await machine.report([
      done(made.task_instance_ids[0]!, { stdout_log: text, stderr_log: long }),
      failed(made.task_instance_ids[1]!, 'E', { error_description: long, stdout_log: '\ud83d' }),
    ]);
    const [first, second] = await standing(database(), made.task_instance_ids);
    expect(first?.stdout_log).toBe(text);
    expect(first?.stderr_log).toBe(`${'😀'.repeat(9_999)}!`);
    expect(second?.stdout_log).toBe('\ufffd');
    expect(await errorsOf(database(), made.task_instance_ids[1]!)).toEqual([`${'😀'.repeat(9_999)}!`]);
  });

  test('an unknown instance is NOT_FOUND, and the others of its batch are not held up', async () => {
    const made = await workflow('R');
    const { machine } = startMachine(database());
    const outcomes = await machine.report([done(2_000_000_000), done(made.task_instance_ids[0]!)]);
    expect(outcomes).toMatchObject([{ error: { code: 'NOT_FOUND' } }, { ok: { status: 'D' } }]);
  });

  test('a run that the server drives is not changed by any of them (design rule 5.7)', async () => {
    const made = await insertWorkflow(database(), { instance_status: 'R', task_status: 'R' });
    const { machine } = startMachine(database());
    const [id] = made.task_instance_ids as [number];
    const before = await standing(database(), [id]);
    const answers = replies(await machine.report([running(id), beat(id, { stdout: '/o' }), done(id), failed(id)]));
    expect(answers.map((answer) => answer.status)).toEqual(['R', 'R', 'R', 'R']);
    expect(await standing(database(), [id])).toEqual(before);
    expect(await errorsOf(database(), id)).toEqual([]);
  });

  test('an older attempt is recorded and moves nothing; NULL means the newest one is current (race 29)', async () => {
    const made = await workflow('R');
    const { machine } = startMachine(database());
    const [old] = made.task_instance_ids as [number];
    const newer = await execute(
      database(),
      'INSERT INTO task_instance (workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, status) ' +
        "VALUES (?, ?, ?, ?, 2, 0, 'R')",
      [made.workflow_run_id, made.array_id, made.task_ids[0]!, made.task_resources_id],
    );
    await execute(database(), 'UPDATE task SET current_task_instance_id = NULL WHERE id = ?', [made.task_ids[0]!]);
    expect(replies(await machine.report([failed(old)]))).toEqual([{ status: 'E' }]);
    expect(await standing(database(), [old])).toMatchObject([{ status: 'E', task_status: 'R' }]);
    expect(replies(await machine.report([done(newer)]))).toEqual([{ status: 'D' }]);
    expect(await standing(database(), [newer])).toMatchObject([{ status: 'D', task_status: 'D' }]);
  });

  test('a reset task is not moved by what still runs, and an attempt that asks to start ends', async () => {
    const made = await workflow('O', { tasks: 2 });
    const { machine } = startMachine(database());
    await execute(
      database(),
      "UPDATE task SET status = 'G', current_task_instance_id = 0, num_attempts = 0 WHERE workflow_id = ?",
      [made.workflow_id],
    );
    const [first, second] = made.task_instance_ids as [number, number];
    const [reply] = replies(await machine.report([running(first)]));
    expect(reply?.status).toBe('F');
    await execute(database(), "UPDATE task_instance SET status = 'R' WHERE id = ?", [second]);
    expect(replies(await machine.report([done(second)]))).toEqual([{ status: 'D' }]);
    expect(await standing(database(), [first, second])).toMatchObject([{ task_status: 'G' }, { task_status: 'G' }]);
  });

  test('names the moved tasks after the commit, and only those', async () => {
    const made = await workflow('R', { tasks: 3 });
    const { machine, messenger } = startMachine(database());
    const told: unknown[] = [];
    const isTold = new Promise<void>((resolve) => {
      messenger.subscribe(taskChanged, (payload) => {
        told.push(payload);
        if (payload.task_ids.includes(made.task_ids[2]!)) resolve();
      });
    });
    const [first, second, third] = made.task_instance_ids as [number, number, number];
    await machine.report([done(second), beat(first), done(second)]);
    await machine.report([done(third)]);
    await isTold;
    const run = { workflow_id: made.workflow_id, workflow_run_id: made.workflow_run_id };
    expect(told).toEqual([
      { ...run, task_ids: [made.task_ids[1]] },
      { ...run, task_ids: [made.task_ids[2]] },
    ]);
  });
});

describeOnDatabases('reports of agents', (database) => {
  const leased = async (status: 'I' | 'R' | 'K' | 'O' = 'I', more: object = {}) => {
    const agent = await insertAgent(database());
    const task = { I: 'I', R: 'R', K: 'R', O: 'O' } as const;
    const made = await insertWorkflow(database(), {
      instance_status: status,
      task_status: task[status],
      agent_id: agent,
      ...more,
    });
    return { agent, made, id: made.task_instance_ids[0]!, before: await countTasks(database(), made.workflow_id) };
  };

  test('an end straight from I passes through R, and everything told is stored', async () => {
    const { agent, made, id, before } = await leased();
    const { machine } = startMachine(database());
    const report = attempt(agent, id, 'D', {
      exit_code: 0,
      nodename: 'n7',
      process_group_id: 4711,
      stdout: '/o',
      stderr: '/e',
      stdout_log: 'hello',
      wallclock_seconds: 1.25,
    });
    expect(replies(await machine.report([report]))).toEqual([{ task_instance_id: id, status: 'D' }]);
    expect(await historyOf(database(), id)).toEqual(['R', 'D']);
    const [row] = await standing(database(), [id]);
    expect(row).toMatchObject({
      status: 'D',
      task_status: 'D',
      exit_code: 0,
      nodename: 'n7',
      process_group_id: 4711,
      stdout: '/o',
      stderr: '/e',
      stdout_log: 'hello',
      wallclock: '1.25',
    });
    expect(String(row?.submitted_date)).toMatch(/^\d{4}-/);
    await expectTruth(database(), made.workflow_id, before);
  });

  test.each([
    ['I', 'W', ['W'], 'G'],
    ['I', 'E', ['R', 'E'], 'G'],
    ['I', 'Z', ['R', 'Z'], 'A'],
    ['I', 'U', ['R', 'U'], 'G'],
    ['R', 'U', ['U'], 'G'],
    ['K', 'E', ['F'], 'F'],
    ['K', 'D', ['D'], 'D'],
    ['O', 'U', ['U'], 'G'],
  ] as const)('%s reported as %s has the history %j and leaves the task at %s', async (from, status, history, task) => {
    const { agent, id } = await leased(from);
    const { machine } = startMachine(database());
    await machine.report([attempt(agent, id, status, { error_description: 'why' })]);
    expect(await historyOf(database(), id)).toEqual(history);
    expect(await standing(database(), [id])).toMatchObject([{ status: history.at(-1), task_status: task }]);
  });

  test.each([
    ['K', 'D', 'G', ['F']],
    ['K', 'D', 'A', ['F']],
    ['K', 'D', 'F', ['F']],
    ['R', 'D', 'G', ['K', 'F']],
    ['R', 'E', 'A', ['K', 'F']],
    ['I', 'D', 'G', ['K', 'F']],
  ] as const)(
    '%s reported as %s ends although another program has put its task to %s, where the task stays (race 24)',
    async (from, status, task_status, history) => {
      const { agent, made, id, before } = await leased(from, { task_status });
      const { machine } = startMachine(database());
      const report = attempt(agent, id, status, { exit_code: 0, stdout_log: 'hello' });
      expect(replies(await machine.report([report, report])).map((reply) => reply.status)).toEqual(['F', 'F']);
      expect(await historyOf(database(), id)).toEqual(history);
      expect(await standing(database(), [id])).toMatchObject([{ status: 'F', task_status, stdout_log: 'hello' }]);
      await expectTruth(database(), made.workflow_id, before);
    },
  );

  test('reports of one instance in one batch are applied in order; repeats and late ones change nothing', async () => {
    const { agent, made, id, before } = await leased();
    const { machine } = startMachine(database());
    const batch = [
      attempt(agent, id, 'R', { nodename: 'n1' }),
      attempt(agent, id, 'E', { exit_code: 3, error_description: 'exit 3' }),
      attempt(agent, id, 'E', { exit_code: 4, error_description: 'exit 4' }),
      attempt(agent, id, 'D', { exit_code: 0 }),
      attempt(agent, id, 'R'),
    ];
    expect(replies(await machine.report(batch)).map(({ status }) => status)).toEqual(['R', 'E', 'E', 'E', 'E']);
    expect(replies(await machine.report(batch)).map(({ status }) => status)).toEqual(['E', 'E', 'E', 'E', 'E']);
    expect(await historyOf(database(), id)).toEqual(['R', 'E']);
    expect(await errorsOf(database(), id)).toEqual(['exit 3']);
    expect(await standing(database(), [id])).toMatchObject([{ exit_code: 3, nodename: 'n1', task_status: 'G' }]);
    await expectTruth(database(), made.workflow_id, before);
  });

  test('only the agent that holds the instance is heard, only on server runs; an unknown instance is null', async () => {
    const { agent, id } = await leased('R');
    const stranger = await insertAgent(database());
    const client = await insertWorkflow(database(), {
      driver: 'client',
      instance_status: 'R',
      task_status: 'R',
      agent_id: agent,
    });
    const { machine } = startMachine(database());
    const answers = replies(
      await machine.report([
        attempt(stranger, id, 'D'),
        attempt(agent, client.task_instance_ids[0]!, 'D'),
        attempt(agent, 2_000_000_000, 'D'),
      ]),
    );
    expect(answers.map(({ status }) => status)).toEqual(['R', 'R', null]);
    expect(await standing(database(), [id])).toMatchObject([{ status: 'R', task_status: 'R' }]);
  });
});
