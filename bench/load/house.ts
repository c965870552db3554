/**
 * The house of the load benchmark, in a process of its own, with nobody but callers: no agent, no scheduler, no reaper. It answers each
 * `take` with what its memory and its event loop went through since the one before.
 */
import { writeFileSync, readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { join } from 'node:path';
import { startHouse, type House } from '@jobmon/local';
import { createLogger, loadConfig } from '@jobmon/runtime';

export interface HousePlace {
  readonly database_url: string;
  readonly folder: string;
}

export interface Spent {
  /** How late turns of the event loop came, 99th percentile and longest. */
  readonly lag_p99_ms: number;
  readonly lag_max_ms: number;
  /** Highest resident memory. */
  readonly peak_rss_mb: number;
  /** What is left on the heap after a collection, and outside of it in buffers. */
  readonly heap_mb: number;
  readonly buffers_mb: number;
}

export type HouseSays = { readonly kind: 'ready'; readonly url: string } | { readonly kind: 'spent'; readonly spent: Spent };

/** A turn of the loop that takes no longer than this is not late: it is the resolution of the clock that measures. */
const LAG_RESOLUTION_MS = 5;
const MIB = 2 ** 20;

const delays = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
let house: House;

function say(message: HouseSays): void {
  process.send?.(message);
}

/** Linux keeps the highest mark of resident memory and forgets it on request (proc(5), clear_refs). */
function takePeakRss(): number {
  const [, kilobytes = '0'] = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  writeFileSync('/proc/self/clear_refs', '5');
  return Number(kilobytes) / 1024;
}

function take(): Spent {
  const lag = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - LAG_RESOLUTION_MS);
  const peak_rss_mb = takePeakRss();
  const [lag_p99_ms, lag_max_ms] = [lag(delays.percentile(99)), lag(delays.max)];
  // Twice: what the first collection sets free may hold buffers that only the second one returns.
  global.gc?.();
  global.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  delays.reset();
  return { lag_p99_ms, lag_max_ms, peak_rss_mb, heap_mb: heapUsed / MIB, buffers_mb: arrayBuffers / MIB };
}

async function start({ database_url, folder }: HousePlace): Promise<void> {
  const { config } = loadConfig({ env: { HOME: folder }, overrides: { db: { url: database_url }, http: { port: 0 } } });
  const log = createLogger({ service: 'local', level: config.log.level, destination: join(folder, 'house.log') });
  house = await startHouse({ config, log, without: ['agent', 'scheduler', 'reaper'] });
  delays.enable();
  say({ kind: 'ready', url: house.url });
}

process.on('message', (message: HousePlace | 'take' | 'stop') => {
  if (message === 'take') setImmediate(() => say({ kind: 'spent', spent: take() }));
  else if (message === 'stop') void house.stop().then(() => process.exit(0));
  else void start(message);
});
