/** Resume: E18, E44 to E46, and the reset of tasks that binding them again asks for. */
import { z } from 'zod';
import { Id } from '../id';
import { operation, type Operation } from '../operation';
import { Lease, LeaseLost } from '../workflow-run-lease';

/**
 * Prepares tasks of one workflow for a new run: each that is not D → G with no attempts counted and the fence cleared, and
 * its attempts that have not ended settled first (races 26, 28, 30): Q and I → F, since nobody runs them, O, R, T and X → K.
 * Unless `reset_if_running`, a task in R whose attempt is in R is kept with it (a hot resume). While a run that the server
 * drives is live nothing changes; a live client run keeps the tasks that it has in hand (Q, I, O, R, A). Answers where each task of the workflow stands afterwards; ids of other workflows are left out.
 */
export const resetTasks = operation({
  name: 'task.reset',
  owner: 'state-machine',
  summary: 'Reset tasks that are bound again for a new run.',
  request: z.object({
    workflow_id: Id,
    task_ids: z.array(Id).min(1).max(1_000),
    reset_if_running: z.boolean(),
  }),
  reply: z.object({ statuses: z.array(z.tuple([z.number().int(), z.string()])) }),
});

/**
 * E18. The reset of a whole workflow: every task that is neither D nor G, and unless `reset_if_running` no task that runs on, → G, as
 * `task.reset` does it. Many tasks are done in pieces under a row that says so; a repeat joins. While a run is live: refused in words.
 */
export const setResumeState = operation({
  protocol: 'E18',
  name: 'workflow.set_resume_state',
  owner: 'state-machine',
  summary: 'Reset the tasks of a workflow for a new run.',
  http: { method: 'POST', path: '/api/v3/task/{workflow_id}/set_resume_state' },
  request: z.object({ workflow_id: Id, reset_if_running: z.boolean() }),
  reply: z.object({ err_msg: z.string().optional() }),
});

/**
 * E44. Tells the live run of a workflow to stop: B, I, O or R → C (cold: running instances are killed too) or H (hot: they may finish), so that
 * another may be linked. A run that the server drives is stopped by the server, and the record names it a take-over. An unknown workflow, or
 * nothing to tell: nothing happens, the answer is the same.
 */
export const setResume = operation({
  protocol: 'E44',
  name: 'workflow.set_resume',
  owner: 'state-machine',
  summary: 'Tell the run of a workflow to stop, so that another may take over.',
  http: { method: 'POST', path: '/api/v3/workflow/{workflow_id}/set_resume' },
  request: z.object({ workflow_id: Id, reset_running_jobs: z.boolean() }),
  reply: z.object({}),
});

/** E45. Whether a new run may be linked now, and how many attempts are still under the order to stop. NOT_FOUND for an unknown workflow. */
export const isResumable = operation({
  protocol: 'E45',
  name: 'workflow.is_resumable',
  owner: 'api',
  summary: 'Tell whether a workflow can be resumed.',
  http: { method: 'GET', path: '/api/v3/workflow/{workflow_id}/is_resumable' },
  request: z.object({ workflow_id: Id }),
  reply: z.object({ workflow_is_resumable: z.boolean(), pending_kill_self: z.number().int() }),
});

/**
 * E46. An operator gives up waiting: attempts of client runs under the order to stop, K → F with an error-log row each, and runs in C
 * or H → T, the workflow → H. Answers how many of each; a repeat finds none.
 */
export const forceCleanupKillSelf = operation({
  protocol: 'E46',
  name: 'workflow.force_cleanup_kill_self',
  owner: 'state-machine',
  summary: 'End the attempts and runs of a workflow that were told to stop.',
  http: { method: 'POST', path: '/api/v3/workflow/{workflow_id}/force_cleanup_kill_self' },
  request: z.object({ workflow_id: Id }),
  reply: z.object({ num_cleaned_up: z.number().int(), num_workflow_runs_finalized: z.number().int() }),
});

/** Whoever finds a command of a whole workflow that nobody works on asks for the rest of it. Answers whether it has ended. */
export const continueCommand = operation({
  name: 'workflow.continue_command',
  owner: 'state-machine',
  summary: 'Go on with a command of a whole workflow that was cut off.',
  request: z.object({
    workflow_id: Id,
    /** Of a scheduler: the run that it holds. Whoever holds none (the reaper) leaves it away. */
    lease: Lease.optional(),
  }),
  reply: z.object({ is_ended: z.boolean(), is_lease_lost: LeaseLost }),
});

export const RESUME_OPERATIONS: readonly Operation[] = [
  resetTasks,
  setResumeState,
  setResume,
  isResumable,
  forceCleanupKillSelf,
  continueCommand,
];
