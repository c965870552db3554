/** Arrays: bound by clients (E1), and moved batch by batch (E2 to E5). */
import { z } from 'zod';
import { Id, LimitOrDigits } from '../id';
import { operation, type Operation } from '../operation';

/**
 * E1. The array of one template version in one workflow, found or made. A known one keeps its name and takes the limit of the
 * request. NOT_FOUND for an unknown workflow or template version.
 */
export const bindArray = operation({
  protocol: 'E1',
  name: 'array.bind',
  owner: 'api',
  summary: 'Find or make the array of a template version in a workflow.',
  http: { method: 'POST', path: '/api/v3/array' },
  request: z.object({
    workflow_id: Id,
    task_template_version_id: Id,
    max_concurrently_running: LimitOrDigits,
    name: z.string().max(255),
  }),
  reply: z.object({ array_id: z.number().int() }),
});

export const ARRAY_OPERATIONS: readonly Operation[] = [bindArray];
