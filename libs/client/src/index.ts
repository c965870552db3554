/** The TypeScript SDK: build a workflow, submit it, follow it; and the HTTP connection that command line and agent share. */
export { Tool, type ToolOptions } from './tool';
export {
  TaskTemplate,
  type ArgValue,
  type MatrixOptions,
  type MatrixValues,
  type TaskArguments,
  type TaskTemplateOptions,
  type TemplateUsage,
  type UsageFigures,
  type UsageFilter,
} from './task-template';
export { Task, type RunSettings, type TaskOptions, type TaskUsage } from './task';
export type { DefaultOptions, Defaults, FileOptions } from './defaults';
export type { PlaceholderOf } from './command-template';
export { memoryGib, requestedResources, runtimeSeconds, type ComputeResources } from './compute-resources';
export type { Figure, ListedScales, ResourceScale, ResourceScales } from './resource-scales';
export { readResourceFile, ResourceFile } from './resource-file';
export { clusterMeant } from './executor-name';
export type { TaskResources } from './task-resources';
export type { NodeArgFilter } from './node-index';
export type { BindOptions } from './bind';
export { Workflow, type CheckOptions, type RunOptions, type SubmitOptions, type WorkflowOptions } from './workflow';
export {
  openWorkflow,
  progressOf,
  taskCounts,
  WorkflowRun,
  workflowStatusLabel,
  type FailedTask,
  type Progress,
  type RaisedResources,
  type Reason,
  type ResumeOptions,
  type Standing,
  type TaskCounts,
  type TaskError,
  type WorkflowEventView,
  type WorkflowResult,
} from './workflow-run';
export { followLogs, listLogs, type LogEntry, type LogFilter, type LogFollowOptions, type LogListOptions } from './logs';
export { printProgress, progressText } from './progress';
export type { BrokenRule } from './graph';
export type { Identity } from './identity';
export { JobmonError, VERSION, type ErrorCode } from '@jobmon/contracts';
export type { Server } from './config-file';
export { Connection, isServerUnreachable, type CallOf, type ConnectionOptions, type SendOptions, type TokenSource } from './send';
export {
  discover,
  loginByBrowser,
  loginByCode,
  revokeLogin,
  type LoginProviderSettings,
  type ProviderDocument,
  type Tokens,
} from './openid';
export { loginToken, storedLogin, storeLogin, type StoredLogin } from './stored-login';
export { findServer, loginName, profilePath, removeProfile, writeProfile, type Profile } from './profile';
export {
  readWorkflowFile,
  WorkflowFile,
  type PlannedGroup,
  type PlannedTask,
  type WorkflowFileOptions,
  type WorkflowPlan,
} from './workflow-file/workflow-file';
export { WorkflowFileError, type Position, type Problem } from './workflow-file/problem';
export { workflowFileSchema, workflowFileSchemaText } from './workflow-file/schema';
