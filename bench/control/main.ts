/**
 * `npm run bench -- control`: what people do to a very large workflow while it runs: how long each verb takes to answer, how long until it
 * holds, whether the house hears others meanwhile. The cluster is `dummy`, which runs nothing, so that the house is never idle.
 *
 * Arguments: `--databases sqlite,mariadb`, `--tasks 1000000`, `--to-the-end` (lets the workflow end, which takes most of the time). The
 * report is written only by a run without arguments, or with `--write`.
 */
import { fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Connection } from '@jobmon/client';
import {
  cancelWorkflow,
  drainWorkflow,
  pauseWorkflow,
  resumeWorkflow,
  retryTasks,
  setWorkflowLimits,
  setWorkflowPriority,
  startOverWorkflow,
  submitWorkflow,
} from '@jobmon/contracts';
import { openDatabase, type Database } from '@jobmon/entities';
import { createLogger } from '@jobmon/runtime';
import { mariadbDatabase, sqliteDatabase, type RawDatabase } from '../transitions/database';
import type { ClientSays } from '../workflow/client';
import type { HouseSays } from '../workflow/house';
import { next } from '../workflow/measure';

/** Before a verb is tried, so many tasks of the run must have come to their end since the one before. */
const PROGRESS = 2_000;
/** Pause between two looks at the rows. */
const LOOK_MS = 50;
/** Longest wait for what a verb promises. */
const HOLD_MS_MAX = 1_800_000;

/** DONE tasks that a retry names. */
const RETRIED = 5_000;

/** What became of one verb. */
interface Tried {
  readonly verb: string;
  /** From the call to the answer. The SDK asks again when the server answers after 15 s that it goes on by itself (503). */
  readonly answer_ms: number;
  /** What had to hold, and how long after the call it did. */
  readonly promise: string;
  readonly hold_ms: number;
  /** The longest that somebody else's question (`GET /health/ready`) waited meanwhile. */
  readonly others_ms: number;
}

interface Part {
  readonly kind: string;
  readonly tasks: number;
  readonly bind_seconds: number;
  readonly tried: Tried[];
  readonly house_mib: number;
  readonly end_seconds?: number;
}

/** A workflow under control. */
class Patient {
  workflow_id = 0;
  readonly tried: Tried[] = [];

  constructor(
    private readonly url: string,
    readonly connection: Connection,
    readonly database: Database,
    private readonly folder: string,
  ) {}

  get who() {
    return { workflow_id: this.workflow_id, user: 'grace', reason: 'measured' };
  }

  submit() {
    const request = { workflow_id: this.workflow_id, user: 'ada', working_directory: this.folder, client_version: 'bench' };
    return this.connection.send(submitWorkflow, request);
  }

  private async number(sql: string): Promise<number> {
    const [row] = await this.database.read<{ n: number }>(sql, [this.workflow_id]);
    return Number(row?.n ?? 0);
  }

  /** Tasks by letter, as the kept counts say. */
  count(letters: string): Promise<number> {
    const list = [...letters].map((letter) => `'${letter}'`).join();
    return this.number(`SELECT COALESCE(SUM(n), 0) AS n FROM task_status_count WHERE workflow_id = ? AND status IN (${list})`);
  }

  /** Tasks by letter, counted. */
  counted(letters: string): Promise<number> {
    const list = [...letters].map((letter) => `'${letter}'`).join();
    return this.number(`SELECT COUNT(*) AS n FROM task WHERE workflow_id = ? AND status IN (${list})`);
  }

  async doneTasks(count: number): Promise<number[]> {
    const sql = `SELECT id FROM task WHERE workflow_id = ? AND status = 'D' LIMIT ${count}`;
    return (await this.database.read<{ id: number }>(sql, [this.workflow_id])).map(({ id }) => id);
  }

  private liveRuns = (): Promise<number> =>
    this.number("SELECT COUNT(*) AS n FROM workflow_run WHERE workflow_id = ? AND status IN ('B', 'I', 'O', 'R', 'C', 'H')");

  hasNoRun = async (): Promise<boolean> => (await this.liveRuns()) === 0;

  private attempts = (): Promise<number> =>
    this.number(
      'SELECT COUNT(*) AS n FROM task_instance AS ti JOIN workflow_run AS wr ON wr.id = ti.workflow_run_id WHERE wr.workflow_id = ?',
    );

  /** Waits until the run has gone on by so many tasks. */
  async goOn(): Promise<void> {
    const began = await this.count('D');
    await this.until(async () => (await this.count('D')) >= began + PROGRESS);
  }

  /** Answers when an attempt was made that was not there before. */
  async startsAgain(before: number): Promise<boolean> {
    return (await this.attempts()) > before;
  }

  /** Nothing is queued or on its way. */
  isStill = async (): Promise<boolean> => (await this.count('QIOR')) === 0;

  attemptsNow = (): Promise<number> => this.attempts();

