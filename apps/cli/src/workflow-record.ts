/** The record of a workflow and of what belongs to it, as programs get them. */
import {
  LIMIT_NONE,
  workflowRunMachine,
  type TaskTemplateProgress,
  type WorkflowError,
  type WorkflowErrorGroup,
  type WorkflowEvent,
  type WorkflowRunStatus,
  type WorkflowRunView,
  type WorkflowView,
} from '@jobmon/contracts';
import { taskCounts, workflowStatusLabel } from '@jobmon/client';
import type { Fields } from './print';

/** A limit, or null for none. */
export const limitOf = (limit: number | null): number | null => (limit === null || limit >= LIMIT_NONE ? null : limit);

export function runLabel(letter: string | null): string | null {
  return letter === null ? null : (workflowRunMachine.states[letter as WorkflowRunStatus]?.label ?? letter);
}

const COUNT_FIELDS: Fields<Pick<WorkflowView, 'tasks'>> = {
  tasks: (row) => taskCounts(row.tasks).total,
  pending: (row) => taskCounts(row.tasks).pending,
  scheduled: (row) => taskCounts(row.tasks).scheduled,
  running: (row) => taskCounts(row.tasks).running,
  done: (row) => taskCounts(row.tasks).done,
  fatal: (row) => taskCounts(row.tasks).fatal,
};

export const WORKFLOW_FIELDS: Fields<WorkflowView> = {
  workflow_id: (row) => row.workflow_id,
  name: (row) => row.name,
  tool: (row) => row.tool,
  user: (row) => row.user,
  status: (row) => workflowStatusLabel(row.status),
  is_paused: (row) => row.is_paused,
  priority: (row) => row.priority,
  max_concurrently_running: (row) => limitOf(row.max_concurrently_running),
  ...COUNT_FIELDS,
  created_date: (row) => row.created_date,
  status_date: (row) => row.status_date,
  workflow_run_id: (row) => row.workflow_run_id,
  workflow_run_status: (row) => runLabel(row.workflow_run_status),
};

export const TEMPLATE_FIELDS: Fields<TaskTemplateProgress> = {
  task_template: (row) => row.task_template,
  max_concurrently_running: (row) => limitOf(row.max_concurrently_running),
  ...COUNT_FIELDS,
  retries: (row) => row.retries,
};

export const RUN_FIELDS: Fields<WorkflowRunView> = {
  workflow_run_id: (row) => row.workflow_run_id,
  status: (row) => runLabel(row.status),
  driver: (row) => row.driver,
  is_paused: (row) => row.is_paused,
  user: (row) => row.user,
  created_date: (row) => row.created_date,
  status_date: (row) => row.status_date,
  client_version: (row) => row.client_version,
  working_directory: (row) => row.working_directory,
};

export const EVENT_FIELDS: Fields<WorkflowEvent> = {
  event_id: (row) => row.event_id,
  date: (row) => row.date,
  microsecond: (row) => row.microsecond,
  user: (row) => row.user,
  verb: (row) => row.verb,
  reason: (row) => row.reason,
  workflow_run_id: (row) => row.workflow_run_id,
  detail: (row) => row.detail,
};

export const ERROR_FIELDS: Fields<WorkflowError> = {
  error_id: (row) => row.error_id,
  error_time: (row) => row.error_time,
  task_id: (row) => row.task_id,
  task_name: (row) => row.task_name,
  task_template: (row) => row.task_template,
  task_instance_id: (row) => row.task_instance_id,
  nodename: (row) => row.nodename,
  exit_code: (row) => row.exit_code,
  description: (row) => row.description,
  stderr_tail: (row) => row.stderr_tail,
};

export const ERROR_GROUP_FIELDS: Fields<WorkflowErrorGroup> = {
  group_id: (row) => row.group_id,
  exception_class: (row) => row.exception_class,
  errors: (row) => row.errors,
  tasks: (row) => row.tasks,
  first_error_time: (row) => row.first_error_time,
  last_error_time: (row) => row.last_error_time,
  hosts: (row) => row.hosts,
  task_ids: (row) => row.task_ids,
  sample_task_id: (row) => row.sample_task_id,
  sample_error: (row) => row.sample_error,
  sample_stderr_tail: (row) => row.sample_stderr_tail,
};
