/**
 * Commands on all tasks of a workflow: the reset for a new run (E18), the reset by a person (C23, `workflow.start_over`), tasks put
 * where a person wants them (C4), a resume, a retry. Each is done in pieces of up to 1,000 tasks, a transaction each under the
 * workflow's lock. What needs more than one, or has to wait for a run to end, has
 * a row in `workflow_command` from the first piece to the last: while it stands no run is linked, a repeat of the same command joins it,
 * another command waits, and whoever finds it after a crash can go on, since the row says what was asked and how far it is.
 */
import {
  Actor,
  Driver,
  historyReasonOf,
  ID_MAX,
  JobmonError,
  type Lease,
  type RequestOf,
  type resetWorkflow,
  type setResumeState,
  type startOverWorkflow,
  type updateTaskStatuses,
  type WorkflowStatus,
} from '@jobmon/contracts';
import type { Dialect, Procedure } from '@jobmon/entities';
import {
  finishTask,
  isKept,
  liveRunOf,
  lockWorkflow,
  RESET,
  RESET_WHY,
  resetTask,
  type LiveRun,
  type LockedWorkflow,
} from './reset';
import { changeResources, findChanges } from './resource-change';
import { endSilentKilled, finalizeOverdueRuns } from './resume';
import type { RunChange } from './run-report';
import { hasUnended, linkSuccessor, meetRun, modeOf, resumeEvent, type LinkingCommand } from './successor';
import { guarded } from './guard';
import { Transition, type Asker, type ChangedTasks, type LockedTask } from './transition';
import { WAITING_COMMANDS } from './workflow-control';
import { insertEvent } from './workflow-event';
import { isLeaseLost } from './workflow-run-lease';

export type WorkflowCommand =
  | { readonly operation: 'workflow.set_resume_state'; readonly request: RequestOf<typeof setResumeState> }
  | { readonly operation: 'workflow.reset'; readonly request: RequestOf<typeof resetWorkflow> }
  | {
      readonly operation: 'task.update_statuses';
      readonly request: RequestOf<typeof updateTaskStatuses>;
      /** Found before (`tasksToChange`), ascending; null: all. Not stored: the same request finds the same. */
      readonly task_ids: readonly number[] | null;
    }
  | { readonly operation: 'workflow.start_over'; readonly request: RequestOf<typeof startOverWorkflow> }
  | LinkingCommand;

/** How far a command is, as its row says it. */
export interface Progress {
  readonly after_array_id: number;
  readonly after_task_id: number;
  /** Tasks changed and attempts stopped so far. */
  readonly tasks: number;
  readonly attempts: number;
}

export interface Step {
  readonly progress: Progress;
  readonly is_ended: boolean;
  /** Whether anything was written that the caller asked for. */
  readonly is_changed: boolean;
  /** Somebody else had done the last piece; `progress` tells nothing. */
  readonly is_joined?: true;
  /** A run or an attempt has to end before the command can go on; whoever comes later does. */
  readonly is_waiting?: true;
  /** The scheduler that asks is a former holder of its run; nothing was done. */
  readonly is_lease_lost?: true;
  /** Why the command is not done at all; E18 answers it. */
  readonly refusal?: string;
  /** Status of the workflow after the last piece. */
  readonly workflow_status: string;
  readonly changed: RunChange[];
  /** Tasks made ready under a live run, which is to be told. */
  readonly retried: ChangedTasks[];
}

/** Tasks of one transaction. */
const PIECE_TASKS = 1_000;
/** Tasks looked at in one statement, and such statements in one transaction: what is not to be changed passes quickly. */
const PAGE_ROWS = 2_000;
const PAGES_MAX = 50;
/** Stands for the tasks without an array, which come last. */
const NO_ARRAY = ID_MAX;
/** Task ids that the record of a retry names. */
const RECORDED_IDS_MAX = 100;

const BEGIN: Progress = { after_array_id: 0, after_task_id: 0, tasks: 0, attempts: 0 };

const RESET_BY_PERSON: Asker = { actor: Actor.USER, reason: historyReasonOf('workflow.reset') };
const START_OVER: Asker = { actor: Actor.USER, reason: historyReasonOf('workflow.start_over') };
const RESUME: Asker = { actor: Actor.USER, reason: historyReasonOf('workflow.resume') };
const RETRY: Asker = { actor: Actor.USER, reason: historyReasonOf('workflow.retry') };
const OVERRIDE: Asker = { actor: Actor.USER, reason: historyReasonOf('task.update_statuses') };

