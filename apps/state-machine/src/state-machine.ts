/**
 * The state machine at work: five lanes over one database, and what is told to the others after each commit.
 *
 * - **reports**: single reports of workers and agents, many in one transaction;
 * - **bulk**: queueing, leasing and expiring, each request a transaction of up to 1,000 rows;
 * - **workflow-wide**: submitting, moving and beating of runs;
 * - **renewals** and **leases** of schedulers, which must not be late because something else takes long.
 *
 * It holds no truth: what it remembers (which workflow an instance belongs to, which run was served last) only makes the turns fair
 * and may be lost at any time.
 */
import {
  taskChanged,
  taskQueued,
  workflowRunChanged,
  type beatWorkflowRuns,
  type expireAgent,
  type leaseTaskInstances,
  type leaseWorkflowRuns,
  type moveWorkflowRun,
  type queueTasks,
  type releaseWorkflowRuns,
  type renewScheduler,
  type ReplyOf,
  type RequestOf,
  type submitWorkflowRun,
} from '@jobmon/contracts';
import type { Database, Procedure } from '@jobmon/entities';
import type { MessageContext, Messenger, Outcome } from '@jobmon/messaging';
import type { Config, Logger } from '@jobmon/runtime';
import { expire, lease, type Served } from './agent';
import type { ToldWriteOptions } from './attempt-end';
import { Lane } from './lane';
import { queue } from './task';
import { applyReports, fitReport, instanceOf, type Report, type ReportReply, type StatusReply } from './task-instance';
import type { ChangedTasks } from './transition';
import { areAllTasksDone, beat, move, submit, type RunStanding } from './workflow-run';
import { lease as leaseRuns, release, renew } from './workflow-run-lease';

export interface StateMachineContext {
  readonly log: Logger;
  readonly messenger: Messenger;
  readonly database: Database;
  /** Of the Python protocol's workers; the Python system's defaults when absent. */
  readonly config?: { readonly heartbeat: Config['heartbeat'] };
  /** For how many seconds clients and workers could be heard without a break. Absent: always. */
  readonly clientsServed?: () => Promise<number>;
  /** Names this process in task_status_count, at most 50 characters; each lane adds its own name. */
  readonly writer?: string;
}

/** Rows of one transaction of reports (design section 4). */
const REPORTS_MAX = 500;
/**
 * Batches of reports under way: while one waits for the server, the process decides on the other. On MariaDB two measured 1.6
 * times one, three no more than two; on SQLite a transaction never waits, so it makes no difference.
 */
const REPORTS_IN_FLIGHT = 2;
/** Reports that wait; at 5,000 a second this is what the longest accepted delay of 4 s holds. */
const REPORTS_WAITING_MAX = 20_000;
/** Bulk and workflow-wide requests that wait; each is a transaction of its own. */
const REQUESTS_WAITING_MAX = 2_000;
/** Task ids in one event: 1,000 of up to ten digits are 11 KB. */
const EVENT_IDS_MAX = 1_000;
/** Instances whose workflow is remembered for the turns of the report lane. */
const INSTANCES_REMEMBERED_MAX = 200_000;

/** A report that waits, with what it came by. */
type WaitingReport = Report & { readonly origin?: MessageContext };

/** A request that is a transaction by itself: whose turn it is in, and how it is done. */
interface Errand {
  readonly turn: string;
  readonly run: () => Promise<unknown>;
}

export class StateMachine {
  private readonly reports: Lane<WaitingReport, ReportReply>;
  private readonly bulk: Lane<Errand, unknown>;
  private readonly workflowWide: Lane<Errand, unknown>;
  private readonly renewals: Lane<Errand, unknown>;
  private readonly leases: Lane<Errand, unknown>;
  private readonly workflowOf = new Map<number, number>();
  private readonly writer: string;
  /** Where the turns of leases stand. */
  private served: Served = { run_id: 0, head_starts: 0 };

