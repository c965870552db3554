/**
 * Resources on one machine, with real commands: what uses more than it asked for is ended, tried again with more, and passes; what
 * nobody can satisfy fails with the reason; and every attempt shows what it used.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Connection, Tool, type TaskOptions } from '@jobmon/client';
import { getTask, type TaskInstanceView } from '@jobmon/contracts';
import { createLogger, loadConfig } from '@jobmon/runtime';
import { startHouse, type House } from '../src/house';

const MIB = 2 ** 20;
/** A shell that holds 80 MB for two seconds: four looks of the watch. */
const HOLD_80_MB = `x=$(head -c 80000000 /dev/zero | tr '\\0' x); sleep 2; echo \${#x}`;

const STORIES: Record<string, TaskOptions & { command: string }> = {
  memory: { command: HOLD_80_MB, computeResources: { memory: '64M' }, resourceScales: { memory: 2 }, maxAttempts: 3 },
  runtime: { command: 'sleep 2.5', computeResources: { runtime: 1 }, resourceScales: { runtime: 9 }, maxAttempts: 3 },
  both: { command: HOLD_80_MB, computeResources: { memory: '64M', runtime: '1m' }, maxAttempts: 1 },
  unlimited: { command: HOLD_80_MB, computeResources: {}, maxAttempts: 1 },
  quick: { command: 'i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done', computeResources: { cores: 2 }, maxAttempts: 1 },
  missing: { command: 'no-such-program --fit', computeResources: {}, maxAttempts: 1 },
};

describe('resources', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'jobmon-resources-'));
  let house: House;
  const attempts = new Map<string, TaskInstanceView[]>();
  const statuses = new Map<string, string>();

  beforeAll(async () => {
    const env = { HOME: folder, XDG_DATA_HOME: path.join(folder, 'data'), XDG_CONFIG_HOME: path.join(folder, 'config') };
    const url = `sqlite:${path.join(folder, 'jobmon.sqlite')}`;
    const overrides = { db: { url }, http: { port: 0 }, agent: { cores: 8, state_directory: path.join(folder, 'agent') } };
    const { config } = loadConfig({ env, overrides });
    house = await startHouse({
      config,
      log: createLogger({ service: 'local', level: 'warn', destination: path.join(folder, 'log') }),
    });
    const connection = new Connection(house);
    const tool = new Tool('resources', { connection });
    const workflow = tool.createWorkflow({ name: 'resources', defaultClusterName: 'multiprocess' });
    const tasks = Object.entries(STORIES).map(([name, { command, ...options }]) => {
      const template = tool.getTaskTemplate(name, `${command.replaceAll('{', '{{').replaceAll('}', '}}')} # {name_}`);
      return [name, workflow.addTask(template.createTask({ name_: name }, options))] as const;
    });
    await workflow.run({ workingDirectory: folder, onProgress: () => undefined });
    for (const [name, { taskId }] of tasks) {
      const { task, instances } = await connection.send(getTask, { task_id: taskId as number });
      statuses.set(name, task.status);
      attempts.set(name, instances);
    }
  }, 60_000);

  afterAll(async () => {
    await house?.stop();
    rmSync(folder, { recursive: true, force: true });
  }, 60_000);

  const of = (story: string): TaskInstanceView[] => attempts.get(story) ?? [];

  it('a task over its memory is ended, classified Z, scaled, tried again, and passes', () => {
    expect(of('memory').map(({ status, requested_resources }) => [status, requested_resources])).toEqual([
      ['Z', { memory: 64 / 1024 }],
      ['D', { memory: 192 / 1024 }],
    ]);
    const [first, second] = of('memory') as [TaskInstanceView, TaskInstanceView];
    expect(first.errors.map(({ description }) => description)).toEqual([
      expect.stringMatching(/went over the memory it asked for: 64 MiB asked, \d+(\.\d+)? MiB used; .*SIGINT/),
    ]);
    expect(first.max_rss_bytes).toBeGreaterThan(64 * MIB);
    expect(first.history.map(({ to_status }) => to_status)).toEqual(['Q', 'I', 'R', 'Z']);
    expect(second).toMatchObject({ stdout_log: '80000000\n', errors: [] });
    expect(second.max_rss_bytes).toBeGreaterThan(75 * MIB);
    expect(statuses.get('memory')).toBe('D');
  });

  it('a task over its run time is ended, classified Z, scaled, tried again, and passes', () => {
    expect(of('runtime').map(({ status, requested_resources }) => [status, requested_resources])).toEqual([
      ['Z', { runtime: 1 }],
      ['D', { runtime: 10 }],
    ]);
    const [first, second] = of('runtime') as [TaskInstanceView, TaskInstanceView];
    expect(first.errors[0]?.description).toMatch(/went over the run time it asked for: 1 s asked, 1(\.\d+)? s used/);
    expect(first.wallclock_seconds).toBeLessThan(2.5);
    expect(second.wallclock_seconds).toBeGreaterThanOrEqual(2.5);
  });

  it('one that has no attempt left fails with the reason', () => {
    expect(of('both').map(({ status }) => status)).toEqual(['Z']);
    expect(statuses.get('both')).toBe('F');
  });

  it('what asks for nothing is not limited, and what it used is shown, however quick it was', () => {
    expect(of('unlimited')).toMatchObject([{ status: 'D', requested_resources: {} }]);
    expect(of('unlimited')[0]?.max_rss_bytes).toBeGreaterThan(75 * MIB);
    const [quick] = of('quick') as [TaskInstanceView];
    expect(quick).toMatchObject({ status: 'D', requested_resources: { cores: 2 }, queue: 'null.q' });
    expect(quick.cpu_seconds).toBeGreaterThan(0.02);
    expect(quick.max_rss_bytes).toBeGreaterThan(MIB);
    expect(quick.max_rss_bytes).toBeLessThan(20 * MIB);
  });

  it('a command that is not found says which', () => {
    expect(of('missing')[0]?.errors[0]?.description).toBe(
      'the command ended with exit status 127: a command was not found (no-such-program: not found)',
    );
    expect(readFileSync(of('missing')[0]?.stderr ?? '', 'utf8')).toContain('no-such-program');
  });
});
