/**
 * The frame of a process that is one service: settings, log, the port of health and metrics, waiting for what the work needs, the
 * work itself, and the end in order.
 *
 * Modes: **waiting** from the start on: alive, not ready, and `/health/ready` says which need is missing; **serving** once every
 * need is there and the work has begun: a need that goes away is told in the log and by `/health/ready`, and whatever asks for
 * it answers UNAVAILABLE until it is back; **stopping** from the first signal on: not ready at once; a service that others call by
 * an address serves on for `service.drain_seconds`; then nothing new is taken, what
 * was accepted is answered, the bus is drained, the needs are closed, and the process ends with exit code 0. Where waiting can't
 * help, the process ends with exit code 1 after one sentence of cause and cure in its log.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { JobmonError } from '@jobmon/contracts';
import {
  createLogger,
  describeConfig,
  loadConfig,
  measureProcess,
  LogQueue,
  onShutdown,
  waitFor,
  type Config,
  type Logger,
  type Need,
  type LogShipper,
} from '@jobmon/runtime';
import { Module, type DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { Messenger } from '../messenger';
import { busNeed } from './bus';
import { openFront, type Front } from './front';
import { Health, type Check } from './health';
import { shipServiceLogs } from './log';
import { NestLog } from './nest-log';

/** What a service is given before its needs are there. */
export interface ServiceSettings {
  readonly config: Config;
  readonly log: Logger;
  /** `service.instance_id` with something behind it that no other process has, not even one that was given the same id. */
  readonly instance: string;
}

/** What a service is given to begin its work. */
export interface ServiceContext extends ServiceSettings {
  readonly messenger: Messenger;
  readonly health: Health;
  /** Aborted when the process is told to stop, before a service that is called by an address takes nothing new. */
  readonly stopping: AbortSignal;
}

/** Work that has begun. */
export interface Work {
  /** Where it listens for people, told in the log. */
  readonly url?: string;
  /** Takes nothing new and answers when everything accepted is done. */
  close(): Promise<void>;
}

export interface ServiceDefinition<Opened extends object> {
  /** Its folder in `apps/`; the group of its bus. */
  readonly name: string;
  /** Settings that its command line takes, by their flag: `{ port: 'http.port' }`. Flags for switches have a `!` behind them. */
  readonly flags?: Readonly<Record<string, `${string}.${string}`>>;
  /** Refuses settings that can't work, by a JobmonError. Called before anything is opened. */
  readonly check?: (config: Config) => void;
  /** Beside the bus. */
  readonly needs: (settings: ServiceSettings) => { readonly [Name in keyof Opened]: Need<Opened[Name]> };
  /**
   * True for a service that only answers the bus: the bus is drained first, so that every message that reached it is answered, and its
   * work ends after that. Else the work ends first, with the bus at its disposal.
   */
  readonly isDrainedFirst?: boolean;
  /** True for a service that is called by an address: it serves on while those that call it learn that it is not ready. */
  readonly isCalledByAddress?: boolean;
  readonly begin: (context: ServiceContext & Opened) => Promise<Work>;
}

/** Longest orderly stop (clients and clusters give a process 20 s and more). */
const STOP_MS_MAX = 19_500;
/** Between two looks at the needs while nobody asks. */
const LOOK_MS = 10_000;

/** Thrown into whatever waits when the process is to end. */
const STOPPING = new JobmonError('UNAVAILABLE', 'the service is stopping');

/** Runs a service until a signal ends the process. To be called once, by a main program. */
export async function startService<Opened extends object>(definition: ServiceDefinition<Opened>): Promise<void> {
  let log = createLogger({ service: definition.name, level: 'info' });
  try {
    const config = readConfig(definition, (warning) => log.warn(warning));
    const { instance_id } = config.service;
    const queue = new LogQueue();
    log = createLogger({ service: definition.name, level: config.log.level, destination: config.log.file, queue }).child({
      instance: instance_id,
    });
    for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
      process.on(event, (error: unknown) => {
        log.fatal({ error }, 'a defect ends this process; what it held is taken up by others');
        process.exit(1);
      });
    }
    log.info({ settings: describeConfig(config) }, 'starts');
    measureProcess();
    await run(definition, { config, log, instance: `${instance_id}/${randomBytes(4).toString('hex')}` }, queue);
  } catch (error) {
    if (error instanceof JobmonError) log.fatal(error.message);
    else log.fatal({ error }, 'a defect ends this process');
    process.exit(1);
  }
}

function readConfig(
  definition: Pick<ServiceDefinition<object>, 'flags' | 'check'>,
  onWarning: (sentence: string) => void,
): Config {
  const flags = definition.flags ?? {};
  const names = Object.keys(flags);
  const { values } = parseFlags(names);
  const overrides: Record<string, Record<string, unknown>> = {};
  for (const [flag, key] of Object.entries(flags)) {
    const [section, setting] = key.split('.') as [string, string];
    (overrides[section] ??= {})[setting] = values[flag.replace('!', '')];
  }
  const spellings = Object.fromEntries(Object.entries(flags).map(([flag, key]) => [key, `--${flag.replace('!', '')}`]));
  const { config, warnings } = loadConfig({ env: process.env, overrides, flags: spellings });
  for (const warning of warnings) onWarning(warning);
  definition.check?.(config);
  return config;
}