  private async until(holds: () => Promise<boolean>): Promise<void> {
    const began = performance.now();
    while (!(await holds())) {
      if (performance.now() - began > HOLD_MS_MAX) throw new Error(`did not hold within ${HOLD_MS_MAX / 1_000} s`);
      await sleep(LOOK_MS);
    }
  }

  async try(verb: string, ask: () => Promise<unknown>, promise: string, holds: () => Promise<boolean>): Promise<void> {
    const others = this.askMeanwhile();
    const called = performance.now();
    await ask();
    const answer_ms = performance.now() - called;
    await this.until(holds);
    const hold_ms = performance.now() - called;
    const others_ms = await others();
    this.tried.push({ verb, answer_ms, promise, hold_ms, others_ms });
    console.log(JSON.stringify(this.tried.at(-1)));
  }

  /** Asks what a watchdog asks, one question after the other, until the returned function is called; it answers the longest wait. */
  private askMeanwhile(): () => Promise<number> {
    let isOver = false;
    let longest = 0;
    const asking = (async () => {
      while (!isOver) {
        const began = performance.now();
        const response = await fetch(`${this.url}/health/ready`).catch(() => undefined);
        await response?.arrayBuffer();
        longest = Math.max(longest, response?.status === 200 ? performance.now() - began : Number.POSITIVE_INFINITY);
        await sleep(LOOK_MS);
      }
    })();
    return async () => {
      isOver = true;
      await asking;
      return longest;
    };
  }
}

/** Every verb once on a workflow that runs, then on one that has ended. */
async function tryAll(patient: Patient, tasks: number): Promise<void> {
  const { connection } = patient;
  await patient.submit();
  await patient.goOn();
  await patient.try(
    'set_priority',
    () => connection.send(setWorkflowPriority, { ...patient.who, priority: 5 }),
    'answered',
    async () => true,
  );
  const limits = (max_concurrently_running: number | null) =>
    connection.send(setWorkflowLimits, { ...patient.who, max_concurrently_running });
  await patient.try(
    'set_limits 100',
    () => limits(100),
    'at most 100 on their way',
    async () => (await patient.count('QIOR')) <= 100,
  );
  await patient.try(
    'set_limits none',
    () => limits(null),
    'more than 100 on their way',
    async () => (await patient.count('QIOR')) > 100,
  );
  await patient.goOn();
  const paused = () => connection.send(pauseWorkflow, patient.who);
  await patient.try('pause', paused, 'no attempt is with an agent', async () => (await patient.count('IOR')) === 0);
  const resume = (more: object = {}) => connection.send(resumeWorkflow, { ...patient.who, ...more });
  const startsAgain = async (): Promise<() => Promise<boolean>> => {
    const before = await patient.count('D');
    return async () => (await patient.count('D')) > before;
  };
  await patient.try('resume of a pause', () => resume(), 'a task ended', await startsAgain());
  await patient.goOn();
  await patient.try('drain', () => connection.send(drainWorkflow, patient.who), 'the run has ended', patient.hasNoRun);
  let before = await patient.attemptsNow();
  await patient.try(
    'resume',
    () => resume(),
    'the first new attempt',
    () => patient.startsAgain(before),
  );
  await patient.goOn();
  await patient.try('cancel', () => connection.send(cancelWorkflow, patient.who), 'the run has ended', patient.hasNoRun);
  before = await patient.attemptsNow();
  const raised = { resources: [{ times: { memory: 1.5 } }] };
  await patient.try(
    'resume, memory times 1.5',
    () => resume(raised),
    'the first new attempt',
    () => patient.startsAgain(before),
  );
  await patient.goOn();
  await patient.try('cancel again', () => connection.send(cancelWorkflow, patient.who), 'the run has ended', patient.hasNoRun);
  const task_ids = await patient.doneTasks(RETRIED);
  const retry = () => connection.send(retryTasks, { ...patient.who, task_ids });
  before = await patient.attemptsNow();
  await patient.try(`retry of ${RETRIED} DONE tasks`, retry, 'the first new attempt', () => patient.startsAgain(before));
  await patient.goOn();
  await patient.try(
    'cancel for reset',
    () => connection.send(cancelWorkflow, patient.who),
    'the run has ended',
    patient.hasNoRun,
  );
  const isReset = async (): Promise<boolean> => (await patient.counted('G')) === tasks;
  await patient.try('reset', () => connection.send(startOverWorkflow, patient.who), 'every task is in G', isReset);
}

