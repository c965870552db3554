/** Sums of what pods ask for, and whether a quota has room for them. Pure: nothing here asks a cluster. */
import type { KubernetesObject } from './kubernetes';

interface Resources {
  readonly requests?: Readonly<Record<string, string | number>>;
  readonly limits?: Readonly<Record<string, string | number>>;
}

/** Of a pod's specification, what is reckoned here. */
export interface PodSpec {
  readonly containers: readonly { readonly resources?: Resources }[];
  readonly initContainers?: readonly { readonly resources?: Resources }[];
}

/** Pods of one kind: how many there are at least, at most, and how many more while they are replaced. */
export interface PodGroup {
  readonly name: string;
  readonly spec: PodSpec;
  readonly pods_min: number;
  readonly pods_max: number;
  /** New ones that stand beside the old ones during an upgrade. */
  readonly surge: number;
  /** Comes and goes alone (a migration, a test), so of all of these the largest counts. */
  readonly isPassing: boolean;
}

/** What a quota misses. */
export interface Lack {
  /** As the quota names it: `requests.cpu`. */
  readonly name: string;
  readonly needed: number;
  readonly free: number;
  /** The bound that has room for it. */
  readonly hard_needed: number;
}

const SUFFIXES: Readonly<Record<string, number>> = {
  ...{ n: 1e-9, u: 1e-6, m: 1e-3, '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18 },
  ...{ Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60 },
};
/** Names under which a quota bounds the same. */
const MEASURES: Readonly<Record<string, keyof Measured>> = {
  ...{ pods: 'pods', 'count/pods': 'pods', cpu: 'requests.cpu', memory: 'requests.memory' },
  ...{ 'requests.cpu': 'requests.cpu', 'requests.memory': 'requests.memory' },
  ...{ 'limits.cpu': 'limits.cpu', 'limits.memory': 'limits.memory' },
};
/** Cores, bytes and pods, by their names in a quota. */
export interface Measured {
  readonly pods: number;
  readonly 'requests.cpu': number;
  readonly 'requests.memory': number;
  readonly 'limits.cpu': number;
  readonly 'limits.memory': number;
}
const NOTHING: Measured = { pods: 0, 'requests.cpu': 0, 'requests.memory': 0, 'limits.cpu': 0, 'limits.memory': 0 };
const NAMES = Object.keys(NOTHING) as (keyof Measured)[];

/** `250m`, `1Gi`, `2e3` as a number of cores, bytes or pods. @throws Error for what is none */
export function quantity(text: string | number): number {
  const [, digits, suffix = ''] = /^([+-]?[0-9.]+(?:[eE][+-]?\d+)?)([A-Za-z]*)$/.exec(String(text).trim()) ?? [];
  const [amount, unit] = [Number(digits), SUFFIXES[suffix]];
  if (digits === undefined || unit === undefined || !Number.isFinite(amount)) throw new Error(`${text} is no quantity`);
  return amount * unit;
}

/** A number as it is written: cores as `250m`, bytes as `512Mi`, rounded up. */
export function written(name: string, amount: number): string {
  // A sum of thousandths is not exact.
  if (name.endsWith('cpu')) return `${Math.ceil(amount * 1_000 - 1e-6)}m`;
  return name.endsWith('memory') ? `${Math.ceil(amount / 2 ** 20)}Mi` : String(Math.ceil(amount));
}

/** What a pod takes of a quota: all its containers, or the largest that runs before them. */
export function askedBy({ containers, initContainers = [] }: PodSpec): Measured {
  const all = containers.map(({ resources }) => measured(resources)).reduce(plus, NOTHING);
  const before = initContainers.map(({ resources }) => measured(resources)).reduce(larger, NOTHING);
  return { ...larger(all, before), pods: 1 };
}

/** What a release takes: at least, with the new pods of an upgrade beside the old ones; and when autoscaling has started all it may. */
export function askedByAll(groups: readonly PodGroup[]): { least: Measured; most: Measured } {
  const standing = groups.filter(({ isPassing, pods_max }) => !isPassing && pods_max > 0);
  const sum = (pods: 'pods_min' | 'pods_max'): Measured =>
    standing.map((group) => times(askedBy(group.spec), group[pods] + group.surge)).reduce(plus, NOTHING);
  const passing = groups.filter(({ isPassing }) => isPassing).map(({ spec }) => askedBy(spec));
  const extra = passing.reduce(larger, NOTHING);
  return { least: plus(sum('pods_min'), extra), most: plus(sum('pods_max'), extra) };
}

/** What these pods take now; those that have ended take nothing. */
export function takenBy(pods: readonly KubernetesObject[]): Measured {
  return pods
    .filter(({ status }) => !['Succeeded', 'Failed'].includes(status?.phase))
    .map(({ spec }) => askedBy(spec as PodSpec))
    .reduce(plus, NOTHING);
}

/**
 * What a ResourceQuota lacks for `asked`, where `own` of what is used already is the release's own, and is counted anew. A quota for some pods only
 * (by scopes) is no bound for all of them and lacks nothing here.
 */
export function lacks({ spec, status }: KubernetesObject, asked: Measured, own: Measured): Lack[] {
  if (spec.scopes !== undefined || spec.scopeSelector !== undefined) return [];
  return Object.entries((spec.hard ?? {}) as Record<string, string>).flatMap(([name, hard]) => {
    const measure = MEASURES[name];
    if (measure === undefined) return [];
    const others = Math.max(0, quantity(status?.used?.[name] ?? 0) - own[measure]);
    const [needed, free] = [asked[measure], quantity(hard) - others];
    return needed <= free + 1e-9 ? [] : [{ name, needed, free: Math.max(0, free), hard_needed: others + needed }];
  });
}

function measured({ requests, limits }: Resources = {}): Measured {
  const of = (name: string, ...lists: (Resources['limits'] | undefined)[]): number =>
    quantity(lists.map((list) => list?.[name]).find((amount) => amount !== undefined) ?? 0);
  return {
    pods: 0,
    'requests.cpu': of('cpu', requests, limits),
    'requests.memory': of('memory', requests, limits),
    'limits.cpu': of('cpu', limits),
    'limits.memory': of('memory', limits),
  };
}

const each = (of: (name: keyof Measured) => number): Measured =>
  Object.fromEntries(NAMES.map((name) => [name, of(name)])) as unknown as Measured;
const plus = (a: Measured, b: Measured): Measured => each((name) => a[name] + b[name]);
const larger = (a: Measured, b: Measured): Measured => each((name) => Math.max(a[name], b[name]));
const times = (a: Measured, count: number): Measured => each((name) => a[name] * count);
