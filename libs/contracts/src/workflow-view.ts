/** Workflows as views show them: one, many, its runs, its task templates, its errors, and its progress as it happens. */
import { z } from 'zod';
import { DateText, Id, Repeated } from './id';
import { operation } from './operation';
import { WorkflowStatus } from './workflow';
import { WorkflowEvent } from './workflow-control';

/** Task status letter to number of tasks; letters with none are left out. */
const TasksByStatus = z.record(z.string(), z.number().int());

/** One workflow as lists show it. */
export const WorkflowView = z.object({
  workflow_id: z.number().int(),
  name: z.string(),
  tool: z.string().nullable(),
  status: z.enum(Object.values(WorkflowStatus) as [WorkflowStatus, ...WorkflowStatus[]]),
  created_date: DateText.nullable(),
  status_date: DateText.nullable(),
  max_concurrently_running: z.number().int(),
  /** 0 when nobody set one; higher comes first. */
  priority: z.number().int().default(0),
  tasks: TasksByStatus,
  /** The newest run, if any. */
  workflow_run_id: z.number().int().nullable(),
  workflow_run_status: z.string().nullable(),
  /** The newest run is held: nothing new starts. */
  is_paused: z.boolean().default(false),
  user: z.string().nullable(),
});
export type WorkflowView = z.output<typeof WorkflowView>;

/** One workflow with all that is said of it as a whole. */
export const WorkflowDetails = WorkflowView.extend({
  description: z.string(),
  workflow_args: z.string(),
  attributes: z.record(z.string(), z.string().nullable()),
  /** Attempts beyond the first of each task, all together. */
  retries: z.number().int(),
  /** How many runs it had. */
  runs: z.number().int(),
  /** What a person did to it last. */
  last_event: WorkflowEvent.nullable(),
});
export type WorkflowDetails = z.output<typeof WorkflowDetails>;

/** Its tasks are counted as they stand, whoever moved them: 0.05 s for 100,000. */
export const getWorkflow = operation({
  name: 'workflow.get',
  owner: 'api',
  summary: 'One workflow with its status and the counts of its tasks.',
  http: { method: 'GET', path: '/api/v4/workflows/{workflow_id}' },
  request: z.object({ workflow_id: Id }),
  reply: WorkflowDetails,
});

/** `2026-11-22` or `2026-11-22 10:15:00`, with a `T` and a `Z` too; UTC. Out comes the form of the database. */
const Moment = z
  .string()
  .regex(/^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?Z?)?$/, 'must be a date, or date and time, in UTC: 2026-11-22 10:15:00')
  .transform((text) => `${text.replace('T', ' ').replace('Z', '')}${' 00:00:00'.slice(text.replace('Z', '').length - 10)}`);

/** `key=value`: workflows with that value of the attribute; `key` alone: workflows that have it. */
const AttributeFilter = z
  .string()
  .regex(/^[^=]+(?:=.*)?$/s, 'must be key=value, or a key')
  .max(511);

/** Newest first. Filters of different kinds must all hold; of one that is repeated any may hold, of attributes all. */
export const listWorkflows = operation({
  name: 'workflow.list',
  owner: 'api',
  summary: 'Workflows, newest first, a page at a time.',
  http: { method: 'GET', path: '/api/v4/workflows' },
  request: z.object({
    /** Only workflows with a smaller id. */
    before: z.coerce.number().int().positive().optional(),
    limit: z.coerce.number().int().min(1).max(500).default(50),
    /** Who ran it, in any of its runs. */
    user: Repeated(z.string().max(150)).default([]),
    tool: Repeated(z.string().max(255)).default([]),
    /** The whole name; with `*` for any characters. */
    name: Repeated(z.string().max(255)).default([]),
    status: Repeated(z.enum(Object.values(WorkflowStatus) as [WorkflowStatus, ...WorkflowStatus[]])).default([]),
    attribute: Repeated(AttributeFilter).default([]),
    /** Bound at this moment or later. */
    since: Moment.optional(),
    /** Bound before this moment. */
    until: Moment.optional(),
  }),
  reply: z.object({ workflows: z.array(WorkflowView), next: z.number().int().nullable() }),
});

/** The tasks of one template in a workflow, whatever its versions. */
export const TaskTemplateProgress = z.object({
  task_template: z.string(),
  tasks: TasksByStatus,
  retries: z.number().int(),
  /** Null: none. */
  max_concurrently_running: z.number().int().nullable(),
});
export type TaskTemplateProgress = z.output<typeof TaskTemplateProgress>;

/** In the order in which they were bound. */
export const listWorkflowTemplates = operation({
  name: 'workflow.list_task_templates',
  owner: 'api',
  summary: 'The task templates of a workflow with the counts of their tasks and their limits.',
  http: { method: 'GET', path: '/api/v4/workflows/{workflow_id}/task_templates' },
  request: z.object({ workflow_id: Id }),
  reply: z.object({ task_templates: z.array(TaskTemplateProgress) }),
});

export const WorkflowRunView = z.object({
  workflow_run_id: z.number().int(),
  status: z.string(),
  /** Who walks its graph. */
  driver: z.enum(['client', 'server']),
  is_paused: z.boolean(),
  user: z.string().nullable(),
  created_date: DateText.nullable(),
  status_date: DateText.nullable(),
  /** Of the program that made it. */
  client_version: z.string().nullable(),
  /** Where its commands start; null for runs of Python clients. */
  working_directory: z.string().nullable(),
});
export type WorkflowRunView = z.output<typeof WorkflowRunView>;

