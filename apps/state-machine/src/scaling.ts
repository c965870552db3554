/**
 * What the next attempt of a task asks for. The first one asks for what the task asks for; a later one for what the attempt before it asked for,
 * and more of it when that was ended for its resources (task in A; spec/state-machines.md section 4). The task's own request stays as it is,
 * so that a reset begins with it again. Rows of resources never change: a larger request is another row (race 49).
 *
 * Scales and fallback queues are JSON when a native client or this house's v3 stored them, and Python's notation in rows of the Python
 * system; a scale that can't be read, such as a function's name, is the default.
 */
import {
  DEFAULT_RESOURCE_SCALES,
  RESOURCES_MAX,
  type LimitedResource,
  type ResourceScales,
  type TaskStatus,
} from '@jobmon/contracts';
import { canonicalJson, idList, idsOfResources, valueOf, type Dialect, type Procedure } from '@jobmon/entities';
import { ascending, groupBy } from './transition';

/** A locked task with what its next attempt needs. */
export interface ReadyTask {
  readonly id: number;
  readonly array_id: number;
  readonly task_resources_id: number;
  readonly num_attempts: number;
  readonly status: TaskStatus;
}

/** A queue with the least and the most of each resource that it takes; what it does not name it takes any amount of. */
export interface QueueLimits {
  readonly id: number;
  readonly limits: ReadonlyMap<string, readonly [min: number, max: number]>;
}

export type Requested = Readonly<Record<string, unknown>>;

/** Growth of a scale that can't be read. */
const SCALE_DEFAULT = 0.5;
const MIB_PER_GIB = 1_024;

/** A product of fractions is a little more or less than it should be, and must not be rounded up for that. */
const roundedUp = (value: number): number => Math.ceil(value - 1e-6);

/**
 * The request after its growth. A number s makes an amount (1 + s) times as large, memory in whole MiB, others whole where they were; a list holds
 * the amounts of the second attempt, the third, and so on, its last one of all later ones. What was not asked for stays so.
 *
 * @param num_attempts attempts so far, at least 1
 */
export function scaled(requested: Requested, scales: ResourceScales, num_attempts: number): Requested {
  const larger: Record<string, unknown> = { ...requested };
  for (const [name, scale] of Object.entries(scales)) {
    const asked = amountIn(requested[name]);
    if (asked === null) continue;
    const amount = Array.isArray(scale) ? scale[Math.min(num_attempts, scale.length) - 1] : grown(name, asked, scale);
    larger[name] = Math.min(amount ?? asked, RESOURCES_MAX[name as LimitedResource] ?? Number.MAX_SAFE_INTEGER);
  }
  return larger;
}

function grown(name: string, asked: number, scale: number): number {
  const product = asked * (1 + scale);
  if (name === 'memory') return roundedUp(product * MIB_PER_GIB) / MIB_PER_GIB;
  return name === 'runtime' || Number.isInteger(asked) ? roundedUp(product) : product;
}

/** The queue of a request: the first that takes it as it is; when none does, the last one, and the request is cut to what that takes. */
export function placed(requested: Requested, queues: readonly [QueueLimits, ...QueueLimits[]]): [QueueLimits, Requested] {
  const found = queues.find((queue) => cut(requested, queue) === requested);
  if (found !== undefined) return [found, requested];
  const last = queues.at(-1) as QueueLimits;
  return [last, cut(requested, last)];
}

/** The request within the limits of a queue: the very same one when it is within them. */
function cut(requested: Requested, { limits }: QueueLimits): Requested {
  const beyond = [...limits].flatMap(([name, [min, max]]): [string, number][] => {
    const asked = amountIn(requested[name]);
    return asked === null || (asked >= min && asked <= max) ? [] : [[name, Math.min(Math.max(asked, min), max)]];
  });
  return beyond.length === 0 ? requested : { ...requested, ...Object.fromEntries(beyond) };
}

/** An amount of a resource; other programs stored some as text. */
function amountIn(value: unknown): number | null {
  const amount = typeof value === 'number' || typeof value === 'string' ? Number(value) : Number.NaN;
  return Number.isFinite(amount) && amount > 0 ? amount : null;
}

function objectIn(text: string | null): Record<string, unknown> | null {
  const value = text === null ? undefined : valueOf(text);
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
}

/** Stored scales. */
export function scalesIn(text: string | null): ResourceScales {
  const stored = objectIn(text);
  if (stored === null) return DEFAULT_RESOURCE_SCALES;
  const scaleIn = (value: unknown): number | number[] => {
    if (typeof value === 'number' && value >= 0) return value;
    const list = Array.isArray(value) ? value.map(amountIn) : [];
    return list.length > 0 && list.every((amount) => amount !== null) ? list : SCALE_DEFAULT;
  };
  return Object.fromEntries(Object.entries(stored).map(([name, value]) => [name, scaleIn(value)]));
}

