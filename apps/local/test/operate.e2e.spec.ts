/**
 * What a person does to workflows that run, in one house with real commands: each verb by HTTP, its effect read from the history that the
 * state machine wrote, and measured against the moment of the verb's own row.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { Tool, type Connection, type Task, type WorkflowRun } from '@jobmon/client';
import {
  cancelWorkflow,
  drainWorkflow,
  getWorkflowHistory,
  pauseWorkflow,
  resumeWorkflow,
  retryTasks,
  setWorkflowLimits,
  setWorkflowPriority,
  type WorkflowEvent,
} from '@jobmon/contracts';
import { openDatabase } from '@jobmon/entities';
import { buildHouse, HouseProcess, insertWorkflow, until, USER, UserFolder } from '@jobmon/testkit';
import { pino } from 'pino';

/** "Effective within a second", by the rows' own times. */
const EFFECT_SECONDS = 1;

let user: UserFolder;
let house: HouseProcess;
let connection: Connection;
/** Its command heeds no SIGINT; cancelled at the start, looked at in the end. */
let stubborn: WorkflowRun;

beforeAll(async () => {
  buildHouse();
  // The stubborn command has one core to itself for most of the time.
  user = new UserFolder({ JOBMON__AGENT__CORES: '5' });
  house = await HouseProcess.start(user);
  connection = house.connection();
  stubborn = await submit('stubborn', [`trap '' INT; touch stubborn; while true; do sleep 0.2; done`], {});
  await until('the stubborn command runs', () => statuses(stubborn) === 'R');
  await connection.send(cancelWorkflow, { workflow_id: stubborn.workflowId, user: USER, reason: 'does not end' });
}, 120_000);

afterAll(async () => {
  await house.end('SIGKILL');
  await user.remove();
});

/** A workflow of one task for each command, `limit` of them at a time; a task named in `after` comes behind all others. */
async function submit(
  name: string,
  commands: readonly string[],
  options: { limit?: number; after?: string; priority?: number },
): Promise<WorkflowRun> {
  const tool = new Tool(name, { connection, defaultClusterName: 'multiprocess' });
  const workflow = tool.createWorkflow({
    name,
    ...(options.limit === undefined ? {} : { maxConcurrentlyRunning: options.limit }),
  });
  const template = tool.getTaskTemplate('step', '{command}');
  const tasks: Task[] = commands.map((command, at) =>
    workflow.addTask(template.createTask({ command }, { name: `task_${at}`, maxAttempts: 1 })),
  );
  if (options.after !== undefined) {
    workflow.addTask(template.createTask({ command: options.after }, { name: 'last', upstreams: tasks, maxAttempts: 1 }));
  }
  return workflow.submit({ workingDirectory: user.path });
}

const sleeps = (count: number, seconds: number): string[] => Array.from({ length: count }, (_, at) => `sleep ${seconds} # ${at}`);
const who = (run: WorkflowRun, reason = '') => ({ workflow_id: run.workflowId, user: USER, reason });

/** The letters of a workflow's tasks in their order. */
function statuses(run: WorkflowRun): string {
  const rows = user.rows<{ status: string }>('SELECT status FROM task WHERE workflow_id = ? ORDER BY id', run.workflowId);
  return rows.map(({ status }) => status).join('');
}

const count = (run: WorkflowRun, letters: string): number =>
  [...statuses(run)].filter((letter) => letters.includes(letter)).length;

function workflowStatus(run: WorkflowRun): string {
  return user.rows<{ status: string }>('SELECT status FROM workflow WHERE id = ?', run.workflowId)[0]!.status;
}

const moment = ({ date, microsecond }: { date: string; microsecond: number }): number =>
  Date.parse(`${date.replace(' ', 'T')}Z`) / 1_000 + microsecond / 1e6;

/** Every step of every attempt of a workflow, in seconds. */
function steps(run: WorkflowRun): { id: number; name: string; to: string; at: number }[] {
  return user
    .rows<{ id: number; name: string; to: string; date: string; microsecond: number }>(
      'SELECT h.task_instance_id AS id, t.name AS name, h.to_status AS "to", h.date AS date, h.microsecond AS microsecond ' +
        'FROM task_instance_history AS h JOIN task_instance AS ti ON ti.id = h.task_instance_id JOIN task AS t ON t.id = ti.task_id ' +
        'WHERE t.workflow_id = ? ORDER BY h.date, h.microsecond, h.rowid',
      run.workflowId,
    )
    .map((row) => ({ ...row, at: moment(row) }));
}

