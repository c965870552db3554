/**
 * What the instances of a template version used (L3, which is C15; spec/http-api-inspection.md section 3). Instances are read in ranges, five
 * numbers of each are kept, and the statistics are made of those: percentiles need every value anyway, and both databases then
 * answer the same digits. Points for the screen are a second reading, of the chosen instances only.
 */
import { JobmonError, type getResourceUsage, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import type { Database, SqlValue } from '@jobmon/entities';
import type { Room } from '../context';
import { isoDate, numberIn, resourcesIn } from './wire-value';
import { summarize, type Summary } from './statistics';
import { taskRanges, type ArrayOfTasks } from './task-range';

type Request = RequestOf<typeof getResourceUsage>;
type Reply = ReplyOf<typeof getResourceUsage>;
type Point = NonNullable<Reply['result_viz']>[number];

/** Statuses of the population: what ran to an end of its own. An instance that was stopped (K) or never started (W) tells nothing. */
const ENDED = "('D', 'Z', 'X', 'U', 'F', 'E')";
/** Instances that statistics are made of, those of the newest workflows first: half a million take about two seconds. */
const INSTANCES_MAX = 500_000;
/** Rows of one statement that reads commands, each of up to 64 KiB. */
const POINTS_AT_ONCE = 1_000;
/** A list of points ends early when their commands are long, so that no answer outgrows the memory. */
const POINTS_BYTES_MAX = 64 * 1024 * 1024;
/** Ids looked up in one statement. */
const IDS_AT_ONCE = 5_000;
const GIB = 1024 ** 3;

/** One instance as the statistics see it: seconds and bytes, null when nothing was reported. */
interface Used {
  readonly id: number;
  readonly task_resources_id: number;
  /** 1 for the first of its task among those selected. */
  readonly rank: number;
  readonly runtime: number | null;
  readonly memory: number | null;
}

export async function findResourceUsage({ database }: Room, request: Request): Promise<Reply> {
  const arrays = await arraysOf(database, request);
  const { instances, isCut } = await readInstances(database, arrays, await argFilter(database, request.node_args ?? {}));
  const confidence = request.ci ?? null;
  const runtimes = Float64Array.from(instances.flatMap(({ runtime }) => (runtime !== null && runtime > 0 ? [runtime] : [])));
  const memories = Float64Array.from(instances.flatMap(({ memory }) => (memory !== null && memory > 0 ? [memory] : [])));
  const runtime = summarize(runtimes, confidence);
  const memory = summarize(memories, confidence);
  const hasMemory = instances.some((instance) => instance.memory !== null);
  const count = instances.length > 0 || (await hasTasks(database, request.task_template_version_id)) ? instances.length : null;
  const requested = await requestedResources(
    database,
    instances.map(({ task_resources_id }) => task_resources_id),
  );
  const points = request.viz ? await readPoints(database, instances, requested, request.max_points) : null;
  const statistics = {
    num_tasks: count,
    ...memoryFigures(memory, hasMemory),
    min_runtime: Math.trunc(runtime?.min ?? 0),
    max_runtime: Math.trunc(runtime?.max ?? 0),
    mean_runtime: runtime?.mean ?? 0,
    median_runtime: runtime?.median ?? 0,
    ci_mem: memory?.interval ?? null,
    ci_runtime: runtime?.interval ?? null,
  };
  const { min_mem, max_mem, mean_mem, median_mem } = statistics;
  return {
    ...statistics,
    num_task_instances: count,
    mem_percentiles: memory?.percentiles ?? null,
    runtime_percentiles: runtime?.percentiles ?? null,
    ...utilization(instances, requested),
    result_viz: points,
    sampled: isCut || (points !== null && points.length < instances.length),
    formatted_stats: {
      ...statistics,
      min_mem: min_mem === null ? null : `${min_mem}B`,
      max_mem: max_mem === null ? null : `${max_mem}B`,
      mean_mem: mean_mem === null ? null : `${floatText(mean_mem)}B`,
      median_mem: median_mem === null ? null : `${floatText(median_mem)}B`,
    },
  };
}

/** Null where no instance told its memory; 0 where all told 0 or less. */
function memoryFigures(memory: Summary | undefined, hasMemory: boolean) {
  if (memory === undefined) {
    const none = hasMemory ? 0 : null;
    return { min_mem: none, max_mem: none, mean_mem: none, median_mem: none };
  }
  const { min, max, mean, median } = memory;
  return { min_mem: Math.trunc(min), max_mem: Math.trunc(max), mean_mem: mean, median_mem: median };
}

/** A number as Python writes a float: `450.0`. */
function floatText(value: number): string {
  if (Math.abs(value) >= 1e16) return value.toExponential();
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

/** Arrays of the version, the newest first. */
async function arraysOf(database: Database, { task_template_version_id, workflows }: Request): Promise<ArrayOfTasks[]> {
  const [version] = await database.read('SELECT id FROM task_template_version WHERE id = ?', [task_template_version_id]);
  if (version === undefined) {
    throw new JobmonError('NOT_FOUND', `there is no task template version ${task_template_version_id}`);
  }
  const arrays = await database.read<ArrayOfTasks>(
    'SELECT id, workflow_id FROM array WHERE task_template_version_id = ? AND workflow_id IS NOT NULL ORDER BY id DESC',
    [task_template_version_id],
  );
  if (workflows === null || workflows === undefined || workflows.length === 0) return arrays;
  const wanted = new Set(workflows);
  return arrays.filter(({ workflow_id }) => wanted.has(workflow_id));
}

async function hasTasks(database: Database, task_template_version_id: number): Promise<boolean> {
  const [task] = await database.read(
    'SELECT t.id AS id FROM array a JOIN task t ON t.array_id = a.id WHERE a.task_template_version_id = ? LIMIT 1',
    [task_template_version_id],
  );
  return task !== undefined;
}

interface Filter {
  readonly where: string;
  readonly params: readonly SqlValue[];
}

/** A condition on the node of a task `t`: for each name one of its values. A name that nobody ever used is true of no node. */
async function argFilter(database: Database, node_args: Readonly<Record<string, readonly string[]>>): Promise<Filter> {
  const names = Object.keys(node_args);
  if (names.length === 0) return { where: '', params: [] };
  const rows = await database.read<{ id: number; name: string }>(
    `SELECT id, name FROM arg WHERE name IN (${names.map(() => '?').join(', ')})`,
    names,
  );
  const ids = new Map(rows.map(({ id, name }) => [name, id]));
  const parts = Object.entries(node_args).map(([name, values]): Filter => {
    const arg_id = ids.get(name);
    if (arg_id === undefined || values.length === 0) return { where: ' AND 1 = 0', params: [] };
    return {
      where: ` AND EXISTS (SELECT 1 FROM node_arg na WHERE na.node_id = t.node_id AND na.arg_id = ?
                             AND na.val IN (${values.map(() => '?').join(', ')}))`,
      params: [arg_id, ...values],
    };
  });
  return { where: parts.map((part) => part.where).join(''), params: parts.flatMap((part) => part.params) };
}

/** The selected instances, of each task in the order of their ids. */
async function readInstances(database: Database, arrays: readonly ArrayOfTasks[], filter: Filter) {
  const instances: Used[] = [];
  for await (const range of taskRanges(database, arrays)) {
    if (instances.length >= INSTANCES_MAX) return { instances, isCut: true };
    const rows = await database.read<{
      id: number;
      task_id: number;
      wallclock: string | null;
      maxrss: string | null;
      task_resources_id: number;
    }>(
      `SELECT ti.id AS id, t.id AS task_id, ti.wallclock AS wallclock, ti.maxrss AS maxrss, ti.task_resources_id AS task_resources_id
         FROM task t ${database.dialect.joinInOrder} task_instance ti ON ti.task_id = t.id
        WHERE ${range.where} AND ti.status IN ${ENDED}${filter.where}`,
      [...range.params, ...filter.params],
    );
    rows.sort((a, b) => a.task_id - b.task_id || a.id - b.id);
    let task_id = 0;
    let rank = 0;
    for (const row of rows) {
      rank = row.task_id === task_id ? rank + 1 : 1;
      task_id = row.task_id;
      const { id, task_resources_id } = row;
      instances.push({ id, task_resources_id, rank, runtime: numberIn(row.wallclock), memory: numberIn(row.maxrss) });
    }
  }
  return { instances, isCut: false };
}

/** As many points as are wanted, chosen evenly: the same instances each time. */
async function readPoints(
  database: Database,
  instances: readonly Used[],
  requested: ReadonlyMap<number, string>,
  max_points: number,
): Promise<Point[]> {
  const { dialect } = database;
  const count = Math.min(max_points, instances.length);
  const chosen = Array.from({ length: count }, (_, nth) => instances[Math.floor((nth * instances.length) / count)]!);
  const points: Point[] = [];
  let bytes = 0;
  for (let from = 0; from < count && bytes < POINTS_BYTES_MAX; from += POINTS_AT_ONCE) {
    const piece = chosen.slice(from, from + POINTS_AT_ONCE);
    const rows = await database.read<PointRow>(
      `SELECT ti.id AS id, t.node_id AS node_id, t.id AS task_id, t.name AS task_name, ti.status AS status, t.status_date AS status_date,
              t.command AS command, t.num_attempts AS num_attempts, t.max_attempts AS max_attempts
         FROM ${dialect.jsonRows('given', { id: 'int' })}
         ${dialect.joinInOrder} task_instance ti ON ti.id = given.id
         ${dialect.joinInOrder} task t ON t.id = ti.task_id`,
      [JSON.stringify(piece.map(({ id }) => ({ id })))],
    );
    const byId = new Map(rows.map((row) => [row.id, row]));
    for (const used of piece) {
      const row = byId.get(used.id);
      if (row === undefined) continue;
      points.push({
        r: used.runtime,
        m: used.memory,
        node_id: row.node_id,
        task_id: row.task_id,
        task_name: row.task_name,
        requested_resources: requested.get(used.task_resources_id) ?? null,
        attempt_number_of_instance: used.rank,
        status: row.status,
        task_status_date: isoDate(row.status_date),
        task_command: row.command,
        task_num_attempts: row.num_attempts,
        task_max_attempts: row.max_attempts,
      });
      bytes += row.command.length;
    }
  }
  return points;
}

interface PointRow {
  readonly id: number;
  readonly node_id: number | null;
  readonly task_id: number;
  readonly task_name: string;
  readonly status: string;
  readonly status_date: string | null;
  readonly command: string;
  readonly num_attempts: number;
  readonly max_attempts: number;
}

/** The requested resources by their ids, as they are stored. */
export async function requestedResources(
  database: Database,
  task_resources_ids: readonly number[],
): Promise<Map<number, string>> {
  const ids = [...new Set(task_resources_ids)];
  const requested = new Map<number, string>();
  for (let from = 0; from < ids.length; from += IDS_AT_ONCE) {
    const rows = await database.read<{ id: number; requested_resources: string }>(
      `SELECT tr.id AS id, tr.requested_resources AS requested_resources
         FROM ${database.dialect.jsonRows('given', { id: 'int' })} ${database.dialect.joinInOrder} task_resources tr ON tr.id = given.id`,
      [JSON.stringify(ids.slice(from, from + IDS_AT_ONCE).map((id) => ({ id })))],
    );
    for (const { id, requested_resources } of rows) requested.set(id, requested_resources);
  }
  return requested;
}

/** Means of used / requested: memory is requested in GiB, time in seconds. */
function utilization(instances: readonly Used[], requested: ReadonlyMap<number, string>) {
  const asked = new Map(
    [...requested].map(([id, text]) => {
      const { memory, runtime } = resourcesIn(text);
      return [id, { memory: numberIn(memory), runtime: numberIn(runtime) }];
    }),
  );
  const mem: number[] = [];
  const runtime: number[] = [];
  for (const used of instances) {
    const resources = asked.get(used.task_resources_id);
    if (used.memory !== null && used.memory > 0 && resources?.memory) mem.push(used.memory / (resources.memory * GIB));
    if (used.runtime !== null && used.runtime > 0 && resources?.runtime) runtime.push(used.runtime / resources.runtime);
  }
  const mean = (values: readonly number[]): number | null =>
    values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
  return { mem_utilization: mean(mem), runtime_utilization: mean(runtime) };
}
