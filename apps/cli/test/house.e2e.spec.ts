/** The SDK and the command line against a real house: what a user does in the first hour, and what goes wrong there. */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { getTask, registerTool, type JobmonError } from '@jobmon/contracts';
import { Connection, profilePath, Tool, type Progress, type Task, type Workflow } from '@jobmon/client';
import { HouseProcess, jobmonCommand, run } from './house-process';

jest.setTimeout(120_000);

/** Of a workflow's record, what is used here. */
interface Listed {
  workflow_id: number;
  name: string;
}

let house: HouseProcess;
let connection: Connection;
let workingDirectory: string;
let tool: Tool;

beforeAll(async () => {
  house = await HouseProcess.start();
  connection = house.connection();
  workingDirectory = path.join(house.folder, 'work');
  mkdirSync(workingDirectory);
  tool = new Tool('spec', { connection, defaultClusterName: 'multiprocess' });
});

afterAll(() => house?.remove());

const shell = (): ReturnType<typeof makeShell> => makeShell(tool);
const makeShell = (owner: Tool) => owner.getTaskTemplate('shell', '{command}', { maxAttempts: 2 });

/** A workflow of one command a task, each waiting for the one before it. */
function chain(name: string, commands: readonly string[]): { workflow: Workflow; tasks: Task[] } {
  const workflow = tool.createWorkflow({ name });
  const template = shell();
  const tasks: Task[] = [];
  commands.forEach((command, i) => {
    const upstreams = tasks.slice(-1);
    tasks.push(workflow.addTask(template.createTask({ command }, { name: `step_${i}`, upstreams })));
  });
  return { workflow, tasks };
}

