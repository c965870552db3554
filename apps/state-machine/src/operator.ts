/**
 * What people ask of workflows on v4, behind the lane of pieces that all workflow-wide work goes through: each verb's transactions in
 * order, what is told to the others after each commit, and the standing state as the answer.
 */
import {
  agentOrdered,
  cancelWorkflow,
  drainWorkflow,
  JobmonError,
  LIVE_WORKFLOW_RUN_STATUSES,
  pauseWorkflow,
  resumeWorkflow,
  retryTasks,
  settleWorkflowRun,
  setWorkflowLimits,
  setWorkflowPriority,
  startOverWorkflow,
  taskChanged,
  workflowControlled,
  type ControlReply,
  type Operation,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import { idList, type Dialect, type Procedure } from '@jobmon/entities';
import type { Messenger, Outcome } from '@jobmon/messaging';
import { outcomeOf } from './outcome';
import { tasksToChange } from './override';
import { endSettled, settlePiece, type SettledBy } from './settle';
import type { StateMachineContext } from './state-machine';
import { requireResources } from './successor';
import type { ChangedTasks } from './transition';
import { controlReply, pause, setLimits, setPriority, stop, type Controlled } from './workflow-control';
import { areAllTasksDone } from './workflow-run';
import type { WorkflowWide } from './workflow-wide';

/** Ids of one statement. */
const PIECE_IDS = 1_024;
const NAMED_MAX = 10;

export class Operator {
  constructor(
    private readonly context: StateMachineContext,
    private readonly wide: WorkflowWide,
  ) {}

  /** Answers its operations on the messenger. */
  handle(messenger: Messenger): void {
    const answer = <O extends Operation>(operation: O, handler: (request: RequestOf<O>) => Promise<ReplyOf<O>>): void =>
      messenger.handle(operation, (requests): Promise<Outcome<ReplyOf<O>>[]> =>
        Promise.all(requests.map((request) => outcomeOf(handler(request)))),
      );
    answer(pauseWorkflow, (request) => this.pause(request));
    answer(drainWorkflow, (request) => this.stop(request, 'drain'));
    answer(cancelWorkflow, (request) => this.stop(request, 'cancel'));
    answer(resumeWorkflow, (request) => this.resume(request));
    answer(retryTasks, (request) => this.retry(request));
    answer(startOverWorkflow, (request) => this.startOver(request));
    answer(setWorkflowLimits, (request) => this.setLimits(request));
    answer(setWorkflowPriority, (request) => this.setPriority(request));
    answer(settleWorkflowRun, ({ workflow_run_id, fence = 0 }) => this.settle(workflow_run_id, { fence }));
  }

  pause(request: RequestOf<typeof pauseWorkflow>): Promise<ControlReply> {
    return this.control(request, 'workflow.pause', (dialect) => pause(dialect, request));
  }

  async stop(request: RequestOf<typeof cancelWorkflow>, verb: 'drain' | 'cancel'): Promise<ControlReply> {
    const { run, is_changed } = await this.controlled(request.workflow_id, `workflow.${verb}`, (dialect) =>
      stop(dialect, request, verb),
    );
    if (run !== undefined) await this.settle(run.id);
    return controlReply(this.context.database, request.workflow_id, is_changed);
  }

  setLimits(request: RequestOf<typeof setWorkflowLimits>): Promise<ControlReply> {
    return this.control(request, 'workflow.set_limits', (dialect) => setLimits(dialect, request));
  }

  setPriority(request: RequestOf<typeof setWorkflowPriority>): Promise<ControlReply> {
    return this.control(request, 'workflow.set_priority', (dialect) => setPriority(dialect, request));
  }

  async resume(request: RequestOf<typeof resumeWorkflow>): Promise<ControlReply> {
    const { workflow_id, resources } = request;
    const areMoved = resources.some(({ task_template, set }) => task_template === undefined && set?.cluster !== undefined);
    await requireResources(this.context.database, workflow_id, areMoved);
    const { is_changed } = await this.wide.command({ operation: 'workflow.resume', request });
    this.tell(workflow_id, null);
    return controlReply(this.context.database, workflow_id, is_changed);
  }

  async retry(request: RequestOf<typeof retryTasks>): Promise<ReplyOf<typeof retryTasks>> {
    const { workflow_id } = request;
    const { database } = this.context;
    const task_ids = await this.chosenTasks(request);
    await requireResources(database, workflow_id, false);
    const { is_changed, progress } = await this.wide.command({ operation: 'workflow.retry', request, task_ids });
    this.tell(workflow_id, null);
    return { ...(await controlReply(database, workflow_id, is_changed)), tasks: progress.tasks };
  }

  async startOver(request: RequestOf<typeof startOverWorkflow>): Promise<ReplyOf<typeof startOverWorkflow>> {
    const { workflow_id } = request;
    const { is_changed, progress } = await this.wide.command({ operation: 'workflow.start_over', request });
    return { ...(await controlReply(this.context.database, workflow_id, is_changed)), tasks: progress.tasks };
  }

  /** Pieces until there is nothing to stop, then the run's end when nothing of it is live. */
  async settle(workflow_run_id: number, by: SettledBy = 'person'): Promise<ReplyOf<typeof settleWorkflowRun>> {
    const { database } = this.context;
    const turn = `run ${workflow_run_id}`;
    for (;;) {
      const settled = await this.wide.piece(turn, 'workflow_run.settle', (dialect) =>
        settlePiece(dialect, this.wide.writer, workflow_run_id, by),
      );
      this.tellTasks(settled.tasks);
      for (const agent_id of settled.agents) this.context.messenger.publish(agentOrdered, { agent_id });
      if (settled.isLeaseLost) return { workflow_run_id, status: settled.status, is_lease_lost: true };
      if (settled.hasMore) continue;
      if (!settled.isQuiet) return { workflow_run_id, status: settled.status };
      // Asked without a lock, before the end: while a run is live no task leaves D.
      const areTasksDone = await areAllTasksDone(database, workflow_run_id);
      const ended = await this.wide.piece(turn, 'workflow_run.settle', (dialect) =>
        endSettled(dialect, workflow_run_id, areTasksDone, by),
      );
      this.wide.publish(ended);
      return { workflow_run_id, status: ended[0]?.status ?? settled.status };
    }
  }

  /**
   * The tasks that a retry names, with all behind them when they are wanted; null for all that failed.
   *
   * @throws JobmonError NOT_FOUND, MALFORMED; CONFLICT for a task in D while a run is live
   */
  private async chosenTasks(request: RequestOf<typeof retryTasks>): Promise<readonly number[] | null> {
    const { workflow_id, task_ids, with_downstream: recursive } = request;
    const { database } = this.context;
    if (task_ids === 'failed') return null;
    const letters = LIVE_WORKFLOW_RUN_STATUSES.map((letter) => `'${letter}'`).join(',');
    const [live] = await database.read<{ id: number }>(
      `SELECT id FROM workflow_run WHERE workflow_id = ? AND status IN (${letters}) LIMIT 1`,
      [workflow_id],
    );
    const chosen = await tasksToChange(database, { workflow_id, task_ids, new_status: 'G', recursive }, true);
    if (live === undefined) return chosen;
    const done: number[] = [];
    for (let from = 0; from < task_ids.length; from += PIECE_IDS) {
      const list = idList(task_ids.slice(from, from + PIECE_IDS));
      const rows = await database.read<{ id: number }>(
        `SELECT id FROM task WHERE id IN ${list.sql} AND status = 'D' ORDER BY id`,
        list.params,
      );
      done.push(...rows.map(({ id }) => id));
    }
    if (done.length === 0) return chosen;
    throw new JobmonError(
      'CONFLICT',
      `tasks that are DONE run again only when no run is live (task ${done.slice(0, NAMED_MAX).join(', ')}): ` +
        `drain workflow ${workflow_id} first`,
      { rule: 'task_done', task_ids: done.slice(0, 1_000) },
    );
  }

  /** A verb of one transaction. */
  private async control(
    { workflow_id }: { readonly workflow_id: number },
    label: string,
    procedure: (dialect: Dialect) => Procedure<Controlled>,
  ): Promise<ControlReply> {
    const { is_changed } = await this.controlled(workflow_id, label, procedure);
    return controlReply(this.context.database, workflow_id, is_changed);
  }

  private async controlled(
    workflow_id: number,
    label: string,
    procedure: (dialect: Dialect) => Procedure<Controlled>,
  ): Promise<Controlled> {
    const done = await this.wide.piece(workflow_id, label, procedure);
    this.wide.publish(done.changed);
    if (done.is_changed) this.tell(workflow_id, done.run?.id ?? null);
    return done;
  }

  private tell(workflow_id: number, workflow_run_id: number | null): void {
    this.context.messenger.publish(workflowControlled, { workflow_id, workflow_run_id });
  }

  private tellTasks(changed: readonly ChangedTasks[]): void {
    for (const run of changed) if (run.task_ids.length > 0) this.context.messenger.publish(taskChanged, run);
  }
}
