/**
 * An agent in a process of its own, as a person starts it: `jobmon agent`, `node dist/apps/agent/main.js`. Settings, what is said on the
 * terminal, and the end: the first SIGTERM or Ctrl-C drains, the second leaves at once, and what runs goes on without the agent.
 *
 * What is said to people goes to standard error; log lines go to the log file, to one in the data folder when somebody looks (a terminal),
 * and to standard output as JSON otherwise.
 */
import { createHash } from 'node:crypto';
import { availableParallelism, hostname, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { CLUSTER_TYPES } from '@jobmon/cluster';
import { Connection, loginName, type Server } from '@jobmon/client';
import { JobmonError, listClusters, VERSION } from '@jobmon/contracts';
import { createLogger, dataFolder, loadConfig, LogQueue, makeFolder, shipLogs, type Config, type Logger } from '@jobmon/runtime';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent } from './agent';
import { tellServer } from './log-way';

/** What the command line says; what is absent is taken from the settings. */
export interface AgentFlags {
  /** Names of clusters; every one that the agent has a plug-in for when absent. */
  readonly clusters?: readonly string[];
  readonly cores?: number;
  readonly memory_gib?: number;
  readonly any_user?: boolean;
  readonly state_directory?: string;
  /** How long the commands that run are waited for after the first signal. */
  readonly drain_timeout_seconds?: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

const DRAIN_TIMEOUT_SECONDS = 86_400;
const GIB = 2 ** 30;
/** Of one call with log records: what the api passes on to the sink crosses the bus. */
const LOG_BYTES_MAX = 256 * 1024;
/** Between two tries to ask the server for its clusters. */
const ASK_AGAIN_MS = 2_000;
/** Two signals within this time are one press of the keys, passed on by whoever started the process. */
const KEY_PRESS_MS = 200;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** Exit codes: it left, everything had ended; the commands took longer than the time to drain; a second signal came. */
const EXIT_LEFT = 0;
const EXIT_DRAIN_TIMED_OUT = 7;
const EXIT_SECOND_SIGNAL = 130;

/**
 * Runs an agent until it is told to go; answers the exit code. Throws JobmonError with cause and cure when it can't start or the server
 * refuses it; a server that is away is waited for.
 */
export async function runAgent(
  flags: AgentFlags,
  findApi: () => Promise<Server>,
  env: Environment = process.env,
): Promise<number> {
  const { config, warnings } = settingsOf(flags, env);
  const say = (sentence: string): void => void process.stderr.write(`${sentence}\n`);
  const queue = new LogQueue();
  const log = openLog(config, env, queue);
  for (const warning of [...warnings, ...beyondMachine(flags)]) {
    log.warn(warning);
    say(`Warning: ${warning}`);
  }
  await findApi().catch((thrown: unknown) => {
    // Settings that can't be used are said at once; a server that is away, now or later, is waited for.
    const { code, message } = JobmonError.from(thrown);
    if (code !== 'UNAVAILABLE') throw thrown;
    log.warn(`${message}; the agent waits for it`);
    say(`${message}; the agent waits for it.`);
  });
  const clusters = await typesOf(flags.clusters ?? CLUSTER_TYPES, findApi, log);
  const { cores, memory_gib, any_user, state_directory } = config.agent;
  return new Promise<number>((resolve, reject) => {
    const agent = new Agent({
      findApi,
      clusters,
      cores,
      memory_gib,
      any_user,
      state_directory,
      user: loginName(),
      hostname: hostname(),
      version: VERSION,
      log,
      say,
      onRefused: (error) => end(() => reject(error)),
      onLeft: () => end(() => resolve(EXIT_LEFT)),
    });
    agent.start();
    const shipper = shipLogs({
      queue,
      stream: { publish: (records) => tellServer(agent, records, log) },
      log,
      bytes_max: LOG_BYTES_MAX,
    });
    const release = onSignals(agent, flags.drain_timeout_seconds ?? DRAIN_TIMEOUT_SECONDS, log, (exit_code, because) => {
      const { running } = agent;
      const sentence = `${because}; ${running} running commands go on without the agent. Start it again to take them up: within the server's lease.`;
      log.warn({ running }, because);
      if (running > 0) say(sentence);
      end(() => resolve(exit_code));
    });
    const end = (settle: () => void): void => {
      release();
      void agent
        .stop()
        .then(() => shipper.close())
        .finally(settle);
    };
  });
}

function settingsOf(flags: AgentFlags, env: Environment) {
  const { cores, memory_gib, any_user, state_directory } = flags;
  return loadConfig({
    env,
    overrides: { agent: { cores, memory_gib, any_user, state_directory } },
    flags: {
      'agent.cores': '--cores',
      'agent.memory_gib': '--memory',
      'agent.any_user': '--any-user',
      'agent.state_directory': '--state',
    },
    defaults: { agent: { state_directory: stateFolder(env) } },
  });
}

/** In the data folder, by host and by server: a home folder may be shared by many machines, and another server has the same ids. */
function stateFolder(env: Environment): string {
  const url = env.JOBMON__HTTP__SERVICE_URL;
  const server = url ? `-${createHash('sha256').update(url).digest('hex').slice(0, 8)}` : '';
  return join(dataFolder(env), `agent-${hostname()}${server}`);
}

/** What is more than this machine has may be wanted, and is said. */
function beyondMachine({ cores = 0, memory_gib = 0 }: AgentFlags): string[] {
  const has = { cores: availableParallelism(), memory_gib: totalmem() / GIB };
  return [
    ...(cores > has.cores ? [`--cores ${cores} is more than the ${has.cores} of this machine: commands will share them`] : []),
    ...(memory_gib > has.memory_gib * 1.01
      ? [`--memory ${memory_gib}G is more than the ${has.memory_gib.toFixed(1)}G of this machine: commands may run out of it`]
      : []),
  ];
}

function openLog(config: Config, env: Environment, queue: LogQueue): Logger {
  const file = config.log.file ?? (process.stdout.isTTY ? join(dataFolder(env), 'agent.log') : undefined);
  if (file !== undefined) makeFolder(dirname(file));
  return createLogger({
    service: 'agent',
    instance: `${hostname()}-${process.pid}`,
    level: config.log.level,
    destination: file,
    queue,
  });
}

/**
 * The plug-in of each cluster. Those of the kinds that every server has are known; for others the server is asked, and waited for.
 *
 * @throws JobmonError MALFORMED when there is no such cluster, or no plug-in for its kind.
 */
async function typesOf(names: readonly string[], findApi: () => Promise<Server>, log: Logger): Promise<Record<string, string>> {
  if (names.every((name) => CLUSTER_TYPES.includes(name))) return Object.fromEntries(names.map((name) => [name, name]));
  for (;;) {
    try {
      const { clusters } = await new Connection(await findApi()).send(listClusters, {});
      return Object.fromEntries(
        names.map((name) => {
          const found = clusters.find((cluster) => cluster.name === name);
          if (found === undefined) {
            const known = clusters.map((cluster) => cluster.name).join(', ');
            throw new JobmonError('MALFORMED', `there is no cluster '${name}'; the server has: ${known}`);
          }
          if (CLUSTER_TYPES.includes(found.cluster_type)) return [name, found.cluster_type];
          const kinds = CLUSTER_TYPES.join(', ');
          throw new JobmonError('MALFORMED', `cluster '${name}' is a ${found.cluster_type}; an agent serves ${kinds}`);
        }),
      );
    } catch (thrown) {
      const error = JobmonError.from(thrown);
      if (!error.kind.retryable) throw error;
      log.warn({ error: error.message }, 'the server can not be asked for its clusters yet');
      await sleep(ASK_AGAIN_MS);
    }
  }
}

/** Drains at the first signal; calls `leave` at the second, and when draining takes too long. Answers how to stop listening. */
function onSignals(
  agent: Agent,
  drain_timeout_seconds: number,
  log: Logger,
  leave: (exit_code: number, because: string) => void,
): () => void {
  let first_ms: number | null = null;
  let timer: NodeJS.Timeout | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    const now_ms = performance.now();
    if (first_ms !== null) {
      if (now_ms - first_ms > KEY_PRESS_MS) leave(EXIT_SECOND_SIGNAL, `${signal} for the second time`);
      return;
    }
    first_ms = now_ms;
    log.info({ signal }, 'told to go');
    const late = (): void => leave(EXIT_DRAIN_TIMED_OUT, `the commands did not end within ${drain_timeout_seconds} s`);
    timer = setTimeout(late, Math.min(drain_timeout_seconds * 1_000, 2 ** 31 - 1));
    if (agent.running > 0) {
      process.stderr.write(
        `Draining: ${agent.running} running commands are waited for; another ${signal} leaves them running.\n`,
      );
    }
    agent.drain(`it was told to go by ${signal}`);
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  return () => {
    clearTimeout(timer);
    for (const signal of SIGNALS) process.off(signal, onSignal);
  };
}
