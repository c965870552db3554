/**
 * Commands on this machine: the plug-ins `sequential` (one at a time) and `multiprocess` (n at a time). Each attempt has a folder
 * (`attempt-folder.ts`), each running command a resident launcher that waits for it (`launcher.ts`) and outlives this process.
 *
 * An attempt that was taken is in one of these states:
 *
 * - *waiting*: taken, no launcher yet. Entered by `start`; left when its output folder and its own folder are written and a
 *   launcher is idle. At most as many as the caller gave beyond `free()`.
 * - *handed*: a launcher was told to run it. Left by the launcher's answer (normally), by the launcher's death, or when nobody
 *   has claimed it for a minute: then it is claimed here, so that it never starts, and is reported as W.
 * - *watched*: some other launcher runs it, or one that died: adopted attempts, and those whose claim was lost. There is nobody
 *   to tell of its end, so that its folder is looked at twice a second, until it says ended, or lost.
 * - *settling*: its end is known; the tails of its output are being read. It takes no slot any more.
 *
 * In the first half second after its start an attempt is looked at so that R can be reported with the process group; one
 * that is faster is reported by its end alone. Every ten seconds everything is looked at as if no launcher had ever told
 * anything: the folders are the truth, the launchers' lines are hints.
 */
import { closeSync, mkdirSync, openSync, statSync, truncateSync } from 'node:fs';
import { constants as fsConstants } from 'node:fs';
import { access, mkdir, open, stat, statfs } from 'node:fs/promises';
import { constants as osConstants } from 'node:os';
import { dirname, join } from 'node:path';
import type { Assignment, AttemptReport, ClusterRoom } from '@jobmon/contracts';
import {
  attemptsDirectory,
  identityOf,
  isOfThisBoot,
  look,
  refusalOf,
  removeAttempt,
  voidAttempt,
  wallclockOf,
  writeAttempt,
  type Finding,
  type OutputPaths,
  type ProcessIdentity,
} from './attempt-folder';
import { KILL_GRACE_MS, roomOf, type Cluster, type ClusterSettings } from './cluster';
import { Launcher } from './launcher';
import { outputPathsOf, readTail } from './output';

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

/** Reported of an attempt that an order reached before it started. */
const CALLED_OFF = { status: 'E', error_description: 'ended by order before it started' } as const;

interface Held {
  readonly assignment: Assignment;
  /** What it takes until its end is known. */
  readonly takes: Omit<ClusterRoom, 'slots'>;
  state: 'waiting' | 'handed' | 'watched' | 'settling';
  /** When it came into its state, in milliseconds of `performance.now()`. */
  since: number;
  /** Set when R was reported. */
  command: ProcessIdentity | null;
  isKilled: boolean;
  killTimer: NodeJS.Timeout | null;
}

