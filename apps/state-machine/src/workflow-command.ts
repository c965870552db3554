/**
 * Commands on all tasks of a workflow: the reset for a new run (E18), the reset by a person (C23), tasks put where a person wants
 * them (C4). Each is done in pieces of up to 1,000 tasks, a transaction each under the workflow's lock. What needs more than one has
 * a row in `workflow_command` from the first piece to the last: while it stands no run is linked, a repeat of the same command joins it,
 * another command waits, and whoever finds it after a crash can go on, since the row says what was asked and how far it is.
 */
import {
  Actor,
  Driver,
  historyReasonOf,
  ID_MAX,
  JobmonError,
  type RequestOf,
  type resetWorkflow,
  type setResumeState,
  type updateTaskStatuses,
} from '@jobmon/contracts';
import type { Dialect, Procedure } from '@jobmon/entities';
import { finishTask, isKept, liveRunOf, lockWorkflow, RESET, RESET_WHY, resetTask, type LockedWorkflow } from './reset';
import { finalizeOverdueRuns } from './resume';
import type { RunChange } from './run-report';
import { guarded, Transition, type Asker, type LockedTask } from './transition';

export type WorkflowCommand =
  | { readonly operation: 'workflow.set_resume_state'; readonly request: RequestOf<typeof setResumeState> }
  | { readonly operation: 'workflow.reset'; readonly request: RequestOf<typeof resetWorkflow> }
  | {
      readonly operation: 'task.update_statuses';
      readonly request: RequestOf<typeof updateTaskStatuses>;
      /** Found before (`tasksToChange`), ascending; null: all. Not stored: the same request finds the same. */
      readonly task_ids: readonly number[] | null;
    };

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
  /** Somebody else had done the last piece; `progress` tells nothing. */
  readonly is_joined?: true;
  /** Why the command is not done at all; E18 answers it. */
  readonly refusal?: string;
  /** Status of the workflow after the last piece. */
  readonly workflow_status: string;
  readonly changed: RunChange[];
}

/** Tasks of one transaction. */
const PIECE_TASKS = 1_000;
/** Tasks looked at in one statement, and such statements in one transaction: what is not to be changed passes quickly. */
const PAGE_ROWS = 2_000;
const PAGES_MAX = 50;
/** Stands for the tasks without an array, which come last. */
const NO_ARRAY = ID_MAX;

const BEGIN: Progress = { after_array_id: 0, after_task_id: 0, tasks: 0, attempts: 0 };

const RESET_BY_PERSON: Asker = { actor: Actor.USER, reason: historyReasonOf('workflow.reset') };
const OVERRIDE: Asker = { actor: Actor.USER, reason: historyReasonOf('task.update_statuses') };

/**
 * One piece. `isBegun`: the caller has done a piece already, so when the row is gone somebody else did the last one.
 *
 * @throws JobmonError UNAVAILABLE while another command on the workflow is in progress; NOT_FOUND; MALFORMED for a refused C23
 */
export function* stepCommand(dialect: Dialect, writer: string, command: WorkflowCommand, isBegun: boolean): Procedure<Step> {
  const workflow = yield* lockWorkflow(dialect, command.request.workflow_id);
  const row = yield* readCommand(workflow.id);
  const step = (progress: Progress, is_ended: boolean, workflow_status: string = workflow.status): Step => ({
    progress,
    is_ended,
    workflow_status,
    changed,
  });
  let changed: RunChange[] = [];
  if (row !== undefined && row.text !== textOf(command)) {
    throw new JobmonError(
      'UNAVAILABLE',
      `${row.operation} of workflow ${workflow.id} is in progress; ask again when it has ended`,
    );
  }
  if (row === undefined && isBegun) return { ...step(BEGIN, true), is_joined: true };
  if (row === undefined) {
    const refusal = yield* refusalOf(command, workflow);
    if (refusal !== null) return { ...step(BEGIN, true), refusal };
    if (command.operation === 'workflow.reset') changed = yield* finalizeOverdueRuns(dialect, workflow);
    yield* refuseLiveRun(command, workflow.id);
  }
  const from = row?.progress ?? BEGIN;
  const next = yield* nextTasks(command, workflow.id, from);
  const done = yield* changeTasks(dialect, writer, command, workflow.id, next.ids);
  const progress: Progress = {
    after_array_id: next.after_array_id,
    after_task_id: next.after_task_id,
    tasks: from.tasks + done.tasks,
    attempts: from.attempts + done.attempts,
  };
  if (!next.isLast) {
    yield* storeCommand(dialect, command, progress);
    return step(progress, false);
  }
  const status = yield* finish(dialect, command, workflow);
  if (row !== undefined) yield { sql: 'DELETE FROM workflow_command WHERE workflow_id = ?', params: [workflow.id] };
  return step(progress, true, status);
}

