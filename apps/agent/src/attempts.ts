/**
 * The attempts that an agent holds, from their lease to the acknowledgement of their end, with the plug-ins that run them and the
 * reports that the server has not answered yet. Knows nothing of terms and calls: it is told what the server says.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { clearLeftovers, excessOf, KILL_GRACE_MS, openCluster, type Cluster } from '@jobmon/cluster';
import { neededRoom, type Assignment, type AttemptReport, type ClusterRoom } from '@jobmon/contracts';
import type { Logger } from '@jobmon/runtime';
import { FailedStarts } from './failed-starts';
import { Outbox } from './outbox';

/** Attempts asked for in one call. */
const WANTED_MAX = 1_000;
/** An end is sent so often under an id that counts before the agent believes that the server will not take it. */
const REFUSALS_MAX = 5;
/** What was killed may need so much longer than its grace until its end is known. */
const ENDING_MS_MAX = 2_000;

export interface AttemptsSettings {
  /** Name of the cluster to the type that names its plug-in. */
  readonly clusters: Readonly<Record<string, string>>;
  /** What commands may ask for together under `multiprocess`: whole cores, and memory in GiB. */
  readonly cores: number;
  readonly memory_gib: number;
  readonly state_directory: string;
  readonly hostname: string;
  readonly log: Logger;
  /** Something has changed that loops may wait for: a report is there, room has come. */
  readonly onNews: () => void;
  /** As the plug-ins ask it (`ClusterSettings`). */
  readonly mayStart: () => boolean;
}

interface Known {
  readonly cluster: Cluster;
  readonly task_id: number;
  hasEnded: boolean;
  refusals: number;
  /** Why the agent itself ended it. */
  killed_because: string | null;
}

export class Attempts {
  readonly outbox = new Outbox();
  readonly failedStarts = new FailedStarts();
  private readonly clusters = new Map<string, Cluster>();
  private readonly known = new Map<number, Known>();
  private hasCleared = false;

  /** Opens the plug-ins. Throws when a cluster's type has none, or when the state directory can't be written. */
  constructor(private readonly settings: AttemptsSettings) {
    const { clusters, cores, memory_gib, state_directory, mayStart } = settings;
    for (const [name, type] of Object.entries(clusters)) {
      const onReport = (report: AttemptReport) => this.onReport(report);
      this.clusters.set(name, openCluster(type, { state_directory, cores, memory_gib, onReport, mayStart }));
    }
  }

  /** Those that have not ended, by what is known here. */
  get running(): number {
    return [...this.known.values()].filter((known) => !known.hasEnded).length;
  }

  /** Nothing is held and nothing is left to report. */
  get isEmpty(): boolean {
    return this.known.size === 0 && this.outbox.size === 0;
  }

  /** Ids of all that is held. */
  get ids(): number[] {
    return [...this.known.keys()];
  }

  get killing(): number[] {
    return [...this.known].filter(([, known]) => known.killed_because !== null).map(([id]) => id);
  }

  /** What can start now on the clusters that have room; nothing while the outbox is full. */
  room(): Record<string, ClusterRoom> {
    const room: Record<string, ClusterRoom> = {};
    if (this.outbox.isFull) return room;
    for (const [name, cluster] of this.clusters) {
      const { slots, cores, memory_gib } = cluster.room();
      if (slots > 0) room[name] = { slots: Math.min(slots, WANTED_MAX), cores, memory_gib };
    }
    return room;
  }

  /** Starts what was leased. */
  start(assignments: readonly Assignment[]): void {
    for (const assignment of assignments) this.take(assignment, (cluster) => cluster.start(assignment));
  }

  /**
   * Makes what is known agree with what the server says is this agent's own: the rest was given away and is killed first. `lease_ms` is
   * the lease's length.
   */
  async takeOver(adopted: readonly Assignment[], lease_ms: number, stopping: AbortSignal): Promise<void> {
    const { state_directory, log } = this.settings;
    const own = new Set(adopted.map((assignment) => assignment.task_instance_id));
    const foreign = [...this.known].filter(([task_instance_id]) => !own.has(task_instance_id));
    for (const [task_instance_id] of foreign) {
      this.kill(task_instance_id, 'the server has given the attempt away', lease_ms / 6);
    }
    // The next attempt of such a task may be leased to this very agent: it must not run beside the remains of the one before.
    const bound_ms = performance.now() + Math.min(KILL_GRACE_MS, lease_ms / 6) + ENDING_MS_MAX;
    while (foreign.some(([, known]) => !known.hasEnded) && performance.now() < bound_ms) {
      await sleep(50, undefined, { signal: stopping }).catch(() => undefined);
      if (stopping.aborted) return;
    }
    if (!this.hasCleared) {
      const cleared = await clearLeftovers(state_directory, own);
      if (cleared.removed > 0) log.info(cleared, 'cleared what a former agent left behind');
      this.hasCleared = true;
    }
    for (const assignment of adopted) this.take(assignment, (cluster) => cluster.adopt(assignment));
  }