describe('the SDK', () => {
  test('a task that fails once is tried again, and the workflow is DONE', async () => {
    const { workflow, tasks } = chain('flaky', [
      'test -e tried || { touch tried; echo first try >&2; exit 3; }; echo second try',
      'cat tried && echo "quotes \' and \\" and 😀"',
    ]);
    const seen: Progress[] = [];
    const result = await workflow.run({ workingDirectory, onProgress: (progress) => seen.push(progress) });
    expect(result).toMatchObject({ status: 'DONE', isDone: true, failedTasks: [], counts: { total: 2, done: 2 } });
    expect(result.elapsedSeconds).toBeGreaterThan(0);
    expect(seen.at(-1)).toMatchObject({ isFinal: true, status: 'DONE' });
    const { instances, task } = await connection.send(getTask, { task_id: tasks[0]!.taskId! });
    expect(task.num_attempts).toBe(2);
    expect(instances.map(({ status, exit_code }) => [status, exit_code])).toEqual([
      ['E', 3],
      ['D', 0],
    ]);
    const last = await connection.send(getTask, { task_id: tasks[1]!.taskId! });
    expect(last.instances[0]?.stdout_log).toBe('quotes \' and " and 😀\n');
  });

  test('a task that fails every time is named with its error, and what waits for it does not run', async () => {
    const { workflow, tasks } = chain('failing', ['echo before', 'echo the reason >&2; exit 7', 'echo never']);
    const result = await workflow.run({ workingDirectory });
    expect(result).toMatchObject({ status: 'FAILED', isDone: false, counts: { total: 3, done: 1, fatal: 1, pending: 1 } });
    expect(result.failedTasks).toHaveLength(1);
    expect(result.failedTasks[0]).toMatchObject({ taskId: tasks[1]!.taskId, name: 'step_1', attempts: 2 });
    expect(result.failedTasks[0]!.error).not.toBeNull();
  });

  test('a thousand tasks that do nothing, followed to their end', async () => {
    const owner = new Tool('spec', { connection, defaultClusterName: 'dummy' });
    const workflow = owner.createWorkflow({ name: 'thousand' });
    const template = owner.getTaskTemplate('nothing', 'true {n}');
    const first = workflow.addTask(template.createTask({ n: 0 }));
    for (let n = 1; n < 999; n++) workflow.addTask(template.createTask({ n }, { upstreams: [first] }));
    const others = [...workflow.tasks];
    workflow.addTask(template.createTask({ n: 999 }, { upstreams: others }));
    const bound: number[] = [];
    const submitted = await workflow.submit({ workingDirectory, onBound: ({ tasks }) => bound.push(tasks) });
    expect(bound).toEqual([1_000]);
    let done = 0;
    let last: Progress | undefined;
    for await (const progress of submitted.follow()) {
      expect(progress.counts.total).toBe(1_000);
      expect(progress.counts.done).toBeGreaterThanOrEqual(done);
      done = progress.counts.done;
      last = progress;
    }
    expect(last).toMatchObject({ status: 'DONE', isFinal: true, counts: { done: 1_000 } });
    expect(new Set([...workflow.tasks].map((task) => task.taskId)).size).toBe(1_000);
  });

  test('two programs that describe the same workflow bind the same one; other tasks under its arguments are refused', async () => {
    const described = (command: string): Workflow => {
      const owner = new Tool('spec', { connection, defaultClusterName: 'multiprocess' });
      const workflow = owner.createWorkflow({ name: 'same', workflowArgs: 'the same arguments' });
      const template = makeShell(owner);
      const first = workflow.addTask(template.createTask({ command }));
      workflow.addTask(template.createTask({ command: 'true' }, { upstreams: [first] }));
      return workflow;
    };
    const workflow = described('echo 1');
    const id = await workflow.bind();
    expect(await workflow.bind()).toBe(id);
    expect(await described('echo 1').bind()).toBe(id);
    expect(() => workflow.addTask(shell().createTask({ command: 'late' }))).toThrow('the workflow is bound');
    await expect(described('echo 2').bind()).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  test('an unknown cluster or queue is refused before anything is written', async () => {
    const newest = async (): Promise<number> => (await house.records<Listed[]>('workflow', 'list', '-n', '1'))[0]!.workflow_id;
    const before = await newest();
    for (const [options, rule, sentence] of [
      [{ clusterName: 'slrum' }, 'unknown_cluster', "there is no cluster 'slrum' (task 'lost')"],
      [{ computeResources: { queue: 'no.q' } }, 'unknown_queue', "has no queue 'no.q'"],
    ] as const) {
      const workflow = tool.createWorkflow();
      workflow.addTask(shell().createTask({ command: 'true' }, { name: 'lost', ...options }));
      const error = await workflow.run().catch((thrown: unknown) => thrown as JobmonError);
      expect(error).toMatchObject({ code: 'MALFORMED', details: { rule, tasks: ['lost'] } });
      expect((error as JobmonError).message).toContain(sentence);
    }
    expect(await newest()).toBe(before);
  });

  test('a run that is followed goes on over a killed server, and no command runs twice', async () => {
    const commands = ['echo a >> order; sleep 2', 'echo b >> order', 'echo c >> order'];
    const { workflow } = chain('survivor', commands);
    const submitted = await workflow.submit({ workingDirectory });
    let hasKilled = false;
    const statuses: string[] = [];
    for await (const progress of submitted.follow()) {
      statuses.push(progress.status);
      if (hasKilled || progress.counts.running === 0) continue;
      hasKilled = true;
      await house.killAndStart();
    }
    expect(hasKilled).toBe(true);
    expect(statuses.at(-1)).toBe('DONE');
    expect(readFileSync(path.join(workingDirectory, 'order'), 'utf8')).toBe('a\nb\nc\n');
    // The token of a server is as old as its process.
    connection = house.connection();
    tool = new Tool('spec', { connection, defaultClusterName: 'multiprocess' });
  });

  test('a wrong token changes nothing', async () => {
    for (const token of [undefined, 'guessed']) {
      const stranger = new Connection({ url: connection.url, token });
      await expect(stranger.send(registerTool, { name: 'theirs' })).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    }
  });
});

describe('the command line', () => {
  let done: Listed;
  let failed: Listed;

  beforeAll(async () => {
    const workflows = await house.records<Listed[]>('workflow', 'list');
    done = workflows.find(({ name }) => name === 'flaky')!;
    failed = workflows.find(({ name }) => name === 'failing')!;
  });

  test('lists and shows workflows', async () => {
    const { stdout, stderr, code } = await house.jobmon('workflow', 'list');
    expect([code, stderr]).toEqual([0, '']);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^ *ID +STATUS +DONE +FAILED +CREATED +USER +NAME$/);
    expect(lines.find((line) => line.endsWith('flaky'))).toContain('DONE');
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
    const shown = await house.jobmon('workflow', 'show', String(failed.workflow_id));
    expect(shown.stdout).toMatch(/^status +FAILED$/m);
    expect(shown.stdout).toMatch(/^ {2}fatal +1$/m);
    expect(await house.records('workflow', 'show', String(failed.workflow_id))).toMatchObject({
      status: 'FAILED',
      tasks: 3,
      done: 1,
      fatal: 1,
      pending: 1,
    });
  });

  test('watches to the end, with exit code 6 when that is not DONE', async () => {
    expect(await house.jobmon('workflow', 'watch', String(done.workflow_id))).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`workflow ${done.workflow_id} DONE`),
    });
    expect((await house.jobmon('workflow', 'watch', String(failed.workflow_id))).code).toBe(6);
  });

  test('gives up watching after its time, with exit code 7', async () => {
    const { workflow } = chain('slow', ['sleep 20']);
    const submitted = await workflow.submit({ workingDirectory });
    const { code, stderr } = await house.jobmon('workflow', 'watch', String(submitted.workflowId), '--timeout', '1');
    expect(code).toBe(7);
    expect(stderr).toContain('has not ended within 1 s');
  });

  test('lists tasks, shows one with its attempts, and prints what it printed', async () => {
    const id = String(failed.workflow_id);
    const tasks = await house.records<{ task_id: number; name: string; status: string }[]>('task', 'list', id);
    expect(tasks.map(({ name, status }) => [name, status])).toEqual([
      ['step_0', 'DONE'],
      ['step_1', 'ERROR_FATAL'],
      ['step_2', 'REGISTERING'],
    ]);
    expect(await house.records('task', 'list', id, '--status', 'fatal')).toHaveLength(1);
    const table = await house.jobmon('task', 'list', id, '-n', '2');
    expect(table.stdout.split('\n')[0]).toMatch(/^ *ID +STATUS +ATTEMPTS +SECONDS +NAME +COMMAND$/);
    expect(table.stderr).toContain('more than 2');
    const task = String(tasks[1]!.task_id);
    const { stdout } = await house.jobmon('task', 'show', task);
    expect(stdout).toMatch(/^attempts +2 of 2$/m);
    expect(stdout.match(/^ {2}exit code +7$/gm)).toHaveLength(2);
    expect(stdout).toContain('RUNNING → ERROR');
    expect(await house.jobmon('task', 'log', task, '--stderr')).toMatchObject({ code: 0, stdout: 'the reason\n' });
    expect(await house.jobmon('task', 'log', String(tasks[0]!.task_id))).toEqual({ code: 0, stdout: 'before\n', stderr: '' });
    expect(await house.records('task', 'log', task, '--attempt', '1')).toMatchObject({ attempt: 1, stderr_log: 'the reason\n' });
    expect(await house.jobmon('task', 'log', task, '--attempt', '9')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('has no attempt 9'),
    });
    const never = await house.jobmon('task', 'log', String(tasks[2]!.task_id));
    expect(never).toMatchObject({ code: 3, stderr: expect.stringContaining('was not started yet') });
  });

  test('lists agents and tells its version', async () => {
    expect((await house.jobmon('agent', 'list')).stdout).toMatch(/alive .*(sequential|multiprocess)/i);
    expect(await house.jobmon('version')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^jobmon \d+\.\d+\.\d+\n$/) });
  });

  test('tells how each command is used, with examples', async () => {
    const of = async (...args: string[]): Promise<string> => (await house.jobmon(...args, '--help')).stdout;
    for (const group of ['serve', 'version', 'workflow', 'task', 'agent'])
      expect(await of(group)).toMatch(/^Examples?:\n {2}jobmon /m);
    expect(await house.jobmon('--version')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^jobmon \d/) });
    expect(await house.jobmon('help', 'serve')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Usage: jobmon serve/) });
  });

  test.each<[string[], number, RegExp]>([
    [['workflow', 'show', '999999'], 3, /^Error: .*999999.*\n$/],
    [['workflow', 'watch', '999999'], 3, /^Error: .*999999.*\n$/],
    [['task', 'show', '999999'], 3, /^Error: .*999999.*\n$/],
    [['task', 'list', '999999'], 3, /^Error: .*999999.*\n$/],
    [['task', 'list', 'seven'], 2, /^Error: the value 'seven' .*whole number/],
    [['task', 'list', '1', '--status', 'odd'], 2, /^Error: .*one of REGISTERING/],
    [['workflow', 'list', '--odd'], 2, /^Error: unknown option/],
    [['frobnicate'], 2, /^Error: unknown command/],
  ])('%j ends with %d and one sentence', async (args, code, sentence) => {
    const finished = await house.jobmon(...args);
    expect(finished).toMatchObject({ code, stdout: '', stderr: expect.stringMatching(sentence) });
    expect(finished.stderr).not.toMatch(/^\s+at /m);
  });

  test('whoever reads it may stop reading', async () => {
    const script = `${jobmonCommand} task list ${failed.workflow_id} -o json | true; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = await run('bash', ['-c', script], house.env);
    expect([stdout, stderr]).toEqual(['0\n', '']);
  });

  test('a server that is not there is exit code 5, quickly', async () => {
    const since = performance.now();
    const env = { ...house.env, JOBMON__HTTP__SERVICE_URL: 'http://127.0.0.1:1' };
    const { code, stderr } = await run('bash', ['-c', `${jobmonCommand} workflow list`], env);
    expect([code, stderr]).toEqual([5, expect.stringMatching(/^Error: no answer from http:\/\/127\.0\.0\.1:1 \(.*\)\n$/)]);
    expect(performance.now() - since).toBeLessThan(10_000);
  });
});

test('Ctrl-C ends the house and takes its profile away', async () => {
  expect(await house.stop()).toBe(0);
  await expect(house.server()).rejects.toThrow('no Jobmon server is known');
  expect(() => readFileSync(profilePath(house.env))).toThrow('ENOENT');
});

test('the demonstration ends DONE, and what it says to type next works', async () => {
  const first = await HouseProcess.start({ demonstrates: true });
  try {
    await first.said('goes on serving');
    const text = first.output;
    expect(text).toContain('6 of 6 tasks done');
    expect(text.match(/✔ done/g)).toHaveLength(6);
    const report = path.join(first.folder, 'data', 'jobmon', 'demonstration', 'report.txt');
    expect(readFileSync(report, 'utf8')).toMatch(/^apple\t\d+\t\d+$/m);
    expect(readFileSync(/^ {2}server log +(.*)$/m.exec(text)![1]!, 'utf8')).toContain('the house listens');
    for (const place of ['API', 'documentation']) {
      const url = new RegExp(`^  ${place} +(http://.*)$`, 'm').exec(text)![1]!;
      expect([url, (await fetch(url)).status]).toEqual([url, 200]);
    }
    const logs = /^ {2}logs +(.*)$/m.exec(text)![1]!;
    expect(readdirSync(logs)).toHaveLength(12);
    const next = /Next \(.*\):\n((?: {2}.*\n)+)/.exec(text)![1]!.trimEnd().split('\n');
    expect(next).toHaveLength(3);
    for (const line of next) {
      // What npx finds, without npm around it.
      const typed = line
        .trim()
        .replace(/^npx /, 'node_modules/.bin/')
        .replace(/^node /, `'${process.execPath}' `);
      const finished = await run('bash', ['-c', typed], first.env);
      expect([line, finished.code, finished.stderr]).toEqual([line, 0, expect.not.stringContaining('Error')]);
      expect(finished.stdout).not.toBe('');
    }
  } finally {
    await first.remove();
  }
});
