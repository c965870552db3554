/**
 * What people do with the Python clients, as stories: each starts scripts, lets things happen to them, and looks at what the client
 * says, what the database holds, and what the commands themselves wrote into their diary.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { resultOf, until, type PythonProcess } from '@jobmon/testkit';
import type { FlowResult, Scene, Story } from './stage';

/** Longest wait for something that a client does in its own time. */
export const PATIENCE_MS = 120_000;
/** A run whose client died is given up after eight heartbeats of one second; its attempts, whose workers live, have four times as long. */
export const SHORT_LIFE = { JOBMON__HEARTBEAT__REPORT_BY_BUFFER: '8', JOBMON__HEARTBEAT__TASK_INSTANCE_INTERVAL: '4' };

const numbered = (name: string, count: number): string[] => Array.from({ length: count }, (_, at) => `${name}${at}`);

const flowOf = async (process: PythonProcess): Promise<FlowResult> => resultOf<FlowResult>(await process.ended);

/** Every command of these tasks ran exactly once and to its end, no two of one task at a time, and nothing else ran. */
export function ranOnce(scene: Scene, names: readonly string[]): void {
  deepEqual(scene.site.begun().sort(), [...names].sort());
  deepEqual(scene.site.ended().sort(), [...names].sort());
  neverTwice(scene);
}

/** No two commands of a task were alive at one time. */
export function neverTwice(scene: Scene): void {
  deepEqual(
    scene.site.diary().filter(({ what }) => what === 'overlap'),
    [],
  );
}

const timesBegun = (scene: Scene, name: string): number => scene.site.begun().filter((task) => task === name).length;

export const begun = (scene: Scene, name: string, times = 1): Promise<void> =>
  until(`the command of ${name} begins`, () => timesBegun(scene, name) >= times, PATIENCE_MS);

/** Lets commands go that wait or fail until then. */
export const mend = (scene: Scene): void => writeFileSync(path.join(scene.site.folder, 'mended'), '');

/** Letters of a workflow and of its runs, oldest first, as they stand in the database. */
export async function standing(scene: Scene, workflow: number): Promise<{ workflow: string; runs: string }> {
  const [row] = await scene.query<{ status: string }>(`SELECT status FROM workflow WHERE id = ${workflow}`);
  const runs = await scene.query<{ status: string }>(
    `SELECT status FROM workflow_run WHERE workflow_id = ${workflow} ORDER BY id`,
  );
  return { workflow: row?.status ?? '', runs: runs.map(({ status }) => status).join('') };
}

/** The id of the only workflow with these arguments; undefined while it is not bound. */
async function workflowOf(scene: Scene, args: string): Promise<number | undefined> {
  const [row] = await scene.query<{ id: number }>(`SELECT id FROM workflow WHERE workflow_args = '${args}'`);
  return row?.id;
}

export function finishes(cluster: string, count: number): Story {
  return {
    title: `${count} tasks on ${cluster}`,
    seconds_max: 240 + 4 * count,
    tell: async (scene) => {
      const half = (count - 1) / 2;
      const args = ['--cluster', cluster, '--count', String(half), '--by-position', '--tier', 'a*', '--tier', 'b*'];
      const result = await flowOf(scene.flow([...args, '--tier', 'last']));
      const names = [...numbered('a', half), ...numbered('b', half), 'last'];
      equal(result.status, 'D');
      deepEqual(result.tasks, Object.fromEntries(names.map((name) => [name, 'D'])));
      deepEqual(await standing(scene, result.workflow_id), { workflow: 'D', runs: 'D' });
      if (cluster === 'dummy') equal(scene.site.diary().length, 0);
      else ranOnce(scene, names);
    },
  };
}

