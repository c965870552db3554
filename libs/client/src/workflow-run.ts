/** A workflow on the server: what can be seen of it from here, its progress, result and errors, and what can be done to it. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  cancelWorkflow,
  drainWorkflow,
  followWorkflow,
  getWorkflow,
  getWorkflowHistory,
  JobmonError,
  listTaskErrors,
  listTasks,
  listTaskStatuses,
  pauseWorkflow,
  resumeWorkflow,
  retryTasks,
  setWorkflowLimits,
  setWorkflowPriority,
  taskMachine,
  VERSION,
  workflowMachine,
  type ControlReply,
  type ResumeMode,
  type TaskStatus,
  type WorkflowStatus,
  type WorkflowView,
} from '@jobmon/contracts';
import { resolve } from 'node:path';
import { checkedLimit, checkedPriority } from './bounds';
import { READ, type ComputeResources } from './compute-resources';
import { findServer, loginName } from './profile';
import { Connection } from './send';

/** Seconds that a resume waits for a run to end that is in its way. */
const RESUME_SECONDS_MAX = 300;
/** Between two looks whether that run has ended. */
const LOOK_MS = 500;
/** Failed tasks that a result lists; `counts.fatal` says how many there are. */
const FAILED_TASKS_MAX = 1_000;
const FAILED_TASKS_PAGE = 500;

/** Tasks by the five words that people use for their nine states; the five add up to `total`. */
export interface TaskCounts {
  total: number;
  /** Waits for its upstreams or for a retry. */
  pending: number;
  /** Waits to be started. */
  scheduled: number;
  running: number;
  done: number;
  /** Attempts used up. */
  fatal: number;
}

export interface Progress {
  workflowId: number;
  workflowRunId: number | null;
  name: string;
  /** `RUNNING`, `DONE`, `FAILED`, …: the workflow's state. */
  status: string;
  counts: TaskCounts;
  /** The workflow has ended. */
  isFinal: boolean;
}

export interface FailedTask {
  taskId: number;
  name: string;
  command: string;
  attempts: number;
  /** The newest error of its last attempt. */
  error: string | null;
}

export interface WorkflowResult {
  workflowId: number;
  workflowRunId: number | null;
  /** `DONE`, `FAILED` or `HALTED`. */
  status: string;
  /** Every task is done. */
  isDone: boolean;
  counts: TaskCounts;
  /** Tasks that were done before this run was submitted; null where that is not known. */
  previouslyDone: number | null;
  /** From the call that waited to the end. */
  elapsedSeconds: number;
  /** At most the first 1,000. */
  failedTasks: FailedTask[];
}

/** An error of an attempt. */
export interface TaskError {
  taskInstanceId: number;
  /** UTC, `YYYY-MM-DD HH:MM:SS`. */
  errorTime: string | null;
  description: string;
}

/** How a workflow stands after something was done to it. */
export interface Standing {
  workflowId: number;
  workflowRunId: number | null;
  /** `RUNNING`, `HALTED`, …: the workflow's state. */
  status: string;
  isPaused: boolean;
  /** False: it stood so already, and nothing was done. */
  isChanged: boolean;
  /** The server goes on by itself with what was asked: attempts or a run have to end first. */
  isPending: boolean;
}

/** One change of what tasks that are not done ask for; `times` multiplies, then `set` replaces. */
export interface RaisedResources {
  /** Only the tasks of this template, by name. */
  taskTemplate?: string;
  set?: Pick<ComputeResources, 'cores' | 'memory' | 'runtime' | 'queue'> & { cluster?: string };
  times?: { cores?: number; memory?: number; runtime?: number };
}

export interface ResumeOptions {
  /** `cold`, when absent: attempts that still run are killed. `hot`: they may finish, and count. */
  mode?: ResumeMode;
  /** Done in order for each task that is not done. */
  resources?: readonly RaisedResources[];
  reason?: string;
  /** Where commands start; where they started before when absent. */
  workingDirectory?: string;
  /** How long to wait for a run that has to end first; 300 when absent. Later the server goes on by itself. */
  timeoutSeconds?: number;
  signal?: AbortSignal;
}