async function measure(place: RawDatabase, tasks: number, folder: string, isToTheEnd: boolean): Promise<Part> {
  const house = fork(join(__dirname, 'house.js'));
  const client = fork(join(__dirname, 'client.js'));
  let database: Database | undefined;
  try {
    const isReady = next<HouseSays, 'ready'>(house, 'ready');
    house.send({ database_url: place.url, folder, agent: { any_user: true, cores: 4 } });
    const { url, token } = await isReady;
    const isBound = next<ClientSays, 'bound'>(client, 'bound');
    client.send({ url, token, tasks, folder });
    const { bind_seconds, workflow_id } = await isBound;
    client.kill('SIGKILL');
    console.log(`${place.kind}: bound in ${bind_seconds.toFixed(0)} s`);
    const log = createLogger({ service: 'bench', level: 'error', destination: join(folder, 'bench.log') });
    database = await openDatabase({ url: place.url, log });
    const patient = new Patient(url, new Connection({ url, token }), database, folder);
    patient.workflow_id = workflow_id;
    await tryAll(patient, tasks);
    let end_seconds: number | undefined;
    if (isToTheEnd) {
      const began = performance.now();
      await patient.submit();
      while (!(await patient.hasNoRun())) await sleep(1_000);
      end_seconds = (performance.now() - began) / 1_000;
      if ((await patient.counted('D')) !== tasks) throw new Error('not every task is DONE');
    }
    const answer = next<HouseSays, 'spent'>(house, 'spent');
    house.send('take');
    const { peak_rss_mb } = (await answer).spent;
    return { kind: place.kind, tasks, bind_seconds, tried: patient.tried, house_mib: peak_rss_mb, end_seconds };
  } finally {
    await database?.close();
    client.kill('SIGKILL');
    const isOver = new Promise((resolve) => house.once('exit', resolve));
    if (house.exitCode === null) house.send('stop');
    await Promise.race([isOver, sleep(20_000)]);
    house.kill('SIGKILL');
    await place.open();
  }
}

function table(parts: readonly Part[]): string {
  const lines = [
    '| database | verb | answered ms | promise | held after ms | others waited at most ms |',
    '| --- | --- | ---: | --- | ---: | ---: |',
  ];
  for (const { kind, tried } of parts) {
    for (const { verb, answer_ms, promise, hold_ms, others_ms } of tried) {
      const cells = [
        kind,
        verb,
        answer_ms.toFixed(0),
        promise,
        hold_ms.toFixed(0),
        Number.isFinite(others_ms) ? others_ms.toFixed(0) : 'not ready once',
      ];
      lines.push(`| ${cells.join(' | ')} |`);
    }
  }
  return lines.join('\n');
}

function report(parts: readonly Part[], versions: ReadonlySet<string>, load: number): string {
  const whole = parts.map(({ kind, tasks, bind_seconds, house_mib, end_seconds }) => {
    const end = end_seconds === undefined ? '' : `; run to the end in ${end_seconds.toFixed(0)} s`;
    return `- ${kind}: ${tasks} tasks bound in ${bind_seconds.toFixed(0)} s${end}; peak memory of the house ${house_mib.toFixed(0)} MiB.`;
  });
  return `# A very large workflow under control

${table(parts)}

${whole.join('\n')}

Machine: ${cpus().length} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), Node ${process.version}, ${[...versions].join('; ')}. One run. Load average when it began:
${load.toFixed(1)}. Above 1 other programs had a part of the cores and of the disk, and the figures are too high.

- The workflow is that of [workflow.md](workflow.md); the cluster is \`dummy\`, so the house is busy without end and a verb has to come through between its
  batches. Each verb comes after ${PROGRESS} more tasks have ended.
- *answered* is the time to the answer. A verb that touches every task is done in pieces of 1,000; after 15 s the server answers that it goes on by itself
  (503), and the SDK asks again, which joins the work in progress. *held* is the time from the call until the promise was seen in the rows, looked at every ${LOOK_MS} ms.
- *others* ask \`GET /health/ready\`, one question after the other. *not ready once*: it answered that turns of the event loop took longer than half a second.

To repeat it: \`npm run bench -- control\`; with \`--to-the-end\` it runs the workflow to its end, which takes most of the time.
`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      databases: { type: 'string', default: 'sqlite,mariadb' },
      tasks: { type: 'string', default: '1000000' },
      'to-the-end': { type: 'boolean', default: false },
      write: { type: 'boolean', default: process.argv.length === 2 },
    },
  });
  const load = loadavg()[0] ?? 0;
  const versions = new Set<string>();
  const parts: Part[] = [];
  for (const kind of values.databases.split(',')) {
    const server = process.env['JOBMON_TEST_MARIADB_URL'];
    if (kind === 'mariadb' && server === undefined) {
      console.log('no MariaDB: its part is left out');
      continue;
    }
    const folder = mkdtempSync(join(tmpdir(), 'jobmon-bench-'));
    const place = kind === 'mariadb' ? await mariadbDatabase(server as string) : sqliteDatabase(folder);
    try {
      parts.push(await measure(place, Number(values.tasks), folder, values['to-the-end']));
      versions.add(place.version);
    } finally {
      await place.close();
      rmSync(folder, { recursive: true, force: true });
    }
  }
  const text = report(parts, versions, load);
  console.log(text);
  if (!values.write) return;
  const file = join('bench', 'results', 'control.md');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
