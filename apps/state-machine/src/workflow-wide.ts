/**
 * What is asked of whole workflows and of client runs, behind lanes of its own:
 *
 * - **run reports**: heartbeats and new statuses of runs, many in one transaction;
 * - **pieces**: everything else, each a transaction in its turn. A request of many tasks is many pieces, so that a reset of a million
 *   tasks holds up nobody's link; when its caller has waited 14 s the bus answers for it, and the pieces go on.
 */
import {
  abortWorkflowRun,
  continueCommand,
  endLeftAttempts,
  endLeftWorkflow,
  fixStatusInconsistency,
  forceCleanupKillSelf,
  JobmonError,
  linkWorkflowRun,
  logHeartbeat,
  reapWorkflowRun,
  resetTasks,
  resetWorkflow,
  setResume,
  setResumeState,
  taskChanged,
  terminateTaskInstances,
  updateRunStatus,
  updateTaskStatuses,
  workflowRunChanged,
  type Lease,
  type Operation,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import type { Dialect, Procedure } from '@jobmon/entities';
import { replyOf, TIMEOUT_MS_DEFAULT, type Messenger, type Outcome } from '@jobmon/messaging';
import { endLeft, fixInconsistent } from './inconsistency';
import { Lane } from './lane';
import { outcomeOf } from './outcome';
import { tasksToChange } from './override';
import { reset } from './reset';
import { cleanUpPiece, endLeftPiece, finalizeRuns, reapPiece, tellToStop, terminatePiece } from './resume';
import { applyRunReports, type RunChange, type RunReport } from './run-report';
import type { StateMachineContext } from './state-machine';
import { requestIn, stepCommand, type Step, type WorkflowCommand } from './workflow-command';
import { areAllTasksDone, link } from './workflow-run';

/** Requests and pieces that wait; each is a transaction of its own. */
const WAITING_MAX = 2_000;
/** Run reports in one transaction, and waiting. */
const REPORTS_MAX = 500;
const REPORTS_WAITING_MAX = 20_000;

interface Piece {
  readonly turn: string;
  readonly run: () => Promise<unknown>;
}

export class WorkflowWide {
  private readonly pieces: Lane<Piece, unknown>;
  private readonly reports: Lane<RunReport, { status: string }>;
  /** Of counts. */
  readonly writer: string;
  private isStopping = false;

  constructor(private readonly context: StateMachineContext) {
    const { log, database } = context;
    this.writer = `${(context.writer ?? 'state-machine').slice(0, 50)}/wide`;
    this.pieces = new Lane<Piece, unknown>({
      name: 'pieces',
      log,
      rows_max: 1,
      bytes_max: 1,
      waiting_max: WAITING_MAX,
      sizeOf: () => 1,
      keyOf: (piece) => piece.turn,
      write: async ([piece]) => [{ ok: await (piece as Piece).run() }],
    });
    this.reports = new Lane<RunReport, { status: string }>({
      name: 'run reports',
      log,
      rows_max: REPORTS_MAX,
      bytes_max: REPORTS_MAX,
      waiting_max: REPORTS_WAITING_MAX,
      sizeOf: () => 1,
      keyOf: (report) => report.workflow_run_id,
      write: async (reports) => {
        const done = await database.write({ label: 'run reports' }, () => applyRunReports(database.dialect, reports));
        this.publish(done.changed);
        return done.outcomes;
      },
    });
  }

  /** Answers its operations on the messenger. */
  handle(messenger: Messenger): void {
    const answer = <O extends Operation>(operation: O, handler: (request: RequestOf<O>) => Promise<ReplyOf<O>>): void =>
      messenger.handle(operation, (requests) => Promise.all(requests.map((request) => outcomeOf(handler(request)))));
    answer(resetTasks, (request) => this.resetTasks(request));
    answer(linkWorkflowRun, (request) => this.link(request));
    answer(abortWorkflowRun, ({ workflow_run_id }) => this.report({ workflow_run_id, status: 'A', seconds: null }));
    answer(updateRunStatus, (request) => this.report({ ...request, seconds: null }));
    answer(logHeartbeat, ({ next_report_increment, ...request }) => this.report({ ...request, seconds: next_report_increment }));
    answer(setResume, (request) => this.setResume(request));
    answer(terminateTaskInstances, (request) => this.terminate(request));
    answer(forceCleanupKillSelf, (request) => this.forceCleanup(request));
    answer(reapWorkflowRun, (request) => this.reap(request));
    answer(endLeftAttempts, (request) => this.endLeftAttempts(request));
    answer(fixStatusInconsistency, (request) => fixInconsistent(this.context.database, request));
    answer(endLeftWorkflow, (request) => endLeft(this.context.database, request));
    answer(setResumeState, (request) => this.setResumeState(request));
    answer(resetWorkflow, (request) => this.resetWorkflow(request));
    answer(updateTaskStatuses, (request) => this.updateTaskStatuses(request));
    answer(continueCommand, ({ workflow_id, lease }) => this.continueCommand(workflow_id, lease));
  }

  /** Takes nothing new, waits for the pieces under way; what they are parts of is gone on with by whoever comes next. */
  async drain(): Promise<void> {
    this.isStopping = true;
    await Promise.all([this.pieces.drain(), this.reports.drain()]);
  }

  resetTasks(request: RequestOf<typeof resetTasks>): Promise<ReplyOf<typeof resetTasks>> {
    return this.piece(request.workflow_id, 'task.reset', (dialect) => reset(dialect, this.writer, request));
  }

  /** E56. A caller who waited longer than the bus lets him has been told that nobody answered: his run is aborted. */
  async link(request: RequestOf<typeof linkWorkflowRun>): Promise<ReplyOf<typeof linkWorkflowRun>> {
    const asked_ms = Date.now();
    const { reply, run } = await this.piece(request.workflow_id, 'workflow_run.link', (dialect) => link(dialect, request));
    if (run === null) return reply;
    if (Date.now() - asked_ms >= TIMEOUT_MS_DEFAULT) {
      await this.report({ workflow_run_id: run.reply.workflow_run_id, status: 'A', seconds: null });
      throw new JobmonError('UNAVAILABLE', 'the run was linked too late and is aborted; ask again');
    }
    this.publish([{ workflow_id: run.workflow_id, ...run.reply }]);
    return reply;
  }

  /** E58, E59, and the abort of a link. */
  async report(report: RunReport): Promise<{ status: string }> {
    return replyOf(await this.reports.add(report));
  }

  async setResume(request: RequestOf<typeof setResume>): Promise<ReplyOf<typeof setResume>> {
    const told = await this.piece(request.workflow_id, 'workflow.set_resume', (dialect) => tellToStop(dialect, request));
    if (told !== null) this.publish([told]);
    return {};
  }

  /** E57. */
  async terminate({
    workflow_run_id,
  }: RequestOf<typeof terminateTaskInstances>): Promise<ReplyOf<typeof terminateTaskInstances>> {
    const num_terminated = await this.all(`run ${workflow_run_id}`, 'workflow_run.terminate_task_instances', (dialect) =>
      terminatePiece(dialect, this.writer, workflow_run_id),
    );
    return { workflow_run_id, num_terminated };
  }

  /** E46. */
  async forceCleanup({ workflow_id }: RequestOf<typeof forceCleanupKillSelf>): Promise<ReplyOf<typeof forceCleanupKillSelf>> {
    const label = 'workflow.force_cleanup_kill_self';
    const ended = await this.all(workflow_id, label, (dialect) => cleanUpPiece(dialect, this.writer, workflow_id));
    const finalized = await this.piece(workflow_id, label, (dialect) => finalizeRuns(dialect, workflow_id));
    this.publish(finalized);
    return { num_cleaned_up: ended, num_workflow_runs_finalized: finalized.length };
  }

  /** P4. */
  async reap({ workflow_run_id }: RequestOf<typeof reapWorkflowRun>): Promise<ReplyOf<typeof reapWorkflowRun>> {
    const areTasksDone = await areAllTasksDone(this.context.database, workflow_run_id);
    for (;;) {
      const reaped = await this.piece(`run ${workflow_run_id}`, 'workflow_run.reap', (dialect) =>
        reapPiece(dialect, this.writer, workflow_run_id, areTasksDone),
      );
      this.publish(reaped.changed);
      if (reaped.isLast) return reaped.reply;
    }
  }

  async endLeftAttempts({ workflow_run_id }: RequestOf<typeof endLeftAttempts>): Promise<ReplyOf<typeof endLeftAttempts>> {
    const ended = await this.all(`run ${workflow_run_id}`, 'workflow_run.end_attempts', (dialect) =>
      endLeftPiece(dialect, this.writer, workflow_run_id),
    );
    return { workflow_run_id, ended };
  }

  /** E18. */
  async setResumeState(request: RequestOf<typeof setResumeState>): Promise<ReplyOf<typeof setResumeState>> {
    const { refusal } = await this.command({ operation: 'workflow.set_resume_state', request });
    return refusal === undefined ? {} : { err_msg: refusal };
  }

  /** C23. */
  async resetWorkflow(request: RequestOf<typeof resetWorkflow>): Promise<ReplyOf<typeof resetWorkflow>> {
    const { progress } = await this.command({ operation: 'workflow.reset', request });
    return { reset_tasks: progress.tasks, killed_task_instances: progress.attempts };
  }

  /** C4. */
  async updateTaskStatuses(request: RequestOf<typeof updateTaskStatuses>): Promise<ReplyOf<typeof updateTaskStatuses>> {
    const task_ids = await tasksToChange(this.context.database, request);
    const { progress, workflow_status } = await this.command({ operation: 'task.update_statuses', request, task_ids });
    const { tasks, attempts } = progress;
    return {
      message: `${tasks} tasks of workflow ${request.workflow_id} were put to ${request.new_status}`,
      updated_task_ids: tasks,
      killed_task_instances: attempts,
      workflow_status,
    };
  }

  /** The rest of a command that its row tells of. A former holder of the run that he names does nothing. */
  async continueCommand(workflow_id: number, lease?: Lease): Promise<ReplyOf<typeof continueCommand>> {
    const [row] = await this.context.database.read<{ operation: string; request: unknown }>(
      'SELECT operation, request FROM workflow_command WHERE workflow_id = ?',
      [workflow_id],
    );
    if (row === undefined) return { is_ended: true };
    const { operation } = row as { operation: WorkflowCommand['operation'] };
    const request = requestIn(row.request) as never;
    const task_ids = await this.tasksAgain({ operation, request } as WorkflowCommand);
    const { is_ended, is_lease_lost } = await this.command({ operation, request, task_ids } as WorkflowCommand, true, lease);
    return { is_ended, is_lease_lost };
  }

  /** The tasks of a command that has begun: what it was allowed to begin it may end, whatever has become of the workflow meanwhile. */
  private async tasksAgain({ operation, request }: WorkflowCommand): Promise<readonly number[] | null> {
    const { database } = this.context;
    if (operation === 'task.update_statuses') return tasksToChange(database, request, true);
    if (operation !== 'workflow.retry' || request.task_ids === 'failed') return null;
    const { workflow_id, task_ids, with_downstream: recursive } = request;
    return tasksToChange(database, { workflow_id, task_ids, new_status: 'G', recursive }, true);
  }

  /** Does a command piece by piece to its end, or to where it has to wait, beside whoever else does it. */
  async command(command: WorkflowCommand, isBegun = false, lease?: Lease): Promise<Step> {
    let before: Step | undefined;
    let is_changed = false;
    for (;;) {
      const step = await this.piece(command.request.workflow_id, command.operation, (dialect) =>
        stepCommand(dialect, this.writer, command, isBegun || before !== undefined, lease),
      );
      this.publish(step.changed);
      for (const run of step.retried) if (run.task_ids.length > 0) this.context.messenger.publish(taskChanged, run);
      is_changed ||= step.is_changed;
      // Somebody else did the last piece: what it had changed in all is what was seen last, or nothing.
      const progress = step.is_joined && before !== undefined ? before.progress : step.progress;
      if (step.is_ended || step.is_waiting || step.is_lease_lost) return { ...step, progress, is_changed };
      before = step;
    }
  }

  /** Pieces until there is no more; answers the sum. */
  private async all(
    turn: number | string,
    label: string,
    procedure: (dialect: Dialect) => Procedure<{ stopped: number; isLast: boolean }>,
  ): Promise<number> {
    for (let sum = 0; ;) {
      const { stopped, isLast } = await this.piece(turn, label, procedure);
      sum += stopped;
      if (isLast) return sum;
    }
  }

  /** One transaction in its turn; its error is thrown. `turn`: a workflow's id, or the name of what takes turns. */
  async piece<T>(turn: number | string, label: string, procedure: (dialect: Dialect) => Procedure<T>): Promise<T> {
    if (this.isStopping) throw new JobmonError('UNAVAILABLE', 'the service is stopping');
    const { database } = this.context;
    const run = (): Promise<T> => database.write({ label }, () => procedure(database.dialect));
    return replyOf((await this.pieces.add({ turn: String(turn), run })) as Outcome<T>);
  }

  publish(changed: readonly RunChange[]): void {
    for (const change of changed) this.context.messenger.publish(workflowRunChanged, change);
  }
}
