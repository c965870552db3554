/** Client runs: E56 to E59. A run that the server drives answers each of them with the status that stands and changes nothing. */
import { z } from 'zod';
import { Id } from '../id';
import { operation, type Operation } from '../operation';
import { Increment } from './task-instance';

/** The status that stands after the attempt; a target that is refused, or no status at all, changes nothing and is no error. */
const StandingRunStatus = z.object({ status: z.string() });

/**
 * E56. Makes a client run and links it to its workflow, G→L, the workflow → G. One live run a workflow (race 43): a run in L, B, I,
 * O, R, C or H refuses, and so does a workflow that is unknown, not bound to its end (race 52), DONE, or torn. Refusals are
 * answers too. A run is never handed to a second caller: whoever could not be answered has its run aborted, and may ask again.
 */
export const linkWorkflowRun = operation({
  protocol: 'E56',
  name: 'workflow_run.link',
  owner: 'state-machine',
  summary: 'Make a run of a workflow for the client that asks, and link it.',
  http: { method: 'POST', path: '/api/v3/workflow_run' },
  request: z.object({
    workflow_id: Id,
    user: z.string().max(150),
    jobmon_version: z.string().max(150),
    next_report_increment: Increment,
  }),
  reply: z.object({
    /** Null when the link was refused. */
    workflow_run_id: z.number().int().nullable(),
    status: z.string().optional(),
    /** Why it was refused, for the client's user. */
    err_msg: z.string().optional(),
  }),
});

/** The api could not answer the caller of E56: the run that was just linked goes L→A, its workflow too. In any other status nothing happens. */
export const abortWorkflowRun = operation({
  name: 'workflow_run.abort',
  owner: 'state-machine',
  summary: 'Abort a run whose client never learned of it.',
  request: z.object({ workflow_run_id: Id }),
  reply: StandingRunStatus,
});

/**
 * E57. A client that is told to stop settles the task instances of its run: Q and I → F with their tasks (race 32), O, T and X → K
 * (race 30), R → K unless the run is in H. One error-log row each. Answers how many; a repeat finds none. Nothing is stopped when the
 * run has ended: its client hears of that later (race 44), and what a hot resume let run is the next run's by then.
 */
export const terminateTaskInstances = operation({
  protocol: 'E57',
  name: 'workflow_run.terminate_task_instances',
  owner: 'state-machine',
  summary: 'Stop the task instances of a run.',
  http: { method: 'PUT', path: '/api/v3/workflow_run/{workflow_run_id}/terminate_task_instances' },
  request: z.object({ workflow_run_id: Id }),
  reply: z.object({ workflow_run_id: z.number().int(), num_terminated: z.number().int() }),
});

/**
 * E58. The client is alive: the run's deadline moves to now plus the increment in every live status but C and H (race 43), whatever
 * the client believes; a valid step to `status` is taken. Answers what stands, which is how a client learns of a resume; from then on
 * the deadline stands, since clients with tasks that wait for a place never end by themselves.
 */
export const logHeartbeat = operation({
  protocol: 'E58',
  name: 'workflow_run.log_heartbeat',
  owner: 'state-machine',
  summary: 'Heartbeat of a run; the answer tells whether it may go on.',
  batch: 'run',
  http: { method: 'POST', path: '/api/v3/workflow_run/{workflow_run_id}/log_heartbeat' },
  request: z.object({ workflow_run_id: Id, status: z.string(), next_report_increment: Increment }),
  reply: StandingRunStatus,
});

/** E59. Moves a run, and its workflow with it: both or neither (race 41). */
export const updateRunStatus = operation({
  protocol: 'E59',
  name: 'workflow_run.update_status',
  owner: 'state-machine',
  summary: 'Move a run to another status, its workflow with it.',
  batch: 'run',
  http: { method: 'PUT', path: '/api/v3/workflow_run/{workflow_run_id}/update_status' },
  request: z.object({ workflow_run_id: Id, status: z.string() }),
  reply: StandingRunStatus,
});

export const WORKFLOW_RUN_OPERATIONS: readonly Operation[] = [
  linkWorkflowRun,
  abortWorkflowRun,
  terminateTaskInstances,
  logHeartbeat,
  updateRunStatus,
];
