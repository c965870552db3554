/** A task: one node of a workflow with its command. States, table, and the operations that create, queue and list tasks. */
import { z } from 'zod';
import { DateText, HashDigits, Id, Limit, Repeated } from './id';
import { machine } from './machine';
import { event, operation } from './operation';
import { FallbackQueues, RequestedResources, ResourceScales } from './resources';
import { Fence, LeaseLost } from './workflow-run-lease';

export const TaskStatus = {
  REGISTERING: 'G',
  QUEUED: 'Q',
  INSTANTIATING: 'I',
  LAUNCHED: 'O',
  RUNNING: 'R',
  DONE: 'D',
  ERROR_RECOVERABLE: 'E',
  ADJUSTING_RESOURCES: 'A',
  ERROR_FATAL: 'F',
} as const;
export type TaskStatus = (typeof TaskStatus)[keyof typeof TaskStatus];

/** Facts: spec/state-machines.md section 4; Q→E is ours. There are no untimely pairs; a same-state step is a no-op (race 27). */
export const taskMachine = machine<TaskStatus>({
  name: 'task',
  states: {
    G: { label: 'REGISTERING', meaning: 'bound; waits for its upstreams or for a retry' },
    Q: { label: 'QUEUED', meaning: 'upstreams done; an instance waits to be taken' },
    I: { label: 'INSTANTIATING', meaning: 'its instance was taken' },
    O: { label: 'LAUNCHED', meaning: 'its instance was handed to the cluster' },
    R: { label: 'RUNNING', meaning: 'its command was reported as started' },
    D: { label: 'DONE', meaning: 'one instance finished with success' },
    E: { label: 'ERROR_RECOVERABLE', meaning: 'an instance failed; passes to A, G or F in the same write' },
    A: { label: 'ADJUSTING_RESOURCES', meaning: 'failed for lack of resources; retried with larger ones' },
    F: { label: 'ERROR_FATAL', meaning: 'attempts used up; a later run may reset it' },
  },
  initial: 'G',
  final: ['D', 'F'],
  valid: {
    'G→Q': 'queued by the swarm or the scheduler; one more attempt',
    'A→Q': 'queued again with larger resources; one more attempt',
    'Q→I': 'its instance was taken',
    'Q→E': 'ours (race 32): its instance was stopped before anybody took it',
    'I→O': 'its instance was handed to the cluster',
    'I→R': 'its command started before the launch was recorded',
    'I→E': 'its instance could not be started',
    'O→R': 'its command started',
    'O→E': 'its instance was lost or refused before it reported',
    'R→D': 'its command returned 0',
    'R→E': 'its command failed or was lost',
    'E→A': 'attempts left, failed for resources',
    'E→Q': 'queued again at once',
    'E→F': 'attempts used up, or not to be retried',
    'E→G': 'attempts left',
  },
});

/** Task states that follow a live instance. */
export const ACTIVE_TASK_STATUSES = ['Q', 'I', 'O', 'R'] as const satisfies readonly TaskStatus[];

/** Values of named arguments, e.g. `{location: '7', year: '1990'}`; 2048 is the width of `node_arg.val` and `task_arg.val`. */
const ArgValues = z.record(z.string().min(1).max(255), z.string().max(2048));

