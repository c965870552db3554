/**
 * What happens at once: reports of the same attempts in batches that are in flight together, repeated and out of order, while
 * their agent is given up and their tasks are queued again. Two state machines on one database stand for two processes.
 */
import type { AttemptReport } from '@jobmon/contracts';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import { countTasks, expectTruth, insertAgent, replies, standing, startMachine } from '../test/started-machine';
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
