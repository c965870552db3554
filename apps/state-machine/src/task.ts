/**
 * Queueing: the one place where task instances are made, and so the place where the limits of server runs are kept. Everything
 * happens under the workflow's lock: only queueing raises the number of live instances, so a count taken there can only be too
 * high, never too low (design rule 5.8).
 */
import {
  Actor,
  Driver,
  historyReasonOf,
  JobmonError,
  LIMIT_NONE,
  LIVE_TASK_INSTANCE_STATUSES,
  type queueTasks,
  type ReplyOf,
  type RequestOf,
  type TaskStatus,
  type WorkflowRunStatus,
} from '@jobmon/contracts';
import { idList, instancesByStatus, lockRows, updateRows, type Dialect, type Procedure } from '@jobmon/entities';
import { insertHistory, TaskStatusCounts } from './record';
import { withNextResources, type ReadyTask } from './scaling';
import { guarded } from './guard';
import { ascending, type Asker } from './transition';
import { isLeaseLost } from './workflow-run-lease';

const SCHEDULER: Asker = { actor: Actor.SCHEDULER, reason: historyReasonOf('task.queue') };

export interface Queued {
  readonly reply: ReplyOf<typeof queueTasks>;
  readonly workflow_id: number;
  /** Tasks that this call queued; empty for a repeat. */
  readonly queued: number[];
}

/** One attempt to insert: its task, its batch and its place in it. */
interface Place {
  readonly task: ReadyTask;
  readonly array_batch_num: number;
  readonly array_step_id: number;
}

/**
 * Queues tasks of a running server run: G or A→Q, one attempt more, an instance in Q, the fence set. Tasks that stand
 * elsewhere are answered as they stand, so a repeat has no second effect. Tasks of another workflow, or without array or
 * resources, refuse the request. A run that is not RUNNING, that is paused, that a client drives, or that another scheduler has
 * leased since, queues nothing. 13 statements for any number of tasks, one more when a limit is set, and those of `withNextResources` when some of them were tried before.
 */
export function* queue(dialect: Dialect, writer: string, request: RequestOf<typeof queueTasks>): Procedure<Queued> {
  const run = yield* lockRun(dialect, request.workflow_run_id);
  const is_lease_lost = yield* isLeaseLost(dialect, run.id, request.fence);
  const tasks = yield* lockTasks(dialect, request.task_ids, (task) => task.workflow_id === run.workflow_id);
  refuseStrangers(run.workflow_id, request.task_ids, tasks.rows);
  const answer = (queued: number[], heldBack: number[]): Queued => ({
    reply: { statuses: request.task_ids.map((id) => [id, tasks.statuses.get(id) as TaskStatus]), held_back: heldBack },
    workflow_id: run.workflow_id,
    queued,
  });
  if (is_lease_lost) return withLeaseLost(answer([], []));
  if (run.driver !== Driver.SERVER || run.status !== 'R' || run.is_paused === 1) return answer([], []);

  const ready = inRequestOrder(request.task_ids, tasks.rows).filter(isReady);
  const { taken, heldBack } = yield* withinLimits(run, tasks.array_limits, ready);
  if (taken.length === 0) return answer([], heldBack);
  yield* makeAttempts(dialect, writer, run, yield* withNextResources(dialect, taken), SCHEDULER);
  for (const task of taken) tasks.statuses.set(task.id, 'Q');
  return answer(ascending(taken.map(({ id }) => id)), heldBack);
}

const withLeaseLost = (done: Queued): Queued => ({ ...done, reply: { ...done.reply, is_lease_lost: true } });

/** Whether a task may be queued. */
export const isReady = (task: ReadyTask): boolean => task.status === 'G' || task.status === 'A';

/** An instance in Q for each of these locked, ready tasks, in batches by array and resources; the tasks follow. 5 statements or 6. */
export function* makeAttempts(
  dialect: Dialect,
  writer: string,
  run: LockedRun,
  taken: readonly ReadyTask[],
  asker: Asker,
): Procedure<void> {
  const places = yield* placesOf(taken);
  yield* insertInstances(dialect, run.id, places);
  yield* moveTasks(dialect, writer, run.workflow_id, places, asker);
}

/** A run under its lock and its workflow's. */
export interface LockedRun {
  readonly id: number;
  readonly workflow_id: number;
  readonly status: WorkflowRunStatus;
  readonly driver: string | null;
  readonly is_paused: number | null;
  readonly limit: number;
}