/** Why something is done: kept in the workflow's history. */
export interface Reason {
  reason?: string;
}

/** One thing that somebody did to a workflow. */
export interface WorkflowEventView {
  /** UTC, `YYYY-MM-DD HH:MM:SS`. */
  date: string;
  user: string;
  verb: string;
  reason: string;
  workflowRunId: number | null;
  detail: Readonly<Record<string, unknown>>;
}

/** A workflow that the server has, whoever bound it, native or Python. Throws NOT_FOUND. */
export async function openWorkflow(workflowId: number, { connection }: { connection?: Connection } = {}): Promise<WorkflowRun> {
  const way = connection ?? new Connection(await findServer());
  const view = await way.send(getWorkflow, { workflow_id: workflowId });
  return new WorkflowRun(way, workflowId, view.workflow_run_id);
}

export class WorkflowRun {
  #workflowRunId: number | null;

  /** `previouslyDone`: tasks that were done before the run was submitted. */
  constructor(
    readonly connection: Connection,
    readonly workflowId: number,
    workflowRunId: number | null,
    readonly previouslyDone: number | null = null,
  ) {
    this.#workflowRunId = workflowRunId;
  }

  /** The newest run that is known here; null when the workflow has had none. */
  get workflowRunId(): number | null {
    return this.#workflowRunId;
  }

  /** The standing progress at once, then each change, until the workflow has ended. Survives a restart of the server. */
  async *follow({ signal }: { signal?: AbortSignal } = {}): AsyncGenerator<Progress, void, void> {
    for await (const event of this.connection.stream(followWorkflow, { workflow_id: this.workflowId }, { signal })) {
      yield progressOf(event.workflow, event.is_final);
    }
  }

  /** Follows to the end and answers the result, whatever the end is. With `failFast` a first failed task drains the workflow. */
  async wait({
    onProgress,
    failFast = false,
    signal,
  }: { onProgress?: (progress: Progress) => void; failFast?: boolean; signal?: AbortSignal } = {}): Promise<WorkflowResult> {
    let isDrained = !failFast;
    const since = performance.now();
    let last: Progress | undefined;
    for await (const progress of this.follow({ signal })) {
      last = progress;
      onProgress?.(progress);
      if (!isDrained && !progress.isFinal && progress.counts.fatal > 0) {
        isDrained = true;
        // It may have ended meanwhile, and then there is nothing to drain.
        await this.drain({ reason: 'fail fast: a task has failed' }).catch(ignoreConflict);
      }
    }
    const { status, counts } = last!;
    return {
      workflowId: this.workflowId,
      workflowRunId: last!.workflowRunId,
      status,
      isDone: status === workflowMachine.states.D.label,
      counts,
      previouslyDone: this.previouslyDone,
      elapsedSeconds: (performance.now() - since) / 1_000,
      failedTasks: counts.fatal === 0 ? [] : await this.#failedTasks(signal),
    };
  }

  /** The state of each task by its id: `DONE`, `ERROR_FATAL`, … */
  async taskStatuses({ signal }: { signal?: AbortSignal } = {}): Promise<Map<number, string>> {
    const statuses = new Map<number, string>();
    for (let after: number | null = 0; after !== null;) {
      const request = { workflow_id: this.workflowId, after };
      const page: { statuses: [number, TaskStatus][]; next: number | null } = await this.connection.send(
        listTaskStatuses,
        request,
        { signal },
      );
      for (const [taskId, letter] of page.statuses) statuses.set(taskId, taskMachine.states[letter].label);
      after = page.next;
    }
    return statuses;
  }

  /** The errors of tasks that failed for good, oldest first, by task id; of at most `limit` tasks. */
  async getErrors({ limit = FAILED_TASKS_MAX, signal }: { limit?: number; signal?: AbortSignal } = {}): Promise<
    Map<number, TaskError[]>
  > {
    const found = new Map<number, TaskError[]>();
    for (let after: number | null = 0; after !== null && found.size < limit;) {
      const request = { workflow_id: this.workflowId, after, limit: Math.min(FAILED_TASKS_PAGE, limit - found.size) };
      const page: {
        tasks: { task_id: number; errors: { task_instance_id: number; error_time: string | null; description: string }[] }[];
        next: number | null;
      } = await this.connection.send(listTaskErrors, request, { signal });
      for (const { task_id, errors } of page.tasks) {
        const told = errors.map(({ task_instance_id: taskInstanceId, error_time: errorTime, description }) => ({
          taskInstanceId,
          errorTime,
          description,
        }));
        found.set(task_id, told);
      }
      after = page.next;
    }
    return found;
  }

