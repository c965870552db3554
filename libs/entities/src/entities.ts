/** Every entity, in the order in which the ERD shows the tables: the 31 of the Python system, then ours. */
import { ApiToken } from './api-token';
import { ArrayRow } from './array';
import { Agent, Cluster, ClusterType, Queue } from './cluster';
import { Dag, Edge, Node, NodeArg } from './dag';
import { PersonEvent } from './person-event';
import { SchemaRule, ServiceInstance } from './service-instance';
import { TaskInstanceStatusRow, TaskResourcesType, TaskStatusRow, WorkflowRunStatusRow, WorkflowStatusRow } from './lookup';
import { Task, TaskArg, TaskAttribute, TaskAttributeType, TaskResources, TaskStatusCount } from './task';
import { TaskInstance, TaskInstanceErrorLog, TaskInstanceHistory } from './task-instance';
import { Arg, ArgType, TaskTemplate, TaskTemplateVersion, TemplateArgMap } from './task-template';
import { LogArrivalRow, LogRecordRow } from './log-record';
import { Tool, ToolFirstVersion, ToolVersion } from './tool';
import { Workflow, WorkflowAttribute, WorkflowAttributeType, WorkflowCommand, WorkflowEvent } from './workflow';
import { WorkflowRun } from './workflow-run';
import { SchedulerRow, WorkflowRunLease } from './workflow-run-lease';

/** The tables that a database of the Python system has too (spec/data-model.md section 2). */
export const SHARED_ENTITIES = [
  Tool,
  ToolVersion,
  TaskTemplate,
  TaskTemplateVersion,
  TemplateArgMap,
  Arg,
  ArgType,
  Dag,
  Node,
  Edge,
  NodeArg,
  Workflow,
  WorkflowAttribute,
  WorkflowAttributeType,
  WorkflowRun,
  ArrayRow,
  Task,
  TaskArg,
  TaskAttribute,
  TaskAttributeType,
  TaskResources,
  TaskInstance,
  TaskInstanceErrorLog,
  ClusterType,
  Cluster,
  Queue,
  TaskStatusRow,
  TaskInstanceStatusRow,
  WorkflowStatusRow,
  WorkflowRunStatusRow,
  TaskResourcesType,
] as const;

/** The tables that only this system has. */
export const OWN_ENTITIES = [
  TaskInstanceHistory,
  TaskStatusCount,
  Agent,
  WorkflowCommand,
  WorkflowEvent,
  ToolFirstVersion,
  WorkflowRunLease,
  SchedulerRow,
  LogRecordRow,
  LogArrivalRow,
  ApiToken,
  PersonEvent,
  ServiceInstance,
  SchemaRule,
] as const;

export const ENTITIES = [...SHARED_ENTITIES, ...OWN_ENTITIES] as const;

/** Those of a SQLite file: its log records are in a file of their own. */
export const SQLITE_ENTITIES = ENTITIES.filter((entity) => entity !== LogRecordRow && entity !== LogArrivalRow);
