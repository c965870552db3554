/**
 * Commands on this machine: the plug-ins `sequential` (one at a time) and `multiprocess` (n at a time). Each attempt has a folder
 * (`attempt-folder.ts`), each running command a resident launcher that waits for it (`launcher.ts`) and outlives this process.
 *
 * An attempt that was taken is in one of these states:
 *
 * - *waiting*: taken, no launcher yet. Entered by `start`; left when its output folder and its own folder are written and a
 *   launcher is idle, and the attempts that run leave room for it. Nobody passes the first one that waits.
 * - *handed*: a launcher was told to run it. Left by the launcher's answer (normally), by the launcher's death, or when nobody
 *   has claimed it for a minute: then it is claimed here, so that it never starts, and is reported as W.
 * - *watched*: some other launcher runs it, or one that died: adopted attempts, and those whose claim was lost. There is nobody
 *   to tell of its end, so that its folder is looked at twice a second, until it says ended, or lost.
 * - *settling*: its end is known; the tails of its output are being read. It takes no room any more.
 *
 * In the first half second after its start an attempt is looked at so that R can be reported with the process group; one
 * that is faster is reported by its end alone. Every ten seconds everything is looked at as if no launcher had ever told
 * anything: the folders are the truth, the launchers' lines are hints.
 *
 * A command that goes over the memory or the run time of its task (`watch.ts`) is ended as by an order: SIGINT to its whole session, SIGKILL
 * after 10 s. Whatever it returns then, its attempt is Z. An attempt that is adopted keeps its limits, and its clock that counts
 * from the start of its process; a file in its folder says that it was being ended. While no agent runs, nobody watches.
 */
import { closeSync, mkdirSync, openSync, statSync, truncateSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Assignment, AttemptReport, ClusterRoom } from '@jobmon/contracts';
import {
  attemptsDirectory,
  look,
  overrunOf,
  refusalOf,
  removeAttempt,
  voidAttempt,
  wallclockOf,
  writeAttempt,
  writeOverrun,
  type Finding,
} from './attempt-folder';
import { KILL_GRACE_MS, type Cluster, type ClusterSettings } from './cluster';
import { bytesText, exitText } from './exit-status';
import { Launcher } from './launcher';
import { makeFolder, outputPathsOf, readTail, refusedReason, troubleOf } from './output';
import { isAlive, outOfMemoryKills, signalSession, type ProcessIdentity } from './processes';
import { fitsBeside, roomOf, Taken, type Takes } from './room';
import { limitsOf, Watch, type Seen } from './watch';

/** Between two looks at what has to be looked at. */
const LOOK_INTERVAL_MS = 250;
/** Looks in which one round is of everything. */
const LOOKS_PER_RECONCILE = 40;
/** An attempt handed to a launcher that nobody has claimed for so long will not be any more. */
const CLAIM_MS_MAX = 60_000;
/** A claim that is not complete after so long was cut off. */
const CUT_MS_MAX = 5_000;
/** Launchers may be replaced so often within `GONE_WINDOW_MS`; then attempts are refused: the machine can't start processes. */
const GONE_MAX = 100;
const GONE_WINDOW_MS = 60_000;
/** Attempts whose output is being read at one time without taking slots: more wait on a disk that does not answer. */
const SETTLING_MAX = 1_000;
/** Folders that wait to be removed; those beyond are left to the next start. */
const FORGOTTEN_MAX = 10_000;
/** The launchers' own complaints are kept up to this many bytes from one start to the next. */
const LOG_BYTES_MAX = 1024 * 1024;

/** How long the count of the kernel's kills is taken for new. */
const KERNEL_KILLS_MS = 1_000;
/** Exit status of a command that SIGKILL ended. */
const KILLED = 137;

/** What the end of an attempt is known to be; a number: the command's exit status, still to be judged. */
type End = Pick<AttemptReport, 'status' | 'error_description'> | number;

const LOST = 'the command has ended, and the process that waited for it was ended before: its exit status is unknown';

/** Reported of an attempt that an order reached before it started. */
const CALLED_OFF = { status: 'E', error_description: 'ended by order before it started' } as const;

