/**
 * The house of the workflow benchmark, in a process of its own so that its memory and its event loop are its own. It is told the
 * address of its database, says where it listens, and answers each `take` with what was spent since the one before.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { join } from 'node:path';
import { startHouse, type House } from '@jobmon/local';
import { createLogger, loadConfig } from '@jobmon/runtime';

export interface HousePlace {
  readonly database_url: string;
  readonly folder: string;
  /** Settings of its agent. */
  readonly agent?: { readonly any_user: boolean; readonly cores: number };
}

/** What the house spent since it was asked before; memory is that of its whole life. */
export interface Spent {
  readonly statements: number;
  readonly retries: number;
  readonly lag_p99_ms: number;
  readonly lag_max_ms: number;
  readonly peak_rss_mb: number;
}

export type HouseSays =
  { readonly kind: 'ready'; readonly url: string; readonly token: string } | { readonly kind: 'spent'; readonly spent: Spent };

/** A turn of the loop that takes no longer than this is not late: it is the resolution of the clock that measures. */
const LAG_RESOLUTION_MS = 5;

const delays = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
let house: House;
let counted = { statements: 0, retries: 0 };

function say(message: HouseSays): void {
  process.send?.(message);
}

function spent(): Spent {
  const { statements, retries } = house.database.counts;
  const lag = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - LAG_RESOLUTION_MS);
  const since: Spent = {
    statements: statements - counted.statements,
    retries: retries - counted.retries,
    lag_p99_ms: lag(delays.percentile(99)),
    lag_max_ms: lag(delays.max),
    peak_rss_mb: process.resourceUsage().maxRSS / 1024,
  };
  counted = { statements, retries };
  delays.reset();
  return since;
}

async function start({ database_url, folder, agent }: HousePlace): Promise<void> {
  const overrides = { db: { url: database_url }, http: { port: 0 }, ...(agent && { agent }) };
  const { config } = loadConfig({ env: { HOME: folder }, overrides });
  const log = createLogger({ service: 'local', level: config.log.level, destination: join(folder, 'house.log') });
  house = await startHouse({ config, log });
  delays.enable();
  say({ kind: 'ready', url: house.url, token: house.token });
}

process.on('message', (message: HousePlace | 'take' | 'stop') => {
  if (message === 'take') say({ kind: 'spent', spent: spent() });
  else if (message === 'stop') void house.stop().then(() => process.exit(0));
  else void start(message);
});
