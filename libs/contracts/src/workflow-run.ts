/** A workflow run: one execution of a workflow, driven by a Python client or by the server. */
import { z } from 'zod';
import { Id } from './id';
import { machine } from './machine';
import { event, operation } from './operation';
import type { WorkflowStatus } from './workflow';
import { Fence, Lease, LeaseLost, LEASES_MAX } from './workflow-run-lease';

export const WorkflowRunStatus = {
  REGISTERED: 'G',
  LINKING: 'L',
  BOUND: 'B',
  INSTANTIATED: 'I',
  LAUNCHED: 'O',
  RUNNING: 'R',
  DONE: 'D',
  ERROR: 'E',
  STOPPED: 'S',
  COLD_RESUME: 'C',
  HOT_RESUME: 'H',
  TERMINATED: 'T',
  ABORTED: 'A',
} as const;
export type WorkflowRunStatus = (typeof WorkflowRunStatus)[keyof typeof WorkflowRunStatus];

/** Facts: spec/state-machines.md section 6; the pairs marked "ours" are its races 43 and 45, and what people ask of a run. */
export const workflowRunMachine = machine<WorkflowRunStatus>({
  name: 'workflow_run',
  states: {
    G: { label: 'REGISTERED', meaning: 'row created' },
    L: { label: 'LINKING', meaning: 'has claimed the workflow' },
    B: { label: 'BOUND', meaning: 'everything is bound, ready to start' },
    I: { label: 'INSTANTIATED', meaning: 'what distributes its tasks is starting' },
    O: { label: 'LAUNCHED', meaning: 'what distributes its tasks is up' },
    R: { label: 'RUNNING', meaning: 'scheduling' },
    D: { label: 'DONE', meaning: 'all tasks done' },
    E: { label: 'ERROR', meaning: 'ended with failed tasks or an error, or lost its heartbeat' },
    S: { label: 'STOPPED', meaning: 'stopped by its user' },
    C: { label: 'COLD_RESUME', meaning: 'told to stop; running instances are killed too' },
    H: { label: 'HOT_RESUME', meaning: 'told to stop; running instances may finish' },
    T: { label: 'TERMINATED', meaning: 'stopped for a resume; a new run may link' },
    A: { label: 'ABORTED', meaning: 'died while linking' },
  },
  initial: 'G',
  final: ['D', 'E', 'S', 'T', 'A'],
  valid: {
    'G→L': 'won the link',
    'L→B': 'everything is bound',
    'L→A': 'died while linking',
    'B→I': 'the distributor or the scheduler takes it',
    'B→E': 'failed before it started',
    'B→C': 'a cold resume was asked for',
    'B→H': 'a hot resume was asked for',
    'I→O': 'the distributor or the scheduler is up',
    'I→E': 'failed while starting',
    'I→C': 'ours (race 43): a cold resume was asked for while it started',
    'I→H': 'ours (race 43): a hot resume was asked for while it started',
    'O→R': 'schedules',
    'O→E': 'failed before it scheduled',
    'O→C': 'ours (race 43): a cold resume was asked for before it scheduled',
    'O→H': 'ours (race 43): a hot resume was asked for before it scheduled',
    'R→D': 'all tasks done',
    'R→S': 'stopped by its user',
    'R→E': 'failed tasks, an error, or silent past its deadline',
    'R→C': 'a cold resume was asked for',
    'R→H': 'a hot resume was asked for',
    'C→T': 'drained',
    'C→D': 'ours (race 45): all tasks were done before it had drained',
    'H→T': 'drained',
    'H→C': 'ours: whoever let it drain wants what runs killed',
    'H→D': 'ours (race 45): all tasks were done before it had drained',
  },
  untimely: { 'R→R': 'what a plain heartbeat is', 'L→L': 'what a plain heartbeat is' },
});

/** The workflow's status that follows the run's; spec/state-machines.md section 5. Runs in G, C and H leave it. */
export const workflowFollows: Readonly<Partial<Record<WorkflowRunStatus, WorkflowStatus>>> = {
  L: 'G',
  B: 'Q',
  I: 'I',
  O: 'O',
  R: 'R',
  D: 'D',
  T: 'H',
  S: 'F',
  E: 'F',
  A: 'A',
};

/** Runs that still hold their workflow: no other run may link. I and O count too (race 43). */
export const LIVE_WORKFLOW_RUN_STATUSES = ['L', 'B', 'I', 'O', 'R', 'C', 'H'] as const satisfies readonly WorkflowRunStatus[];