  constructor(private readonly context: StateMachineContext) {
    const { log, database } = context;
    this.writer = (context.writer ?? 'state-machine').slice(0, 50);
    this.reports = new Lane({
      name: 'reports',
      log,
      rows_max: REPORTS_MAX,
      concurrency: REPORTS_IN_FLIGHT,
      bytes_max: database.batch_bytes_max,
      waiting_max: REPORTS_WAITING_MAX,
      sizeOf: reportBytes,
      keyOf: (report) => this.workflowOf.get(instanceOf(report)) ?? 0,
      write: (reports, place) => this.writeReports(reports, place),
    });
    const errands = (name: string): Lane<Errand, unknown> =>
      new Lane<Errand, unknown>({
        name,
        log,
        rows_max: 1,
        bytes_max: 1,
        waiting_max: REQUESTS_WAITING_MAX,
        sizeOf: () => 1,
        keyOf: (errand) => errand.turn,
        write: async ([errand]) => [{ ok: await (errand as Errand).run() }],
      });
    this.bulk = errands('bulk');
    this.workflowWide = errands('workflow-wide');
    this.renewals = errands('renewals');
    this.leases = errands('leases');
  }

  /** Single reports: one outcome for each, in order. `origin`: of the message that brought them. */
  report<Reply extends ReportReply = StatusReply>(
    reports: readonly Report[],
    origin?: MessageContext,
  ): Promise<Outcome<Reply>[]> {
    const waiting = reports.map((report): WaitingReport => ({ ...fitReport(report), origin }));
    return Promise.all(waiting.map((report) => this.reports.add(report) as Promise<Outcome<Reply>>));
  }

  queueTasks(request: RequestOf<typeof queueTasks>): Promise<Outcome<ReplyOf<typeof queueTasks>>> {
    return this.errand(this.bulk, `run ${request.workflow_run_id}`, async () => {
      const done = await this.write('task.queue', 'bulk', (writer) => queue(this.context.database.dialect, writer, request));
      const { workflow_run_id } = request;
      if (done.queued.length > 0) {
        this.publishTasks([{ workflow_id: done.workflow_id, workflow_run_id, task_ids: done.queued }]);
        this.context.messenger.publish(taskQueued, { workflow_run_id, count: done.queued.length });
      }
      return done.reply;
    });
  }

  leaseTaskInstances(request: RequestOf<typeof leaseTaskInstances>): Promise<Outcome<ReplyOf<typeof leaseTaskInstances>>> {
    const mine = new Set<number>();
    return this.errand(this.bulk, `agent ${request.agent_id}`, async () => {
      const { dialect } = this.context.database;
      const leased = await this.write('task_instance.lease', 'bulk', (writer) =>
        lease(dialect, writer, request, this.served, mine),
      );
      this.served = leased.served;
      for (const [instance, workflow] of leased.workflows) this.remember(instance, workflow);
      this.publishTasks(leased.changed);
      return leased.reply;
    });
  }

  expireAgent(request: RequestOf<typeof expireAgent>): Promise<Outcome<ReplyOf<typeof expireAgent>>> {
    return this.errand(this.bulk, `agent ${request.agent_id}`, async () => {
      const done = await this.write('agent.expire', 'bulk', (writer) => expire(this.context.database.dialect, writer, request));
      this.publishTasks(done.changed);
      return done.reply;
    });
  }

  submitWorkflowRun(request: RequestOf<typeof submitWorkflowRun>): Promise<Outcome<ReplyOf<typeof submitWorkflowRun>>> {
    return this.runErrand(
      `workflow ${request.workflow_id}`,
      'workflow_run.submit',
      () => () => submit(this.context.database.dialect, request),
    );
  }

  moveWorkflowRun(request: RequestOf<typeof moveWorkflowRun>): Promise<Outcome<ReplyOf<typeof moveWorkflowRun>>> {
    const { database } = this.context;
    return this.runErrand(`run ${request.workflow_run_id}`, 'workflow_run.move', async () => {
      const areTasksDone = request.to === 'D' && (await areAllTasksDone(database, request.workflow_run_id));
      return () => move(database.dialect, request, areTasksDone);
    });
  }

  beatWorkflowRuns(request: RequestOf<typeof beatWorkflowRuns>): Promise<Outcome<ReplyOf<typeof beatWorkflowRuns>>> {
    return this.errand(this.workflowWide, 'beat', () =>
      this.write('workflow_run.beat', 'workflow', () => beat(this.context.database.dialect, request)),
    );
  }

