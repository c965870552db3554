/** One run: workflows begun, services restarted until they have ended, and what became of them. */
import { Connection } from '@jobmon/client';
import { BUS_SERVICES, natsAccounts } from '@jobmon/messaging';
import {
  Answers,
  Balancer,
  buildHouse,
  MariadbProcess,
  NatsProcess,
  pythonPrograms,
  Services,
  SERVICES,
  TcpProxy,
  until,
  UserFolder,
} from '@jobmon/testkit';
import { createConnection } from 'mysql2/promise';
import { AgentProcess } from '../chaos/agent-process';
import { NATIVE_LIMIT, NATIVE_WIDTH, submitNative } from '../chaos/native-run';
import { CLIENT_DEADLINE_SECONDS, CLIENT_LIMIT, CLIENT_WIDTH, HEARTBEAT, PythonRun } from '../chaos/python-run';
import { readExecuted, verdictOf, type Judged } from '../chaos/verdict';
import { Asker } from './asker';
import { buildOlder, killMigrationBy, migrateBy, THIS } from './older';
import { beginMember, roll, type Replacement } from './roll';

const TOKEN = 'token-of-the-rolling-restart';
const EACH = 2;
const AGENTS = 2;
/** Workflows that the server drives: one for each scheduler. */
const NATIVE = ['native_a', 'native_b'] as const;
/** Of the tasks, so many to one are driven by the Python client. */
const NATIVE_TO_PYTHON = 40;
/** As it is when nobody sets it. */
const LEASE_SECONDS = 60;
/** So many commands are begun by an older release before it is migrated, and again on the newer schema before it is upgraded. */
const STARTS_OF_OLDER = 30;
const STARTS_MS_MAX = 120_000;
/** Longest run; a workflow that has not ended by then is found stuck. */
const RUN_MS_MAX = 3_600_000;

export interface Story {
  readonly tasks: number;
  readonly python_tasks: number;
  readonly seconds: number;
  /** Of an upgrade: from which release, and what became of the schema meanwhile. */
  readonly upgrade?: { readonly from: string; readonly migration_seconds: number; readonly migrated: string };
  /** Times in which the services were of one release, or of two. */
  readonly phases: readonly Phase[];
  readonly replacements: readonly Replacement[];
  readonly answers: Answers;
  readonly asker: Asker;
  readonly judged: Judged;
  /** Between two starts of commands that the server drives. */
  readonly longest_standstill_seconds: number;
  /** Ends of the Python client before its workflow was done. */
  readonly deaths: readonly string[];
  /** With all logs. */
  readonly user: UserFolder;
}

export interface Phase {
  readonly what: string;
  readonly seconds: number;
  /** Commands that were begun in it, by all drivers together. */
  readonly starts: number;
}

const passwordOf = (service: string): string => `password-of-${service}`;

