/**
 * Walks the graphs of the server runs that it has leased. A reconciler (design rule 5.2): a clock makes it look at the database
 * every second, takes no input, and finds everything that has to be done; events only make it look sooner. Losing every event
 * costs latency and nothing else, and a process that starts anew finds its runs the same way.
 *
 * Modes: **stopped** until `start`; **running**: each second one look for runs, and steps of runs that are due, at most four
 * at a time and in turns; **stopping** from `stop` on: no new step begins, those under way end, then all leases are given back.
 *
 * **Leases.** Any number of schedulers share the runs without knowing each other. A look names the runs that this one holds, and whether
 * there is one that nobody holds; then it asks for its share: all runs divided by the schedulers that are alive. Who finds twice in a
 * row that it holds more than that gives the rest back, those with the smallest graphs first. Who holds a run writes with the number
 * of its lease, and is told when another one has it (`docs/decisions/leases.md`).
 *
 * What it costs, idle: one statement a second to find runs, which reads a row for each run that it holds; for each run that stands one
 * statement every 5 s; a beat for all runs together every 30 s; three renewals in the length of a lease, of one row each; with
 * other schedulers beside it one more statement every 5 s. Nothing for tasks that wait, nothing for rows that are stored
 * (`scheduler.db.spec.ts` holds it to that). The runs of workflows of higher priority take their steps first.
 *
 * Beside the runs that it walks it sees to those that were told to stop (`workflow_run.settle`), and to commands that wait for the end of a
 * run to link another (`workflow.continue_command`): each is asked for again and again until it is no longer found.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import {
  beatWorkflowRuns,
  continueCommand,
  fairShare,
  LEASES_MAX,
  leaseWorkflowRuns,
  releaseWorkflowRuns,
  settleWorkflowRun,
  taskChanged,
  workflowControlled,
  workflowRunChanged,
  workflowRunMachine,
  type Lease,
  type WorkflowRunStatus,
} from '@jobmon/contracts';
import { countRunsInNeed, freeRuns, waitingCommands, WAITING_COMMANDS_PARAM, type Database } from '@jobmon/entities';
import { send, type Messenger } from '@jobmon/messaging';
import { metrics, type Config, type Logger } from '@jobmon/runtime';
import { RenewalLoop, type Renewal, type RenewalTerms } from './renewal';
import { ANSWER_MS_MAX, ScheduledRun, type RunContext } from './run';

const LOOK_MS = 1_000;
const BEAT_MS = 30_000;
/** Between two looks at how the runs are shared; what is too much at two of them in a row is given back. */
const SHARE_MS = 5_000;
/** Runs that one scheduler holds; the others are for other schedulers, or wait until some have ended. */
const RUNS_MAX = LEASES_MAX;
/** Steps under way at one time: one that waits for a lock must not stop all others. */
const STEPS_MAX = 4;
/** Longest wait of `stop` for steps under way. Then the leases are given back, and what they still ask for comes too late. */
const STOP_MS_MAX = 10_000;
/** Longest wait for the leases to be given back; they end by themselves soon after. */
const LEAVE_MS_MAX = 4_000;

/** A run that this scheduler has leased; with a null id: there is one that nobody has. */
interface FoundRow {
  readonly id: number | null;
  readonly workflow_id: number;
  readonly status: WorkflowRunStatus;
  readonly driver: string | null;
  readonly is_paused: number | null;
  readonly priority: number;
  readonly fence: number;
  /** 1: a command on its workflow waits for the end of a run. */
  readonly has_command: number;
  /** Schedulers that are alive. */
  readonly schedulers: number;
}
type RunRow = FoundRow & { readonly id: number };

export interface SchedulerContext {
  readonly config: Pick<Config, 'scheduler'>;
  readonly log: Logger;
  readonly messenger: Messenger;
  readonly database: Database;
  /**
   * Names this start of this scheduler, at most 150 characters; made anew when absent. A fixed name is for a database that only one
   * process can have: who starts under it takes at once what the one before had leased.
   */
  readonly instance?: string;
  /** Keeps the leases from `start` on; on this thread when absent. */
  readonly renew?: (terms: RenewalTerms) => Renewal;
}