/** Names of stored fallback queues. */
export function fallbackQueuesIn(text: string | null): string[] {
  const value = text === null ? undefined : valueOf(text);
  return Array.isArray(value) ? value.filter((name) => typeof name === 'string') : [];
}

/** Stored parameters of a queue: `{"cores": [1, 20]}`, or a number for the most that it takes. */
export function limitsIn(text: string | null): QueueLimits['limits'] {
  const limits = new Map<string, readonly [number, number]>();
  for (const [name, value] of Object.entries(objectIn(text) ?? {})) {
    const [min, max] = Array.isArray(value) ? value : [0, value];
    if (typeof min === 'number' && typeof max === 'number' && min <= max) limits.set(name, [min, max]);
  }
  return limits;
}

interface Retried {
  readonly id: number;
  readonly num_attempts: number;
  readonly status: string;
  readonly resource_scales: string | null;
  readonly fallback_queues: string | null;
  readonly task_resources_id: number;
}

/** These locked, ready tasks with the resources of their next attempts: none to seven statements for any number of them. */
export function* withNextResources(dialect: Dialect, tasks: readonly ReadyTask[]): Procedure<ReadyTask[]> {
  const again = tasks.filter(({ num_attempts }) => num_attempts > 0).map(({ id }) => id);
  if (again.length === 0) return [...tasks];
  const list = idList(ascending(again));
  const read = yield {
    sql:
      'SELECT t.id, t.num_attempts, t.status, t.resource_scales, t.fallback_queues, ' +
      'COALESCE(ti.task_resources_id, t.task_resources_id) AS task_resources_id FROM task AS t ' +
      `LEFT JOIN task_instance AS ti ON ti.id = t.current_task_instance_id WHERE t.id IN ${list.sql}`,
    params: list.params,
  };
  const retried = read.rows as Retried[];
  const next = new Map(retried.map(({ id, task_resources_id }) => [id, task_resources_id]));
  const short = retried.filter(({ status }) => status === 'A');
  for (const [id, larger] of yield* largerResources(dialect, short)) next.set(id, larger);
  return tasks.map((task) => ({ ...task, task_resources_id: next.get(task.id) ?? task.task_resources_id }));
}

interface ResourcesRow {
  readonly id: number;
  readonly queue_id: number | null;
  readonly requested_resources: string;
}

interface QueueRow {
  readonly id: number;
  readonly name: string;
  readonly cluster_id: number;
  readonly parameters: string | null;
}

/** Rows of resources, found or made, for tasks whose attempt was ended for its resources. */
function* largerResources(dialect: Dialect, tasks: readonly Retried[]): Procedure<Map<number, number>> {
  if (tasks.length === 0) return new Map();
  const list = idList(ascending(tasks.map(({ task_resources_id }) => task_resources_id)));
  const base = yield {
    sql: `SELECT id, queue_id, requested_resources FROM task_resources WHERE id IN ${list.sql}`,
    params: list.params,
  };
  const resources = new Map((base.rows as ResourcesRow[]).map((row) => [row.id, row]));
  // All queues: some tens at most.
  const queues = (yield { sql: 'SELECT id, name, cluster_id, parameters FROM queue ORDER BY id' }).rows as QueueRow[];
  const groups = groupBy(tasks, (task) =>
    JSON.stringify([task.task_resources_id, task.num_attempts, task.resource_scales, task.fallback_queues]),
  );
  const wanted = [...groups.values()].flatMap((group) => {
    const [task] = group as [Retried];
    const row = resources.get(task.task_resources_id);
    const own = queues.find(({ id }) => id === row?.queue_id);
    const requested = objectIn(row?.requested_resources ?? null);
    if (own === undefined || requested === null) return [];
    const fallbacks = fallbackQueuesIn(task.fallback_queues).flatMap(
      (name) => queues.find((queue) => queue.cluster_id === own.cluster_id && queue.name === name) ?? [],
    );
    const limited = ({ id, parameters }: QueueRow): QueueLimits => ({ id, limits: limitsIn(parameters) });
    const larger = scaled(requested, scalesIn(task.resource_scales), task.num_attempts);
    const [queue, placedRequest] = placed(larger, [limited(own), ...fallbacks.map(limited)]);
    return [{ group, row: { queue_id: queue.id, type: 'A', text: canonicalJson(placedRequest) } as const }];
  });
  const ids = yield* idsOfResources(
    dialect,
    wanted.map(({ row }) => row),
  );
  return new Map(wanted.flatMap(({ group }, at) => group.map(({ id }): [number, number] => [id, ids[at] as number])));
}
