/** Arrays: bound by clients (E1), and moved batch by batch (E2 to E5). */
import { z } from 'zod';
import { Id, LimitOrDigits } from '../id';
import { operation, type Operation } from '../operation';
import { DistributorId, IDS_MAX, Increment } from './task-instance';

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

/** 1, 2, 3 … within an array; digits are taken too. */
const BatchNumber = Id;
/** Keys of E5's body that are ids. */
const IS_DIGITS = /^[0-9]+$/;

const QueueReply = z.object({
  /** Task status to task ids, in the order of the request. */
  tasks_by_status: z.record(z.string(), z.array(z.number().int())),
});

/**
 * E2. The swarm queues tasks of one array: G or A→Q with an instance each, per 1,000 ids one batch and one transaction (race 11). Answered is
 * where every task of the list stands now (race 12); ids that do not exist are left out, tasks of other arrays stay as they are.
 * Nothing is queued for a run of another workflow, one that the server drives, or one that is ending or ended. No limit is
 * enforced: those of client runs are the client's (design rule 5.8). Unknown array, run or resources: 404.
 */
export const queueTaskBatch = operation({
  protocol: 'E2',
  name: 'array.queue_task_batch',
  owner: 'state-machine',
  summary: 'Queue tasks of an array.',
  http: { method: 'POST', path: '/api/v3/array/{array_id}/queue_task_batch' },
  request: z.object({
    array_id: Id,
    task_ids: z.array(Id).max(IDS_MAX),
    task_resources_id: Id,
    workflow_run_id: Id,
  }),
  reply: QueueReply,
});

/** E3. A batch was handed to the cluster: I→O with launch date and deadline; what has started already stays. Unknown batch: nothing to do. */
export const transitionToLaunched = operation({
  protocol: 'E3',
  name: 'array.transition_to_launched',
  owner: 'state-machine',
  summary: 'A distributor handed a batch of an array to its cluster.',
  http: { method: 'POST', path: '/api/v3/array/{array_id}/transition_to_launched' },
  request: z.object({ array_id: Id, batch_number: BatchNumber, next_report_increment: Increment }),
  reply: z.object({}),
});

/** E4. What was ordered to stop in a batch has stopped: K→F, its tasks with it. */
export const transitionToKilled = operation({
  protocol: 'E4',
  name: 'array.transition_to_killed',
  owner: 'state-machine',
  summary: 'A distributor stopped the killed task instances of a batch.',
  http: { method: 'POST', path: '/api/v3/array/{array_id}/transition_to_killed' },
  request: z.object({ array_id: Id, batch_number: BatchNumber }),
  reply: z.object({}),
});

/**
 * E5. Cluster ids of instances of one array. The body is the map itself; keys that are no ids (old clients send their log context so) are
 * passed over, ids of other arrays too.
 */
export const logDistributorIds = operation({
  protocol: 'E5',
  name: 'array.log_distributor_id',
  owner: 'state-machine',
  summary: 'A distributor tells the cluster ids of a batch.',
  http: { method: 'POST', path: '/api/v3/array/{array_id}/log_distributor_id' },
  request: z
    .object({ array_id: Id })
    .catchall(z.unknown())
    .superRefine((map, context) => {
      for (const [key, value] of Object.entries(map)) {
        if (!IS_DIGITS.test(key) || DistributorId.safeParse(value).success) continue;
        context.addIssue({ code: 'custom', path: [key], message: 'must be a text of at most 20 characters' });
      }
    }),
  reply: z.object({ success: z.literal(true) }),
});

export const ARRAY_OPERATIONS: readonly Operation[] = [
  bindArray,
  queueTaskBatch,
  transitionToLaunched,
  transitionToKilled,
  logDistributorIds,
];