export class Scheduler {
  /** As `workflow_run_lease` names it. */
  readonly instance: string;
  private readonly runs = new Map<number, ScheduledRun>();
  /** Whose turn comes, in order; each at most once. */
  private readonly turns = new Set<ScheduledRun>();
  private readonly stepping = new Set<ScheduledRun>();
  /** Numbers of all leases that the last look found, by run. */
  private leases = new Map<number, number>();
  /** Runs that were told to stop. */
  private stoppingRuns = new Set<number>();
  /** Runs whose lease is being given back. */
  private readonly leaving = new Set<number>();
  /** What is being asked of the state machine beside the steps, by name; true: once more when the answer has come. */
  private readonly errands = new Map<string, boolean>();
  private beatAt: number;
  private sharedAt: number;
  /** The last look at the shares found that this scheduler holds too much. */
  private isOverShare = false;
  /** A lease was asked for under this name and answered. */
  private isKnown = false;
  private renewal: Renewal | null = null;
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
    this.instance = context.instance ?? `${hostname().slice(0, 100)}.${process.pid}.${randomBytes(6).toString('hex')}`;
    this.log = context.log.child({ part: 'scheduler' });
    this.runContext = {
      log: this.log,
      messenger,
      database,
      clock,
      reconcile_ms: config.scheduler.reconcile_seconds * 1_000,
      letGo: (run) => this.letGo(run),
    };
    this.beatAt = clock();
    this.sharedAt = clock();
  }

  /** Listens to events, looks every second, and keeps its leases. */
  start(): void {
    const { messenger } = this.context;
    const { log } = this;
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
    const renew = this.context.renew ?? ((terms) => new RenewalLoop({ log, messenger }, terms));
    this.renewal = renew({ scheduler_instance: this.instance, lease_seconds: this.lease_seconds });
    this.timer = setInterval(() => void this.look(), LOOK_MS);
    void this.look();
  }

  /** No new step begins; answers when those under way have ended and the leases are given back. */
  async stop(): Promise<void> {
    this.isStopping = true;
    if (this.timer !== null) clearInterval(this.timer);
    for (const unsubscribe of this.unsubscribe) unsubscribe();
    this.turns.clear();
    await Promise.race([this.quiet(), new Promise((resolve) => setTimeout(resolve, STOP_MS_MAX).unref())]);
    await this.renewal?.stop();
    if (this.isKnown) await this.leave();
  }

  private async leave(): Promise<void> {
    const all = { scheduler_instance: this.instance, leases: [], is_leaving: true };
    try {
      const { released } = await send(this.context.messenger, releaseWorkflowRuns, all, { timeout_ms: LEAVE_MS_MAX });
      this.isKnown = false;
      metrics.leases.inc({ what: 'released' }, released);
      metrics.leases_held.set(0);
      this.log.info({ released }, 'the leases were given back');
    } catch (error) {
      this.log.warn({ error }, 'the leases could not be given back; others take the runs when they have ended');
    }
  }

  private get lease_seconds(): number {
    return this.context.config.scheduler.lease_seconds;
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
        const schedulers = await this.findRuns();
        this.renewal?.report();
        if (this.clock() - this.beatAt >= BEAT_MS && !this.errands.has('beat')) this.beat();
        if (schedulers <= 1) this.isOverShare = false;
        else if (this.clock() - this.sharedAt >= SHARE_MS) await this.share();
      } catch (error) {
        this.log.warn({ error }, 'a look for runs failed and is tried again in a second');
      }
      this.giveTurns();
    }
  }

  /** By the index (scheduler_instance). A run that is no longer named has ended or is somebody else's: it is let go. Answers how many schedulers live. */
  private async findRuns(): Promise<number> {
    const { database } = this.context;
    const { dialect } = database;
    const free = freeRuns(dialect, 1);
    const rows = await database.read<FoundRow>(
      'SELECT wr.id, wr.workflow_id, wr.status, wr.driver, wr.is_paused, COALESCE(w.priority, 0) AS priority, l.fence, ' +
        'c.workflow_id IS NOT NULL AS has_command, ' +
        `(SELECT COUNT(*) FROM scheduler WHERE expires_date > ${dialect.now}) AS schedulers ` +
        'FROM workflow_run_lease AS l JOIN workflow_run AS wr ON wr.id = l.workflow_run_id JOIN workflow AS w ON w.id = wr.workflow_id ' +
        `LEFT JOIN workflow_command AS c ON c.workflow_id = wr.workflow_id AND ${waitingCommands(dialect)} ` +
        'WHERE l.scheduler_instance = ? UNION ALL ' +
        `SELECT NULL, 0, '', NULL, NULL, 0, 0, 0, 0 FROM (${free.sql}) AS free`,
      [WAITING_COMMANDS_PARAM, this.instance, ...(free.params ?? [])],
    );
    const held = rows.filter((row): row is RunRow => row.id !== null && !this.leaving.has(row.id));
    if (!this.isKnown || rows.some(({ id }) => id === null)) this.lease();
    const isNeeded = (row: RunRow): boolean =>
      Number(row.has_command) === 1 || (row.driver === 'server' && !workflowRunMachine.final.has(row.status));
    this.leases = new Map(held.filter(isNeeded).map(({ id, fence }) => [id, fence]));
    metrics.leases_held.set(this.leases.size);
    this.giveBack(held.filter((row) => !isNeeded(row)).map(({ id, fence }): Lease => [id, fence]));

    const isStopping = ({ status }: RunRow): boolean => status === 'C' || status === 'H';
    const live = held.filter((row) => row.driver === 'server' && !workflowRunMachine.final.has(row.status));
    this.walk(live.filter((row) => !isStopping(row)));
    this.stoppingRuns = new Set(live.filter(isStopping).map(({ id }) => id));
    for (const id of this.stoppingRuns) this.settle(id);
    for (const row of held) if (Number(row.has_command) === 1) this.goOn(row);
    return Number(held[0]?.schedulers ?? 0);
  }

  /** These runs and no others. A lease that was lost and won again is a new beginning. */
  private walk(rows: readonly RunRow[]): void {
    const found = new Map(rows.map(({ id, fence }) => [id, fence]));
    for (const run of this.runs.values()) if (found.get(run.workflow_run_id) !== run.fence) this.forget(run);
    for (const row of rows) {
      const run = this.runs.get(row.id) ?? new ScheduledRun(this.runContext, row.id, row.workflow_id, row.fence);
      this.runs.set(row.id, run);
      run.control({ is_paused: row.is_paused === 1, priority: row.priority });
    }
  }

  private forget(run: ScheduledRun): void {
    this.runs.delete(run.workflow_run_id);
    this.turns.delete(run);
  }

  private letGo(run: ScheduledRun): void {
    metrics.leases.inc({ what: 'lost' });
    this.forget(run);
    void this.look();
  }

  private lease(): void {
    this.errand('lease', async () => {
      const is_start = !this.isKnown;
      const { instance: scheduler_instance, lease_seconds: seconds } = this;
      const asked = { scheduler_instance, seconds, runs_max: RUNS_MAX, is_start };
      const { leases } = await send(this.context.messenger, leaseWorkflowRuns, asked, { timeout_ms: ANSWER_MS_MAX });
      this.isKnown = true;
      if (leases.length === 0) return;
      metrics.leases.inc({ what: 'taken' }, leases.length);
      this.log.info({ runs: leases.length, workflow_run_ids: leases.slice(0, 20).map(([id]) => id) }, 'runs were leased');
      void this.look();
    });
  }

  /** Gives back what is more than this scheduler's share at two looks in a row, so that a run that has just ended moves nothing. */
  private async share(): Promise<void> {
    this.sharedAt = this.clock();
    const { sql, params } = countRunsInNeed(this.context.database.dialect, this.instance);
    const [counted] = await this.context.database.read<Record<'runs' | 'held' | 'schedulers', number>>(sql, params);
    const excess = Number(counted?.held) - fairShare(Number(counted?.runs), Number(counted?.schedulers));
    const wasOverShare = this.isOverShare;
    this.isOverShare = excess > 0;
    if (!this.isOverShare || !wasOverShare) return;
    const spare = [...this.runs.values()]
      .filter((run) => !this.stepping.has(run))
      .sort((a, b) => a.size - b.size)
      .slice(0, excess);
    for (const run of spare) this.forget(run);
    this.giveBack(spare.map((run): Lease => [run.workflow_run_id, run.fence]));
    this.log.info({ runs: spare.length, schedulers: counted?.schedulers }, 'runs are given to other schedulers');
  }

  private giveBack(leases: Lease[]): void {
    if (leases.length === 0) return;
    const ids = leases.map(([id]) => id);
    for (const id of ids) this.leaving.add(id);
    this.errand(`release ${ids.join(' ')}`, async () => {
      try {
        const asked = { scheduler_instance: this.instance, leases, is_leaving: false };
        const { released } = await send(this.context.messenger, releaseWorkflowRuns, asked);
        metrics.leases.inc({ what: 'released' }, released);
      } finally {
        for (const id of ids) this.leaving.delete(id);
      }
    });
  }

  private settle(workflow_run_id: number): void {
    const fence = this.leases.get(workflow_run_id);
    this.errand(`settle ${workflow_run_id}`, () => send(this.context.messenger, settleWorkflowRun, { workflow_run_id, fence }));
  }

  private goOn({ id, fence, workflow_id }: RunRow): void {
    const asked = { workflow_id, lease: [id, fence] as Lease };
    this.errand(`go on ${workflow_id}`, () => send(this.context.messenger, continueCommand, asked));
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

  /** In its own time: a beat that waits must not keep looks back. */
  private beat(): void {
    const leases = [...this.leases];
    if (leases.length === 0) return;
    this.errand('beat', async () => {
      const began = this.clock();
      await send(this.context.messenger, beatWorkflowRuns, { leases });
      this.beatAt = began;
    });
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
