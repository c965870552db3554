/**
 * The seam between an agent and the place where commands run. One interface, several plug-ins, one conformance suite
 * (`cluster.conformance.ts`). A plug-in is given assignments and tells, by reports in the words of the wire, what becomes of
 * each; it knows nothing of servers, leases or heartbeats.
 */
import type { Assignment, AttemptReport, ClusterRoom } from '@jobmon/contracts';

/** What a plug-in is made with. */
export interface ClusterSettings {
  /**
   * Folder of the agent's own records, absolute: `attempts/<task_instance_id>/` below it holds what is known of each attempt.
   * It must lie on a disk of this machine, outlive the agent, and belong to one agent at a time.
   */
  readonly state_directory: string;
  /** Cores that commands may ask for together, a whole number. `sequential` runs one command at a time whatever stands here. */
  readonly cores: number;
  /** Memory that commands may ask for together, in GiB. */
  readonly memory_gib: number;
  /**
   * Called for every change of an attempt: at most one R, then exactly one of D, E, U or W. An attempt that ends at once is
   * reported by its end alone. Called from the event loop, never inside `start`, `adopt` or `kill`; must not throw.
   */
  readonly onReport: (report: AttemptReport) => void;
  /**
   * Asked at the very moment a command would start; while it is false, what waits goes on waiting. An agent that was frozen says so when it
   * thaws, before it knows what is still its own. Always true when absent.
   */
  readonly mayStart?: () => boolean;
}

/** A plug-in: starts commands, watches them, ends them. */
export interface Cluster {
  /** The cluster type's name as the database spells it: `sequential`, `multiprocess`, `dummy`. */
  readonly type: string;
  /** The room while nothing runs. A task that asks for more is counted as asking for all of it: it runs alone. */
  readonly size: ClusterRoom;
  /** What can start now. May be 0 for long, never negative. */
  room(): ClusterRoom;
  /**
   * Takes an attempt that was leased and never started. Never throws: what keeps the command from starting is reported as W.
   * More than there is room for is taken too, and waits for its turn; those that wait start in the order in which they came.
   */
  start(assignment: Assignment): void;
  /**
   * Takes over an attempt that a former agent with the same state directory held. One that has ended is reported; one that
   * runs is watched; one that was never started is started; one whose fate can't be known any more is reported as U. The
   * command never runs a second time.
   */
  adopt(assignment: Assignment): void;
  /**
   * Ends an attempt and its whole process group: SIGINT, and SIGKILL when `grace_ms` (10 s unless given) have passed. Its end
   * is reported like any other. An attempt that has not started never will. Unknown ids are left alone: they have ended.
   */
  kill(task_instance_id: number, grace_ms?: number): void;
  /** The server has acknowledged the end: what was kept of the attempt may go. The user's output files stay. */
  forget(task_instance_id: number): void;
  /** Stops watching. Commands go on without this process; a later agent adopts them. Nothing is reported any more. */
  close(): void;
}

/** Time from SIGINT to SIGKILL in milliseconds (spec/state-machines.md, worker_node.command_interrupt_timeout). */
export const KILL_GRACE_MS = 10_000;