interface Held {
  readonly assignment: Assignment;
  /** What it takes until its end is known. */
  readonly takes: Takes;
  state: 'waiting' | 'handed' | 'watched' | 'settling';
  /** When it came into its state, in milliseconds of `performance.now()`. */
  since: number;
  /** Set when R was reported. */
  command: ProcessIdentity | null;
  /** An order reached it. */
  isKilled: boolean;
  /** Why it is ended for its memory or run time. */
  overrun: string | null;
  killTimer: NodeJS.Timeout | null;
  killDue_ms: number;
  /** How often the kernel had killed for want of memory when it was started; unknown of what was adopted. */
  kernelKills: number;
  seen: Seen | null;
}

export class Commands implements Cluster {
  readonly size: ClusterRoom;
  /** What all attempts take whose end is not known, and what those of them take that were given to a launcher. */
  private readonly taken = new Taken();
  private readonly active = new Taken();
  private readonly attempts: string;
  private readonly log: number;
  private readonly held = new Map<number, Held>();
  /** Ready to be handed over, oldest first. */
  private readonly ready: Held[] = [];
  private readonly launchers = new Set<Launcher>();
  private readonly watch = new Watch((task_instance_id, reason) => this.onOver(task_instance_id, reason));
  private readonly timer: NodeJS.Timeout;
  /** Attempts whose folders may go. */
  private readonly forgotten: number[] = [];
  private settling = 0;
  private looks = 0;
  private goneTimes: number[] = [];
  private kernelKills = { count: 0, read_ms: Number.NEGATIVE_INFINITY };
  private isClosed = false;

  /** Throws the error of the disk when the state directory can't be made or written. */
  constructor(
    readonly type: 'sequential' | 'multiprocess',
    private readonly settings: ClusterSettings,
  ) {
    const { cores, memory_gib } = settings;
    this.size = { slots: type === 'sequential' ? 1 : cores, cores, memory_gib };
    this.attempts = attemptsDirectory(settings.state_directory);
    mkdirSync(this.attempts, { recursive: true, mode: 0o700 });
    const log = join(settings.state_directory, 'launchers.log');
    this.log = openSync(log, 'a', 0o600);
    if (statSync(log).size > LOG_BYTES_MAX) truncateSync(log);
    this.timer = setInterval(() => this.lookAround(), LOOK_INTERVAL_MS);
  }

  room(): ClusterRoom {
    const cores = Math.max(0, this.size.cores - this.taken.cores);
    const slots = this.size.slots - this.taken.count - Math.max(0, this.settling - SETTLING_MAX);
    return {
      slots: Math.max(0, Math.min(slots, cores)),
      cores,
      memory_gib: Math.max(0, this.size.memory_gib - this.taken.memory_gib),
    };
  }

  start(assignment: Assignment): void {
    if (this.isClosed || this.held.has(assignment.task_instance_id)) return;
    const held = this.hold(assignment, 'waiting');
    void this.prepare(held);
  }

  adopt(assignment: Assignment): void {
    if (this.isClosed || this.held.has(assignment.task_instance_id)) return;
    const found = look(this.attempts, assignment.task_instance_id);
    if (found.is !== 'unclaimed') {
      const held = this.hold(assignment, 'watched');
      held.overrun = overrunOf(this.attempts, assignment.task_instance_id);
      this.consider(held, found);
    } else if (assignment.status === 'I' || assignment.status === 'Q' || assignment.status === 'O') {
      // A former launcher may still have it among its requests: the claim decides which of the two runs it.
      this.start(assignment);
    } else {
      this.settle(this.hold(assignment, 'watched'), {
        status: 'U',
        error_description: 'the record of the running command is gone from the state directory of its agent',
      });
    }
  }

  kill(task_instance_id: number, grace_ms = KILL_GRACE_MS): void {
    const held = this.held.get(task_instance_id);
    if (held === undefined || held.state === 'settling') return;
    if (!held.isKilled && this.tryVoid(held)) setImmediate(() => this.settle(held, CALLED_OFF));
    else this.interrupt(held, grace_ms);
    held.isKilled = true;
  }

