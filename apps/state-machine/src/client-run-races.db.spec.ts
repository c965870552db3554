/**
 * Whole client runs under fire: everything that a swarm, a distributor and workers may send, chosen at random, each message twice, in
 * two processes at once, with attempts going silent between. Whatever happens, the truths hold after every round. A failure names its
 * seed, from which every choice follows; what the choices meet depends on timing.
 */
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow } from '@jobmon/testkit';
import { countTasks, execute, expectTruth, startMachine, type Started } from '../test/started-machine';
import { ClientRuns } from './client-run';
import type { Report, ReportReply } from './task-instance';

const SEEDS = [1, 2, 3];
const TASKS = 60;
const ROUNDS = 12;

/** A small generator of numbers from 0 to below 1, the same for the same seed (mulberry32). */
function numbersFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

describeOnDatabases('a client run under fire', (database) => {
  /** One process: its reports and its batches. */
  const process = (writer: string): { machine: Started['machine']; runs: ClientRuns } => {
    const { machine, messenger } = startMachine(database(), writer);
    const log = { error: () => undefined, warn: () => undefined } as never;
    return { machine, runs: new ClientRuns({ log, messenger, database: database(), writer }) };
  };

  const attempts = (made: InsertedWorkflow) =>
    database().read<{ id: number; task_id: number; status: string; batch: number; step: number }>(
      'SELECT id, task_id, status, array_batch_num AS batch, array_step_id AS step FROM task_instance WHERE workflow_run_id = ? ORDER BY id',
      [made.workflow_run_id],
    );

  test.each(SEEDS)('races 10, 13, 33, 34, 36: seed %i', async (seed) => {
    const random = numbersFrom(seed);
    const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
    const some = <T>(from: readonly T[], share: number): T[] => from.filter(() => random() < share);
    const made = await insertWorkflow(database(), { driver: 'client', tasks: TASKS, max_attempts: 4 });
    const before = await countTasks(database(), made.workflow_id);
    const both = [process(`one${seed}`), process(`two${seed}`)];
    const { array_id, task_resources_id, workflow_run_id } = made;

    /** One message of the protocol about what stands now; sent twice at once by `twice`. */
    const message = (rows: Awaited<ReturnType<typeof attempts>>): ((to: (typeof both)[number]) => Promise<unknown>) => {
      const ids = some(rows, 0.5).map(({ id }) => id);
      const batch_number = rows.length === 0 ? 1 : pick(rows).batch;
      const next_report_increment = 279;
      const report = (reports: Report[]) => (to: (typeof both)[number]) => to.machine.report<ReportReply>(reports);
      switch (Math.floor(random() * 12)) {
        case 0:
        case 1: {
          const task_ids = some(made.task_ids, 0.6);
          return ({ runs }) => runs.queueTaskBatch({ array_id, task_ids, task_resources_id, workflow_run_id });
        }
        case 2:
        case 3:
          return ({ runs }) => runs.instantiate({ task_instance_ids: ids });
        case 4:
          return ({ runs }) => runs.transitionToLaunched({ array_id, batch_number, next_report_increment });
        case 5:
          return ({ runs }) => runs.transitionToKilled({ array_id, batch_number });
        case 6:
          return ({ runs }) => runs.setStatusForTriaging({ workflow_run_id });
        case 7:
          return ({ runs }) => runs.logReportByBatch({ next_report_increment, task_instance_ids: ids });
        case 8:
          return ({ runs }) => runs.logDistributorIds({ array_id, ...Object.fromEntries(ids.map((id) => [id, `8_${id}`])) });
        case 9:
          return report(
            ids.map((task_instance_id) => ({
              name: 'log_running',
              request: { task_instance_id, process_group_id: 7, nodename: 'n', next_report_increment },
            })),
          );
        case 10:
          return report(
            ids.map((task_instance_id): Report => {
              const error_state = pick(['E', 'Z', 'U', 'F'] as const);
              return pick<Report>([
                { name: 'log_done', request: { task_instance_id } },
                { name: 'log_error_worker_node', request: { task_instance_id, error_state, error_description: 'worker' } },
                { name: 'log_report_by', request: { task_instance_id, next_report_increment } },
              ]);
            }),
          );
        default:
          return report(
            some(ids, 0.3).map((task_instance_id): Report => {
              const error_state = pick(['E', 'Z', 'F'] as const);
              return pick<Report>([
                { name: 'log_known_error', request: { task_instance_id, error_state, error_message: 'cluster' } },
                { name: 'log_unknown_error', request: { task_instance_id, error_state: 'U', error_message: 'lost' } },
                { name: 'log_no_distributor_id', request: { task_instance_id, no_id_err_msg: 'refused' } },
                { name: 'log_distributor_id', request: { task_instance_id, distributor_id: '9', next_report_increment } },
              ]);
            }),
          );
      }
    };

    for (let round = 0; round < ROUNDS; round += 1) {
      const rows = await attempts(made);
      const sent = Array.from({ length: 6 }, () => message(rows));
      const answers = await Promise.all(sent.flatMap((send) => both.map((to) => send(to))));
      for (const outcomes of answers.filter(Array.isArray)) {
        for (const outcome of outcomes) expect(outcome).toHaveProperty('ok');
      }
      // Time passes: some fall silent, and some of those long ago.
      const silent = some(rows, 0.2).map(({ id }) => id);
      if (silent.length > 0) {
        await execute(
          database(),
          `UPDATE task_instance SET report_by_date = '2020-01-01 00:00:00', status_date = ${database().dialect.nowPlusSeconds} WHERE id IN (${silent.join(',')})`,
          [pick([-1, -1_000])],
        );
      }
      await expectTruth(database(), made.workflow_id, before);
    }

    const rows = await attempts(made);
    const tasks = await database().read<{ id: number; n: number; current: number | null; max: number }>(
      'SELECT id, num_attempts AS n, current_task_instance_id AS current, max_attempts AS max FROM task WHERE workflow_id = ? ORDER BY id',
      [made.workflow_id],
    );
    for (const task of tasks) {
      const own = rows.filter((row) => row.task_id === task.id);
      expect([task.id, task.n, task.current]).toEqual([task.id, own.length, own.at(-1)?.id ?? null]);
      expect(task.n).toBeLessThanOrEqual(task.max);
      // A task is queued again only when its attempt has ended.
      expect(own.slice(0, -1).filter((row) => 'QIORTXK'.includes(row.status))).toEqual([]);
    }
    const steps = new Map<number, number[]>();
    for (const row of rows) steps.set(row.batch, [...(steps.get(row.batch) ?? []), row.step]);
    for (const own of steps.values()) expect(own).toEqual(own.map((_, step) => step));
    const twins = await database().read(
      'SELECT e.task_instance_id FROM task_instance_error_log AS e JOIN task_instance AS ti ON ti.id = e.task_instance_id ' +
        // E26 may have been refused once before it was accepted, which are two states of one text.
        "WHERE ti.workflow_run_id = ? GROUP BY e.task_instance_id, e.description HAVING COUNT(*) > CASE e.description WHEN 'refused' THEN 2 WHEN 'worker' THEN 2 ELSE 1 END",
      [made.workflow_run_id],
    );
    expect(twins).toEqual([]);
    expect(rows.length).toBeGreaterThan(TASKS / 2);
  });
});
