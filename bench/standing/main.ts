/**
 * `npm run bench -- standing --url URL --database URL [--tasks N] [--name NAME] [--port P]`: work for an installation that stands already, wherever its
 * services are, while somebody restarts, upgrades or kills them. Two workflows that the server drives and one of the published Python client,
 * two agents on this machine, and a client that asks all the time; the token is read from JOBMON__HTTP__TOKEN. `working` is printed when the first
 * commands have begun. The last line is JSON (`Standing`). Exit code 1 when anything was lost or doubled, a client saw a 4xx, or a call failed for good.
 *
 * The api must answer to the names 127.0.0.1:P to 127.0.0.1:P+3 (16470 when none is given): the wires on which answers are counted.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Connection } from '@jobmon/client';
import { Answers, buildHouse, pythonPrograms, TcpProxy, until, UserFolder } from '@jobmon/testkit';
import { createConnection } from 'mysql2/promise';
import { AgentProcess } from '../chaos/agent-process';
import { NATIVE_LIMIT, NATIVE_WIDTH, submitNative } from '../chaos/native-run';
import { CLIENT_DEADLINE_SECONDS, CLIENT_LIMIT, CLIENT_WIDTH, PythonRun } from '../chaos/python-run';
import { readExecuted, verdictOf } from '../chaos/verdict';
import { Asker } from '../rolling/asker';

const AGENTS = 2;
const LEASE_SECONDS = 60;
/** Of the tasks, so many to one are driven by the Python client. */
const NATIVE_TO_PYTHON = 40;
const STARTS_MIN = 30;
const BEGIN_MS_MAX = 180_000;
const RUN_MS_MAX = 1_800_000;
const LOOK_MS = 500;
/** A Python client that ends so often is not coming to its end. */
const DEATHS_MAX = 20;

/** What a run came to. */
interface Standing {
  readonly tasks: number;
  readonly seconds: number;
  /** Answers by status. */
  readonly answers: Readonly<Record<string, number>>;
  /** Seconds; the long polls of agents left out. */
  readonly longest_wait: number;
  readonly longest_call: number;
  /** Commands begun, by workflow. */
  readonly started: Readonly<Record<string, number>>;
  /** Lost, doubled, out of order, over a limit, stuck. */
  readonly violations: readonly string[];
  /** Answers of 4xx, calls that failed for good, ends of the Python client before its workflow was done. */
  readonly complaints: readonly string[];
}