  /** SIGINT now, SIGKILL when the time is over. Asked again, it takes the earlier end. */
  private interrupt(held: Held, grace_ms: number): void {
    const due_ms = performance.now() + grace_ms;
    if (due_ms >= held.killDue_ms) return;
    const { task_instance_id } = held.assignment;
    if (held.killTimer === null) {
      // A claim that is just being written is met by the next look, which signals what is to be killed and has not been seen.
      this.consider(held, look(this.attempts, task_instance_id));
      if (held.command !== null) signalSession(held.command, 'SIGINT');
    } else clearTimeout(held.killTimer);
    held.killDue_ms = due_ms;
    held.killTimer = setTimeout(() => {
      const found = look(this.attempts, task_instance_id);
      if (found.is === 'running' && held.state !== 'settling') signalSession(found.command, 'SIGKILL');
    }, grace_ms);
    held.killTimer.unref();
  }

  /** A command uses more than it may. One that has just ended by itself, or by an order, is left to that. */
  private onOver(task_instance_id: number, reason: string): void {
    const held = this.held.get(task_instance_id);
    if (held === undefined || held.state === 'settling' || held.isKilled || held.overrun !== null) return;
    if (held.command === null || !isAlive(held.command)) return;
    held.overrun = reason;
    try {
      writeOverrun(this.attempts, task_instance_id, reason);
    } catch {
      // The disk is full: this agent remembers it, a later one would take the end for a failure.
    }
    this.interrupt(held, KILL_GRACE_MS);
  }

  forget(task_instance_id: number): void {
    if (this.held.has(task_instance_id) || this.forgotten.length >= FORGOTTEN_MAX) return;
    if (this.forgotten.push(task_instance_id) === 1) void this.removeForgotten();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    clearInterval(this.timer);
    this.watch.close();
    for (const held of this.held.values()) if (held.killTimer !== null) clearTimeout(held.killTimer);
    for (const launcher of this.launchers) launcher.close();
    closeSync(this.log);
  }

  /** One folder after the other, so that what starts and ends does not wait behind what is over. */
  private async removeForgotten(): Promise<void> {
    for (; this.forgotten.length > 0 && !this.isClosed; this.forgotten.shift()) {
      // What can't be removed, or is not when this process ends, is cleared when an agent starts the next time.
      await removeAttempt(this.attempts, this.forgotten[0] as number).catch(() => undefined);
    }
  }

  private hold(assignment: Assignment, state: Held['state']): Held {
    const takes = roomOf(assignment, this.size);
    const held: Held = {
      assignment,
      takes,
      state,
      since: performance.now(),
      command: null,
      isKilled: false,
      overrun: null,
      killTimer: null,
      killDue_ms: Number.POSITIVE_INFINITY,
      kernelKills: Number.POSITIVE_INFINITY,
      seen: null,
    };
    this.held.set(assignment.task_instance_id, held);
    this.taken.add(takes);
    if (isActive(state)) this.active.add(takes);
    return held;
  }

  private move(held: Held, state: Held['state']): void {
    if (isActive(held.state) && !isActive(state)) this.active.remove(held.takes);
    if (!isActive(held.state) && isActive(state)) this.active.add(held.takes);
    if (state === 'settling') {
      this.settling++;
      this.taken.remove(held.takes);
    }
    held.state = state;
    held.since = performance.now();
  }

  /** Makes the folders and files that the command needs. */
  private async prepare(held: Held): Promise<void> {
    const { assignment } = held;
    const output = outputPathsOf(assignment);
    try {
      if (assignment.command.includes('\0')) throw new Error('it holds a NUL character, which no shell can run');
      await makeFolder(dirname(output.stdout), assignment.working_directory);
      if (dirname(output.stderr) !== dirname(output.stdout))
        await makeFolder(dirname(output.stderr), assignment.working_directory);
      await writeAttempt(this.attempts, assignment, output);
    } catch (error) {
      return this.settle(held, { status: 'W', error_description: `could not prepare the command: ${(error as Error).message}` });
    }
    if (this.isClosed || held.state !== 'waiting') return;
    this.ready.push(held);
    this.handOver();
  }

  /** Gives ready attempts to idle launchers, and makes launchers up to one for each slot. The first one is not passed by others. */
  private handOver(): void {
    if (this.isClosed || this.settings.mayStart?.() === false) return;
    for (let held = this.ready[0]; held !== undefined; held = this.ready[0]) {
      if (held.state === 'waiting' && !held.isKilled) {
        const launcher = fitsBeside(this.active, held.takes, this.size) ? this.idleLauncher() : null;
        if (launcher === null) return;
        this.move(held, 'handed');
        held.kernelKills = this.countKernelKills();
        launcher.run(held.assignment.task_instance_id);
      } else if (held.state === 'waiting') this.settle(held, CALLED_OFF);
      this.ready.shift();
    }
  }

