/**
 * The verbs at once: each beside each, twice, from two state machines on one database, which stand for two processes; and commands that
 * are cut off after a piece. Whatever came first, the truths hold, at most one run is live, and all of it comes to an end.
 */
import type { TaskInstanceStatus, TaskStatus } from '@jobmon/contracts';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import { dyingAfter } from '../test/interposed';
import { countTasks, expectTruth, insertAgent, standing } from '../test/started-machine';
import { letters, startOperator, tasksAt, verbs } from '../test/started-operator';

type Started = ReturnType<typeof startOperator>;

const LIVE: readonly (readonly [TaskInstanceStatus, TaskStatus])[] = [
  ['Q', 'Q'],
  ['I', 'I'],
  ['R', 'R'],
  ['E', 'F'],
  ['D', 'D'],
];

/** Each verb as one state machine asks for it; a refusal is an answer too. */
const VERBS = {
  pause: ({ operator }: Started, who: Who) => operator.pause(who),
  drain: ({ operator }: Started, who: Who) => operator.stop(who, 'drain'),
  cancel: ({ operator }: Started, who: Who) => operator.stop(who, 'cancel'),
  cold_resume: ({ operator }: Started, who: Who) => operator.resume({ ...who, mode: 'cold', resources: [], client_version: '1' }),
  hot_resume: ({ operator }: Started, who: Who) => operator.resume({ ...who, mode: 'hot', resources: [], client_version: '1' }),
  retry: ({ operator }: Started, who: Who) =>
    operator.retry({ ...who, task_ids: 'failed', with_downstream: false, client_version: '1' }),
  reset: ({ operator }: Started, who: Who) => operator.startOver({ ...who, keep_done: false }),
  set_limits: ({ operator }: Started, who: Who) =>
    operator.setLimits({ ...who, max_concurrently_running: 3, task_templates: {} }),
  take_over: ({ wide }: Started, who: Who) => wide.setResume({ ...who, reset_running_jobs: true }),
};
interface Who {
  readonly workflow_id: number;
  readonly user: string;
  readonly reason: string;
}

const NAMES = Object.keys(VERBS) as (keyof typeof VERBS)[];
const PAIRS = NAMES.flatMap((one, at) => NAMES.slice(at).map((two) => [one, two] as const));

