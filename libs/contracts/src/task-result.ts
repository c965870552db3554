/** How the tasks of a workflow stand and why they failed, for programs: many at a time, and nothing but that. */
import { z } from 'zod';
import { DateText, Id } from './id';
import { operation } from './operation';
import { TaskStatus } from './task';

const Letter = z.enum(Object.values(TaskStatus) as [TaskStatus, ...TaskStatus[]]);

/** Pages through the statuses of a workflow's tasks by id. */
export const listTaskStatuses = operation({
  name: 'task.list_statuses',
  owner: 'api',
  summary: 'Ids and statuses of the tasks of a workflow, a page at a time.',
  http: { method: 'GET', path: '/api/v4/workflows/{workflow_id}/task_statuses' },
  request: z.object({
    workflow_id: Id,
    /** Only tasks with a larger id. */
    after: z.coerce.number().int().nonnegative().default(0),
    limit: z.coerce.number().int().min(1).max(5_000).default(5_000),
  }),
  reply: z.object({
    /** `[task_id, status]`, ascending. */
    statuses: z.array(z.tuple([z.number().int(), Letter])),
    /** Give it as `after` for the next page; null on the last one. */
    next: z.number().int().nullable(),
  }),
});

/** An error that was reported of an attempt. */
export const TaskErrorView = z.object({
  task_instance_id: z.number().int(),
  error_time: DateText.nullable(),
  /** At most its first 10,000 characters. */
  description: z.string(),
});
export type TaskErrorView = z.output<typeof TaskErrorView>;

/** Pages through the tasks of a workflow that failed for good (F), with the errors of all their attempts, oldest first. */
export const listTaskErrors = operation({
  name: 'task.list_errors',
  owner: 'api',
  summary: 'The failed tasks of a workflow with their errors, a page at a time.',
  http: { method: 'GET', path: '/api/v4/workflows/{workflow_id}/errors' },
  request: z.object({
    workflow_id: Id,
    /** Only tasks with a larger id. */
    after: z.coerce.number().int().nonnegative().default(0),
    limit: z.coerce.number().int().min(1).max(500).default(500),
  }),
  reply: z.object({
    tasks: z.array(z.object({ task_id: z.number().int(), name: z.string(), errors: z.array(TaskErrorView) })),
    next: z.number().int().nullable(),
  }),
});
