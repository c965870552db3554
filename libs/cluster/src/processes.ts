/**
 * Processes of this machine, as `/proc` shows them: who one is, whether it lives, what a session of them holds and uses, and how all of a
 * session is signalled. A command leads a session of its own (`launcher.ts`), so its session is everything that it started, but for what
 * made itself a session of its own (`setsid`, daemons): that is nobody's any more, neither watched nor ended.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';

/** A process: its number alone is given to others later. */
export interface ProcessIdentity {
  readonly pid: number;
  /** `<clock ticks since boot>/<first eight characters of the boot's id>`: with the number it names one process for ever. */
  readonly start_time: string;
}

/** This boot of the machine: what an earlier one left behind names no process of today. */
export const BOOT = bootOf('/proc/sys/kernel/random/boot_id');

/** A kernel that tells none has the same one for ever. */
function bootOf(file: string): string {
  try {
    return readFileSync(file, 'latin1').slice(0, 8);
  } catch {
    return 'unknown';
  }
}

/** Clock ticks of a second in `/proc`: USER_HZ, the same on every machine that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Whether this very process still runs: a process that took over its number, or one that only waits to be reaped, does not count. */
export function isAlive({ pid, start_time }: ProcessIdentity): boolean {
  const fields = statOf(pid);
  return fields !== null && !isZombie(fields) && startTimeOf(fields) === start_time;
}

/** The identity of a running process, or null. */
export function identityOf(pid: number): ProcessIdentity | null {
  const fields = statOf(pid);
  return fields === null ? null : { pid, start_time: startTimeOf(fields) };
}

/** Whether a process was of this boot of the machine. */
export function isOfThisBoot({ start_time }: ProcessIdentity): boolean {
  return start_time.endsWith(`/${BOOT}`);
}

/**
 * Seconds since a process of this boot began, by the clock that counts from the boot: it goes on while the machine is suspended and knows
 * nothing of dates that are set. A container may show the time since its own start there; this process's own age tells more then.
 */
export function ageOf({ start_time }: ProcessIdentity): number {
  const beginOf = (time: string): number => Number.parseInt(time, 10) / TICKS_PER_SECOND;
  const [uptime] = readFileSync('/proc/uptime', 'latin1').split(' ');
  const own = identityOf(process.pid);
  const now = Math.max(Number(uptime), own === null ? 0 : beginOf(own.start_time) + process.uptime());
  return Math.max(0, now - beginOf(start_time));
}

/** How often the kernel of this machine has killed a process for want of memory since the boot, in containers too; 0 when it does not tell. */
export function outOfMemoryKills(): number {
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync('/proc/vmstat', 'latin1'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/**
 * Signals all of a command's session: its process group, and the groups that its processes made inside the session, as `timeout` and shells with
 * job control do. A group may outlive its leader; no new process is given a number that a group or a session bears, so that a leader
 * with another start time means that the session is gone. So is each one of an earlier boot.
 */
export function signalSession(command: ProcessIdentity, signal: 'SIGINT' | 'SIGKILL'): void {
  if (!isOfThisBoot(command)) return;
  const leader = identityOf(command.pid);
  if (leader !== null && leader.start_time !== command.start_time) return;
  const groups = new Set([command.pid]);
  for (const { group } of new Sessions().read([command.pid]).get(command.pid) ?? []) groups.add(group);
  for (const group of groups) {
    try {
      process.kill(-group, signal);
    } catch (error) {
      // Gone meanwhile, or a program that changed its user.
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ESRCH' && code !== 'EPERM') throw error;
    }
  }
}

/** A process of a session. */
export interface SessionProcess {
  readonly pid: number;
  readonly group: number;
  readonly start_time: string;
  readonly rss_bytes: number;
  /** Of itself and of those of its children that it has waited for. */
  readonly cpu_seconds: number;
}

/** Reads in which what was found to be a stranger is looked at once again: its number may be one of ours by then. */
const READS_PER_REFRESH = 10;

/**
 * The processes of some sessions, read again and again. One pass over `/proc`, however many sessions are asked for; of the processes
 * of others it reads only those that are new, since a process leaves its session only to lead one of its own number.
 */
export class Sessions {
  private strangers = new Map<number, number>();
  private reads = 0;

  /** By session, those that live. */
  read(sessions: Iterable<number>): Map<number, SessionProcess[]> {
    const wanted = new Set(sessions);
    const found = new Map<number, SessionProcess[]>();
    const strangers = this.reads++ % READS_PER_REFRESH === 0 ? new Map<number, number>() : this.strangers;
    this.strangers = new Map();
    for (const name of readdirSync('/proc')) {
      const pid = Number(name);
      if (!(pid > 0)) continue;
      const known = strangers.get(pid);
      if (known !== undefined && !wanted.has(known) && !wanted.has(pid)) {
        this.strangers.set(pid, known);
        continue;
      }
      const fields = statOf(pid);
      if (fields === null) continue;
      const session = Number(fields[3]);
      if (!wanted.has(session)) {
        this.strangers.set(pid, session);
        continue;
      }
      if (isZombie(fields)) continue;
      const members = found.get(session);
      if (members === undefined) found.set(session, [processOf(pid, fields)]);
      else members.push(processOf(pid, fields));
    }
    return found;
  }
}

function processOf(pid: number, fields: readonly string[]): SessionProcess {
  let ticks = 0;
  for (let at = 11; at <= 14; at++) ticks += Number(fields[at]);
  return {
    pid,
    group: Number(fields[2]),
    start_time: startTimeOf(fields),
    rss_bytes: Number(fields[21]) * PAGE_BYTES,
    cpu_seconds: ticks / TICKS_PER_SECOND,
  };
}

/** Processes of a session that hold less than this are counted whole. */
const SHARED_BYTES_MIN = 16 * 1024 * 1024;

/**
 * The memory that processes hold together. What several of them share counts once: where two or more are large, each counts with its
 * proportional share of what it shares (PSS), which costs some ten microseconds for each MiB, so that small ones are spared it.
 */
export function residentBytes(processes: readonly SessionProcess[]): number {
  const large = processes.filter(({ rss_bytes }) => rss_bytes >= SHARED_BYTES_MIN).length;
  return processes.reduce(
    (sum, { pid, rss_bytes }) =>
      sum + (large > 1 && rss_bytes >= SHARED_BYTES_MIN ? (proportionalBytes(pid) ?? rss_bytes) : rss_bytes),
    0,
  );
}

function proportionalBytes(pid: number): number | null {
  try {
    const kib = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'))?.[1];
    return kib === undefined ? null : Number(kib) * 1024;
  } catch {
    return null; // It is gone, or another user's by now.
  }
}

const buffer = Buffer.alloc(4096);

/** The fields of a process from the third on, its state; null when there is none of this number. */
function statOf(pid: number): string[] | null {
  let file: number;
  try {
    file = openSync(`/proc/${pid}/stat`, 'r');
  } catch {
    return null;
  }
  try {
    const stat = buffer.toString('latin1', 0, readSync(file, buffer, 0, buffer.length, 0));
    // The second field is a name that may hold anything, blanks and parentheses among it.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  } finally {
    closeSync(file);
  }
}

const isZombie = (fields: readonly string[]): boolean => fields[0] === 'Z' || fields[0] === 'X';

function startTimeOf(fields: readonly string[]): string {
  return `${fields[19]}/${BOOT}`;
}

/** Bytes of a page, from what this process holds in both units; pages are powers of two. */
const PAGE_BYTES =
  2 ** Math.round(Math.log2(process.memoryUsage.rss() / Number(statOf(process.pid)?.[21] ?? Number.NaN))) || 4096;
