/**
 * What people do to a workflow that runs or has run: pause, drain, cancel, resume, retry, reset, limits, priority; and the record of
 * it. Every verb is done on the server under the workflow's lock, takes effect within a second, writes one row of
 * `workflow_event` (who, when, why, what) in the transaction that takes effect, and is safe to repeat: a verb that finds its work done
 * answers the standing state with `is_changed` false and writes no row. Verbs on all tasks of a workflow are done in pieces of 1,000 under a row
 * of `workflow_command`, so that a crash or an impatient caller cuts nothing off.
 */
import { z } from 'zod';
import { DateText, Id, Limit } from './id';
import { event, operation } from './operation';
import { RESOURCES_MAX } from './resource-bound';
import { type LimitedResource } from './resources';
import { WorkflowStatus } from './workflow';

/** Who asks, and why; both are kept in the record. */
const Who = {
  workflow_id: Id,
  user: z.string().min(1).max(150),
  reason: z.string().max(2_000).default(''),
};

/** How things stand when a verb has been done, or has been recorded and goes on by itself. */
export const ControlReply = z.object({
  workflow_id: z.number().int(),
  workflow_status: z.enum(Object.values(WorkflowStatus) as [WorkflowStatus, ...WorkflowStatus[]]),
  /** The newest run, if any, and its letter. */
  workflow_run_id: z.number().int().nullable(),
  workflow_run_status: z.string().nullable(),
  is_paused: z.boolean(),
  /** False: it stood so already; nothing was written. */
  is_changed: z.boolean(),
  /**
   * True: the server goes on by itself with what was asked. A drained or cancelled run has attempts that have not ended; a resume waits
   * for a run to end before it links its own. Ask again, or follow the workflow, to see the end of it.
   */
  is_pending: z.boolean(),
});
export type ControlReply = z.output<typeof ControlReply>;

/**
 * Nothing new of the live server run is queued or handed out; what agents hold goes on. `workflow.resume` lifts it.
 * CONFLICT: no run is live, it is being stopped, or a client drives it (its cure: limit 0, or take it over by resume).
 */
export const pauseWorkflow = operation({
  name: 'workflow.pause',
  owner: 'state-machine',
  summary: 'Hold a workflow: nothing new starts, what runs goes on.',
  http: { method: 'POST', path: '/api/v4/workflows/{workflow_id}/pause' },
  request: z.object({ ...Who }),
  reply: ControlReply,
});

/**
 * The live server run → H: nothing new starts, queued attempts that nobody has taken are given back (their tasks → G, the
 * attempt not counted), what agents hold may finish; then the run → T and the workflow → H (HALTED). A live client run is told
 * the same (its client does it). A resume that waits is withdrawn. A run that is being stopped already stays as it is, and so does a workflow without a live run.
 */
export const drainWorkflow = operation({
  name: 'workflow.drain',
  owner: 'state-machine',
  summary: 'Stop a workflow when what runs has finished.',
  http: { method: 'POST', path: '/api/v4/workflows/{workflow_id}/drain' },
  request: z.object({ ...Who }),
  reply: ControlReply,
});

/**
 * The live server run → C: as a drain, and what agents hold is ordered to stop (→ K): SIGINT, and SIGKILL after 10 s. Their tasks →
 * F until a resume makes them ready again. A drain may become a cancel, never the other way round.
 */
export const cancelWorkflow = operation({
  name: 'workflow.cancel',
  owner: 'state-machine',
  summary: 'Stop a workflow and kill what runs.',
  http: { method: 'POST', path: '/api/v4/workflows/{workflow_id}/cancel' },
  request: z.object({ ...Who }),
  reply: ControlReply,
});

/** What a queue or a machine can give is looked at when the attempt is made. */
const amount = (name: LimitedResource) => z.number().positive().max(RESOURCES_MAX[name]);
/** What a resource may be multiplied by at the most. */
export const FACTOR_MAX = 1_000;
const Factor = z.number().positive().max(FACTOR_MAX);

