/**
 * Limits of workflows and arrays, read and set: E6, E7, E47, E48, E54. A client's swarm reads them every 30 s and keeps to them itself.
 */
import { z } from 'zod';
import { Id, LimitOrDigits } from '../id';
import { operation, type Operation } from '../operation';

/** Tasks that may be active at one time. */
const LimitReply = z.object({ max_concurrently_running: z.number().int() });

/** What became of a change, in a sentence for people. */
const Message = z.object({ message: z.string() });

/** E6. NOT_FOUND for an unknown array. */
export const getArrayLimit = operation({
  protocol: 'E6',
  name: 'array.limit',
  owner: 'api',
  summary: 'How many tasks of an array may be active.',
  http: { method: 'GET', path: '/api/v3/array/{array_id}/get_array_max_concurrently_running' },
  request: z.object({ array_id: Id }),
  reply: LimitReply,
});

/** E7. NOT_FOUND when the workflow has no array of that template version. */
export const getTemplateLimit = operation({
  protocol: 'E7',
  name: 'array.limit_of_template',
  owner: 'api',
  summary: "How many tasks of a workflow's array may be active, found by its template version.",
  http: {
    method: 'GET',
    path: '/api/v3/workflow/{workflow_id}/get_array_max_concurrently_running/{task_template_version_id}',
  },
  request: z.object({ workflow_id: Id, task_template_version_id: Id }),
  reply: LimitReply,
});

/** E47. NOT_FOUND for an unknown workflow. */
export const getWorkflowLimit = operation({
  protocol: 'E47',
  name: 'workflow.limit',
  owner: 'api',
  summary: 'How many tasks of a workflow may be active.',
  http: { method: 'GET', path: '/api/v3/workflow/{workflow_id}/get_max_concurrently_running' },
  request: z.object({ workflow_id: Id }),
  reply: LimitReply,
});

/**
 * E48. NOT_FOUND for an unknown workflow, MALFORMED for a limit that is no whole number (spec/http-api-inspection.md F3). While the
 * server drives a run of the workflow nothing changes, and the message says so.
 */
export const setWorkflowLimit = operation({
  protocol: 'E48',
  name: 'workflow.set_limit',
  owner: 'api',
  summary: 'Set how many tasks of a workflow may be active.',
  http: { method: 'PUT', path: '/api/v3/workflow/{workflow_id}/update_max_concurrently_running' },
  request: z.object({ workflow_id: Id, max_tasks: LimitOrDigits }),
  reply: Message,
});

/** E54. As E48; NOT_FOUND too when the workflow has no array of that template version. */
export const setArrayLimit = operation({
  protocol: 'E54',
  name: 'array.set_limit',
  owner: 'api',
  summary: "Set how many tasks of a workflow's array may be active.",
  http: { method: 'PUT', path: '/api/v3/workflow/{workflow_id}/update_array_max_concurrently_running' },
  request: z.object({ workflow_id: Id, task_template_version_id: Id, max_tasks: LimitOrDigits }),
  reply: Message,
});

export const LIMIT_OPERATIONS: readonly Operation[] = [
  getArrayLimit,
  getTemplateLimit,
  getWorkflowLimit,
  setWorkflowLimit,
  setArrayLimit,
];
