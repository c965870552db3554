/**
 * `npm run bench -- idle`: what the services cost while nothing happens. Two of each service and an agent, over NATS and MariaDB, are measured
 * while the database is empty, and again with 100 finished and 20 running workflows of 10,000 tasks each. The running ones are walked by the
 * schedulers like any others: in turns a third has a limit that is reached, a third has 2,000 tasks queued that the agent has no
 * room for, a third is paused; the agent's room is taken by commands that sleep. So there is nothing to do, and whatever it costs
 * more than empty is paid for rows that are stored, tasks that wait or runs that stand.
 *
 * Arguments: `--seconds N` of each measurement (60), `--finished N` (100), `--running N` (20), `--tasks N` of each (10000). The report is
 * written only by a run without arguments.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openDatabase, type Database } from '@jobmon/entities';
import { createLogger } from '@jobmon/runtime';
import {
  buildHouse,
  execute,
  insertWorkflow,
  NatsProcess,
  ROOT,
  seedLargeWorkflow,
  Services,
  SERVICES,
  until,
  UserFolder,
} from '@jobmon/testkit';
import { createConnection } from 'mysql2/promise';
import { mariadbDatabase } from '../transitions/database';
import { measure, type Cost, type Part } from './measure';

const EACH = 2;
/** Room of the agent, all of it taken. */
const CORES = 6;
/** Longer than the benchmark takes. */
const COMMAND = 'exec sleep 900';
const LIMIT = 5;
/** Until connections, renewals and statistics of fresh rows have settled. */
const SETTLE_SECONDS = 15;
const TOKEN = 'token-of-the-benchmark';
/** Templates of a finished workflow: the arrays that its tasks are spread over. */
const TEMPLATES = 10;
/** Each task of a running workflow waits for the one so many places before it. */
const WIDTH = 2_500;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    finished: { type: 'string', default: '100' },
    running: { type: 'string', default: '20' },
    tasks: { type: 'string', default: '10000' },
  },
});
const [seconds, finished, running, tasks] = [values.seconds, values.finished, values.running, values.tasks].map(Number) as [
  number,
  number,
  number,
  number,
];

/** Workflows that wait: for their limit, for room, for somebody who lets them go on. */
async function seedRunning(database: Database, working_directory: string): Promise<void> {
  for (let nth = 0; nth < running; nth += 1) {
    const made = await insertWorkflow(database, {
      tasks,
      user: userInfo().username,
      cluster: 'multiprocess',
      working_directory,
      command: () => COMMAND,
      upstreams: (position) => (position < WIDTH ? [] : [position - WIDTH]),
      // Nobody walks a client's run: it becomes the server's when all of it is there.
      driver: 'client',
      run_status: 'B',
      workflow_status: 'Q',
      ...(nth % 3 === 0 ? { max_concurrently_running: LIMIT } : {}),
    });
    const is_paused = nth % 3 === 2 ? 1 : 0;
    await execute(database, `UPDATE workflow_run SET driver = 'server', is_paused = ? WHERE id = ?`, [
      is_paused,
      made.workflow_run_id,
    ]);
  }
}

/** Attempts by their letter. */
async function attempts(database: Database): Promise<ReadonlyMap<string, number>> {
  const rows = await database.read<{ status: string; n: number }>(
    'SELECT ti.status, COUNT(*) AS n FROM task_instance AS ti JOIN workflow_run AS wr ON wr.id = ti.workflow_run_id ' +
      `WHERE wr.status = 'R' GROUP BY ti.status`,
  );
  return new Map(rows.map(({ status, n }) => [status, Number(n)]));
}

/** Waits until the schedulers have queued all that may be queued and the agent's room is taken. */
async function untilIdle(database: Database): Promise<ReadonlyMap<string, number>> {
  const of = (rest: number): number => Array.from({ length: running }, (_, nth) => nth).filter((nth) => nth % 3 === rest).length;
  const expected = of(0) * Math.min(LIMIT, tasks) + of(1) * Math.min(2_000, tasks, WIDTH);
  let standing: ReadonlyMap<string, number> = new Map();
  await until(
    'everything is queued and the agent is busy',
    async () => {
      standing = await attempts(database);
      const all = [...standing.values()].reduce((sum, n) => sum + n, 0);
      return all >= expected && (standing.get('R') ?? 0) === Math.min(CORES, expected);
    },
    120_000,
  );
  return standing;
}

function startAgent(user: UserFolder, url: string): ChildProcess {
  const env = {
    ...user.env,
    JOBMON__HTTP__SERVICE_URL: url,
    JOBMON__HTTP__TOKEN: TOKEN,
    JOBMON__AGENT__STATE_DIRECTORY: join(user.path, 'agent'),
    JOBMON__AGENT__CORES: String(CORES),
  };
  const main = join(ROOT, 'dist', 'apps', 'agent', 'main.js');
  return spawn(process.execPath, [main], { cwd: user.path, env, stdio: 'ignore' });
}

/** Ends the commands, which outlive their agent: whatever works in the benchmark's own folder. */
function endCommands(folder: string): void {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    try {
      if (readlinkSync(`/proc/${name}/cwd`).startsWith(folder)) process.kill(Number(name), 'SIGKILL');
    } catch {
      // It has ended, or is another user's.
    }
  }
}

const perMinute = (value: number): string => (value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toFixed(1));

/** Processes of a service together. */
function byService(of: ReadonlyMap<string, number>): Map<string, number> {
  const sums = new Map<string, number>();
  for (const [name, value] of of) {
    const service = name.replace(/-\d+$/, '');
    sums.set(service, (sums.get(service) ?? 0) + value);
  }
  return sums;
}

