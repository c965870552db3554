/** Tasks: bound with their arguments and attributes (E13 to E15), and what is asked about some of them (E17, L1, L2). */
import { z } from 'zod';
import { HashDigits, Id, ID_MAX, Whole } from '../id';
import { operation, type Operation } from '../operation';

/** Largest body of the routes that carry many tasks: 500 commands of 64 KB are 32 MB, and clients may send more in one request. */
const BODY_BYTES_MAX = 64 * 1024 * 1024;
/** Characters of `task.resource_scales` and `task.fallback_queues`. */
const NOTE_CHARACTERS_MAX = 1_000;

/** Text that a column of so many characters keeps whole. */
const textUpTo = (characters_max: number) =>
  z
    .string()
    .max(characters_max)
    .refine((text) => !text.includes('\0'), 'must not hold the character NUL');

const fitsNote = (value: unknown): boolean => JSON.stringify(value).length <= NOTE_CHARACTERS_MAX;
const tooLongForNote = `must not be longer than ${NOTE_CHARACTERS_MAX} characters as JSON`;

/** Resource to how it grows after a resource failure: a factor, values to take one after another, or the name of a client's function. */
const ResourceScales = z
  .record(z.string(), z.union([z.number(), z.array(z.number()), z.string()]))
  .refine(fitsNote, tooLongForNote);

/** One task to bind, by position (spec/http-api-execution.md section 2.6). */
const TaskToBind = z
  .tuple([
    Id.describe('node_id'),
    HashDigits.describe('task_args_hash'),
    Id.describe('array_id'),
    Id.describe('task_resources_id'),
    z.string().max(255).describe('name'),
    z.string().describe('command, at most 64 KiB less one byte in UTF-8'),
    Whole(0, ID_MAX).describe('max_attempts'),
    z.boolean().describe('reset_if_running'),
    ResourceScales.nullable().describe('resource_scales'),
    z.array(z.string().max(255)).refine(fitsNote, tooLongForNote).nullable().describe('fallback_queues'),
  ])
  .describe('A task by position.');
export type TaskToBind = z.output<typeof TaskToBind>;

/**
 * E13. Tasks made, or reset when the workflow has them: those that are not D, and not R unless the task says so. The same workflow,
 * node and hash of task arguments are the same task, so a repeat answers the same, however many callers send it at one time.
 * NOT_FOUND for an unknown workflow, node or resources, and for an array that is not the workflow's.
 */
export const bindTasksOfClient = operation({
  protocol: 'E13',
  name: 'task.bind',
  owner: 'api',
  summary: 'Make the tasks of a workflow, or reset those that it has, some hundred at a time.',
  http: { method: 'PUT', path: '/api/v3/task/bind_tasks_no_args', body_bytes_max: BODY_BYTES_MAX },
  request: z.object({
    workflow_id: Id,
    /** By the task's hash, which only names the task in the answer. */
    tasks: z.record(HashDigits, TaskToBind),
    /** True with the last tasks: the workflow is whole and may be linked. */
    mark_created: z.boolean(),
  }),
  reply: z.object({
    /** `[task_id, status]` for each hash that was sent, with the status after the reset. */
    tasks: z.record(z.string(), z.tuple([z.number().int(), z.string()])),
  }),
});

/** E14. A known (task, argument) keeps its value. NOT_FOUND for an unknown task or argument. */
export const bindTaskArgs = operation({
  protocol: 'E14',
  name: 'task.bind_args',
  owner: 'api',
  summary: 'Store the values of task arguments.',
  http: { method: 'PUT', path: '/api/v3/task/bind_task_args', body_bytes_max: BODY_BYTES_MAX },
  request: z.object({
    /** `[task_id, arg_id, value]`. */
    task_args: z.array(z.tuple([Id, Id, textUpTo(2048)])),
  }),
  reply: z.object({}),
});

const AttributeName = textUpTo(255).min(1);
/** Null: declared, not yet set. Numbers are stored as their text. */
const AttributeValue = z.union([textUpTo(255), z.number().transform(String)]).nullable();

/** E15. A known attribute takes the value of the request. NOT_FOUND for an unknown task. */
export const bindTaskAttributes = operation({
  protocol: 'E15',
  name: 'task.bind_attributes',
  owner: 'api',
  summary: 'Store attributes of tasks.',
  http: { method: 'PUT', path: '/api/v3/task/bind_task_attributes', body_bytes_max: BODY_BYTES_MAX },
  request: z.object({
    /** Task id to its attributes. */
    task_attributes: z.record(z.string().regex(/^[0-9]{1,10}$/, 'must be a task id'), z.record(AttributeName, AttributeValue)),
  }),
  reply: z.object({}),
});

/** E15 as a running task sends it: its id among its attributes. The existing server has no such route, so its clients fail there. */
export const addTaskAttributes = operation({
  protocol: 'E15',
  name: 'task.add_attributes',
  owner: 'api',
  summary: 'Store attributes of one task.',
  http: { method: 'POST', path: '/api/v3/task/bind_task_attributes' },
  request: z
    .object({ task_id: Id })
    .catchall(AttributeValue)
    .refine(
      (attributes) => Object.keys(attributes).every((name) => AttributeName.safeParse(name).success),
      'an attribute has a name of 1 to 255 characters',
    ),
  reply: z.object({}),
});

/** E17. An empty text and null when no instance of the task has an error. NOT_FOUND for an unknown task. */
export const getMostRecentError = operation({
  protocol: 'E17',
  name: 'task.most_recent_error',
  owner: 'api',
  summary: "The newest error of a task's newest instance that has any.",
  http: { method: 'GET', path: '/api/v3/task/{task_id}/most_recent_ti_error' },
  request: z.object({ task_id: Id }),
  reply: z.object({ error_description: z.string(), task_instance_id: z.number().int().nullable() }),
});

/**
 * L1 (C8). Clients up to 3.4.23, and those that tell no version, read the list as JSON text. NOT_FOUND for an unknown graph, and for
 * a task that is of none of its workflows.
 */
export const getDownstreamTasks = operation({
  protocol: 'L1',
  name: 'task.downstream',
  owner: 'api',
  summary: 'The nodes that wait for some tasks.',
  http: { method: 'POST', path: '/api/v3/task/get_downstream_tasks' },
  request: z.object({
    task_ids: z.array(Id).max(100_000),
    dag_id: Id,
    /** The query's version of the client. */
    client_jobmon_version: z.unknown().optional(),
  }),
  reply: z.object({
    /** Task id to `[node_id, downstream node ids]`; null for a leaf. */
    downstream_tasks: z.record(
      z.string(),
      z.tuple([z.number().int(), z.union([z.array(z.number().int()), z.string()]).nullable()]),
    ),
  }),
});

/** L2 (C7). All null when no instance is D; of several, the newest. NOT_FOUND for an unknown task. */
export const getTaskResourceUsage = operation({
  protocol: 'L2',
  name: 'task.resource_usage',
  owner: 'api',
  summary: "What a task's successful instance used.",
  http: { method: 'GET', path: '/api/v3/task_resource_usage' },
  request: z.object({ task_id: Id }),
  reply: z.object({
    /** `[num_attempts, nodename, wallclock in seconds, maxrss in bytes]`; the last two are text. */
    resource_usage: z.tuple([z.number().int().nullable(), z.string().nullable(), z.string().nullable(), z.string().nullable()]),
  }),
});

export const TASK_OPERATIONS: readonly Operation[] = [
  bindTasksOfClient,
  bindTaskArgs,
  bindTaskAttributes,
  addTaskAttributes,
  getMostRecentError,
  getDownstreamTasks,
  getTaskResourceUsage,
];