export class Commands implements Cluster {
  readonly size: ClusterRoom;
  /** What all attempts take whose end is not known, and what those of them take that were given to a launcher. */
  private readonly taken = new Sum();
  private readonly active = new Sum();
  private readonly attempts: string;
  private readonly log: number;
  private readonly held = new Map<number, Held>();
  /** Ready to be handed over, oldest first. */
  private readonly ready: Held[] = [];
  private readonly launchers = new Set<Launcher>();
  private readonly timer: NodeJS.Timeout;
  /** Attempts whose folders may go. */
  private readonly forgotten: number[] = [];
  private settling = 0;
  private looks = 0;
  private goneTimes: number[] = [];
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
      this.consider(this.hold(assignment, 'watched'), found);
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
    if (held === undefined || held.state === 'settling' || held.isKilled) return;
    held.isKilled = true;
    if (this.tryVoid(held)) {
      setImmediate(() => this.settle(held, CALLED_OFF));
      return;
    }
    // A claim that is just being written is met by the next look, which signals what is to be killed and has not been seen.
    this.consider(held, look(this.attempts, task_instance_id));
    if (held.command !== null) signalGroup(held.command, 'SIGINT');
    held.killTimer = setTimeout(() => {
      const found = look(this.attempts, task_instance_id);
      if (found.is === 'running' && held.state !== 'settling') signalGroup(found.command, 'SIGKILL');
    }, grace_ms);
    held.killTimer.unref();
  }

  forget(task_instance_id: number): void {
    if (this.held.has(task_instance_id) || this.forgotten.length >= FORGOTTEN_MAX) return;
    if (this.forgotten.push(task_instance_id) === 1) void this.removeForgotten();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    clearInterval(this.timer);
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
    const held: Held = { assignment, takes, state, since: performance.now(), command: null, isKilled: false, killTimer: null };
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
    if (this.isClosed) return;
    for (let held = this.ready[0]; held !== undefined; held = this.ready[0]) {
      if (held.state === 'waiting' && !held.isKilled) {
        const launcher = this.fits(held) ? this.idleLauncher() : null;
        if (launcher === null) return;
        this.move(held, 'handed');
        launcher.run(held.assignment.task_instance_id);
      } else if (held.state === 'waiting') this.settle(held, CALLED_OFF);
      this.ready.shift();
    }
  }

  private fits({ takes }: Held): boolean {
    const { active, size } = this;
    if (active.count === 0) return true;
    if (active.count >= size.slots || active.cores + takes.cores > size.cores) return false;
    return active.memory_gib + takes.memory_gib <= size.memory_gib * (1 + ROUNDING);
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
        if (held.isKilled && held.killTimer !== null) signalGroup(found.command, 'SIGINT');
        return;
      case 'ended':
        // Its launcher's line may be on the way; the state tells that it was settled.
        held.command ??= found.command;
        return this.settleEnded(held, found.exit_code);
      case 'lost':
        return this.settle(held, {
          status: 'U',
          error_description:
            'the command has ended, and the process that waited for it was ended before: its exit status is unknown',
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
      void this.refusedReason(held.assignment, refused).then((error_description) =>
        this.settle(held, { status: 'W', error_description }),
      );
      return;
    }
    const byOrder = held.isKilled ? ', by order' : '';
    this.settle(held, {
      status: exit_code === 0 ? 'D' : 'E',
      exit_code,
      error_description: exit_code === 0 ? null : `the command ended with ${describeExit(exit_code)}${byOrder}`,
    });
  }

  /** The folders were there a moment ago; asks again for the reason that the shell does not tell. */
  private async refusedReason(assignment: Assignment, refused: 'working_directory' | 'output'): Promise<string> {
    if (refused === 'working_directory') {
      const { working_directory } = assignment;
      const problem = await access(working_directory, fsConstants.X_OK).catch((error: Error) => error.message);
      return `the working directory can't be used: ${problem ?? working_directory}`;
    }
    const { stdout, stderr } = outputPathsOf(assignment);
    const tryFile = (path: string) =>
      open(path, 'a').then(
        (file) => file.close(),
        (error: Error) => error.message,
      );
    const problem = (await tryFile(stdout)) ?? (await tryFile(stderr));
    return `the output file can't be written: ${problem ?? `${stdout} or ${stderr}`}`;
  }

  /** The end of an attempt: gives its slot back, gathers what is known of it and reports once. */
  private settle(held: Held, end: Pick<AttemptReport, 'status' | 'exit_code' | 'error_description'>): void {
    if (held.state === 'settling' || this.isClosed) return;
    this.move(held, 'settling');
    if (held.killTimer !== null) clearTimeout(held.killTimer);
    void this.gather(held, end).then((report) => {
      if (this.isClosed) return;
      this.settling--;
      this.held.delete(held.assignment.task_instance_id);
      this.settings.onReport(report);
    });
    setImmediate(() => this.handOver());
  }

  private async gather(
    held: Held,
    end: Pick<AttemptReport, 'status' | 'exit_code' | 'error_description'>,
  ): Promise<AttemptReport> {
    const { task_instance_id } = held.assignment;
    const found = look(this.attempts, task_instance_id);
    if (found.is === 'unclaimed' || found.is === 'void' || found.is === 'cut') return { task_instance_id, ...end };
    const output = outputPathsOf(held.assignment);
    const [stdout_log, stderr_log] = await Promise.all([readTail(output.stdout), readTail(output.stderr)]);
    const full = end.status === 'E' ? await fullFolderOf(output) : null;
    return {
      task_instance_id,
      ...end,
      ...(full === null ? {} : { error_description: `${end.error_description}; the disk of its output folder ${full} is full` }),
      process_group_id: found.command.pid,
      ...output,
      stdout_log,
      stderr_log,
      wallclock_seconds: wallclockOf(this.attempts, task_instance_id),
    };
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

/** Fractions of GiB do not add up exactly. */
const ROUNDING = 1e-9;

/** What some attempts take together. */
class Sum {
  count = 0;
  cores = 0;
  memory_gib = 0;

  add({ cores, memory_gib }: Held['takes']): void {
    this.count += 1;
    this.cores += cores;
    this.memory_gib += memory_gib;
  }

  remove({ cores, memory_gib }: Held['takes']): void {
    this.count -= 1;
    this.cores -= cores;
    this.memory_gib = this.count === 0 ? 0 : this.memory_gib - memory_gib;
  }
}

/**
 * Signals a command's process group. A group may outlive its leader; no new process is given a number that a group bears, so
 * that a leader with another start time means that the group is gone. So is each group of an earlier boot.
 */
export function signalGroup(command: ProcessIdentity, signal: 'SIGINT' | 'SIGKILL'): void {
  if (!isOfThisBoot(command)) return;
  const leader = identityOf(command.pid);
  if (leader !== null && leader.start_time !== command.start_time) return;
  try {
    process.kill(-command.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Makes a folder for output. The working directory is the user's and is never made: a missing one is thrown as such. */
async function makeFolder(folder: string, working_directory: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // A file of that name is found by the command's own process, which refuses.
    if (code === 'EEXIST') return;
    const is = await stat(working_directory).catch((thrown: Error) => thrown.message);
    if (typeof is === 'string') throw new Error(`the working directory can't be used: ${is}`);
    if (!is.isDirectory()) throw new Error(`the working directory can't be used: ${working_directory} is no directory`);
    await mkdir(folder, { recursive: true });
  }
}

/** The folder of an output whose disk has no room left: a command that fails on one can't say so itself. */
async function fullFolderOf(output: OutputPaths): Promise<string | null> {
  for (const folder of new Set([dirname(output.stdout), dirname(output.stderr)])) {
    const disk = await statfs(folder).catch(() => null);
    if (disk !== null && (process.getuid?.() === 0 ? disk.bfree : disk.bavail) === 0) return folder;
  }
  return null;
}

/** `exit status 3`, or with the signal that a status over 128 stands for. */
function describeExit(exit_code: number): string {
  const [name] = Object.entries(osConstants.signals).find(([, number]) => number === exit_code - 128) ?? [];
  return name === undefined ? `exit status ${exit_code}` : `exit status ${exit_code} (${name})`;
}
