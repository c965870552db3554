/** What people change and ask before they do: C4, C19, C21 to C23. */
import { z } from 'zod';
import { Id } from '../id';
import { operation, type Operation } from '../operation';

/** Task ids of one C4: in digits they fill most of the 512 KiB that a message may have. `all` names any number. */
export const OVERRIDE_IDS_MAX = 40_000;

/**
 * C4. Puts tasks where a person wants them: D, with attempts ended that nobody runs yet, or G with no attempts counted
 * and their attempts stopped. Only in a workflow that is F, D, A or H, or when every task directly behind them is in G, I or Q, and never under a run that the server drives.
 * `recursive` takes all upstream tasks along to D, all downstream ones to G. A workflow in D with a task in G becomes F, one
 * whose tasks are all D becomes D. MALFORMED: no task, a task of another workflow, a workflow that is running. `all` is never
 * recursive. Refusals carry `detail`, as everywhere on v3.
 */
export const updateTaskStatuses = operation({
  protocol: 'C4',
  name: 'task.update_statuses',
  owner: 'state-machine',
  summary: 'Put tasks to done, or back to the beginning.',
  http: { method: 'PUT', path: '/api/v3/task/update_statuses' },
  request: z.object({
    workflow_id: Id,
    task_ids: z.union([z.literal('all'), z.array(Id).max(OVERRIDE_IDS_MAX), Id.transform((id) => [id])]),
    new_status: z.enum(['D', 'G']),
    recursive: z
      .boolean()
      .nullish()
      .transform((value) => value === true),
  }),
  reply: z.object({
    /** For people; nobody parses it. */
    message: z.string(),
    /** How many tasks changed. */
    updated_task_ids: z.number().int(),
    killed_task_instances: z.number().int(),
    workflow_status: z.string(),
  }),
});

/** C19. Whether all of these tasks are of one workflow that has ended (F, D, A, H), and its status; null for no task or several workflows. */
export const validateTasks = operation({
  protocol: 'C19',
  name: 'workflow.validate_tasks',
  owner: 'api',
  summary: 'Tell whether the statuses of these tasks may be changed.',
  http: { method: 'POST', path: '/api/v3/workflow_validation', body_bytes_max: 2 * 1024 * 1024 },
  request: z.object({ task_ids: z.array(Id).max(100_000) }),
  reply: z.object({ validation: z.boolean(), workflow_status: z.string().nullable() }),
});

/** C21. Whether any run of the workflow was started under this name. The name is the caller's word. */
export const validateUsername = operation({
  protocol: 'C21',
  name: 'workflow.validate_username',
  owner: 'api',
  summary: 'Tell whether somebody has run a workflow.',
  http: { method: 'GET', path: '/api/v3/workflow/{workflow_id}/validate_username/{username}' },
  request: z.object({ workflow_id: Id, username: z.string() }),
  reply: z.object({ validation: z.boolean() }),
});

/** C22. The newest run of the workflow when it ended without success (E, S, T, A) and was started under this name, else null. */
export const validateWorkflowReset = operation({
  protocol: 'C22',
  name: 'workflow.validate_reset',
  owner: 'api',
  summary: 'Tell whether somebody may reset a workflow.',
  http: { method: 'GET', path: '/api/v3/workflow/{workflow_id}/validate_for_workflow_reset/{username}' },
  request: z.object({ workflow_id: Id, username: z.string() }),
  reply: z.object({ workflow_run_id: z.number().int().nullable() }),
});

/**
 * C23. Back to the beginning: all tasks (`partial_reset`: all but those in D) → G with no attempts counted and their attempts stopped,
 * then the workflow → G. Client runs in C or H that are overdue → T first; any other live run refuses (MALFORMED). NOT_FOUND for
 * an unknown workflow. Done in pieces under a row that says so; a repeat joins.
 */
export const resetWorkflow = operation({
  protocol: 'C23',
  name: 'workflow.reset',
  owner: 'state-machine',
  summary: 'Reset a workflow and its tasks.',
  http: { method: 'PUT', path: '/api/v3/workflow/{workflow_id}/reset' },
  request: z.object({
    workflow_id: Id,
    partial_reset: z
      .boolean()
      .nullish()
      .transform((value) => value === true),
  }),
  reply: z.object({ reset_tasks: z.number().int(), killed_task_instances: z.number().int() }),
});

export const OVERRIDE_OPERATIONS: readonly Operation[] = [
  updateTaskStatuses,
  validateTasks,
  validateUsername,
  validateWorkflowReset,
  resetWorkflow,
];
