/**
 * What the distributor of a client run takes and tells: queued attempts (E30), launches, failures and signs of life (E21, E26 to
 * E29 of spec/http-api-execution.md). The single reports are applied among those of workers, in the batches of task-instance.ts.
 */
import { createHash } from 'node:crypto';
import {
  Actor,
  Driver,
  historyReasonOf,
  INSTANTIATE_REPEAT_SECONDS,
  type AttemptDecision,
  type instantiateTaskInstances,
  type logDistributorId,
  type logKnownError,
  type logNoDistributorId,
  type ReplyOf,
  type RequestOf,
  type TaskInstanceStatus,
  type WorkflowRunStatus,
} from '@jobmon/contracts';
import { idList, lockRows, type Dialect, type Procedure } from '@jobmon/entities';
import { ascending, Transition, type Asker, type ChangedTasks, type LockedInstance } from './transition';

const DISTRIBUTOR = (reason: Asker['reason']): Asker => ({ actor: Actor.DISTRIBUTOR, reason });
const INSTANTIATE = DISTRIBUTOR(historyReasonOf('task_instance.instantiate'));
const DISTRIBUTOR_ID = DISTRIBUTOR(historyReasonOf('task_instance.log_distributor_id'));
const NO_DISTRIBUTOR_ID = DISTRIBUTOR(historyReasonOf('task_instance.log_no_distributor_id'));
const KNOWN_ERROR = DISTRIBUTOR(historyReasonOf('task_instance.log_known_error'));
const UNKNOWN_ERROR = DISTRIBUTOR(historyReasonOf('task_instance.log_unknown_error'));

/** Client runs that may still queue and take tasks; one that drains for a resume, or has ended, may not. */
export const WORKING_RUN_STATUSES: ReadonlySet<WorkflowRunStatus> = new Set(['L', 'B', 'I', 'O', 'R']);

/** Condition on `wr`: not driven by the server (design rule 5.7). */
export const IS_CLIENT_RUN = `(wr.driver IS NULL OR wr.driver <> '${Driver.SERVER}')`;

/** The one launch write of E3 and E27 (race 55): O with the launch's date and a deadline. */
export function launch(transition: Transition, instance: LockedInstance, asker: Asker, deadlineSeconds: number): AttemptDecision {
  const decision = transition.move(instance, 'O', asker);
  if (decision.accepted && decision.instance_to === 'O') {
    Object.assign(instance.fields, { is_started: 1, report_by_seconds: Math.ceil(deadlineSeconds) });
  }
  return decision;
}

/** Ends that a worker or a distributor may report. */
const FAILURES = ['E', 'Z', 'U', 'F'] as const;
type Failure = (typeof FAILURES)[number];

const isFailure = (status: TaskInstanceStatus): status is Failure => (FAILURES as readonly string[]).includes(status);

/**
 * Moves an attempt as a worker or a distributor reports its end. F from Q and I is not theirs to say: only whoever stops a run ends what
 * nobody has started (race 26). Answers whether it happened.
 */
export function moveAsReported(transition: Transition, instance: LockedInstance, to: Failure, asker: Asker): boolean {
  const isStop = to === 'F' && (instance.status === 'Q' || instance.status === 'I');
  return !isStop && transition.move(instance, to, asker).accepted;
}

/** What a person reads when a report was refused. */
function standingMessage(instance: LockedInstance): string {
  return `task instance ${instance.id} stands at ${instance.status}; nothing was changed`;
}

/** E26. I→W, with one error row for each text, refused or not (race 40). */
export function applyNoDistributorId(
  transition: Transition,
  instance: LockedInstance,
  request: RequestOf<typeof logNoDistributorId>,
): string {
  const refused = transition.move(instance, 'W', NO_DISTRIBUTOR_ID).accepted ? '' : standingMessage(instance);
  transition.addError({ task_instance_id: instance.id, description: request.no_id_err_msg, is_new: refused === '' ? 1 : 0 });
  return refused;
}

/** E27. Cluster id and deadline are kept wherever the attempt stands: clusters that run one job at a time send it when it has ended. */
export function applyDistributorId(
  transition: Transition,
  instance: LockedInstance,
  request: RequestOf<typeof logDistributorId>,
): string {
  Object.assign(instance.fields, {
    distributor_id: request.distributor_id,
    report_by_seconds: Math.ceil(request.next_report_increment),
  });
  const isLaunched = launch(transition, instance, DISTRIBUTOR_ID, request.next_report_increment).accepted;
  return isLaunched ? '' : standingMessage(instance);
}

/** E28. Where the job ran is kept; the text only with a move that happens. */
export function applyKnownError(
  transition: Transition,
  instance: LockedInstance,
  request: RequestOf<typeof logKnownError>,
): string {
  return applyClusterError(transition, instance, request, KNOWN_ERROR);
}

/** E29. A fresh heartbeat wins over the cluster's not knowing (race 39), one in this very batch too. */
export function applyUnknownError(
  transition: Transition,
  instance: LockedInstance,
  request: RequestOf<typeof logKnownError>,
): string {
  if (!instance.is_overdue || instance.fields.report_by_seconds !== undefined) {
    return `task instance ${instance.id} was heard of again; nothing was changed`;
  }
  return applyClusterError(transition, instance, request, UNKNOWN_ERROR);
}