/** The newest event of a verb, with its moment. */
async function eventOf(run: WorkflowRun, verb: string): Promise<WorkflowEvent & { at: number }> {
  const { events } = await connection.send(getWorkflowHistory, { workflow_id: run.workflowId });
  const event = events.find((each) => each.verb === verb)!;
  return { ...event, at: moment(event) };
}

const firstAfter = (run: WorkflowRun, to: string, at: number): number =>
  Math.min(...steps(run).flatMap((step) => (step.to === to && step.at >= at ? [step.at] : [])));

describe('a workflow that runs', () => {
  it('pause: nothing new is handed out, what runs goes on; resume: the next task starts within a second', async () => {
    const run = await submit('pause', sleeps(12, 0.4), { limit: 4 });
    await until('some tasks are done', () => count(run, 'D') >= 2);
    await connection.send(pauseWorkflow, who(run, 'the disk is full'));
    await until('what ran has ended', () => count(run, 'IOR') === 0);
    const paused = await eventOf(run, 'pause');
    expect([paused.user, paused.reason]).toEqual([USER, 'the disk is full']);
    expect(count(run, 'GQ')).toBeGreaterThan(0);
    const late = steps(run).filter(({ to, at }) => to === 'I' && at > paused.at);
    expect(late.filter(({ at }) => at > paused.at + EFFECT_SECONDS)).toEqual([]);
    await connection.send(resumeWorkflow, who(run, 'there is room again'));
    await until('the workflow is done', () => workflowStatus(run) === 'D');
    const resumed = await eventOf(run, 'resume');
    expect(firstAfter(run, 'I', resumed.at) - resumed.at).toBeLessThan(EFFECT_SECONDS);
    // Between the two nothing began, however long it was.
    const between = steps(run).filter(({ to, at }) => to === 'I' && at > paused.at + EFFECT_SECONDS && at < resumed.at);
    expect(between).toEqual([]);
  });

  it('drain: what runs finishes, what was queued is given back uncounted; resume goes on from there', async () => {
    const run = await submit('drain', sleeps(12, 0.8), {});
    await until('as many run as can', () => count(run, 'R') >= 4);
    await connection.send(drainWorkflow, who(run));
    await until('the workflow is halted', () => workflowStatus(run) === 'H');
    const drained = await eventOf(run, 'drain');
    const begun = steps(run).filter(({ to, at }) => to === 'I' && at > drained.at + EFFECT_SECONDS);
    expect(begun).toEqual([]);
    expect(statuses(run)).toMatch(/^[DG]+$/);
    const done = count(run, 'D');
    expect(done).toBeGreaterThanOrEqual(4);
    const counted = user.rows<{ n: number }>('SELECT SUM(num_attempts) AS n FROM task WHERE workflow_id = ?', run.workflowId);
    expect(counted[0]!.n).toBe(done);
    await connection.send(resumeWorkflow, { ...who(run), mode: 'hot' });
    await until('the workflow is done', () => workflowStatus(run) === 'D');
    const resumed = await eventOf(run, 'resume');
    expect(firstAfter(run, 'I', resumed.at) - resumed.at).toBeLessThan(EFFECT_SECONDS);
    expect(steps(run).filter(({ to }) => to === 'D')).toHaveLength(12);
  });

  it('cancel: what runs is ordered to stop at once, dies of SIGINT, and its tasks run again after a resume', async () => {
    const run = await submit('cancel', sleeps(6, 30), {});
    await until('as many run as can', () => count(run, 'R') >= 3);
    await connection.send(cancelWorkflow, who(run, 'wrong input'));
    await until('the workflow is halted', () => workflowStatus(run) === 'H');
    const cancelled = await eventOf(run, 'cancel');
    const ordered = steps(run).filter(({ to }) => to === 'K');
    expect(ordered.length).toBeGreaterThanOrEqual(3);
    expect(Math.max(...ordered.map(({ at }) => at)) - cancelled.at).toBeLessThan(EFFECT_SECONDS);
    const ended = steps(run).filter(({ id, to }) => to === 'F' && ordered.some((order) => order.id === id));
    expect(ended).toHaveLength(ordered.length);
    // The order to the agent, SIGINT, the command's end, the report of it.
    expect(Math.max(...ended.map(({ at }) => at)) - cancelled.at).toBeLessThan(2 * EFFECT_SECONDS);
    expect(await connection.send(cancelWorkflow, who(run))).toMatchObject({ is_changed: false, is_pending: false });
    await connection.send(resumeWorkflow, who(run));
    await until('they run again', () => count(run, 'R') >= 3);
    await connection.send(cancelWorkflow, who(run));
    await until('the workflow is halted again', () => workflowStatus(run) === 'H');
  });

  it('retry: the chosen task alone runs again, then all that failed, and the workflow is done', async () => {
    const run = await submit(
      'retry',
      [0, 1, 2].map((at) => `test -e cured # ${at}`),
      { after: 'echo all' },
    );
    await until('the workflow has failed', () => workflowStatus(run) === 'F');
    expect(statuses(run)).toBe('FFFG');
    writeFileSync(path.join(user.path, 'cured'), '');
    const ids = user.rows<{ id: number }>('SELECT id FROM task WHERE workflow_id = ? ORDER BY id', run.workflowId);
    expect(await connection.send(retryTasks, { ...who(run), task_ids: [ids[1]!.id] })).toMatchObject({ tasks: 1 });
    await until(
      'the chosen task is done, and the workflow has failed again',
      () => statuses(run) === 'FDFG' && workflowStatus(run) === 'F',
    );
    const retried = await eventOf(run, 'retry');
    expect(firstAfter(run, 'I', retried.at) - retried.at).toBeLessThan(EFFECT_SECONDS);
    await connection.send(retryTasks, { ...who(run), task_ids: 'failed' });
    await until('the workflow is done', () => workflowStatus(run) === 'D');
    expect(statuses(run)).toBe('DDDD');
  });

  it('limits: raised, more run within a second; lowered, nothing is stopped and only new ones are held back', async () => {
    const run = await submit('limits', sleeps(24, 0.4), { limit: 1 });
    await until('one task is done', () => count(run, 'D') >= 1);
    await connection.send(setWorkflowLimits, { ...who(run), max_concurrently_running: 4 });
    await until('four run', () => count(run, 'R') === 4);
    const raised = await eventOf(run, 'set_limits');
    expect(raised.detail).toEqual({ before: { workflow: 1 }, after: { workflow: 4 } });
    const fourth = steps(run).filter(({ to, at }) => to === 'Q' && at >= raised.at)[2]!;
    expect(fourth.at - raised.at).toBeLessThan(EFFECT_SECONDS);
    await connection.send(setWorkflowLimits, { ...who(run), task_templates: { step: 2 } });
    const lowered = await eventOf(run, 'set_limits');
    const before = count(run, 'D');
    await until('some more are done', () => count(run, 'D') >= before + 8);
    const all = steps(run);
    const ends = new Map(all.filter(({ to }) => 'DEFZU'.includes(to)).map(({ id, at }) => [id, at]));
    const queued = all.filter(({ to }) => to === 'Q');
    for (const { id, at } of queued.filter((each) => each.at > lowered.at)) {
      const beside = queued.filter((other) => other.id !== id && other.at <= at && (ends.get(other.id) ?? Infinity) > at);
      expect(beside.length).toBeLessThan(2);
    }
    // Nothing that ran when the limit was lowered was stopped.
    expect(all.filter(({ to }) => 'KF'.includes(to))).toEqual([]);
    await connection.send(setWorkflowLimits, { ...who(run), max_concurrently_running: null, task_templates: { step: null } });
    await until('the workflow is done', () => workflowStatus(run) === 'D');
  });

  it('priority: raised in flight, the workflow that came later is served first', async () => {
    const patient = await submit('patient', sleeps(60, 0.25), {});
    await until('the first one runs', () => count(patient, 'D') >= 4);
    const urgent = await submit('urgent', sleeps(24, 0.25), { limit: 24 });
    await connection.send(setWorkflowPriority, { ...who(urgent), priority: 10 });
    await until('the urgent one is done', () => workflowStatus(urgent) === 'D');
    const raised = await eventOf(urgent, 'set_priority');
    const taken = (run: WorkflowRun) => steps(run).filter(({ to }) => to === 'I');
    const last = Math.max(...taken(urgent).map(({ at }) => at));
    const between = taken(patient).filter(({ at }) => at > raised.at + EFFECT_SECONDS && at < last);
    expect(last - raised.at).toBeGreaterThan(EFFECT_SECONDS);
    expect(between).toEqual([]);
    await connection.send(cancelWorkflow, who(patient));
    await until('the patient one is halted', () => workflowStatus(patient) === 'H');
  });

  it('cancel of a command that heeds no SIGINT: killed after ten seconds, and the workflow HALTED', async () => {
    await until('the workflow is halted', () => workflowStatus(stubborn) === 'H');
    const cancelled = await eventOf(stubborn, 'cancel');
    const end = steps(stubborn).find(({ to }) => to === 'F')!;
    expect(end.at - cancelled.at).toBeGreaterThan(9);
    expect(end.at - cancelled.at).toBeLessThan(13);
  });
});

