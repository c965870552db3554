/**
 * A task instance: one attempt of a task. Its states and their table, the decision that moves an instance together with its
 * task, and the operations by which whoever runs an attempt reports.
 */
import { z } from 'zod';
import { Id } from './id';
import { machine, verdict, type Verdict } from './machine';
import { operation } from './operation';
import { TaskStatus, taskMachine } from './task';

export const TaskInstanceStatus = {
  QUEUED: 'Q',
  INSTANTIATED: 'I',
  LAUNCHED: 'O',
  RUNNING: 'R',
  TRIAGING: 'T',
  DONE: 'D',
  ERROR: 'E',
  RESOURCE_ERROR: 'Z',
  UNKNOWN_ERROR: 'U',
  NO_DISTRIBUTOR_ID: 'W',
  NO_HEARTBEAT: 'X',
  KILL_SELF: 'K',
  ERROR_FATAL: 'F',
} as const;
export type TaskInstanceStatus = (typeof TaskInstanceStatus)[keyof typeof TaskInstanceStatus];

/** Facts: spec/state-machines.md section 3; the pairs marked "ours" are its races 26, 27 and 30. */
export const taskInstanceMachine = machine<TaskInstanceStatus>({
  name: 'task_instance',
  states: {
    Q: { label: 'QUEUED', meaning: 'created, waits to be taken' },
    I: { label: 'INSTANTIATED', meaning: 'taken by a distributor or an agent, not started yet' },
    O: { label: 'LAUNCHED', meaning: 'handed to the cluster' },
    R: { label: 'RUNNING', meaning: 'the command was reported as started' },
    T: { label: 'TRIAGING', meaning: 'ran and went silent; the cause is being looked up' },
    D: { label: 'DONE', meaning: 'the command returned 0' },
    E: { label: 'ERROR', meaning: 'the command failed, or a launch stayed silent' },
    Z: { label: 'RESOURCE_ERROR', meaning: 'killed for using more memory or time than it asked for' },
    U: { label: 'UNKNOWN_ERROR', meaning: 'went silent and the cluster cannot say why' },
    W: { label: 'NO_DISTRIBUTOR_ID', meaning: 'could not be handed to the cluster' },
    X: { label: 'NO_HEARTBEAT', meaning: 'handed to the cluster and never heard of' },
    K: { label: 'KILL_SELF', meaning: 'ordered to stop by a resume or a reset' },
    F: { label: 'ERROR_FATAL', meaning: 'stopped for good, not retried' },
  },
  initial: 'Q',
  final: ['D', 'E', 'Z', 'U', 'W', 'F'],
  valid: {
    'Q→I': 'a distributor or an agent took it',
    'Q→F': 'stopped by a resume, a reset or a reaper before anybody took it (race 26)',
    'Q→K': 'reset by a user before anybody took it',
    'I→O': 'handed to the cluster',
    'I→R': 'the command started before the launch was recorded; agents start without a launch',
    'I→W': 'could not be handed to the cluster, or its agent vanished before it started',
    'I→F': 'stopped by a resume, a reset or a reaper before it started (race 26)',
    'I→K': 'reset by a user while it was being launched',
    'O→R': 'the command started',
    'O→U': 'the cluster lost it and cannot say why',
    'O→X': 'silent past its deadline since the launch',
    'O→Z': 'the cluster killed it for its resources before it reported',
    'O→K': 'stopped by a resume or a reaper',
    'O→F': 'the environment does not fit; a retry would fail alike',
    'R→T': 'silent past its deadline',
    'R→E': 'the command failed',
    'R→U': 'lost, and the cluster cannot say why',
    'R→Z': 'killed for its resources',
    'R→K': 'stopped by a cold resume',
    'R→D': 'the command returned 0',
    'T→R': 'heard of again',
    'T→D': 'ours (race 27): it had only missed a deadline, and finished',
    'T→E': 'ours (race 27): it had only missed a deadline, and failed',
    'T→K': 'ours (race 30): stopped by a resume or a reset while it was silent',
    'T→Z': 'the cluster says: resources',
    'T→U': 'the cluster cannot say',
    'T→F': 'the cluster says: do not retry',
    'K→F': 'stopped as ordered',
    'K→D': 'finished before it heard of the order (race 4)',
    'X→K': 'ours (race 30): stopped by a resume or a reset while it was silent',
    'X→E': 'given up',
  },
  untimely: {
    'R→O': 'the launch is recorded after the command has reported',
    'E→O': 'the launch is recorded after the command has failed',
    'E→U': 'distributor and worker report the same failure (race 3)',
    'U→D': 'a lost attempt reports success after it was given up',
    'U→E': 'distributor and worker report the same failure (race 3)',
    'U→Z': 'distributor and worker report the same failure (race 3)',
    'Z→U': 'distributor and worker report the same failure (race 3)',
    'D→U': 'the distributor misses an attempt that has just finished',
    'K→E': 'failed while being killed; only F or D end a kill order',
    'K→Z': 'failed while being killed; only F or D end a kill order',
    'K→U': 'lost while being killed; only F or D end a kill order',
  },
});