/** Newest first. */
export const listWorkflowRuns = operation({
  name: 'workflow.list_runs',
  owner: 'api',
  summary: 'The runs of a workflow, newest first, a page at a time.',
  http: { method: 'GET', path: '/api/v4/workflows/{workflow_id}/runs' },
  request: z.object({
    workflow_id: Id,
    /** Only runs with a smaller id. */
    before: z.coerce.number().int().positive().optional(),
    limit: z.coerce.number().int().min(1).max(500).default(50),
  }),
  reply: z.object({ runs: z.array(WorkflowRunView), next: z.number().int().nullable() }),
});

/** Characters of an error in a list; the whole text is with its task. */
export const LISTED_ERROR_CHARACTERS = 10_000;
/** Characters of the end of what an attempt wrote to its standard error, in a list. */
export const STDERR_TAIL_CHARACTERS = 2_000;

/** One error of one attempt. */
export const WorkflowError = z.object({
  error_id: z.number().int(),
  error_time: DateText.nullable(),
  task_id: z.number().int(),
  task_name: z.string(),
  task_template: z.string().nullable(),
  task_instance_id: z.number().int(),
  nodename: z.string().nullable(),
  exit_code: z.number().int().nullable(),
  /** Its first `LISTED_ERROR_CHARACTERS`. */
  description: z.string(),
  /** The last `STDERR_TAIL_CHARACTERS` of its attempt's standard error. */
  stderr_tail: z.string().nullable(),
});
export type WorkflowError = z.output<typeof WorkflowError>;

const ofErrors = {
  workflow_id: Id,
  /** Only of this template, by name. */
  task_template: z.string().max(255).optional(),
};

/** Newest first. */
export const listWorkflowErrors = operation({
  name: 'workflow.list_errors',
  owner: 'api',
  summary: 'The errors of a workflow, newest first, a page at a time.',
  http: { method: 'GET', path: '/api/v4/workflows/{workflow_id}/error_log' },
  request: z.object({
    ...ofErrors,
    /** Only errors with a smaller id. */
    before: z.coerce.number().int().positive().optional(),
    limit: z.coerce.number().int().min(1).max(200).default(50),
  }),
  reply: z.object({ errors: z.array(WorkflowError), next: z.number().int().nullable() }),
});

/** Errors that say the same but for numbers, paths, dates, ids and hosts. */
export const WorkflowErrorGroup = z.object({
  /** Stays when errors of later times join. */
  group_id: z.string(),
  /** As it stands in the text; null when the text names none. */
  exception_class: z.string().nullable(),
  errors: z.number().int(),
  tasks: z.number().int(),
  first_error_time: DateText.nullable(),
  last_error_time: DateText.nullable(),
  /** At most ten, in order. */
  hosts: z.array(z.string()),
  /** At most a hundred, ascending. */
  task_ids: z.array(z.number().int()),
  /** The oldest of it. */
  sample_error: z.string(),
  /** The last `STDERR_TAIL_CHARACTERS` of what its attempt wrote to its standard error. */
  sample_stderr_tail: z.string().nullable(),
  sample_task_id: z.number().int(),
});
export type WorkflowErrorGroup = z.output<typeof WorkflowErrorGroup>;

/** Of the newest 10,000 errors; the largest group first. */
export const groupWorkflowErrors = operation({
  name: 'workflow.group_errors',
  owner: 'api',
  summary: 'The errors of a workflow in groups of alike ones.',
  http: { method: 'GET', path: '/api/v4/workflows/{workflow_id}/error_groups' },
  request: z.object({ ...ofErrors, limit: z.coerce.number().int().min(1).max(200).default(20) }),
  reply: z.object({
    groups: z.array(WorkflowErrorGroup),
    /** How many groups there are, and errors in all of them. */
    groups_total: z.number().int(),
    errors_total: z.number().int(),
  }),
});

/** What a screen of one workflow shows beside its counts. */
export const WorkflowProgress = z.object({
  retries: z.number().int(),
  /** At most 50: those on their way first, then those that wait, then those that are done; among these in the order in which they were bound. */
  task_templates: z.array(TaskTemplateProgress),
  task_templates_total: z.number().int(),
  /** The newest five, newest first, their texts cut to 500 characters. */
  errors: z.array(WorkflowError),
});
export type WorkflowProgress = z.output<typeof WorkflowProgress>;

/**
 * Follows a workflow: its view at once and after each change (at most ten a second), until it has ended; the last event
 * has `is_final` true and the server closes the stream. While nothing changes a comment is sent every 15 s.
 */
export const followWorkflow = operation({
  name: 'workflow.follow',
  owner: 'api',
  summary: 'Progress of a workflow as server-sent events.',
  http: { method: 'GET', path: '/api/v4/workflows/{workflow_id}/events', stream: true },
  request: z.object({
    workflow_id: Id,
    /** `full`: with `progress`. */
    detail: z.enum(['counts', 'full']).default('counts'),
  }),
  reply: z.object({
    workflow: WorkflowView,
    is_final: z.boolean(),
    progress: WorkflowProgress.optional(),
  }),
});
