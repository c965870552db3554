/**
 * The services apart under fire: two of each, a MariaDB and a NATS of their own behind proxies, two agents. Every 1 to 5 s something is
 * killed, frozen, cut off, silenced or slowed down. The commands write down themselves what they do, synced, in a file that
 * no service knows; afterwards that file is held against the database.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Connection, Tool, type Task } from '@jobmon/client';
import {
  buildHouse,
  judge,
  MariadbProcess,
  NatsProcess,
  ROOT,
  Services,
  SERVICES,
  TcpProxy,
  UserFolder,
  VIOLATIONS,
  type Executed,
  type Execution,
  type ServiceName,
  type ServiceProcess,
  type Silence,
  type Verdict,
} from '@jobmon/testkit';
import { createConnection } from 'mysql2/promise';

export interface ServicesUnderFire {
  readonly tasks: number;
  readonly minutes: number;
  readonly random: () => number;
}

const TOKEN = 'token-of-the-chaos';
const EACH = 2;
const AGENTS = 2;
const CORES = 8;
const LEASE_SECONDS = 6;
/** Most attempts of a task: more than any run's faults take. */
const ATTEMPTS_MAX = 60;
/** What the workflow asks for at most at one time. */
const LIMIT = 12;
const WIDTH = 25;
/** After the last fault everything has this long to end. */
const REST_MS_MAX = 240_000;

const COMMAND = [
  'say() {{ read -r now rest </proc/uptime; echo "$1 task_{position} $JOBMON_TASK_INSTANCE_ID $now $2" >>executed.log; sync -d executed.log; }}',
  'say start',
  'echo x >>runs-{position}',
  'sleep {seconds}',
  'code=0',
  '[ "$(wc -l <runs-{position})" -gt {failures} ] || code=1',
  'say end $code',
  'exit $code',
].join('\n');

const uptime = (): number => Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]);
const upstreamsOf = (position: number): number[] => (position < WIDTH ? [] : [position - WIDTH]);

interface Struck {
  /** What was done, and to whom. */
  readonly kind: string;
  readonly target: string;
  /** When it was mended. */
  readonly at: number;
}

/** What a run told. */
export interface Story {
  readonly faults: readonly Struck[];
  readonly verdict: Verdict;
  readonly log: readonly Executed[];
  readonly seconds: number;
  /** What is left of it, logs above all, when something was violated; else it is removed. */
  readonly folder: string;
}

class Agent {
  child: ChildProcess | undefined;

  constructor(
    private readonly user: UserFolder,
    readonly name: string,
    private readonly url: string,
  ) {}

  begin(): void {
    const folder = this.user.folder(this.name);
    const said = openSync(join(folder, 'log'), 'a');
    const env = {
      ...this.user.env,
      JOBMON__HTTP__SERVICE_URL: this.url,
      JOBMON__HTTP__TOKEN: TOKEN,
      JOBMON__AGENT__STATE_DIRECTORY: join(folder, 'state'),
      JOBMON__AGENT__CORES: String(CORES),
      JOBMON__AGENT__LEASE_SECONDS: String(LEASE_SECONDS),
    };
    const main = join(ROOT, 'dist', 'apps', 'agent', 'main.js');
    this.child = spawn(process.execPath, [main], { cwd: folder, env, stdio: ['ignore', said, said], detached: true });
    closeSync(said);
  }

  signal(signal: NodeJS.Signals): void {
    if (this.child?.exitCode === null && this.child.signalCode === null) this.child.kill(signal);
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGCONT');
    child.kill(signal);
    await ended;
  }
}

