/** A run of a workflow on the server, and what can be seen of it from here: its progress and its result. */
import {
  followWorkflow,
  listTasks,
  workflowMachine,
  type TaskStatus,
  type WorkflowStatus,
  type WorkflowView,
} from '@jobmon/contracts';
import type { Connection } from './send';

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
  workflowRunId: number;
  /** `DONE`, `FAILED` or `HALTED`. */
  status: string;
  /** Every task is done. */
  isDone: boolean;
  counts: TaskCounts;
  /** From the call that waited to the end. */
  elapsedSeconds: number;
  /** At most the first 1,000. */
  failedTasks: FailedTask[];
}

export class WorkflowRun {
  constructor(
    readonly connection: Connection,
    readonly workflowId: number,
    readonly workflowRunId: number,
  ) {}

  /** The standing progress at once, then each change, until the workflow has ended. Survives a restart of the server. */
  async *follow({ signal }: { signal?: AbortSignal } = {}): AsyncGenerator<Progress, void, void> {
    for await (const event of this.connection.stream(followWorkflow, { workflow_id: this.workflowId }, { signal })) {
      yield progressOf(event.workflow, event.is_final);
    }
  }

  /** Follows to the end and answers the result, whatever the end is. */
  async wait({
    onProgress,
    signal,
  }: { onProgress?: (progress: Progress) => void; signal?: AbortSignal } = {}): Promise<WorkflowResult> {
    const since = performance.now();
    let last: Progress | undefined;
    for await (const progress of this.follow({ signal })) {
      last = progress;
      onProgress?.(progress);
    }
    const { status, counts } = last!;
    return {
      workflowId: this.workflowId,
      workflowRunId: this.workflowRunId,
      status,
      isDone: status === workflowMachine.states.D.label,
      counts,
      elapsedSeconds: (performance.now() - since) / 1_000,
      failedTasks: counts.fatal === 0 ? [] : await this.#failedTasks(signal),
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
