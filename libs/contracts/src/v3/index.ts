/** Every operation of the Python protocol (spec/http-api-execution.md, spec/http-api-inspection.md), and the lists that they stand in. */
import type { Operation } from '../operation';
import { ARRAY_OPERATIONS } from './array';
import { CLUSTER_OPERATIONS } from './cluster';
import { DAG_OPERATIONS } from './dag';
import { LIMIT_OPERATIONS } from './limit';
import { OVERRIDE_OPERATIONS } from './override';
import { REAPER_OPERATIONS } from './reaper';
import { RESUME_OPERATIONS } from './resume';
import { SERVICE_OPERATIONS } from './service';
import { TASK_OPERATIONS } from './task';
import { TASK_INSTANCE_OPERATIONS } from './task-instance';
import { TASK_INSTANCE_VIEW_OPERATIONS } from './task-instance-view';
import { TASK_RESOURCES_OPERATIONS } from './task-resources';
import { TASK_TEMPLATE_OPERATIONS } from './task-template';
import { TASK_TEMPLATE_VIEW_OPERATIONS } from './task-template-view';
import { TASK_VIEW_OPERATIONS } from './task-view';
import { TOOL_OPERATIONS } from './tool';
import { WORKFLOW_OPERATIONS } from './workflow';
import { WORKFLOW_RUN_OPERATIONS } from './workflow-run';
import { WORKFLOW_TASKS_OPERATIONS } from './workflow-tasks';
import { WORKFLOW_VIEW_OPERATIONS } from './workflow-view';

export * from './array';
export * from './cluster';
export * from './dag';
export * from './limit';
export * from './override';
export * from './reaper';
export * from './resume';
export * from './service';
export * from './task';
export * from './task-instance';
export * from './task-instance-view';
export * from './task-resources';
export * from './task-template';
export * from './task-template-view';
export * from './task-view';
export * from './tool';
export * from './workflow';
export * from './workflow-run';
export * from './workflow-tasks';
export * from './workflow-view';

export const PYTHON_OPERATIONS: readonly Operation[] = [
  ...SERVICE_OPERATIONS,
  ...TOOL_OPERATIONS,
  ...TASK_TEMPLATE_OPERATIONS,
  ...CLUSTER_OPERATIONS,
  ...TASK_RESOURCES_OPERATIONS,
  ...DAG_OPERATIONS,
  ...WORKFLOW_OPERATIONS,
  ...ARRAY_OPERATIONS,
  ...LIMIT_OPERATIONS,
  ...TASK_OPERATIONS,
  ...WORKFLOW_TASKS_OPERATIONS,
  ...TASK_INSTANCE_OPERATIONS,
  ...TASK_INSTANCE_VIEW_OPERATIONS,
  ...WORKFLOW_RUN_OPERATIONS,
  ...RESUME_OPERATIONS,
  ...OVERRIDE_OPERATIONS,
  ...REAPER_OPERATIONS,
  ...TASK_VIEW_OPERATIONS,
  ...TASK_TEMPLATE_VIEW_OPERATIONS,
  ...WORKFLOW_VIEW_OPERATIONS,
];