describeOnDatabases('verbs at once', (database) => {
  const insert = async () => {
    const agent_id = await insertAgent(database());
    const made = await insertWorkflow(database(), {
      tasks: 10,
      instance_status: (at) => LIVE[at % LIVE.length]![0],
      task_status: (at) => LIVE[at % LIVE.length]![1],
      agent_id,
    });
    return { ...made, agent_id, before: await countTasks(database(), made.workflow_id) };
  };
  const liveRuns = async (workflow_id: number): Promise<number[]> => {
    const rows = await database().read<{ id: number }>(
      "SELECT id FROM workflow_run WHERE workflow_id = ? AND status IN ('L','B','I','O','R','C','H') ORDER BY id",
      [workflow_id],
    );
    return rows.map(({ id }) => id);
  };
  const waiting = (workflow_id: number) =>
    database().read('SELECT operation FROM workflow_command WHERE workflow_id = ?', [workflow_id]);
  /** All that agents hold ends, as after a kill; then what a scheduler does until nothing waits any more. */
  const bringToAnEnd = async ({ machine, operator, wide }: Started, made: Awaited<ReturnType<typeof insert>>): Promise<void> => {
    for (let round = 0; round < 4; round += 1) {
      if (
        round > 0 &&
        (await waiting(made.workflow_id)).length === 0 &&
        !/[CH]/.test((await letters(database(), made.workflow_id)).slice(1).join(''))
      )
        return;
      const rows = await standing(database(), made.task_instance_ids);
      await machine.report(
        rows
          .filter(({ status }) => 'IRK'.includes(status))
          .map(({ id }) => ({
            name: 'report_attempt',
            request: { agent_id: made.agent_id, report: { task_instance_id: id, status: 'E' } as never },
          })),
      );
      for (const run of await liveRuns(made.workflow_id)) await operator.settle(run);
      await wide.continueCommand(made.workflow_id);
    }
  };

  test('each beside each, twice, from two processes', async () => {
    const [one, two] = [startOperator(database(), 'one'), startOperator(database(), 'two')];
    const refusals = new Set<string>();
    const meet = async (first: keyof typeof VERBS, second: keyof typeof VERBS): Promise<void> => {
      const made = await insert();
      const ask = async (started: Started, verb: keyof typeof VERBS): Promise<void> => {
        await VERBS[verb](started, { workflow_id: made.workflow_id, user: 'ada', reason: verb }).catch((error: Error) => {
          refusals.add((error as Error & { code?: string }).code ?? String(error));
        });
      };
      await Promise.all([ask(one, first), ask(two, second), ask(two, first), ask(one, second)]);
      await bringToAnEnd(one, made);
      await expectTruth(database(), made.workflow_id, made.before);
      const [workflow, ...runs] = await letters(database(), made.workflow_id);
      const live = runs.filter((letter) => 'LBIORCH'.includes(letter));
      const label = `${first} beside ${second}: ${[workflow, ...runs].join('')}`;
      expect([label, live.length <= 1, live.every((letter) => 'BR'.includes(letter))]).toEqual([label, true, true]);
      // No verb that changes once is recorded twice.
      const recorded = (await verbs(database(), made.workflow_id)).map((event) => event.split(' ').at(-1));
      for (const once of ['set_limits', 'take_over', 'cancel']) {
        expect([label, once, recorded.filter((verb) => verb === once).length <= 1]).toEqual([label, once, true]);
      }
      expect([label, await waiting(made.workflow_id)]).toEqual([label, []]);
      if (live.length > 0) {
        await VERBS.cancel(two, { workflow_id: made.workflow_id, user: 'ada', reason: '' });
        await bringToAnEnd(two, made);
      }
      expect([label, await liveRuns(made.workflow_id)]).toEqual([label, []]);
    };
    // Each pair has a workflow of its own, so several meet at one time.
    for (let at = 0; at < PAIRS.length; at += 9) {
      await Promise.all(PAIRS.slice(at, at + 9).map(([first, second]) => meet(first, second)));
    }
    expect([...refusals].filter((code) => code !== 'CONFLICT' && code !== 'UNAVAILABLE')).toEqual([]);
  });

  test('a reset, a resume and a cancel of 2,500 tasks that were cut off after a piece are ended by who comes next', async () => {
    const tasks = 2_500;
    const failed = () => insertWorkflow(database(), { tasks, task_status: 'F', run_status: 'E', workflow_status: 'F' });
    const [reset, resumed] = [await failed(), await failed()];
    const cancelled = await insertWorkflow(database(), { tasks, instance_status: 'Q' });
    const who = ({ workflow_id }: { workflow_id: number }) => ({ workflow_id, user: 'ada', reason: '' });
    const cutOff = async (made: { workflow_id: number }, writes: number, verb: keyof typeof VERBS) => {
      const dying = startOperator(dyingAfter(database(), writes), 'dying');
      await expect(VERBS[verb](dying, who(made))).rejects.toMatchObject({ message: 'the process is gone' });
      expect((await tasksAt(database(), made.workflow_id)).G0).toBe(1_000);
    };
    await cutOff(reset, 1, 'reset');
    await cutOff(resumed, 1, 'cold_resume');
    await cutOff(cancelled, 2, 'cancel');

    // What the reaper and the scheduler ask for when they find the row and the run.
    const next = startOperator(database(), 'next');
    for (const made of [reset, resumed]) expect(await next.wide.continueCommand(made.workflow_id)).toEqual({ is_ended: true });
    expect(await next.operator.settle(cancelled.workflow_run_id)).toMatchObject({ status: 'T' });
    for (const made of [reset, resumed, cancelled]) expect(await tasksAt(database(), made.workflow_id)).toEqual({ G0: tasks });
    expect(await letters(database(), reset.workflow_id)).toEqual(['G', 'E']);
    expect(await letters(database(), resumed.workflow_id)).toEqual(['Q', 'E', 'B']);
    expect(await letters(database(), cancelled.workflow_id)).toEqual(['H', 'T']);
    for (const made of [reset, resumed, cancelled]) expect(await verbs(database(), made.workflow_id)).toHaveLength(1);
  });
});