const retry: Story = {
  title: 'a task that fails is retried; one that always fails ends the workflow, and what waits for it never starts',
  tell: async (scene) => {
    const args = [
      '--max-attempts',
      '2',
      '--cluster',
      'multiprocess',
      '--tier',
      'good',
      'flaky:once',
      'bad:fail',
      '--tier',
      'never',
    ];
    const result = await flowOf(scene.flow(args));
    equal(result.status, 'E');
    deepEqual(result.tasks, { good: 'D', flaky: 'D', bad: 'F', never: 'G' });
    deepEqual(scene.site.begun().sort(), ['bad', 'bad', 'flaky', 'flaky', 'good']);
    deepEqual(await standing(scene, result.workflow_id), { workflow: 'F', runs: 'E' });
    deepEqual(Object.keys(result.errors), ['bad']);
    ok(result.errors.bad![0]!.includes('bad ends with 3'), result.errors.bad![0]);
    neverTwice(scene);
  },
};

const resources: Story = {
  title: 'a task that lacks memory gets more of it, on the fallback queue where its own has no more',
  tell: async (scene) => {
    const asked = ['--queue', 'small.q', '--resources', '{"memory": 2}', '--scales', '{"memory": 0.5}', '--fallback', 'large.q'];
    const tasks = ['--tier', 'grows:memory=3', 'moves:memory=7'];
    const result = await flowOf(scene.flow(['--cluster', 'metered', '--max-attempts', '4', ...asked, ...tasks]));
    equal(result.status, 'D');
    const given = (task: string): string[] =>
      scene.site.diary().flatMap((line) => (line.what === 'begin' && line.task === task ? [line.rest] : []));
    deepEqual(given('grows'), ['2 small.q', '3 small.q']);
    deepEqual(given('moves'), ['2 small.q', '3 small.q', '5 large.q', '8 large.q']);
  },
};

const failFast: Story = {
  title: 'fail fast: the client ends at the first task that failed',
  tell: async (scene) => {
    const tasks = ['--tier', 'bad:fail', 'slow:held', '--tier', 'never'];
    const flow = scene.flow(['--cluster', 'multiprocess', '--max-attempts', '1', '--fail-fast', ...tasks]);
    await flow.said('Failing after first failure');
    mend(scene);
    const result = await flowOf(flow);
    equal(result.status, 'E');
    equal(result.tasks.bad, 'F');
    equal(result.tasks.never, 'G');
    deepEqual(scene.site.begun().sort(), ['bad', 'slow']);
    deepEqual(await standing(scene, result.workflow_id), { workflow: 'F', runs: 'E' });
  },
};

function resumes(how: 'cold' | 'hot'): Story {
  return {
    title: `a failed workflow is resumed (${how}): what was done stays done`,
    tell: async (scene) => {
      const args = ['--workflow-args', `resume_${how}`, '--cluster', 'sequential', '--max-attempts', '1'];
      const tasks = ['--tier', 'good', 'bad:mended', '--tier', 'last'];
      const first = await flowOf(scene.flow([...args, ...tasks]));
      equal(first.status, 'E');
      mend(scene);
      const second = await flowOf(scene.flow([...args, '--resume', how, ...tasks]));
      equal(second.status, 'D');
      equal(second.workflow_id, first.workflow_id);
      deepEqual(second.task_ids, first.task_ids);
      deepEqual(scene.site.begun().sort(), ['bad', 'bad', 'good', 'last']);
      deepEqual(await standing(scene, second.workflow_id), { workflow: 'D', runs: 'ED' });
    },
  };
}

const takenOverCold: Story = {
  title: 'a second client takes a living workflow over (cold): the running command is ended first',
  tell: async (scene) => {
    const args = ['--workflow-args', 'taken_over_cold', '--cluster', 'multiprocess'];
    const tasks = ['--tier', 'slow:held', '--tier', 'last'];
    const first = scene.flow([...args, ...tasks]);
    await begun(scene, 'slow');
    const second = scene.flow([...args, '--resume', 'cold', ...tasks]);
    await begun(scene, 'slow', 2);
    mend(scene);
    const result = await flowOf(second);
    equal(result.status, 'D');
    await first.ended;
    deepEqual(scene.site.begun(), ['slow', 'slow', 'last']);
    deepEqual(scene.site.ended(), ['slow', 'last']);
    neverTwice(scene);
    deepEqual(await standing(scene, result.workflow_id), { workflow: 'D', runs: 'TD' });
  },
};

