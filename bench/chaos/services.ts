/**
 * The services apart under fire: two of each, two agents, and a Python client, all behind proxies, on a MariaDB and a NATS of their own.
 * The commands write down themselves what they do, synced, in a file that no service knows; afterwards that file is held against the
 * database, and what each fault hit against the time it took to go on.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { Connection } from '@jobmon/client';
import {
  Balancer,
  buildHouse,
  isReadyAt,
  MariadbProcess,
  NatsProcess,
  pythonPrograms,
  Services,
  SERVICES,
  TcpProxy,
  UserFolder,
  type Holder,
  type LogLine,
  type ServiceName,
  type ServiceProcess,
  freePort,
} from '@jobmon/testkit';
import { createConnection } from 'mysql2/promise';
import { AgentProcess } from './agent-process';
import { breaking, Fire, freezing, uptime, zeroOfUptime, type Blow, type Target } from './faults';
import { NATIVE_LIMIT, NATIVE_WIDTH, submitNative } from './native-run';
import { CLIENT_DEADLINE_SECONDS, CLIENT_LIMIT, CLIENT_WIDTH, HEARTBEAT, PythonRun } from './python-run';
import { verdictOf, type Ended, type Judged } from './verdict';

export interface ServicesUnderFire {
  readonly tasks: number;
  /** Of the tasks, those that a Python client drives. */
  readonly python_tasks: number;
  readonly minutes: number;
  /** Longest time until what was hit goes on, beyond the lease that holds for it. */
  readonly grace_seconds: number;
  readonly random: () => number;
}

/** What a run told. */
export interface Story extends Judged {
  readonly seconds: number;
  /** Of the Python client, in words. */
  readonly deaths: readonly string[];
  /** What is left of it, logs above all, when something was violated or the Python client had to be started again; else it is removed. */
  readonly folder: string;
}

/** Something that a run needs can't be had on this machine. */
export class Missing extends Error {}

const TOKEN = 'token-of-the-chaos';
const EACH = 2;
const AGENTS = 2;
export const LEASE_SECONDS = 6;
/** After the last fault everything has this long to end. */
const REST_MS_MAX = 480_000;
/** Workflows that the server drives: one for each scheduler. */
const NATIVE = ['native_a', 'native_b'] as const;
const READY_MS = 250;
const STARTS_MAX = 10;

/** One process of a service, whichever it is at the moment. */
class Member {
  private process!: ServiceProcess;
  /** All that it was, one after the other. */
  private readonly processes: ServiceProcess[] = [];
  private health: string | undefined;

  constructor(
    readonly service: ServiceName,
    readonly number: number,
    private readonly start: () => ServiceProcess,
  ) {
    this.begin();
  }

  get name(): string {
    return `${this.service}-${this.number}`;
  }

  begin(): void {
    this.process = this.start();
    this.processes.push(this.process);
    this.health = undefined;
  }

  /** What it logged with these words. */
  said(words: string): LogLine[] {
    return this.processes.flatMap(({ lines }) => lines.filter(({ message }) => message === words));
  }

  hasStarted(): Promise<unknown> {
    return this.process.ready();
  }

  kill(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }

  end(): Promise<unknown> {
    return this.process.end('SIGKILL');
  }

  async isReady(): Promise<boolean> {
    this.health ??= this.process.service_url;
    if (this.health === undefined) return false;
    return isReadyAt(this.health, 4_000);
  }
}

async function had<Server>(server: Promise<Server>): Promise<Server> {
  try {
    return await server;
  } catch (error) {
    throw new Missing((error as Error).message, { cause: error });
  }
}

