/**
 * The whole house in one process: api, state machine, scheduler, reaper and an agent in one Nest application, over the bus
 * inside the process and one database. The same modules that are processes of their own in a cluster; this file only
 * composes them, finds a port, and takes everything down again in order.
 */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:net';
import { agentModule } from '@jobmon/agent';
import { createApp, givenToken, refuseStrangers } from '@jobmon/api';
import { loginName } from '@jobmon/client';
import { JobmonError, VERSION } from '@jobmon/contracts';
import { holdDatabase, openDatabase, openLogRecords, type Database, type Procedure, type WriteOptions } from '@jobmon/entities';
import { logSinkModule } from '@jobmon/log-sink';
import { inProcessLogStream, inProcessMessenger, type Messenger } from '@jobmon/messaging';
import { reaperModule } from '@jobmon/reaper';
import { parseDatabaseUrl, shipLogs, type Config, type Logger, type LogQueue } from '@jobmon/runtime';
import { schedulerModule, type SchedulerContext } from '@jobmon/scheduler';
import { stateMachineModule } from '@jobmon/state-machine';
import type { DynamicModule } from '@nestjs/common';

/** Parts that can be left out, to be run elsewhere or not at all. */
export type HousePart = 'agent' | 'scheduler' | 'reaper';

export interface HouseOptions {
  readonly config: Config;
  readonly log: Logger;
  /** Lines of `log` that are to be kept as records; none when absent. */
  readonly queue?: LogQueue;
  readonly without?: readonly HousePart[];
  /** Instead of `config.http.port`; 0 takes any free one. */
  readonly port?: number;
  /** Told once when the database can no longer be written, with the cause and the cure, and null when it can again. */
  readonly onTrouble?: (sentence: string | null) => void;
}

export interface House {
  /** Where programs of this machine reach it. */
  readonly url: string;
  /** Every call of `/api/v4` that changes something needs it. */
  readonly token: string;
  readonly database: Database;
  readonly messenger: Messenger;
  /** Answers what is in flight and closes everything; running commands go on without it. Called again, the same stop. */
  stop(): Promise<void>;
}

/** Tried first when no port was given. */
const PORT_DEFAULT = 8070;
/** Of the leases of a scheduler that nobody competes with. */
const LEASE_SECONDS_ALONE = 60;
/** Ports tried after it before giving up. */
const PORTS_MAX = 200;
/** Ports that `fetch` and browsers refuse to call (Fetch standard, "bad port"): nobody would reach the house there. */
const PORTS_NOT_CALLED: ReadonlySet<number> = new Set([
  1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110, 111, 113,
  115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556,
  563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667,
  6668, 6669, 6679, 6697, 10080,
]);

/**
 * Starts the house and answers when it listens. Whatever was begun is undone when it fails.
 *
 * @throws JobmonError with one sentence of cause and cure: a port in use, an address that others can reach without
 * `http.open`, a database that can't be used, another house on the same SQLite file.
 */
export async function startHouse({ config, log, queue, without = [], port, onTrouble }: HouseOptions): Promise<House> {
  const { host } = config.http;
  refuseStrangers(config);
  // With login on it is an admin's credential, and whoever knew a token that was set stays who he is by his own login alone.
  const given = config.auth.mode === 'on' ? undefined : givenToken(config);
  const token = given ?? randomBytes(32).toString('base64url');
  const chosen = await choosePort(host, port ?? config.http.port);
  const undo: Undo[] = [];
  try {
    undo.push({ part: 'hold', step: holdDatabase(config.db.url) });
    const database = watchWrites(
      await openDatabase({ url: config.db.url, log, connections_max: config.db.connections_max }),
      onTrouble,
    );
    undo.push({ part: 'database', step: () => database.close() });
    const records = await openLogRecords(database, { url: config.db.url, log });
    undo.push({ part: 'log records', step: () => records.close() });
    const messenger = inProcessMessenger({ log });
    undo.push({ part: 'bus', step: () => messenger.drain() });
    const stream = inProcessLogStream();

    const url = `http://${reachableName(host)}:${chosen}`;
    const context = { config, log, messenger, database };
    const begun_ms = performance.now();
    const clientsServed = async (): Promise<number> => (performance.now() - begun_ms) / 1_000;
    const parts: Record<HousePart, () => DynamicModule> = {
      scheduler: () => schedulerModule({ ...context, ...leasesOf(config) }),
      reaper: () => reaperModule(context),
      agent: () =>
        agentModule({ config, log: log.child({ part: 'agent' }), findApi: async () => ({ url, token }), version: VERSION }),
    };
    const modules = Object.entries(parts).flatMap(([part, make]) => (without.includes(part as HousePart) ? [] : [make()]));
    const app = await createApp({ ...context, token, user: loginName() }, [
      stateMachineModule({ ...context, clientsServed }),
      logSinkModule({ ...context, records, stream }),
      ...modules,
    ]);
    undo.push({ part: 'application', step: () => app.close() });
    if (queue !== undefined) {
      const shipper = shipLogs({ queue, stream, log });
      undo.push({ part: 'log queue', step: () => shipper.close() });
    }
    await app.listen({ port: chosen, host });
    log.info({ url, without }, 'the house listens');
    let stopped: Promise<void> | undefined;
    return { url, token, database, messenger, stop: () => (stopped ??= takeDown(undo, log)) };
  } catch (error) {
    await takeDown(undo, log);
    throw (error as NodeJS.ErrnoException).code === 'EADDRINUSE' ? portInUse(chosen) : error;
  }
}