function parseFlags(names: readonly string[]): { values: Record<string, unknown> } {
  const options = Object.fromEntries(
    names.map((name) => [name.replace('!', ''), { type: name.endsWith('!') ? ('boolean' as const) : ('string' as const) }]),
  );
  try {
    return parseArgs({ args: process.argv.slice(2), options });
  } catch (error) {
    const known = Object.keys(options).map((name) => `--${name}`);
    const cure = known.length === 0 ? 'it takes none, only settings of the environment' : `there are ${known.join(', ')}`;
    throw new JobmonError('MALFORMED', `wrong command line (${(error as Error).message.split('.')[0]}): ${cure}`);
  }
}

/** Everything that was begun, to be ended in order. */
interface Begun {
  front?: Front;
  messenger?: Messenger;
  work?: Work;
  logs?: LogShipper;
  readonly closes: (() => Promise<void>)[];
}

async function run<Opened extends object>(
  definition: ServiceDefinition<Opened>,
  settings: ServiceSettings,
  queue: LogQueue,
): Promise<void> {
  const { config, log } = settings;
  const stopping = new AbortController();
  const begun: Begun = { closes: [] };
  let looks: NodeJS.Timeout | undefined;
  let beginning: Promise<void> = Promise.resolve();
  onShutdown(
    async () => {
      stopping.abort(STOPPING);
      clearInterval(looks);
      // What is being opened at this moment is opened or given up first; then all of it is closed.
      await beginning.catch(() => undefined);
      if (definition.isCalledByAddress === true && isServing) await pause(config.service.drain_seconds * 1_000);
      await end(begun, definition.isDrainedFirst === true, log);
    },
    { log, bound_ms: STOP_MS_MAX },
  );

  const needs = { bus: busNeed(definition.name, settings), ...definition.needs(settings) } as Record<string, Need<unknown>>;
  const opened: Record<string, unknown> = {};
  let isServing = false;
  const checks: Record<string, Check> = {
    service: async () => {
      if (stopping.signal.aborted) throw new Error('it is stopping');
      if (!isServing) throw new Error('it waits for what it needs');
    },
  };
  const failures = new Map<string, JobmonError | null>();
  for (const [key, need] of Object.entries(needs))
    Object.assign(
      checks,
      checksOf(
        need,
        () => opened[key],
        () => failures.get(key),
      ),
    );
  const health = new Health(log, checks);

  const begin = async (): Promise<void> => {
    begun.front = await openFront(config.service, health, log);
    log.info({ url: begun.front.url }, 'health and metrics are here');
    await Promise.all(
      Object.entries(needs).map(async ([key, need]) => {
        const value = await waitFor(need, {
          log,
          signal: stopping.signal,
          onTry: (failure) => failures.set(key, failure),
        });
        opened[key] = value;
        if (key === 'bus') {
          begun.messenger = value as Messenger;
          begun.logs = shipServiceLogs(definition.name, settings, queue);
        } else begun.closes.push(() => need.close(value));
      }),
    );
    const { bus: messenger, ...others } = opened as { bus: Messenger } & Opened;
    begun.work = await definition.begin({
      ...settings,
      messenger,
      health,
      stopping: stopping.signal,
      ...others,
    } as unknown as ServiceContext & Opened);
    isServing = true;
    log.info({ ...(begun.work.url === undefined ? {} : { url: begun.work.url }) }, 'serves');
    looks = setInterval(() => void health.ask(), LOOK_MS);
  };
  beginning = begin();
  try {
    await beginning;
  } catch (error) {
    // A signal that came meanwhile ends the process by itself.
    if (stopping.signal.aborted) return;
    throw error;
  }
}

/** The checks of one need. While it is being opened each but those that are fulfilled already tells the cause. */
function checksOf(
  need: Need<unknown>,
  opened: () => unknown,
  failure: () => JobmonError | null | undefined,
): Record<string, Check> {
  const names = Object.keys(need.checks);
  const askWhileOpening = (name: string): void => {
    const error = failure();
    if (error === undefined || error === null) throw new Error('it is being opened');
    const failed = (error.details as { check?: string } | undefined)?.check ?? names[0];
    if (names.indexOf(name) < names.indexOf(failed as string)) return;
    if (name === failed) throw error;
    throw new Error(`it needs the ${failed} first`);
  };
  return Object.fromEntries(
    names.map((name) => [
      name,
      async () => {
        const value = opened();
        if (value === undefined) askWhileOpening(name);
        else await need.checks[name]!(value);
      },
    ]),
  );
}

/** A step that fails is logged and does not keep the others from their turn. */
async function end({ front, messenger, work, logs, closes }: Begun, isDrainedFirst: boolean, log: Logger): Promise<void> {
  const step = async (what: string, act: (() => Promise<void>) | undefined): Promise<void> => {
    try {
      await act?.();
      log.debug({ part: what }, 'stopped');
    } catch (error) {
      log.error({ part: what, error }, 'a part did not stop in order');
    }
  };
  const steps: [string, (() => Promise<void>) | undefined][] = [
    ['work', work && (() => work.close())],
    ['bus', messenger && (() => messenger.drain())],
  ];
  for (const [what, act] of isDrainedFirst ? steps.reverse() : steps) await step(what, act);
  await Promise.all(closes.map((close) => step('need', close)));
  await step('health', front && (() => front.close()));
  log.info('stopped');
  await step('log', logs && (() => logs.close()));
}

@Module({})
class WorkModule {}

/** Modules of a service as its work, without a port of their own. */
export async function startModules(log: Logger, modules: readonly DynamicModule[]): Promise<Work> {
  const root: DynamicModule = { module: WorkModule, imports: [...modules] };
  return NestFactory.createApplicationContext(root, { abortOnError: false, logger: new NestLog(log) });
}
