/** Two of each service over a MariaDB and a NATS of their own, with real agents, and who of them is busiest. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import {
  buildHouse,
  MariadbProcess,
  NatsProcess,
  ROOT,
  Services,
  SERVICES,
  UserFolder,
  type ServiceName,
  type ServiceProcess,
} from '@jobmon/testkit';
import { createPool, type Pool } from 'mysql2/promise';

const EACH = 2;
export const TOKEN = 'token-of-the-takeover';
/** Time over which it is counted who is busiest. */
const COUNTED_MS = 1_000;
const LOOK_MS = 20;
/** Far more than the bounds that are measured. */
const RECOVERY_MS_MAX = 180_000;

export interface SystemSettings {
  readonly agents: number;
  /** Of each agent. */
  readonly cores: number;
}

/** How soon a run went on after a blow, in seconds. */
export interface Recovery {
  /** Until an attempt was queued: by another scheduler, when the one that had the run was struck. */
  readonly queued: number;
  /** Until that attempt, or one after it, had started. */
  readonly started: number;
}

/** Seconds of the machine's clock, as commands read it too. */
export const uptime = (): number => Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]);

export class System {
  private readonly agents: ChildProcess[] = [];

  private constructor(
    readonly user: UserFolder,
    readonly services: Services,
    private readonly mariadb: MariadbProcess,
    private readonly nats: NatsProcess,
    private readonly pool: Pool,
  ) {}

  /** Answers when all are ready. */
  static async start({ agents, cores }: SystemSettings): Promise<System> {
    buildHouse();
    const user = new UserFolder();
    const [mariadb, nats] = await Promise.all([MariadbProcess.start(), NatsProcess.start()]);
    const services = new Services({
      folder: user.folder('services'),
      database_url: mariadb.url,
      nats_url: nats.url,
      token: TOKEN,
    });
    const pool = createPool({ uri: mariadb.url.replace(/^mariadb:/, 'mysql:'), connectionLimit: 2 });
    const system = new System(user, services, mariadb, nats, pool);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
      process.once(signal, () => void system.remove().finally(() => process.exit(1)));
    }
    try {
      await services.migrate();
      await services.start(Object.fromEntries(SERVICES.map((name) => [name, EACH])));
      const urls = services.alive('api').map(({ url }) => url!);
      for (let number = 0; number < agents; number += 1) system.beginAgent(number, cores, urls[number % urls.length]!);
      return system;
    } catch (error) {
      await system.remove();
      throw error;
    }
  }

  private beginAgent(number: number, cores: number, url: string): void {
    const folder = this.user.folder(`agent-${number}`);
    const said = openSync(path.join(folder, 'log'), 'a');
    const env = {
      ...this.user.env,
      JOBMON__HTTP__SERVICE_URL: url,
      JOBMON__HTTP__TOKEN: TOKEN,
      JOBMON__AGENT__STATE_DIRECTORY: path.join(folder, 'state'),
      JOBMON__AGENT__CORES: String(cores),
    };
    const main = path.join(ROOT, 'dist', 'apps', 'agent', 'main.js');
    this.agents.push(spawn(process.execPath, [main], { cwd: folder, env, stdio: ['ignore', said, said], detached: true }));
    closeSync(said);
  }

  /** Rows past the services. */
  async rows<Row>(sql: string, ...params: readonly (number | string)[]): Promise<Row[]> {
    return (await this.pool.query(sql, [...params]))[0] as Row[];
  }

  /** The one value of the one row; 0 for NULL. */
  async number(sql: string, ...params: readonly (number | string)[]): Promise<number> {
    const [row] = await this.rows<Record<string, number | string | null>>(sql, ...params);
    return Number(Object.values(row ?? {})[0] ?? 0);
  }

  /**
   * Of a service, by what its processes count themselves: the scheduler that holds most leases, and of those the one that used most
   * processor time in a second; the state machine that answered most requests in a second.
   */
  async busiest(name: 'scheduler' | 'state-machine'): Promise<ServiceProcess> {
    const counted = name === 'scheduler' ? 'jobmon_process_cpu_seconds_total' : 'jobmon_message_seconds_count';
    const alive = this.services.alive(name);
    const before = await Promise.all(alive.map((one) => one.metric(counted)));
    await pause(COUNTED_MS);
    const measured = await Promise.all(
      alive.map(async (one, at) => ({
        one,
        held: name === 'scheduler' ? await one.metric('jobmon_leases_held') : 0,
        done: (await one.metric(counted)) - before[at]!,
      })),
    );
    const [first] = measured.sort((a, b) => b.held - a.held || b.done - a.done);
    return first!.one;
  }

  /** The process that has the run's lease. */
  async holderOf(workflow_run_id: number): Promise<ServiceProcess | undefined> {
    const sql = 'SELECT scheduler_instance AS holder FROM workflow_run_lease WHERE workflow_run_id = ?';
    const [row] = await this.rows<{ holder: string | null }>(sql, workflow_run_id);
    return this.services.processes.find(({ instance }) => row?.holder?.startsWith(`${instance}/`) === true);
  }

  /** To be called right after a blow to `struck`, beside the reading of the clock before it. */
  async recovery(workflow_run_id: number, struck: readonly ServiceProcess[]): Promise<Recovery> {
    const began = performance.now();
    const seconds = (): number => (performance.now() - began) / 1_000;
    const wait = async (what: string, isSo: () => Promise<boolean>): Promise<void> => {
      while (!(await isSo())) {
        if (performance.now() - began > RECOVERY_MS_MAX)
          throw new Error(`${what} did not come within ${RECOVERY_MS_MAX / 1_000} s`);
        await pause(LOOK_MS);
      }
    };
    const newest = 'SELECT MAX(id) FROM task_instance WHERE workflow_run_id = ?';
    await wait('another holder', async () => {
      const holder = await this.holderOf(workflow_run_id);
      return holder !== undefined && !struck.includes(holder);
    });
    const last = await this.number(newest, workflow_run_id);
    await wait('the next attempt', async () => (await this.number(newest, workflow_run_id)) > last);
    const queued = seconds();
    const running = "SELECT COUNT(*) FROM task_instance WHERE workflow_run_id = ? AND id > ? AND status NOT IN ('Q', 'I', 'O')";
    await wait('the next start', async () => (await this.number(running, workflow_run_id, last)) > 0);
    return { queued, started: seconds() };
  }

  /** One more of a service that lost one; answers when it is ready. */
  async replace(name: ServiceName): Promise<void> {
    await this.services.begin(name).ready();
  }

  /** Ends everything and removes what it wrote, but for the logs when `isKept`. */
  async remove({ isKept = false } = {}): Promise<void> {
    for (const agent of this.agents) {
      if (agent.exitCode !== null || agent.signalCode !== null) continue;
      const ended = once(agent, 'exit');
      agent.kill('SIGKILL');
      await ended;
    }
    await this.services.stop('SIGKILL');
    await this.pool.end();
    await this.nats.remove();
    await this.mariadb.remove();
    if (!isKept) await this.user.remove();
  }
}
