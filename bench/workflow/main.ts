/**
 * `npm run bench -- workflow`: what a whole workflow costs from the SDK's first call to the last task's end, at sizes a decade apart,
 * so that whatever grows with the tasks that wait or the rows that are stored shows. House and program are processes of their
 * own; commands are of the cluster `dummy`, which runs nothing, so that only the house is measured.
 *
 * Arguments: `--databases sqlite,mariadb`, `--tasks 1000,10000,100000`. The report is written only by a run without arguments.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { mariadbDatabase, sqliteDatabase, type RawDatabase } from '../transitions/database';
import type { ClientSays } from './client';
import type { HouseSays, Spent } from './house';

/** Pause between two questions that a person might ask meanwhile. */
const ASK_MS = 100;
/** Transitions of one attempt that ends well: to Q, I, R and D. */
const TRANSITIONS = 4;

type Bound = Extract<ClientSays, { kind: 'bound' }>;
type Ended = Extract<ClientSays, { kind: 'ended' }>;

interface Measured {
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
function next<M extends { kind: string }, K extends M['kind']>(child: ChildProcess, kind: K): Promise<Extract<M, { kind: K }>> {
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

async function measure(database: RawDatabase, tasks: number, folder: string): Promise<Measured> {
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

function table(results: readonly Measured[]): string {
  const lines = [
    '| database | tasks | bind s | run s | tasks/s | bind ms/task | run ms/task | statements/task, bind | run | peak MiB, house | program | lag p99 ms | lag max ms | answer p99 ms | max ms |',
    `|${' --- |'.repeat(1)}${' ---: |'.repeat(14)}`,
  ];
  for (const { kind, tasks, bound, ended, binding, running, answers } of results) {
    const cells = [
      kind,
      tasks,
      bound.bind_seconds.toFixed(2),
      ended.run_seconds.toFixed(2),
      Math.round(tasks / ended.run_seconds),
      ((bound.bind_seconds * 1_000) / tasks).toFixed(3),
      ((ended.run_seconds * 1_000) / tasks).toFixed(3),
      (binding.statements / tasks).toFixed(3),
      (running.statements / tasks).toFixed(3),
      Math.round(running.peak_rss_mb),
      Math.round(ended.peak_rss_mb),
      Math.max(binding.lag_p99_ms, running.lag_p99_ms).toFixed(0),
      Math.max(binding.lag_max_ms, running.lag_max_ms).toFixed(0),
      answers.p99_ms.toFixed(0),
      answers.max_ms.toFixed(0),
    ];
    lines.push(`| ${cells.join(' | ')} |`);
  }
  return lines.join('\n');
}

function report(figures: string, versions: ReadonlySet<string>, load: number): string {
  return `# A workflow from the first call to the last end

${figures}

Machine: ${availableParallelism()} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), Node ${process.version}, ${[...versions].join('; ')}. One run of each size, on a fresh database and a
fresh house. Load average when it began: ${load.toFixed(1)}. Above 0.5 other programs had a part of the cores and of the disk: then compare the
figures of a task at one size with those at another, and statements, which no load changes much.

- Three tiers: fits that wait for nothing, a sum for each ten of them, a plot for each sum. The cluster is \`dummy\`: every attempt is leased,
  reported and recorded as any other, and no command is started.
- *bind* is \`workflow.bind()\` (hashes, definitions, tasks, edges), *run* is submitting and waiting for the end.
- *lag* is how late turns of the house's event loop came, the worse of bind and run; *answer* is how long \`GET /health/ready\` and
  \`GET /api/v4/workflows/{id}\` took meanwhile, asked every ${ASK_MS} ms.
- After each run every task is DONE by one attempt with its four history rows, and the counts for display are the true ones, else the
  benchmark fails.

To repeat it: \`npm run bench -- workflow\`. It takes about five minutes. A MariaDB server named by \`JOBMON_TEST_MARIADB_URL\` is used when
set, else a private one is started.
`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { databases: { type: 'string' }, tasks: { type: 'string' } } });
  const sizes = (values.tasks ?? '1000,10000,100000').split(',').map(Number);
  const server = process.env['JOBMON_TEST_MARIADB_URL'];
  const versions = new Set<string>();
  const load = loadavg()[0] ?? 0;
  const results: Measured[] = [];
  for (const kind of (values.databases ?? 'sqlite,mariadb').split(',')) {
    if (kind === 'mariadb' && server === undefined) {
      console.log('no MariaDB: its part is left out');
      continue;
    }
    for (const tasks of sizes) {
      const folder = mkdtempSync(join(tmpdir(), 'jobmon-bench-'));
      const database = kind === 'mariadb' ? await mariadbDatabase(server as string) : sqliteDatabase(folder);
      versions.add(database.version);
      try {
        const measured = await measure(database, tasks, folder);
        results.push(measured);
        const { bound, ended, binding, running, answers } = measured;
        console.log(
          `${kind} ${tasks}: build ${bound.build_seconds.toFixed(2)} s, bind ${bound.bind_seconds.toFixed(2)} s, submit ${ended.submit_seconds.toFixed(2)} s, ` +
            `run ${ended.run_seconds.toFixed(2)} s; retries ${binding.retries}+${running.retries}; ` +
            `lag p99/max bind ${binding.lag_p99_ms.toFixed(0)}/${binding.lag_max_ms.toFixed(0)}, run ${running.lag_p99_ms.toFixed(0)}/${running.lag_max_ms.toFixed(0)} ms; ` +
            `answers p99/max ${answers.p99_ms.toFixed(0)}/${answers.max_ms.toFixed(0)} ms, failed ${answers.failed}`,
        );
      } finally {
        await database.close();
        rmSync(folder, { recursive: true, force: true });
      }
    }
  }
  const figures = table(results);
  console.log(`\n${figures}`);
  if (process.argv.length > 2) return;
  const file = join(process.cwd(), 'bench', 'results', 'workflow.md');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, report(figures, versions, load));
  console.log('\nwritten to bench/results/workflow.md');
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
