/**
 * The services as processes of their own, started from the built bundles on a MariaDB and a NATS that are there: any number of each, to
 * be killed, frozen and thawed. What they say goes to files, so that nothing is lost when the process that started them is busy.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Connection } from '@jobmon/client';
import { openDatabase } from '@jobmon/entities';
import { pino } from 'pino';
import { ROOT, until } from './house-process';

export const SERVICES = ['api', 'state-machine', 'scheduler', 'log-sink', 'reaper'] as const;
export type ServiceName = (typeof SERVICES)[number];

/** Variable with the address of a NATS server, e.g. `nats://127.0.0.1:4222`. */
export const NATS_URL_VARIABLE = 'JOBMON_TEST_NATS_URL';

const READY_MS_MAX = 60_000;

/** What all processes of one system share. */
export interface ServicesPlace {
  /** A folder for their logs and as their home; made when it is missing. */
  readonly folder: string;
  readonly database_url: string;
  readonly nats_url: string;
  /** The password of each service's account on NATS, where it has accounts. */
  readonly nats_password?: (service: ServiceName) => string;
  readonly token: string;
  /** More settings of all processes, as `JOBMON__SECTION__KEY`. */
  readonly env?: NodeJS.ProcessEnv;
}

/** A line of a process' log. */
export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly [key: string]: unknown;
}

