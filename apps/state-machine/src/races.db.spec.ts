/**
 * What happens at once: reports of the same attempts in batches that are in flight together, repeated and out of order, while
 * their agent is given up and their tasks are queued again. Two state machines on one database stand for two processes.
 */
import type { AttemptReport } from '@jobmon/contracts';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import { interposed } from '../test/interposed';
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

const TASKS = 400;

const report = (agent_id: number, task_instance_id: number, status: AttemptReport['status']): Report => ({
  name: 'report_attempt',
  request: { agent_id, report: { task_instance_id, status, ...(status === 'R' ? {} : { error_description: null }) } },
});

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, key: Math.random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

describeOnDatabases('at once', (database) => {
  const leased = async (lease_seconds: number) => {
    const agent_id = await insertAgent(database(), { lease_seconds });
    const made = await insertWorkflow(database(), {
      tasks: TASKS,
      driver: 'server',
      agent_id,
      instance_status: 'I',
      task_status: 'I',
      max_attempts: 3,
    });
    return { agent_id, ...made, before: await countTasks(database(), made.workflow_id) };
  };
  const machines = () => [startMachine(database(), 'one').machine, startMachine(database(), 'two').machine] as const;

  test('R and D of the same attempts in different batches, each sent twice: all end at D, each step once', async () => {
    const { agent_id, task_instance_ids, workflow_id, before } = await leased(60);
    const [one, two] = machines();
    const sent = await Promise.all([
      one.report(shuffled(task_instance_ids).map((id) => report(agent_id, id, 'R'))),
      two.report(shuffled(task_instance_ids).map((id) => report(agent_id, id, 'D'))),
      two.report(shuffled(task_instance_ids).map((id) => report(agent_id, id, 'R'))),
      one.report(shuffled(task_instance_ids).map((id) => report(agent_id, id, 'D'))),
    ]);
    for (const outcomes of sent) for (const { status } of replies(outcomes)) expect(['R', 'D']).toContain(status);
    const rows = await standing(database(), task_instance_ids);
    expect(rows.every((row) => row.status === 'D' && row.task_status === 'D' && row.num_attempts === 1)).toBe(true);
    await expectTruth(database(), workflow_id, before);
  });

  test('ends are reported while the agent is given up and what failed is queued again', async () => {
    const { agent_id, task_instance_ids, task_ids, workflow_id, workflow_run_id, before } = await leased(-1);
    const [one, two] = machines();
    const failing = task_instance_ids.slice(0, 100);
    const ending = task_instance_ids.slice(100);
    const queueing = async () => {
      for (let round = 0; round < 6; round += 1) {
        replies([await two.queueTasks({ workflow_run_id, task_ids: shuffled(task_ids) })]);
      }
    };
    await Promise.all([
      one.report(shuffled(ending).map((id) => report(agent_id, id, 'D'))),
      one.report(shuffled(failing).map((id) => report(agent_id, id, 'E'))),
      two.expireAgent({ agent_id }),
      queueing(),
      two.report(shuffled(task_instance_ids).map((id) => report(agent_id, id, 'R'))),
    ]);
    replies([await two.queueTasks({ workflow_run_id, task_ids: [...task_ids] })]);
    const rows = await standing(database(), task_instance_ids);
    for (const row of rows) {
      const isEnded = row.status === 'D' ? row.task_status === 'D' && row.num_attempts === 1 : row.task_status === 'Q';
      expect([row.id, row.status, row.task_status, isEnded]).toEqual([row.id, row.status, row.task_status, true]);
      expect('DEUW').toContain(row.status);
    }
    await expectTruth(database(), workflow_id, before);
  });

  test('fifty submits of one workflow make one run', async () => {
    const made = await insertWorkflow(database(), { run_status: 'E', workflow_status: 'G' });
    const both = machines();
    const request = { workflow_id: made.workflow_id, user: 'ada', working_directory: '/', client_version: '1' };
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, (_, at) => (both[at % 2] as (typeof both)[0]).submitWorkflowRun(request)),
    );
    expect(new Set(replies(outcomes).map(({ workflow_run_id }) => workflow_run_id)).size).toBe(1);
    const runs = await database().read('SELECT id FROM workflow_run WHERE workflow_id = ?', [made.workflow_id]);
    expect(runs).toHaveLength(2); // With the ended one of an earlier time.
  });
});

