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
  const running = async () => {
    const made = await insertWorkflow(database(), { driver: 'client', instance_status: 'R', task_status: 'R' });
    return { ...made, id: made.task_instance_ids[0] as number, before: await countTasks(database(), made.workflow_id) };
  };
  const pair = async (id: number): Promise<string> => {
    const [row] = await standing(database(), [id]);
    return `${row?.status}${row?.task_status}`;
  };
  const byWorker = (id: number): Report => ({
    name: 'log_error_worker_node',
    request: { task_instance_id: id, error_state: 'E', error_description: 'exit code 1', nodename: 'n1', stderr_log: 'the end' },
  });
  const byDistributor = (id: number): Report => ({
    name: 'log_known_error',
    request: { task_instance_id: id, error_state: 'E', error_message: 'exit code 1' },
  });

  test('race 3: worker and distributor report the same failure at once and often, and it counts once', async () => {
    const { id, workflow_id, before } = await running();
    const [one, two] = [startMachine(database(), 'one').machine, startMachine(database(), 'two').machine];
    const told = [byWorker(id), byDistributor(id), byDistributor(id), byWorker(id)];
    await Promise.all(told.map((report, at) => [one, two][at % 2]!.report([report, report])));
    expect(await pair(id)).toBe('EG');
    expect(await historyOf(database(), id)).toEqual(['E']);
    expect(await database().read('SELECT num_attempts AS n FROM task WHERE workflow_id = ?', [workflow_id])).toEqual([{ n: 1 }]);
    await expectTruth(database(), workflow_id, before);
  });

  test('races 13, 37: a try that broke before its commit leaves nothing, and the next one writes all of it', async () => {
    const { id, workflow_id, before } = await running();
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
    const { id } = await running();
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
});
