/**
 * The house as a person starts it: `jobmon serve`, `node dist/apps/local/main.js`, `npm start`. Settings, the client profile,
 * what is said on the terminal, and the end by Ctrl-C, by a closed terminal, by `kill`.
 *
 * People read standard output, programs read the log: log lines go to a file in the data folder when somebody looks (a terminal,
 * the demonstration), and to standard output as JSON otherwise, where what is said to people goes to standard error.
 */
import { createHash } from 'node:crypto';
import { renameSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { findServer, removeProfile, profilePath, writeProfile, type Profile } from '@jobmon/client';
import { JobmonError } from '@jobmon/contracts';
import {
  createLogger,
  dataFolder,
  describeDatabase,
  loadConfig,
  makeFolder,
  onShutdown,
  parseDatabaseUrl,
  type Config,
  type Logger,
  type LoadedConfig,
  LogQueue,
} from '@jobmon/runtime';
import { runDemonstration } from './demonstration';
import { startHouse, type House, type HousePart } from './house';

export interface ServeFlags {
  readonly port?: number;
  readonly host?: string;
  readonly db?: string;
  readonly open?: boolean;
  readonly without?: readonly HousePart[];
  /** Runs the demonstration once the house answers. */
  readonly demonstration?: boolean;
  /** Stops when the demonstration has ended; the exit code is 0 only if every task is DONE. */
  readonly exit?: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The agent of the house shares its fate, so a silence means more than on a cluster (design rule 5.11). */
const LEASE_SECONDS = 15;
/** Longest orderly stop. */
const STOP_MS_MAX = 20_000;
/** A log file larger than this is put aside at the start, in the place of the one put aside before. */
const LOG_BYTES_MAX = 20 * 1024 * 1024;

/**
 * Runs a house until it is told to stop. Answers the exit code when it could not start or ended by itself; a signal ends the
 * process from within.
 */
export async function serve(flags: ServeFlags, env: Environment = process.env): Promise<number> {
  let house: House | undefined;
  let profile: Profile | undefined;
  const ending = new AbortController();
  const stop = async (): Promise<void> => {
    ending.abort();
    if (profile !== undefined) removeProfile(profile, env);
    await house?.stop();
  };
  try {
    const { config, warnings } = loadHouseConfig(flags, env);
    const queue = new LogQueue();
    const { log, say } = openOutput(config, queue, flags, env);
    for (const warning of warnings) {
      log.warn(warning);
      say(`Warning: ${warning}`);
    }
    const forget = onShutdown(
      (signal) => {
        if (signal === 'SIGINT')
          say('Stopping; running commands go on and are taken up at the next start. Ctrl-C again ends at once.');
        return stop();
      },
      { log, bound_ms: STOP_MS_MAX },
    );
    const onTrouble = (sentence: string | null): void =>
      say(sentence === null ? 'The database can be written again.' : `Warning: ${sentence}.`);
    house = await startHouse({ config, log, queue, without: flags.without, onTrouble });
    const former = await formerServer(env);
    profile = publish(house, env);
    if (former !== undefined)
      say(`Your programs find this server from now on, no longer the one at ${former}, which goes on serving.`);
    say(`Jobmon serves at ${house.url} (documentation: ${house.url}/api/docs, database: ${shown(config)})`);
    if (flags.demonstration !== true) return await forever();

    const { all_done } = await demonstrate(house, config, flags, env, ending.signal);
    if (flags.exit !== true) {
      say(`Jobmon goes on serving at ${house.url} until Ctrl-C.`);
      return await forever();
    }
    await stop();
    forget();
    return all_done ? 0 : 1;
  } catch (error) {
    // A signal stops the house under the demonstration's feet; the end is under way already.
    if (ending.signal.aborted) return await forever();
    await stop();
    const { message, stack } = error as Error;
    process.stderr.write(`Error: ${env.JOBMON_DEBUG === '1' ? stack : message.replaceAll('\n', ' ')}\n`);
    return 1;
  }
}

/**
 * The settings of a house: those of `loadConfig`, with a short lease, and a folder for the agent that belongs to the database:
 * attempts are known by their ids, which are another database's as well.
 *
 * @throws JobmonError MALFORMED naming the key, where its value came from and the rule.
 */
export function loadHouseConfig(flags: ServeFlags = {}, env: Environment = process.env): LoadedConfig {
  const sources = {
    env,
    overrides: { db: { url: flags.db }, http: { host: flags.host, port: flags.port, open: flags.open } },
    flags: { 'db.url': '--db', 'http.host': '--host', 'http.port': '--port', 'http.open': '--open' },
  };
  const { url } = loadConfig(sources).config.db;
  const state_directory = agentFolder(url, env);
  return loadConfig({ ...sources, defaults: { agent: { lease_seconds: LEASE_SECONDS, state_directory } } });
}

/** Beside a SQLite file; for a server's database in the data folder, under a name made from its address. */
function agentFolder(url: string, env: Environment): string {
  const address = parseDatabaseUrl(url);
  if (address.kind === 'sqlite') return `${address.file}.agent`;
  const name = createHash('sha256').update(`${address.host}:${address.port}/${address.database}`).digest('hex').slice(0, 12);
  return join(dataFolder(env), `agent-${name}`);
}

const shown = (config: Config): string => describeDatabase(parseDatabaseUrl(config.db.url));

/** The log, and how people are spoken to beside it. */
function openOutput(
  config: Config,
  queue: LogQueue,
  flags: ServeFlags,
  env: Environment,
): { log: Logger; say: (sentence: string) => void } {
  const isWatched = process.stdout.isTTY || flags.demonstration === true;
  const file = config.log.file ?? (isWatched ? logFile(env) : undefined);
  const log = openLog(config, file, queue);
  const out = file === undefined ? process.stderr : process.stdout;
  return { log, say: (sentence) => void out.write(`${sentence}\n`) };
}

const logFile = (env: Environment): string => join(dataFolder(env), 'jobmon.log');

function openLog(config: Config, file: string | undefined, queue: LogQueue): Logger {
  try {
    const bytes = file === undefined ? 0 : (statSync(file, { throwIfNoEntry: false })?.size ?? 0);
    if (bytes > LOG_BYTES_MAX) renameSync(file!, `${file}.old`);
    return createLogger({ service: 'local', level: config.log.level, destination: file, queue });
  } catch (error) {
    throw new JobmonError(
      'UNAVAILABLE',
      `the log file ${file} can't be written (${(error as Error).message}): allow it, or name another by JOBMON__LOG__FILE`,
    );
  }
}

/** Where another living house of this user is found until now: that of another database. */
async function formerServer(env: Environment): Promise<string | undefined> {
  try {
    return (await findServer({ env: { ...env, JOBMON__HTTP__SERVICE_URL: undefined } })).url;
  } catch {
    return undefined;
  }
}

function publish(house: House, env: Environment): Profile {
  try {
    makeFolder(dirname(profilePath(env)));
    return writeProfile(house, env);
  } catch (error) {
    throw new JobmonError(
      'UNAVAILABLE',
      `the client profile ${profilePath(env)} can't be written (${(error as Error).message}): allow it, or name another folder by XDG_CONFIG_HOME`,
    );
  }
}

function demonstrate(house: House, config: Config, flags: ServeFlags, env: Environment, signal: AbortSignal) {
  const { url, token } = house;
  const working_directory = join(dataFolder(env), 'demonstration');
  return runDemonstration(
    {
      url,
      token,
      working_directory,
      database: shown(config),
      log: config.log.file ?? logFile(env),
      will_exit: flags.exit,
      signal,
    },
    process.stdout,
  );
}

/** A promise for whoever waits for the end of a process that only a signal ends. */
function forever(): Promise<never> {
  return new Promise(() => undefined);
}
