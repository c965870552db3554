/**
 * Walks the graphs of the runs that the server drives. A reconciler (design rule 5.2): a clock makes it look at the database
 * every second, takes no input, and finds everything that has to be done; events only make it look sooner. Losing every event
 * costs latency and nothing else, and a process that starts anew finds its runs the same way.
 *
 * Modes: **stopped** until `start`; **running**: each second one look for runs, and steps of runs that are due, at most four
 * at a time and in turns; **stopping** from `stop` on: no new step begins, those under way end.
 *
 * What it costs, idle: one statement a second to find runs; for each run that stands one statement every 5 s, and one more and
 * a half for its beat every 30 s; nothing for tasks that wait (`scheduler.db.spec.ts` holds it to that).
 */
import { beatWorkflowRuns, taskChanged, workflowRunChanged } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { send, type Messenger } from '@jobmon/messaging';
import type { Config, Logger } from '@jobmon/runtime';
import { ScheduledRun, type RunContext } from './run';

const LOOK_MS = 1_000;
const BEAT_MS = 30_000;
/** Runs that one scheduler holds; the rest wait until some have ended. Also the bound of `workflow_run.beat`. */
const RUNS_MAX = 1_000;
/** Steps under way at one time: one that waits for a lock must not stop all others. */
const STEPS_MAX = 4;
/** Longest wait of `stop` for steps under way; their requests end within the messenger's own bound. */
const STOP_MS_MAX = 16_000;

export interface SchedulerContext {
  readonly config: Pick<Config, 'scheduler'>;
  readonly log: Logger;
  readonly messenger: Messenger;
  readonly database: Database;
}

export class Scheduler {
  private readonly runs = new Map<number, ScheduledRun>();
  /** Runs whose turn comes, in order; each at most once. */
  private readonly turns = new Set<ScheduledRun>();
  private readonly stepping = new Set<ScheduledRun>();
  private beatAt: number;
  private timer: NodeJS.Timeout | null = null;
  private looking: Promise<void> | null = null;
  private isLookWanted = false;
  private isStopping = false;
  private whenQuiet: (() => void)[] = [];
  private unsubscribe: (() => void)[] = [];
  private readonly log: Logger;
  private readonly runContext: RunContext;

  /** `clock` gives milliseconds that only grow; tests give their own. */
  constructor(
    private readonly context: SchedulerContext,
    private readonly clock: () => number = () => performance.now(),
  ) {
    const { config, messenger, database } = context;
    this.log = context.log.child({ part: 'scheduler' });
    this.runContext = { log: this.log, messenger, database, clock, reconcile_ms: config.scheduler.reconcile_seconds * 1_000 };
    this.beatAt = clock();
  }

  /** Listens to events and looks every second. */
  start(): void {
    const { messenger } = this.context;
    this.unsubscribe = [
      messenger.subscribe(taskChanged, ({ workflow_run_id, task_ids }) => {
        const run = this.runs.get(workflow_run_id);
        run?.hint(task_ids);
        this.giveTurns();
      }),
      messenger.subscribe(workflowRunChanged, () => void this.look()),
    ];
    this.timer = setInterval(() => void this.look(), LOOK_MS);
    void this.look();
  }

  /** No new step begins; answers when those under way have ended. */
  async stop(): Promise<void> {
    this.isStopping = true;
    if (this.timer !== null) clearInterval(this.timer);
    for (const unsubscribe of this.unsubscribe) unsubscribe();
    this.turns.clear();
    await Promise.race([this.quiet(), new Promise((resolve) => setTimeout(resolve, STOP_MS_MAX).unref())]);
  }

  /** Answers when nothing is under way and nothing is due. */
  async quiet(): Promise<void> {
    if (this.looking === null && this.stepping.size === 0 && this.turns.size === 0) return;
    await new Promise<void>((resolve) => this.whenQuiet.push(resolve));
  }

  /** One look for runs that appeared or ended, a beat when it is time, and turns for whoever is due. Looks never overlap. */
  look(): Promise<void> {
    this.isLookWanted = true;
    this.looking ??= this.lookWhileWanted().finally(() => {
      this.looking = null;
      this.tellQuiet();
    });
    return this.looking;
  }

  private async lookWhileWanted(): Promise<void> {
    while (this.isLookWanted && !this.isStopping) {
      this.isLookWanted = false;
      try {
        await this.findRuns();
        if (this.clock() - this.beatAt >= BEAT_MS) await this.beat();
      } catch (error) {
        this.log.warn({ error }, 'a look for runs failed and is tried again in a second');
      }
      this.giveTurns();
    }
  }

  /** By the index (status, heartbeat_date). A run that is no longer named has ended or is being stopped: it is let go. */
  private async findRuns(): Promise<void> {
    const rows = await this.context.database.read<{ id: number; workflow_id: number }>(
      "SELECT id, workflow_id FROM workflow_run WHERE status IN ('B', 'I', 'O', 'R') AND driver = 'server' " +
        `ORDER BY id LIMIT ${RUNS_MAX}`,
    );
    const found = new Set(rows.map(({ id }) => id));
    for (const [id, run] of this.runs) {
      if (found.has(id)) continue;
      this.runs.delete(id);
      this.turns.delete(run);
    }
    for (const row of rows) {
      if (!this.runs.has(row.id)) this.runs.set(row.id, new ScheduledRun(this.runContext, row.id, row.workflow_id));
    }
  }

  private async beat(): Promise<void> {
    const began = this.clock();
    const workflow_run_ids = [...this.runs.keys()];
    if (workflow_run_ids.length > 0) await send(this.context.messenger, beatWorkflowRuns, { workflow_run_ids });
    this.beatAt = began;
  }

  private giveTurns(): void {
    if (!this.isStopping) for (const run of this.runs.values()) if (!this.stepping.has(run) && run.isDue) this.turns.add(run);
    while (this.stepping.size < STEPS_MAX && !this.isStopping) {
      const [run] = this.turns;
      if (run === undefined) break;
      this.turns.delete(run);
      void this.stepOf(run);
    }
    this.tellQuiet();
  }

  private async stepOf(run: ScheduledRun): Promise<void> {
    this.stepping.add(run);
    await run.step();
    this.stepping.delete(run);
    this.giveTurns();
  }

  private tellQuiet(): void {
    if (this.looking !== null || this.stepping.size > 0 || this.turns.size > 0) return;
    for (const resolve of this.whenQuiet.splice(0)) resolve();
  }
}