/** Plays one run from start to verdict. */
export async function playServices({ tasks, minutes, random }: ServicesUnderFire): Promise<Story> {
  buildHouse();
  const user = new UserFolder();
  const mariadb = await MariadbProcess.start();
  const nats = await NatsProcess.start();
  const wires = { database: await TcpProxy.to(mariadb.url), bus: await TcpProxy.to(nats.url) };
  const ports = await Promise.all(Array.from({ length: EACH }, freePort));
  const services = new Services({
    folder: user.folder('services'),
    database_url: wires.database.url(mariadb.url),
    nats_url: wires.bus.url(nats.url),
    token: TOKEN,
    env: { JOBMON__AGENT__LEASE_SECONDS: String(LEASE_SECONDS) },
  });
  const agents = Array.from(
    { length: AGENTS },
    (_, at) => new Agent(user, `agent-${at}`, `http://127.0.0.1:${ports[at % EACH]}`),
  );
  const work = user.folder('work');
  const faults: Struck[] = [];
  const silences: Silence[] = [];
  let isClean = false;
  const begin = (name: ServiceName, number: number): ServiceProcess =>
    services.begin(name, name === 'api' ? { JOBMON__HTTP__PORT: String(ports[number]) } : {});
  const query = async <Row>(sql: string): Promise<Row[]> => {
    const connection = await createConnection(mariadb.url.replace(/^mariadb:/, 'mysql:'));
    try {
      return (await connection.query(sql))[0] as Row[];
    } finally {
      connection.destroy();
    }
  };

  try {
    await services.migrate();
    const members = SERVICES.flatMap((name) =>
      Array.from({ length: EACH }, (_, number) => ({ name, number, process: begin(name, number) })),
    );
    await Promise.all(members.map(({ process }) => process.ready()));
    for (const agent of agents) agent.begin();
    const began = performance.now();
    await submit(new Connection({ url: `http://127.0.0.1:${ports[0]}`, token: TOKEN }), tasks, work, random);

    /** Most of them short, some longer than a lease; at most 15 s, so that a short run has many. */
    const aWhile_ms = (): number => 100 + random() ** 3 * 15_000;
    const strike = async (): Promise<void> => {
      const member = members[Math.floor(random() * members.length)]!;
      const agent = agents[Math.floor(random() * agents.length)]!;
      const name = random() < 0.5 ? ('bus' as const) : ('database' as const);
      const wire = wires[name];
      const from = uptime();
      const done = (kind: string, target: string): void => void faults.push({ kind, target, at: uptime() });
      switch (Math.floor(random() * 12)) {
        case 0:
        case 1:
        case 2:
          await member.process.end('SIGKILL');
          await pause(random() * 1_500);
          member.process = begin(member.name, member.number);
          return done('kill -9', member.name);
        case 3:
        case 4:
          member.process.freeze();
          await pause(aWhile_ms());
          member.process.thaw();
          return done('SIGSTOP', member.name);
        case 5:
          await agent.end('SIGKILL');
          await pause(random() * 1_000);
          agent.begin();
          silences.push({ from, to: uptime() });
          return done('kill -9', 'agent');
        case 6:
          agent.signal('SIGSTOP');
          await pause(aWhile_ms());
          agent.signal('SIGCONT');
          silences.push({ from, to: uptime() });
          return done('SIGSTOP', 'agent');
        case 7:
          await wire.cut();
          await pause(random() * 3_000);
          await wire.mend();
          return done('cut', name);
        case 8:
          wire.silence(random() < 0.5 ? 'up' : 'down');
          await pause(random() * 4_000);
          await wire.mend();
          return done('one-way cut', name);
        case 9:
          wire.delay(random() * 400);
          await pause(random() * 4_000);
          await wire.mend();
          return done('delay', name);
        case 10:
          await nats.kill();
          nats.forgetAll();
          await pause(random() * 1_000);
          await nats.startAgain();
          return done('kill -9, empty store', 'NATS');
        default:
          await mariadb.kill();
          await mariadb.startAgain();
          return done('kill -9', 'MariaDB');
      }
    };
    const hasEnded = async (): Promise<boolean> => {
      const rows = await query<{ status: string }>('SELECT status FROM workflow').catch(() => []);
      return rows.length > 0 && rows.every(({ status }) => 'DF'.includes(status));
    };
    const fireUntil = performance.now() + minutes * 60_000;
    while (performance.now() < fireUntil) {
      await pause(1_000 + random() * 4_000);
      await strike();
    }
    const bound = performance.now() + REST_MS_MAX;
    while (!(await hasEnded()) && performance.now() < bound) await pause(500);
    const seconds = (performance.now() - began) / 1_000;
    const log = readExecuted(work);
    const execution: Execution = { ...(await rowsOf(query)), log, limit: LIMIT, silences, lease_seconds: LEASE_SECONDS };
    const verdict = judge(execution);
    isClean = verdict.violations.length === 0;
    return { faults, verdict, log, seconds, folder: user.path };
  } finally {
    await Promise.all(agents.map((agent) => agent.end('SIGKILL')));
    await services.stop('SIGKILL');
    for (const wire of Object.values(wires)) await wire.close();
    await nats.remove();
    await mariadb.remove();
    if (isClean) await user.remove();
  }
}

