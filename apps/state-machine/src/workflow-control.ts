/**
 * What people ask of a workflow that is done in one transaction: pause, drain, cancel, limits, priority. Each holds the workflow's row
 * and writes its event with its effect; a verb that finds its work done writes nothing. What a drain or a cancel makes of attempts is
 * done in pieces afterwards (`settle.ts`).
 */
import {
  Driver,
  JobmonError,
  LIMIT_NONE,
  verdict,
  WORKFLOW_RUN_DEADLINE_SECONDS,
  workflowRunMachine,
  type cancelWorkflow,
  type ControlReply,
  type pauseWorkflow,
  type RequestOf,
  type setWorkflowLimits,
  type setWorkflowPriority,
} from '@jobmon/contracts';
import { idList, lockRows, type Database, type Dialect, type Procedure } from '@jobmon/entities';
import { liveRunOf, lockWorkflow, type LiveRun } from './reset';
import type { RunChange } from './run-report';
import { guarded } from './guard';
import { ascending } from './transition';
import { insertEvent } from './workflow-event';

/** What a verb did. */
export interface Controlled {
  readonly workflow_id: number;
  /** The run that was live. */
  readonly run: LiveRun | undefined;
  readonly is_changed: boolean;
  /** Runs whose status is new. */
  readonly changed: RunChange[];
}

/** Commands that wait for a run or for attempts to end, and then link a run; a stop withdraws them. */
export const WAITING_COMMANDS: ReadonlySet<string> = new Set(['workflow.resume', 'workflow.retry']);

const label = (run: LiveRun): string => workflowRunMachine.states[run.status].label;

/** Whether a run was told to stop. */
export const isStopping = (run: LiveRun): boolean => run.status === 'C' || run.status === 'H';

/** @throws JobmonError NOT_FOUND; CONFLICT, see `workflow.pause` */
export function* pause(dialect: Dialect, request: RequestOf<typeof pauseWorkflow>): Procedure<Controlled> {
  const { workflow_id } = request;
  yield* lockWorkflow(dialect, workflow_id);
  const run = yield* liveRunOf(workflow_id);
  if (run === undefined) throw new JobmonError('CONFLICT', `no run of workflow ${workflow_id} is live: there is nothing to hold`);
  if (run.driver !== Driver.SERVER) {
    throw new JobmonError(
      'CONFLICT',
      `workflow ${workflow_id} is run by a client (workflow run ${run.id}): set its limit to 0 to hold it, or resume it here to take it over`,
    );
  }
  if (isStopping(run)) {
    throw new JobmonError('CONFLICT', `run ${run.id} of workflow ${workflow_id} is ${label(run)}: it is being stopped already`);
  }
  const is_changed = !(yield* setPaused(dialect, run.id, 1));
  if (is_changed) yield insertEvent(dialect, { ...request, workflow_run_id: run.id, verb: 'pause' });
  return { workflow_id, run, is_changed, changed: [] };
}

/** Answers whether it stood so already. */
export function* setPaused(dialect: Dialect, runId: number, to: 0 | 1): Procedure<boolean> {
  const [run] = (yield lockRows(dialect, 'workflow_run', 'id, is_paused', [runId])).rows as { is_paused: number | null }[];
  if ((run?.is_paused ?? 0) === to) return true;
  yield* guarded('workflow_run is_paused', 1, {
    sql: 'UPDATE workflow_run SET is_paused = ? WHERE id = ?',
    params: [to, runId],
  });
  return false;
}

/**
 * Tells the live run to stop, H for a drain and C for a cancel, and withdraws a command that waits to link another.
 *
 * @throws JobmonError NOT_FOUND; UNAVAILABLE while a client is linking its run
 */
