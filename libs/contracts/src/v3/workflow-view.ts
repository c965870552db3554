/** Workflows as command line and screens read them: C20, C24 to C28. Facts: spec/http-api-inspection.md section 4. */
import { z } from 'zod';
import { Id, ID_MAX, Repeated, Whole } from '../id';
import { operation, type Operation } from '../operation';

const int = z.number().int();

/** A filter that screens send empty when it is not set. */
const Filter = z.string().max(65_535).optional();
const Filters = Repeated(z.string().max(65_535)).optional();
/** `YYYY-MM-DD`, or empty: no filter. */
const Day = z
  .string()
  .regex(/^([0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01]))?$/, 'must be a date like 2025-01-31')
  // The calendar turns the 31st of February into another day.
  .refine((text) => text === '' || new Date(text).getUTCDate() === Number(text.slice(8)), 'must be a day of the calendar')
  .optional();

const Order = z
  .string()
  .regex(/^(asc|desc)$/i, 'must be asc or desc')
  .transform((text) => text.toLowerCase() as 'asc' | 'desc');

/** Tasks under the five labels; they add up to `tasks` (spec section 1.2, our mapping). */
const Bar = { PENDING: int, SCHEDULED: int, RUNNING: int, DONE: int, FATAL: int };

/**
 * C20. Columns TASK_ID, TASK_NAME, STATUS (one of the five labels), RETRIES (attempts beyond the first), the newest task first. 404 for an
 * unknown workflow, 400 for an unknown label.
 */
export const getWorkflowTasks = operation({
  protocol: 'C20',
  name: 'workflow.get_tasks',
  owner: 'api',
  summary: "A workflow's tasks, the newest first, as a frame string.",
  http: { method: 'GET', path: '/api/v3/workflow/{workflow_id}/workflow_tasks' },
  request: z.object({
    workflow_id: Id,
    /** 0: all. */
    limit: Whole(0, ID_MAX),
    /** PENDING, SCHEDULED, RUNNING, DONE, FATAL, in any case. */
    status: Repeated(z.string().max(100)).optional(),
  }),
  reply: z.object({ workflow_tasks: z.string() }),
});

/**
 * C24. Columns WF_ID, WF_NAME, WF_STATUS, CREATED_DATE (milliseconds since 1970, UTC), TASKS, the five labels (`3 (30.0%)` each), RETRIES, the
 * newest workflow first; without any workflow SCHEDULED is not among the columns. Ids win over users. 400 when neither is given.
 */
export const getWorkflowStatus = operation({
  protocol: 'C24',
  name: 'workflow.get_status',
  owner: 'api',
  summary: 'How far workflows are, by id or by user, as a frame string.',
  http: { method: 'GET', path: '/api/v3/workflow_status' },
  request: z.object({
    workflow_id: Repeated(Id).optional(),
    /** Workflows with a run by one of them. */
    user: Repeated(z.string().max(150)).optional(),
    /** Of workflows found by user only: whoever names ids wants them all. */
    limit: Whole(0, 100_000).default(5),
  }),
  reply: z.object({ workflows: z.string() }),
});

const WorkflowBar = z.object({
  id: int,
  tasks: int,
  ...Bar,
  /** The workflow's limit of tasks that run at one time. */
  MAXC: int,
  num_attempts_avg: z.number(),
  num_attempts_min: int,
  num_attempts_max: int,
});

/** C25. Keyed by id on the wire; an unknown workflow is all zeros. 400 when no id is given. */
export const getWorkflowBars = operation({
  protocol: 'C25',
  name: 'workflow.get_bars',
  owner: 'api',
  summary: 'The tasks of workflows under five labels.',
  http: {
    method: 'GET',
    path: '/api/v3/workflow_status_viz',
    toWire: (reply: { workflows: { id: number }[] }) => Object.fromEntries(reply.workflows.map((bar) => [bar.id, bar])),
    wire: z.record(z.string(), WorkflowBar),
  },
  request: z.object({ workflow_ids: Repeated(Id).optional() }),
  reply: z.object({ workflows: z.array(WorkflowBar) }),
});

/**
 * C26. The newest first, or in the order asked for, a page at a time: `next` is the `cursor` of the following page in the same order, null when
 * there is none. A page ends early when its
 * workflows have very many tasks, and the last one may be empty. Workflows without a run, without a task, or with tasks of the dummy cluster
 * only are left out unless `include_dummy` asks for them. Filters that are empty are none.
 */