describeOnDatabases('reports of client runs, repeated and broken off', (database) => {
  const attempts = async (status: 'I' | 'O' | 'R' | 'T' | 'X', tasks = 1) => {
    const task_status = ({ I: 'I', O: 'O', R: 'R', T: 'R', X: 'O' } as const)[status];
    const made = await insertWorkflow(database(), { tasks, driver: 'client', instance_status: status, task_status });
    return { ...made, id: made.task_instance_ids[0] as number, before: await countTasks(database(), made.workflow_id) };
  };
  const pair = async (id: number): Promise<string> => {
    const [row] = await standing(database(), [id]);
    return `${row?.status}${row?.task_status}`;
  };
  const byWorker = (id: number, error_state: 'E' | 'Z' | 'U' | 'F' = 'E', text = 'exit code 1'): Report => ({
    name: 'log_error_worker_node',
    request: { task_instance_id: id, error_state, error_description: text, nodename: 'n1', stderr_log: 'the end' },
  });
  const byDistributor = (id: number, text = 'exit code 1'): Report => ({
    name: 'log_known_error',
    request: { task_instance_id: id, error_state: 'E', error_message: text },
  });

  test('race 3: worker and distributor report the same failure, in any order and often, and it counts once', async () => {
    for (const order of [
      [byWorker, byDistributor],
      [byDistributor, byWorker],
    ]) {
      const { id, workflow_id, before } = await attempts('R');
      const [one, two] = [startMachine(database(), 'one').machine, startMachine(database(), 'two').machine];
      for (const report of order) replies(await one.report([report(id), report(id)]));
      await Promise.all(order.map((report, at) => [one, two][at]!.report([report(id)])));
      expect(await pair(id)).toBe('EG');
      expect(await historyOf(database(), id)).toEqual(['E']);
      const [row] = await database().read<{ n: number }>('SELECT num_attempts AS n FROM task WHERE workflow_id = ?', [
        workflow_id,
      ]);
      expect(row).toEqual({ n: 1 });
      await expectTruth(database(), workflow_id, before);
    }
  });

  test.each([
    ['D', 'DD'],
    ['E', 'EG'],
    ['Z', 'ZA'],
  ] as const)('race 16: %s is accepted from an attempt that was triaged meanwhile', async (end, expected) => {
    const { id } = await attempts('T');
    const { machine } = startMachine(database());
    const report: Report = end === 'D' ? { name: 'log_done', request: { task_instance_id: id } } : byWorker(id, end);
    expect(replies(await machine.report([report]))).toEqual([expect.objectContaining({ status: end })]);
    expect(await pair(id)).toBe(expected);
    expect(await errorsOf(database(), id)).toHaveLength(end === 'D' ? 0 : 1);
  });

  test('race 25: HTTP repeats of each kind of failure leave one error row, also when they are refused', async () => {
    const noId = (id: number): Report => ({
      name: 'log_no_distributor_id',
      request: { task_instance_id: id, no_id_err_msg: 'the cluster refused it' },
    });
    const unknown = (id: number): Report => ({
      name: 'log_unknown_error',
      request: { task_instance_id: id, error_state: 'U', error_message: 'the cluster knows nothing' },
    });
    for (const [status, report, text] of [
      ['I', noId, 'the cluster refused it'],
      ['X', (id: number) => byDistributor(id), 'exit code 1'],
      ['T', unknown, 'the cluster knows nothing'],
      ['R', (id: number) => byWorker(id), 'exit code 1'],
    ] as const) {
      const { id } = await attempts(status);
      await execute(database(), `UPDATE task_instance SET report_by_date = ${database().dialect.nowPlusSeconds} WHERE id = ?`, [
        -5,
        id,
      ]);
      const [one, two] = [startMachine(database(), 'one').machine, startMachine(database(), 'two').machine];
      await Promise.all([one, two, one, two].map((machine) => machine.report([report(id), report(id)])));
      replies(await one.report([report(id)]));
      expect([status, await errorsOf(database(), id)]).toEqual([status, [text]]);
      expect(await historyOf(database(), id)).toHaveLength(1);
    }
  });

  test('races 13, 37: a try that broke before its commit leaves nothing, and the next one writes all of it', async () => {
    const { id, workflow_id, before } = await attempts('R');
    let broken = 0;
    const breaking = interposed(database(), (statement, result) => {
      // After the fields, the error row and the history were written.
      if (/task_status_count/.test(statement.sql) && broken++ < 1) throw new Error('the connection broke');
      return result;
    });
    const [outcome] = await startMachine(breaking, 'one').machine.report([byWorker(id)]);
    expect(outcome).toEqual({ error: expect.objectContaining({ code: 'INTERNAL' }) });
    expect(await pair(id)).toBe('RR');
    expect(await errorsOf(database(), id)).toEqual([]);
    expect(await historyOf(database(), id)).toEqual([]);
    const [bare] = await standing(database(), [id]);
    expect([bare?.nodename, bare?.stderr_log]).toEqual([null, null]);

    replies(await startMachine(breaking, 'one').machine.report([byWorker(id)]));
    expect(await pair(id)).toBe('EG');
    expect(await errorsOf(database(), id)).toEqual(['exit code 1']);
    const [row] = await standing(database(), [id]);
    expect([row?.nodename, row?.stderr_log]).toEqual(['n1', 'the end']);
    await expectTruth(database(), workflow_id, before);
  });

  test('race 18: three hundred refused commands leave no transaction open, and everybody else goes on', async () => {
    const { id } = await attempts('R');
    const { machine } = startMachine(database());
    const outcomes = await Promise.all(
      Array.from({ length: 100 }, (_, at) => [
        machine.report([byWorker(900_000_000 + at)]),
        machine.queueTasks({ workflow_run_id: 900_000_000 + at, task_ids: [1] }).then((outcome) => [outcome]),
        machine.moveWorkflowRun({ workflow_run_id: 900_000_000 + at, to: 'D' }).then((outcome) => [outcome]),
      ]).flat(),
    );
    expect(outcomes.flat().filter((outcome) => !('error' in outcome))).toEqual([]);
    if (database().dialect.name === 'mariadb') {
      const open = await database().read(
        `SELECT t.trx_id FROM information_schema.INNODB_TRX t JOIN information_schema.PROCESSLIST p ON p.ID = t.trx_mysql_thread_id
          WHERE p.DB = DATABASE() AND p.ID <> CONNECTION_ID()`,
      );
      expect(open).toEqual([]);
    }
    expect(replies(await machine.report([byWorker(id)]))).toEqual([expect.objectContaining({ status: 'E' })]);
  });

  test('race 55: a launch has its date whichever way it was recorded', async () => {
    const { id } = await attempts('I');
    const { machine } = startMachine(database());
    const launched: Report = {
      name: 'log_distributor_id',
      request: { task_instance_id: id, distributor_id: '8_1', next_report_increment: 93 },
    };
    replies(await machine.report([launched]));
    expect(await pair(id)).toBe('OO');
    const [row] = await database().read<{ age: number; distributor_id: string }>(
      `SELECT submitted_date IS NOT NULL AND submitted_date <= ${database().dialect.now} AS age, distributor_id FROM task_instance WHERE id = ?`,
      [id],
    );
    expect([Number(row?.age), row?.distributor_id]).toEqual([1, '8_1']);
  });

  test.each([
    ['D', 'FD'],
    ['F', 'FF'],
    ['G', 'EG'],
  ] as const)('races 24, 46: a silent launch whose task stands at %s ends all the same, as %s', async (task_status, expected) => {
    const made = await insertWorkflow(database(), { driver: 'client', instance_status: 'X', task_status });
    const [id] = made.task_instance_ids as [number];
    replies(await startMachine(database()).machine.report([byDistributor(id, 'never came')]));
    expect(await pair(id)).toBe(expected);
  });
});
