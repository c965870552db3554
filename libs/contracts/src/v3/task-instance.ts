/** Task instances as workers and distributors report them: E19 to E23, E26 to E30, E61. */
import { z } from 'zod';
import { Id } from '../id';
import { operation, type Operation } from '../operation';
import { LogTail, Path, StandingStatus } from '../task-instance';

/** Seconds to the next report. */
const Increment = z.coerce.number().positive().max(31_536_000);

/** The report fields that E22 and E23 share. */
const attemptEnd = {
  stdout: Path,
  stderr: Path,
  stdout_log: LogTail,
  stderr_log: LogTail,
  nodename: z.string().max(150).nullish(),
  distributor_id: z.coerce.string().max(20).nullish(),
};

/** What E19 answers; the wire form is an array by position (spec/http-api-execution.md section 2.6). */
const LogRunningReply = z.object({
  task_instance_id: z.number().int(),
  status: z.string(),
  workflow_run_id: z.number().int(),
  task_id: z.number().int(),
  task_name: z.string(),
  command: z.string(),
  workflow_id: z.number().int(),
  stdout_dir: z.string().nullable(),
  stderr_dir: z.string().nullable(),
});

/** E19. A worker asks to start; it runs its command only when it reads back R. */
export const logRunning = operation({
  protocol: 'E19',
  name: 'task_instance.log_running',
  owner: 'state-machine',
  summary: 'A worker reports that it starts the command of a task instance.',
  batch: 'report',
  http: {
    method: 'POST',
    path: '/api/v3/task_instance/{task_instance_id}/log_running',
    toWire: (r: z.output<typeof LogRunningReply>) => ({
      task_instance: [
        r.task_instance_id,
        r.status,
        r.workflow_run_id,
        r.task_id,
        r.task_name,
        r.command,
        r.workflow_id,
        r.stdout_dir,
        r.stderr_dir,
      ],
    }),
  },
  request: z.object({
    task_instance_id: Id,
    process_group_id: z.coerce.number().int().nonnegative().max(2_147_483_647),
    next_report_increment: Increment,
    nodename: z.string().max(150).nullish(),
    distributor_id: z.coerce.string().max(20).nullish(),
  }),
  reply: LogRunningReply,
});

/** E20. The worker's heartbeat; updates only the fields that were sent (race 38). */
export const logReportBy = operation({
  protocol: 'E20',
  name: 'task_instance.log_report_by',
  owner: 'state-machine',
  summary: 'Heartbeat of a running task instance; the answer tells whether it may go on.',
  batch: 'report',
  http: { method: 'POST', path: '/api/v3/task_instance/{task_instance_id}/log_report_by' },
  request: z.object({
    task_instance_id: Id,
    next_report_increment: Increment,
    stdout: Path,
    stderr: Path,
    distributor_id: z.coerce.string().max(20).nullish(),
  }),
  reply: StandingStatus,
});

/** E22. */
export const logDone = operation({
  protocol: 'E22',
  name: 'task_instance.log_done',
  owner: 'state-machine',
  summary: 'A worker reports that its command returned 0.',
  batch: 'report',
  http: { method: 'POST', path: '/api/v3/task_instance/{task_instance_id}/log_done' },
  request: z.object({ task_instance_id: Id, ...attemptEnd }),
  reply: StandingStatus,
});

/** E23. One error row for each (instance, state, text), however often it is sent (race 40). */
export const logErrorWorkerNode = operation({
  protocol: 'E23',
  name: 'task_instance.log_error_worker_node',
  owner: 'state-machine',
  summary: 'A worker reports that its command failed, was killed for its resources, or was stopped as ordered.',
  batch: 'report',
  http: { method: 'POST', path: '/api/v3/task_instance/{task_instance_id}/log_error_worker_node' },
  request: z.object({
    task_instance_id: Id,
    error_state: z.enum(['E', 'Z', 'U', 'F']),
    error_description: z.string(),
    ...attemptEnd,
  }),
  reply: StandingStatus,
});

export const TASK_INSTANCE_OPERATIONS: readonly Operation[] = [logRunning, logReportBy, logDone, logErrorWorkerNode];