/** One task to bind. Hashes are the client's (spec/data-model.md section 4); the same hashes find the same task again. */
export const TaskToRegister = z.object({
  task_template_version_id: Id,
  node_args: ArgValues,
  node_args_hash: HashDigits,
  task_args: ArgValues,
  task_args_hash: HashDigits,
  /** Not empty, no digit first, none of `/ \ ' "` or blank (spec/cli-and-gui.md C.3). */
  name: z
    .string()
    .max(250)
    .regex(/^[^\d/\\'"\s][^/\\'"\s]*$/, 'must not be empty, start with a digit, or hold a slash, backslash, quote or blank'),
  /** The whole command line, at most 64 KiB less one byte in UTF-8 (TEXT). */
  command: z.string().min(1),
  max_attempts: z.number().int().min(1).max(1_000_000),
  /** Position in the request's `resources`. */
  resources: z.number().int().nonnegative(),
  attributes: z.record(z.string().min(1).max(255), z.string().max(255)).optional(),
});
export type TaskToRegister = z.output<typeof TaskToRegister>;

/** What a task asks of its cluster. Tasks of one request share entries by position. */
export const ResourcesToRegister = z.object({
  cluster: z.string().min(1).max(255),
  /** The cluster's default queue when absent. */
  queue: z.string().min(1).max(255).optional(),
  requested: RequestedResources,
  /** `DEFAULT_RESOURCE_SCALES` when absent; an empty map lets nothing grow. */
  resource_scales: ResourceScales.optional(),
  fallback_queues: FallbackQueues.optional(),
});
export type ResourcesToRegister = z.output<typeof ResourcesToRegister>;

/**
 * Binds tasks to a workflow that is not submitted yet. All or nothing: an unknown cluster, queue or template version, two
 * tasks with the same node arguments, or a value too long refuses the whole request and names the tasks. Binding the same
 * tasks again answers the same ids; while no run is live, those that are not done take over name, command, attempts, resources,
 * scales and fallback queues of the request.
 */
export const registerTasks = operation({
  name: 'task.register',
  owner: 'api',
  summary: 'Bind tasks to a workflow, many at a time.',
  http: { method: 'POST', path: '/api/v4/workflows/{workflow_id}/tasks', body_bytes_max: 64 * 1024 * 1024 },
  request: z.object({
    workflow_id: Id,
    resources: z.array(ResourcesToRegister).min(1).max(10_000),
    /** `[task_template_version_id, limit]`: how many tasks of a template may run at one time. What is not named stays. */
    limits: z
      .array(z.tuple([Id, Limit]))
      .max(10_000)
      .optional(),
    tasks: z.array(TaskToRegister).min(1).max(100_000),
  }),
  reply: z.object({
    /** `[task_id, node_id]` in the order of the request's tasks. */
    tasks: z.array(z.tuple([z.number().int(), z.number().int()])),
  }),
});

/**
 * Stores the graph: for each node the nodes that must be done before it. The downstream lists are derived. A node that is
 * not of a task of this workflow refuses the request and is named. A graph that is stored already (same dag hash) is left.
 */
export const registerEdges = operation({
  name: 'dag.register_edges',
  owner: 'api',
  summary: 'Store the edges of a workflow, many nodes at a time.',
  http: { method: 'POST', path: '/api/v4/workflows/{workflow_id}/edges', body_bytes_max: 64 * 1024 * 1024 },
  request: z.object({
    workflow_id: Id,
    /** `[node_id, upstream_node_ids, downstream_node_ids]`; nodes without edges are sent too, with empty lists. */
    nodes: z.array(z.tuple([Id, z.array(Id), z.array(Id)])).max(100_000),
  }),
  reply: z.object({ stored: z.number().int() }),
});

/** One task as views show it. */
export const TaskView = z.object({
  task_id: z.number().int(),
  name: z.string(),
  status: z.enum(Object.values(TaskStatus) as [TaskStatus, ...TaskStatus[]]),
  status_date: DateText.nullable(),
  num_attempts: z.number().int(),
  max_attempts: z.number().int(),
  command: z.string(),
  task_template: z.string().nullable(),
  /** Seconds that the latest instance ran, null while it has not ended. */
  wallclock_seconds: z.number().nullable(),
  /** The newest error text of the latest instance. */
  error: z.string().nullable(),
});
export type TaskView = z.output<typeof TaskView>;

/** Pages through a workflow's tasks by id. */
export const listTasks = operation({
  name: 'task.list',
  owner: 'api',
  summary: 'Tasks of a workflow, a page at a time.',
  http: { method: 'GET', path: '/api/v4/workflows/{workflow_id}/tasks' },
  request: z.object({
    workflow_id: Id,
    /** Only tasks with a larger id. */
    after: z.coerce.number().int().nonnegative().default(0),
    limit: z.coerce.number().int().min(1).max(5_000).default(500),
    /** Only tasks in one of these. */
    status: Repeated(z.enum(Object.values(TaskStatus) as [TaskStatus, ...TaskStatus[]])).default([]),
    /** Only tasks of this template, by name. */
    task_template: z.string().max(255).optional(),
  }),
  reply: z.object({
    tasks: z.array(TaskView),
    /** Give it as `after` for the next page; null on the last one. */
    next: z.number().int().nullable(),
  }),
});

/** One attempt of a task as views show it, with the record of its transitions. */
export const TaskInstanceView = z.object({
  task_instance_id: z.number().int(),
  status: z.string(),
  nodename: z.string().nullable(),
  process_group_id: z.number().int().nullable(),
  exit_code: z.number().int().nullable(),
  submitted_date: DateText.nullable(),
  status_date: DateText.nullable(),
  wallclock_seconds: z.number().nullable(),
  /** Most memory that its processes held at one time, in bytes; null when nobody measured it. */
  max_rss_bytes: z.number().nullable(),
  /** Time on a processor of all its processes, user and system together, in seconds. */
  cpu_seconds: z.number().nullable(),
  /** What this attempt asked for: a retry after RESOURCE_ERROR asks for more than the task did. */
  requested_resources: z.record(z.string(), z.unknown()),
  queue: z.string().nullable(),
  /** Files of the whole output, on the machine `nodename`. */
  stdout: z.string().nullable(),
  stderr: z.string().nullable(),
  /** Last 10,000 characters of the output. */
  stdout_log: z.string().nullable(),
  stderr_log: z.string().nullable(),
  errors: z.array(z.object({ error_time: DateText.nullable(), description: z.string() })),
  history: z.array(
    z.object({
      sequence: z.number().int(),
      from_status: z.string().nullable(),
      to_status: z.string(),
      date: DateText,
      actor: z.string(),
      reason: z.string(),
    }),
  ),
});
export type TaskInstanceView = z.output<typeof TaskInstanceView>;

/** One task with all its attempts. */
export const getTask = operation({
  name: 'task.get',
  owner: 'api',
  summary: 'One task with its attempts, their output and their history.',
  http: { method: 'GET', path: '/api/v4/tasks/{task_id}' },
  request: z.object({ task_id: Id }),
  reply: z.object({
    task: TaskView,
    workflow_id: z.number().int(),
    instances: z.array(TaskInstanceView),
  }),
});

/**
 * The scheduler asks for new attempts: G or A→Q, one more attempt, an instance in Q, the fence set, within the limits of
 * workflow and array, in one transaction under the workflow's lock. Tasks of one array and one resources row become one
 * batch. At most 1,000 tasks a request (race 11).
 */
export const queueTasks = operation({
  name: 'task.queue',
  owner: 'state-machine',
  summary: 'Queue ready tasks of a server run within its limits.',
  request: z.object({ workflow_run_id: Id, fence: Fence.optional(), task_ids: z.array(Id).min(1).max(1_000) }),
  reply: z.object({
    /** The status that stands now for every task asked about (race 12). */
    statuses: z.array(z.tuple([z.number().int(), z.enum(Object.values(TaskStatus) as [TaskStatus, ...TaskStatus[]])])),
    /** Tasks that a limit holds back; ask again when something of the run has finished. */
    held_back: z.array(z.number().int()),
    is_lease_lost: LeaseLost,
  }),
});

/** Tasks of a run changed their status. Only names them: whoever needs the status reads it. */
export const taskChanged = event({
  name: 'task.changed',
  payload: z.object({ workflow_id: z.number().int(), workflow_run_id: z.number().int(), task_ids: z.array(z.number().int()) }),
});

/** New instances wait to be leased. */
export const taskQueued = event({
  name: 'task.queued',
  payload: z.object({ workflow_run_id: z.number().int(), count: z.number().int() }),
});
