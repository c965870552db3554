/** What tasks ask for is changed for their next attempts: new rows of resources, since a row is shared and never changes. */
import { JobmonError, LIMITED_RESOURCES, RESOURCES_MAX, type LimitedResource, type ResourceChange } from '@jobmon/contracts';
import { canonicalJson, idList, idsOfResources, updateRows, type Dialect, type Procedure } from '@jobmon/entities';
import { groupBy } from './transition';
import { arraysOf, requireTemplates } from './workflow-control';

/** A change with its queue found. */
interface FoundChange {
  readonly times: Partial<Record<LimitedResource, number | undefined>>;
  readonly set: Partial<Record<LimitedResource, number | undefined>>;
  /** Null: the task stays in its queue. */
  readonly queue_id: number | null;
}

/** The changes that each array's tasks are to go through, in order. */
export type ChangesByArray = ReadonlyMap<number, readonly FoundChange[]>;

/** @throws JobmonError MALFORMED for a template, cluster or queue that there is not, with those that there are */
export function* findChanges(workflowId: number, changes: readonly ResourceChange[]): Procedure<ChangesByArray> {
  if (changes.length === 0) return new Map();
  const arrays = yield* arraysOf(workflowId);
  requireTemplates(
    workflowId,
    arrays,
    changes.flatMap(({ task_template }) => task_template ?? []),
  );
  const read = yield {
    sql: 'SELECT q.id, q.name AS queue, c.name AS cluster FROM queue AS q JOIN cluster AS c ON c.id = q.cluster_id ORDER BY q.id',
  };
  const queues = read.rows as QueueRow[];
  const found = changes.map((change) => ({
    task_template: change.task_template,
    times: change.times ?? {},
    set: change.set ?? {},
    queue_id: change.set?.cluster === undefined ? null : queueOf(queues, change.set.cluster, change.set.queue),
  }));
  return new Map(
    arrays.map(({ id, template }) => [
      id,
      found.filter(({ task_template }) => task_template === undefined || task_template === template),
    ]),
  );
}

interface QueueRow {
  readonly id: number;
  readonly queue: string;
  readonly cluster: string;
}

function queueOf(queues: readonly QueueRow[], cluster: string, queue: string | undefined): number {
  const own = queues.filter((row) => row.cluster === cluster);
  const found = own.find((row) => queue === undefined || row.queue === queue);
  if (found !== undefined) return found.id;
  const there = own.length > 0 ? own.map((row) => row.queue) : [...new Set(queues.map((row) => row.cluster))];
  const what = own.length > 0 ? `queue '${queue}' on cluster '${cluster}'` : `cluster '${cluster}' with a queue`;
  throw new JobmonError('MALFORMED', `there is no ${what} (there are: ${there.slice(0, 20).join(', ')})`, {
    rule: own.length > 0 ? 'unknown_queue' : 'unknown_cluster',
  });
}

interface TaskRow {
  readonly id: number;
  readonly array_id: number | null;
  readonly task_resources_id: number | null;
}

interface ResourcesRow {
  readonly id: number;
  readonly queue_id: number | null;
  readonly requested_resources: string;
}

/** Changes these locked tasks: 3 to 6 statements for any number of them. */
export function* changeResources(dialect: Dialect, changes: ChangesByArray, taskIds: readonly number[]): Procedure<void> {
  if (changes.size === 0 || taskIds.length === 0) return;
  const list = idList(taskIds);
  const tasks = yield { sql: `SELECT id, array_id, task_resources_id FROM task WHERE id IN ${list.sql}`, params: list.params };
  const meant = (tasks.rows as TaskRow[]).filter(({ array_id }) => (changes.get(array_id ?? 0)?.length ?? 0) > 0);
  const groups = [...groupBy(meant, ({ array_id, task_resources_id }) => `${array_id}/${task_resources_id}`).values()];
  const before = yield* resourcesOf(groups.flatMap(([first]) => first?.task_resources_id ?? []));
  const wanted = groups.flatMap((group) => {
    const [first] = group as [TaskRow];
    const row = before.get(first.task_resources_id ?? 0);
    const all = changes.get(first.array_id ?? 0) ?? [];
    const queue_id = all.findLast((change) => change.queue_id !== null)?.queue_id ?? row?.queue_id ?? null;
    const text = canonicalJson(all.reduce(changed, objectIn(row?.requested_resources)));
    return queue_id === null ? [] : [{ group, row: { queue_id, type: 'A', text } as const }];
  });
  if (wanted.length === 0) return;
  const ids = yield* idsOfResources(
    dialect,
    wanted.map(({ row }) => row),
  );
  const rows = wanted.flatMap(({ group }, at) => group.map(({ id }) => ({ id, task_resources_id: ids[at] })));
  yield updateRows(dialect, {
    table: 'task',
    given: { id: 'int', task_resources_id: 'int' },
    rows,
    set: { task_resources_id: 'given.task_resources_id' },
    where: '1 = 1',
  });
}

function* resourcesOf(ids: readonly number[]): Procedure<ReadonlyMap<number, ResourcesRow>> {
  if (ids.length === 0) return new Map();
  const list = idList(ids);
  const read = yield {
    sql: `SELECT id, queue_id, requested_resources FROM task_resources WHERE id IN ${list.sql}`,
    params: list.params,
  };
  return new Map((read.rows as ResourcesRow[]).map((row) => [row.id, row]));
}

/** What other programs stored and cannot be read asks for nothing. */
function objectIn(text: string | undefined): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text ?? '{}');
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** Whole MiB are what memory is counted in. */
const MIB_PER_GIB = 1_024;

/** First times, then set. What a task does not ask for cannot be multiplied. */
function changed(requested: Record<string, unknown>, { times, set }: FoundChange): Record<string, unknown> {
  const after = { ...requested };
  for (const name of LIMITED_RESOURCES) {
    const factor = times[name];
    const asked = Number(requested[name]);
    if (factor !== undefined && asked > 0) {
      const product = asked * factor;
      const rounded = name === 'memory' ? Math.ceil(product * MIB_PER_GIB) / MIB_PER_GIB : Math.ceil(product);
      after[name] = Math.min(rounded, RESOURCES_MAX[name]);
    }
    if (set[name] !== undefined) after[name] = set[name];
  }
  return after;
}