/**
 * One piece. `isBegun`: the caller has done a piece already, so when the row is gone somebody else did the last one. `lease`: of the
 * scheduler that asks.
 *
 * @throws JobmonError UNAVAILABLE while another command on the workflow is in progress; NOT_FOUND; MALFORMED for a refused C23;
 *   CONFLICT for what v4 is asked for and cannot do
 */
export function* stepCommand(
  dialect: Dialect,
  writer: string,
  command: WorkflowCommand,
  isBegun: boolean,
  lease?: Lease,
): Procedure<Step> {
  const workflow = yield* lockWorkflow(dialect, command.request.workflow_id);
  const row = yield* standingCommand(command);
  const changed: RunChange[] = [];
  const from = row?.progress ?? BEGIN;
  const step = (more: Partial<Step>): Step => ({
    progress: from,
    is_ended: false,
    is_changed: false,
    workflow_status: workflow.status,
    changed,
    retried: [],
    ...more,
  });
  if (lease !== undefined && (yield* isLeaseLost(dialect, ...lease))) return step({ is_lease_lost: true });
  if (row === undefined && isBegun) return step({ is_ended: true, is_joined: true });
  if (row === undefined) {
    const refusal = yield* refusalOf(command, workflow);
    if (refusal !== null) return step({ is_ended: true, refusal });
    if (isReset(command)) changed.push(...(yield* finalizeOverdueRuns(dialect, workflow)));
    yield* refuseLiveRun(command, workflow.id);
  }
  const live = yield* liveRunOf(workflow.id);
  const met = linksRun(command) ? yield* meetRun(dialect, command, workflow, live, row !== undefined) : null;
  if (met !== null) {
    changed.push(...met.changed);
    // Stored once: its date tells whether somebody is at work on it.
    if (met.is_waiting && row === undefined) yield* storeCommand(dialect, command, from);
    else if (!met.is_waiting && row !== undefined) yield* removeCommand(workflow.id);
    return step({ is_ended: !met.is_waiting, is_changed: met.is_changed, ...(met.is_waiting ? { is_waiting: true } : {}) });
  }
  const next = yield* nextTasks(command, workflow.id, from, live);
  const done = yield* changeTasks(dialect, writer, command, workflow.id, live, next.ids);
  const progress: Progress = {
    after_array_id: next.after_array_id,
    after_task_id: next.after_task_id,
    tasks: from.tasks + done.ids.length,
    attempts: from.attempts + done.attempts,
  };
  const isIdle = next.isLast && progress.tasks === 0 && !hasEffectByItself(command, workflow);
  const is_changed = !isIdle;
  if (row === undefined && is_changed) yield* record(dialect, command, live);
  const retried = live === undefined ? [] : [{ workflow_id: workflow.id, workflow_run_id: live.id, task_ids: done.ids }];
  if (!next.isLast) {
    yield* storeCommand(dialect, command, progress);
    return step({ progress, is_changed, retried });
  }
  const isLinking = linksRun(command) && live === undefined && !isIdle;
  if (isLinking && row !== undefined) yield* endSilentKilled(dialect, writer, workflow.id);
  if (isLinking && (yield* hasUnended(workflow.id, modeOf(command)))) {
    if (row === undefined || next.ids.length > 0) yield* storeCommand(dialect, command, progress);
    return step({ progress, is_changed, is_waiting: true });
  }
  const workflow_status = yield* finish(dialect, command, workflow);
  if (isLinking) changed.push(yield* linkSuccessor(dialect, { id: workflow.id, status: workflow_status }, command.request));
  if (row !== undefined) yield* removeCommand(workflow.id);
  return step({ progress, is_ended: true, is_changed, workflow_status, retried });
}

/** Whether a command ends by linking a server run, unless one is live. */
function linksRun(command: WorkflowCommand): command is LinkingCommand {
  return command.operation === 'workflow.resume' || command.operation === 'workflow.retry';
}

function isReset(command: WorkflowCommand): boolean {
  return command.operation === 'workflow.reset' || command.operation === 'workflow.start_over';
}

/** Whether a command that finds no task to change does something all the same. */
function hasEffectByItself(command: WorkflowCommand, workflow: LockedWorkflow): boolean {
  if (command.operation === 'workflow.start_over') return workflow.status !== 'G';
  return command.operation !== 'workflow.retry';
}

