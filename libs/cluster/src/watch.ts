/**
 * The watch over running commands: how much memory their sessions hold, how long they run, and what they have used so far. A command that holds
 * more memory than its task asked for, or runs longer, is told of once, with what was asked and used; whoever is told ends it.
 *
 * - *Run time* is looked at four times a second, by the clock that counts from the start of the command's process: it survives the agent.
 * - *Memory* is sampled twice a second by one pass over `/proc` for all commands together (`processes.ts`), less often where a pass
 *   takes long: at most a fiftieth of a core goes into it. What a command does between two samples is not seen: a burst may
 *   go over the limit unpunished, and one that grows by gigabytes a second is ended that much later. What a command needs for
 *   its work and never holds (address space, the page cache of files) does not count.
 *   Measured: 0.9 % of a core for 200 running commands (400 of the machine's 740 processes), 0.7 % for 20.
 * - A task that asks for no memory or no run time is not limited in it; its use is recorded all the same.
 *
 * Address space (`ulimit -v`) is no limit here, since many programs reserve far more than they use; nor is a control group, which an agent of
 * an ordinary user can't make on most machines. When the machine itself has no memory left, the kernel ends commands first (see the
 * stage in `attempt-folder.ts`), and that is told by `outOfMemoryKills`.
 */
import type { Assignment, ClusterRoom } from '@jobmon/contracts';
import { bytesText, rounded } from './exit-status';
import { ageOf, residentBytes, Sessions, type ProcessIdentity } from './processes';
import { roomOf } from './room';

const LOOK_INTERVAL_MS = 250;
const SAMPLE_INTERVAL_MS = 500;
/** A pass over `/proc` is followed by so many times its own processor time without one, */
const REST_FACTOR = 50;
/** and by no more than this. */
const REST_MS_MAX = 5_000;
const GIB = 2 ** 30;

/** What an attempt may use; null: as much as it likes. */
export interface Limits {
  readonly memory_bytes: number | null;
  readonly runtime_seconds: number | null;
}

/** The limits of an attempt. More memory than the agent has to give is cut to that. */
export function limitsOf(assignment: Assignment, size: ClusterRoom): Limits {
  const { memory_gib } = roomOf(assignment, size);
  const { runtime } = assignment.requested_resources;
  const seconds = typeof runtime === 'number' || typeof runtime === 'string' ? Number(runtime) : 0;
  return { memory_bytes: memory_gib > 0 ? memory_gib * GIB : null, runtime_seconds: seconds > 0 ? seconds : null };
}

/** What was seen of a command. */
export interface Seen {
  /** Most memory that its session held at one time; 0 when it was never sampled. */
  readonly max_rss_bytes: number;
  readonly cpu_seconds: number;
}

interface Watched {
  readonly command: ProcessIdentity;
  readonly limits: Limits;
  /** By `performance.now()`. */
  readonly began_ms: number;
  max_rss_bytes: number;
  cpu_seconds: number;
  isOver: boolean;
}

export class Watch {
  private readonly watched = new Map<number, Watched>();
  private readonly sessions = new Sessions();
  private timer: NodeJS.Timeout | null = null;
  private sampleDue_ms = 0;

  /** @param onOver told once of an attempt that uses more than it may; `reason` is a sentence for its error row. */
  constructor(private readonly onOver: (task_instance_id: number, reason: string) => void) {}

  /** Watches a command from now on; its run time counts from its own start. */
  add(task_instance_id: number, command: ProcessIdentity, limits: Limits): void {
    const began_ms = performance.now() - ageOf(command) * 1_000;
    this.watched.set(task_instance_id, { command, limits, began_ms, max_rss_bytes: 0, cpu_seconds: 0, isOver: false });
    this.timer ??= setInterval(() => this.look(), LOOK_INTERVAL_MS);
  }

  /** Watches it no more; answers what was seen of it. */
  remove(task_instance_id: number): Seen | null {
    const watched = this.watched.get(task_instance_id) ?? null;
    this.watched.delete(task_instance_id);
    if (this.watched.size === 0) this.close();
    return watched;
  }

  close(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
  }

  private look(): void {
    const now_ms = performance.now();
    if (now_ms >= this.sampleDue_ms) {
      // Not by the clock: on a busy machine a pass waits more than it works.
      const before = process.cpuUsage();
      this.sample();
      const { user, system } = process.cpuUsage(before);
      const rest_ms = Math.min((REST_FACTOR * (user + system)) / 1_000, REST_MS_MAX);
      this.sampleDue_ms = now_ms + Math.max(SAMPLE_INTERVAL_MS, rest_ms) - LOOK_INTERVAL_MS / 2;
    }
    for (const [task_instance_id, { limits, began_ms }] of this.watched) {
      const seconds = (now_ms - began_ms) / 1_000;
      const { runtime_seconds } = limits;
      if (runtime_seconds === null || seconds <= runtime_seconds) continue;
      this.tell(task_instance_id, `the run time it asked for: ${rounded(runtime_seconds)} s asked, ${rounded(seconds)} s used`);
    }
  }

  private sample(): void {
    const bySession = this.sessions.read([...this.watched.values()].map(({ command }) => command.pid));
    for (const [task_instance_id, watched] of this.watched) {
      const members = bySession.get(watched.command.pid) ?? [];
      const leader = members.find(({ pid }) => pid === watched.command.pid);
      if (members.length === 0 || (leader !== undefined && leader.start_time !== watched.command.start_time)) continue;
      const bytes = residentBytes(members);
      watched.max_rss_bytes = Math.max(watched.max_rss_bytes, bytes);
      const cpu_seconds = members.reduce((sum, member) => sum + member.cpu_seconds, 0);
      watched.cpu_seconds = Math.max(watched.cpu_seconds, cpu_seconds);
      const { memory_bytes } = watched.limits;
      if (memory_bytes === null || bytes <= memory_bytes) continue;
      this.tell(task_instance_id, `the memory it asked for: ${bytesText(memory_bytes)} asked, ${bytesText(bytes)} used`);
    }
  }

  private tell(task_instance_id: number, what: string): void {
    const watched = this.watched.get(task_instance_id);
    if (watched === undefined || watched.isOver) return;
    watched.isOver = true;
    this.onOver(task_instance_id, `the command was ended since it went over ${what}`);
  }
}
