/** The SDK and the command line against a real house: what a user does in the first hour, and what goes wrong there. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { getTask, registerTool, type JobmonError } from '@jobmon/contracts';
import { Connection, loginName, profilePath, Tool, type Progress, type Task, type Workflow } from '@jobmon/client';
import { until } from '@jobmon/testkit';
import { columnsOf } from '../src/text';
import { HouseProcess, jobmonCommand, run } from './house-process';
import { csvRows, typed } from './typed';

jest.setTimeout(120_000);

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- what a record holds is what a test asserts
type Json = any;

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
  // Most commands run in this process, as the user of the house.
  for (const name of ['HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME']) process.env[name] = house.env[name];
});

afterAll(() => house?.remove());

/** `jobmon … -o json`, its data. */
const records = async (...args: string[]): Promise<Json> => {
  const { code, stdout, stderr } = await typed(...args, '-o', 'json');
  if (code !== 0) throw new Error(`jobmon ${args.join(' ')} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout);
};

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
    const newest = async (): Promise<number> => (await records('workflow', 'list', '-n', '1'))[0].workflow_id;
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
    const workflows = (await records('workflow', 'list')) as Listed[];
    done = workflows.find(({ name }) => name === 'flaky')!;
    failed = workflows.find(({ name }) => name === 'failing')!;
  });

  test('lists and shows workflows', async () => {
    const { stdout, stderr, code } = await typed('workflow', 'list');
    expect([code, stderr]).toEqual([0, '']);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^ *ID +STATUS +DONE +FAILED +CREATED +USER +NAME$/);
    expect(lines.find((line) => line.endsWith('flaky'))).toContain('DONE');
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
    const shown = await typed('workflow', 'show', String(failed.workflow_id));
    expect(shown.stdout).toMatch(/^status +FAILED$/m);
    expect(shown.stdout).toMatch(/^ {2}fatal +1$/m);
    expect(await records('workflow', 'show', String(failed.workflow_id))).toMatchObject({
      status: 'FAILED',
      tasks: 3,
      done: 1,
      fatal: 1,
      pending: 1,
    });
  });

  test('watches to the end, with exit code 6 when that is not DONE', async () => {
    expect(await typed('workflow', 'watch', String(done.workflow_id))).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`workflow ${done.workflow_id} DONE`),
    });
    expect((await typed('workflow', 'watch', String(failed.workflow_id))).code).toBe(6);
  });

  test('gives up watching after its time, with exit code 7', async () => {
    const { workflow } = chain('slow', ['sleep 20']);
    const submitted = await workflow.submit({ workingDirectory });
    const { code, stderr } = await typed('workflow', 'watch', String(submitted.workflowId), '--timeout', '1');
    expect(code).toBe(7);
    expect(stderr).toContain('has not ended within 1 s');
  });

  test('lists tasks, shows one with its attempts, and prints what it printed', async () => {
    const id = String(failed.workflow_id);
    const tasks = (await records('task', 'list', id)) as { task_id: number; name: string; status: string }[];
    expect(tasks.map(({ name, status }) => [name, status])).toEqual([
      ['step_0', 'DONE'],
      ['step_1', 'ERROR_FATAL'],
      ['step_2', 'REGISTERING'],
    ]);
    expect(await records('task', 'list', id, '--status', 'fatal')).toHaveLength(1);
    const table = await typed('task', 'list', id, '-n', '2');
    expect(table.stdout.split('\n')[0]).toMatch(/^ *ID +STATUS +ATTEMPTS +SECONDS +NAME +COMMAND$/);
    expect(table.stderr).toContain('more than 2');
    const task = String(tasks[1]!.task_id);
    const { stdout } = await typed('task', 'show', task);
    expect(stdout).toMatch(/^attempts +2 of 2$/m);
    expect(stdout.match(/^ {2}exit code +7$/gm)).toHaveLength(2);
    expect(stdout).toContain('RUNNING → ERROR');
    expect(await typed('task', 'log', task, '--stderr')).toMatchObject({ code: 0, stdout: 'the reason\n' });
    expect(await typed('task', 'log', String(tasks[0]!.task_id))).toEqual({ code: 0, stdout: 'before\n', stderr: '' });
    expect(await records('task', 'log', task, '--attempt', '1')).toMatchObject({ attempt: 1, stderr_log: 'the reason\n' });
    expect(await typed('task', 'log', task, '--attempt', '9')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('has no attempt 9'),
    });
    const never = await typed('task', 'log', String(tasks[2]!.task_id));
    expect(never).toMatchObject({ code: 3, stderr: expect.stringContaining('was not started yet') });
  });

  test('lists agents, steers one, and tells its version', async () => {
    expect((await typed('agent', 'list')).stdout).toMatch(/alive .*(sequential|multiprocess)/i);
    const [{ agent_id }] = await records('agent', 'list');
    const id = String(agent_id);
    expect(await records('agent', 'drain', id, '--reason', 'new kernel')).toEqual({ agent_id, verb: 'drain', state: 'DRAINING' });
    expect((await typed('agent', 'show', id)).stdout).toMatch(/^reason +by .*: new kernel$/m);
    expect(await typed('agent', 'restore', id)).toEqual({ code: 0, stdout: `agent ${id} takes work again\n`, stderr: '' });
    expect(await records('agent', 'show', id)).toMatchObject({ state: 'ALIVE', reason: null });
    expect(await typed('version')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^jobmon \d+\.\d+\.\d+\n$/) });
  });

  test('tells how each command is used, with examples', async () => {
    const of = async (...args: string[]): Promise<string> => (await typed(...args, '--help')).stdout;
    for (const group of ['serve', 'version', 'workflow', 'task', 'agent'])
      expect(await of(group)).toMatch(/^Examples?:\n {2}jobmon /m);
    expect(await typed('--version')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^jobmon \d/) });
    expect(await typed('help', 'serve')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Usage: jobmon serve/) });
  });

  test.each<[string[], number, RegExp]>([
    [['workflow', 'show', '999999'], 3, /^Error: .*999999.*\n$/],
    [['task', 'list', 'seven'], 2, /^Error: the value 'seven' .*whole number/],
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

describe('every command of the command line', () => {
  let done: number;
  let failed: number;
  let failedTask: number;

  beforeAll(async () => {
    const good = await chain('listed well', ['echo one']).workflow.run({ workingDirectory });
    const bad = await chain('listed ill', ['echo two', 'echo the reason >&2; exit 7', 'echo never']).workflow.run({
      workingDirectory,
    });
    [done, failed, failedTask] = [good.workflowId, bad.workflowId, bad.failedTasks[0]!.taskId];
    // Records are on their way when the workflow has ended.
    await until('the log has what became of it', async () => (await records('log', '--task', String(failedTask))).length > 1);
  });

  test.each<[string, () => string[], string]>([
    [
      'workflow list',
      () => ['workflow', 'list', '--name', 'listed*'],
      'workflow_id name status priority tasks done created_date',
    ],
    ['workflow show', () => ['workflow', 'show', String(failed)], 'workflow_id status retries runs attributes last_event'],
    ['workflow show --templates', () => ['workflow', 'show', String(failed), '--templates'], 'task_template tasks fatal retries'],
    [
      'workflow show --runs',
      () => ['workflow', 'show', String(failed), '--runs'],
      'workflow_run_id status driver working_directory',
    ],
    [
      'workflow status',
      () => ['workflow', 'status', String(done), String(failed)],
      'workflow_id pending scheduled running done fatal',
    ],
    ['workflow errors', () => ['workflow', 'errors', String(failed)], 'error_id task_id exit_code description stderr_tail'],
    ['workflow errors --group', () => ['workflow', 'errors', String(failed), '--group'], 'group_id errors tasks hosts task_ids'],
    ['workflow limit', () => ['workflow', 'limit', String(failed)], 'task_template max_concurrently_running'],
    ['workflow watch', () => ['workflow', 'watch', String(done)], 'workflow_id status'],
    ['task list', () => ['task', 'list', String(failed)], 'task_id name status num_attempts wallclock_seconds command error'],
    ['task show', () => ['task', 'show', String(failedTask)], 'task_id workflow_id status attempts'],
    ['task log', () => ['task', 'log', String(failedTask), '--stderr'], 'task_id attempt status exit_code stdout_log stderr_log'],
    ['task why', () => ['task', 'why', String(failedTask)], 'task_id rule message details'],
    ['log', () => ['log', '--task', String(failedTask)], 'record_id time level service workflow_id task_instance_id text detail'],
    ['version', () => ['version'], 'version'],
  ])('%s has a table for people, and one shape of record for programs', async (_, args, names) => {
    const table = await typed(...args());
    expect([table.code, table.stdout.trim()]).toEqual([0, expect.stringMatching(/^[^[{]/)]);
    for (const line of table.stdout.split('\n').slice(0, 5)) expect(columnsOf(line)).toBeLessThanOrEqual(80);
    const json = await typed(...args(), '-o', 'json');
    const value: Json = JSON.parse(json.stdout);
    const all: Json[] = Array.isArray(value) ? value : [value];
    expect(all.length).toBeGreaterThan(0);
    expect(Object.keys(all[0])).toEqual(expect.arrayContaining(names.split(' ')));
    const lines = (await typed(...args(), '-o', 'jsonl')).stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.map(Object.keys)).toEqual(
      all.map(_ === 'workflow watch' ? () => expect.arrayContaining(['is_final']) : Object.keys),
    );
    const csv = (await typed(...args(), '-o', 'csv')).stdout;
    expect(csv.split('\n')[0]).toBe(Object.keys(all[0]).join(','));
    expect(csvRows(csv)).toHaveLength(all.length + 1);
    for (const row of csvRows(csv)) expect(row).toHaveLength(Object.keys(all[0]).length);
  });

  test('an empty list is [], nothing, or a head', async () => {
    const empty = ['workflow', 'list', '--name', 'no such name'];
    expect(await typed(...empty, '-o', 'json')).toMatchObject({ code: 0, stdout: '[]\n' });
    expect(await typed(...empty, '-o', 'jsonl')).toMatchObject({ stdout: '', stderr: 'No workflow is like that.\n' });
    expect((await typed(...empty, '-o', 'csv', '-q')).stdout).toMatch(/^workflow_id,name,.*\n$/);
    expect((await typed(...empty, '--quiet')).stderr).toBe('');
  });

  test('options stand anywhere; a server, a token and a profile may be named', async () => {
    const { url, token } = await house.server();
    expect(JSON.parse((await typed('-o', 'json', 'workflow', 'show', String(done))).stdout).workflow_id).toBe(done);
    expect((await typed('workflow', 'show', String(done), '--server', url)).code).toBe(0);
    // The profile's token goes with its server's address; a wrong one changes nothing.
    expect((await typed('--server', url, 'workflow', 'priority', String(done), '0')).code).toBe(0);
    expect(await typed('--token', 'guessed', 'workflow', 'priority', String(done), '1')).toMatchObject({ code: 4 });
    const file = path.join(house.folder, 'there.json');
    writeFileSync(file, JSON.stringify({ url, token }), { mode: 0o600 });
    expect((await typed('workflow', 'priority', String(done), '0', '--profile', file)).code).toBe(0);
    expect(await typed('workflow', 'list', '--profile', 'elsewhere')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('elsewhere.json'),
    });
    expect(await typed('workflow', 'list', '--server', 'http://127.0.0.1:1')).toMatchObject({ code: 5, stdout: '' });
  });

  test('a workflow is steered: paused, limited, resumed, cancelled, retried, reset; all of it is told and kept', async () => {
    const { workflow, tasks } = chain('steered', ['echo begun; sleep 60', 'echo second']);
    const { workflowId } = await workflow.submit({ workingDirectory });
    const id = String(workflowId);
    const reads = (word: string, value: unknown) =>
      until(`${word} is ${String(value)}`, async () => (await records('workflow', 'show', id))[word] === value);
    await reads('running', 1);
    const verb = async (...args: string[]): Promise<Json> => {
      const { code, stdout, stderr } = await typed('workflow', ...args, '-o', 'json');
      expect([args, code, stderr]).toEqual([args, 0, '']);
      return JSON.parse(stdout);
    };
    expect(await verb('pause', id, '--reason', 'because')).toMatchObject({ verb: 'pause', is_paused: true, is_changed: true });
    expect(await verb('pause', id)).toMatchObject({ is_paused: true, is_changed: false });
    expect((await typed('workflow', 'list', '-n', '1')).stdout).toMatch(/PAUSED .*steered/);
    expect((await typed('task', 'why', String(tasks[1]!.taskId))).stdout).toMatch(/- workflow \d+ is paused by .* \("because"\)/);
    await verb('limit', id, '--workflow', '9', '--template', 'shell=2');
    expect(await records('workflow', 'limit', id)).toEqual([
      { task_template: null, max_concurrently_running: 9 },
      { task_template: 'shell', max_concurrently_running: 2 },
    ]);
    expect((await typed('workflow', 'limit', id, '-w', 'none', '-t', 'shell=none')).stdout).toContain(
      'the workflow none, shell none',
    );
    expect((await records('workflow', 'limit', id)).map((row: Json) => row.max_concurrently_running)).toEqual([null, null]);
    await verb('limit', id, '-w', '9');
    await verb('priority', id, '-5');
    expect(await records('workflow', 'show', id)).toMatchObject({ priority: -5, is_paused: true, max_concurrently_running: 9 });
    expect(await verb('resume', id)).toMatchObject({ is_paused: false, is_changed: true });
    expect(await typed('workflow', 'wait', id, '--timeout', '0.2')).toMatchObject({ code: 7 });
    const following = house.jobmonInBackground('task', 'log', String(tasks[0]!.taskId), '--follow');
    expect(await verb('cancel', id, '--dry-run')).toMatchObject({ is_dry_run: true, tasks: 1 });
    expect(await typed('workflow', 'cancel', id)).toMatchObject({ code: 2, stderr: expect.stringContaining('--yes') });
    expect(await verb('cancel', id, '--yes')).toMatchObject({ is_changed: true });
    expect(await following.finished).toMatchObject({ code: 0, stdout: 'begun\n', stderr: expect.stringContaining('has ended') });
    expect(await typed('workflow', 'wait', id, '--timeout', '60')).toMatchObject({ code: 6, stdout: '' });
    expect(await records('workflow', 'show', id)).toMatchObject({ status: 'HALTED', last_event: { verb: 'cancel' } });
    const failedIds = (await records('workflow', 'retry', id, '--dry-run')).map(({ task_id }: Json) => task_id);
    expect(failedIds).toEqual([tasks[0]!.taskId]);
    expect(await records('workflow', 'retry', id, '--template', 'shell', '--status', 'REGISTERING', '--dry-run')).toHaveLength(1);
    expect(await verb('resume', id, '--dry-run', '--set', 'memory=2G')).toMatchObject({ is_dry_run: true, tasks: 2 });
    expect(await verb('reset', id, '--yes', '--keep-done')).toMatchObject({ verb: 'reset', tasks: 1, status: 'REGISTERING' });
    const verbs = (await records('workflow', 'history', id)).map((event: Json) => [event.verb, event.reason]);
    expect(verbs).toEqual([
      ['reset', ''],
      ['cancel', ''],
      ['resume', ''],
      ['set_priority', ''],
      ['set_limits', ''],
      ['set_limits', ''],
      ['set_limits', ''],
      ['pause', 'because'],
    ]);
    expect((await typed('workflow', 'history', id)).stdout).toMatch(/^WHEN +WHO +WHAT +WHY +DETAIL\n/);
  });

  test('folders that go away are told: that of the output, and the one that the command is typed in', async () => {
    const { workflow, tasks } = chain('gone', ['echo lost; rm -r jobmon-logs/$JOBMON_WORKFLOW_ID']);
    const done = await workflow.run({ workingDirectory });
    expect(done.isDone).toBe(true);
    const refused = { code: 1, stderr: `Error: workflow ${done.workflowId} is DONE: nothing is left to run\n` };
    expect(await typed('workflow', 'resume', String(done.workflowId))).toMatchObject(refused);
    expect(await typed('workflow', 'resume', String(done.workflowId), '--dry-run')).toMatchObject(refused);
    const log = await typed('task', 'log', String(tasks[0]!.taskId));
    expect(log).toMatchObject({
      code: 0,
      stdout: '',
      stderr: expect.stringMatching(/^Nothing of attempt 1 is kept: .*\.out is gone\.\n$/),
    });
    const gone = path.join(house.folder, 'gone');
    const script = `mkdir ${gone}; cd ${gone}; rmdir ${gone}; echo '{tool: t, cluster: dummy, tasks: {a: {command: b}}}' | ${jobmonCommand} run -`;
    expect(await run('bash', ['-c', script], house.env)).toMatchObject({
      code: 1,
      stderr: 'Error: the folder that you are in is gone: go to another one\n',
    });
    expect(await records('workflow', 'list', '-n', '1')).toMatchObject([{ name: 'gone' }]);
  });

  test('what is unknown is exit code 3, whoever asks', async () => {
    const unknown = '999999';
    for (const args of [
      ...['show', 'status', 'watch', 'wait', 'errors', 'history', 'pause', 'drain', 'resume', 'retry', 'limit'].map((verb) => [
        verb,
        unknown,
      ]),
      ['errors', unknown, '--group'],
      ['cancel', unknown, '--yes'],
      ['reset', unknown, '--yes'],
      ['limit', unknown, '--workflow', '1'],
      ['priority', unknown, '1'],
      ['retry', unknown, '--template', 'x'],
    ]) {
      const { code, stdout, stderr } = await typed('workflow', ...args);
      expect([args, code, stdout, stderr]).toEqual([args, 3, '', expect.stringMatching(/^Error: .*999999.*\n$/)]);
    }
    for (const verb of ['list', 'show', 'log', 'why']) expect((await typed('task', verb, unknown)).code).toBe(3);
    expect(await typed('workflow', 'errors', String(failed), '--template', 'x')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('it has shell'),
    });
  });

  test.each<[string, RegExp]>([
    ['workflow list --status odd', /one of REGISTERING/],
    ['workflow list --since yesterday', /a date/],
    ['workflow list -o yaml', /Allowed choices/],
    ['workflow list --attribute =blue', /KEY=VALUE, or a KEY/],
    ['workflow list --server nonsense', /'nonsense' is not a URL/],
    ['workflow list --server ftp://127.0.0.1', /http:/],
    ['workflow limit 1 --workflow many', /whole number, or none/],
    ['workflow limit 1 --template shell', /NAME=COUNT/],
    ['workflow limit 1 --template shell=x', /whole number, or none/],
    ['workflow priority 1 5000', /-1000 to 1000/],
    ['workflow priority 1', /missing required argument/],
    ['workflow retry 1 --task 2 --template x', /one or the other/],
    ['workflow retry 1 --task 2,x', /whole number from 1 to/],
    ['workflow resume 1 --set memory=lots', /memory must be/],
    ['workflow resume 1 --set colour=red', /none of cores, memory, runtime/],
    ['workflow resume 1 --times memory=0', /above 0/],
    ['workflow resume 1 --times memory=1001', /at most 1000/],
    ['workflow wait 1 --timeout soon', /a time like/],
    ['workflow reset 1', /--yes/],
    ['task list 1 --status odd', /one of REGISTERING/],
    ['task log 1 --attempt 0', /1, 2, 3/],
    ['task why', /missing required argument/],
  ])('%s is wrong usage: exit code 2 and one sentence', async (line, sentence) => {
    const { code, stdout, stderr } = await typed(...line.replace(/ 1\b/, ` ${failed}`).split(' '));
    expect([code, stdout, stderr]).toEqual([2, '', expect.stringMatching(sentence)]);
    expect(stderr).toMatch(/^Error: /);
  });

  test('on a terminal the view is drawn in its place, without colours where they are not wanted', async () => {
    const seenWith = async (env: NodeJS.ProcessEnv): Promise<string> => {
      const command = `stty cols 60 rows 20; ${jobmonCommand} workflow watch ${failed}; echo "exit $?"`;
      const { stdout } = await run('script', ['-qec', `bash -c '${command.replaceAll("'", `'\\''`)}'`, '/dev/null'], {
        ...house.env,
        ...env,
      });
      return stdout;
    };
    const [coloured, plain, dumb] = await Promise.all([
      seenWith({ TERM: 'xterm', LANG: 'C.UTF-8', NO_COLOR: '' }),
      seenWith({ TERM: 'xterm', LANG: 'C', NO_COLOR: '1' }),
      seenWith({ TERM: 'dumb' }),
    ]);
    expect(coloured).toContain('\x1b[31mFAILED\x1b[0m');
    expect(coloured).toContain('█');
    expect(plain).toContain('\x1b[?25l');
    expect(plain).not.toMatch(/\x1b\[\d+m|█/);
    expect(plain).toContain('the reason (exit status 7)');
    expect(dumb).not.toContain('\x1b');
    for (const text of [coloured, plain, dumb]) {
      expect(text).toContain('exit 6');
      for (const line of text
        .replace(/\x1b\[[?\d]*[A-Za-z]/g, '')
        .split(/\r?\n/)
        .slice(0, -3))
        expect(columnsOf(line)).toBeLessThanOrEqual(100);
    }
  });

  test('watching goes on over a killed server, with a notice, and ends with the workflow', async () => {
    const { workflow } = chain('watched', ['while ! test -e go-on; do sleep 0.1; done', 'echo over']);
    const { workflowId } = await workflow.submit({ workingDirectory });
    const watching = house.jobmonInBackground('workflow', 'watch', String(workflowId));
    await until('the watch has begun', () => watching.stderr.includes(`workflow ${workflowId} `));
    await house.killAndStart();
    await until('the watch has found the server again', () => watching.stderr.includes('The server is back'));
    writeFileSync(path.join(workingDirectory, 'go-on'), '');
    const { code, stdout, stderr } = await watching.finished;
    expect([code, stdout]).toEqual([0, expect.stringContaining(`workflow ${workflowId} DONE 100% 2/2 done`)]);
    expect(stderr).toMatch(/waiting for the server, Ctrl-C to leave/);
    expect(stderr).toMatch(/The server is back after \d+ s\./);
    connection = house.connection();
    tool = new Tool('spec', { connection, defaultClusterName: 'multiprocess' });
  });

  test('the log tells why attempts failed, oldest or newest first, in pages, and as it comes', async () => {
    const of = ['log', '--workflow', String(failed), '--grep', 'AN ATTEMPT failed'];
    const all = await records(...of);
    expect(all).toHaveLength(2);
    expect(all.map(({ detail }: Json) => [detail.status, detail.task_status])).toEqual([
      ['ERROR', 'REGISTERING'],
      ['ERROR', 'ERROR_FATAL'],
    ]);
    expect(all[0]).toMatchObject({ workflow_id: failed, task_id: failedTask, service: 'local', level: 'info' });
    expect(await records(...of, '-n', '1')).toEqual([all[1]]);
    expect(await records(...of, '-n', '1', '--after', all[1].record_id)).toEqual([all[0]]);
    expect(await records(...of, '-n', '1', '--oldest')).toEqual([all[0]]);
    expect(await records(...of, '--until', '2020-01-01')).toEqual([]);
    expect(await typed('log', '--task', '999999')).toMatchObject({ code: 3, stderr: expect.stringContaining('no task 999999') });
    expect(await typed('log', '--level', 'loud')).toMatchObject({ code: 2, stderr: expect.stringContaining('trace, debug') });
    expect((await typed('log', '--follow', '--oldest')).code).toBe(2);

    const following = house.jobmonInBackground('log', '--follow', '-n', '1', '--grep', 'attempt', '-o', 'jsonl');
    const heard = (): Json[] =>
      following.stdout
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line));
    await until('it begins with the last one', () => heard().length > 0);
    const { workflowId } = await chain('followed', ['exit 9']).workflow.run({ workingDirectory });
    await until('what comes is told', () => heard().filter(({ workflow_id }) => workflow_id === workflowId).length === 2);
    following.kill('SIGINT');
    expect((await following.finished).code).toBe(130);
    expect(new Set(heard().map(({ record_id }) => record_id)).size).toBe(heard().length);
  });

  test('Ctrl-C ends the watching and not the workflow', async () => {
    const { workflow } = chain('left alone', ['sleep 60']);
    const { workflowId } = await workflow.submit({ workingDirectory });
    const watching = house.jobmonInBackground('workflow', 'watch', String(workflowId));
    await until('the watch has begun', () => watching.stderr.includes('RUNNING'));
    watching.kill('SIGINT');
    expect(await watching.finished).toMatchObject({
      code: 130,
      stderr: expect.stringContaining(`Workflow ${workflowId} goes on.`),
    });
    expect(await records('workflow', 'show', String(workflowId))).toMatchObject({ status: 'RUNNING' });
    expect((await typed('workflow', 'cancel', String(workflowId), '-y')).stdout).toMatch(/cancelled/);
  });
});