  private idleLauncher(): Launcher | null {
    for (const launcher of this.launchers) if (launcher.isIdle) return launcher;
    if (this.launchers.size >= this.size.slots) return null;
    const launcher = new Launcher(this.attempts, this.log, {
      onAnswer: (_, task_instance_id, exit_code) => this.onAnswer(task_instance_id, exit_code),
      onGone: (gone, running, reason) => this.onGone(gone, running, reason),
    });
    this.launchers.add(launcher);
    return launcher;
  }

  private onAnswer(task_instance_id: number, exit_code: number | null): void {
    const held = this.held.get(task_instance_id);
    if (held?.state === 'handed') {
      if (exit_code === null) this.move(held, 'watched');
      else this.settleEnded(held, exit_code);
    }
    this.handOver();
  }

  /** A launcher died: what it ran is watched from its folder, what it had not begun goes to another. */
  private onGone(launcher: Launcher, running: number | null, reason: string): void {
    this.launchers.delete(launcher);
    const now = performance.now();
    this.goneTimes = [...this.goneTimes.filter((time) => time > now - GONE_WINDOW_MS), now];
    const held = running === null ? undefined : this.held.get(running);
    if (held?.state === 'handed') {
      if (look(this.attempts, held.assignment.task_instance_id).is !== 'unclaimed') this.move(held, 'watched');
      else if (this.goneTimes.length <= GONE_MAX) {
        this.move(held, 'waiting');
        this.ready.unshift(held);
      } else if (this.tryVoid(held)) {
        this.settle(held, { status: 'W', error_description: `the launcher of commands does not stay alive: ${reason}` });
      } else this.move(held, 'watched');
    }
    this.handOver();
  }

  /** One round of looks: at what started lately, at what nobody will tell about, and now and then at everything. */
  private lookAround(): void {
    this.looks++;
    const isReconcile = this.looks % LOOKS_PER_RECONCILE === 0;
    for (const held of this.held.values()) {
      const isDue =
        (held.state === 'watched' && (this.looks % 2 === 0 || held.command === null)) ||
        (held.state === 'handed' && (held.command === null || isReconcile));
      if (isDue) this.consider(held, look(this.attempts, held.assignment.task_instance_id));
    }
    this.handOver();
  }

  /** Draws the conclusion from what an attempt's folder says. */
  private consider(held: Held, found: Finding): void {
    const age_ms = performance.now() - held.since;
    switch (found.is) {
      case 'running':
        if (held.command !== null) return;
        this.reportRunning(held, found.command);
        if (held.killTimer !== null) signalSession(found.command, 'SIGINT');
        else if (held.overrun !== null) this.interrupt(held, KILL_GRACE_MS);
        return;
      case 'ended':
        // Its launcher's line may be on the way; the state tells that it was settled.
        held.command ??= found.command;
        return this.settleEnded(held, found.exit_code);
      case 'lost':
        return this.settle(held, {
          status: held.overrun === null ? 'U' : 'Z',
          error_description: held.overrun ?? LOST,
        });
      case 'cut':
        if (age_ms < CUT_MS_MAX) return;
        return this.settle(held, { status: 'W', error_description: 'the start was cut off before the command: is a disk full?' });
      case 'void':
        return this.settle(held, { status: 'W', error_description: 'the attempt was called off before it started' });
      case 'unclaimed':
        if ((age_ms < CLAIM_MS_MAX && !held.isKilled) || !this.tryVoid(held)) return;
        if (held.isKilled) return this.settle(held, CALLED_OFF);
        return this.settle(held, { status: 'W', error_description: 'no launcher started the command within a minute' });
    }
  }

  private reportRunning(held: Held, command: ProcessIdentity): void {
    held.command = command;
    this.watch.add(held.assignment.task_instance_id, command, limitsOf(held.assignment, this.size));
    setImmediate(() => {
      if (this.isClosed || held.state === 'settling') return;
      this.settings.onReport({
        task_instance_id: held.assignment.task_instance_id,
        status: 'R',
        process_group_id: command.pid,
        ...outputPathsOf(held.assignment),
      });
    });
  }