/** Position p waits for p - WIDTH; every seventh command fails once. */
async function submit(connection: Connection, count: number, folder: string, random: () => number): Promise<void> {
  const tool = new Tool('chaos', { connection, defaultClusterName: 'multiprocess' });
  const workflow = tool.createWorkflow({ name: 'chaos', workflowArgs: 'chaos', maxConcurrentlyRunning: LIMIT });
  const template = tool.getTaskTemplate('executed', COMMAND);
  const tasks: Task[] = [];
  for (let position = 0; position < count; position += 1) {
    const seconds = Number((random() < 0.1 ? 3 : 0.3 + random()).toFixed(1));
    const failures = position % 7 === 3 ? 1 : 0;
    const upstreams = upstreamsOf(position).map((at) => tasks[at]!);
    const options = { name: `task_${position}`, upstreams, maxAttempts: ATTEMPTS_MAX };
    tasks.push(workflow.addTask(template.createTask({ position, seconds, failures }, options)));
  }
  await workflow.submit({ workingDirectory: folder });
}

function readExecuted(folder: string): Executed[] {
  const file = join(folder, 'executed.log');
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
        code: isEnd ? Number(code) : null,
      };
    });
}

async function rowsOf(query: <Row>(sql: string) => Promise<Row[]>): Promise<Pick<Execution, 'tasks' | 'attempts'>> {
  const tasks = await query<{ name: string; status: string; current: number | null }>(
    'SELECT name, status, current_task_instance_id AS current FROM task ORDER BY id',
  );
  const attempts = await query<{ id: number; task: string; status: string }>(
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

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

/** The tables of a run, and its last line. */
export function told({ faults, verdict, log, seconds }: Story, tasks: number): string {
  const starts = log.filter(({ what }) => what === 'start').map(({ at }) => at);
  const lastStart = Math.max(...starts);
  const groups = new Map<string, { count: number; recoveries: number[] }>();
  for (const { kind, target, at } of faults) {
    const group = groups.get(`${kind} | ${target}`) ?? { count: 0, recoveries: [] };
    groups.set(`${kind} | ${target}`, group);
    group.count += 1;
    const next = starts.filter((start) => start >= at);
    // After the last task has started there is nothing left to go on with.
    if (at < lastStart && next.length > 0) group.recoveries.push(Math.min(...next) - at);
  }
  const quantile = (values: readonly number[], share: number): string => {
    const sorted = [...values].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]?.toFixed(2) ?? '';
  };
  const faultRows = [...groups].sort().map(([name, { count, recoveries }]) => {
    return `| ${name} | ${count} | ${quantile(recoveries, 0.5)} | ${quantile(recoveries, 0.99)} | ${quantile(recoveries, 1)} |`;
  });
  const violationRows = VIOLATIONS.map((kind) => `| ${kind} | ${verdict.violations.filter((one) => one.kind === kind).length} |`);
  return `${tasks} tasks, ${starts.length} commands started, ${seconds.toFixed(0)} s

| fault | of | times | s until the next task starts, p50 | p99 | max |
| --- | --- | --- | --- | --- | --- |
${faultRows.join('\n')}

| violation | times |
| --- | --- |
${violationRows.join('\n')}
| (at once behind an agent silent for longer than its lease) | ${verdict.excused.length} |

${verdict.violations.map(({ kind, what }) => `- ${kind}: ${what}\n`).join('')}chaos: ${tasks} tasks, ${faults.length} faults, ${verdict.violations.length} violations`;
}
