/**
 * A workflow of commands, each of which writes down by itself that it starts and ends. In the middle of it the busiest scheduler and the
 * busiest state machine are killed and frozen, alone and together; each killed one is replaced before the next blow. Afterwards what the
 * commands wrote is held against the database.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Tool, type Connection, type Task } from '@jobmon/client';
import { judge, type Executed, type ServiceProcess } from '@jobmon/testkit';
import { System, uptime, type Recovery } from './system';

const AGENTS = 2;
const CORES = 16;
/** Attempts that are queued or run at one time: with few of them a scheduler that is gone is felt at once. */
const LIMIT = AGENTS * CORES;
const TIERS = 20;
/** A frozen process stands still for so long at least: longer than a lease. */
const FROZEN_MS_MIN = 8_000;
/** Length of an agent's lease when nobody sets it. */
const AGENT_LEASE_SECONDS = 60;
/** After a blow the longest time without a start is looked for that begins in so many seconds. */
const WATCHED_SECONDS = 20;
/** The whole of it, with all blows: so long for each task, and some more. */
const TASK_MS_MAX = 200;
const REST_MS_MAX = 300_000;

type Struck = 'scheduler' | 'state-machine';

interface Blow {
  readonly how: 'kill -9' | 'SIGSTOP';
  readonly services: readonly Struck[];
}

const BLOWS: readonly Blow[] = [
  { how: 'kill -9', services: ['scheduler'] },
  { how: 'kill -9', services: ['state-machine'] },
  { how: 'kill -9', services: ['scheduler', 'state-machine'] },
  { how: 'SIGSTOP', services: ['scheduler'] },
  { how: 'SIGSTOP', services: ['state-machine'] },
];

interface Told extends Blow {
  /** Of the machine's clock. */
  readonly at: number;
  readonly recovery: Recovery;
}

const COMMAND = [
  'say() {{ read -r now rest </proc/uptime; echo "$1 task_{position} $JOBMON_TASK_INSTANCE_ID $now $2" >>executed.log; }}',
  'say start 0',
  'say end 0',
].join('\n');

export interface CommandsResult {
  /** The table and what it holds, for people. */
  readonly text: string;
  readonly isClean: boolean;
}

/** Plays it once, with so many tasks. */
export async function playCommands(tasks: number): Promise<CommandsResult> {
  const system = await System.start({ agents: AGENTS, cores: CORES });
  let isClean = false;
  try {
    const folder = system.user.folder('work');
    const tier = Math.ceil(tasks / TIERS);
    const upstreamsOf = (position: number): number[] => (position < tier ? [] : [position - tier]);
    const began = performance.now();
    const workflow_run_id = await submit(system.services.connection(), tasks, folder, upstreamsOf);
    const told: Told[] = [];
    for (const [index, blow] of BLOWS.entries()) {
      const wanted = Math.floor((tasks * (index + 0.5)) / BLOWS.length);
      const bound = performance.now() + REST_MS_MAX + tasks * TASK_MS_MAX;
      while (readExecuted(folder).filter(({ what }) => what === 'end').length < wanted) {
        if (performance.now() > bound) throw new Error(`${wanted} tasks were not done in time`);
        await pause(100);
      }
      told.push(await strike(system, workflow_run_id, blow));
      console.log(JSON.stringify(told.at(-1)));
    }
    const status = "SELECT COUNT(*) FROM workflow_run WHERE status NOT IN ('D', 'E', 'S', 'T')";
    const bound = performance.now() + REST_MS_MAX + tasks * TASK_MS_MAX;
    while ((await system.number(status)) > 0 && performance.now() < bound) await pause(250);
    const seconds = (performance.now() - began) / 1_000;
    const log = readExecuted(folder);
    const { violations } = judge({
      log,
      ...(await rowsOf(system, upstreamsOf)),
      limit: LIMIT,
      silences: [],
      lease_seconds: AGENT_LEASE_SECONDS,
    });
    const starts = log.filter(({ what }) => what === 'start');
    const ended = new Set(log.filter(({ what, code }) => what === 'end' && code === 0).map(({ task }) => task));
    const lost = tasks - ended.size;
    const doubled = starts.length - new Set(starts.map(({ task }) => task)).size;
    isClean = violations.length === 0 && lost === 0 && doubled === 0;
    const rows = told.map((one) => rowOf(one, starts));
    const text = [
      '| blow | to the busiest | next queued, s | next start, s | longest time without a start, s |',
      '| --- | --- | ---: | ---: | ---: |',
      ...rows,
      '',
      ...violations.slice(0, 20).map(({ kind, what }) => `- ${kind}: ${what}`),
      `takeover: ${tasks} tasks in ${seconds.toFixed(0)} s, lost ${lost}, doubled ${doubled}, ${violations.length} violations` +
        (isClean ? '' : `; logs: ${system.user.path}`),
    ].join('\n');
    return { text, isClean };
  } finally {
    await system.remove({ isKept: !isClean });
  }
}

