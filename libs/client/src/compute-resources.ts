/** What a task asks of its cluster, as people write it and as it is sent (spec/cli-and-gui.md C.3). */
import { JobmonError, RESOURCES_MAX } from '@jobmon/contracts';

export interface ComputeResources {
  /** Whole; digits as text are taken too. */
  cores?: number | string;
  /** A number is GiB; text has a unit: `512M`, `1.5G`, `2TiB`, `1048576KB`. Powers of 1024; fractions are kept. */
  memory?: number | string;
  /** A number is seconds; text is `90s`, `10m`, `2h` or `HH:MM:SS`. */
  runtime?: number | string;
  /** The cluster's default queue when absent. */
  queue?: string;
  /** The account that is charged, where a cluster has such. */
  project?: string;
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

/** Entries that are text. */
const TEXTS = ['queue', 'project', 'stdout', 'stderr'] as const;

/** Resources from the widest to the nearest giver; a nearer one replaces single entries. Throws MALFORMED with the rule. */
export function requestedResources(...givers: readonly (ComputeResources | undefined)[]): RequestedResources {
  const given: ComputeResources = {};
  for (const giver of givers) {
    for (const [name, value] of Object.entries(giver ?? {})) if (value !== undefined && value !== null) given[name] = value;
  }
  for (const name of TEXTS) {
    const text: unknown = given[name];
    if (text !== undefined && (typeof text !== 'string' || text.trim() === '')) {
      throw new JobmonError('MALFORMED', `${name} must be text, not ${shown(text)}`);
    }
  }
  const { queue, ...requested } = given;
  for (const [name, read] of Object.entries(READ)) if (requested[name] !== undefined) requested[name] = read(requested[name]);
  return { queue, requested };
}

const GIB_OF_UNIT: Readonly<Record<string, number>> = { B: 2 ** -30, K: 2 ** -20, M: 2 ** -10, G: 1, T: 2 ** 10 };

/** Memory in GiB. Throws MALFORMED with the rule. */
export function memoryGib(memory: unknown): number {
  const text = /^\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:i?B)?|(B))?\s*$/i.exec(String(memory));
  const gib =
    text === null || !isFigure(memory) ? NaN : Number(text[1]) * GIB_OF_UNIT[(text[2] ?? text[3] ?? 'G').toUpperCase()]!;
  if (gib > 0 && gib <= RESOURCES_MAX.memory) return gib;
  const rule = 'must be a number of GiB or text with a unit of B, K, M, G or T, such as 512M, above 0 and at most 1024T';
  throw new JobmonError('MALFORMED', `memory ${rule}, not ${shown(memory)}`);
}

const SECONDS_OF_UNIT: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600 };

/** Runtime in whole seconds, rounded up. Throws MALFORMED with the rule. */
export function runtimeSeconds(runtime: unknown): number {
  const text = isFigure(runtime) ? String(runtime).trim() : '';
  const clock = /^(\d+):([0-5]\d):([0-5]\d)$/.exec(text);
  const unit = /^(\d+(?:\.\d+)?)\s*([smh])?$/i.exec(text);
  let seconds = NaN;
  if (clock !== null) seconds = Number(clock[1]) * 3_600 + Number(clock[2]) * 60 + Number(clock[3]);
  else if (unit !== null) seconds = Math.ceil(Number(unit[1]) * SECONDS_OF_UNIT[(unit[2] ?? 's').toLowerCase()]!);
  if (seconds > 0 && seconds <= RESOURCES_MAX.runtime) return seconds;
  const rule = 'must be a number of seconds or text such as 90s, 10m, 2h or 01:30:00, above 0 and at most ten years';
  throw new JobmonError('MALFORMED', `runtime ${rule}, not ${shown(runtime)}`);
}

/** Cores: a whole number, or its digits. Throws MALFORMED with the rule. */
export function wholeCores(cores: unknown): number {
  const count = typeof cores === 'string' && /^\s*\d+\s*$/.test(cores) ? Number(cores) : cores;
  if (typeof count === 'number' && Number.isInteger(count) && count > 0 && count <= RESOURCES_MAX.cores) return count;
  throw new JobmonError('MALFORMED', `cores must be a whole number from 1 to ${RESOURCES_MAX.cores}, not ${shown(cores)}`);
}

/** How the figures of each resource are read, wherever they stand: asked for or scaled to. */
export const READ: Readonly<Record<'cores' | 'memory' | 'runtime', (value: unknown) => number>> = {
  cores: wholeCores,
  memory: memoryGib,
  runtime: runtimeSeconds,
};

function isFigure(value: unknown): value is number | string {
  return typeof value === 'number' || typeof value === 'string';
}

/** A refused value, briefly, so that NaN and functions can be told too. */
function shown(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