const takenOverHot: Story = {
  title: 'a second client takes a living workflow over (hot): the running command goes on and counts',
  tell: async (scene) => {
    const args = ['--workflow-args', 'taken_over_hot', '--cluster', 'multiprocess', '--patience', '60'];
    const tasks = ['--tier', 'slow:held', '--tier', 'last'];
    const first = scene.flow([...args, ...tasks], SHORT_LIFE);
    await begun(scene, 'slow');
    // The client asks for the end of its attempts once a second. What it asks for last is to reach a run that has ended.
    const release = scene.recorder.hold('E57', 1);
    const second = scene.flow([...args, '--resume', 'hot', ...tasks]);
    await until('the first run is told', () => scene.recorder.of('E57').length > 0, PATIENCE_MS);
    await reaped(scene, (await workflowOf(scene, 'taken_over_hot'))!, 'T');
    release();
    await until('the second run runs', () => hasSecondRun(scene), PATIENCE_MS);
    mend(scene);
    const result = await flowOf(second);
    equal(result.status, 'D');
    await first.ended;
    ranOnce(scene, ['slow', 'last']);
    deepEqual(await standing(scene, result.workflow_id), { workflow: 'D', runs: 'TD' });
  },
};

/** Whether a run was moved to R (E59) after the second run was made (E56). */
function hasSecondRun({ recorder }: Scene): boolean {
  const second = recorder.of('E56')[1];
  return second !== undefined && recorder.of('E59').some(({ at, answer }) => at >= second.at && answer === '{"status":"R"}');
}

const limits: Story = {
  title: 'the limit of a workflow is changed while it runs, by the old command line',
  tell: async (scene) => {
    const tasks = ['--count', '5', '--tier', 't*:held'];
    const flow = scene.flow([
      '--workflow-args',
      'limited',
      '--cluster',
      'metered',
      '--queue',
      'small.q',
      '--workflow-limit',
      '1',
      ...tasks,
    ]);
    await until('the first command begins', () => scene.site.begun().length > 0, PATIENCE_MS);
    const asked = scene.recorder.of('E47').length;
    await until('the client has asked for its limit again', () => scene.recorder.of('E47').length >= asked + 3, PATIENCE_MS);
    equal(scene.site.begun().length, 1);
    const workflow = await workflowOf(scene, 'limited');
    const told = await scene.site.run('jobmon', ['concurrency_limit', '-w', String(workflow), '-m', '3']);
    equal(told.code, 0, told.stderr);
    await until('three commands run', () => scene.site.begun().length === 3, PATIENCE_MS);
    mend(scene);
    equal((await flowOf(flow)).status, 'D');
    ranOnce(scene, numbered('t', 5));
  },
};