/** Plays one run from start to verdict. Throws `Missing` when MariaDB, NATS or Python can't be had. */
export async function playServices({ tasks, python_tasks, minutes, grace_seconds, random }: ServicesUnderFire): Promise<Story> {
  buildHouse();
  const programs = pythonPrograms();
  if (python_tasks > 0 && 'missing' in programs) throw new Missing(programs.missing);
  const user = new UserFolder();
  const mariadb = await had(MariadbProcess.start());
  const nats = await had(NatsProcess.start());
  const ports = await Promise.all(Array.from({ length: EACH }, () => freePort()));
  const urls = ports.map((port) => `http://127.0.0.1:${port}`);
  const balancer = new Balancer(urls);
  const wires = {
    database: await TcpProxy.to(mariadb.url),
    bus: await TcpProxy.to(nats.url),
    python: await TcpProxy.to(() => balancer.next()),
  };
  const agentWires = await Promise.all(Array.from({ length: AGENTS }, () => TcpProxy.to(() => balancer.next())));
  const addresses = [wires.python, ...agentWires].map(({ port }) => `127.0.0.1:${port}`);
  const lease = { JOBMON__AGENT__LEASE_SECONDS: String(LEASE_SECONDS) };
  const services = new Services({
    folder: user.folder('services'),
    database_url: wires.database.url(mariadb.url),
    nats_url: wires.bus.url(nats.url),
    token: TOKEN,
    env: { ...lease, ...HEARTBEAT, JOBMON__HTTP__ALLOWED_HOSTS: addresses.join(',') },
  });
  const agents = agentWires.map((wire, at) => {
    const env = { ...lease, JOBMON__HTTP__SERVICE_URL: `http://127.0.0.1:${wire.port}`, JOBMON__HTTP__TOKEN: TOKEN };
    return new AgentProcess(user, `agent-${at}`, env);
  });
  const work = user.folder('work');
  const python =
    'folder' in programs && python_tasks > 0
      ? new PythonRun(user, programs.folder, `http://127.0.0.1:${wires.python.port}`, work, python_tasks)
      : undefined;
  const query = async <Row>(sql: string): Promise<Row[]> => {
    const connection = await createConnection(mariadb.url.replace(/^mariadb:/, 'mysql:'));
    try {
      return (await connection.query(sql))[0] as Row[];
    } finally {
      connection.destroy();
    }
  };
  let isClean = false;

  try {
    await services.migrate();
    const members = SERVICES.flatMap((service) =>
      Array.from({ length: EACH }, (_, number) => {
        const env: NodeJS.ProcessEnv = service === 'api' ? { JOBMON__HTTP__PORT: String(ports[number]) } : {};
        return new Member(service, number, () => services.begin(service, env));
      }),
    );
    await Promise.all(members.map((member) => member.hasStarted()));
    void balancer.watch();
    for (const agent of agents) agent.begin();
    const began = uptime();
    const lasts = new Map<string, number>();
    for (const [at, name] of NATIVE.entries()) {
      const count = Math.floor((tasks - python_tasks + at) / NATIVE.length);
      const connection = new Connection({ url: urls[0]!, token: TOKEN });
      for (const [task, seconds] of await submitNative(connection, name, count, work, random)) lasts.set(task, seconds);
    }
    const client = python?.play();
    // A client that failed in a way of its own would only be seen at the end.
    client?.catch((error: unknown) => console.log(error));

    const targets: Target[] = [
      ...members.map((member) => targetOf(member)),
      ...agents.map((agent): Target => ({
        of: 'agent',
        name: agent.name,
        blows: [killing(agent, 1.5), freezing((name) => agent.signal(name), 1.5)],
      })),
      ...agentWires.map((wire, at): Target => ({
        of: 'agent',
        name: `${agents[at]!.name} wire`,
        blows: breaking(wire, 0.5, 20, random),
      })),
      { of: 'NATS', name: 'NATS', blows: [killingNats(nats), freezing((name) => nats.signal(name), 0.5)] },
      {
        of: 'MariaDB',
        name: 'MariaDB',
        blows: [killingMariadb(mariadb), freezing((name) => process.kill(mariadb.pid, name), 0.5)],
      },
      { of: 'wire to MariaDB', name: 'wire to MariaDB', blows: breaking(wires.database, 0.5, 5, random) },
      { of: 'wire to NATS', name: 'wire to NATS', blows: breaking(wires.bus, 0.5, 5, random) },
      ...(python === undefined ? [] : [{ of: 'python', name: 'python wire', blows: breaking(wires.python, 0.7, 20, random) }]),
    ];
    const faults = await new Fire(targets, random).burn(minutes);

    const hasEnded = async (): Promise<boolean> => {
      const rows = await query<{ status: string }>('SELECT status FROM workflow').catch(() => []);
      return rows.length > 0 && rows.every(({ status }) => 'DF'.includes(status)) && (python?.hasEnded ?? true);
    };
    const bound = performance.now() + REST_MS_MAX;
    while (!(await hasEnded()) && performance.now() < bound) await pause(500);
    const left = python?.stop();
    if (left) console.log(`the Python client was left running; it had said:\n${left}`);
    const judged = await verdictOf({
      query,
      work,
      faults,
      workflows: [
        ...NATIVE.map((name) => ({ name, limit: NATIVE_LIMIT, width: NATIVE_WIDTH, lease_seconds: LEASE_SECONDS, lasts })),
        ...(python === undefined
          ? []
          : [{ name: 'python', limit: CLIENT_LIMIT, width: CLIENT_WIDTH, lease_seconds: CLIENT_DEADLINE_SECONDS }]),
      ],
      hosts: new Map(agents.map((agent) => [agent.state, agent.name])),
      needs: [
        ['MariaDB'],
        ['wire to MariaDB'],
        ['NATS'],
        ['wire to NATS'],
        ...(['api', 'state-machine', 'scheduler'] as const).map((name) => namesOf(members, name)),
        agents.map(({ name }) => name),
      ],
      holders: await holdersOf(members, query),
      needsOfAgents: [namesOf(members, 'reaper')],
      clientAway: python?.deaths ?? [],
      bound_seconds: (of) => (of === 'python' ? CLIENT_DEADLINE_SECONDS : LEASE_SECONDS) + grace_seconds,
    });
    const deaths = (python?.deaths ?? []).map(({ from, why }) => `${(from - began).toFixed(0)} s: ${why}`);
    isClean = judged.violations.length === 0 && deaths.length === 0;
    return { ...judged, deaths, seconds: uptime() - began, folder: user.path };
  } finally {
    balancer.stop();
    python?.stop();
    await Promise.all(agents.map((agent) => agent.kill()));
    await services.stop('SIGKILL');
    for (const wire of [...Object.values(wires), ...agentWires]) await wire.close();
    await nats.remove();
    await mariadb.remove();
    if (isClean) await user.remove();
  }
}

