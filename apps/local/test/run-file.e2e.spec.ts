/** `jobmon run`: workflow files against a real house, as a person types it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { buildHouse, HouseProcess, ROOT, until, UserFolder } from '@jobmon/testkit';

jest.setTimeout(60_000);

const MAIN = path.join(ROOT, 'dist', 'apps', 'cli', 'main.js');

interface Finished {
  code: number | null;
  stdout: string;
  stderr: string;
}

let user: UserFolder;
let house: HouseProcess;
let folder: string;

beforeAll(async () => {
  buildHouse();
  user = new UserFolder({ JOBMON__AGENT__CORES: '4', COLUMNS: undefined });
  folder = user.folder('work');
});
afterAll(async () => {
  await house?.end('SIGTERM');
  await user.remove();
});

const write = (name: string, text: string): void => writeFileSync(path.join(folder, name), text);
const read = (name: string): string => readFileSync(path.join(folder, name), 'utf8');
const workflows = (): number => user.rows<{ n: number }>('SELECT COUNT(*) AS n FROM workflow')[0]!.n;

function start(...args: string[]): { child: ChildProcess; said: Finished; ended: Promise<Finished> } {
  const child = spawn(process.execPath, [MAIN, ...args], { env: user.env, cwd: folder, stdio: ['pipe', 'pipe', 'pipe'] });
  const said: Finished = { code: null, stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.stderr += text));
  child.stdin.end();
  const ended = new Promise<Finished>((resolve) => child.on('close', (code) => resolve(Object.assign(said, { code }))));
  return { child, said, ended };
}
const jobmon = (...args: string[]): Promise<Finished> => start(...args).ended;

const HEAD = 'tool: story\ncluster: multiprocess\n';

describe('without a server', () => {
  test('a dry run shows the graph and the first commands; a wrong file is refused line by line; the schema is printed', async () => {
    write(
      'graph.yaml',
      `${HEAD}tasks:\n  a: {command: 'echo {n}', matrix: {n: [1, 2]}, resources: {memory: 256M}}\n  b: {command: wc, needs: a}\n`,
    );
    const plan = await jobmon('run', 'graph.yaml', '--dry-run');
    expect([plan.code, plan.stderr]).toEqual([0, '']);
    expect(plan.stdout).toMatch(/^tasks +3 with 2 edges on 2 levels$/m);
    expect(plan.stdout).toMatch(/^ +2 +b +1 +a \(2\) +multiprocess +-$/m);
    expect(plan.stdout).toMatch(/^a_n-2 +256 MiB +echo 2$/m);
    const record = await jobmon('run', 'graph.yaml', '--dry-run', '-o', 'json');
    expect(JSON.parse(record.stdout)).toMatchObject({ tool: 'story', name: 'graph', tasks: 3, edges: 2, levels: 2 });

    write('wrong.yaml', `${HEAD}nmae: x\ntasks:\n  a: {command: b, needs: c}\n`);
    expect(await jobmon('run', 'wrong.yaml')).toEqual({
      code: 1,
      stdout: '',
      stderr:
        "wrong.yaml:3:1: unknown key 'nmae' here; did you mean 'name'?\nwrong.yaml:5:26: there is no task 'c'; there are a\n",
    });
    expect(await jobmon('run')).toMatchObject({ code: 2, stdout: '' });
    expect(JSON.parse((await jobmon('run', '--schema')).stdout)).toMatchObject({ title: 'Jobmon workflow file' });
    expect(await jobmon('run', 'graph.yaml')).toMatchObject({ code: 5, stdout: '' });
  });
});

describe('with a house', () => {
  beforeAll(async () => {
    house = await HouseProcess.start(user);
  });

  test('a file with a matrix and includes runs to DONE, with exit code 0; data on standard output, the rest on standard error', async () => {
    write('site.yaml', 'tool_resources: {multiprocess: {memory: 300M}}\ntool_scales: {multiprocess: {memory: 0.25}}\n');
    write(
      'flow.yaml',
      `${HEAD}name: from a file
include: site.yaml
limit: 3
priority: 5
attributes: {release: 007}
templates:
  square:
    command: echo $(({n} * {n})) > square-{n}
    max_attempts: 2
    limit: 2
tasks:
  square: {matrix: {n: {from: 1, to: 5}}, resources: {runtime: 1.5h, multiprocess: {cores: 1}}}
  sum: {command: 'cat square-* | paste -sd+ > sum', needs: square, scales: {memory: [1G, 2G]}}
`,
    );
    const { code, stdout, stderr } = await jobmon('run', 'flow.yaml');
    expect({ code, stdout, stderr }).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^workflow \d+ DONE 100% 6\/6 done/),
    });
    expect(stdout.trimEnd().split('\n')).toHaveLength(1);
    expect(stderr).toContain("of 6 tasks is the server's now");
    expect(read('sum')).toBe('1+4+9+16+25\n');
    const [workflow] = user.rows(
      'SELECT id, name, max_concurrently_running AS most, priority FROM workflow ORDER BY id DESC LIMIT 1',
    );
    expect(workflow).toMatchObject({ name: 'from a file', most: 3, priority: 5 });
    const tasks = user.rows<{ resources: string; scales: string }>(
      `SELECT t.name AS name, t.max_attempts AS attempts, t.resource_scales AS scales, r.requested_resources AS resources, a.max_concurrently_running AS most
         FROM task t JOIN task_resources r ON r.id = t.task_resources_id JOIN array a ON a.id = t.array_id
        WHERE t.workflow_id = ? ORDER BY t.id`,
      workflow!.id as number,
    );
    const told = tasks.map(({ resources, ...row }) => ({ ...row, resources: JSON.parse(resources) as unknown }));
    expect(told[0]).toMatchObject({
      name: 'square_n-1',
      attempts: 2,
      most: 2,
      resources: { memory: 300 / 1024, runtime: 5_400, cores: 1 },
    });
    expect(JSON.parse(told[0]!.scales)).toEqual({ memory: 0.25, runtime: 0.5 });
    expect(JSON.parse(told[5]!.scales)).toEqual({ memory: [1, 2], runtime: 0.5 });
  });

  test('a failing one exits with 6; without --resume it is not run again, with it what is done stays done; a finished one has nothing to do', async () => {
    write(
      'shaky.yaml',
      `${HEAD}args: 2026-11
defaults: {max_attempts: 1}
tasks:
  first: {command: echo first >> ran}
  second: {command: test -e cure && echo second >> ran, needs: first, resources: {memory: 100M}}
`,
    );
    const failed = await jobmon('run', 'shaky.yaml');
    expect(failed).toMatchObject({ code: 6, stdout: expect.stringMatching(/^workflow \d+ FAILED .* 1 failed/) });
    expect(failed.stderr).toMatch(
      /Go on with what is not done: jobmon workflow resume \d+, or the same command with --resume\n$/,
    );
    const again = await jobmon('run', 'shaky.yaml');
    expect(again).toMatchObject({ code: 1, stdout: '' });
    expect(again.stderr).toMatch(
      /^Error: workflow \d+ has the same args and tasks and has run before: go on with it by --resume, or give other --args\n$/,
    );
    write('cure', '');
    // What the file asks for by now counts.
    write('shaky.yaml', read('shaky.yaml').replace('100M', '200M'));
    expect(await jobmon('run', 'shaky.yaml', '--resume')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('DONE 100% 2/2'),
    });
    expect(read('ran')).toBe('first\nsecond\n');
    const [asked] = user.rows<{ asked: string }>(
      "SELECT r.requested_resources AS asked FROM task t JOIN task_resources r ON r.id = t.task_resources_id WHERE t.name = 'second'",
    );
    expect(JSON.parse(asked!.asked)).toMatchObject({ memory: 200 / 1024 });

    expect(await jobmon('run', 'shaky.yaml')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('is DONE: give other --args to run it anew'),
    });
    expect(await jobmon('run', 'shaky.yaml', '--resume')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('DONE 100% 2/2'),
    });
    const other = await jobmon('run', 'shaky.yaml', '--args', '2026-12', '-o', 'json');
    expect(JSON.parse(other.stdout)).toMatchObject({ status: 'DONE' });
    expect(read('ran')).toBe('first\nsecond\nfirst\nsecond\n');
    const changed = read('shaky.yaml').replace('second:', 'third: {command: x}\n  second:');
    write('shaky.yaml', changed);
    expect(await jobmon('run', 'shaky.yaml', '--resume')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('has the same args and other tasks: give other --args'),
    });
    write('no-args.yaml', `${HEAD}tasks: {a: {command: b}}\n`);
    expect(await jobmon('run', 'no-args.yaml', '--resume')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('write args: into the file'),
    });
  });

  test('--detach prints the id and leaves; Ctrl-C leaves the watching; --resume of a running one follows it to its end', async () => {
    write(
      'slow.json',
      JSON.stringify({
        tool: 'story',
        args: 'slow',
        cluster: 'MultiprocessingExecutor',
        tasks: { wait: { command: 'until test -e go; do sleep 0.05; done; echo {n}', matrix: { n: [1] } } },
      }),
    );
    const detached = await jobmon('run', 'slow.json', '--detach');
    expect(detached).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\n$/) });
    expect(detached.stderr).toContain("the executor 'MultiprocessingExecutor' is understood as the cluster 'multiprocess'");
    const id = detached.stdout.trim();
    expect(await jobmon('run', 'slow.json')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`follow it by jobmon workflow watch ${id}`),
    });

    const { child, said, ended } = start('run', 'slow.json', '--resume');
    await until('it is followed', () => said.stderr.includes('RUNNING'));
    child.kill('SIGINT');
    const left = await ended;
    expect(left).toMatchObject({ code: 130, stdout: '' });
    expect(left.stderr).toContain(`Workflow ${id} is the server's and goes on.`);
    expect(left.stderr).toContain(`jobmon workflow cancel ${id}`);

    const follower = start('run', 'slow.json', '--resume');
    await until('it is followed again', () => follower.said.stderr.includes('RUNNING'));
    write('go', '');
    expect(await follower.ended).toMatchObject({ code: 0, stdout: expect.stringContaining(`workflow ${id} DONE`) });
    expect(
      user.rows('SELECT id FROM task_instance WHERE task_id IN (SELECT id FROM task WHERE workflow_id = ?)', Number(id)),
    ).toHaveLength(1);
  });

  test('an unknown cluster or queue is refused with its place, before anything is written', async () => {
    const before = workflows();
    write('lost.yaml', `${HEAD}tasks:\n  near: {command: a}\n  far: {command: b, cluster: slrum}\n`);
    const lost = await jobmon('run', 'lost.yaml');
    expect(lost).toMatchObject({ code: 1, stdout: '' });
    expect(lost.stderr).toMatch(/^lost.yaml:5:30: there is no cluster 'slrum' /);
    expect(await jobmon('run', 'lost.yaml', '--cluster', 'dummy')).toMatchObject({ code: 0 });
    expect(workflows()).toBe(before + 1);
    expect(existsSync(path.join(folder, 'near'))).toBe(false);
  });
});