  private take(assignment: Assignment, hand: (cluster: Cluster) => void): void {
    const { task_instance_id, task_id } = assignment;
    if (this.known.has(task_instance_id)) return;
    const cluster = this.clusters.get(assignment.cluster);
    if (cluster === undefined) {
      const error_description = `the agent on ${this.settings.hostname} serves no cluster '${assignment.cluster}'`;
      this.outbox.add({ task_instance_id, status: 'W', error_description });
      return;
    }
    this.known.set(task_instance_id, { cluster, task_id, hasEnded: false, refusals: 0, killed_because: null });
    const excess = excessOf(assignment, cluster.size);
    if (excess !== null) this.settings.log.warn({ task_instance_id }, `a task wants more than this agent has: ${excess}`);
    const { cores, memory_gib } = neededRoom(assignment.requested_resources);
    if (cores > cluster.size.cores || memory_gib > cluster.size.memory_gib) {
      const asked = { task_instance_id, cores, memory_gib };
      this.settings.log.warn(asked, 'a task asks for more than this agent has: it runs alone, with all that there is');
    }
    hand(cluster);
  }

  /** Kills those of the attempts that run here; false when there were none. */
  obey(kill: readonly number[]): boolean {
    return kill.filter((task_instance_id) => this.kill(task_instance_id, 'the server ordered it', KILL_GRACE_MS)).length > 0;
  }

  /** Ends everything, since others may start it soon: the last sixth of the lease stays for SIGKILL to work. */
  endAll(because: string, lease_ms: number): void {
    for (const task_instance_id of this.known.keys()) this.kill(task_instance_id, because, lease_ms / 6);
  }

  private kill(task_instance_id: number, because: string, grace_ms: number): boolean {
    const known = this.known.get(task_instance_id);
    if (known === undefined || known.hasEnded || known.killed_because !== null) return false;
    known.killed_because = because;
    this.settings.log.info({ task_instance_id, because }, 'killing an attempt');
    known.cluster.kill(task_instance_id, Math.min(KILL_GRACE_MS, grace_ms));
    return true;
  }

  /** What follows from the status that stands on the server after a report; `lease_ms` is the lease's length. */
  onStanding(report: AttemptReport, standing: string | null, lease_ms: number): void {
    const { task_instance_id, status } = report;
    const known = this.known.get(task_instance_id);
    if (status === 'R') {
      if (standing !== 'R') this.kill(task_instance_id, `it stands at ${standing} on the server`, lease_ms / 6);
      return;
    }
    const isLive = standing === 'I' || standing === 'O' || standing === 'R' || standing === 'T';
    if (isLive && known !== undefined && ++known.refusals < REFUSALS_MAX) {
      // "Could not be started" is no end of what the server has as running; that its end is not known is one.
      this.outbox.add(status === 'W' && standing !== 'I' ? { ...report, status: 'U' } : report);
      return;
    }
    if (isLive) this.settings.log.error({ task_instance_id, status, standing }, 'the server does not take the end of an attempt');
    this.known.delete(task_instance_id);
    known?.cluster.forget(task_instance_id);
  }

  private onReport(report: AttemptReport): void {
    const known = this.known.get(report.task_instance_id);
    const because = known?.killed_because;
    if (known !== undefined && report.status !== 'R') {
      known.hasEnded = true;
      if (because === null) this.failedStarts.note(report, known.task_id);
    }
    const error_description =
      because && report.status !== 'D' ? `${report.error_description ?? 'ended'}: ${because}` : report.error_description;
    this.outbox.add({ ...report, error_description, nodename: this.settings.hostname });
    this.settings.onNews();
  }

  /** Stops watching; commands go on. */
  close(): void {
    for (const cluster of this.clusters.values()) cluster.close();
  }
}