export const listWorkflowOverview = operation({
  protocol: 'C26',
  name: 'workflow.list_overview',
  owner: 'api',
  summary: 'Workflows with their users, tools, statuses and counts.',
  http: { method: 'GET', path: '/api/v3/workflow_overview_viz' },
  request: z.object({
    /** A run by one of them; names are repeated or parted by commas, as those of tools and the letters of statuses, small or capital. */
    user: Filters,
    tool: Filters,
    status: Filters,
    /** No run by any of them; another tool; another status. Repeated, never parted. */
    'user!': Filters,
    'tool!': Filters,
    'status!': Filters,
    wf_name: Filter,
    wf_args: Filter,
    /** Part of the name or of the arguments; capitals of ASCII make no difference. */
    search: Filter,
    wf_id: z.union([z.literal(''), Id]).optional(),
    /** With both, one attribute must have this name and this value. */
    wf_attribute_key: Filter,
    wf_attribute_value: Filter,
    /** Created on this day or later; at the beginning of this day or earlier. */
    date_submitted: Day,
    date_submitted_end: Day,
    include_dummy: z
      .string()
      .regex(/^(true|false)$/i, 'must be true or false')
      .transform((text) => text.toLowerCase() === 'true')
      .default(false),
    sort: z.enum(['wf_id', 'wf_name', 'wf_submitted_date', 'wf_status_date']).default('wf_id'),
    order: Order.default('desc'),
    limit: Whole(1, 1_000).default(500),
    cursor: Id.optional(),
  }),
  reply: z.object({
    workflows: z.array(
      z.object({
        wf_id: int,
        wf_name: z.string(),
        wf_submitted_date: z.string().nullable(),
        wf_status_date: z.string().nullable(),
        wf_args: z.string().nullable(),
        wfr_count: int,
        /** The label, not the letter. */
        wf_status: z.string(),
        wf_tool: z.string().nullable(),
        ...Bar,
        tasks: int,
        /** DONE of all tasks, 0 to 1. */
        progress: z.number(),
        /** Of the latest run. */
        wf_user: z.string().nullable(),
      }),
    ),
    next: int.nullable(),
  }),
});

/**
 * C27. Ascending by id, or in the order asked for, at most `limit`; `next` is the `cursor` of what follows in the same order, null at the end. A template that the workflow does not use has
 * no tasks. 404 for an unknown workflow, 422 when neither name nor id of a template is given.
 */
export const listTemplateTasks = operation({
  protocol: 'C27',
  name: 'workflow.list_tasks',
  owner: 'api',
  summary: 'The tasks of one template in a workflow.',
  http: { method: 'GET', path: '/api/v3/task_table_viz/{workflow_id}' },
  request: z.object({
    workflow_id: Id,
    tt_name: z.string().max(255).optional(),
    task_template_id: Id.optional(),
    /** Labels, as in C20. */
    status: Repeated(z.string().max(100)).optional(),
    sort: z.enum(['task_id', 'task_status_date', 'task_num_attempts']).default('task_id'),
    order: Order.default('asc'),
    limit: Whole(1, 100_000).default(100_000),
    cursor: Id.optional(),
  }),
  reply: z.object({
    tasks: z.array(
      z.object({
        task_id: int,
        task_name: z.string(),
        /** One of the five labels. */
        task_status: z.string(),
        task_command: z.string(),
        task_num_attempts: int,
        /** `2025-01-31 12:35:10`, with a space. */
        task_status_date: z.string().nullable(),
        task_max_attempts: int,
      }),
    ),
    next: int.nullable(),
  }),
});

const WorkflowDetails = z.object({
  wf_name: z.string(),
  wf_args: z.string().nullable(),
  wf_created_date: z.string().nullable(),
  wf_status_date: z.string().nullable(),
  tool_name: z.string().nullable(),
  wf_status: z.string(),
  wf_status_desc: z.string().nullable(),
  /** From here on of the latest run; null while there is none. */
  wfr_jobmon_version: z.string().nullable(),
  /** The moment until which the run has promised to report again. */
  wfr_heartbeat_date: z.string().nullable(),
  wfr_user: z.string().nullable(),
  wfr_id: int.nullable(),
  wfr_status: z.string().nullable(),
  wf_started_date: z.string().nullable(),
  /** Runs of the workflow. */
  wfr_count: int,
  /** When it came to its status, once that is D, F, H or A. */
  wf_finished_date: z.string().nullable(),
  attributes: z.record(z.string(), z.string().nullable()),
  max_concurrently_running: int,
  /** Bound, begun and not done, and no run of it is alive: a new run may go on where the last one ended. */
  resumable: z.boolean(),
});

/** C28. A list of one on the wire: the workflow with its latest run. 404 for an unknown id. */
export const getWorkflowDetails = operation({
  protocol: 'C28',
  name: 'workflow.get_details',
  owner: 'api',
  summary: 'One workflow with its latest run.',
  http: {
    method: 'GET',
    path: '/api/v3/workflow_details_viz/{workflow_id}',
    toWire: (reply: unknown) => [reply],
    wire: z.tuple([WorkflowDetails]),
  },
  request: z.object({ workflow_id: Id }),
  reply: WorkflowDetails,
});

export const WORKFLOW_VIEW_OPERATIONS: readonly Operation[] = [
  getWorkflowTasks,
  getWorkflowStatus,
  getWorkflowBars,
  listWorkflowOverview,
  listTemplateTasks,
  getWorkflowDetails,
];