  /** Nothing new starts, what runs goes on; `resume` lifts it. */
  pause(why: Reason = {}): Promise<Standing> {
    return this.#control(this.connection.send(pauseWorkflow, this.#who(why)));
  }

  /** Nothing new starts, what runs may finish, then the run ends and the workflow is HALTED. */
  drain(why: Reason = {}): Promise<Standing> {
    return this.#control(this.connection.send(drainWorkflow, this.#who(why)));
  }

  /** What runs is killed, then the run ends and the workflow is HALTED. */
  cancel(why: Reason = {}): Promise<Standing> {
    return this.#control(this.connection.send(cancelWorkflow, this.#who(why)));
  }

  /**
   * Goes on with what is not done, on the server: lifts a pause, links a new run, or takes over from a Python client. Waits for a run that
   * has to end first. Throws CONFLICT when the workflow is DONE, UNAVAILABLE when that run has not ended in time.
   */
  async resume(options: ResumeOptions = {}): Promise<Standing> {
    const { mode = 'cold', resources = [], workingDirectory, timeoutSeconds = RESUME_SECONDS_MAX, signal } = options;
    const request = {
      ...this.#who(options),
      mode,
      resources: resources.map(changeOf),
      client_version: VERSION,
      ...(workingDirectory === undefined ? {} : { working_directory: resolve(workingDirectory) }),
    };
    const deadline = Date.now() + timeoutSeconds * 1_000;
    const standing = await this.#control(this.connection.send(resumeWorkflow, request, { signal }));
    for (let isPending = standing.isPending; isPending;) {
      if (Date.now() > deadline) {
        const what = `workflow ${this.workflowId} waits for its run ${standing.workflowRunId} to end; the server resumes it then by itself`;
        throw new JobmonError('UNAVAILABLE', what);
      }
      await sleep(LOOK_MS, undefined, { signal });
      const view = await this.connection.send(getWorkflow, { workflow_id: this.workflowId }, { signal });
      isPending = view.workflow_run_id === standing.workflowRunId;
      this.#workflowRunId = view.workflow_run_id;
    }
    return { ...standing, workflowRunId: this.#workflowRunId };
  }

  /** Runs chosen tasks again, by their ids or all that `failed`; with `withDownstream` also what stands behind them. */
  retry(
    taskIds: readonly number[] | 'failed',
    { withDownstream = false, ...why }: Reason & { withDownstream?: boolean } = {},
  ): Promise<Standing> {
    const task_ids = taskIds === 'failed' ? taskIds : [...taskIds];
    const request = { ...this.#who(why), task_ids, with_downstream: withDownstream, client_version: VERSION };
    return this.#control(this.connection.send(retryTasks, request));
  }

  /** How many tasks may run at one time, of the workflow and of its templates by name; null for no limit. What is not named stays. */
  setLimits(
    limits: { maxConcurrentlyRunning?: number | null; taskTemplates?: Readonly<Record<string, number | null>> },
    why: Reason = {},
  ): Promise<Standing> {
    const { maxConcurrentlyRunning, taskTemplates = {} } = limits;
    for (const limit of [maxConcurrentlyRunning, ...Object.values(taskTemplates)]) {
      if (limit !== undefined && limit !== null) checkedLimit(limit);
    }
    const named = maxConcurrentlyRunning === undefined ? {} : { max_concurrently_running: maxConcurrentlyRunning };
    const request = { ...this.#who(why), ...named, task_templates: { ...taskTemplates } };
    return this.#control(this.connection.send(setWorkflowLimits, request));
  }

  /** From -1000 to 1000; 0 is everybody's at first, higher comes first. */
  setPriority(priority: number, why: Reason = {}): Promise<Standing> {
    return this.#control(this.connection.send(setWorkflowPriority, { ...this.#who(why), priority: checkedPriority(priority) }));
  }

  /** What people did to the workflow, newest first. */
  async history({ limit = 100 }: { limit?: number } = {}): Promise<WorkflowEventView[]> {
    const { events } = await this.connection.send(getWorkflowHistory, { workflow_id: this.workflowId, limit });
    return events.map(({ date, user, verb, reason, workflow_run_id: workflowRunId, detail }) => ({
      date,
      user,
      verb,
      reason,
      workflowRunId,
      detail,
    }));
  }

  #who({ reason = '' }: Reason): { workflow_id: number; user: string; reason: string } {
    return { workflow_id: this.workflowId, user: loginName(), reason };
  }

  async #control(call: Promise<ControlReply>): Promise<Standing> {
    const reply = await call;
    this.#workflowRunId = reply.workflow_run_id;
    return {
      workflowId: reply.workflow_id,
      workflowRunId: reply.workflow_run_id,
      status: workflowStatusLabel(reply.workflow_status),
      isPaused: reply.is_paused,
      isChanged: reply.is_changed,
      isPending: reply.is_pending,
    };
  }

  async #failedTasks(signal: AbortSignal | undefined): Promise<FailedTask[]> {
    const failed: FailedTask[] = [];
    for (let after: number | null = 0; after !== null && failed.length < FAILED_TASKS_MAX;) {
      const request = { workflow_id: this.workflowId, status: ['F' as const], after, limit: FAILED_TASKS_PAGE };
      const page: {
        tasks: { task_id: number; name: string; command: string; num_attempts: number; error: string | null }[];
        next: number | null;
      } = await this.connection.send(listTasks, request, { signal });
      for (const task of page.tasks) {
        const { task_id: taskId, name, command, num_attempts: attempts, error } = task;
        failed.push({ taskId, name, command, attempts, error });
      }
      after = page.next;
    }
    return failed;
  }
}