describe('kill -9 in the middle of five pieces', () => {
  const TASKS = 5_000;

  it('a cancel and a resume are gone on with by the house that starts next', async () => {
    const folder = new UserFolder();
    folder.folder(path.relative(folder.path, folder.data));
    const database = await openDatabase({ url: `sqlite:${folder.databaseFile}`, log: pino({ level: 'silent' }) });
    // Another user's, so that no agent of this house takes them.
    const all = { tasks: TASKS, user: 'nobody', working_directory: '/tmp', max_concurrently_running: 0 };
    const queued = await insertWorkflow(database, { ...all, instance_status: 'Q' });
    const failed = await insertWorkflow(database, { ...all, task_status: 'F', run_status: 'E', workflow_status: 'F' });
    await database.close();
    const ready = (id: number): number =>
      folder.rows<{ n: number }>("SELECT COUNT(*) AS n FROM task WHERE workflow_id = ? AND status = 'G'", id)[0]!.n;
    const letters = (id: number): string => {
      const rows = folder.rows<{ s: string }>(
        'SELECT w.status || r.status AS s FROM workflow AS w JOIN workflow_run AS r ON r.workflow_id = w.id WHERE w.id = ? ORDER BY r.id DESC',
        id,
      );
      return rows[0]!.s;
    };
    let running = await HouseProcess.start(folder);
    const killWhile = async (id: number, ask: (to: Connection) => Promise<unknown>): Promise<void> => {
      const asked = ask(running.connection()).then(
        () => 'answered',
        () => 'cut off',
      );
      await until('it is in the middle', () => ready(id) > 0);
      await running.end('SIGKILL');
      expect([await asked, ready(id) < TASKS]).toEqual(['cut off', true]);
      running = await HouseProcess.start(folder);
    };
    try {
      const cancelled = queued.workflow_id;
      await killWhile(cancelled, (to) => to.send(cancelWorkflow, { workflow_id: cancelled, user: USER }, { tries_max: 1 }));
      await until('the run has ended', () => letters(cancelled) === 'HT');
      expect(ready(cancelled)).toBe(TASKS);

      const resumed = failed.workflow_id;
      await killWhile(resumed, (to) => to.send(resumeWorkflow, { workflow_id: resumed, user: 'nobody' }, { tries_max: 1 }));
      await until('the next run goes', () => letters(resumed) === 'RR');
      expect([ready(resumed), folder.rows('SELECT * FROM workflow_command')]).toEqual([TASKS, []]);
      const events = folder.rows<{ verb: string }>('SELECT verb FROM workflow_event ORDER BY id');
      expect(events.map(({ verb }) => verb)).toEqual(['cancel', 'resume']);
    } finally {
      await running.end('SIGKILL');
      await folder.remove();
    }
  }, 120_000);
});