function* record(dialect: Dialect, { operation, request }: WorkflowCommand, live: LiveRun | undefined): Procedure<void> {
  const workflow_run_id = live?.id ?? null;
  if (operation === 'workflow.start_over') {
    yield insertEvent(dialect, { ...request, workflow_run_id, verb: 'reset', detail: { keep_done: request.keep_done } });
  } else if (operation === 'workflow.resume') {
    yield resumeEvent(dialect, request, workflow_run_id);
  } else if (operation === 'workflow.retry') {
    const chosen = request.task_ids === 'failed' ? 'failed' : request.task_ids.slice(0, RECORDED_IDS_MAX);
    const of = request.task_ids === 'failed' ? {} : { tasks: request.task_ids.length };
    const detail = { task_ids: chosen, ...of, with_downstream: request.with_downstream };
    yield insertEvent(dialect, { ...request, workflow_run_id, verb: 'retry', detail });
  }
}

/** E18 is refused in words. */
function* refusalOf(command: WorkflowCommand, workflow: LockedWorkflow): Procedure<string | null> {
  if (command.operation !== 'workflow.set_resume_state') return null;
  if (workflow.created_date === null) return `not all tasks of workflow ${workflow.id} are bound`;
  const live = yield* liveRunOf(workflow.id);
  return live === undefined ? null : `workflow ${workflow.id} is held by its run ${live.id}`;
}

/** A reset is refused by any live run, C4 by one that the server drives; as an error, since their answers have no room for words. */
function* refuseLiveRun(command: WorkflowCommand, workflowId: number): Procedure<void> {
  if (command.operation === 'workflow.set_resume_state' || linksRun(command)) return;
  const live = yield* liveRunOf(workflowId);
  if (live === undefined || (command.operation === 'task.update_statuses' && live.driver !== Driver.SERVER)) return;
  const isOurs = command.operation === 'workflow.start_over';
  const cure = isOurs ? 'cancel or drain it first, and wait for its end' : 'stop that run first';
  throw new JobmonError(isOurs ? 'CONFLICT' : 'MALFORMED', `workflow ${workflowId} is held by its run ${live.id}: ${cure}`);
}

/** Whether a task is one that the command changes. */
function isWanted(
  command: WorkflowCommand,
  { status, num_attempts }: Pick<LockedTask, 'status' | 'num_attempts'>,
  live: LiveRun | undefined,
): boolean {
  switch (command.operation) {
    case 'workflow.set_resume_state':
      return status !== 'D' && status !== 'G';
    case 'workflow.reset':
      return status !== 'G' && !(command.request.partial_reset && status === 'D');
    case 'workflow.start_over':
      return status !== 'G' && !(command.request.keep_done && status === 'D');
    case 'workflow.resume':
      return status !== 'D' && (status !== 'G' || num_attempts > 0 || command.request.resources.length > 0);
    case 'workflow.retry':
      return status === 'F' || (status === 'D' && live === undefined && command.task_ids !== null);
    case 'task.update_statuses':
      return status !== command.request.new_status;
  }
}

interface NextTasks {
  readonly ids: number[];
  readonly after_array_id: number;
  readonly after_task_id: number;
  readonly isLast: boolean;
}

function* nextTasks(
  command: WorkflowCommand,
  workflowId: number,
  from: Progress,
  live: LiveRun | undefined,
): Procedure<NextTasks> {
  if ('task_ids' in command && command.task_ids !== null) {
    const begin = firstAbove(command.task_ids, from.after_task_id);
    const ids = command.task_ids.slice(begin, begin + PIECE_TASKS);
    const isLast = begin + PIECE_TASKS >= command.task_ids.length;
    return { ids, after_array_id: 0, after_task_id: ids.at(-1) ?? 0, isLast };
  }
  const arrays = yield {
    sql: 'SELECT id FROM array WHERE workflow_id = ? AND id >= ? ORDER BY id',
    params: [workflowId, from.after_array_id],
  };
  const ids: number[] = [];
  let pages = 0;
  for (const arrayId of [...(arrays.rows as { id: number }[]).map(({ id }) => id), NO_ARRAY]) {
    let after = arrayId === from.after_array_id ? from.after_task_id : 0;
    for (let isFull = true; isFull;) {
      if (pages++ === PAGES_MAX) return { ids, after_array_id: arrayId, after_task_id: after, isLast: false };
      const page = yield {
        sql:
          `SELECT id, status, num_attempts FROM task WHERE ${arrayId === NO_ARRAY ? 'array_id IS NULL AND workflow_id = ?' : 'array_id = ?'} ` +
          `AND id > ? ORDER BY id LIMIT ${PAGE_ROWS}`,
        params: [arrayId === NO_ARRAY ? workflowId : arrayId, after],
      };
      for (const task of page.rows as Pick<LockedTask, 'id' | 'status' | 'num_attempts'>[]) {
        if (isWanted(command, task, live)) {
          if (ids.length === PIECE_TASKS) return { ids, after_array_id: arrayId, after_task_id: after, isLast: false };
          ids.push(task.id);
        }
        after = task.id;
      }
      isFull = page.rows.length === PAGE_ROWS;
    }
  }
  return { ids, after_array_id: NO_ARRAY, after_task_id: 0, isLast: true };
}