describe('what stops and starts a workflow', () => {
  interface Kept {
    verb: string;
    user: string;
    reason: string;
  }
  const kept = (workflowId: number): Kept[] =>
    house.rows<Kept>('SELECT verb, user, reason FROM workflow_event WHERE workflow_id = ? ORDER BY id', workflowId);
  const statuses = (workflowId: number): string =>
    house
      .rows<{ status: string }>('SELECT status FROM task WHERE workflow_id = ? ORDER BY id', workflowId)
      .map(({ status }) => status)
      .join('');
  const runs = (workflowId: number): string =>
    house
      .rows<{ status: string }>('SELECT status FROM workflow_run WHERE workflow_id = ? ORDER BY id', workflowId)
      .map(({ status }) => status)
      .join('');
  const user = loginName();

  test('cancel and reset ask at a terminal: y does it; n, an empty line, the end of input and Ctrl-C do nothing, each with its exit code', async () => {
    const { workflow } = chain('asked', ['sleep 300', 'echo second']);
    const { workflowId } = await workflow.submit({ workingDirectory });
    const id = String(workflowId);
    await until('it runs', () => statuses(workflowId) === 'RG');
    const question = new RegExp(`Cancel workflow ${id} 'asked' \\(RUNNING\\) and kill its 1 running command\\? \\[y/N\\] `);
    const [no, empty, ended, left] = await Promise.all(
      ['n\r', '\r', '\x04', '\x03'].map((answer) => house.jobmonAsked(answer, 'workflow', 'cancel', id)),
    );
    for (const refused of [no, empty, ended]) {
      expect(refused).toMatchObject({ code: 1, stdout: expect.stringMatching(question) });
      expect(refused!.stdout).toMatch(/\nError: nothing was done\r\n$/);
    }
    expect(left).toMatchObject({ code: 130, stdout: expect.stringMatching(/\nNothing was done\.\r\n$/) });
    const nobody = await house.jobmon('workflow', 'cancel', id, '--reason', 'nobody there');
    expect(nobody).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(/^Error: nobody can be asked.*--yes.*\n$/),
    });
    expect([statuses(workflowId), kept(workflowId)]).toEqual(['RG', []]);

    const yes = await house.jobmonAsked('y\r', 'workflow', 'cancel', id, '--reason', '"wrong input"');
    expect(yes).toMatchObject({ code: 0, stdout: expect.stringContaining(`workflow ${id}: cancelled`) });
    expect((await typed('workflow', 'wait', id)).code).toBe(6);
    expect([statuses(workflowId), runs(workflowId)]).toEqual(['FG', 'T']);
    expect(await house.jobmonAsked('N\r', 'workflow', 'reset', id)).toMatchObject({
      code: 1,
      stdout: expect.stringContaining(`Set 2 tasks of workflow ${id} 'asked' (HALTED) back to the beginning, 0 of them done?`),
    });
    expect(await house.jobmonAsked('Yes\r', 'workflow', 'reset', id)).toMatchObject({ code: 0 });
    expect(statuses(workflowId)).toBe('GG');
    expect(kept(workflowId)).toEqual([
      { verb: 'cancel', user, reason: 'wrong input' },
      { verb: 'reset', user, reason: '' },
    ]);
  });

  test('drain lets what runs finish and starts nothing; resume --watch goes on and follows it to its end', async () => {
    const { workflow } = chain('drained', ['while ! test -e drained; do sleep 0.1; done', 'echo second']);
    const { workflowId } = await workflow.submit({ workingDirectory });
    const id = String(workflowId);
    await until('it runs', () => statuses(workflowId) === 'RG');
    expect(await typed('workflow', 'drain', id, '--reason', 'maintenance at noon')).toEqual({
      code: 0,
      stdout: `workflow ${id}: stops when what runs has finished\n`,
      stderr: '',
    });
    expect((await typed('workflow', 'drain', id)).stdout).toContain('it stood so already');
    expect([statuses(workflowId), runs(workflowId)]).toEqual(['RG', 'H']);
    writeFileSync(path.join(workingDirectory, 'drained'), '');
    expect((await typed('workflow', 'wait', id)).code).toBe(6);
    expect([statuses(workflowId), runs(workflowId)]).toEqual(['DG', 'T']);
    expect((await typed('workflow', 'drain', id, '--reason', 'again')).stdout).toContain('it stood so already');

    const resumed = await typed('workflow', 'resume', id, '--watch', '--reason', 'it is over');
    expect(resumed).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(new RegExp(`^workflow ${id}: goes on in run \\d+\nworkflow ${id} DONE 100% 2/2 done.*\n$`)),
    });
    expect([statuses(workflowId), runs(workflowId)]).toEqual(['DD', 'TD']);
    expect(kept(workflowId)).toEqual([
      { verb: 'drain', user, reason: 'maintenance at noon' },
      { verb: 'resume', user, reason: 'it is over' },
    ]);
  });

  test('retry runs the chosen task alone, then all that failed; --watch ends with the exit code of the workflow', async () => {
    const workflow = tool.createWorkflow({ name: 'retried' });
    const [left, right] = ['left', 'right'].map((side) =>
      workflow.addTask(shell().createTask({ command: `echo ${side} >> sides; test -e mended-${side}` }, { name: side })),
    );
    workflow.addTask(shell().createTask({ command: 'echo behind >> sides' }, { name: 'behind', upstreams: [left!, right!] }));
    const { workflowId } = await workflow.run({ workingDirectory });
    const [id, other] = [String(workflowId), String(workflowId - 1)];
    const sides = (): string[] => readFileSync(path.join(workingDirectory, 'sides'), 'utf8').trim().split('\n').sort();
    expect([statuses(workflowId), sides()]).toEqual(['FFG', ['left', 'left', 'right', 'right']]);

    expect(await records('workflow', 'retry', id, '--task', String(left!.taskId), '--dry-run')).toMatchObject([{ name: 'left' }]);
    const theirs = ['workflow', 'retry', other, '--task', String(left!.taskId)];
    const refused = await typed(...theirs);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/^Error: all tasks must be of workflow/) });
    expect(await typed(...theirs, '--dry-run')).toEqual(refused);
    expect((await typed('workflow', 'retry', id, '--task', '999999', '--dry-run')).code).toBe(3);
    expect(kept(workflowId)).toEqual([]);

    writeFileSync(path.join(workingDirectory, 'mended-left'), '');
    const one = await typed(
      'workflow',
      'retry',
      id,
      '--task',
      String(left!.taskId),
      '--reason',
      'left is mended',
      '--watch',
      '-o',
      'jsonl',
    );
    const looks = one.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect([one.code, looks.at(-1)]).toEqual([
      6,
      expect.objectContaining({ status: 'FAILED', is_final: true, done: 1, fatal: 1 }),
    ]);
    expect([statuses(workflowId), sides()]).toEqual(['DFG', ['left', 'left', 'left', 'right', 'right']]);

    writeFileSync(path.join(workingDirectory, 'mended-right'), '');
    const here = path.relative(process.cwd(), workingDirectory);
    const rest = await typed('workflow', 'retry', id, '--reason', 'and right', '--watch', '--working-directory', here);
    expect(rest).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/: 1 task runs again\nworkflow \d+ DONE 100% 3\/3 done.*\n$/),
    });
    expect([statuses(workflowId), sides()]).toEqual(['DDD', ['behind', 'left', 'left', 'left', 'right', 'right', 'right']]);
    expect(kept(workflowId)).toEqual([
      { verb: 'retry', user, reason: 'left is mended' },
      { verb: 'retry', user, reason: 'and right' },
    ]);
    const told = await typed('workflow', 'history', id);
    expect(told.stdout.split('\n')[1]).toMatch(new RegExp(`^\\d{4}-.* ${user} +retry +and right `));
  });

  test('errors are told with the whole reason, at 80 columns too', async () => {
    const { workflow } = chain('a long way', [
      `mkdir -p ${'deep/'.repeat(30)}; LC_ALL=C cat "$PWD/${'deep/'.repeat(30)}the-file.csv"`,
    ]);
    const { workflowId } = await workflow.run({ workingDirectory });
    const { stdout } = await typed('workflow', 'errors', String(workflowId));
    const lines = stdout.trimEnd().split('\n');
    expect(Math.max(...lines.map(columnsOf))).toBeLessThanOrEqual(80);
    expect(lines[0]).toMatch(/^TIME +TASK +EXIT +NAME$/);
    expect(lines.slice(2, 5).join('\n')).toMatch(
      /^ {4}cat:\n {4}\S+…\S+\/the-file\.csv'?:\n {4}No such file or directory \(exit status 1\)$/,
    );
    const grouped = (await typed('workflow', 'errors', String(workflowId), '--group')).stdout;
    expect(grouped).toMatch(/^ERRORS +TASKS +NEWEST +TASK\n *2 +1 /);
    expect(grouped).toContain('No such file or directory (exit status 1)');
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
