/**
 * Runs that are told to stop, and what is done about those that do not get to it: E44 sets a run to drain, its client settles its
 * attempts (E57), an operator gives up waiting (E46), and the reaper does all of it for a client that has gone silent (P4). A run that the
 * server drives is told by E44 too, so that a Python client can take over; everything else leaves it to the server.
 */
import {
  Actor,
  Driver,
  historyReasonOf,
  JobmonError,
  LIVE_WORKFLOW_RUN_STATUSES,
  workflowFollows,
  type ReplyOf,
  type RequestOf,
  type reapWorkflowRun,
  type setResume,
  type TaskInstanceStatus,
  type WorkflowRunStatus,
} from '@jobmon/contracts';
import { idList, instancesByStatus, lockRows, type Dialect, type Procedure } from '@jobmon/entities';
import { lockWorkflow, stopAttempt, type LiveRun, type LockedWorkflow } from './reset';
import type { RunChange } from './run-report';
import { guarded } from './guard';
import { Transition, type Asker } from './transition';
import { tellToEnd } from './workflow-control';
import { insertEvent } from './workflow-event';

/** Attempts of one transaction. */
const PIECE_ROWS = 1_000;
/** Rows of other programs have no driver; they are clients'. */
const IS_CLIENT = `COALESCE(driver, '${Driver.CLIENT}') = '${Driver.CLIENT}'`;

const TERMINATE: Asker = { actor: Actor.CLIENT, reason: historyReasonOf('workflow_run.terminate_task_instances') };
const CLEANUP: Asker = { actor: Actor.USER, reason: historyReasonOf('workflow.force_cleanup_kill_self') };
const END_LEFT: Asker = { actor: Actor.REAPER, reason: historyReasonOf('workflow_run.end_attempts') };
const REAP: Asker = { actor: Actor.REAPER, reason: historyReasonOf('workflow_run.reap') };

interface RunRow {
  readonly id: number;
  readonly workflow_id: number;
  readonly status: WorkflowRunStatus;
  readonly driver: string | null;
  /** 1: its deadline has passed. */
  readonly is_overdue: number | null;
}

/** Who a Python client is in the record: its protocol names nobody. */
const PYTHON_CLIENT = 'a Python client';

/**
 * E44. Answers the run that was told, if one was. A run that the server drives is told like any other (design rule 5.7: taking over is
 * set_resume, both ways), and that is recorded; its end is the state machine's (`settle.ts`).
 */
export function* tellToStop(
  dialect: Dialect,
  { workflow_id, reset_running_jobs }: RequestOf<typeof setResume>,
): Procedure<RunChange | null> {
  yield lockRows(dialect, 'workflow', 'id', [workflow_id]);
  const found = yield {
    sql: "SELECT id, status, driver FROM workflow_run WHERE workflow_id = ? AND status IN ('B','I','O','R') ORDER BY id LIMIT 1",
    params: [workflow_id],
  };
  const [active] = found.rows as LiveRun[];
  if (active === undefined) return null;
  const [told] = yield* tellToEnd(dialect, workflow_id, active, reset_running_jobs ? 'C' : 'H');
  if (told !== undefined && active.driver === Driver.SERVER) {
    const detail = { mode: reset_running_jobs ? 'cold' : 'hot' };
    const act = { workflow_id, workflow_run_id: active.id, user: PYTHON_CLIENT, verb: 'take_over', reason: '', detail };
    yield insertEvent(dialect, act);
  }
  return told ?? null;
}

export interface Stopped {
  readonly stopped: number;
  /** False: there may be more. */
  readonly isLast: boolean;
}

/**
 * A piece of E57. A hot resume lets run what runs. A client in the middle of its drain asks once more when the reaper has ended its run
 * (race 44): by then everything was settled by the run's letter, and what a hot resume let run is the next run's.
 */