  /** Its command has an exit status; 125 may mean that it never began. */
  private settleEnded(held: Held, exit_code: number): void {
    const refused = exit_code === 125 ? refusalOf(this.attempts, held.assignment.task_instance_id) : null;
    if (refused !== null) {
      void refusedReason(held.assignment, refused).then((error_description) =>
        this.settle(held, { status: 'W', error_description }),
      );
      return;
    }
    this.settle(held, exit_code);
  }

  /** The end of an attempt: gives its room back, gathers what is known of it and reports once. */
  private settle(held: Held, end: End): void {
    if (held.state === 'settling' || this.isClosed) return;
    this.move(held, 'settling');
    held.seen = this.watch.remove(held.assignment.task_instance_id);
    if (held.killTimer !== null) {
      clearTimeout(held.killTimer);
      // Its process group has ended. What else is left of its session had its SIGINT, and must not run beside the next attempt.
      if (held.command !== null) signalSession(held.command, 'SIGKILL');
    }
    void this.gather(held, end).then((report) => {
      if (this.isClosed) return;
      this.settling--;
      this.held.delete(held.assignment.task_instance_id);
      this.settings.onReport(report);
    });
    setImmediate(() => this.handOver());
  }

  private async gather(held: Held, end: End): Promise<AttemptReport> {
    const { task_instance_id } = held.assignment;
    const found = look(this.attempts, task_instance_id);
    if (found.is === 'unclaimed' || found.is === 'void' || found.is === 'cut') {
      return { task_instance_id, ...(typeof end === 'number' ? { status: 'E', exit_code: end } : end) };
    }
    const output = outputPathsOf(held.assignment);
    const [stdout_log, stderr_log] = await Promise.all([readTail(output.stdout), readTail(output.stderr)]);
    const usage = found.is === 'ended' ? found.usage : null;
    const max_rss_bytes = Math.max(usage?.max_rss_bytes ?? 0, held.seen?.max_rss_bytes ?? 0) || null;
    const report: AttemptReport = {
      task_instance_id,
      ...(typeof end === 'number'
        ? this.judge(held, end, max_rss_bytes, exitText(end, stderr_log, usage?.has_core ?? false))
        : end),
      process_group_id: found.command.pid,
      ...output,
      stdout_log,
      stderr_log,
      wallclock_seconds: wallclockOf(this.attempts, task_instance_id),
      max_rss_bytes,
      cpu_seconds: usage?.cpu_seconds ?? held.seen?.cpu_seconds ?? null,
    };
    const trouble = report.status === 'E' ? await troubleOf(output) : null;
    return trouble === null ? report : { ...report, error_description: `${report.error_description}; ${trouble}` };
  }

  /** What an exit status means for this attempt. */
  private judge(
    held: Held,
    exit_code: number,
    max_rss_bytes: number | null,
    described: string,
  ): Pick<AttemptReport, 'status' | 'exit_code' | 'error_description'> {
    const because = (status: 'E' | 'Z', error_description: string) => ({ status, exit_code, error_description });
    if (held.overrun !== null) return because('Z', `${held.overrun}; it returned ${described}`);
    if (exit_code === 0) return { status: 'D', exit_code, error_description: null };
    if (held.isKilled) return because('E', `the command ended with ${described}, by order`);
    const isKernels = exit_code === KILLED && outOfMemoryKills() > held.kernelKills;
    if (!isKernels) return because('E', `the command ended with ${described}`);
    const used = max_rss_bytes === null ? '' : `, it had used ${bytesText(max_rss_bytes)}`;
    return because('Z', `the command was ended by the kernel, since there was no memory left for it${used}: ${described}`);
  }

  private countKernelKills(): number {
    const now_ms = performance.now();
    if (now_ms - this.kernelKills.read_ms > KERNEL_KILLS_MS) this.kernelKills = { count: outOfMemoryKills(), read_ms: now_ms };
    return this.kernelKills.count;
  }

  private tryVoid(held: Held): boolean {
    try {
      return voidAttempt(this.attempts, held.assignment.task_instance_id);
    } catch {
      return false; // The disk refuses: nobody can claim it either, and the next look tries again.
    }
  }
}

const isActive = (state: Held['state']): boolean => state === 'handed' || state === 'watched';
