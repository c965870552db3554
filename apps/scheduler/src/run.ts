/**
 * One server run as the scheduler walks it. All that happens to it happens in steps, one at a time; between two steps other
 * runs have their turn. A step is the first of these that is due:
 *
 * - **start**: the run is moved to R and its graph is rebuilt from the database; also after a restart of the process;
 * - **full look**: every task's status is read again, every 10 minutes and whenever the database contradicts the graph;
 * - **look**: the tasks that changed lately are read, every few seconds;
 * - **hints**: the tasks that an event named are read;
 * - **end**: nothing runs and nothing can be queued, so the run is moved to D or E;
 * - **queue**: ready tasks are asked for, at most 1,000 at a time, while fewer than 2,000 wait to be taken; not while it is paused.
 *
 * Every request carries the number of the run's lease. An answer that says it is lost ends the walk here: another scheduler goes on.
 *
 * The database is the truth: a status enters the graph only as it was read or answered. Hints and replies only make the graph
 * right sooner than the next look would. A step that fails is tried again later, at most twice a minute in the end.
 */
import { moveWorkflowRun, queueTasks, JobmonError, TaskStatus } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { send, type Messenger } from '@jobmon/messaging';
import type { Logger } from '@jobmon/runtime';
import type { Graph } from './graph';
import { loadGraph, newestEventOf, readAllStandings, readChangedSince, readStandings, type TaskStanding } from './rows';

/**
 * The bus does not tell that whoever took a message has died, so an answer is waited for a little longer than a write may take (5 s), and
 * asked for again; a repeat has no second effect.
 */
export const ANSWER_MS_MAX = 6_000;
/** Tasks of one request (contracts: `task.queue`). */
const QUEUE_MAX = 1_000;
/** Tasks that may stand in Q: enough for the agents to be busy, few enough to stop soon when a user says stop. */
const QUEUE_AHEAD = 2_000;
/** Ids that hints may pile up; beyond that the next look finds them. */
const HINTS_MAX = 50_000;
/** A transaction may commit this long after the time it writes as status_date: statement limit and lock time-out together. */
const COMMIT_DELAY_SECONDS = 10;
const FULL_LOOK_MS = 600_000;
/** After this time limited arrays are asked about again although nothing has finished: a limit may have been raised. */
const LIMIT_LOOK_MS = 30_000;
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 30_000;

export interface RunContext {
  readonly log: Logger;
  readonly messenger: Messenger;
  readonly database: Database;
  /** Milliseconds of a clock that only goes forward. */
  readonly clock: () => number;
  readonly reconcile_ms: number;
  /** Another scheduler has leased the run. */
  readonly letGo: (run: ScheduledRun) => void;
}

export class ScheduledRun {
  private graph: Graph | null = null;
  private readonly hints = new Set<number>();
  /** When the last look began; the next one reads everything that changed since, and a little more. */
  private lookedAt = 0;
  private fullLookAt = 0;
  private limitLookAt = 0;
  private isFullLookDue = false;
  /** After a failed step: not before this time. */
  private pausedUntil = 0;
  private failures = 0;
  /** How often the end was refused; D is given up for E after the second time. */
  private refusals = 0;
  private queueMax = QUEUE_MAX;
  /** The newest thing that somebody did to the workflow before its tasks were last read from the first to the last. */
  private seenEventId = 0;
  private isPaused = false;
  private isLost = false;
  private isLimitLookDue = false;
  /** Of its workflow; higher goes first. */
  priority = 0;
  private readonly log: Logger;

  constructor(
    private readonly context: RunContext,
    readonly workflow_run_id: number,
    readonly workflow_id: number,
    /** Of its lease. */
    readonly fence: number,
  ) {
    this.log = context.log.child({ workflow_id, workflow_run_id });
  }

  /** Tasks in memory; whoever takes the run over reads them anew. */
  get size(): number {
    return this.graph?.size ?? 0;
  }