/** @throws JobmonError NOT_FOUND */
export function* lockRun(dialect: Dialect, runId: number): Procedure<LockedRun> {
  const [found] = (yield { sql: 'SELECT workflow_id FROM workflow_run WHERE id = ?', params: [runId] }).rows as {
    workflow_id: number;
  }[];
  if (found === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow run ${runId}`);
  const [workflow] = (yield lockRows(dialect, 'workflow', 'id, max_concurrently_running', [found.workflow_id])).rows as {
    max_concurrently_running: number | null;
  }[];
  const [run] = (yield lockRows(dialect, 'workflow_run', 'id, workflow_id, status, driver, is_paused', [runId]))
    .rows as LockedRun[];
  if (run === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow run ${runId}`);
  return { ...run, limit: workflow?.max_concurrently_running ?? LIMIT_NONE };
}

interface LockedTasks {
  /** The tasks that were locked, by id. */
  readonly rows: ReadyTask[];
  readonly array_limits: ReadonlyMap<number, number>;
  /** Where every task stands that was asked about and exists, locked or not. */
  readonly statuses: Map<number, TaskStatus>;
}

/** Locks the arrays of those that are `mine`, then these tasks; an array never changes its task, so it is found without locks. */
export function* lockTasks(
  dialect: Dialect,
  taskIds: readonly number[],
  isMine: (task: { readonly workflow_id: number | null; readonly array_id: number | null }) => boolean,
): Procedure<LockedTasks> {
  const list = idList(ascending(taskIds));
  const found = (yield { sql: `SELECT id, array_id, workflow_id, status FROM task WHERE id IN ${list.sql}`, params: list.params })
    .rows as { id: number; array_id: number | null; workflow_id: number | null; status: TaskStatus }[];
  const statuses = new Map(found.map((row) => [row.id, row.status]));
  const mine = found.filter(isMine);
  if (mine.length === 0) return { rows: [], array_limits: new Map(), statuses };
  const arrayIds = ascending(mine.map((row) => row.array_id).filter((id): id is number => id !== null));
  const arrays = (yield lockRows(dialect, 'array', 'id, max_concurrently_running', arrayIds)).rows as {
    id: number;
    max_concurrently_running: number;
  }[];
  const ids = ascending(mine.map(({ id }) => id));
  const rows = (yield lockRows(dialect, 'task', 'id, array_id, task_resources_id, num_attempts, status', ids))
    .rows as ReadyTask[];
  for (const row of rows) statuses.set(row.id, row.status);
  return { rows, array_limits: new Map(arrays.map((row) => [row.id, row.max_concurrently_running])), statuses };
}

/** @throws JobmonError NOT_FOUND for tasks of other workflows or of none, CONFLICT for those without array or resources. */
function refuseStrangers(workflowId: number, taskIds: readonly number[], own: readonly ReadyTask[]): void {
  const known = new Set(own.map(({ id }) => id));
  const foreign = ascending(taskIds).filter((id) => !known.has(id));
  if (foreign.length > 0) {
    throw new JobmonError('NOT_FOUND', `workflow ${workflowId} has no task ${foreign.slice(0, 20).join(', ')}`, {
      task_ids: foreign,
    });
  }
  const homeless = own.filter((task) => task.array_id === null || task.task_resources_id === null).map(({ id }) => id);
  if (homeless.length > 0) {
    throw new JobmonError('CONFLICT', `no array or no resources: task ${homeless.slice(0, 20).join(', ')}`, {
      task_ids: homeless,
    });
  }
}

/** The tasks in the order they were asked for: the scheduler asks by priority, and limits are filled in that order. */
function inRequestOrder(taskIds: readonly number[], tasks: readonly ReadyTask[]): ReadyTask[] {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  return [...new Set(taskIds)].map((id) => byId.get(id)).filter((task): task is ReadyTask => task !== undefined);
}

/** Splits ready tasks into those that the limits of workflow and arrays let in, and those that wait. */
function* withinLimits(
  run: LockedRun,
  arrayLimits: ReadonlyMap<number, number>,
  ready: readonly ReadyTask[],
): Procedure<{ taken: ReadyTask[]; heldBack: number[] }> {
  const hasLimit = run.limit < LIMIT_NONE || [...arrayLimits.values()].some((limit) => limit < LIMIT_NONE);
  if (!hasLimit || ready.length === 0) return { taken: [...ready], heldBack: [] };
  const live = instancesByStatus('live', 'ti.array_id', LIVE_TASK_INSTANCE_STATUSES, {
    sql: 'wr.workflow_id = ?',
    params: [run.workflow_id],
  });
  const read = yield { sql: `SELECT array_id, COUNT(*) AS n FROM ${live.sql} GROUP BY array_id`, params: live.params };
  const counts = new Map((read.rows as { array_id: number; n: number }[]).map((row) => [row.array_id, Number(row.n)]));
  let total = [...counts.values()].reduce((sum, n) => sum + n, 0);
  const taken: ReadyTask[] = [];
  const heldBack: number[] = [];
  for (const task of ready) {
    const inArray = counts.get(task.array_id) ?? 0;
    if (total >= run.limit || inArray >= (arrayLimits.get(task.array_id) ?? LIMIT_NONE)) {
      heldBack.push(task.id);
      continue;
    }
    total += 1;
    counts.set(task.array_id, inArray + 1);
    taken.push(task);
  }
  return { taken, heldBack };
}