function applyClusterError(
  transition: Transition,
  instance: LockedInstance,
  request: RequestOf<typeof logKnownError>,
  asker: Asker,
): string {
  const { distributor_id, nodename } = request;
  if (distributor_id !== undefined && distributor_id !== null) instance.fields.distributor_id = distributor_id;
  if (nodename !== undefined && nodename !== null) instance.fields.nodename = nodename;
  const { error_state } = request;
  if (!isFailure(error_state) || !moveAsReported(transition, instance, error_state, asker)) return standingMessage(instance);
  transition.addError({ task_instance_id: instance.id, description: request.error_message, is_new: 1 });
  return '';
}

/**
 * Names one call of E30 by its list, byte for byte: a negative number of 48 bits, which stands in `task_instance.agent_id` of what the call
 * took, as an agent's id does on server runs. So a repeat is told from another caller by stored truth alone, after a restart and in
 * another process too.
 */
export function callOf(ids: readonly number[]): number {
  return -1 - Number.parseInt(createHash('sha256').update(ids.join(',')).digest('hex').slice(0, 12), 16);
}

/** One attempt as E30 answers it. */
export interface TakenInstance {
  readonly id: number;
  readonly array_id: number;
  readonly array_name: string;
  readonly array_batch_num: number;
  readonly task_resources_id: number;
}

export interface Instantiated {
  readonly taken: TakenInstance[];
  readonly changed: ChangedTasks[];
}

/**
 * E30, at most 1,000 ids: Q→I for those that stand at Q under the lock (race 33), and of those in I the ones that a call with the same
 * list took within the last 60 s: its answer may have been lost. 9 statements.
 */
export function* instantiate(dialect: Dialect, writer: string, ids: readonly number[], call: number): Procedure<Instantiated> {
  const transition = new Transition(dialect, writer);
  yield* transition.lock(ids);
  const taken: number[] = [];
  const repeated: number[] = [];
  for (const id of ids) {
    const instance = transition.instance(id);
    if (instance?.driver !== Driver.CLIENT || !WORKING_RUN_STATUSES.has(instance.run_status)) continue;
    if (instance.status === 'I' && instance.agent_id === call) repeated.push(id);
    if (instance.status !== 'Q') continue;
    const decision = transition.move(instance, 'I', INSTANTIATE);
    if (!decision.accepted || decision.instance_to !== 'I') continue;
    instance.fields.agent_id = call;
    taken.push(id);
  }
  yield* transition.write();
  taken.push(...(yield* takenOfLate(dialect, repeated)));
  return { taken: yield* describeTaken(taken), changed: transition.changed() };
}

function* takenOfLate(dialect: Dialect, ids: readonly number[]): Procedure<number[]> {
  if (ids.length === 0) return [];
  const list = idList(ids);
  const read = yield {
    sql: `SELECT id FROM task_instance WHERE id IN ${list.sql} AND status_date >= ${dialect.nowPlusSeconds}`,
    params: [...list.params, -INSTANTIATE_REPEAT_SECONDS],
  };
  return (read.rows as { id: number }[]).map(({ id }) => id);
}

function* describeTaken(ids: readonly number[]): Procedure<TakenInstance[]> {
  if (ids.length === 0) return [];
  const list = idList(ids);
  const read = yield {
    sql:
      'SELECT ti.id, ti.array_id, a.name AS array_name, ti.array_batch_num, ti.task_resources_id ' +
      `FROM task_instance AS ti JOIN array AS a ON a.id = ti.array_id WHERE ti.id IN ${list.sql}`,
    params: list.params,
  };
  return read.rows as TakenInstance[];
}

/** E30's answer: by array, batch and resources, ids ascending, as the steps of the batch ascend (race 35). */
export function batchesOf(taken: readonly TakenInstance[]): ReplyOf<typeof instantiateTaskInstances> {
  const batches = new Map<string, ReplyOf<typeof instantiateTaskInstances>['batches'][number]>();
  const inOrder = [...taken].sort((a, b) => a.array_id - b.array_id || a.array_batch_num - b.array_batch_num || a.id - b.id);
  for (const { id, ...place } of inOrder) {
    const key = `${place.array_id}/${place.array_batch_num}/${place.task_resources_id}`;
    const batch = batches.get(key);
    if (batch === undefined) batches.set(key, { ...place, task_instance_ids: [id] });
    else batch.task_instance_ids.push(id);
  }
  return { batches: [...batches.values()] };
}

/** E21, at most 1,000 ids: the deadline of those in O moves on. No status, so only the instances are locked. 3 statements. */
export function* extendDeadlines(dialect: Dialect, ids: readonly number[], deadlineSeconds: number): Procedure<void> {
  const locked = yield lockRows(dialect, 'task_instance', 'id, status, workflow_run_id', ascending(ids));
  const rows = (locked.rows as { id: number; status: string; workflow_run_id: number }[]).filter((row) => row.status === 'O');
  if (rows.length === 0) return;
  const runs = idList(ascending(rows.map((row) => row.workflow_run_id)));
  const clients = yield {
    sql: `SELECT wr.id FROM workflow_run AS wr WHERE wr.id IN ${runs.sql} AND ${IS_CLIENT_RUN}`,
    params: runs.params,
  };
  const mayChange = new Set((clients.rows as { id: number }[]).map(({ id }) => id));
  const list = idList(rows.filter((row) => mayChange.has(row.workflow_run_id)).map(({ id }) => id));
  yield {
    sql: `UPDATE task_instance SET report_by_date = ${dialect.nowPlusSeconds} WHERE id IN ${list.sql} AND status = 'O'`,
    params: [Math.ceil(deadlineSeconds), ...list.params],
  };
}