const namesOf = (members: readonly Member[], service: ServiceName): string[] =>
  members.filter((member) => member.service === service).map(({ name }) => name);

/** Which scheduler drives which workflow from when on, as they said themselves. */
async function holdersOf(members: readonly Member[], query: Ended['query']): Promise<Holder[]> {
  const rows = await query<{ id: number; name: string }>('SELECT id, name FROM workflow');
  const names = new Map(rows.map(({ id, name }) => [Number(id), name]));
  return members
    .flatMap((member) =>
      member.said('the run is scheduled from here').map(({ time, workflow_id }) => ({
        workflow: names.get(Number(workflow_id)) ?? 'nowhere',
        name: member.name,
        from: Date.parse(String(time)) / 1_000 - zeroOfUptime(),
      })),
    )
    .sort((a, b) => a.from - b.from);
}

function targetOf(member: Member): Target {
  return {
    of: member.service,
    name: member.name,
    blows: [
      {
        kind: 'kill -9',
        weight: 1,
        seconds: [0.1, 3],
        isDown: true,
        async strike(last) {
          await member.end();
          await last();
          member.begin();
        },
      },
      freezing((name) => member.kill(name), 0.7),
    ],
    async ready(isGivenUp) {
      for (;;) {
        if (isGivenUp()) return false;
        if (await member.isReady()) return !isGivenUp();
        await pause(READY_MS);
      }
    },
  };
}

const killing = (agent: AgentProcess, weight: number): Blow => ({
  kind: 'kill -9',
  weight,
  seconds: [0.1, 3],
  isDown: true,
  async strike(last) {
    await agent.kill();
    await last();
    agent.begin();
  },
});

/** Another connection may have been given the server's port meanwhile, for as long as it is open. */
async function again(start: () => Promise<void>): Promise<void> {
  for (let tried = 1; ; tried += 1) {
    try {
      return await start();
    } catch (error) {
      if (tried === STARTS_MAX) throw error;
      await pause(500);
    }
  }
}

const killingNats = (nats: NatsProcess): Blow => ({
  kind: 'kill -9, empty store',
  weight: 1.5,
  seconds: [0.1, 3],
  isDown: true,
  async strike(last) {
    await nats.kill();
    nats.forgetAll();
    await last();
    await again(() => nats.startAgain());
  },
});

const killingMariadb = (mariadb: MariadbProcess): Blow => ({
  kind: 'kill -9',
  weight: 1.5,
  seconds: [0.1, 3],
  isDown: true,
  async strike(last) {
    await mariadb.kill();
    await last();
    await again(() => mariadb.startAgain());
  },
});
