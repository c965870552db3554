/**
 * Arrays of client runs, batch by batch: queued by the swarm, launched and killed by the distributor (E2 to E5 of
 * spec/http-api-execution.md). A batch is looked up by its index and locked by primary key (race 1), 1,000 attempts in a transaction.
 */
import {
  Actor,
  Driver,
  historyReasonOf,
  JobmonError,
  type queueTaskBatch,
  type RequestOf,
  type TaskStatus,
} from '@jobmon/contracts';
import { idList, updateRows, type Database, type Dialect, type Procedure } from '@jobmon/entities';
import { IS_CLIENT_RUN, launch, WORKING_RUN_STATUSES } from './distributor';
import { isReady, lockRun, lockTasks, makeAttempts } from './task';
import { ascending, Transition, type Asker, type ChangedTasks } from './transition';

const QUEUE: Asker = { actor: Actor.CLIENT, reason: historyReasonOf('array.queue_task_batch') };
const LAUNCHED: Asker = { actor: Actor.DISTRIBUTOR, reason: historyReasonOf('array.transition_to_launched') };
const KILLED: Asker = { actor: Actor.DISTRIBUTOR, reason: historyReasonOf('array.transition_to_killed') };

export interface BatchQueued {
  /** Where each existing task stands. */
  readonly statuses: ReadonlyMap<number, TaskStatus>;
  readonly changed: ChangedTasks[];
}

/**
 * E2, at most 1,000 tasks: those of the array in G or A become one batch with the given resources, whose number is taken under the array's
 * lock (race 11). 13 statements when something is queued, 7 when nothing is.
 */
export function* queueBatch(
  dialect: Dialect,
  writer: string,
  request: Omit<RequestOf<typeof queueTaskBatch>, 'task_ids'>,
  taskIds: readonly number[],
): Procedure<BatchQueued> {
  const { array_id, task_resources_id } = request;
  const run = yield* lockRun(dialect, request.workflow_run_id);
  yield* requireRows(array_id, task_resources_id);
  const mayQueue = run.driver !== Driver.SERVER && WORKING_RUN_STATUSES.has(run.status);
  const tasks = yield* lockTasks(
    dialect,
    taskIds,
    (task) => mayQueue && task.array_id === array_id && task.workflow_id === run.workflow_id,
  );
  const taken = tasks.rows.filter(isReady).map((task) => ({ ...task, task_resources_id }));
  if (taken.length === 0) return { statuses: tasks.statuses, changed: [] };
  yield* makeAttempts(dialect, writer, run, taken, QUEUE);
  for (const { id } of taken) tasks.statuses.set(id, 'Q');
  const task_ids = ascending(taken.map(({ id }) => id));
  return { statuses: tasks.statuses, changed: [{ workflow_id: run.workflow_id, workflow_run_id: run.id, task_ids }] };
}

function* requireRows(arrayId: number, resourcesId: number): Procedure<void> {
  const read = yield {
    sql: 'SELECT (SELECT id FROM array WHERE id = ?) AS array_id, (SELECT id FROM task_resources WHERE id = ?) AS resources_id',
    params: [arrayId, resourcesId],
  };
  const [found] = read.rows as { array_id: number | null; resources_id: number | null }[];
  if (!found?.array_id) throw new JobmonError('NOT_FOUND', `there is no array ${arrayId}`);
  if (!found.resources_id) throw new JobmonError('NOT_FOUND', `there are no task resources ${resourcesId}`);
}

/** Array, batch and status of task instances to their ids. Asked for in no order: MariaDB would walk the primary key to give one. */
export const BATCH_SQL = 'SELECT id FROM task_instance WHERE array_id = ? AND array_batch_num = ? AND status = ?';

/**
 * The attempts of a batch that stand in a status, ascending, by the index of places. @throws JobmonError NOT_FOUND for an unknown
 * array.
 */
export async function batchAt(database: Database, arrayId: number, batch: number, status: 'I' | 'K'): Promise<number[]> {
  const rows = await database.read<{ id: number }>(BATCH_SQL, [arrayId, batch, status]);
  if (rows.length === 0) await requireArray(database, arrayId);
  return rows.map(({ id }) => id).sort((a, b) => a - b);
}

/** @throws JobmonError NOT_FOUND */
export async function requireArray(database: Database, id: number): Promise<void> {
  const [array] = await database.read('SELECT id FROM array WHERE id = ?', [id]);
  if (array === undefined) throw new JobmonError('NOT_FOUND', `there is no array ${id}`);
}

/** E3: I→O. Workers may have been faster: what has left I stays where it is. */
export function* launchBatch(
  dialect: Dialect,
  writer: string,
  ids: readonly number[],
  deadlineSeconds: number,
): Procedure<ChangedTasks[]> {
  const transition = new Transition(dialect, writer);
  yield* transition.lock(ids);
  for (const id of ids) {
    const instance = transition.instance(id);
    if (instance?.driver === Driver.CLIENT && instance.status === 'I') launch(transition, instance, LAUNCHED, deadlineSeconds);
  }
  yield* transition.write();
  return transition.changed();
}

/** E4: K→F, the tasks with them unless they were reset (race 46). */
export function* endKilledBatch(dialect: Dialect, writer: string, ids: readonly number[]): Procedure<ChangedTasks[]> {
  const transition = new Transition(dialect, writer);
  yield* transition.lock(ids);
  for (const id of ids) {
    const instance = transition.instance(id);
    if (instance?.driver === Driver.CLIENT && instance.status === 'K') transition.move(instance, 'F', KILLED);
  }
  yield* transition.write();
  return transition.changed();
}

/** Digits that may be an id. */
const DIGITS = /^[0-9]{1,10}$/;

/** The entries of E5's body that name an id, ascending: the order of every lock. */
export function distributorIdsIn(body: Readonly<Record<string, unknown>>): [id: number, distributor_id: string][] {
  return Object.entries(body)
    .filter(([key]) => DIGITS.test(key))
    .map(([key, value]): [number, string] => [Number(key), String(value)])
    .sort(([a], [b]) => a - b);
}

/** E5: no status, so one statement after the look at whose these instances are. Answers how many are of the array. */
export function* storeDistributorIds(
  dialect: Dialect,
  arrayId: number,
  entries: readonly (readonly [id: number, distributor_id: string])[],
): Procedure<number> {
  const list = idList(entries.map(([id]) => id));
  const own = yield {
    sql:
      `SELECT ti.id, ${IS_CLIENT_RUN} AS is_client FROM task_instance AS ti${dialect.byPrimaryKey} ` +
      `${dialect.joinInOrder} workflow_run AS wr ON wr.id = ti.workflow_run_id WHERE ti.id IN ${list.sql} AND ti.array_id = ?`,
    params: [...list.params, arrayId],
  };
  const rows = own.rows as { id: number; is_client: number }[];
  const mine = new Set(rows.filter((row) => row.is_client === 1).map((row) => row.id));
  const given = entries.filter(([id]) => mine.has(id)).map(([id, distributor_id]) => ({ id, distributor_id }));
  if (given.length > 0) {
    yield updateRows(dialect, {
      table: 'task_instance',
      given: { id: 'int', distributor_id: 'text' },
      rows: given,
      set: { distributor_id: 'given.distributor_id' },
      where: '1 = 1',
    });
  }
  return rows.length;
}
