/**
 * Two users at one house: one user's workflow of many tasks runs, and another user's of ten comes. Measured is how long each of the
 * ten waits from the call that submits them to its start, first while the house has nothing else to do, then again and again
 * while the many run.
 */
import { fork } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection, Tool, WorkflowRun } from '@jobmon/client';
import { submitWorkflow } from '@jobmon/contracts';
import { openDatabase, type Database } from '@jobmon/entities';
import { createLogger } from '@jobmon/runtime';
import { startTimes } from '@jobmon/testkit';
import type { RawDatabase } from '../transitions/database';
import type { HouseSays } from '../workflow/house';
import { next } from '../workflow/measure';

/** Tasks of a small workflow. */
export const SMALL = 10;
/** Small workflows before the many, and while the many run. */
const ROUNDS = 10;
/** So many of the many have ended before the first small one comes. */
const WARM = 20;

/** What is run, and on how many cores. */
export interface Load {
  readonly name: string;
  readonly cluster: 'dummy' | 'multiprocess';
  readonly command: string;
  readonly cores: number;
}

/** Real commands on four cores: whoever comes waits for a core. And commands that take no time: whoever comes waits for the house alone. */
export const LOADS: readonly Load[] = [
  { name: 'commands of 0.2 s on 4 cores', cluster: 'multiprocess', command: 'sleep 0.2', cores: 4 },
  { name: 'dummy, the house busy without end', cluster: 'dummy', command: 'nothing', cores: 4 },
];

export interface Fairness {
  readonly kind: string;
  readonly load: Load;
  readonly tasks: number;
  /** Milliseconds from the call to each task's start, ascending. */
  readonly idle_ms: readonly number[];
  readonly busy_ms: readonly number[];
  /** Tasks of the many that were done when the last small workflow had ended: not all of them, or the figure would mean nothing. */
  readonly done: number;
}

class Guests {
  constructor(
    readonly connection: Connection,
    readonly database: Database,
    readonly folder: string,
    readonly load: Load,
  ) {}

  /** Binds a workflow of so many tasks that wait for nothing; answers its id. */
  bind(name: string, tasks: number): Promise<number> {
    const tool = new Tool('guests', { connection: this.connection, defaultClusterName: this.load.cluster });
    const workflow = tool.createWorkflow({ name });
    const template = tool.getTaskTemplate('step', `${this.load.command} # {number} of {name}`);
    for (let number = 0; number < tasks; number += 1) workflow.addTask(template.createTask({ number, name }));
    return workflow.bind();
  }

  async submit(workflow_id: number, user: string): Promise<WorkflowRun> {
    const request = { workflow_id, user, working_directory: this.folder, client_version: 'bench' };
    const { workflow_run_id } = await this.connection.send(submitWorkflow, request);
    return new WorkflowRun(this.connection, workflow_id, workflow_run_id);
  }

  /** Milliseconds from the call to the start of each of ten, for some workflows of ten, one after the other. */
  async waits(user: string, when: string): Promise<number[]> {
    const waits: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const workflow_id = await this.bind(`ten ${when} ${round}`, SMALL);
      const called = Date.now();
      const { isDone } = await (await this.submit(workflow_id, user)).wait();
      const starts = [...(await startTimes(this.database, workflow_id)).values()];
      if (!isDone || starts.length !== SMALL) throw new Error(`${when}, round ${round}: ${starts.length} of ${SMALL} started`);
      waits.push(...starts.map((at) => at - called));
    }
    return waits.sort((a, b) => a - b);
  }

  async done(workflow_id: number): Promise<number> {
    const sql = "SELECT COALESCE(SUM(n), 0) AS n FROM task_status_count WHERE workflow_id = ? AND status = 'D'";
    const [row] = await this.database.read<{ n: number }>(sql, [workflow_id]);
    return Number(row?.n);
  }
}

export async function measureFairness(place: RawDatabase, load: Load, tasks: number, folder: string): Promise<Fairness> {
  const house = fork(join(__dirname, 'house.js'));
  let database: Database | undefined;
  try {
    const isReady = next<HouseSays, 'ready'>(house, 'ready');
    house.send({ database_url: place.url, folder, agent: { any_user: true, cores: load.cores } });
    const { url, token } = await isReady;
    const log = createLogger({ service: 'bench', level: 'error', destination: join(folder, 'bench.log') });
    database = await openDatabase({ url: place.url, log });
    const guests = new Guests(new Connection({ url, token }), database, folder, load);
    const many = await guests.bind('many', tasks);
    const idle_ms = await guests.waits('grace', 'idle');
    await guests.submit(many, 'ada');
    while ((await guests.done(many)) < WARM) await sleep(20);
    const busy_ms = await guests.waits('grace', 'busy');
    const done = await guests.done(many);
    if (done >= tasks) throw new Error('the many had ended before the last small workflow: nothing was measured');
    return { kind: place.kind, load, tasks, idle_ms, busy_ms, done };
  } finally {
    await database?.close();
    const isOver = new Promise((resolve) => house.once('exit', resolve));
    if (house.exitCode === null) house.send('stop');
    await Promise.race([isOver, sleep(20_000)]);
    house.kill('SIGKILL');
    await place.open();
  }
}

/** The value below which this part of the ascending values lies. */
export function quantile(values: readonly number[], part: number): number {
  return values[Math.min(values.length - 1, Math.floor(values.length * part))] ?? 0;
}