export function* stop(
  dialect: Dialect,
  request: RequestOf<typeof cancelWorkflow>,
  verb: 'drain' | 'cancel',
): Procedure<Controlled> {
  const { workflow_id } = request;
  yield* lockWorkflow(dialect, workflow_id);
  const run = yield* liveRunOf(workflow_id);
  if (run?.status === 'L') throw new JobmonError('UNAVAILABLE', `run ${run.id} is being linked; ask again when it is`);
  const withdrawn = yield* withdraw(workflow_id);
  const changed = run === undefined ? [] : yield* tellToEnd(dialect, workflow_id, run, verb === 'cancel' ? 'C' : 'H');
  const is_changed = withdrawn !== null || changed.length > 0;
  if (is_changed) {
    const detail = withdrawn === null ? {} : { withdrawn };
    yield insertEvent(dialect, { ...request, workflow_run_id: run?.id ?? null, verb, detail });
  }
  return { workflow_id, run, is_changed, changed };
}

/** Ends a command that waits, if there is one; answers its operation. What it had made ready stays so. */
export function* withdraw(workflowId: number): Procedure<string | null> {
  const read = yield { sql: 'SELECT operation FROM workflow_command WHERE workflow_id = ?', params: [workflowId] };
  const [row] = read.rows as { operation: string }[];
  if (row === undefined || !WAITING_COMMANDS.has(row.operation)) return null;
  yield { sql: 'DELETE FROM workflow_command WHERE workflow_id = ?', params: [workflowId] };
  return row.operation;
}

/**
 * A live run → C or H, whoever drives it; one that cannot go there, or stands there, stays. Its deadline is at most 93 s away from
 * now on: B, I and O begin with a longer one.
 */
export function* tellToEnd(dialect: Dialect, workflowId: number, live: LiveRun, to: 'C' | 'H'): Procedure<RunChange[]> {
  const [run] = (yield lockRows(dialect, 'workflow_run', 'id, status', [live.id])).rows as LiveRun[];
  if (run === undefined || verdict(workflowRunMachine, run.status, to) !== 'valid') return [];
  const latest = dialect.nowPlusSeconds;
  yield* guarded(`workflow_run ${run.status}→${to}`, 1, {
    sql:
      `UPDATE workflow_run SET status = '${to}', status_date = ${dialect.now}, is_paused = NULL, ` +
      `heartbeat_date = CASE WHEN heartbeat_date < ${latest} THEN heartbeat_date ELSE ${latest} END WHERE id = ? AND status = ?`,
    params: [WORKFLOW_RUN_DEADLINE_SECONDS, WORKFLOW_RUN_DEADLINE_SECONDS, run.id, run.status],
  });
  return [{ workflow_id: workflowId, workflow_run_id: run.id, status: to }];
}

interface ArrayRow {
  readonly id: number;
  readonly template: string;
  readonly max_concurrently_running: number;
}

/** The arrays of a workflow with the names of their templates, ascending. */
export function* arraysOf(workflowId: number): Procedure<ArrayRow[]> {
  const read = yield {
    sql:
      'SELECT a.id, t.name AS template, a.max_concurrently_running FROM `array` AS a ' +
      'JOIN task_template_version AS v ON v.id = a.task_template_version_id JOIN task_template AS t ON t.id = v.task_template_id ' +
      'WHERE a.workflow_id = ? ORDER BY a.id',
    params: [workflowId],
  };
  return read.rows as ArrayRow[];
}

/** @throws JobmonError MALFORMED, with the templates that there are */
export function requireTemplates(workflowId: number, arrays: readonly ArrayRow[], names: readonly string[]): void {
  const known = new Set(arrays.map(({ template }) => template));
  const unknown = names.filter((name) => !known.has(name));
  if (unknown.length === 0) return;
  const there = [...known].slice(0, 20).join(', ');
  throw new JobmonError('MALFORMED', `workflow ${workflowId} has no tasks of template '${unknown[0]}' (it has: ${there})`, {
    rule: 'unknown_task_template',
    task_templates: unknown,
  });
}

