/** What a task asks of its cluster, as people write it and as it is sent (spec/cli-and-gui.md C.3). */
import { JobmonError } from '@jobmon/contracts';

export interface ComputeResources {
  cores?: number;
  /** A number is GiB; text has a unit: `512M`, `1.5G`, `2TiB`, `1048576KB`. Powers of 1024; fractions are kept. */
  memory?: number | string;
  /** A number is seconds; text is `90s`, `10m`, `2h` or `HH:MM:SS`. */
  runtime?: number | string;
  /** The cluster's default queue when absent. */
  queue?: string;
  /** Folders for the output of the command. */
  stdout?: string;
  stderr?: string;
  /** Whatever else the cluster's plug-in knows. */
  [name: string]: unknown;
}

/** What is sent: `memory` in GiB, `runtime` in seconds, the queue beside it. */
export interface RequestedResources {
  readonly queue: string | undefined;
  readonly requested: Record<string, unknown>;
}

/** Resources from the widest to the nearest giver; a nearer one replaces single entries. Throws MALFORMED with the rule. */
export function requestedResources(...givers: readonly (ComputeResources | undefined)[]): RequestedResources {
  const { queue, memory, runtime, ...rest } = Object.assign({}, ...givers) as ComputeResources;
  const requested: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(rest)) if (value !== undefined) requested[name] = value;
  if (rest.cores !== undefined && !(Number.isInteger(rest.cores) && rest.cores > 0)) {
    throw new JobmonError('MALFORMED', `cores must be a whole number above 0, not ${JSON.stringify(rest.cores)}`);
  }
  if (memory !== undefined) requested.memory = memoryGib(memory);
  if (runtime !== undefined) requested.runtime = runtimeSeconds(runtime);
  return { queue, requested };
}

const GIB_OF_UNIT: Readonly<Record<string, number>> = { B: 2 ** -30, K: 2 ** -20, M: 2 ** -10, G: 1, T: 2 ** 10 };

/** Memory in GiB. */
export function memoryGib(memory: number | string): number {
  const text = /^\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:i?B)?|(B))?\s*$/i.exec(String(memory));
  const gib = text === null ? NaN : Number(text[1]) * GIB_OF_UNIT[(text[2] ?? text[3] ?? 'G').toUpperCase()]!;
  if (gib > 0 && Number.isFinite(gib)) return gib;
  const rule = 'must be a number of GiB or text with a unit of B, K, M, G or T, such as 512M';
  throw new JobmonError('MALFORMED', `memory ${rule}, not ${JSON.stringify(memory)}`);
}

const SECONDS_OF_UNIT: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600 };

/** Runtime in whole seconds, rounded up. */
export function runtimeSeconds(runtime: number | string): number {
  const text = String(runtime).trim();
  const clock = /^(\d+):([0-5]\d):([0-5]\d)$/.exec(text);
  const unit = /^(\d+(?:\.\d+)?)\s*([smh])?$/i.exec(text);
  let seconds = NaN;
  if (clock !== null) seconds = Number(clock[1]) * 3_600 + Number(clock[2]) * 60 + Number(clock[3]);
  else if (unit !== null) seconds = Math.ceil(Number(unit[1]) * SECONDS_OF_UNIT[(unit[2] ?? 's').toLowerCase()]!);
  if (seconds > 0 && Number.isSafeInteger(seconds)) return seconds;
  const rule = 'must be a number of seconds or text such as 90s, 10m, 2h or 01:30:00';
  throw new JobmonError('MALFORMED', `runtime ${rule}, not ${JSON.stringify(runtime)}`);
}