const arrayLimit: Story = {
  title:
    'the limit of an array is changed while it runs: the client of 3.3.0 never asks again, a resume by the old command line obeys',
  expected: [{ operation: '*', status: 0, reason: 'the caller was killed in the middle of a request' }],
  // The command line gives its distributor 180 s to end, and now and then needs them: an interrupt in the middle of a request is lost.
  seconds_max: 480,
  tell: async (scene) => {
    const tasks = ['--count', '3', '--tier', 't*:held', '--tier', 'last'];
    const first = scene.flow(
      ['--workflow-args', 'array_limited', '--cluster', 'multiprocess', '--array-limit', '1', ...tasks],
      SHORT_LIFE,
    );
    await until('the first command begins', () => scene.site.begun().length === 1, PATIENCE_MS);
    const workflow = (await workflowOf(scene, 'array_limited'))!;
    const arrays = await scene.query<{ id: number; task_template_version_id: number; max_concurrently_running: number }>(
      `SELECT id, task_template_version_id, max_concurrently_running FROM array WHERE workflow_id = ${workflow}`,
    );
    const [{ id, task_template_version_id, max_concurrently_running }] = arrays as [(typeof arrays)[number]];
    equal(max_concurrently_running, 1);
    const wanted = { max_tasks: 3, task_template_version_id };
    await scene.ask('PUT', `/workflow/${workflow}/update_array_max_concurrently_running`, wanted);
    type Limit = { max_concurrently_running: number };
    const own = await scene.ask<Limit>('GET', `/array/${id}/get_array_max_concurrently_running`);
    const named = `/workflow/${workflow}/get_array_max_concurrently_running/${task_template_version_id}`;
    const shown = await scene.ask<Limit>('GET', named);
    deepEqual([own.max_concurrently_running, shown.max_concurrently_running], [3, 3]);
    first.signalGroup('SIGKILL');
    await reaped(scene, workflow, 'E');
    equal(scene.site.begun().length, 1);
    const args = ['workflow_resume', '-w', String(workflow), '-c', 'multiprocess', '--reset-running-jobs'];
    const resumed = scene.site.start('jobmon', args);
    await until('three commands run', () => scene.site.begun().length === 4, PATIENCE_MS);
    mend(scene);
    const end = await resumed.ended;
    ok(end.stdout.includes('successfully resumed to completion'), end.stdout + end.stderr);
    deepEqual(scene.site.ended().sort(), ['last', ...numbered('t', 3)]);
    neverTwice(scene);
    deepEqual(await standing(scene, workflow), { workflow: 'D', runs: 'ED' });
  },
};

const interrupted: Story = {
  title: 'Ctrl-C, answered with y, stops the run; a resume finishes it',
  tell: async (scene) => {
    const args = ['--workflow-args', 'interrupted', '--cluster', 'sequential'];
    const tasks = ['--tier', 'slow:held', '--tier', 'last'];
    const first = scene.flow([...args, ...tasks]);
    await begun(scene, 'slow');
    first.signalGroup('SIGINT');
    await first.said('Are you sure you want to exit');
    first.type('y');
    await first.ended;
    const workflow = await workflowOf(scene, 'interrupted');
    deepEqual(await standing(scene, workflow!), { workflow: 'F', runs: 'S' });
    mend(scene);
    const result = await flowOf(scene.flow([...args, '--resume', 'cold', ...tasks]));
    equal(result.status, 'D');
    deepEqual(scene.site.ended(), ['slow', 'last']);
    neverTwice(scene);
    deepEqual(await standing(scene, workflow!), { workflow: 'D', runs: 'SD' });
  },
};

const killed: Story = {
  title: 'a client that is killed with all it started is given up after its deadline, and resumed',
  expected: [{ operation: '*', status: 0, reason: 'the caller was killed in the middle of a request' }],
  tell: async (scene) => {
    const args = ['--workflow-args', 'killed', '--cluster', 'multiprocess'];
    const tasks = ['--tier', 'slow:held', 'quick', '--tier', 'last'];
    const first = scene.flow([...args, ...tasks], SHORT_LIFE);
    await begun(scene, 'slow');
    await until('the quick task is done', async () => (await lettersOf(scene, 'killed')).includes('D'), PATIENCE_MS);
    first.signalGroup('SIGKILL');
    await first.ended;
    const workflow = (await workflowOf(scene, 'killed'))!;
    await reaped(scene, workflow, 'E');
    equal((await standing(scene, workflow)).workflow, 'F');
    mend(scene);
    const result = await flowOf(scene.flow([...args, '--resume', 'cold', ...tasks]));
    equal(result.status, 'D');
    deepEqual(scene.site.begun().sort(), ['last', 'quick', 'slow', 'slow']);
    deepEqual(scene.site.ended().sort(), ['last', 'quick', 'slow']);
    neverTwice(scene);
    deepEqual(await standing(scene, workflow), { workflow: 'D', runs: 'ED' });
  },
};

