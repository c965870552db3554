/** One measured workflow: house and program in processes of their own, and a visitor who asks meanwhile. */
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RawDatabase } from '../transitions/database';
import type { ClientSays } from './client';
import type { HouseSays, Spent } from './house';

/** Pause between two questions that a person might ask meanwhile. */
export const ASK_MS = 100;
/** Transitions of one attempt that ends well: to Q, I, R and D. */
const TRANSITIONS = 4;

export type Bound = Extract<ClientSays, { kind: 'bound' }>;
export type Ended = Extract<ClientSays, { kind: 'ended' }>;

export interface Measured {
  readonly kind: string;
  readonly tasks: number;
  readonly bound: Bound;
  readonly ended: Ended;
  readonly binding: Spent;
  readonly running: Spent;
  /** Longest and 99th percentile of the answers to `GET /health/ready` and `GET /api/v4/workflows/{id}`, in milliseconds. */
  readonly answers: { readonly p99_ms: number; readonly max_ms: number; readonly failed: number };
}

/** The next message of a child that passes; fails when the child ends before. */
export function next<M extends { kind: string }, K extends M['kind']>(
  child: ChildProcess,
  kind: K,
): Promise<Extract<M, { kind: K }>> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void =>
      reject(new Error(`a process ended with exit code ${code} before it said '${kind}'`));
    const onMessage = (message: M): void => {
      if (message.kind !== kind) return;
      child.off('exit', onExit).off('message', onMessage);
      resolve(message as Extract<M, { kind: K }>);
    };
    child.on('message', onMessage).once('exit', onExit);
  });
}

/** Asks what a person and a watchdog ask, one after the other, until it is told to stop. */
class Visitor {
  private readonly times: number[] = [];
  private failed = 0;
  private isOver = false;
  private asking: Promise<void> = Promise.resolve();
  workflow_id: number | undefined;

  constructor(private readonly url: string) {
    this.asking = this.ask();
  }

  private async ask(): Promise<void> {
    while (!this.isOver) {
      const paths = ['/health/ready', ...(this.workflow_id === undefined ? [] : [`/api/v4/workflows/${this.workflow_id}`])];
      for (const path of paths) {
        const began = performance.now();
        const response = await fetch(`${this.url}${path}`).catch(() => undefined);
        await response?.arrayBuffer();
        this.times.push(performance.now() - began);
        if (response?.status !== 200) this.failed += 1;
      }
      await sleep(ASK_MS);
    }
  }

  async stop(): Promise<Measured['answers']> {
    this.isOver = true;
    await this.asking;
    const sorted = [...this.times].sort((a, b) => a - b);
    return { p99_ms: sorted[Math.floor(sorted.length * 0.99)] ?? 0, max_ms: sorted.at(-1) ?? 0, failed: this.failed };
  }
}

/** Binds and runs a workflow of so many tasks on a fresh house over `database`, and proves afterwards that each ran once. */
export async function measure(database: RawDatabase, tasks: number, folder: string): Promise<Measured> {
  const house = fork(join(__dirname, 'house.js'));
  const client = fork(join(__dirname, 'client.js'));
  const take = async (): Promise<Spent> => {
    const answer = next<HouseSays, 'spent'>(house, 'spent');
    house.send('take');
    return (await answer).spent;
  };
  try {
    const isReady = next<HouseSays, 'ready'>(house, 'ready');
    house.send({ database_url: database.url, folder });
    const { url, token } = await isReady;
    const visitor = new Visitor(url);
    await take();
    const isBound = next<ClientSays, 'bound'>(client, 'bound');
    client.send({ url, token, tasks, folder });
    const bound = await isBound;
    const binding = await take();
    visitor.workflow_id = bound.workflow_id;
    const hasEnded = next<ClientSays, 'ended'>(client, 'ended');
    client.send('go on');
    const ended = await hasEnded;
    const running = await take();
    const answers = await visitor.stop();
    await database.open();
    await prove(database, tasks, ended);
    return { kind: database.kind, tasks, bound, ended, binding, running, answers };
  } finally {
    client.kill();
    const isOver = new Promise((resolve) => house.once('exit', resolve));
    if (house.exitCode === null) house.send('stop');
    await Promise.race([isOver, sleep(20_000)]);
    house.kill('SIGKILL');
  }
}

/** Fails unless every task is DONE by one attempt, with all its transitions, and the counts for display are the true ones. */
async function prove(database: RawDatabase, tasks: number, ended: Ended): Promise<void> {
  const wanted = {
    "SELECT COUNT(*) FROM task WHERE status = 'D' AND num_attempts = 1": tasks,
    "SELECT COUNT(*) FROM task_instance WHERE status = 'D'": tasks,
    'SELECT COUNT(*) FROM task_instance_history': TRANSITIONS * tasks,
    "SELECT SUM(n) FROM task_status_count WHERE status = 'D'": tasks,
    "SELECT SUM(n) FROM task_status_count WHERE status <> 'D'": 0,
  };
  for (const [sql, number] of Object.entries(wanted)) {
    const { value } = await database.run(sql);
    if (Number(value) !== number) throw new Error(`${sql}: ${String(value)} instead of ${number}`);
  }
  if (!ended.is_done || ended.done !== tasks) throw new Error(`the program saw ${ended.done} of ${tasks} tasks done`);
}
