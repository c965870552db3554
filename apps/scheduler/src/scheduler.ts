/**
 * Walks the graphs of the runs that the server drives. A reconciler (design rule 5.2): a clock makes it look at the database
 * every second, takes no input, and finds everything that has to be done; events only make it look sooner. Losing every event
 * costs latency and nothing else, and a process that starts anew finds its runs the same way.
 *
 * Modes: **stopped** until `start`; **running**: each second one look for runs, and steps of runs that are due, at most four
 * at a time and in turns; **stopping** from `stop` on: no new step begins, those under way end.
 *
 * What it costs, idle: one statement a second to find runs; for each run that stands one statement every 5 s, and one more and
 * a half for its beat every 30 s; nothing for tasks that wait (`scheduler.db.spec.ts` holds it to that). The runs of workflows of higher
 * priority take their steps first.
 *
 * Beside the runs that it walks it sees to those that were told to stop (`workflow_run.settle`), and to commands that wait for the end of a
 * run to link another (`workflow.continue_command`): each is asked for again and again until it is no longer found.
 */
import {
  beatWorkflowRuns,
  continueCommand,
  settleWorkflowRun,
  taskChanged,
  workflowControlled,
  workflowRunChanged,
} from '@jobmon/contracts';
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
/** Commands that wait; the others come when some have ended. */
const WAITING_MAX = 100;
/** Longest wait of `stop` for steps under way; their requests end within the messenger's own bound. */
const STOP_MS_MAX = 16_000;

/** A command that was moved more recently is being worked on by whoever asked for it. */
const WAITING_SECONDS = 1;

/** A live run, or with a null id a workflow with a command that waits. */
interface FoundRow {
  readonly id: number | null;
  readonly workflow_id: number;
  readonly status: string | null;
  readonly is_paused: number | null;
  readonly priority: number;
}
type RunRow = FoundRow & { readonly id: number };

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
  /** Runs that were told to stop. */
  private stoppingRuns = new Set<number>();
  /** What is being asked of the state machine beside the steps, by name; true: once more when the answer has come. */
  private readonly errands = new Map<string, boolean>();
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
        if (this.stoppingRuns.has(workflow_run_id)) this.settle(workflow_run_id);
        this.giveTurns();
      }),
      messenger.subscribe(workflowRunChanged, () => void this.look()),
      messenger.subscribe(workflowControlled, ({ workflow_id }) => {
        for (const run of this.runs.values()) if (run.workflow_id === workflow_id) run.forgetLimits();
        void this.look();
      }),
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
    if (this.isQuiet) return;
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

  /** By the index (status, heartbeat_date). A run that is no longer named has ended: it is let go. */
  private async findRuns(): Promise<void> {
    const { database } = this.context;
    const rows = await database.read<FoundRow>(
      'SELECT * FROM (SELECT wr.id, wr.workflow_id, wr.status, wr.is_paused, COALESCE(w.priority, 0) AS priority ' +
        'FROM workflow_run AS wr JOIN workflow AS w ON w.id = wr.workflow_id ' +
        "WHERE wr.status IN ('B', 'I', 'O', 'R', 'C', 'H') AND wr.driver = 'server' " +
        `ORDER BY priority DESC, wr.id LIMIT ${RUNS_MAX}) AS live UNION ALL ` +
        'SELECT * FROM (SELECT NULL AS id, workflow_id, NULL AS status, NULL AS is_paused, 0 AS priority FROM workflow_command ' +
        `WHERE operation IN ('workflow.resume', 'workflow.retry') AND moved_date <= ${database.dialect.nowPlusSeconds} ` +
        `ORDER BY moved_date LIMIT ${WAITING_MAX}) AS waiting`,
      [-WAITING_SECONDS],
    );
    const walked = rows.filter((row): row is RunRow => row.id !== null && row.status !== 'C' && row.status !== 'H');
    const found = new Set(walked.map(({ id }) => id));
    for (const [id, run] of this.runs) {
      if (found.has(id)) continue;
      this.runs.delete(id);
      this.turns.delete(run);
    }
    for (const row of walked) {
      const run = this.runs.get(row.id) ?? new ScheduledRun(this.runContext, row.id, row.workflow_id);
      this.runs.set(row.id, run);
      run.control({ is_paused: row.is_paused === 1, priority: row.priority });
    }
    this.stoppingRuns = new Set(
      rows.flatMap(({ id, status }) => (id !== null && (status === 'C' || status === 'H') ? [id] : [])),
    );
    for (const id of this.stoppingRuns) this.settle(id);
    for (const { id, workflow_id } of rows) if (id === null) this.goOn(workflow_id);
  }

  private settle(workflow_run_id: number): void {
    this.errand(`settle ${workflow_run_id}`, () => send(this.context.messenger, settleWorkflowRun, { workflow_run_id }));
  }

  private goOn(workflow_id: number): void {
    this.errand(`go on ${workflow_id}`, () => send(this.context.messenger, continueCommand, { workflow_id }));
  }

  /** Asks once; what is wanted while the answer is awaited is asked once more. A failure is left to the next look. */
  private errand(name: string, ask: () => Promise<unknown>): void {
    if (this.isStopping) return;
    if (this.errands.has(name)) return void this.errands.set(name, true);
    this.errands.set(name, false);
    void ask()
      .catch((error: unknown) => this.log.warn({ error, errand: name }, 'an errand failed and is done again in a second'))
      .then(() => {
        const isWanted = this.errands.get(name) === true;
        this.errands.delete(name);
        if (isWanted) this.errand(name, ask);
        this.tellQuiet();
      });
  }

  private async beat(): Promise<void> {
    const began = this.clock();
    const workflow_run_ids = [...this.runs.keys(), ...this.stoppingRuns].slice(0, RUNS_MAX);
    if (workflow_run_ids.length > 0) await send(this.context.messenger, beatWorkflowRuns, { workflow_run_ids });
    this.beatAt = began;
  }

  private giveTurns(): void {
    if (!this.isStopping) for (const run of this.runs.values()) if (!this.stepping.has(run) && run.isDue) this.turns.add(run);
    while (this.stepping.size < STEPS_MAX && !this.isStopping) {
      const run = this.firstInTurn();
      if (run === undefined) break;
      this.turns.delete(run);
      void this.stepOf(run);
    }
    this.tellQuiet();
  }

  /** Of the highest priority, whoever has waited longest. */
  private firstInTurn(): ScheduledRun | undefined {
    let first: ScheduledRun | undefined;
    for (const run of this.turns) if (first === undefined || run.priority > first.priority) first = run;
    return first;
  }

  private async stepOf(run: ScheduledRun): Promise<void> {
    this.stepping.add(run);
    await run.step();
    this.stepping.delete(run);
    this.giveTurns();
  }

  private get isQuiet(): boolean {
    return this.looking === null && this.stepping.size === 0 && this.turns.size === 0 && this.errands.size === 0;
  }

  private tellQuiet(): void {
    if (!this.isQuiet) return;
    for (const resolve of this.whenQuiet.splice(0)) resolve();
  }
}