/** Plays it, from an older release when one is named. Throws when MariaDB, NATS, Python or the older release can't be had. */
export async function play(tasks: number, from?: string): Promise<Story> {
  buildHouse();
  const programs = pythonPrograms();
  if ('missing' in programs) throw new Error(programs.missing);
  const python_tasks = Math.max(8, Math.ceil(tasks / NATIVE_TO_PYTHON));
  const user = new UserFolder();
  const older = from === undefined ? undefined : buildOlder(from, user.folder('older'));
  const first = older ?? THIS;
  const work = user.folder('work');
  const mariadb = await MariadbProcess.start();
  const accounts = natsAccounts(Object.fromEntries(BUS_SERVICES.map((name) => [name, passwordOf(name)])) as never);
  const nats = await NatsProcess.start(accounts);
  const balancer = new Balancer();
  const answers = new Answers();
  const wireFor = (client: string): Promise<TcpProxy> =>
    TcpProxy.to(
      () => balancer.next(),
      0,
      () => answers.of(client),
    );
  const wires = { asker: await wireFor('SDK'), python: await wireFor('Python client') };
  const agentWires = await Promise.all(Array.from({ length: AGENTS }, () => wireFor('agent')));
  const all = [...Object.values(wires), ...agentWires];
  const services = new Services({
    folder: user.folder('services'),
    database_url: mariadb.url,
    nats_url: nats.url,
    nats_password: passwordOf,
    token: TOKEN,
    env: {
      ...HEARTBEAT,
      JOBMON__SERVICE__DRAIN_SECONDS: '5',
      JOBMON__HTTP__ALLOWED_HOSTS: all.map(({ port }) => `127.0.0.1:${port}`).join(','),
    },
  });
  const agents = agentWires.map(({ port }, at) => {
    const env = { JOBMON__HTTP__SERVICE_URL: `http://127.0.0.1:${port}`, JOBMON__HTTP__TOKEN: TOKEN };
    return new AgentProcess(user, `agent-${at}`, env, first.root);
  });
  const python = new PythonRun(user, programs.folder, `http://127.0.0.1:${wires.python.port}`, work, python_tasks);
  const query = async <Row>(sql: string): Promise<Row[]> => {
    const connection = await createConnection(mariadb.url.replace(/^mariadb:/, 'mysql:'));
    try {
      return (await connection.query(sql))[0] as Row[];
    } finally {
      connection.destroy();
    }
  };
  let asker: Asker | undefined;

  try {
    await migrateBy(first, mariadb.url);
    services.root = first.root;
    await Promise.all(
      SERVICES.flatMap((service) => Array.from({ length: EACH }, () => beginMember(services, service, balancer))),
    );
    void balancer.watch();
    for (const agent of agents) agent.begin();
    const began = performance.now();
    const connection = new Connection({ url: `http://127.0.0.1:${wires.asker.port}`, token: TOKEN });
    const lasts = new Map<string, number>();
    for (const [at, name] of NATIVE.entries()) {
      const count = Math.floor((tasks - python_tasks + at) / NATIVE.length);
      for (const [task, seconds] of await submitNative(connection, name, count, work, Math.random)) lasts.set(task, seconds);
    }
    const [oldest] = await query<{ id: number }>('SELECT MIN(id) AS id FROM workflow');
    asker = new Asker(connection, Number(oldest!.id));
    const asking = asker.ask();
    void python.play().catch((error: unknown) => console.log(error));

    const hasEnded = async (): Promise<boolean> => {
      const rows = await query<{ status: string }>('SELECT status FROM workflow');
      return rows.every(({ status }) => 'DF'.includes(status)) && python.hasEnded;
    };
    const replacements: Replacement[] = [];
    const bound = performance.now() + RUN_MS_MAX;
    const phases: Phase[] = [];
    const startsNow = (): number => readExecuted(work).filter(({ what }) => what === 'start').length;
    const during = async <T>(what: string, act: () => T | Promise<T>): Promise<T> => {
      const [since, before] = [performance.now(), startsNow()];
      const answer = await act();
      phases.push({ what, seconds: (performance.now() - since) / 1_000, starts: startsNow() - before });
      return answer;
    };
    const someStarts = async (): Promise<void> => {
      const wanted = startsNow() + STARTS_OF_OLDER;
      await until(`${wanted} commands were begun`, () => startsNow() >= wanted, STARTS_MS_MAX);
    };
    let upgrade: Story['upgrade'];
    if (older !== undefined) {
      await during(`${older.name} on its own schema`, someStarts);
      await during(`${older.name} after a migration that was killed`, async () => {
        await killMigrationBy(THIS, mariadb.url);
        await someStarts();
      });
      const { seconds, said } = await during(`${older.name} while the schema is migrated`, () => migrateBy(THIS, mariadb.url));
      console.log(said);
      upgrade = { from: older.name, migration_seconds: seconds, migrated: said };
      await during(`${older.name} on the migrated schema`, someStarts);
    }
    // Every service at least once to each release, and on until there is no work left that could suffer.
    const releases = older === undefined ? [THIS] : [THIS, older];
    do {
      for (const release of releases) {
        await during(`every service replaced by ${release.name}`, async () => {
          for (const service of SERVICES) {
            await roll(services, service, release, balancer, (replacement) => {
              replacements.push(replacement);
              const { up_seconds, down_seconds, exit } = replacement;
              const times = `ready in ${up_seconds.toFixed(1)} s, gone in ${down_seconds.toFixed(1)} s`;
              console.log(`${service} of ${release.name}: ${times} (exit ${exit})`);
            });
          }
        });
      }
    } while (!(await hasEnded()) && performance.now() < bound);
    asker.stop();
    await asking;
    const seconds = (performance.now() - began) / 1_000;
    python.stop();
    const judged = await verdictOf({
      query,
      work,
      faults: [],
      workflows: [
        ...NATIVE.map((name) => ({ name, limit: NATIVE_LIMIT, width: NATIVE_WIDTH, lease_seconds: LEASE_SECONDS, lasts })),
        { name: 'python', limit: CLIENT_LIMIT, width: CLIENT_WIDTH, lease_seconds: CLIENT_DEADLINE_SECONDS },
      ],
      hosts: new Map(agents.map((agent) => [agent.state, agent.name])),
      needs: [],
      holders: [],
      needsOfAgents: [],
      clientAway: python.deaths,
      bound_seconds: () => LEASE_SECONDS,
    });
    const starts = readExecuted(work).filter(({ what, task }) => what === 'start' && lasts.has(task));
    const gaps = starts.slice(1).map(({ at }, index) => at - starts[index]!.at);
    return {
      tasks,
      python_tasks,
      seconds,
      upgrade,
      phases,
      replacements,
      answers,
      asker,
      judged,
      longest_standstill_seconds: Math.max(0, ...gaps),
      deaths: python.deaths.map(({ why }) => why),
      user,
    };
  } finally {
    asker?.stop();
    balancer.stop();
    python.stop();
    await Promise.all(agents.map((agent) => agent.kill()));
    await services.stop('SIGKILL');
    for (const wire of all) await wire.close();
    await nats.remove();
    await mariadb.remove();
  }
}
