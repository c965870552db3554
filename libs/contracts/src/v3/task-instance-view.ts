/** Task instances as workers, distributors and people read them: E24, E25, E60. */
import { z } from 'zod';
import { Id, ID_MAX } from '../id';
import { operation, type Operation } from '../operation';
import { TaskInstanceStatus } from '../task-instance';

/** E24. Every error text of an attempt, oldest first. Unknown id: 404. */
export const listTaskInstanceErrors = operation({
  protocol: 'E24',
  name: 'task_instance.list_errors',
  owner: 'api',
  summary: 'The error log of one task instance.',
  http: {
    method: 'GET',
    path: '/api/v3/task_instance/{task_instance_id}/task_instance_error_log',
    toWire: (reply: { errors: { id: number; error_time: string | null; description: string }[] }) => ({
      task_instance_error_log: reply.errors.map(({ id, error_time, description }) => [id, error_time, description]),
    }),
    wire: z.object({
      /** id, date, text. */
      task_instance_error_log: z.array(z.tuple([z.number().int(), z.string().nullable(), z.string()])),
    }),
  },
  request: z.object({ task_instance_id: Id }),
  reply: z.object({
    errors: z.array(z.object({ id: z.number().int(), error_time: z.string().nullable(), description: z.string() })),
  }),
});

/** A place in a path: 0, 1, 2 and so on. */
const Place = z.union([
  z.number().int().nonnegative().max(ID_MAX),
  z
    .string()
    .regex(/^[0-9]{1,10}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().int().max(ID_MAX)),
]);

/** E25. Which attempt a job of an array is, asked once by each worker of an array job. None: 404, so that the worker ends at once. */
export const findTaskInstanceInArray = operation({
  protocol: 'E25',
  name: 'task_instance.find_in_array',
  owner: 'api',
  summary: 'The task instance at a step of a batch of an array.',
  http: { method: 'GET', path: '/api/v3/get_array_task_instance_id/{array_id}/{batch_num}/{step_id}' },
  request: z.object({ array_id: Id, batch_num: Place, step_id: Place }),
  reply: z.object({ task_instance_id: z.number().int() }),
});

/** Ids that a distributor may hold in one state. */
const HELD_MAX = 1_000_000;

/**
 * E60. The difference between what a distributor holds in one state and what stands, for the instances of its run: ids of the list that
 * stand elsewhere, with where they stand, and ids that stand there without being in the list. Unknown run: 404.
 */
export const syncStatus = operation({
  protocol: 'E60',
  name: 'workflow_run.sync_status',
  owner: 'api',
  summary: 'What has changed against the task instances that a distributor holds.',
  http: {
    method: 'POST',
    path: '/api/v3/workflow_run/{workflow_run_id}/sync_status',
    body_bytes_max: 32 * 1024 * 1024,
  },
  request: z.object({
    workflow_run_id: Id,
    task_instance_ids: z.array(Id).max(HELD_MAX),
    status: z.enum(Object.values(TaskInstanceStatus) as [TaskInstanceStatus, ...TaskInstanceStatus[]]),
  }),
  reply: z.object({
    /** Status to ids, ascending; nothing for a status without ids. */
    status_updates: z.record(z.string(), z.array(z.number().int())),
    /** The database's time of the look. */
    time: z.string(),
  }),
});

export const TASK_INSTANCE_VIEW_OPERATIONS: readonly Operation[] = [listTaskInstanceErrors, findTaskInstanceInArray, syncStatus];
