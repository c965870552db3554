/** The state machine as a Nest module: every operation that it owns gets its handler, and its lanes run dry before the end. */
import {
  beatWorkflowRuns,
  expireAgent,
  leaseTaskInstances,
  leaseWorkflowRuns,
  logDistributorId,
  logDone,
  logErrorWorkerNode,
  logKnownError,
  logNoDistributorId,
  logReportBy,
  logRunning,
  logUnknownError,
  moveWorkflowRun,
  queueTasks,
  releaseWorkflowRuns,
  renewScheduler,
  reportAttempt,
  submitWorkflowRun,
  type Operation,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import { Inject, Injectable, Module, type DynamicModule, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { tellEnds } from './attempt-end';
import { ClientRuns } from './client-run';
import { Operator } from './operator';
import { StateMachine, type StateMachineContext } from './state-machine';
import type { Report, ReportReply } from './task-instance';
import { WorkflowWide } from './workflow-wide';

export type { StateMachineContext } from './state-machine';

const CONTEXT = Symbol('state machine context');

/** Answers the state machine's operations on the messenger of the context from the start of the application to its end. */
export function stateMachineModule(context: StateMachineContext): DynamicModule {
  const heard = { ...context, database: tellEnds(context.database, context.log) };
  return { module: StateMachineModule, providers: [{ provide: CONTEXT, useValue: heard }, Handlers] };
}

@Injectable()
class Handlers implements OnModuleInit, OnApplicationShutdown {
  private readonly machine: StateMachine;
  private readonly clientRuns: ClientRuns;
  private readonly workflowWide: WorkflowWide;
  private readonly operator: Operator;

  constructor(@Inject(CONTEXT) private readonly context: StateMachineContext) {
    this.machine = new StateMachine(context);
    this.clientRuns = new ClientRuns(context);
    this.workflowWide = new WorkflowWide(context);
    this.operator = new Operator(context, this.workflowWide);
  }

  onModuleInit(): void {
    const { messenger } = this.context;
    const { machine } = this;
    this.clientRuns.handle(messenger);
    this.workflowWide.handle(messenger);
    this.operator.handle(messenger);
    const onReports = <O extends Operation>(operation: O, toReport: (request: RequestOf<O>) => Report): void =>
      messenger.handle(operation, (requests, origin) => machine.report<ReplyOf<O> & ReportReply>(requests.map(toReport), origin));
    onReports(logRunning, (request) => ({ name: 'log_running', request }));
    onReports(logReportBy, (request) => ({ name: 'log_report_by', request }));
    onReports(logDone, (request) => ({ name: 'log_done', request }));
    onReports(logErrorWorkerNode, (request) => ({ name: 'log_error_worker_node', request }));
    onReports(logNoDistributorId, (request) => ({ name: 'log_no_distributor_id', request }));
    onReports(logDistributorId, (request) => ({ name: 'log_distributor_id', request }));
    onReports(logKnownError, (request) => ({ name: 'log_known_error', request }));
    onReports(logUnknownError, (request) => ({ name: 'log_unknown_error', request }));
    onReports(reportAttempt, (request) => ({ name: 'report_attempt', request }));
    messenger.handle(queueTasks, (requests) => Promise.all(requests.map((request) => machine.queueTasks(request))));
    messenger.handle(leaseTaskInstances, (requests) =>
      Promise.all(requests.map((request) => machine.leaseTaskInstances(request))),
    );
    messenger.handle(expireAgent, (requests) => Promise.all(requests.map((request) => machine.expireAgent(request))));
    messenger.handle(submitWorkflowRun, (requests) => Promise.all(requests.map((request) => machine.submitWorkflowRun(request))));
    messenger.handle(moveWorkflowRun, (requests) => Promise.all(requests.map((request) => machine.moveWorkflowRun(request))));
    messenger.handle(beatWorkflowRuns, (requests) => Promise.all(requests.map((request) => machine.beatWorkflowRuns(request))));
    messenger.handle(leaseWorkflowRuns, (requests) => Promise.all(requests.map((request) => machine.leaseWorkflowRuns(request))));
    messenger.handle(renewScheduler, (requests) => Promise.all(requests.map((request) => machine.renewScheduler(request))));
    messenger.handle(releaseWorkflowRuns, (requests) =>
      Promise.all(requests.map((request) => machine.releaseWorkflowRuns(request))),
    );
  }

  /** Last of Nest's steps: what other modules still report while they end is heard. */
  async onApplicationShutdown(): Promise<void> {
    await Promise.all([this.machine.drain(), this.clientRuns.drain(), this.workflowWide.drain()]);
  }
}

@Module({})
export class StateMachineModule {}