  leaseWorkflowRuns(request: RequestOf<typeof leaseWorkflowRuns>): Promise<Outcome<ReplyOf<typeof leaseWorkflowRuns>>> {
    return this.errand(this.leases, request.scheduler_instance, () =>
      this.write('workflow_run.lease', 'workflow', () => leaseRuns(this.context.database.dialect, request)),
    );
  }

  renewScheduler(request: RequestOf<typeof renewScheduler>): Promise<Outcome<ReplyOf<typeof renewScheduler>>> {
    return this.errand(this.renewals, request.scheduler_instance, () =>
      this.write('scheduler.renew', 'workflow', () => renew(this.context.database.dialect, request)),
    );
  }

  releaseWorkflowRuns(request: RequestOf<typeof releaseWorkflowRuns>): Promise<Outcome<ReplyOf<typeof releaseWorkflowRuns>>> {
    return this.errand(this.leases, request.scheduler_instance, () =>
      this.write('workflow_run.release', 'workflow', () => release(this.context.database.dialect, request)),
    );
  }

  /** Takes nothing new and waits for what was taken. */
  async drain(): Promise<void> {
    const { reports, bulk, workflowWide, renewals, leases } = this;
    await Promise.all([reports, bulk, workflowWide, renewals, leases].map((lane) => lane.drain()));
  }

  /** Batches in flight side by side write counts of their own: else one waits for the other's COMMIT. */
  private async writeReports(reports: WaitingReport[], place: number): Promise<Outcome<ReportReply>[]> {
    const { dialect } = this.context.database;
    const lane = place === 0 ? 'reports' : `reports-${place + 1}`;
    const origins = new Map(reports.map((report) => [instanceOf(report), report.origin]));
    const options: ToldWriteOptions = { label: 'reports', originOf: (task_instance_id) => origins.get(task_instance_id) };
    const done = await this.context.database.write(options, () => applyReports(dialect, `${this.writer}/${lane}`, reports));
    for (const [instance, workflow] of done.workflows) this.remember(instance, workflow);
    this.publishTasks(done.changed);
    return done.outcomes;
  }

  /** One transaction; `lane` makes its writer of counts. */
  private write<T>(label: string, lane: string, procedure: (writer: string) => Procedure<T>): Promise<T> {
    return this.context.database.write({ label }, () => procedure(`${this.writer}/${lane}`));
  }

  private async errand<T>(lane: Lane<Errand, unknown>, turn: string, run: () => Promise<T>): Promise<Outcome<T>> {
    return (await lane.add({ turn, run })) as Outcome<T>;
  }

  private runErrand(
    turn: string,
    label: string,
    prepare: () => (() => Procedure<RunStanding>) | Promise<() => Procedure<RunStanding>>,
  ): Promise<Outcome<RunStanding['reply']>> {
    return this.errand(this.workflowWide, turn, async () => {
      const done = await this.context.database.write({ label }, await prepare());
      if (done.is_changed) {
        this.context.messenger.publish(workflowRunChanged, { workflow_id: done.workflow_id, ...done.reply });
      }
      return done.reply;
    });
  }

  private publishTasks(changed: readonly ChangedTasks[]): void {
    for (const { task_ids, ...run } of changed) {
      for (let from = 0; from < task_ids.length; from += EVENT_IDS_MAX) {
        this.context.messenger.publish(taskChanged, { ...run, task_ids: task_ids.slice(from, from + EVENT_IDS_MAX) });
      }
    }
  }

  /** The oldest memory goes first; an instance that is not remembered takes its turn with all others that are not. */
  private remember(instance: number, workflow: number): void {
    if (this.workflowOf.has(instance)) return;
    if (this.workflowOf.size >= INSTANCES_REMEMBERED_MAX) {
      this.workflowOf.delete(this.workflowOf.keys().next().value as number);
    }
    this.workflowOf.set(instance, workflow);
  }
}

/** What a report takes in statements at most: its JSON, each byte escaped once more by the connection. */
function reportBytes(report: Report): number {
  return 2 * Buffer.byteLength(JSON.stringify(report.request));
}