function ignoreConflict(error: unknown): void {
  if (!(error instanceof JobmonError) || error.code !== 'CONFLICT') throw error;
}

/** A change as it is sent: figures with units as numbers. Throws MALFORMED with the rule. */
function changeOf({ taskTemplate, set, times }: RaisedResources) {
  const { cluster, queue, ...figures } = set ?? {};
  const read = Object.entries(figures).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, READ[name as keyof typeof READ](value)]],
  );
  const placed = { ...(cluster === undefined ? {} : { cluster }), ...(queue === undefined ? {} : { queue }) };
  return {
    ...(taskTemplate === undefined ? {} : { task_template: taskTemplate }),
    ...(set === undefined ? {} : { set: { ...placed, ...(Object.fromEntries(read) as Record<string, number>) } }),
    ...(times === undefined ? {} : { times: { ...times } }),
  };
}

/** The word for each task state (spec/http-api-inspection.md section 1.2, the mapping that adds up). */
const WORD_OF: Readonly<Record<TaskStatus, Exclude<keyof TaskCounts, 'total'>>> = {
  G: 'pending',
  Q: 'scheduled',
  I: 'scheduled',
  O: 'scheduled',
  A: 'scheduled',
  E: 'pending',
  R: 'running',
  D: 'done',
  F: 'fatal',
};

/** The counts of a view, letter by letter, as words. */
export function taskCounts(tasks: WorkflowView['tasks']): TaskCounts {
  const counts: TaskCounts = { total: 0, pending: 0, scheduled: 0, running: 0, done: 0, fatal: 0 };
  for (const [letter, n] of Object.entries(tasks)) {
    counts[WORD_OF[letter as TaskStatus] ?? 'pending'] += n;
    counts.total += n;
  }
  return counts;
}

/** The label of a workflow's state. */
export function workflowStatusLabel(letter: WorkflowStatus): string {
  return workflowMachine.states[letter].label;
}

/** The wire's view of a workflow as this SDK shows it. */
export function progressOf(view: WorkflowView, isFinal: boolean): Progress {
  return {
    workflowId: view.workflow_id,
    workflowRunId: view.workflow_run_id,
    name: view.name,
    status: workflowStatusLabel(view.status),
    counts: taskCounts(view.tasks),
    isFinal,
  };
}