/**
 * A SQLite file has one house. So its scheduler keeps its name, takes at its start what the house before it had leased, and need not
 * hurry to renew what nobody else could take. On a server other houses may have a scheduler too.
 */
function leasesOf(config: Config): Pick<SchedulerContext, 'config' | 'instance'> {
  if (parseDatabaseUrl(config.db.url).kind !== 'sqlite') return { config };
  return { config: { scheduler: { ...config.scheduler, lease_seconds: LEASE_SECONDS_ALONE } }, instance: 'local' };
}

/** How a part of the house is taken down. */
interface Undo {
  readonly part: string;
  readonly step: () => unknown;
}

/** Last begun, first undone. A step that fails is logged and does not keep the others from their turn. */
async function takeDown(undo: readonly Undo[], log: Logger): Promise<void> {
  for (const { part, step } of [...undo].reverse()) {
    try {
      await step();
      log.debug({ part }, 'stopped');
    } catch (error) {
      log.error({ part, error }, 'a part of the house did not stop in order');
    }
  }
}

/** What programs of this machine call the address it listens on. */
function reachableName(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}

/**
 * The port to listen on: the one that was given, or the default, else 10000 + (pid mod 30000) and the next ones. Asked before
 * anything else is touched, so that a port in use leaves nothing behind.
 */
async function choosePort(host: string, given: number | undefined): Promise<number> {
  if (given !== undefined) {
    if (PORTS_NOT_CALLED.has(given)) {
      throw new JobmonError(
        'MALFORMED',
        `port ${given} belongs to another protocol, and clients refuse to call it: name another`,
      );
    }
    const port = await probe(host, given);
    if (port === null) throw portInUse(given);
    return port;
  }
  const first = 10_000 + (process.pid % 30_000);
  for (const candidate of [PORT_DEFAULT, ...Array.from({ length: PORTS_MAX }, (_, next) => first + next)]) {
    const port = PORTS_NOT_CALLED.has(candidate) ? null : await probe(host, candidate);
    if (port !== null) return port;
  }
  throw new JobmonError('CONFLICT', `no free port from ${first} to ${first + PORTS_MAX - 1}: name one by --port`);
}

/** The port that listening on `port` gives, or null when it is taken. */
function probe(host: string, port: number): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') return resolve(null);
      const cure =
        error.code === 'EACCES' ? 'ports below 1024 need special rights: name a higher one by --port' : 'see --host and --port';
      reject(new JobmonError('UNAVAILABLE', `cannot listen on ${host} port ${port} (${error.code}): ${cure}`));
    });
    server.listen({ host, port, exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : port));
    });
  });
}

function portInUse(port: number): JobmonError {
  return new JobmonError('CONFLICT', `port ${port} is in use: stop what listens there, name another port, or leave --port away`);
}

/**
 * The database, with an ear on its writes: a person at a terminal must hear of a full disk at once, though the log goes to a
 * file. Told when writes begin to fail for a cause outside the house, and when they succeed again.
 */
function watchWrites(database: Database, onTrouble: HouseOptions['onTrouble']): Database {
  if (onTrouble === undefined) return database;
  let isInTrouble = false;
  const write = async <T>(options: WriteOptions, procedure: () => Procedure<T>): Promise<T> => {
    try {
      const answer = await database.write(options, procedure);
      if (isInTrouble) onTrouble(null);
      isInTrouble = false;
      return answer;
    } catch (error) {
      if (!isInTrouble && error instanceof JobmonError && error.code === 'UNAVAILABLE' && error.cause !== undefined) {
        isInTrouble = true;
        onTrouble(error.message);
      }
      throw error;
    }
  };
  return Object.create(database, { write: { value: write } }) as Database;
}