/** Instance states that count against concurrency limits and must be settled before a workflow may be run again. */
export const LIVE_TASK_INSTANCE_STATUSES = ['Q', 'I', 'O', 'R', 'T', 'X', 'K'] as const satisfies readonly TaskInstanceStatus[];

/** What the decision needs of the two locked rows. */
export interface AttemptRows {
  readonly instance: { readonly id: number; readonly status: TaskInstanceStatus };
  readonly task: {
    readonly status: TaskStatus;
    readonly num_attempts: number;
    readonly max_attempts: number;
    /**
     * The fence. An id: only that instance moves the task. 0: no attempt is current, a reset cleared it. The caller replaces
     * the NULL of rows older than the column by the task's highest instance id.
     */
    readonly current_task_instance_id: number;
  };
}

/** What becomes of one request to move an instance. Refused requests name why and leave both rows as they are. */
export type AttemptDecision =
  | { readonly accepted: false; readonly because: Exclude<Verdict, 'valid'> | 'task_not_ready' }
  | {
      readonly accepted: true;
      readonly instance_to: TaskInstanceStatus;
      /** The task's new status, or null when the task stays as it is. Passing states (E) are validated, never written. */
      readonly task_to: TaskStatus | null;
    };

const FAILURES: ReadonlySet<TaskInstanceStatus> = new Set(['W', 'E', 'U', 'Z', 'F']);

/** Pairs that end an attempt which nobody runs any more: closing it never needs the task (races 24, 46). */
const END_ORDERS: ReadonlySet<string> = new Set(['Q→F', 'I→F', 'K→F', 'X→E']);

/** The states a task passes through when its current instance reaches `to`; spec/state-machines.md section 4. */
function taskPath(to: TaskInstanceStatus, task: AttemptRows['task']): readonly TaskStatus[] {
  const isUsedUp = task.num_attempts >= task.max_attempts;
  switch (to) {
    case 'I':
    case 'O':
    case 'R':
      return [to];
    case 'D':
      // Its start was never heard of: an attempt that was ordered to stop, and has finished all the same (race 4).
      return task.status === TaskStatus.INSTANTIATING || task.status === TaskStatus.LAUNCHED ? ['R', to] : [to];
    case 'E':
    case 'U':
    case 'W':
      return ['E', isUsedUp ? 'F' : 'G'];
    case 'Z':
      return ['E', isUsedUp ? 'F' : 'A'];
    case 'F':
      return ['E', 'F'];
    case 'Q':
    case 'K':
    case 'T':
    case 'X':
      return [];
  }
}