function table(costs: readonly Cost[]): string {
  const [first] = costs as [Cost, Cost];
  const total = (of: ReadonlyMap<string, number>): number => [...of.values()].reduce((sum, value) => sum + value, 0);
  const row = (name: string, figure: (cost: Cost) => number, form = perMinute): string =>
    `| ${[name, ...costs.map((cost) => form(figure(cost)))].join(' | ')} |`;
  const services = [...byService(first.cpu_seconds).keys()];
  const two = (value: number): string => value.toFixed(2);
  return [
    '| a minute | empty | full |',
    '| --- | ---: | ---: |',
    row('statements', (cost) => cost.statements.get('all')!),
    ...[...first.statements.keys()].slice(1).map((name) => row(`of them ${name}`, (cost) => cost.statements.get(name)!)),
    row('rows read by the database', (cost) => cost.rows_read),
    row('messages of NATS', (cost) => cost.messages),
    row('processor time of everything, s', (cost) => total(cost.cpu_seconds), two),
    ...services.map((name) => row(`of it ${name}, s`, (cost) => byService(cost.cpu_seconds).get(name)!, two)),
    row('memory of everything, MiB', (cost) => total(cost.rss_mib)),
    ...services.map((name) => row(`of it ${name}, MiB`, (cost) => byService(cost.rss_mib).get(name)!)),
  ].join('\n');
}

function report(figures: string, standing: ReadonlyMap<string, number>, loads: readonly number[]): string {
  const live = [...standing].map(([letter, n]) => `${n.toLocaleString('en-US')} in ${letter}`).join(', ');
  return `# What the services cost while nothing happens

${figures}

Two of each service and an agent, over NATS and MariaDB. _Empty_: no workflow was ever made. _Full_: ${finished} finished and ${running} running workflows of
${tasks.toLocaleString('en-US')} tasks each. The running ones are walked by the schedulers: in turns a third has a limit of ${LIMIT} that is reached, a third has
2,000 tasks queued that the agent has no room for, a third is paused; the agent's ${CORES} cores are taken by commands that sleep. Attempts of
running workflows: ${live}.

Each column is a measurement of ${seconds} s, after ${SETTLE_SECONDS} s to settle. Processor time is user and system time from \`/proc\`, the two of a service together;
statements and rows are the server's own counters (Questions, Com_*, Rows_read) with the two looks of the benchmark in them; messages are those that
NATS took in, answers too. Machine: ${cpus().length} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), Node ${process.version}. Load average when it began: ${loads[0]!.toFixed(1)}, and before the second
measurement: ${loads[1]!.toFixed(1)}.

To repeat it: \`npm run bench -- idle\`. It takes about five minutes, most of them for making the rows.
`;
}

async function main(): Promise<void> {
  const server = process.env['JOBMON_TEST_MARIADB_URL'];
  if (server === undefined) throw new Error('this benchmark needs a MariaDB server');
  buildHouse();
  const place = await mariadbDatabase(server);
  const nats = await NatsProcess.start('http_port: -1');
  const user = new UserFolder();
  const services = new Services({
    folder: user.folder('services'),
    database_url: place.url,
    nats_url: nats.url,
    token: TOKEN,
  });
  const loads = [loadavg()[0]!];
  let agent: ChildProcess | undefined;
  let database: Database | undefined;
  const watcher = await createConnection(server.replace(/^mariadb:/, 'mysql:'));
  try {
    database = await openDatabase({ url: place.url, log: createLogger({ service: 'bench', level: 'silent' }) });
    await services.start(Object.fromEntries(SERVICES.map((name) => [name, EACH])));
    agent = startAgent(user, services.alive('api')[0]!.url!);
    const parts: Part[] = [
      ...services.processes.map(({ instance, child }) => ({ name: instance, pid: child.pid! })),
      { name: 'agent', pid: agent.pid! },
      { name: 'nats', pid: nats.pid },
      { name: 'mariadb', pid: await serverPid(watcher) },
    ];
    const settled = async (): Promise<Cost> => {
      await pause(SETTLE_SECONDS * 1_000);
      return measure(parts, watcher, nats, seconds);
    };
    const empty = await settled();
    console.log(`empty: ${perMinute(empty.statements.get('all')!)} statements a minute`);
    const began = performance.now();
    for (let nth = 0; nth < finished; nth += 1) await seedLargeWorkflow(database, tasks, TEMPLATES);
    await seedRunning(database, user.folder('work'));
    console.log(`the rows were made in ${Math.round((performance.now() - began) / 1_000)} s`);
    const standing = await untilIdle(database);
    loads.push(loadavg()[0]!);
    const full = await settled();
    const figures = table([empty, full]);
    console.log(`\n${figures}\n`);
    if (process.argv.length > 2) return;
    writeFileSync(join(process.cwd(), 'bench', 'results', 'idle.md'), report(figures, standing, loads));
    console.log('written to bench/results/idle.md');
  } finally {
    agent?.kill('SIGKILL');
    endCommands(user.path);
    await services.stop();
    await database?.close();
    await watcher.end();
    await nats.remove();
    await place.close();
    user.remove();
  }
}

/** The server must be on this machine, and tells its process in a file. */
async function serverPid(watcher: Awaited<ReturnType<typeof createConnection>>): Promise<number> {
  const [[row]] = (await watcher.query('SELECT @@pid_file AS file')) as unknown as [[{ file: string }]];
  return Number(readFileSync(row.file, 'latin1'));
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