export function* terminatePiece(dialect: Dialect, writer: string, runId: number): Procedure<Stopped> {
  const [run] = (yield lockRows(dialect, 'workflow_run', runColumns(dialect), [runId])).rows as RunRow[];
  if (run === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow run ${runId}`);
  if (run.driver === Driver.SERVER || !isLive(run)) return { stopped: 0, isLast: true };
  return yield* stopOf(dialect, writer, run, TERMINATE, 'A new run of the workflow was asked for');
}

/** `run` is locked: what is stopped rests on its letter. */
function* stopOf(dialect: Dialect, writer: string, run: RunRow, asker: Asker, why: string): Procedure<Stopped> {
  const statuses: TaskInstanceStatus[] = run.status === 'H' ? ['Q', 'I', 'O', 'T', 'X'] : ['Q', 'I', 'O', 'T', 'X', 'R'];
  const found = yield {
    sql:
      'SELECT id FROM task_instance WHERE workflow_run_id = ? ' +
      `AND status IN (${statuses.map((letter) => `'${letter}'`).join(',')}) LIMIT ${PIECE_ROWS}`,
    params: [run.id],
  };
  const ids = (found.rows as { id: number }[]).map(({ id }) => id);
  const transition = new Transition(dialect, writer);
  yield* transition.lock(ids);
  let stopped = 0;
  for (const id of ids) {
    const attempt = transition.instance(id);
    if (attempt === undefined || !statuses.includes(attempt.status)) continue;
    if (stopAttempt(transition, attempt, asker, why)) stopped += 1;
  }
  yield* transition.write();
  return { stopped, isLast: ids.length < PIECE_ROWS || stopped === 0 };
}

/** A piece of E46: attempts of client runs of a workflow, K→F. */
export function* cleanUpPiece(dialect: Dialect, writer: string, workflowId: number): Procedure<Stopped> {
  const killed = instancesByStatus('killed', 'ti.id', ['K'], {
    sql: `wr.workflow_id = ? AND ${IS_CLIENT}`,
    params: [workflowId],
  });
  const found = yield { sql: `SELECT id FROM ${killed.sql} LIMIT ${PIECE_ROWS}`, params: killed.params };
  const ids = (found.rows as { id: number }[]).map(({ id }) => id);
  const why = 'This attempt was under the order to stop, and a forced clean-up of its workflow declared its end.';
  const stopped = yield* endKilled(dialect, writer, ids, CLEANUP, why);
  return { stopped, isLast: ids.length < PIECE_ROWS || stopped === 0 };
}

/**
 * Ends attempts of client runs of a workflow that were ordered to stop and gave no sign of life past their deadline: what a resume waits
 * for. At most 1,000; the next step of the resume ends the rest.
 */
export function* endSilentKilled(dialect: Dialect, writer: string, workflowId: number): Procedure<void> {
  const killed = instancesByStatus('killed', 'ti.id', ['K'], {
    sql: `wr.workflow_id = ? AND ${IS_CLIENT} AND COALESCE(ti.report_by_date, ti.status_date, ${dialect.now}) <= ${dialect.now}`,
    params: [workflowId],
  });
  const found = yield { sql: `SELECT id FROM ${killed.sql} LIMIT ${PIECE_ROWS}`, params: killed.params };
  const ids = (found.rows as { id: number }[]).map(({ id }) => id);
  if (ids.length > 0) yield* endKilled(dialect, writer, ids, REAP, KILLED_OVERDUE);
}

function* endKilled(dialect: Dialect, writer: string, ids: readonly number[], asker: Asker, why: string): Procedure<number> {
  const transition = new Transition(dialect, writer);
  yield* transition.lock(ids);
  let ended = 0;
  for (const id of ids) {
    const attempt = transition.instance(id);
    if (attempt?.status !== 'K' || !transition.move(attempt, 'F', asker).accepted) continue;
    transition.addError({ task_instance_id: id, description: why, is_new: 1 });
    ended += 1;
  }
  yield* transition.write();
  return ended;
}

/** The last transaction of E46: client runs in C or H → T, the workflow → H. */
export function* finalizeRuns(dialect: Dialect, workflowId: number): Procedure<RunChange[]> {
  const workflow = yield* lockWorkflow(dialect, workflowId);
  return yield* endRuns(dialect, workflow, `status IN ('C','H') AND ${IS_CLIENT}`, 'T');
}

/** What C23 does first: client runs in C or H whose deadline has passed → T. */
export function* finalizeOverdueRuns(dialect: Dialect, workflow: LockedWorkflow): Procedure<RunChange[]> {
  return yield* endRuns(dialect, workflow, `status IN ('C','H') AND heartbeat_date <= ${dialect.now} AND ${IS_CLIENT}`, 'T');
}

/**
 * Ends runs of a locked workflow past the tables, as the reaper and operators may: each that `where` names → `to`. The workflow
 * follows unless it is D or another run of it is live.
 */
export function* endRuns(
  dialect: Dialect,
  workflow: LockedWorkflow,
  where: string,
  to: 'T' | 'D' | 'E' | 'A',
): Procedure<RunChange[]> {
  const found = yield {
    sql: `SELECT id FROM workflow_run WHERE workflow_id = ? AND ${where} ORDER BY id`,
    params: [workflow.id],
  };
  const ids = (found.rows as { id: number }[]).map(({ id }) => id);
  if (ids.length === 0) return [];
  yield lockRows(dialect, 'workflow_run', 'id', ids);
  const live = LIVE_WORKFLOW_RUN_STATUSES.map((letter) => `'${letter}'`).join(',');
  const list = idList(ids);
  const others = yield {
    sql: `SELECT id FROM workflow_run WHERE workflow_id = ? AND status IN (${live}) AND id NOT IN ${list.sql} LIMIT 1`,
    params: [workflow.id, ...list.params],
  };
  const follows = workflowFollows[to];
  if (follows !== undefined && follows !== workflow.status && workflow.status !== 'D' && others.rows.length === 0) {
    yield* guarded(`workflow ${workflow.status}→${follows}`, 1, {
      sql: `UPDATE workflow SET status = '${follows}', status_date = ${dialect.now} WHERE id = ? AND status = ?`,
      params: [workflow.id, workflow.status],
    });
  }
  yield* guarded(`workflow_run →${to}`, ids.length, {
    sql: `UPDATE workflow_run SET status = '${to}', status_date = ${dialect.now} WHERE id IN ${list.sql} AND status IN (${live})`,
    params: list.params,
  });
  return ids.map((workflow_run_id) => ({ workflow_id: workflow.id, workflow_run_id, status: to }));
}

export interface Reaped {
  readonly reply: ReplyOf<typeof reapWorkflowRun>;
  readonly changed: RunChange[];
  /** False: there are attempts left to settle; ask again. */
  readonly isLast: boolean;
}

const OVERDUE = 'The client of the run went silent past its deadline while it was told to stop';
const KILLED_OVERDUE =
  'This attempt was under the order to stop and gave no sign of life past its deadline; its run has no client that could end it.';

/**
 * A piece of P4, under the locks of workflow and run, so that a heartbeat that came before wins and one that comes after finds the
 * run ended (race 42). `areTasksDone` was asked before.
 */
export function* reapPiece(dialect: Dialect, writer: string, runId: number, areTasksDone: boolean): Procedure<Reaped> {
  const done = (status: string, changed: RunChange[] = []): Reaped => ({ reply: { status }, changed, isLast: true });
  const found = yield* readRun(dialect, runId);
  if (found === undefined) return done('');
  const workflow = yield* lockWorkflow(dialect, found.workflow_id);
  const [run] = (yield lockRows(dialect, 'workflow_run', runColumns(dialect), [runId])).rows as [RunRow];
  if (run.driver === Driver.SERVER || !isLive(run)) return done(run.status);
  if (Number(run.is_overdue ?? 0) !== 1) return done('');
  const where = `id = ${run.id}`;
  if (run.status === 'L') return done('A', yield* endRuns(dialect, workflow, where, 'A'));
  if (run.status !== 'C' && run.status !== 'H') return done('E', yield* endRuns(dialect, workflow, where, 'E'));

  const { isLast } = yield* stopOf(dialect, writer, run, REAP, OVERDUE);
  if (!isLast) return { reply: { status: run.status }, changed: [], isLast };
  const silent = yield {
    sql:
      "SELECT id FROM task_instance WHERE workflow_run_id = ? AND status = 'K' " +
      `AND COALESCE(report_by_date, status_date, ${dialect.now}) <= ${dialect.now} LIMIT ${PIECE_ROWS}`,
    params: [run.id],
  };
  const ids = (silent.rows as { id: number }[]).map(({ id }) => id);
  if (ids.length > 0) {
    yield* endKilled(dialect, writer, ids, REAP, KILLED_OVERDUE);
    return { reply: { status: run.status }, changed: [], isLast: false };
  }
  const killed = yield {
    sql: "SELECT COUNT(*) AS n FROM task_instance WHERE workflow_run_id = ? AND status = 'K'",
    params: [run.id],
  };
  const remaining = Number((killed.rows as { n: number }[])[0]?.n ?? 0);
  if (remaining > 0) return { reply: { status: run.status, kill_self_remaining: remaining }, changed: [], isLast: true };
  const to = areTasksDone ? 'D' : 'T';
  return done(to, yield* endRuns(dialect, workflow, where, to));
}

/** What may be left in a run that has ended: its client took nobody's place, and nobody resumed the workflow. */
const LEFT: readonly TaskInstanceStatus[] = ['Q', 'I', 'O', 'R', 'T', 'X', 'K'];
const LEFT_BEHIND =
  'The run of this attempt ended, nobody has resumed its workflow, and nothing was heard of the attempt past its deadline';

/**
 * A piece of `workflow_run.end_attempts`: attempts that an ended client run left behind and that are past their deadline → F, by way of K
 * where their table has no shorter one. One that is still heard of has a deadline to come, and stays.
 */
export function* endLeftPiece(dialect: Dialect, writer: string, runId: number): Procedure<Stopped> {
  const run = yield* readRun(dialect, runId);
  if (run === undefined || isLive(run) || run.driver === Driver.SERVER) return { stopped: 0, isLast: true };
  const found = yield {
    sql:
      `SELECT id FROM task_instance WHERE workflow_run_id = ? AND status IN (${LEFT.map((letter) => `'${letter}'`).join(',')}) ` +
      `AND (report_by_date IS NULL OR report_by_date <= ${dialect.now}) LIMIT ${PIECE_ROWS}`,
    params: [run.id],
  };
  const ids = (found.rows as { id: number }[]).map(({ id }) => id);
  const transition = new Transition(dialect, writer);
  yield* transition.lock(ids);
  let stopped = 0;
  for (const id of ids) {
    const attempt = transition.instance(id);
    if (attempt === undefined || !LEFT.includes(attempt.status)) continue;
    if (attempt.status !== 'K' && !stopAttempt(transition, attempt, END_LEFT, LEFT_BEHIND)) continue;
    if (attempt.status === 'K') {
      if (!transition.move(attempt, 'F', END_LEFT).accepted) continue;
      transition.addError({ task_instance_id: id, description: `${LEFT_BEHIND}.`, is_new: 1 });
    }
    stopped += 1;
  }
  yield* transition.write();
  return { stopped, isLast: ids.length < PIECE_ROWS || stopped === 0 };
}

const isLive = ({ status }: RunRow): boolean => (LIVE_WORKFLOW_RUN_STATUSES as readonly string[]).includes(status);

const runColumns = (dialect: Dialect): string =>
  `id, workflow_id, status, driver, heartbeat_date <= ${dialect.now} AS is_overdue`;

function* readRun(dialect: Dialect, runId: number): Procedure<RunRow | undefined> {
  const read = yield { sql: `SELECT ${runColumns(dialect)} FROM workflow_run WHERE id = ?`, params: [runId] };
  return (read.rows as RunRow[])[0];
}