/** Waits until the house has given up what is silent, so that the runs of a workflow stand as they should. */
const reaped = (scene: Scene, workflow: number, runs: string): Promise<void> =>
  until(`the runs are ${runs}`, async () => (await standing(scene, workflow)).runs === runs, PATIENCE_MS);

/** Status letters of the tasks of the workflow with these arguments. */
async function lettersOf(scene: Scene, args: string): Promise<string> {
  const rows = await scene.query<{ status: string }>(
    `SELECT task.status FROM task JOIN workflow ON workflow.id = task.workflow_id WHERE workflow_args = '${args}' ORDER BY task.id`,
  );
  return rows.map(({ status }) => status).join('');
}

const startedTwice: Story = {
  title: 'one script with a tool that is new, started three times at once: one run, each command once',
  tell: async (scene) => {
    const args = [
      '--tool',
      'a new one',
      '--workflow-args',
      'started_twice',
      '--cluster',
      'multiprocess',
      '--count',
      '3',
      '--tier',
      't*:ok:1',
      '--tier',
      'last',
    ];
    scene.recorder.meet('E37', 3);
    const ends = await Promise.all([1, 2, 3].map(() => scene.flow(args).ended));
    const good = ends.filter(({ code }) => code === 0);
    equal(good.length, 1, ends.map(({ stderr }) => stderr.slice(-600)).join('\n'));
    const result = resultOf<FlowResult>(good[0]!);
    equal(result.status, 'D');
    ranOnce(scene, [...numbered('t', 3), 'last']);
    deepEqual(await standing(scene, result.workflow_id), { workflow: 'D', runs: 'D' });
    deepEqual(new Set(scene.recorder.of('E37').map(({ answer }) => answer)), new Set(['{"tool_versions":[]}']));
    const versions = `SELECT v.id FROM tool_version v JOIN tool ON tool.id = v.tool_id WHERE tool.name = 'a new one'`;
    equal((await scene.query(versions)).length, 1);
  },
};

const resumedTwice: Story = {
  title: 'a failed workflow resumed by two clients at once: one finishes it, no command runs beside another of its task',
  tell: async (scene) => {
    const args = ['--workflow-args', 'resumed_twice', '--cluster', 'sequential', '--max-attempts', '1'];
    const tasks = ['--tier', 'good', 'bad:mended', '--tier', 'last'];
    const first = await flowOf(scene.flow([...args, ...tasks]));
    equal(first.status, 'E');
    mend(scene);
    const both = await Promise.all([1, 2].map(() => scene.flow([...args, '--resume', 'cold', ...tasks]).ended));
    ok(
      both.some(({ code, stdout }) => code === 0 && stdout.includes('"status": "D"')),
      both.map(({ stderr }) => stderr).join('\n'),
    );
    equal(scene.site.begun().filter((task) => task === 'good').length, 1);
    neverTwice(scene);
    const { workflow, runs } = await standing(scene, first.workflow_id);
    equal(workflow, 'D');
    equal(runs.split('D').length - 1, 1, runs);
  },
};

/** Every story, those that wait longest first; `many` is the number of tasks on multiprocess. */
export const storiesWith = (many: number): readonly Story[] => [
  arrayLimit,
  killed,
  takenOverCold,
  interrupted,
  finishes('multiprocess', many),
  resumedTwice,
  resources,
  resumes('cold'),
  resumes('hot'),
  limits,
  startedTwice,
  retry,
  failFast,
  // Not among the first: it bounds how long a worker may be silent, and in the beginning everything starts at once.
  takenOverHot,
  finishes('sequential', 5),
  finishes('dummy', 5),
];
