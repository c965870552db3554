/** What a client's swarm reads of a workflow's tasks, and what a resume asks of them: E49 to E53, E55. */
import { z } from 'zod';
import { DateText, Id, ID_MAX, Whole } from '../id';
import { operation, type Operation } from '../operation';

/**
 * E49. Statuses of the tasks whose status was written since the cursor; of all tasks when the cursor is absent or cannot be read.
 * The answered time is the next cursor, some seconds in the past, because a write may be committed after a later one was read
 * (race 48). NOT_FOUND for an unknown workflow.
 */
export const getTaskStatusUpdates = operation({
  protocol: 'E49',
  name: 'workflow.task_status_updates',
  owner: 'api',
  summary: 'Tasks of a workflow whose status changed since the last answer.',
  http: { method: 'POST', path: '/api/v3/workflow/{workflow_id}/task_status_updates' },
  request: z.object({ workflow_id: Id, last_sync: z.unknown().optional() }),
  reply: z.object({
    /** Status letter to task ids. */
    tasks_by_status: z.record(z.string(), z.array(z.number().int())),
    time: DateText,
  }),
});

/** E50. An empty list for an unknown workflow, which the client tests for. */
export const getWorkflowMetadata = operation({
  protocol: 'E50',
  name: 'workflow.metadata',
  owner: 'api',
  summary: 'Graph and limit of a workflow.',
  http: { method: 'GET', path: '/api/v3/workflow/{workflow_id}/fetch_workflow_metadata' },
  request: z.object({ workflow_id: Id }),
  reply: z.object({
    /** `[workflow_id, dag_id, max_concurrently_running]`, or nothing. */
    workflow: z.union([z.tuple([z.number().int(), z.number().int(), z.number().int()]), z.array(z.never()).max(0)]),
  }),
});

/**
 * E51. A page of the tasks that are not D, ascending by id. The page is as long as was asked for until there are no more: the client
 * stops at a shorter one. NOT_FOUND for an unknown workflow.
 */
export const getTasksToResume = operation({
  protocol: 'E51',
  name: 'workflow.tasks',
  owner: 'api',
  summary: 'Tasks of a workflow that are not done, a page at a time.',
  http: { method: 'GET', path: '/api/v3/workflow/get_tasks/{workflow_id}' },
  request: z.object({
    workflow_id: Id,
    /** Only tasks with a larger id. */
    max_task_id: Whole(-1, ID_MAX),
    chunk_size: Whole(1, 100_000),
  }),
  reply: z.object({
    /**
     * Task id to `[array_id, status, max_attempts, resource_scales, fallback_queues, requested_resources, cluster_name, queue_name,
     * the array's max_concurrently_running]`; positions 3 to 5 are Python literals.
     */
    tasks: z.record(
      z.string(),
      z.tuple([
        z.number().int(),
        z.string(),
        z.number().int(),
        z.string(),
        z.string(),
        z.string(),
        z.string(),
        z.string(),
        z.number().int(),
      ]),
    ),
  }),
});

/** E52. The labels, ordered by their letters. */
export const getWorkflowStatuses = operation({
  protocol: 'E52',
  name: 'workflow.available_statuses',
  owner: 'api',
  summary: 'Labels of all statuses of a workflow.',
  http: { method: 'GET', path: '/api/v3/workflow_status/available_status' },
  request: z.object({}),
  reply: z.object({ available_statuses: z.array(z.string()) }),
});

/**
 * E53. Tasks in E or F whose latest instance failed for its resources get a row of larger resources: those of that instance, scaled
 * by the task's own rule. No row is changed in place (race 49), no status is touched, and a repeat answers the same. NOT_FOUND for an
 * unknown workflow; while the server drives a run of it nothing changes.
 */
export const increaseResources = operation({
  protocol: 'E53',
  name: 'workflow.increase_resources',
  owner: 'api',
  summary: 'Give tasks that failed for lack of resources larger ones.',
  http: { method: 'POST', path: '/api/v3/workflow/{workflow_id}/increase_resources' },
  request: z.object({ workflow_id: Id }),
  reply: z.object({ updated_task_count: z.number().int(), updated_task_ids: z.array(z.number().int()) }),
});

/** E55. One element for each edge between templates, and one with null for a template that nobody waits for. */
export const getTaskTemplateDag = operation({
  protocol: 'E55',
  name: 'workflow.task_template_dag',
  owner: 'api',
  summary: 'Which task templates of a workflow wait for which.',
  http: { method: 'GET', path: '/api/v3/workflow/{workflow_id}/task_template_dag' },
  request: z.object({ workflow_id: Id }),
  reply: z.object({
    /** Both fields hold names. */
    tt_dag: z.array(z.object({ name: z.string(), downstream_task_template_id: z.string().nullable() })),
  }),
});

export const WORKFLOW_TASKS_OPERATIONS: readonly Operation[] = [
  getTaskStatusUpdates,
  getWorkflowMetadata,
  getTasksToResume,
  getWorkflowStatuses,
  increaseResources,
  getTaskTemplateDag,
];