/**
 * One change of what tasks ask for. Of all tasks that are not done, or of those of one template. `times` multiplies what a task asks
 * for now, then `set` replaces: cores (whole; products are rounded up), memory (GiB; products up to whole MiB), runtime (seconds; products up to
 * whole ones). `cluster` moves the tasks to a queue of it: `queue`, or its first. Tasks without any resources
 * (bound by a Python client that never queued them) need a `cluster`.
 */
export const ResourceChange = z
  .strictObject({
    task_template: z.string().min(1).max(255).optional(),
    set: z
      .strictObject({
        cores: amount('cores').int().optional(),
        memory: amount('memory').optional(),
        runtime: amount('runtime').optional(),
        cluster: z.string().min(1).max(255).optional(),
        queue: z.string().min(1).max(255).optional(),
      })
      .refine(({ cluster, queue }) => queue === undefined || cluster !== undefined, 'a queue needs its cluster beside it')
      .optional(),
    times: z.strictObject({ cores: Factor.optional(), memory: Factor.optional(), runtime: Factor.optional() }).optional(),
  })
  .refine((change) => Object.keys({ ...change.set, ...change.times }).length > 0, 'must name something to set or to multiply');
export type ResourceChange = z.output<typeof ResourceChange>;

/** `cold`: attempts that still run are killed first. `hot`: they may finish, and count. */
export const ResumeMode = z.enum(['cold', 'hot']);
export type ResumeMode = z.output<typeof ResumeMode>;

/**
 * Goes on with a workflow, whatever stands in the way:
 *
 * - a live server run that is paused: the pause is lifted; one that is not paused: nothing changes (CONFLICT when `resources` are given);
 * - a run that is being stopped: a new run is linked when it has ended;
 * - a live client run: it is told to stop (cold → C, hot → H), and a server run is linked when it has ended: the server takes over;
 * - no live run: tasks that are not done → G with no attempts counted, then a new server run is linked.
 *
 * What has to be waited for is recorded: the reply has `is_pending` true, and the server goes on by itself. A drain, a cancel or a reset withdraws it.
 * CONFLICT: the workflow is DONE or was never bound to its end; a task has no resources, or nothing says where commands start (the message names the cure).
 */
export const resumeWorkflow = operation({
  name: 'workflow.resume',
  owner: 'state-machine',
  summary: 'Go on with a workflow: lift its pause, or run what is not done.',
  http: { method: 'POST', path: '/api/v4/workflows/{workflow_id}/resume' },
  request: z.object({
    ...Who,
    mode: ResumeMode.default('cold'),
    /** Done in order for each task. */
    resources: z.array(ResourceChange).max(1_000).default([]),
    /** Where commands start; the newest run's that has one when absent. */
    working_directory: z.string().max(2_048).startsWith('/', 'must be an absolute path').optional(),
    client_version: z.string().max(150).default('UNKNOWN'),
  }),
  reply: ControlReply,
});

/** Task ids of one request: in digits they fill most of the 512 KiB that a message may have. */
export const RETRY_IDS_MAX = 40_000;

/**
 * Chosen tasks → G with no attempts counted, then they run: in the live server run, or in a new one. `failed`: all in F. Tasks on their way
 * stay. Tasks in D run again only when no run is live, with `with_downstream` together with all that stand behind them. MALFORMED: an id
 * that is not of the workflow (named). CONFLICT: a client drives the live run, the run is being stopped, a task in D while a run is live.
 */
export const retryTasks = operation({
  name: 'workflow.retry',
  owner: 'state-machine',
  summary: 'Run chosen tasks again.',
  http: { method: 'POST', path: '/api/v4/workflows/{workflow_id}/retry' },
  request: z.object({
    ...Who,
    task_ids: z.union([z.literal('failed'), z.array(Id).min(1).max(RETRY_IDS_MAX)]),
    with_downstream: z.boolean().default(false),
    working_directory: resumeWorkflow.request.shape.working_directory,
    client_version: resumeWorkflow.request.shape.client_version,
  }),
  reply: ControlReply.extend({ tasks: z.number().int() }),
});