async function strike(system: System, workflow_run_id: number, blow: Blow): Promise<Told> {
  const victims: ServiceProcess[] = await Promise.all(blow.services.map((name) => system.busiest(name)));
  const at = uptime();
  for (const victim of victims) victim.kill(blow.how === 'kill -9' ? 'SIGKILL' : 'SIGSTOP');
  const rest = pause(blow.how === 'SIGSTOP' ? FROZEN_MS_MIN : 0);
  const recovery = await system.recovery(workflow_run_id, victims);
  await rest;
  if (blow.how === 'SIGSTOP') for (const victim of victims) victim.thaw();
  else await Promise.all(blow.services.map((name) => system.replace(name)));
  return { ...blow, at, recovery };
}

function rowOf({ how, services, at, recovery }: Told, starts: readonly Executed[]): string {
  const after = starts
    .map((start) => start.at)
    .filter((start) => start >= at)
    .sort((a, b) => a - b)
    .filter((_, index, all) => (all[index - 1] ?? at) <= at + WATCHED_SECONDS);
  const gaps = after.map((start, index) => start - (after[index - 1] ?? at));
  const cells = [recovery.queued, recovery.started, Math.max(0, ...gaps)].map((seconds) => seconds.toFixed(1));
  return `| ${how} | ${services.join(' and ')} | ${cells.join(' | ')} |`;
}

async function submit(
  connection: Connection,
  count: number,
  folder: string,
  upstreamsOf: (position: number) => number[],
): Promise<number> {
  const tool = new Tool('takeover', { connection, defaultClusterName: 'multiprocess' });
  const workflow = tool.createWorkflow({ name: 'takeover', workflowArgs: 'takeover', maxConcurrentlyRunning: LIMIT });
  const template = tool.getTaskTemplate('executed', COMMAND);
  const tasks: Task[] = [];
  for (let position = 0; position < count; position += 1) {
    const upstreams = upstreamsOf(position).map((at) => tasks[at]!);
    tasks.push(workflow.addTask(template.createTask({ position }, { name: `task_${position}`, upstreams })));
  }
  const { workflowRunId } = await workflow.submit({ workingDirectory: folder });
  return workflowRunId!;
}

function readExecuted(folder: string): Executed[] {
  const file = path.join(folder, 'executed.log');
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const [what, task = '', attempt, at, code] = line.split(' ');
      const isEnd = what === 'end';
      return {
        what: isEnd ? 'end' : 'start',
        task,
        task_instance_id: Number(attempt),
        at: Number(at),
        host: 'agents',
        code: isEnd ? Number(code) : null,
      };
    });
}

async function rowsOf(system: System, upstreamsOf: (position: number) => number[]) {
  const tasks = await system.rows<{ name: string; status: string; current: number | null }>(
    'SELECT name, status, current_task_instance_id AS current FROM task ORDER BY id',
  );
  const attempts = await system.rows<{ id: number; task: string; status: string }>(
    'SELECT ti.id, t.name AS task, ti.status FROM task_instance ti JOIN task t ON t.id = ti.task_id ORDER BY ti.id',
  );
  return {
    tasks: tasks.map(({ name, status, current }) => ({
      name,
      status,
      current_task_instance_id: current === null ? null : Number(current),
      upstreams: upstreamsOf(Number(name.slice('task_'.length))).map((at) => `task_${at}`),
    })),
    attempts: attempts.map(({ id, task, status }) => ({ id: Number(id), task, status })),
  };
}
