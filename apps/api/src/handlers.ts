/** Which function answers which operation of the api. Handlers are given a parsed request and answer the operation's reply. */
import {
  addVersionOfTool,
  beatAgent,
  createApiToken,
  drainAgent,
  followLogRecords,
  followWorkflow,
  explainTask,
  getAgent,
  getLogin,
  getTask,
  getTemplateUsage,
  getWorkflow,
  getWorkflowHistory,
  groupWorkflowErrors,
  leaseAssignments,
  leaveAgent,
  listAgents,
  listApiTokens,
  listClusters,
  listTaskErrors,
  listTasks,
  listWorkflowErrors,
  listWorkflowRuns,
  listWorkflowTemplates,
  listTaskStatuses,
  listVersionsOfTool,
  listWorkflows,
  orderAgent,
  registerAgent,
  registerEdges,
  registerTaskTemplate,
  registerTasks,
  registerTool,
  registerWorkflow,
  reportAttempts,
  restoreAgent,
  revokeApiToken,
  submitWorkflow,
  whoAmI,
  type Operation,
} from '@jobmon/contracts';
import type { Sender } from '@jobmon/messaging';
import { answerBeat, answerLease, answerOrders, answerReports, joinAgent, letAgentLeave } from './agent';
import { drain, findAgent, findAgents, restore } from './agent-view';
import { describeCaller, endApiToken, findApiTokens, findLogin, makeApiToken } from './api-token';
import { findClusters } from './cluster';
import type { ApiContext, Call, Register, Room } from './context';
import { storeEdges } from './dag';
import { followRecords } from './log-record';
import { findTemplateUsage } from './resource-usage';
import { submit } from './submit';
import { bindTasks } from './task';
import { findErrors, findStatuses } from './task-result';
import { explain } from './task-explanation';
import { findTask, findTasks } from './task-view';
import { findOrMakeTaskTemplate } from './task-template';
import { addVersion, findOrMakeTool, findVersions } from './tool';
import { findOrMakeWorkflow } from './workflow';
import { findHistory } from './workflow-control';
import { registerPythonProtocol } from './v3/register';
import { findErrorGroups, findWorkflowErrors } from './workflow-error';
import { findTemplates, follow } from './workflow-progress';
import { findRuns, findWorkflow, findWorkflows } from './workflow-view';

/** Answers one parsed request; for a streaming operation, the stream of its values. */
export type Answer = (request: unknown, call: Call) => unknown;

export function handlersOf(context: ApiContext, sender: Sender): ReadonlyMap<Operation, Answer> {
  const room: Room = { ...context, sender };
  const handlers = new Map<Operation, Answer>();
  const answer: Register = (operation, handler) =>
    void handlers.set(operation, (request, call) => handler(room, request as never, call));

  registerPythonProtocol(answer);
  answer(getLogin, findLogin);
  answer(whoAmI, describeCaller);
  answer(createApiToken, makeApiToken);
  answer(listApiTokens, findApiTokens);
  answer(revokeApiToken, endApiToken);
  answer(registerTool, findOrMakeTool);
  answer(addVersionOfTool, addVersion);
  answer(listVersionsOfTool, findVersions);
  answer(registerTaskTemplate, findOrMakeTaskTemplate);
  answer(getTemplateUsage, findTemplateUsage);
  answer(listClusters, findClusters);
  answer(registerWorkflow, findOrMakeWorkflow);
  answer(registerTasks, bindTasks);
  answer(registerEdges, storeEdges);
  answer(submitWorkflow, submit);
  answer(listWorkflows, findWorkflows);
  answer(getWorkflow, findWorkflow);
  answer(listWorkflowTemplates, findTemplates);
  answer(listWorkflowRuns, findRuns);
  answer(listWorkflowErrors, findWorkflowErrors);
  answer(groupWorkflowErrors, findErrorGroups);
  answer(followWorkflow, follow);
  answer(getWorkflowHistory, findHistory);
  answer(listTasks, findTasks);
  answer(listTaskStatuses, findStatuses);
  answer(listTaskErrors, findErrors);
  answer(getTask, findTask);
  answer(explainTask, explain);
  answer(followLogRecords, followRecords);
  answer(registerAgent, joinAgent);
  answer(listAgents, findAgents);
  answer(getAgent, findAgent);
  answer(drainAgent, drain);
  answer(restoreAgent, restore);
  answer(leaseAssignments, answerLease);
  answer(orderAgent, answerOrders);
  answer(reportAttempts, answerReports);
  answer(beatAgent, answerBeat);
  answer(leaveAgent, letAgentLeave);
  return handlers;
}
