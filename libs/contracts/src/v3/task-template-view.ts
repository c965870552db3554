/** Task templates as command line and screens read them: C11 to C18 and L3. Facts: spec/http-api-inspection.md section 3. */
import { z } from 'zod';
import { Id, Repeated, Whole } from '../id';
import { operation, type Operation } from '../operation';

const int = z.number().int();

/** `"true"` or `"false"` as text, in any case; false when absent. */
const Flag = z
  .string()
  .regex(/^(true|false)$/i, 'must be true or false')
  .transform((text) => text.toLowerCase() === 'true')
  .default(false);

/** C11. 404 when the workflow has no task of that template. Of several versions the newest that has tasks is answered. */
export const getTaskTemplateDetails = operation({
  protocol: 'C11',
  name: 'task_template.get_details',
  owner: 'api',
  summary: 'The version of a task template that a workflow uses.',
  http: { method: 'GET', path: '/api/v3/get_task_template_details' },
  request: z.object({ workflow_id: Id, task_template_id: Id }),
  reply: z.object({ task_template_id: int, task_template_name: z.string(), task_template_version_id: int }),
});

/** C12. Of a task or of a workflow; the task wins. Neither given, or nothing found: an empty list. */
export const findTaskTemplateVersions = operation({
  protocol: 'C12',
  name: 'task_template.find_versions',
  owner: 'api',
  summary: 'The template versions of a task or of a workflow.',
  http: { method: 'GET', path: '/api/v3/get_task_template_version' },
  request: z.object({ task_id: Id.optional(), workflow_id: Id.optional() }),
  reply: z.object({ task_template_version_ids: z.array(z.object({ id: int, name: z.string() })) }),
});

/** Versions as callers write them: a Python tuple as text, `(12,13)`; a comma list; the key repeated. Rubbish is 400. */
const VersionsText = Repeated(z.string().max(100_000)).optional();

/** C13. Cores of the tasks of each version: `cores` of their resources, else `num_cores`, else 1; the mean rounded. */
export const getRequestedCores = operation({
  protocol: 'C13',
  name: 'task_template.get_requested_cores',
  owner: 'api',
  summary: 'The cores that tasks of template versions ask for.',
  http: { method: 'GET', path: '/api/v3/get_requested_cores' },
  request: z.object({ task_template_version_ids: VersionsText }),
  reply: z.object({ core_info: z.array(z.object({ id: int, min: int, max: int, avg: int })) }),
});

/** C14. The queue that most instances of each version asked for; of two with as many the one met first. A version without instances is left out. */
export const getMostPopularQueue = operation({
  protocol: 'C14',
  name: 'task_template.get_most_popular_queue',
  owner: 'api',
  summary: 'The queue that most instances of template versions asked for.',
  http: { method: 'GET', path: '/api/v3/get_most_popular_queue' },
  request: z.object({ task_template_version_ids: VersionsText }),
  reply: z.object({ queue_info: z.array(z.object({ id: int, queue: z.string(), queue_id: int })) }),
});

const Interval = z.tuple([z.number(), z.number()]).nullable();

/** What the Python protocol calls the statistics: memory in bytes, time in seconds. */
const Statistics = {
  num_tasks: int.nullable(),
  min_mem: int.nullable(),
  max_mem: int.nullable(),
  mean_mem: z.number().nullable(),
  min_runtime: int,
  max_runtime: int,
  mean_runtime: z.number(),
  median_mem: z.number().nullable(),
  median_runtime: z.number(),
  ci_mem: Interval,
  ci_runtime: Interval,
};

const Percentiles = z.object({ p50: z.number(), p90: z.number(), p95: z.number(), p99: z.number() }).nullable();

/** One instance of the statistics; `r` seconds and `m` bytes as they were reported. */
const UsagePoint = z.object({
  r: z.number().nullable(),
  m: z.number().nullable(),
  node_id: int.nullable(),
  task_id: int,
  task_name: z.string(),
  /** JSON text as it is stored. */
  requested_resources: z.string().nullable(),
  /** 1 for the first of the task's instances among those selected. */
  attempt_number_of_instance: int,
  status: z.string(),
  task_status_date: z.string().nullable(),
  task_command: z.string(),
  task_num_attempts: int,
  task_max_attempts: int,
});

/**
 * L3, which is C15. What the ended instances (D, Z, X, U, F, E) of a template version used, in all workflows or in those given, of all nodes or
 * of those whose arguments are given (AND over names, OR over values). A runtime of 0 and a memory of 0 or less are no figures. Means and
 * medians that are whole are JSON's `450`, where Python writes `450.0`; inside `formatted_stats` the texts are Python's, `450.0B`.
 */
