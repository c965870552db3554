/** Tasks as command line and screens read them: C1 to C3, C5, C6, C9, C10. Facts: spec/http-api-inspection.md section 2. */
import { z } from 'zod';
import { Id, ID_MAX, Repeated } from '../id';
import { operation, type Operation } from '../operation';

const int = z.number().int();

/** C1. One row for each instance, the newest first; a missing path is `""`. */
export const findArrayTasks = operation({
  protocol: 'C1',
  name: 'array.find_tasks',
  owner: 'api',
  summary: "Log files of a workflow's task instances.",
  http: { method: 'GET', path: '/api/v3/array/{workflow_id}/get_array_tasks' },
  request: z.object({
    workflow_id: Id,
    /** Empty: every array. */
    array_name: z.string(),
    /** A task's exact name; empty or absent: every task. */
    job_name: z.string().optional(),
    /** 0 or absent: all. */
    limit: z
      .union([
        z.number().int(),
        z
          .string()
          .regex(/^[0-9]{1,10}$/, 'must be a whole number')
          .transform(Number),
      ])
      .pipe(z.number().int().min(0).max(ID_MAX))
      .default(0),
  }),
  reply: z.object({
    array_tasks: z.array(
      z.object({
        TASK_ID: int,
        TASK_NAME: z.string(),
        ARRAY_NAME: z.string(),
        TASK_INSTANCE_ID: int,
        OUTPUT_PATH: z.string(),
        ERROR_PATH: z.string(),
      }),
    ),
  }),
});

/** C2. A row for each entry of the error log, or one for an instance without any. 400 when no id is given or a status word is unknown. */
export const getTaskStatus = operation({
  protocol: 'C2',
  name: 'task.get_status',
  owner: 'api',
  summary: 'Every instance of some tasks, as a frame string.',
  http: { method: 'GET', path: '/api/v3/task_status' },
  request: z.object({
    task_ids: Repeated(z.union([Id, z.literal('')])),
    /** PENDING, RUNNING, DONE, FATAL, in any case: of the instance, not of the task. */
    status: Repeated(z.string()).optional(),
  }),
  reply: z.object({ task_instance_status: z.string() }),
});

/** C3. The given tasks and all that wait for them, `[status, name]` by task id; nothing known: `{}`. 400 for none, or of several workflows. */
export const findSubDag = operation({
  protocol: 'C3',
  name: 'task.find_subdag',
  owner: 'api',
  summary: 'All descendants of some tasks, themselves included.',
  http: { method: 'POST', path: '/api/v3/task/subdag', body_bytes_max: 64 * 1024 * 1024 },
  request: z.object({
    task_ids: z.array(Id),
    /** Letters of statuses; null or empty: all. */
    task_status: z.array(z.string()).nullish(),
  }),
  reply: z.object({
    workflow_id: int.nullable(),
    sub_task: z.record(z.string(), z.tuple([z.string(), z.string()])),
  }),
});

/** A task beside another. */
const Neighbour = z.object({ id: int, status: z.string(), name: z.string() });
type Neighbours = readonly z.output<typeof Neighbour>[];
const Wrapped = z.array(z.tuple([Neighbour]));

/** C5. Ascending by id. On the wire each neighbour is wrapped in a list of one. */
export const getTaskDependencies = operation({
  protocol: 'C5',
  name: 'task.get_dependencies',
  owner: 'api',
  summary: 'The tasks that a task waits for and those that wait for it.',
  http: {
    method: 'GET',
    path: '/api/v3/task_dependencies/{task_id}',
    toWire: ({ up, down }: { up: Neighbours; down: Neighbours }) => ({
      up: up.map((task) => [task]),
      down: down.map((task) => [task]),
    }),
    wire: z.object({ up: Wrapped, down: Wrapped }),
  },
  request: z.object({ task_id: Id }),
  reply: z.object({ up: z.array(Neighbour), down: z.array(Neighbour) }),
});

/** C6. Ascending; 400 for another direction, for unknown tasks, for several workflows, and for more than 10,000 tasks, which the command line refuses anyway. */
export const findTasksRecursive = operation({
  protocol: 'C6',
  name: 'task.find_recursive',
  owner: 'api',
  summary: 'All ancestors or descendants of some tasks, themselves included.',
  http: { method: 'PUT', path: '/api/v3/tasks_recursive/{direction}', body_bytes_max: 64 * 1024 * 1024 },
  request: z.object({ direction: z.string(), task_ids: z.array(Id) }),
  reply: z.object({ task_ids: z.array(int) }),
});

/** C9. One entry for each instance, ascending by id. Memory in bytes, time in seconds. */
export const getTaskInstanceDetails = operation({
  protocol: 'C9',
  name: 'task.get_instance_details',
  owner: 'api',
  summary: "A task's instances with their logs and errors.",
  http: { method: 'GET', path: '/api/v3/task/get_ti_details_viz/{task_id}' },
  request: z.object({ task_id: Id }),
  reply: z.object({
    taskinstances: z.array(
      z.object({
        ti_id: int,
        /** The label, not the letter. */
        ti_status: z.string(),
        ti_stdout: z.string().nullable(),
        ti_stderr: z.string().nullable(),
        ti_stdout_log: z.string().nullable(),
        ti_stderr_log: z.string().nullable(),
        ti_distributor_id: z.string().nullable(),
        ti_nodename: z.string().nullable(),
        /** The newest of `ti_errors`. */
        ti_error_log_description: z.string().nullable(),
        ti_wallclock: z.number().nullable(),
        ti_maxrss: z.number().nullable(),
        /** JSON text as it is stored: memory in GiB, runtime in seconds. */
        ti_resources: z.string().nullable(),
        ti_submit_date: z.string().nullable(),
        ti_status_date: z.string().nullable(),
        ti_queue_name: z.string().nullable(),
        ti_errors: z.array(z.object({ time: z.string().nullable(), description: z.string() })),
        ti_workflow_run_id: int,
        /** 1 for the task's first instance. */
        ti_attempt: int,
      }),
    ),
  }),
});

const Values = z.record(z.string(), z.string().nullable());

/** C10. A list of one. */
export const getTaskDetails = operation({
  protocol: 'C10',
  name: 'task.get_details',
  owner: 'api',
  summary: 'One task with its template, arguments and resources.',
  http: { method: 'GET', path: '/api/v3/task/get_task_details_viz/{task_id}' },
  request: z.object({ task_id: Id }),
  reply: z.object({
    task_details: z.array(
      z.object({
        task_status: z.string(),
        workflow_id: int.nullable(),
        task_name: z.string(),
        task_command: z.string(),
        task_status_date: z.string().nullable(),
        task_template_id: int.nullable(),
        task_template_name: z.string().nullable(),
        task_template_version_id: int.nullable(),
        num_attempts: int,
        max_attempts: int,
        node_args: Values,
        task_args: Values,
        task_attributes: Values,
        /** JSON text as it is stored. */
        requested_resources: z.string().nullable(),
      }),
    ),
  }),
});

export const TASK_VIEW_OPERATIONS: readonly Operation[] = [
  findArrayTasks,
  getTaskStatus,
  findSubDag,
  getTaskDependencies,
  findTasksRecursive,
  getTaskInstanceDetails,
  getTaskDetails,
];
