/**
 * Leases of server runs: taken, renewed, given back, and asked about by every write of a scheduler. The order of locks is scheduler,
 * workflow, workflow_run, workflow_run_lease, array, task, task_instance (`docs/decisions/leases.md`).
 *
 * A write holds the row of its run's lease until it commits, so a lease changes hands before it or after it; taking leaves rows that
 * somebody holds to the next look, so one stuck transaction keeps back one run and not all that were taken with it.
 */
import {
  fairShare,
  type Lease,
  type leaseWorkflowRuns,
  type releaseWorkflowRuns,
  type renewScheduler,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import { countRunsInNeed, freeRuns, idList, type Dialect, type Procedure, type Statement } from '@jobmon/entities';
import { guarded } from './guard';
import { ascending } from './transition';

/** Rows of schedulers that are so long gone are removed by whoever starts. */
const GONE_SECONDS = 86_400;

interface LeaseRow {
  readonly id: number;
  readonly scheduler_instance: string | null;
  readonly fence: number;
}

/** Whether somebody else has leased the run since the asker did. Locks its lease; to be asked under the locks of workflow and run. */
export function* isLeaseLost(dialect: Dialect, runId: number, fence = 0): Procedure<boolean> {
  const read = yield {
    sql: `SELECT fence FROM workflow_run_lease WHERE workflow_run_id = ?${dialect.forUpdate}`,
    params: [runId],
  };
  const [row] = read.rows as { fence: number }[];
  return row !== undefined && row.fence > fence;
}

/** Those of these leases that nobody else has taken since, without locks: for writes that decide nothing. */
export function* leasesHeld(leases: readonly Lease[]): Procedure<Lease[]> {
  const list = idList(ascending(leases.map(([id]) => id)));
  const read = yield {
    sql: `SELECT workflow_run_id AS id, fence FROM workflow_run_lease WHERE workflow_run_id IN ${list.sql}`,
    params: list.params,
  };
  const fences = new Map((read.rows as LeaseRow[]).map(({ id, fence }) => [id, fence]));
  return leases.filter(([id, fence]) => (fences.get(id) ?? 0) <= fence);
}

/** One row, whether the scheduler holds one run or a thousand. */
export function* renew(
  dialect: Dialect,
  { scheduler_instance, seconds }: RequestOf<typeof renewScheduler>,
): Procedure<ReplyOf<typeof renewScheduler>> {
  yield {
    sql:
      `INSERT INTO scheduler (instance, expires_date) VALUES (?, ${dialect.nowPlusSeconds}) ` +
      dialect.onDuplicate(['instance'], `expires_date = ${dialect.inserted('expires_date')}`),
    params: [scheduler_instance, seconds],
  };
  return {};
}

/** At most 7 statements, 4 more at the start of a scheduler. */
export function* lease(
  dialect: Dialect,
  request: RequestOf<typeof leaseWorkflowRuns>,
): Procedure<ReplyOf<typeof leaseWorkflowRuns>> {
  const { scheduler_instance } = request;
  yield* renew(dialect, request);
  if (request.is_start) {
    yield { sql: `DELETE FROM scheduler WHERE expires_date <= ${dialect.nowPlusSeconds}`, params: [-GONE_SECONDS] };
    const held = (yield* heldBy(scheduler_instance)).map(({ id, fence }): Lease => [id, fence]);
    yield* setFree(dialect, scheduler_instance, held, dialect.forUpdate);
  }
  const [counted] = (yield countRunsInNeed(dialect, scheduler_instance)).rows as Record<'runs' | 'held' | 'schedulers', number>[];
  const share = Math.min(request.runs_max, fairShare(Number(counted?.runs), Number(counted?.schedulers)));
  const room = share - Number(counted?.held);
  if (room <= 0) return { leases: [] };
  const free = (yield freeRuns(dialect, room)).rows as { id: number; is_new: number }[];
  if (free.length === 0) return { leases: [] };
  const unknown = ascending(free.filter(({ is_new }) => Number(is_new) === 1).map(({ id }) => id));
  if (unknown.length > 0) yield insertLeases(dialect, unknown);
  const rows = (yield lockLeases(
    dialect,
    free.map(({ id }) => id),
    dialect.forUpdateOfFree,
  )).rows as LeaseRow[];
  const alive = (yield { sql: `SELECT instance FROM scheduler WHERE expires_date > ${dialect.now}` }).rows as {
    instance: string;
  }[];
  const names = new Set(alive.map(({ instance }) => instance));
  const taken = rows.filter((row) => row.scheduler_instance === null || !names.has(row.scheduler_instance));
  if (taken.length === 0) return { leases: [] };
  const list = idList(taken.map(({ id }) => id));
  yield* guarded('take leases', taken.length, {
    sql: `UPDATE workflow_run_lease SET scheduler_instance = ?, fence = fence + 1 WHERE workflow_run_id IN ${list.sql}`,
    params: [scheduler_instance, ...list.params],
  });
  return { leases: taken.map(({ id, fence }) => [id, fence + 1]) };
}

/**
 * What is given back gets a new number, so that a request of this scheduler that is still on its way comes too late. A lease that such a
 * request holds is not waited for when the scheduler leaves: without its row it holds nothing.
 */
export function* release(
  dialect: Dialect,
  { scheduler_instance, leases, is_leaving }: RequestOf<typeof releaseWorkflowRuns>,
): Procedure<ReplyOf<typeof releaseWorkflowRuns>> {
  if (is_leaving) yield { sql: 'DELETE FROM scheduler WHERE instance = ?', params: [scheduler_instance] };
  const wanted = is_leaving ? (yield* heldBy(scheduler_instance)).map(({ id, fence }): Lease => [id, fence]) : leases;
  const forUpdate = is_leaving ? dialect.forUpdateOfFree : dialect.forUpdate;
  return { released: yield* setFree(dialect, scheduler_instance, wanted, forUpdate) };
}

/** Without locks. */
function* heldBy(scheduler_instance: string): Procedure<LeaseRow[]> {
  const read = yield {
    sql: 'SELECT workflow_run_id AS id, scheduler_instance, fence FROM workflow_run_lease WHERE scheduler_instance = ?',
    params: [scheduler_instance],
  };
  return read.rows as LeaseRow[];
}

/** Answers how many of these leases this scheduler still held. */
function* setFree(dialect: Dialect, scheduler_instance: string, leases: readonly Lease[], forUpdate: string): Procedure<number> {
  if (leases.length === 0) return 0;
  const fences = new Map(leases);
  const locked = yield lockLeases(
    dialect,
    leases.map(([id]) => id),
    forUpdate,
  );
  const mine = (locked.rows as LeaseRow[]).filter(
    (row) => row.scheduler_instance === scheduler_instance && row.fence === fences.get(row.id),
  );
  if (mine.length === 0) return 0;
  const list = idList(mine.map(({ id }) => id));
  yield* guarded('give leases back', mine.length, {
    sql: `UPDATE workflow_run_lease SET scheduler_instance = NULL, fence = fence + 1 WHERE workflow_run_id IN ${list.sql}`,
    params: list.params,
  });
  return mine.length;
}

function lockLeases(dialect: Dialect, runIds: readonly number[], forUpdate: string): Statement {
  const list = idList(ascending(runIds));
  return {
    sql:
      `SELECT workflow_run_id AS id, scheduler_instance, fence FROM workflow_run_lease${dialect.byPrimaryKey} ` +
      `WHERE workflow_run_id IN ${list.sql} ORDER BY workflow_run_id${forUpdate}`,
    params: list.params,
  };
}

/** Somebody else may insert the same at this moment. */
function insertLeases(dialect: Dialect, runIds: readonly number[]): Statement {
  return {
    sql:
      `${dialect.insertIgnore} INTO workflow_run_lease (workflow_run_id, scheduler_instance, fence) ` +
      `SELECT given.id, NULL, 0 FROM ${dialect.jsonRows('given', { id: 'int' })} ORDER BY given.id`,
    params: [JSON.stringify(runIds.map((id) => ({ id })))],
  };
}