/**
 * Decides one request to move an instance to `to`. Pure: the caller has locked both rows and writes what this answers.
 *
 * The order of the rules matters:
 * 1. the instance's own table (repeats and untimely pairs change nothing);
 * 2. the fence: an attempt that is not the task's current one is recorded and leaves the task alone; one that asks to
 *    start or go on is closed as F, so that it does not run beside its successor (race 29);
 * 3. a task that is already D or F: a failing instance closes as F, the task stays (race 24);
 * 4. the task's table; a step to the same status is a no-op (race 27). When the task cannot follow, an order to end
 *    (END_ORDERS) still closes the instance (race 46); everything else is refused whole.
 */
export function decideAttempt(rows: AttemptRows, to: TaskInstanceStatus): AttemptDecision {
  const { instance, task } = rows;
  const said = verdict(taskInstanceMachine, instance.status, to);
  if (said !== 'valid') return { accepted: false, because: said };

  if (task.current_task_instance_id !== instance.id) {
    const mustNotRun = to === 'I' || to === 'O' || to === 'R';
    return { accepted: true, instance_to: mustNotRun ? 'F' : to, task_to: null };
  }
  if ((task.status === TaskStatus.DONE || task.status === TaskStatus.ERROR_FATAL) && FAILURES.has(to)) {
    return { accepted: true, instance_to: 'F', task_to: null };
  }
  let at: TaskStatus = task.status;
  for (const step of taskPath(to, task)) {
    const stepSaid = verdict(taskMachine, at, step);
    if (stepSaid !== 'valid' && stepSaid !== 'repeat') {
      return END_ORDERS.has(`${instance.status}→${to}`)
        ? { accepted: true, instance_to: to, task_to: null }
        : { accepted: false, because: 'task_not_ready' };
    }
    at = step;
  }
  return { accepted: true, instance_to: to, task_to: at === task.status ? null : at };
}

/** Longest stored tail of a stream and longest stored description, in characters (spec/data-model.md sections 2 and 8). */
export const LOG_TAIL_CHARACTERS_MAX = 10_000;

/** A tail of output in a report. */
export const LogTail = z.string().nullish();
/** A file's path in a report. */
export const Path = z.string().max(2048).nullish();

/** The answer of every report: the status that stands now, whether or not the report changed it. */
export const StandingStatus = z.object({
  status: z.enum(Object.values(TaskInstanceStatus) as [TaskInstanceStatus, ...TaskInstanceStatus[]]),
});

/**
 * What an agent reports of one attempt. R: the command was started. D, E, Z: it ended. U: its end is not known (the
 * launcher was killed with it). W: it could not be started. A report without R before the end passes through R.
 */
export const AttemptReport = z.object({
  task_instance_id: Id,
  status: z.enum(['R', 'D', 'E', 'Z', 'U', 'W']),
  nodename: z.string().max(150).nullish(),
  process_group_id: z.number().int().nonnegative().max(2_147_483_647).nullish(),
  /** Exit code of the command, 128 + signal when a signal ended it. */
  exit_code: z.number().int().min(0).max(255).nullish(),
  error_description: z.string().nullish(),
  stdout: Path,
  stderr: Path,
  stdout_log: LogTail,
  stderr_log: LogTail,
  /** Seconds from start to end of the command, as text in the database; so are the two figures below. */
  wallclock_seconds: z.number().nonnegative().nullish(),
  /** Most memory that the command's processes held at one time, in bytes. */
  max_rss_bytes: z.number().int().nonnegative().nullish(),
  /** Time on a processor of all of them, user and system together, in seconds. */
  cpu_seconds: z.number().nonnegative().nullish(),
});
export type AttemptReport = z.output<typeof AttemptReport>;

/** One report of an agent; the api takes `agent.report` apart into these. Only the agent that holds the instance is heard. */
export const reportAttempt = operation({
  name: 'task_instance.report_attempt',
  owner: 'state-machine',
  summary: 'One attempt as its agent sees it.',
  batch: 'report',
  request: z.object({ agent_id: Id, report: AttemptReport }),
  reply: z.object({
    task_instance_id: z.number().int(),
    /** The status that stands now; null when there is no such instance. */
    status: StandingStatus.shape.status.nullable(),
  }),
});
