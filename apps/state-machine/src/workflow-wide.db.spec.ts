/**
 * What happens at once to client runs and whole workflows: stops, resets, overrides and the reaper beside workers that report, from two
 * state machines on one database, which stand for two processes. After each the truths hold.
 */
import { workflowFollows, type TaskInstanceStatus, type TaskStatus, type WorkflowRunStatus } from '@jobmon/contracts';
import { describeOnDatabases, insertWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { countTasks, expectTruth, standing, startMachine } from '../test/started-machine';
import type { Report } from './task-instance';
import { WorkflowWide } from './workflow-wide';

const TASKS = 300;
const ATTEMPTS: readonly (readonly [TaskInstanceStatus, TaskStatus])[] = [
  ['R', 'R'],
  ['O', 'O'],
  ['I', 'I'],
  ['Q', 'Q'],
  ['T', 'R'],
  ['K', 'R'],
];

describeOnDatabases('at once, on client runs', (database) => {
  const started = (writer: string) => {
    const { machine, messenger } = startMachine(database(), writer);
    const log = { warn() {}, error() {}, info() {} } as never;
    return { machine, wide: new WorkflowWide({ log, messenger, database: database(), writer }) };
  };
  const insert = async (more: WorkflowToInsert = {}) => {
    const made = await insertWorkflow(database(), {
      tasks: TASKS,
      driver: 'client',
      instance_status: (at) => ATTEMPTS[at % ATTEMPTS.length]![0],
      task_status: (at) => ATTEMPTS[at % ATTEMPTS.length]![1],
      ...more,
    });
    return { ...made, before: await countTasks(database(), made.workflow_id) };
  };
  const done = (task_instance_id: number): Report => ({ name: 'log_done', request: { task_instance_id } });
  const failed = (task_instance_id: number): Report => ({
    name: 'log_error_worker_node',
    request: { task_instance_id, error_state: 'E', error_description: 'failed' },
  });
  const statuses = async (workflow_id: number) => {
    const rows = await database().read<{ run: WorkflowRunStatus; workflow: string }>(
      'SELECT r.status AS run, w.status AS workflow FROM workflow AS w JOIN workflow_run AS r ON r.workflow_id = w.id WHERE w.id = ?',
      [workflow_id],
    );
    return rows[0]!;
  };

  test('E57 E22 E23 E46: a drain beside workers that end: a success counts, nothing is left (races 4, 5, 30, 32)', async () => {
    const made = await insert({ run_status: 'C' });
    const [one, two] = [started('one'), started('two')];
    const { workflow_run_id, workflow_id, task_instance_ids } = made;
    const terminated = await Promise.all([
      one.wide.terminate({ workflow_run_id }),
      two.wide.terminate({ workflow_run_id }),
      one.machine.report(task_instance_ids.filter((_, at) => at % 12 === 0).map(done)),
      two.machine.report(task_instance_ids.filter((_, at) => at % 12 === 6).map(failed)),
    ]);
    await one.wide.terminate({ workflow_run_id });
    const rows = await standing(database(), task_instance_ids);
    expect([...new Set(rows.map(({ status }) => status))].sort().join('')).toMatch(/^DE?FK$/);
    // What ran and returned 0 is done, whether its order to stop came first or not.
    for (const [at, row] of rows.entries()) if (at % 12 === 0) expect([row.status, row.task_status]).toEqual(['D', 'D']);
    const { num_cleaned_up, num_workflow_runs_finalized } = await two.wide.forceCleanup({ workflow_id });
    expect([num_cleaned_up > 0, num_workflow_runs_finalized]).toEqual([true, 1]);
    const ends = await standing(database(), task_instance_ids);
    expect(ends.filter(({ status }) => !'DEF'.includes(status))).toEqual([]);
    expect(ends.filter(({ status, task_status }) => status !== 'D' && task_status === 'D')).toEqual([]);
    expect(terminated[0].num_terminated + terminated[1].num_terminated).toBeLessThanOrEqual(TASKS);
    expect(await statuses(workflow_id)).toEqual({ run: 'T', workflow: 'H' });
    await expectTruth(database(), workflow_id, made.before);
  });

  test('E13 E18 E22: resets beside late reports: no report of an attempt before the reset moves its task (races 28, 29, 46)', async () => {
    const made = await insert({ run_status: 'E', workflow_status: 'F' });
    const [one, two] = [started('one'), started('two')];
    const { workflow_id, task_ids, task_instance_ids } = made;
    await Promise.all([
      one.wide.setResumeState({ workflow_id, reset_if_running: true }),
      two.wide.resetTasks({ workflow_id, task_ids: [...task_ids], reset_if_running: true }),
      one.machine.report(task_instance_ids.filter((_, at) => at % 2 === 0).map(done)),
      two.machine.report(task_instance_ids.filter((_, at) => at % 2 === 1).map(failed)),
    ]);
    await one.wide.setResumeState({ workflow_id, reset_if_running: true });
    for (const row of await standing(database(), task_instance_ids)) {
      if (row.task_status === 'D') expect(row.status).toBe('D');
      else expect([row.task_status, row.num_attempts, row.current_task_instance_id]).toEqual(['G', 0, 0]);
    }
    await one.wide.forceCleanup({ workflow_id });
    const left = await standing(database(), task_instance_ids);
    expect(left.filter(({ status }) => 'QIORTXK'.includes(status))).toEqual([]);
    await expectTruth(database(), workflow_id, made.before);
  });

  test('C4 beside reports and itself: each task ends where the last of them put it, counted right (race 47)', async () => {
    const made = await insert({ run_status: 'T', workflow_status: 'H' });
    const [one, two] = [started('one'), started('two')];
    const { workflow_id, task_ids, task_instance_ids } = made;
    const update = (wide: WorkflowWide, new_status: 'D' | 'G') =>
      wide.updateTaskStatuses({ workflow_id, task_ids: [...task_ids], new_status, recursive: false });
    await Promise.all([
      update(one.wide, 'G'),
      update(two.wide, 'D'),
      update(one.wide, 'D'),
      update(two.wide, 'G'),
      one.machine.report(task_instance_ids.map(done)),
    ]);
    const rows = await standing(database(), task_instance_ids);
    expect(new Set(rows.map(({ current_task_instance_id }) => current_task_instance_id))).toEqual(new Set([0]));
    expect([...new Set(rows.map(({ task_status }) => task_status))].join('')).toMatch(/^[DG]{1,2}$/);
    const counted = await database().read<{ status: string; n: number }>(
      'SELECT status, SUM(n) AS n FROM task_status_count WHERE workflow_id = ? GROUP BY status',
      [workflow_id],
    );
    const truth = await countTasks(database(), workflow_id);
    for (const { status, n } of counted)
      expect([status, (made.before.get(status) ?? 0) + Number(n)]).toEqual([status, truth.get(status) ?? 0]);
  });

  test('E44 E58 E59 P4: a run that is resumed, ended, beaten for and reaped at once moves with its workflow or not at all (races 41, 42)', async () => {
    const [one, two] = [started('one'), started('two')];
    for (let round = 0; round < 12; round += 1) {
      const made = await insert({ tasks: 1, instance_status: 'D', task_status: 'D', deadline_seconds: -1 });
      const { workflow_id, workflow_run_id } = made;
      const report = (wide: WorkflowWide, status: string, seconds: number | null = null) =>
        wide.report({ workflow_run_id, status, seconds });
      await Promise.all([
        one.wide.setResume({ workflow_id, reset_running_jobs: true }),
        two.wide.setResume({ workflow_id, reset_running_jobs: false }),
        report(one.wide, 'D'),
        report(two.wide, 'E'),
        report(one.wide, 'S'),
        report(two.wide, 'T'),
        report(one.wide, 'R', 93),
        two.wide.reap({ workflow_run_id }),
      ]);
      const { run, workflow } = await statuses(workflow_id);
      expect([run, workflow]).toEqual([run, workflowFollows[run] ?? 'R']);
    }
  });

  test('E56: of 16 links from two processes one wins, and again when its run has been aborted (race 43)', async () => {
    const made = await insertWorkflow(database(), { run_status: 'A', workflow_status: 'A', driver: 'client' });
    const both = [started('one').wide, started('two').wide];
    const request = { workflow_id: made.workflow_id, user: 'ada', jobmon_version: '3', next_report_increment: 93 };
    for (let round = 0; round < 3; round += 1) {
      const replies = await Promise.all(Array.from({ length: 16 }, (_, at) => both[at % 2]!.link(request)));
      const won = replies.flatMap(({ workflow_run_id }) => workflow_run_id ?? []);
      expect(won).toHaveLength(1);
      expect(await both[0]!.report({ workflow_run_id: won[0]!, status: 'A', seconds: null })).toEqual({ status: 'A' });
    }
    const rows = await database().read('SELECT id FROM workflow_run WHERE workflow_id = ?', [made.workflow_id]);
    expect(rows).toHaveLength(4);
  });
});
