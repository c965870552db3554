/** Every operation and every event of the house. The api, the OpenAPI document and the tests loop over these lists. */
import {
  agentAsked,
  agentOrdered,
  beatAgent,
  drainAgent,
  expireAgent,
  getAgent,
  leaseAssignments,
  leaseTaskInstances,
  leaveAgent,
  listAgents,
  orderAgent,
  registerAgent,
  reportAttempts,
  restoreAgent,
} from './agent';
import { apiTokenRevoked, createApiToken, listApiTokens, revokeApiToken } from './api-token';
import { appendLogRecords, followLogRecords, listArrivedLogRecords, listLogRecords, logRecordStored } from './log-record';
import { getLogin, whoAmI } from './login';
import type { Event, Operation } from './operation';
import { getTemplateUsage } from './resource-usage';
import { getTask, listTasks, queueTasks, registerEdges, registerTasks, taskChanged, taskQueued } from './task';
import { explainTask } from './task-explanation';
import { reportAttempt } from './task-instance';
import { listTaskErrors, listTaskStatuses } from './task-result';
import { addVersionOfTool, listClusters, listVersionsOfTool, registerTaskTemplate, registerTool } from './tool';
import { PYTHON_OPERATIONS } from './v3';
import { endLeftWorkflow, registerWorkflow, submitWorkflow } from './workflow';
import {
  cancelWorkflow,
  drainWorkflow,
  getWorkflowHistory,
  pauseWorkflow,
  resumeWorkflow,
  retryTasks,
  setWorkflowLimits,
  setWorkflowPriority,
  startOverWorkflow,
  workflowControlled,
} from './workflow-control';
import {
  beatWorkflowRuns,
  endLeftAttempts,
  moveWorkflowRun,
  settleWorkflowRun,
  submitWorkflowRun,
  workflowRunChanged,
} from './workflow-run';
import { leaseWorkflowRuns, releaseWorkflowRuns, renewScheduler } from './workflow-run-lease';
import {
  followWorkflow,
  getWorkflow,
  groupWorkflowErrors,
  listWorkflowErrors,
  listWorkflowRuns,
  listWorkflows,
  listWorkflowTemplates,
} from './workflow-view';

export const OPERATIONS: readonly Operation[] = [
  ...PYTHON_OPERATIONS,
  getLogin,
  whoAmI,
  createApiToken,
  listApiTokens,
  revokeApiToken,
  registerTool,
  addVersionOfTool,
  listVersionsOfTool,
  registerTaskTemplate,
  getTemplateUsage,
  listClusters,
  registerWorkflow,
  registerTasks,
  registerEdges,
  submitWorkflow,
  listWorkflows,
  getWorkflow,
  listWorkflowTemplates,
  listWorkflowRuns,
  listWorkflowErrors,
  groupWorkflowErrors,
  followWorkflow,
  pauseWorkflow,
  drainWorkflow,
  cancelWorkflow,
  resumeWorkflow,
  retryTasks,
  startOverWorkflow,
  setWorkflowLimits,
  setWorkflowPriority,
  getWorkflowHistory,
  listTasks,
  listTaskStatuses,
  listTaskErrors,
  getTask,
  explainTask,
  listLogRecords,
  listArrivedLogRecords,
  appendLogRecords,
  followLogRecords,
  registerAgent,
  listAgents,
  getAgent,
  drainAgent,
  restoreAgent,
  leaseAssignments,
  orderAgent,
  reportAttempts,
  beatAgent,
  leaveAgent,
  reportAttempt,
  leaseTaskInstances,
  expireAgent,
  queueTasks,
  submitWorkflowRun,
  moveWorkflowRun,
  settleWorkflowRun,
  endLeftAttempts,
  endLeftWorkflow,
  beatWorkflowRuns,
  leaseWorkflowRuns,
  renewScheduler,
  releaseWorkflowRuns,
];

export const EVENTS: readonly Event[] = [
  agentAsked,
  agentOrdered,
  apiTokenRevoked,
  taskChanged,
  taskQueued,
  workflowRunChanged,
  workflowControlled,
  logRecordStored,
];
