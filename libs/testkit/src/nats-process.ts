/** A NATS of one spec, in a folder of its own, that may be killed, frozen, emptied and started again without harm to other specs. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { databases, declareImpossible, MARIADB_URL_VARIABLE, type DatabaseKind } from './database';
import { keepServer, type KeptServer } from './keeper';
import { NATS_URL_VARIABLE } from './services';

interface Standing {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
}

export class NatsProcess {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'jobmon-nats-'));
  private kept: KeptServer<Standing> | undefined;
  private standing: Standing | undefined;

  private constructor(private readonly config: string) {}

  /** Starts a server with JetStream; `config` is more of its configuration. */
  static async start(config = ''): Promise<NatsProcess> {
    const nats = new NatsProcess(config);
    await nats.startAgain();
    return nats;
  }

  /** `nats://HOST:PORT`; the same after a restart. */
  get url(): string {
    if (this.standing === undefined) throw new Error('this NATS was never started');
    return this.standing.url;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** Of the server itself, as long as it runs. */
  get pid(): number {
    if (this.standing === undefined) throw new Error('this NATS was never started');
    return this.standing.pid;
  }

  signal(signal: NodeJS.Signals): void {
    if (this.standing !== undefined) process.kill(this.standing.pid, signal);
  }

  /** With -9. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.kept?.end();
    this.kept = undefined;
  }

  /** Everything that JetStream has stored; only while it does not run. */
  forgetAll(): void {
    rmSync(path.join(this.folder, 'store'), { recursive: true, force: true });
  }

  /** At its old address, with its old store. */
  async startAgain(): Promise<void> {
    const options = { port: this.standing?.port ?? -1, config: this.config };
    this.kept = await keepServer<Standing>('nats.mjs', 'startNats', this.folder, options);
    this.standing = this.kept.standing;
  }

  async remove(): Promise<void> {
    await this.kept?.end();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Declares specs that need NATS: where it can't be had they are skipped and say why; in CI that is a failure. */
export function describeWithNats(name: string, define: () => void): void {
  if (process.env[NATS_URL_VARIABLE]) return describe(name, define);
  declareImpossible(name, process.env['JOBMON_TEST_NATS_SKIP'] ?? `${NATS_URL_VARIABLE} names no server`);
}

/** Declares specs of the services as processes of their own, which need NATS and MariaDB; as `describeWithNats` where one is missing. */
export function describeApart(name: string, define: (mariadb: DatabaseKind) => void): void {
  const mariadb = databases().find((kind) => kind.name === 'mariadb');
  if (mariadb !== undefined) return describeWithNats(name, () => define(mariadb));
  declareImpossible(name, `${MARIADB_URL_VARIABLE} names no server`);
}
