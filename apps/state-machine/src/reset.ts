/**
 * Tasks made ready for another run, and what becomes of their attempts that nobody will wait for any more. Every caller holds
 * the workflow's row, so no run is linked and no other piece of a reset is written meanwhile.
 */
import {
  ACTIVE_TASK_STATUSES,
  Actor,
  Driver,
  historyReasonOf,
  JobmonError,
  LIVE_WORKFLOW_RUN_STATUSES,
  type ReplyOf,
  type RequestOf,
  type resetTasks,
  type TaskInstanceStatus,
  type TaskStatus,
  type WorkflowRunStatus,
  type WorkflowStatus,
} from '@jobmon/contracts';
import { lockRows, type Dialect, type Procedure } from '@jobmon/entities';
import { Transition, type Asker, type LockedInstance, type LockedTask } from './transition';

/** A workflow's row under its lock. */
export interface LockedWorkflow {
  readonly id: number;
  readonly status: WorkflowStatus;
  readonly created_date: string | null;
}

/** @throws JobmonError NOT_FOUND */
export function* lockWorkflow(dialect: Dialect, id: number): Procedure<LockedWorkflow> {
  const [workflow] = (yield lockRows(dialect, 'workflow', 'id, status, created_date', [id])).rows as LockedWorkflow[];
  if (workflow === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${id}`);
  return workflow;
}

export interface LiveRun {
  readonly id: number;
  readonly status: WorkflowRunStatus;
  readonly driver: string | null;
}

/** The newest run that holds the workflow, if one does. */
export function* liveRunOf(workflowId: number): Procedure<LiveRun | undefined> {
  const letters = LIVE_WORKFLOW_RUN_STATUSES.map((letter) => `'${letter}'`).join(',');
  const read = yield {
    sql: `SELECT id, status, driver FROM workflow_run WHERE workflow_id = ? AND status IN (${letters}) ORDER BY id DESC LIMIT 1`,
    params: [workflowId],
  };
  return (read.rows as LiveRun[])[0];
}

/**
 * Refuses while a command on the whole workflow is being done: a run that is linked now would run beside it.
 *
 * @throws JobmonError UNAVAILABLE
 */
export function* requireNoCommand(workflowId: number): Procedure<void> {
  const read = yield { sql: 'SELECT operation FROM workflow_command WHERE workflow_id = ?', params: [workflowId] };
  const [command] = read.rows as { operation: string }[];
  if (command === undefined) return;
  throw new JobmonError(
    'UNAVAILABLE',
    `${command.operation} of workflow ${workflowId} is in progress; ask again when it has ended`,
  );
}

/**
 * What a stop makes of an attempt: nobody runs Q and I yet, so they end at once (race 26); whatever may run is ordered to stop,
 * silent ones too (race 30). K is under that order already.
 */
const STOPS_AT: Readonly<Partial<Record<TaskInstanceStatus, TaskInstanceStatus>>> = {
  Q: 'F',
  I: 'F',
  O: 'K',
  R: 'K',
  T: 'K',
  X: 'K',
};

/** Stops an attempt, its task with it as the tables say, and notes `why` in its error log. False: it stands as it stood. */
export function stopAttempt(transition: Transition, attempt: LockedInstance, asker: Asker, why: string): boolean {
  const from = attempt.status;
  const to = STOPS_AT[from];
  if (to === undefined || !transition.move(attempt, to, asker).accepted) return false;
  transition.addError({ task_instance_id: attempt.id, description: `${why}, while this attempt was in ${from}.`, is_new: 1 });
  return true;
}

/** Stops the attempts of a task and puts it to G. Answers how many attempts were stopped. */
export function resetTask(transition: Transition, task: LockedTask, asker: Asker, why: string): number {
  const stopped = transition.attemptsOf(task).filter((attempt) => stopAttempt(transition, attempt, asker, why)).length;
  transition.override(task, 'G');
  return stopped;
}

/**
 * Puts a task to D. Attempts that nobody runs yet end with it, because nobody would take them any more; what runs may come to its
 * end. Answers how many attempts were stopped.
 */
export function finishTask(transition: Transition, task: LockedTask, asker: Asker, why: string): number {
  const waiting = transition.attemptsOf(task).filter(({ status }) => status === 'Q' || status === 'I');
  const stopped = waiting.filter((attempt) => stopAttempt(transition, attempt, asker, why)).length;
  transition.override(task, 'D');
  return stopped;
}

/** Whether a hot resume leaves a task alone: its attempt runs, and may finish for the new run. */
export function isKept(transition: Transition, task: LockedTask): boolean {
  return task.status === 'R' && transition.attemptsOf(task).some((attempt) => attempt.status === 'R');
}

/** Tasks that a live run has in hand. */
const ON_THEIR_WAY: ReadonlySet<TaskStatus> = new Set([...ACTIVE_TASK_STATUSES, 'A']);

export const RESET: Asker = { actor: Actor.CLIENT, reason: historyReasonOf('task.reset') };
export const RESET_WHY = 'The task was reset for a new run of its workflow';

/**
 * `task.reset`: 10 statements and one for each (from, to). Under a live run that the server drives nothing is reset (design rule
 * 5.7). Under one that a client drives, tasks on their way are left to it: what asks for them is a repeat that comes late.
 */
export function* reset(
  dialect: Dialect,
  writer: string,
  { workflow_id, task_ids, reset_if_running }: RequestOf<typeof resetTasks>,
): Procedure<ReplyOf<typeof resetTasks>> {
  yield* lockWorkflow(dialect, workflow_id);
  const live = yield* liveRunOf(workflow_id);
  const transition = new Transition(dialect, writer);
  const tasks = yield* transition.lockTasks(workflow_id, task_ids);
  for (const task of live?.driver === Driver.SERVER ? [] : tasks) {
    if (task.status === 'D' || (!reset_if_running && isKept(transition, task))) continue;
    if (live !== undefined && ON_THEIR_WAY.has(task.status)) continue;
    resetTask(transition, task, RESET, RESET_WHY);
  }
  yield* transition.write();
  return { statuses: tasks.map(({ id, status }) => [id, status]) };
}
