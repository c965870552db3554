/** Requested resources: E16 and E35. */
import { z } from 'zod';
import { Id } from '../id';
import { operation, type Operation } from '../operation';

/**
 * E16. Each call makes another row, by contract; clients keep one for each distinct request. NOT_FOUND for an unknown queue; MALFORMED
 * for more than 65,535 bytes of JSON or 32 levels.
 */
export const bindTaskResources = operation({
  protocol: 'E16',
  name: 'task_resources.bind',
  owner: 'api',
  summary: 'Store the resources that tasks ask for.',
  http: {
    method: 'POST',
    path: '/api/v3/task/bind_resources',
    toWire: (reply: { task_resources_id: number }) => reply.task_resources_id,
    wire: z.number().int(),
  },
  request: z.object({
    queue_id: Id,
    /** O as the user asked, V as the cluster's limits changed it, A adjusted after a failure. */
    task_resources_type_id: z.enum(['O', 'V', 'A']).default('O'),
    /** Memory in GiB, runtime in seconds; other keys are the cluster plug-in's. */
    requested_resources: z.record(z.string(), z.unknown()),
  }),
  reply: z.object({ task_resources_id: z.number().int() }),
});

/** E35. A read, for all that it is a POST. Both null for an unknown id. */
export const getTaskResources = operation({
  protocol: 'E35',
  name: 'task_resources.get',
  owner: 'api',
  summary: 'Requested resources with the name of their queue.',
  http: { method: 'POST', path: '/api/v3/task_resources/{task_resources_id}' },
  request: z.object({ task_resources_id: Id }),
  reply: z.object({ requested_resources: z.unknown(), queue_name: z.string().nullable() }),
});

export const TASK_RESOURCES_OPERATIONS: readonly Operation[] = [bindTaskResources, getTaskResources];