/** The position of the first id above one, among ascending ids. */
function firstAbove(ids: readonly number[], id: number): number {
  let low = 0;
  for (let high = ids.length; low < high;) {
    const middle = (low + high) >> 1;
    if ((ids[middle] as number) > id) high = middle;
    else low = middle + 1;
  }
  return low;
}

function* changeTasks(
  dialect: Dialect,
  writer: string,
  command: WorkflowCommand,
  workflowId: number,
  live: LiveRun | undefined,
  ids: readonly number[],
): Procedure<{ ids: number[]; attempts: number }> {
  const transition = new Transition(dialect, writer);
  const tasks = (yield* transition.lockTasks(workflowId, ids)).filter((task) => isWanted(command, task, live));
  const changed: number[] = [];
  let attempts = 0;
  for (const task of tasks) {
    const stopped = changeTask(transition, command, task);
    if (stopped === null) continue;
    changed.push(task.id);
    attempts += stopped;
  }
  yield* transition.write();
  if (command.operation === 'workflow.resume') {
    const changes = yield* findChanges(workflowId, command.request.resources);
    yield* changeResources(
      dialect,
      changes,
      tasks.map(({ id }) => id),
    );
  }
  return { ids: changed, attempts };
}

/** How many attempts were stopped; null: the task stays as it is. */
function changeTask(transition: Transition, command: WorkflowCommand, task: LockedTask): number | null {
  switch (command.operation) {
    case 'workflow.set_resume_state':
      if (!command.request.reset_if_running && isKept(transition, task)) return null;
      return resetTask(transition, task, RESET, RESET_WHY);
    case 'workflow.reset':
      return resetTask(transition, task, RESET_BY_PERSON, 'The workflow was reset');
    case 'workflow.start_over':
      return resetTask(transition, task, START_OVER, 'The workflow was reset');
    case 'workflow.resume':
      // It waits already, fresh; its resources alone are to change.
      if ((task.status === 'G' && task.num_attempts === 0) || (command.request.mode === 'hot' && isKept(transition, task)))
        return null;
      return resetTask(transition, task, RESUME, RESET_WHY);
    case 'workflow.retry':
      return resetTask(transition, task, RETRY, 'The task was chosen to run again');
    case 'task.update_statuses':
      if (command.request.new_status === 'G') return resetTask(transition, task, OVERRIDE, 'The task was put back to G by hand');
      return finishTask(transition, task, OVERRIDE, 'The task was put to D by hand');
  }
}

/** What the last piece does to the workflow; answers its status. */
function* finish(dialect: Dialect, command: WorkflowCommand, workflow: LockedWorkflow): Procedure<WorkflowStatus> {
  const read = yield { sql: 'SELECT status FROM workflow WHERE id = ?', params: [workflow.id] };
  const [row] = read.rows as [{ status: WorkflowStatus }];
  const to = yield* statusAfter(command, workflow.id, row.status);
  if (to === row.status) return to;
  yield* guarded(`workflow ${row.status}→${to}`, 1, {
    sql: `UPDATE workflow SET status = '${to}', status_date = ${dialect.now} WHERE id = ? AND status = ?`,
    params: [workflow.id, row.status],
  });
  return to;
}

