/** The plug-in that runs nothing: every attempt is reported as done in the next turn of the event loop. */
import type { Assignment, ClusterRoom } from '@jobmon/contracts';
import type { Cluster, ClusterSettings } from './cluster';

/** Attempts that are taken at a time: nothing runs, so the bound only keeps the messages of one batch small. */
const SLOTS = 1_000;
/** More than anything asks for: cores and GiB. */
const BEYOND_ALL = 1_000_000_000;

export class Dummy implements Cluster {
  readonly type = 'dummy';
  readonly size: ClusterRoom = { slots: SLOTS, cores: BEYOND_ALL, memory_gib: BEYOND_ALL };
  private readonly waiting = new Set<number>();
  private isClosed = false;

  constructor(private readonly settings: ClusterSettings) {}

  room(): ClusterRoom {
    return { ...this.size, slots: Math.max(0, SLOTS - this.waiting.size) };
  }

  start(assignment: Assignment): void {
    const { task_instance_id } = assignment;
    if (this.waiting.has(task_instance_id)) return;
    this.waiting.add(task_instance_id);
    setImmediate(() => {
      if (!this.waiting.delete(task_instance_id) || this.isClosed) return;
      this.settings.onReport({ task_instance_id, status: 'D', exit_code: 0, wallclock_seconds: 0 });
    });
  }

  adopt(assignment: Assignment): void {
    this.start(assignment);
  }

  kill(task_instance_id: number): void {
    if (!this.waiting.delete(task_instance_id)) return;
    setImmediate(() => {
      if (this.isClosed) return;
      this.settings.onReport({ task_instance_id, status: 'E', error_description: 'ended by order before it started' });
    });
  }

  forget(): void {
    // Nothing is kept of an attempt that never ran.
  }

  close(): void {
    this.isClosed = true;
  }
}