/** Who walks the graph of a run; fixed when it is linked (design rule 5.7). NULL in the column means `client`. */
export const Driver = { CLIENT: 'client', SERVER: 'server' } as const;
export type Driver = (typeof Driver)[keyof typeof Driver];

/** Seconds from one sign of life of a run's driver to its deadline: 30 s times 3.1 (spec/state-machines.md section 2). */
export const WORKFLOW_RUN_DEADLINE_SECONDS = 93;

/**
 * For so long after the server was away what is older than its return is not given up: a client or a worker that found nobody asks again
 * after up to 128 s, and has 20 s for it (spec/http-api-execution.md section 2.5).
 */
export const CLIENT_RETRY_SECONDS = 150;

/**
 * Makes a server run of a workflow and links it: G→L→B, the workflow G→Q, under the workflow's lock. A live server run
 * is answered as it stands; a live client run, or a workflow that is DONE, is a CONFLICT.
 */
export const submitWorkflowRun = operation({
  name: 'workflow_run.submit',
  owner: 'state-machine',
  summary: 'Make and link a server run.',
  request: z.object({
    workflow_id: Id,
    user: z.string().max(150),
    working_directory: z.string().max(2048),
    client_version: z.string().max(150),
  }),
  reply: z.object({ workflow_run_id: z.number().int(), status: z.string() }),
});

/**
 * The scheduler moves a server run on: R (through I and O), D or E. The workflow follows in the same write; both are
 * validated first (race 41). D is refused while a task is not D, E while an instance is live or when something was done to the
 * workflow that the scheduler had not seen when it read the tasks (a retry made some of them ready). Answers what stands; to a former
 * holder of the run that alone.
 */
export const moveWorkflowRun = operation({
  name: 'workflow_run.move',
  owner: 'state-machine',
  summary: 'Move a server run to running, done or error.',
  request: z.object({
    workflow_run_id: Id,
    fence: Fence.optional(),
    to: z.enum(['R', 'D', 'E']),
    /** The newest `workflow_event` of the workflow that the scheduler has seen, 0 for none; looked at for E. */
    seen_event_id: z.number().int().nonnegative().optional(),
  }),
  reply: z.object({ workflow_run_id: z.number().int(), status: z.string(), is_lease_lost: LeaseLost }),
});

/**
 * Brings a server run that was told to stop (C, H) nearer to its end: queued attempts are given back, in C all others are ordered to
 * stop, and when nothing of it is live any more it goes to T (D when all tasks are done) with its workflow. In pieces; changes nothing when there
 * is nothing to do, or on any other run. The scheduler asks for every such run, so a stop that was cut off is gone on with.
 */
export const settleWorkflowRun = operation({
  name: 'workflow_run.settle',
  owner: 'state-machine',
  summary: 'Go on with the stop of a server run.',
  request: z.object({ workflow_run_id: Id, fence: Fence.optional() }),
  reply: z.object({ workflow_run_id: z.number().int(), status: z.string(), is_lease_lost: LeaseLost }),
});

/**
 * Ends what an ended client run left behind: attempts that are not final and past their deadline, → F with an error-log row. The reaper asks
 * for it a day after the run's end, when nobody has resumed the workflow. Changes nothing on a live run, or on one that the server drove.
 */
export const endLeftAttempts = operation({
  name: 'workflow_run.end_attempts',
  owner: 'state-machine',
  summary: 'End the attempts that an ended client run left behind.',
  request: z.object({ workflow_run_id: Id }),
  reply: z.object({ workflow_run_id: z.number().int(), ended: z.number().int() }),
});

/** Sign of life of the driver of server runs: the deadline of those that it still holds moves to now plus 93 s. No status changes. */
export const beatWorkflowRuns = operation({
  name: 'workflow_run.beat',
  owner: 'state-machine',
  summary: 'The scheduler is alive and holds these runs.',
  request: z.object({ leases: z.array(Lease).min(1).max(LEASES_MAX) }),
  reply: z.object({ statuses: z.array(z.tuple([z.number().int(), z.string()])) }),
});

/** A run changed its status. */
export const workflowRunChanged = event({
  name: 'workflow_run.changed',
  payload: z.object({ workflow_id: z.number().int(), workflow_run_id: z.number().int(), status: z.string() }),
});
