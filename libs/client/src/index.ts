/** The TypeScript SDK: build a workflow, submit it, follow it; and the HTTP connection that command line and agent share. */
export { Tool, type ToolOptions } from './tool';
export { TaskTemplate, type ArgValue, type TaskArguments, type TaskTemplateOptions } from './task-template';
export { Task, type TaskOptions } from './task';
export type { PlaceholderOf } from './command-template';
export { requestedResources, type ComputeResources } from './compute-resources';
export type { BindOptions } from './bind';
export { Workflow, type RunOptions, type SubmitOptions, type WorkflowOptions } from './workflow';
export {
  progressOf,
  taskCounts,
  WorkflowRun,
  workflowStatusLabel,
  type FailedTask,
  type Progress,
  type TaskCounts,
  type WorkflowResult,
} from './workflow-run';
export { printProgress, progressText } from './progress';
export type { BrokenRule } from './graph';
export { Connection, isServerUnreachable, type CallOf, type ConnectionOptions, type SendOptions } from './send';
export { findServer, loginName, profilePath, removeProfile, writeProfile, type Profile, type Server } from './profile';
