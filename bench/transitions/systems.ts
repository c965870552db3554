/**
 * What the transitions benchmark measures: the house in this process, or the five services as processes of their own over NATS. Both
 * answer the same routes; each tells its processes, so that memory and processor time are known one by one.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startHouse } from '@jobmon/local';
import { createLogger, loadConfig } from '@jobmon/runtime';
import { buildHouse, NatsProcess, Services, SERVICES } from '@jobmon/testkit';
import type { RawDatabase } from './database';

/** A process of a system, or one that works for it. */
export interface Part {
  readonly name: string;
  readonly pid: number;
}

export interface System {
  /** Of the api. */
  readonly port: number;
  readonly parts: readonly Part[];
  /** Transactions of reports so far. */
  batches(): Promise<number>;
  stop(): Promise<void>;
}

/** The whole house in this process; nothing else moves anything, so it is left out. */
export async function house(database: RawDatabase, folder: string): Promise<System> {
  const { config } = loadConfig({ env: { HOME: folder }, overrides: { db: { url: database.url }, http: { port: 0 } } });
  const log = createLogger({ service: 'local', level: config.log.level, destination: join(folder, `${database.kind}.log`) });
  const started = await startHouse({ config, log, without: ['agent', 'scheduler', 'reaper'] });
  return {
    port: Number(new URL(started.url).port),
    parts: [{ name: 'house', pid: process.pid }],
    batches: () => Promise.resolve(started.database.counts.transactions),
    stop: () => started.stop(),
  };
}

/** One process of each service, over a NATS of their own. */
export async function services(database: RawDatabase, folder: string): Promise<System> {
  buildHouse();
  const nats = await NatsProcess.start();
  const place = {
    folder: join(folder, 'services'),
    database_url: database.url,
    nats_url: nats.url,
    token: 'token-of-the-benchmark',
  };
  mkdirSync(place.folder, { recursive: true });
  const started = new Services(place);
  try {
    await started.migrate();
    await started.start(Object.fromEntries(SERVICES.map((name) => [name, 1])));
    const [api] = started.alive('api');
    const [stateMachine] = started.alive('state-machine');
    return {
      port: Number(new URL(api!.url!).port),
      parts: [...started.processes.map(({ name, child }) => ({ name, pid: child.pid! })), { name: 'nats', pid: nats.pid }],
      batches: () => stateMachine!.metric('jobmon_batch_items_count', { queue: 'reports' }),
      async stop() {
        await started.stop();
        await nats.remove();
      },
    };
  } catch (error) {
    await started.stop();
    await nats.remove();
    throw error;
  }
}

/** Resident memory in MiB now; 0 when the process has ended. */
export function residentMib(pid: number): number {
  try {
    const pages = Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]);
    return (pages * PAGE_BYTES) / 2 ** 20;
  } catch {
    return 0;
  }
}

/** Processor time so far in seconds, user and system; 0 when the process has ended. */
export function cpuSeconds(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name stands in brackets and may hold anything; user and system time are the 14th and 15th field.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
  } catch {
    return 0;
  }
}

/** What Linux has on every machine that this runs on. */
const PAGE_BYTES = 4_096;
const TICKS_A_SECOND = 100;