async function play(url: string, database: string, name: string, tasks: number, port: number): Promise<Standing> {
  buildHouse();
  const programs = pythonPrograms();
  if ('missing' in programs) throw new Error(programs.missing);
  const token = process.env.JOBMON__HTTP__TOKEN ?? '';
  const python_tasks = Math.max(8, Math.ceil(tasks / NATIVE_TO_PYTHON));
  const user = new UserFolder();
  const work = user.folder('work');
  const answers = new Answers();
  const wires: TcpProxy[] = [];
  for (const client of ['SDK', 'Python client', ...Array.from({ length: AGENTS }, () => 'agent')])
    wires.push(await TcpProxy.to(url, port + wires.length, () => answers.of(client)));
  const addresses = wires.map((wire) => `http://127.0.0.1:${wire.port}`) as [string, string, ...string[]];
  const query = async <Row>(sql: string): Promise<Row[]> => {
    const connection = await createConnection(database.replace(/^mariadb:/, 'mysql:'));
    try {
      return (await connection.query(sql))[0] as Row[];
    } finally {
      connection.destroy();
    }
  };
  const agents = addresses.slice(2).map((address, at) => {
    const env = { JOBMON__HTTP__SERVICE_URL: address, JOBMON__HTTP__TOKEN: token };
    return new AgentProcess(user, `agent-${at}`, env);
  });
  const natives = [`${name}_a`, `${name}_b`];
  const client = `${name}_python`;
  const python = new PythonRun(user, programs.folder, addresses[1], work, python_tasks, client);
  let asker: Asker | undefined;
  try {
    for (const agent of agents) agent.begin();
    const began = performance.now();
    const connection = new Connection({ url: addresses[0], token });
    const lasts = new Map<string, number>();
    for (const native of natives) {
      const count = Math.floor((tasks - python_tasks) / natives.length);
      for (const [task, seconds] of await submitNative(connection, native, count, work, Math.random)) lasts.set(task, seconds);
    }
    void python.play().catch((error: unknown) => console.log(error));
    const [first] = await query<{ id: number }>(`SELECT id FROM workflow WHERE name = '${natives[0]}'`);
    asker = new Asker(connection, Number(first!.id));
    const asking = asker.ask();
    const starts = (): number => readExecuted(work).filter(({ what }) => what === 'start').length;
    await until(`${STARTS_MIN} commands were begun`, () => starts() >= STARTS_MIN, BEGIN_MS_MAX);
    console.log('working');
    const names = [...natives, client].map((one) => `'${one}'`).join(',');
    const hasEnded = async (): Promise<boolean> => {
      await pause(LOOK_MS);
      // The database may be one of those that are struck.
      const rows = await query<{ status: string }>(`SELECT status FROM workflow WHERE name IN (${names})`).catch(() => []);
      if (python.deaths.length >= DEATHS_MAX) return true;
      return rows.length === natives.length + 1 && rows.every(({ status }) => 'DF'.includes(status)) && python.hasEnded;
    };
    await until('the workflows have ended', hasEnded, RUN_MS_MAX).catch((error: unknown) => console.log(error));
    const seconds = (performance.now() - began) / 1_000;
    asker.stop();
    await asking;
    python.stop();
    const judged = await verdictOf({
      query,
      work,
      faults: [],
      workflows: [
        ...natives.map((one) => ({ name: one, limit: NATIVE_LIMIT, width: NATIVE_WIDTH, lease_seconds: LEASE_SECONDS, lasts })),
        { name: client, limit: CLIENT_LIMIT, width: CLIENT_WIDTH, lease_seconds: CLIENT_DEADLINE_SECONDS },
      ],
      hosts: new Map(agents.map((agent) => [agent.state, agent.name])),
      needs: [],
      holders: [],
      needsOfAgents: [],
      clientAway: python.deaths,
      bound_seconds: () => LEASE_SECONDS,
    });
    const violations = judged.violations.map(({ kind, what }) => `${kind}: ${what}`);
    const complaints = [
      ...[...answers.refused].filter(([what]) => what.startsWith('4')).map(([what, count]) => `${count} × ${what}`),
      ...asker.failures.map((failure) => `a call failed for good: ${failure}`),
      ...python.deaths.map(({ why }) => `the Python client had to be started again: ${why}`),
    ];
    if (violations.length + complaints.length === 0) await user.remove();
    else console.log(`what is left of the run: ${user.path}`);
    return {
      tasks,
      seconds,
      answers: Object.fromEntries(answers.counts),
      longest_wait: answers.longest.seconds,
      longest_call: asker.longest.seconds,
      started: Object.fromEntries(judged.started),
      violations,
      complaints,
    };
  } finally {
    asker?.stop();
    python.stop();
    await Promise.all(agents.map((agent) => agent.kill()));
    for (const wire of wires) await wire.close();
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      url: { type: 'string' },
      database: { type: 'string' },
      name: { type: 'string', default: 'standing' },
      tasks: { type: 'string', default: '500' },
      port: { type: 'string', default: '16470' },
    },
  });
  const { url, database, name } = values;
  const [tasks, port] = [Number(values.tasks), Number(values.port)];
  if (url === undefined || database === undefined) throw new Error('--url URL and --database URL must be given');
  if (!/^[a-z]+$/.test(name)) throw new Error(`--name ${name}: give small letters`);
  if (!Number.isInteger(tasks) || tasks < 100) throw new Error(`--tasks ${values.tasks}: give a whole number of at least 100`);
  if (!Number.isInteger(port) || port < 1) throw new Error(`--port ${values.port}: give the first of four free ports`);
  const standing = await play(url, database, name, tasks, port);
  console.log(JSON.stringify(standing));
  return standing.violations.length + standing.complaints.length === 0 ? 0 : 1;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