  /** How the run stands in the database besides its status. */
  control({ is_paused, priority }: { readonly is_paused: boolean; readonly priority: number }): void {
    // While it was paused nothing was queued, which looked like a limit.
    if (this.isPaused && !is_paused) this.forgetLimits();
    this.isPaused = is_paused;
    this.priority = priority;
  }

  /** A limit may have been raised: what was held back is asked for again. */
  forgetLimits(): void {
    this.isLimitLookDue = true;
  }

  /** An event says that these tasks changed. */
  hint(taskIds: readonly number[]): void {
    for (const id of taskIds) if (this.hints.size < HINTS_MAX) this.hints.add(id);
  }

  /** Whether a step would do something now. */
  get isDue(): boolean {
    if (this.context.clock() < this.pausedUntil) return false;
    return this.nextStep() !== null;
  }

  /** Does one step. Never throws. */
  async step(): Promise<void> {
    const step = this.nextStep();
    if (step === null) return;
    try {
      await step();
      this.failures = 0;
    } catch (error) {
      this.failures += 1;
      this.pause(Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** (this.failures - 1)));
      this.log.warn({ error, failures: this.failures }, 'a step of the run failed and is tried again');
    }
  }

  private nextStep(): (() => Promise<void>) | null {
    const now = this.context.clock();
    const { graph } = this;
    if (this.isLost) return null;
    if (graph === null) return () => this.start();
    if (this.isFullLookDue || now - this.fullLookAt >= FULL_LOOK_MS) return () => this.lookAtAll(graph);
    if (now - this.lookedAt >= this.context.reconcile_ms) return () => this.look(graph);
    if (this.hints.size > 0) return () => this.lookAtHints(graph);
    if (graph.isOver) return () => this.end(graph);
    const isLimitLookDue = this.isLimitLookDue || now - this.limitLookAt >= LIMIT_LOOK_MS;
    if (graph.hasLimited && isLimitLookDue && !this.isPaused) return () => this.lookAtLimits(graph);
    if (this.isPaused) return null;
    if (graph.hasReady && graph.count(TaskStatus.QUEUED) < QUEUE_AHEAD) return () => this.queue(graph);
    return null;
  }

  private async start(): Promise<void> {
    const { database, messenger, clock } = this.context;
    const { workflow_run_id, fence } = this;
    const { status, is_lease_lost } = await send(
      messenger,
      moveWorkflowRun,
      { workflow_run_id, fence, to: 'R' },
      { timeout_ms: ANSWER_MS_MAX },
    );
    if (is_lease_lost) return this.lose();
    if (status !== 'R') {
      // It is being stopped, or has ended: the next scan for runs no longer names it.
      this.pause(RETRY_MS_MAX);
      return;
    }
    const began = clock();
    this.seenEventId = await newestEventOf(database, this.workflow_id);
    this.graph = await loadGraph(database, this.workflow_id);
    this.lookedAt = began;
    this.fullLookAt = began;
    this.limitLookAt = began;
    const { size, bytes } = this.graph;
    this.log.info({ tasks: size, bytes, ms: Math.round(clock() - began) }, 'the run is scheduled from here');
  }

  private async lookAtAll(graph: Graph): Promise<void> {
    const began = this.context.clock();
    this.seenEventId = await newestEventOf(this.context.database, this.workflow_id);
    for await (const tasks of readAllStandings(this.context.database, this.workflow_id)) this.tell(graph, tasks);
    this.fullLookAt = began;
    this.lookedAt = began;
    this.isFullLookDue = false;
  }

  private async look(graph: Graph): Promise<void> {
    const began = this.context.clock();
    const seconds = Math.ceil((began - this.lookedAt) / 1_000) + COMMIT_DELAY_SECONDS;
    for await (const tasks of readChangedSince(this.context.database, this.workflow_id, seconds)) this.tell(graph, tasks);
    this.lookedAt = began;
  }

  private async lookAtHints(graph: Graph): Promise<void> {
    const ids = [...this.hints].slice(0, QUEUE_MAX);
    for (const id of ids) this.hints.delete(id);
    try {
      this.tell(graph, await readStandings(this.context.database, ids));
    } catch (error) {
      this.hint(ids);
      throw error;
    }
  }

  private async lookAtLimits(graph: Graph): Promise<void> {
    graph.unlimit();
    this.isLimitLookDue = false;
    this.limitLookAt = this.context.clock();
  }

  private async end(graph: Graph): Promise<void> {
    const to = graph.isAllDone && this.refusals < 2 ? 'D' : 'E';
    const seen_event_id = this.seenEventId;
    const { workflow_run_id, fence } = this;
    const move = { workflow_run_id, fence, to, seen_event_id } as const;
    const { status, is_lease_lost } = await send(this.context.messenger, moveWorkflowRun, move);
    if (is_lease_lost) return this.lose();
    if (status !== to) {
      this.refusals += 1;
      this.isFullLookDue = true;
      this.log.warn({ to, status }, 'the end of the run was refused: its tasks are read again');
    } else this.log.info({ status }, 'the run has ended');
    // Either the scan for runs no longer names it, or it is asked again after this time.
    this.pause(this.context.reconcile_ms);
  }

  private async queue(graph: Graph): Promise<void> {
    const room = QUEUE_AHEAD - graph.count(TaskStatus.QUEUED);
    const positions = graph.take(Math.min(this.queueMax, room));
    const task_ids = positions.map((position) => graph.taskIdAt(position));
    const positionOf = new Map(task_ids.map((id, at) => [id, positions[at] as number]));
    try {
      const { workflow_run_id, fence } = this;
      const reply = await send(
        this.context.messenger,
        queueTasks,
        { workflow_run_id, fence, task_ids },
        { timeout_ms: ANSWER_MS_MAX },
      );
      if (reply.is_lease_lost) return this.lose();
      for (const [id, status] of reply.statuses) {
        const position = positionOf.get(id);
        if (position === undefined) continue;
        graph.setStatus(position, status);
        // What could be queued and was not, is held back, whether or not the reply says by what.
        if (status === TaskStatus.REGISTERING || status === TaskStatus.ADJUSTING_RESOURCES) graph.limit(position);
      }
      if (graph.hasLimited && reply.held_back.length > 0) this.limitLookAt = this.context.clock();
      this.queueMax = QUEUE_MAX;
    } catch (error) {
      // What became of them is in the database.
      this.hint(task_ids);
      this.refuse(graph, JobmonError.from(error), positionOf);
      throw error;
    } finally {
      graph.settle(positions);
    }
  }

  /**
   * A request that would be refused again for ever: the tasks that the error names can't be queued, so they count as failed in
   * this graph. When it names none, smaller requests find the culprit.
   */
  private refuse(graph: Graph, error: JobmonError, positionOf: ReadonlyMap<number, number>): void {
    if (error.kind.retryable) return;
    const named = (error.details as { task_ids?: unknown } | undefined)?.task_ids;
    const culprits = Array.isArray(named) ? named.map(Number) : positionOf.size === 1 ? [...positionOf.keys()] : [];
    for (const id of culprits) {
      const position = positionOf.get(id);
      if (position === undefined) continue;
      graph.setStatus(position, TaskStatus.ERROR_FATAL);
      this.hints.delete(id);
    }
    this.queueMax = Math.max(1, Math.floor(this.queueMax / 2));
    this.log.error({ error, task_ids: culprits.slice(0, 20) }, 'tasks of the run cannot be queued');
  }

  private tell(graph: Graph, tasks: readonly TaskStanding[]): void {
    for (const task of tasks) {
      const position = graph.positionOf(task.array_id, task.id);
      if (position !== -1) graph.setStatus(position, task.status as TaskStatus);
    }
  }

  private lose(): void {
    this.isLost = true;
    this.log.warn({ fence: this.fence }, 'another scheduler has leased the run, and this one lets it go');
    this.context.letGo(this);
  }

  private pause(ms: number): void {
    this.pausedUntil = this.context.clock() + ms;
  }
}