/** One process of one service. */
export class ServiceProcess {
  readonly child: ChildProcess;
  /** The exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
  hasEnded = false;

  constructor(
    readonly name: ServiceName,
    /** Of the log, and the process' instance id. */
    readonly instance: string,
    readonly log_file: string,
    env: NodeJS.ProcessEnv,
    args: readonly string[] = [],
    /** The checkout whose bundle it is. */
    readonly root = ROOT,
  ) {
    const output = openSync(log_file, 'a');
    const main = path.join(root, 'dist', 'apps', name, 'main.js');
    this.child = spawn(process.execPath, ['--enable-source-maps', main, ...args], {
      cwd: path.dirname(log_file),
      env,
      stdio: ['ignore', output, output],
      detached: true,
    });
    closeSync(output);
    this.ended = new Promise((resolve) =>
      this.child.on('exit', (code, signal) => {
        this.hasEnded = true;
        resolve(code ?? signal!);
      }),
    );
  }

  /** Everything it has said, as it stands in the file. */
  get text(): string {
    return readFileSync(this.log_file, 'utf8');
  }

  /** Its log so far; lines that are no JSON, a crash's, are messages by themselves. */
  get lines(): LogLine[] {
    return this.text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        try {
          return JSON.parse(line) as LogLine;
        } catch {
          return { level: 'none', message: line };
        }
      });
  }

  /** Where health and metrics are; undefined until it listens. */
  get service_url(): string | undefined {
    return this.lines.findLast(({ message }) => message === 'health and metrics are here')?.url as string | undefined;
  }

  /** Where people reach it, of an api that serves. */
  get url(): string | undefined {
    return this.lines.findLast(({ message }) => message === 'serves')?.url as string | undefined;
  }

  /** What `/health/ready` answers; undefined when nobody answers within 4 s. */
  async readiness(): Promise<{ status: number; details: Record<string, { status: string; cause?: string }> } | undefined> {
    try {
      const answer = await fetch(`${this.service_url}/health/ready`, { signal: AbortSignal.timeout(4_000) });
      const { details } = (await answer.json()) as { details: Record<string, { status: string; cause?: string }> };
      return { status: answer.status, details };
    } catch {
      return undefined;
    }
  }

  /** Waits until it is ready. Throws with its log when it has ended or is not ready within a minute. */
  async ready(): Promise<this> {
    const isReady = async (): Promise<boolean> => this.hasEnded || (await this.readiness())?.status === 200;
    try {
      await until(`${this.instance} is ready`, isReady, READY_MS_MAX);
    } catch (error) {
      throw new Error(`${(error as Error).message}: ${JSON.stringify(await this.readiness())}\n${this.text.slice(-4_000)}`);
    }
    if (this.hasEnded) throw new Error(`${this.instance} has ended (${await this.ended}): ${this.text.slice(-4_000)}`);
    return this;
  }

  /** Waits for a line of its log that says this. */
  async said(what: RegExp, ms_max = 30_000): Promise<LogLine> {
    let found: LogLine | undefined;
    await until(
      `${this.instance} says ${what}`,
      () => (found = this.lines.find(({ message }) => what.test(message))) !== undefined,
      ms_max,
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.text.slice(-4_000)}`);
    });
    return found!;
  }

  kill(signal: NodeJS.Signals): void {
    if (!this.hasEnded) process.kill(this.child.pid!, signal);
  }

  /** Stops it in its tracks: it answers nothing and keeps its connections. */
  freeze(): void {
    this.kill('SIGSTOP');
  }

  thaw(): void {
    this.kill('SIGCONT');
  }

  /** Sends the signal and answers the exit code, or the signal that ended it. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | NodeJS.Signals> {
    this.kill(signal);
    return this.ended;
  }

  /** One metric's value summed over its labels that match; 0 when it was never counted. */
  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    const text = await (await fetch(`${this.service_url}/metrics`)).text();
    let sum = 0;
    for (const line of text.split('\n')) {
      const [, found, given = '', value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
      if (found === name && Object.entries(labels).every(([key, wanted]) => given.includes(`${key}="${wanted}"`))) {
        sum += Number(value);
      }
    }
    return sum;
  }
}

/** Processes of one system, known by their place. */
export class Services {
  readonly processes: ServiceProcess[] = [];
  /** The checkout whose bundles are started from now on: another one's for an upgrade or a rollback. */
  root = ROOT;
  private begun = 0;

  constructor(readonly place: ServicesPlace) {
    mkdirSync(place.folder, { recursive: true });
  }

  /** Brings the schema of the place's database to this release; services wait for it. */
  async migrate(): Promise<void> {
    await (await openDatabase({ url: this.place.database_url, log: pino({ level: 'silent' }) })).close();
  }

  /** Starts one process and waits for nothing. An api listens on any free port. */
  begin(name: ServiceName, env: NodeJS.ProcessEnv = {}, args: readonly string[] = []): ServiceProcess {
    this.begun += 1;
    const { folder, database_url, nats_url, nats_password, token } = this.place;
    const instance = `${name}-${this.begun}`;
    const inherited = Object.entries(process.env).filter(([key]) => !/^(JOBMON_|XDG_|npm_)/.test(key));
    const settings: NodeJS.ProcessEnv = {
      ...Object.fromEntries(inherited),
      HOME: folder,
      JOBMON__DB__URL: database_url,
      JOBMON__NATS__URL: nats_url,
      ...(nats_password && { JOBMON__NATS__USER: name, JOBMON__NATS__PASSWORD: nats_password(name) }),
      JOBMON__HTTP__TOKEN: token,
      JOBMON__HTTP__PORT: '0',
      JOBMON__SERVICE__INSTANCE_ID: instance,
      JOBMON__SERVICE__DRAIN_SECONDS: '0',
      ...this.place.env,
      ...env,
    };
    const started = new ServiceProcess(name, instance, path.join(folder, `${instance}.log`), settings, args, this.root);
    this.processes.push(started);
    return started;
  }

  /** Starts a number of each and waits until all are ready. */
  async start(numbers: Readonly<Partial<Record<ServiceName, number>>>): Promise<this> {
    const begun = Object.entries(numbers).flatMap(([name, count]) =>
      Array.from({ length: count }, () => this.begin(name as ServiceName)),
    );
    await Promise.all(begun.map((one) => one.ready()));
    return this;
  }

  /** Those of a service that have not ended, oldest first. */
  alive(name: ServiceName): ServiceProcess[] {
    return this.processes.filter((one) => one.name === name && !one.hasEnded);
  }

  /** A connection of the SDK to one of the apis. */
  connection(api: ServiceProcess = this.alive('api')[0]!): Connection {
    return new Connection({ url: api.url!, token: this.place.token });
  }

  /** Ends all that are left, frozen ones too, and waits for it. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<(number | NodeJS.Signals)[]> {
    const left = this.processes.filter((one) => !one.hasEnded);
    for (const one of left) one.thaw();
    return Promise.all(left.map((one) => one.end(signal)));
  }
}