function* statusAfter(command: WorkflowCommand, workflowId: number, status: WorkflowStatus): Procedure<WorkflowStatus> {
  if (isReset(command)) return 'G';
  const isOverride = command.operation === 'task.update_statuses';
  if (command.operation === 'workflow.retry' || (isOverride && command.request.new_status === 'G')) {
    return status === 'D' && (yield* hasUndoneTask(workflowId)) ? 'F' : status;
  }
  if (!isOverride) return status;
  const isHeld = (yield* liveRunOf(workflowId)) !== undefined;
  return isHeld || (yield* hasUndoneTask(workflowId)) || !(yield* hasTask(workflowId)) ? status : 'D';
}

/** Reads an index alone, and no further than the first that it finds. */
function* hasUndoneTask(workflowId: number): Procedure<boolean> {
  const read = yield { sql: "SELECT 1 AS found FROM task WHERE workflow_id = ? AND status <> 'D' LIMIT 1", params: [workflowId] };
  return read.rows.length > 0;
}

function* hasTask(workflowId: number): Procedure<boolean> {
  const read = yield { sql: 'SELECT 1 AS found FROM task WHERE workflow_id = ? LIMIT 1', params: [workflowId] };
  return read.rows.length > 0;
}

/**
 * The row of this very command. Another one is waited for, unless a reset meets one that only waits for something to end: that one is
 * withdrawn.
 */
function* standingCommand(command: WorkflowCommand): Procedure<{ readonly progress: Progress } | undefined> {
  const { workflow_id } = command.request;
  const row = yield* readCommand(workflow_id);
  if (row === undefined || row.text === textOf(command)) return row;
  if (command.operation === 'workflow.start_over' && WAITING_COMMANDS.has(row.operation)) {
    yield* removeCommand(workflow_id);
    return undefined;
  }
  if (linksRun(command) && WAITING_COMMANDS.has(row.operation)) {
    throw new JobmonError(
      'CONFLICT',
      `${row.operation} of workflow ${workflow_id} was asked for on other terms and waits: a drain or a cancel withdraws it`,
    );
  }
  throw new JobmonError('UNAVAILABLE', `${row.operation} of workflow ${workflow_id} is in progress; ask again when it has ended`);
}

function* removeCommand(workflowId: number): Procedure<void> {
  yield { sql: 'DELETE FROM workflow_command WHERE workflow_id = ?', params: [workflowId] };
}

function* readCommand(workflowId: number): Procedure<{ operation: string; text: string; progress: Progress } | undefined> {
  const read = yield { sql: 'SELECT * FROM workflow_command WHERE workflow_id = ?', params: [workflowId] };
  const [row] = read.rows as (Progress & { operation: string; request: unknown })[];
  if (row === undefined) return undefined;
  const { after_array_id, after_task_id, tasks, attempts } = row;
  const command = { operation: row.operation, request: requestIn(row.request) };
  return { operation: row.operation, text: textOf(command), progress: { after_array_id, after_task_id, tasks, attempts } };
}

/** The stored request: MySQL gives JSON as a value, the others as text. */
export function requestIn(stored: unknown): object {
  return (typeof stored === 'string' ? JSON.parse(stored) : stored) as object;
}

/** Who asks for the same thing, why, and from which program, makes no other command of it. */
const ASIDE: ReadonlySet<string> = new Set(['user', 'reason', 'client_version']);

/** What tells a command from another, whatever the order of its members. */
function textOf({ operation, request }: { readonly operation: string; readonly request: object }): string {
  const members = Object.entries(request).filter(([name, value]) => !ASIDE.has(name) && value !== undefined);
  return JSON.stringify([operation, members.sort(([a], [b]) => (a < b ? -1 : 1))]);
}

function* storeCommand(dialect: Dialect, { operation, request }: WorkflowCommand, progress: Progress): Procedure<void> {
  const names = ['after_array_id', 'after_task_id', 'tasks', 'attempts', 'moved_date'];
  const upsert = dialect.onDuplicate(['workflow_id'], names.map((name) => `${name} = ${dialect.inserted(name)}`).join(', '));
  yield {
    sql:
      'INSERT INTO workflow_command (workflow_id, operation, request, after_array_id, after_task_id, tasks, attempts, ' +
      `started_date, moved_date) VALUES (?, ?, ?, ?, ?, ?, ?, ${dialect.now}, ${dialect.now}) ${upsert}`,
    params: [
      request.workflow_id,
      operation,
      JSON.stringify(request),
      progress.after_array_id,
      progress.after_task_id,
      progress.tasks,
      progress.attempts,
    ],
  };
}