/** @throws JobmonError NOT_FOUND; MALFORMED, see `workflow.set_limits` */
export function* setLimits(dialect: Dialect, request: RequestOf<typeof setWorkflowLimits>): Procedure<Controlled> {
  const { workflow_id, task_templates } = request;
  const names = Object.keys(task_templates);
  if (names.length === 0 && request.max_concurrently_running === undefined) {
    throw new JobmonError('MALFORMED', 'nothing to limit: give max_concurrently_running, or task_templates with a limit each');
  }
  const [workflow] = (yield lockRows(dialect, 'workflow', 'id, max_concurrently_running', [workflow_id])).rows as {
    max_concurrently_running: number;
  }[];
  if (workflow === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
  const run = yield* liveRunOf(workflow_id);
  const arrays = yield* arraysOf(workflow_id);
  requireTemplates(workflow_id, arrays, names);

  const before: Record<string, number | null> = {};
  const after: Record<string, number | null> = {};
  const note = (what: string, from: number, to: number): boolean => {
    if (from === to) return false;
    before[what] = from === LIMIT_NONE ? null : from;
    after[what] = to === LIMIT_NONE ? null : to;
    return true;
  };
  const limit = request.max_concurrently_running === undefined ? null : (request.max_concurrently_running ?? LIMIT_NONE);
  if (limit !== null && note('workflow', workflow.max_concurrently_running, limit)) {
    yield { sql: 'UPDATE workflow SET max_concurrently_running = ? WHERE id = ?', params: [limit, workflow_id] };
  }
  for (const [name, wanted] of Object.entries(task_templates)) {
    const to = wanted ?? LIMIT_NONE;
    const own = arrays.filter(({ template, max_concurrently_running }) => template === name && max_concurrently_running !== to);
    const [first] = own;
    if (first === undefined) continue;
    note(`task_template ${name}`, first.max_concurrently_running, to);
    const list = idList(ascending(own.map(({ id }) => id)));
    yield { sql: `UPDATE \`array\` SET max_concurrently_running = ? WHERE id IN ${list.sql}`, params: [to, ...list.params] };
  }
  const is_changed = Object.keys(after).length > 0;
  if (is_changed) {
    yield insertEvent(dialect, { ...request, workflow_run_id: run?.id ?? null, verb: 'set_limits', detail: { before, after } });
  }
  return { workflow_id, run, is_changed, changed: [] };
}

/** @throws JobmonError NOT_FOUND */
export function* setPriority(dialect: Dialect, request: RequestOf<typeof setWorkflowPriority>): Procedure<Controlled> {
  const { workflow_id, priority } = request;
  const [workflow] = (yield lockRows(dialect, 'workflow', 'id, priority', [workflow_id])).rows as { priority: number | null }[];
  if (workflow === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
  const run = yield* liveRunOf(workflow_id);
  const before = workflow.priority ?? 0;
  const is_changed = before !== priority;
  if (is_changed) {
    yield { sql: 'UPDATE workflow SET priority = ? WHERE id = ?', params: [priority, workflow_id] };
    const detail = { before, after: priority };
    yield insertEvent(dialect, { ...request, workflow_run_id: run?.id ?? null, verb: 'set_priority', detail });
  }
  return { workflow_id, run, is_changed, changed: [] };
}

/** How a workflow stands, committed. @throws JobmonError NOT_FOUND */
export async function controlReply(database: Database, workflow_id: number, is_changed: boolean): Promise<ControlReply> {
  type Row = Pick<ControlReply, 'workflow_status' | 'workflow_run_id' | 'workflow_run_status'> & {
    is_paused: number | null;
    command: string | null;
  };
  const [row] = await database.read<Row>(
    'SELECT w.status AS workflow_status, r.id AS workflow_run_id, r.status AS workflow_run_status, r.is_paused AS is_paused, ' +
      'c.operation AS command FROM workflow AS w ' +
      'LEFT JOIN workflow_run AS r ON r.id = (SELECT MAX(id) FROM workflow_run WHERE workflow_id = w.id) ' +
      'LEFT JOIN workflow_command AS c ON c.workflow_id = w.id WHERE w.id = ?',
    [workflow_id],
  );
  if (row === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
  const { is_paused, command, ...standing } = row;
  const isStopping = standing.workflow_run_status === 'C' || standing.workflow_run_status === 'H';
  return { workflow_id, ...standing, is_paused: is_paused === 1, is_changed, is_pending: isStopping || command !== null };
}