/**
 * Back to the beginning: all tasks (`keep_done`: all but those in D) → G with no attempts counted, the workflow → G. Nothing is started:
 * submit or resume does that. CONFLICT while a run is live. Withdraws a resume that waits.
 */
export const startOverWorkflow = operation({
  name: 'workflow.start_over',
  owner: 'state-machine',
  summary: 'Reset a workflow and its tasks.',
  http: { method: 'POST', path: '/api/v4/workflows/{workflow_id}/reset' },
  request: z.object({ ...Who, keep_done: z.boolean().default(false) }),
  reply: ControlReply.extend({ tasks: z.number().int() }),
});

/** A limit, or null for none. */
const NewLimit = Limit.nullable();

/**
 * How many attempts of the workflow, or of one of its task templates (by name), may be on their way at one time. What is not named
 * stays. A lower limit holds back new attempts and stops none. A client run's client keeps to it from its next look on (30 s).
 * MALFORMED: nothing named, or a template that the workflow does not have (those that it has are named).
 */
export const setWorkflowLimits = operation({
  name: 'workflow.set_limits',
  owner: 'state-machine',
  summary: 'Set how many tasks may run at one time.',
  http: { method: 'POST', path: '/api/v4/workflows/{workflow_id}/limits' },
  request: z.object({
    ...Who,
    max_concurrently_running: NewLimit.optional(),
    task_templates: z.record(z.string().min(1).max(255), NewLimit).default({}),
  }),
  reply: ControlReply,
});

/** Largest priority, and smallest when negated. */
export const PRIORITY_MAX = 1_000;

/** A whole number; 0 is every workflow's at first, higher comes first. */
export const Priority = z.number().int().min(-PRIORITY_MAX).max(PRIORITY_MAX);

/** Runs of higher priority are queued and handed out first, always; among equals they take turns. */
export const setWorkflowPriority = operation({
  name: 'workflow.set_priority',
  owner: 'state-machine',
  summary: 'Set which workflows come first.',
  http: { method: 'POST', path: '/api/v4/workflows/{workflow_id}/priority' },
  request: z.object({ ...Who, priority: Priority }),
  reply: ControlReply,
});

/** One thing that was done to a workflow. */
export const WorkflowEvent = z.object({
  event_id: z.number().int(),
  /** By the database's clock, whole seconds, UTC. */
  date: DateText,
  /** The part of the second that `date` leaves away. */
  microsecond: z.number().int(),
  user: z.string(),
  /** `pause`, `drain`, `cancel`, `resume`, `retry`, `reset`, `set_limits`, `set_priority`, `take_over` (a Python client asked the run to stop). */
  verb: z.string(),
  reason: z.string(),
  /** The run that it met, if one was live. */
  workflow_run_id: z.number().int().nullable(),
  /** What was asked besides: mode, resources, limits before and after, how many tasks. */
  detail: z.record(z.string(), z.unknown()),
});
export type WorkflowEvent = z.output<typeof WorkflowEvent>;

/** Newest first. */
export const getWorkflowHistory = operation({
  name: 'workflow.history',
  owner: 'api',
  summary: 'What people did to a workflow, newest first.',
  http: { method: 'GET', path: '/api/v4/workflows/{workflow_id}/history' },
  request: z.object({
    workflow_id: Id,
    /** Only events with a smaller id. */
    before: z.coerce.number().int().positive().optional(),
    limit: z.coerce.number().int().min(1).max(500).default(100),
  }),
  reply: z.object({ events: z.array(WorkflowEvent), next: z.number().int().nullable() }),
});

/** A live run is to be looked at now: paused, resumed, given other limits or another priority, or told to stop. */
export const workflowControlled = event({
  name: 'workflow.controlled',
  payload: z.object({ workflow_id: z.number().int(), workflow_run_id: z.number().int().nullable() }),
});