/** Batches by array and resources, steps 0, 1, 2 … in the order of task ids. The array's row is locked, so the numbers are ours. */
function* placesOf(tasks: readonly ReadyTask[]): Procedure<Place[]> {
  const list = idList(ascending(tasks.map(({ array_id }) => array_id)));
  const highest = yield {
    sql: `SELECT array_id, MAX(array_batch_num) AS n FROM task_instance WHERE array_id IN ${list.sql} GROUP BY array_id`,
    params: list.params,
  };
  const batchOf = new Map((highest.rows as { array_id: number; n: number }[]).map((row) => [row.array_id, row.n]));
  const batches = new Map<string, { number: number; size: number }>();
  return [...tasks]
    .sort((a, b) => a.array_id - b.array_id || a.task_resources_id - b.task_resources_id || a.id - b.id)
    .map((task) => {
      const key = `${task.array_id}/${task.task_resources_id}`;
      let batch = batches.get(key);
      if (batch === undefined) {
        batch = { number: (batchOf.get(task.array_id) ?? 0) + 1, size: 0 };
        batchOf.set(task.array_id, batch.number);
        batches.set(key, batch);
      }
      batch.size += 1;
      return { task, array_batch_num: batch.number, array_step_id: batch.size - 1 };
    });
}

/**
 * One INSERT in the order of batches and steps, so that ids ascend with steps (race 35). Measured (bench/transition-statements, two
 * busy shared cores): 58,000 rows a second on MariaDB, 470,000 on SQLite; the tasks' update below 105,000 and 540,000.
 */
function* insertInstances(dialect: Dialect, runId: number, places: readonly Place[]): Procedure<void> {
  const given = dialect.jsonRows('given', {
    array_id: 'int',
    task_id: 'int',
    task_resources_id: 'int',
    array_batch_num: 'int',
    array_step_id: 'int',
  });
  const rows = places.map(({ task, ...place }) => ({
    array_id: task.array_id,
    task_id: task.id,
    task_resources_id: task.task_resources_id,
    ...place,
  }));
  yield* guarded('insert task_instance', places.length, {
    sql:
      'INSERT INTO task_instance (workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, ' +
      'status, status_date, history_sequence) ' +
      'SELECT ?, given.array_id, given.task_id, given.task_resources_id, given.array_batch_num, given.array_step_id, ' +
      `'Q', ${dialect.now}, 1 FROM ${given} ORDER BY given.array_id, given.array_batch_num, given.array_step_id`,
    params: [runId, JSON.stringify(rows)],
  });
}

/** The tasks follow: Q, one attempt more, the new instance as the fence; then history and counts. */
function* moveTasks(
  dialect: Dialect,
  writer: string,
  workflowId: number,
  places: readonly Place[],
  asker: Asker,
): Procedure<void> {
  const batches = new Map(
    places.map(({ task, array_batch_num }) => [`${task.array_id}/${array_batch_num}`, { task, array_batch_num }]),
  );
  const inserted = yield {
    sql: `SELECT id, task_id FROM task_instance WHERE ${[...batches].map(() => '(array_id = ? AND array_batch_num = ?)').join(' OR ')}`,
    params: [...batches.values()].flatMap(({ task, array_batch_num }) => [task.array_id, array_batch_num]),
  };
  const instanceOf = new Map((inserted.rows as { id: number; task_id: number }[]).map((row) => [row.task_id, row.id]));
  const counts = new TaskStatusCounts();
  for (const from of ['G', 'A'] as const) {
    const group = places.filter(({ task }) => task.status === from).map(({ task }) => task);
    if (group.length === 0) continue;
    for (const task of group) counts.move({ workflow_id: workflowId, array_id: task.array_id }, from, 'Q');
    yield* guarded(
      `task ${from}→Q`,
      group.length,
      updateRows(dialect, {
        table: 'task',
        given: { id: 'int', task_instance_id: 'int' },
        rows: group.map(({ id }) => ({ id, task_instance_id: instanceOf.get(id) })),
        set: {
          status: "'Q'",
          status_date: dialect.now,
          num_attempts: 'task.num_attempts + 1',
          current_task_instance_id: 'given.task_instance_id',
        },
        where: `task.status = '${from}'`,
      }),
    );
  }
  yield insertHistory(
    dialect,
    ascending([...instanceOf.values()]).map((task_instance_id) => ({
      task_instance_id,
      sequence: 1,
      from_status: null,
      to_status: 'Q',
      ...asker,
    })),
  );
  const countStatement = counts.write(dialect, writer);
  if (countStatement !== null) yield countStatement;
}