/** E18 is refused in words. */
function* refusalOf(command: WorkflowCommand, workflow: LockedWorkflow): Procedure<string | null> {
  if (command.operation !== 'workflow.set_resume_state') return null;
  if (workflow.created_date === null) return `not all tasks of workflow ${workflow.id} are bound`;
  const live = yield* liveRunOf(workflow.id);
  return live === undefined ? null : `workflow ${workflow.id} is held by its run ${live.id}`;
}

/** C23 is refused by any live run, C4 by one that the server drives; as an error, since their answers have no room for words. */
function* refuseLiveRun(command: WorkflowCommand, workflowId: number): Procedure<void> {
  if (command.operation === 'workflow.set_resume_state') return;
  const live = yield* liveRunOf(workflowId);
  if (live === undefined || (command.operation === 'task.update_statuses' && live.driver !== Driver.SERVER)) return;
  throw new JobmonError('MALFORMED', `workflow ${workflowId} is held by its run ${live.id}: stop that run first`);
}

/** Whether a status is one that the command changes. */
function isWanted(command: WorkflowCommand, status: string): boolean {
  switch (command.operation) {
    case 'workflow.set_resume_state':
      return status !== 'D' && status !== 'G';
    case 'workflow.reset':
      return status !== 'G' && !(command.request.partial_reset && status === 'D');
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

function* nextTasks(command: WorkflowCommand, workflowId: number, from: Progress): Procedure<NextTasks> {
  if (command.operation === 'task.update_statuses' && command.task_ids !== null) {
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
          `SELECT id, status FROM task WHERE ${arrayId === NO_ARRAY ? 'array_id IS NULL AND workflow_id = ?' : 'array_id = ?'} ` +
          `AND id > ? ORDER BY id LIMIT ${PAGE_ROWS}`,
        params: [arrayId === NO_ARRAY ? workflowId : arrayId, after],
      };
      for (const { id, status } of page.rows as { id: number; status: string }[]) {
        if (isWanted(command, status)) {
          if (ids.length === PIECE_TASKS) return { ids, after_array_id: arrayId, after_task_id: after, isLast: false };
          ids.push(id);
        }
        after = id;
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
  ids: readonly number[],
): Procedure<{ tasks: number; attempts: number }> {
  const transition = new Transition(dialect, writer);
  const tasks = (yield* transition.lockTasks(workflowId, ids)).filter((task) => isWanted(command, task.status));
  let changed = 0;
  let attempts = 0;
  for (const task of tasks) {
    const stopped = changeTask(transition, command, task);
    if (stopped === null) continue;
    changed += 1;
    attempts += stopped;
  }
  yield* transition.write();
  return { tasks: changed, attempts };
}

/** How many attempts were stopped; null: the task stays as it is. */
function changeTask(transition: Transition, command: WorkflowCommand, task: LockedTask): number | null {
  switch (command.operation) {
    case 'workflow.set_resume_state':
      if (!command.request.reset_if_running && isKept(transition, task)) return null;
      return resetTask(transition, task, RESET, RESET_WHY);
    case 'workflow.reset':
      return resetTask(transition, task, RESET_BY_PERSON, 'The workflow was reset');
    case 'task.update_statuses':
      if (command.request.new_status === 'G') return resetTask(transition, task, OVERRIDE, 'The task was put back to G by hand');
      return finishTask(transition, task, OVERRIDE, 'The task was put to D by hand');
  }
}

/** What the last piece does to the workflow; answers its status. */
function* finish(dialect: Dialect, command: WorkflowCommand, workflow: LockedWorkflow): Procedure<string> {
  const [row] = (yield { sql: 'SELECT status FROM workflow WHERE id = ?', params: [workflow.id] }).rows as [{ status: string }];
  const to = yield* statusAfter(command, workflow.id, row.status);
  if (to === row.status) return to;
  yield* guarded(`workflow ${row.status}→${to}`, 1, {
    sql: `UPDATE workflow SET status = '${to}', status_date = ${dialect.now} WHERE id = ? AND status = ?`,
    params: [workflow.id, row.status],
  });
  return to;
}

function* statusAfter(command: WorkflowCommand, workflowId: number, status: string): Procedure<string> {
  if (command.operation === 'workflow.reset') return 'G';
  if (command.operation !== 'task.update_statuses') return status;
  if (command.request.new_status === 'G') return status === 'D' && (yield* hasUndoneTask(workflowId)) ? 'F' : status;
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

/** What tells a command from another, whatever the order of its members. */
function textOf({ operation, request }: { readonly operation: string; readonly request: object }): string {
  return JSON.stringify([operation, Object.entries(request).sort(([a], [b]) => (a < b ? -1 : 1))]);
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
