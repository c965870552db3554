/**
 * Runs: made and linked for the server or for a client; server runs moved on and kept alive. Whoever changes a run holds its workflow's row first, so run and workflow
 * change together or not at all (race 41), and two runs never link at once.
 */
import {
  Driver,
  JobmonError,
  LIVE_TASK_INSTANCE_STATUSES,
  LIVE_WORKFLOW_RUN_STATUSES,
  verdict,
  WORKFLOW_RUN_DEADLINE_SECONDS,
  workflowFollows,
  workflowMachine,
  workflowRunMachine,
  type beatWorkflowRuns,
  type linkWorkflowRun,
  type moveWorkflowRun,
  type ReplyOf,
  type RequestOf,
  type submitWorkflowRun,
  type WorkflowRunStatus,
  type WorkflowStatus,
} from '@jobmon/contracts';
import { idList, instancesByStatus, lockRows, type Database, type Dialect, type Procedure } from '@jobmon/entities';
import { liveRunOf, requireNoCommand, type LockedWorkflow } from './reset';
import { wellFormed } from './text';
import { guarded } from './guard';
import { ascending } from './transition';
import { insertEvent, newestEventOf } from './workflow-event';
import { isLeaseLost, leasesHeld } from './workflow-run-lease';

/** What submit and move answer, and whether the status is new, which is then told to whoever listens. */
export interface RunStanding {
  readonly reply: ReplyOf<typeof moveWorkflowRun>;
  readonly workflow_id: number;
  readonly is_changed: boolean;
}

const letters = (all: readonly string[]): string => all.map((letter) => `'${letter}'`).join(',');

/** Where the workflow stands when its run goes through `path`, or null when it cannot follow. */
export function followedBy(workflow: WorkflowStatus, path: readonly WorkflowRunStatus[]): WorkflowStatus | null {
  let at = workflow;
  for (const step of path) {
    const to = workflowFollows[step];
    if (to === undefined) continue;
    const said = verdict(workflowMachine, at, to);
    if (said === 'invalid') return null;
    at = to;
  }
  return at;
}

/** The states from B on that a run passes before it schedules. */
const START: readonly WorkflowRunStatus[] = ['B', 'I', 'O', 'R'];

/** The steps of a run from where it stands to `to`, each valid, or null: R through I and O, D from R, E from wherever it may fail. */
export function pathOf(from: WorkflowRunStatus, to: 'R' | 'D' | 'E'): readonly WorkflowRunStatus[] | null {
  const at = START.indexOf(from);
  const path = to === 'R' && at >= 0 ? START.slice(at + 1) : [to];
  let standing = from;
  for (const step of path) {
    if (verdict(workflowRunMachine, standing, step) !== 'valid') return null;
    standing = step;
  }
  return path.length === 0 ? null : path;
}

interface RunRow {
  readonly id: number;
  readonly status: WorkflowRunStatus;
  readonly driver: string | null;
}

/**
 * Makes a server run, bound at once: G→L→B in one write, the workflow through G to Q. A live server run is answered as it
 * stands. CONFLICT: a live client run, a workflow that is DONE or cannot be linked from where it stands, live attempts that an
 * earlier run left behind (race 28).
 */