export const getResourceUsage = operation({
  protocol: 'L3',
  name: 'task_template.get_resource_usage',
  owner: 'api',
  summary: 'Statistics of what the instances of a template version used.',
  http: { method: 'POST', path: '/api/v3/task_template_resource_usage' },
  request: z.object({
    task_template_version_id: Id,
    workflows: z.array(Id).max(10_000).nullish(),
    node_args: z.record(z.string().max(255), z.array(z.union([z.string(), z.number().transform(String)])).max(10_000)).nullish(),
    /** Confidence level of the interval around each mean, between 0 and 1. */
    ci: z
      .union([
        z.number(),
        z
          .string()
          .max(50)
          .regex(/^\s*[0-9.]+(e-?[0-9]+)?\s*$/i, 'must be a number')
          .transform(Number),
      ])
      .pipe(z.number().gt(0).lt(1))
      .nullish(),
    viz: z.boolean().nullish(),
    /** Points in `result_viz`; of more, as many are chosen evenly. */
    max_points: z.number().int().min(1).max(100_000).default(20_000),
  }),
  reply: z.object({
    ...Statistics,
    /** What `num_tasks` is in truth: null only where the version was never used. */
    num_task_instances: int.nullable(),
    mem_percentiles: Percentiles,
    runtime_percentiles: Percentiles,
    /** Mean of used / requested over the instances that have both; null when there is none. */
    mem_utilization: z.number().nullable(),
    runtime_utilization: z.number().nullable(),
    result_viz: z.array(UsagePoint).nullable(),
    /** True when the statistics or the points leave instances out, since there are too many. */
    sampled: z.boolean(),
    /** The same with memory as text, `300B`: what Python's callers read. */
    formatted_stats: z.object({
      ...Statistics,
      min_mem: z.string().nullable(),
      max_mem: z.string().nullable(),
      mean_mem: z.string().nullable(),
      median_mem: z.string().nullable(),
    }),
  }),
});

/** One bar: tasks of a template in a workflow under the five labels, which add up to `tasks` (spec section 1.2, our mapping). */
const TemplateBar = z.object({
  id: int,
  name: z.string(),
  tasks: int,
  PENDING: int,
  SCHEDULED: int,
  RUNNING: int,
  DONE: int,
  FATAL: int,
  /** The array's limit; `NA` for workflows of older programs, which have no arrays. */
  MAXC: z.union([int, z.literal('NA')]),
  num_attempts_min: z.number(),
  num_attempts_max: z.number(),
  num_attempts_avg: z.number(),
  task_template_version_id: int,
});

/** C16. The wire form is keyed by template id and ordered by it. */
export const getTemplateStatuses = operation({
  protocol: 'C16',
  name: 'task_template.get_statuses',
  owner: 'api',
  summary: 'How far each task template of a workflow is.',
  http: {
    method: 'GET',
    path: '/api/v3/workflow_tt_status_viz/{workflow_id}',
    toWire: (reply: { task_templates: { id: number }[] }) => Object.fromEntries(reply.task_templates.map((bar) => [bar.id, bar])),
    wire: z.record(z.string(), TemplateBar),
  },
  request: z.object({ workflow_id: Id }),
  reply: z.object({ task_templates: z.array(TemplateBar) }),
});

/** One row of the error log, or one group of them: every key is there, null where the other kind uses it. */
const ErrorItem = z.object({
  task_id: int.nullable(),
  task_instance_id: int.nullable(),
  task_instance_err_id: int.nullable(),
  error_time: z.string().nullable(),
  error: z.string().nullable(),
  task_instance_stderr_log: z.string().nullable(),
  workflow_run_id: int,
  workflow_id: int,
  /** Groups: a number between 0 and 1 that is equal for equal groups, made from `cluster_id`. */
  error_score: z.number().nullable(),
  /** Groups: error rows in it. */
  group_instance_count: int.nullable(),
  task_instance_ids: z.array(int).nullable(),
  task_ids: z.array(int).nullable(),
  sample_error: z.string().nullable(),
  first_error_time: z.string().nullable(),
  last_error_time: z.string().nullable(),
  /** Groups: the fingerprint of the oldest error in it; newer errors do not change it. */
  cluster_id: z.string().nullable(),
  exception_class: z.string().nullable(),
  sample_task_instance_id: int.nullable(),
  /** Groups: the nodes that its instances ran on. */
  hosts: z.array(z.string()).nullable(),
});

const ErrorLogReply = z.object({ error_logs: z.array(ErrorItem), total_count: int, page: int, page_size: int });

const errorLogQuery = {
  wf_id: Id,
  tt_id: Id,
  page: Whole(1, 1_000_000).default(1),
  page_size: Whole(1, 1_000).default(10),
  /** The latest run only, and of each task its newest error. */
  just_recent_errors: Flag,
  /** Groups of alike errors, the largest first, instead of single ones. */
  cluster_errors: Flag,
};

/** C17. A template that the workflow does not use has no errors. */
export const findTemplateErrors = operation({
  protocol: 'C17',
  name: 'task_template.find_errors',
  owner: 'api',
  summary: 'The errors of a task template in a workflow, one by one or in groups.',
  http: { method: 'GET', path: '/api/v3/tt_error_log_viz/{wf_id}/{tt_id}' },
  request: z.object(errorLogQuery),
  reply: ErrorLogReply,
});

/** C18. Workflow and template must exist; the errors are those of the instance, whatever it belongs to. */
export const findInstanceErrors = operation({
  protocol: 'C18',
  name: 'task_template.find_instance_errors',
  owner: 'api',
  summary: 'The errors of one task instance.',
  http: { method: 'GET', path: '/api/v3/tt_error_log_viz/{wf_id}/{tt_id}/{ti_id}' },
  request: z.object({ ...errorLogQuery, ti_id: Id }),
  reply: ErrorLogReply,
});

export const TASK_TEMPLATE_VIEW_OPERATIONS: readonly Operation[] = [
  getTaskTemplateDetails,
  findTaskTemplateVersions,
  getRequestedCores,
  getMostPopularQueue,
  getResourceUsage,
  getTemplateStatuses,
  findTemplateErrors,
  findInstanceErrors,
];