export function* submit(dialect: Dialect, request: RequestOf<typeof submitWorkflowRun>): Procedure<RunStanding> {
  const id = request.workflow_id;
  const [workflow] = (yield lockRows(dialect, 'workflow', 'id, status, user', [id])).rows as {
    status: WorkflowStatus;
    user: string | null;
  }[];
  if (workflow === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${id}`);
  const live = yield* liveRunOf(id);
  if (live !== undefined) {
    if (live.driver === Driver.SERVER) {
      return { reply: { workflow_run_id: live.id, status: live.status }, workflow_id: id, is_changed: false };
    }
    throw new JobmonError('CONFLICT', `workflow ${id} is being run by a client (workflow run ${live.id}); stop that run first`);
  }
  if (workflow.status === 'D') throw new JobmonError('CONFLICT', `workflow ${id} is DONE already`);
  const follows = followedBy(workflow.status, ['L', 'B']);
  if (follows === null) {
    const standing = workflowMachine.states[workflow.status].label;
    throw new JobmonError('CONFLICT', `workflow ${id} is ${standing}, from where no run can be linked`);
  }
  yield* requireNoCommand(id);
  const unended = instancesByStatus('live', 'ti.id', LIVE_TASK_INSTANCE_STATUSES, { sql: 'wr.workflow_id = ?', params: [id] });
  const left = yield { sql: `SELECT COUNT(*) AS n FROM ${unended.sql}`, params: unended.params };
  const attempts = Number((left.rows as { n: number }[])[0]?.n ?? 0);
  if (attempts > 0) throw new JobmonError('CONFLICT', `${attempts} attempts of an earlier run of workflow ${id} have not ended`);
  const { client_version, working_directory } = request;
  const user = workflow.user ?? request.user;
  const run = { status: 'B', driver: Driver.SERVER, user, version: client_version, working_directory } as const;
  const standing = yield* insertRun(dialect, id, { ...run, seconds: WORKFLOW_RUN_DEADLINE_SECONDS }, workflow.status, follows);
  if (user !== request.user) {
    // The run says whose it is, and this who wanted it.
    const act = {
      workflow_id: id,
      workflow_run_id: standing.reply.workflow_run_id,
      user: request.user,
      verb: 'submit',
      reason: '',
    };
    yield insertEvent(dialect, act);
  }
  return standing;
}

/** A run to insert in the status that it is linked at. */
export interface NewRun {
  readonly status: 'L' | 'B';
  readonly driver: Driver;
  readonly user: string;
  /** Of the client. */
  readonly version: string;
  readonly working_directory: string | null;
  /** From now to its first deadline. */
  readonly seconds: number;
}

/** The run, and its workflow from where it stands to where it follows, under the workflow's lock. */
export function* insertRun(
  dialect: Dialect,
  workflowId: number,
  run: NewRun,
  from: WorkflowStatus,
  to: WorkflowStatus,
): Procedure<RunStanding> {
  const inserted = yield {
    sql:
      'INSERT INTO workflow_run (workflow_id, user, jobmon_version, jobmon_server_version, status, created_date, status_date, ' +
      `heartbeat_date, driver, working_directory) VALUES (?, ?, ?, ?, '${run.status}', ${dialect.now}, ${dialect.now}, ` +
      `${dialect.nowPlusSeconds}, '${run.driver}', ?)`,
    params: [
      workflowId,
      wellFormed(run.user),
      wellFormed(run.version),
      'UNKNOWN',
      run.seconds,
      run.working_directory === null ? null : wellFormed(run.working_directory),
    ],
  };
  yield* guarded(`workflow ${from}→${to}`, 1, {
    sql:
      `UPDATE workflow SET status = '${to}', status_date = ${dialect.now}, created_date = COALESCE(created_date, ${dialect.now}) ` +
      'WHERE id = ? AND status = ?',
    params: [workflowId, from],
  });
  const reply = { workflow_run_id: inserted.insert_id, status: run.status };
  return { reply, workflow_id: workflowId, is_changed: true };
}

/**
 * E56. Makes a client run and links it, G→L in one write, or answers in words why not. Nothing is left behind by a refusal.
 *
 * @throws JobmonError UNAVAILABLE while a command on the whole workflow is in progress
 */
export function* link(
  dialect: Dialect,
  request: RequestOf<typeof linkWorkflowRun>,
): Procedure<{ reply: ReplyOf<typeof linkWorkflowRun>; run: RunStanding | null }> {
  const id = request.workflow_id;
  const refuse = (err_msg: string) => ({ reply: { workflow_run_id: null, err_msg }, run: null });
  const [workflow] = (yield lockRows(dialect, 'workflow', 'id, status, created_date', [id])).rows as LockedWorkflow[];
  if (workflow === undefined) return refuse(`there is no workflow ${id}`);
  const live = yield* liveRunOf(id);
  if (live !== undefined) {
    const standing = workflowRunMachine.states[live.status].label;
    return refuse(`workflow ${id} is held by its run ${live.id}, which is ${standing}`);
  }
  if (workflow.created_date === null) return refuse(`not all tasks of workflow ${id} are bound`);
  const follows = followedBy(workflow.status, ['L']);
  if (follows === null) {
    return refuse(`workflow ${id} is ${workflowMachine.states[workflow.status].label}, from where no run can be linked`);
  }
  yield* requireNoCommand(id);
  const { user, jobmon_version: version, next_report_increment } = request;
  const row = { status: 'L', driver: Driver.CLIENT, user, version, working_directory: null } as const;
  const run = yield* insertRun(dialect, id, { ...row, seconds: Math.ceil(next_report_increment) }, workflow.status, follows);
  return { reply: run.reply, run };
}

/**
 * Moves a server run and its workflow. Refused, with what stands as the answer: a former holder of the run, a run that a client drives, a step that either
 * table lacks, D while a task is not D (`areAllTasksDone`, asked before), E while an instance is live or after a retry that the
 * scheduler has not seen.
 */
export function* move(
  dialect: Dialect,
  request: RequestOf<typeof moveWorkflowRun>,
  areTasksDone: boolean,
): Procedure<RunStanding> {
  const id = request.workflow_run_id;
  const [owner] = (yield { sql: 'SELECT workflow_id FROM workflow_run WHERE id = ?', params: [id] }).rows as {
    workflow_id: number;
  }[];
  if (owner === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow run ${id}`);
  const [workflow] = (yield lockRows(dialect, 'workflow', 'id, status', [owner.workflow_id])).rows as {
    status: WorkflowStatus;
  }[];
  const [run] = (yield lockRows(dialect, 'workflow_run', 'id, status, driver', [id])).rows as RunRow[];
  if (run === undefined || workflow === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow run ${id}`);
  const standing = (status: WorkflowRunStatus): RunStanding => ({
    reply: { workflow_run_id: id, status },
    workflow_id: owner.workflow_id,
    is_changed: status !== run.status,
  });
  if (yield* isLeaseLost(dialect, id, request.fence)) {
    const { reply, ...rest } = standing(run.status);
    return { ...rest, reply: { ...reply, is_lease_lost: true } };
  }
  const path = run.driver === Driver.SERVER ? pathOf(run.status, request.to) : null;
  const follows = path && followedBy(workflow.status, path);
  if (path === null || follows === null) return standing(run.status);
  if (request.to === 'D' && !areTasksDone) return standing(run.status);
  if (request.to === 'E' && (yield* hasLiveInstance(id))) return standing(run.status);
  const isStale = request.to === 'E' && (yield* newestEventOf(owner.workflow_id)) > (request.seen_event_id ?? Infinity);
  if (isStale) return standing(run.status);

  yield* guarded(`workflow_run ${run.status}→${request.to}`, 1, {
    sql:
      `UPDATE workflow_run SET status = '${request.to}', status_date = ${dialect.now}, heartbeat_date = ${dialect.nowPlusSeconds} ` +
      'WHERE id = ? AND status = ?',
    params: [WORKFLOW_RUN_DEADLINE_SECONDS, id, run.status],
  });
  if (follows !== workflow.status) {
    yield* guarded(`workflow ${workflow.status}→${follows}`, 1, {
      sql: `UPDATE workflow SET status = '${follows}', status_date = ${dialect.now} WHERE id = ? AND status = ?`,
      params: [owner.workflow_id, workflow.status],
    });
  }
  return standing(request.to);
}

/** Tasks looked at in one statement. */
const PAGE_ROWS = 5_000;

/**
 * Whether every task of a run's workflow is D. Asked without locks and before the run is moved, a page at a time: under the lock it
 * would hold up everybody who queues, and on SQLite the event loop, for as long as a million rows take. The answer holds until the
 * move: while a run is live no task leaves D, and a submitted workflow gets no more tasks.
 */
export async function areAllTasksDone(database: Database, runId: number): Promise<boolean> {
  const arrays = await database.read<{ id: number }>(
    'SELECT a.id FROM workflow_run AS wr JOIN array AS a ON a.workflow_id = wr.workflow_id WHERE wr.id = ? ORDER BY a.id',
    [runId],
  );
  for (const { id } of arrays) {
    for (let after: number | null = 0; after !== null;) {
      const [page] = await database.read<{ tasks: number; last: number | null; done: number | null }>(
        "SELECT COUNT(*) AS tasks, MAX(id) AS last, SUM(CASE WHEN status = 'D' THEN 1 ELSE 0 END) AS done " +
          `FROM (SELECT id, status FROM task WHERE array_id = ? AND id > ? ORDER BY id LIMIT ${PAGE_ROWS}) AS page`,
        [id, after],
      );
      const { tasks, last, done } = page as { tasks: number; last: number | null; done: number | null };
      if (Number(done ?? 0) < Number(tasks)) return false;
      after = Number(tasks) === PAGE_ROWS ? last : null;
    }
  }
  const strays = await database.read(
    'SELECT 1 AS found FROM workflow_run AS wr JOIN task AS t ON t.workflow_id = wr.workflow_id AND t.array_id IS NULL ' +
      "WHERE wr.id = ? AND t.status <> 'D' LIMIT 1",
    [runId],
  );
  return strays.length === 0;
}

function* hasLiveInstance(runId: number): Procedure<boolean> {
  const read = yield {
    sql: `SELECT 1 AS found FROM task_instance WHERE workflow_run_id = ? AND status IN (${letters(LIVE_TASK_INSTANCE_STATUSES)}) LIMIT 1`,
    params: [runId],
  };
  return read.rows.length > 0;
}

/** The deadline of live server runs that are still held moves on; every run that exists is answered with its status. No decision, so no lock before. */
export function* beat(
  dialect: Dialect,
  request: RequestOf<typeof beatWorkflowRuns>,
): Procedure<ReplyOf<typeof beatWorkflowRuns>> {
  const held = idList(ascending((yield* leasesHeld(request.leases)).map(([id]) => id)));
  yield {
    sql:
      `UPDATE workflow_run SET heartbeat_date = ${dialect.nowPlusSeconds} WHERE id IN ${held.sql} ` +
      `AND driver = '${Driver.SERVER}' AND status IN (${letters(LIVE_WORKFLOW_RUN_STATUSES)})`,
    params: [WORKFLOW_RUN_DEADLINE_SECONDS, ...held.params],
  };
  const list = idList(ascending(request.leases.map(([id]) => id)));
  const read = yield { sql: `SELECT id, status FROM workflow_run WHERE id IN ${list.sql} ORDER BY id`, params: list.params };
  return { statuses: (read.rows as { id: number; status: string }[]).map(({ id, status }) => [id, status]) };
}
