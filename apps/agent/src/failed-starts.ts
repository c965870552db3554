/**
 * The agent's newest attempts that failed at their start, when no command has started since: what shows that its host is a bad one. The
 * server judges it, since it knows whether such tasks start elsewhere; a new process begins with none.
 */
import type { AttemptReport } from '@jobmon/contracts';

/** More tell nothing new. */
const KEPT_MAX = 20;
/** A shell's exit statuses for a command that it can't run, and how soon they come then. A program may give them later for reasons of its own. */
const CANNOT_RUN = new Set([126, 127]);
const AT_ONCE_SECONDS = 2;

export class FailedStarts {
  private kept: { readonly task_instance_id: number; readonly task_id: number }[] = [];

  /** Takes note of the end of an attempt. One that neither started nor failed to (it was called off, its end is not known) tells nothing. */
  note(report: AttemptReport, task_id: number): void {
    const { status, exit_code, wallclock_seconds, task_instance_id } = report;
    const cannotRun = CANNOT_RUN.has(exit_code ?? -1) && (wallclock_seconds ?? 0) < AT_ONCE_SECONDS;
    if (status === 'W' || (status === 'E' && cannotRun)) {
      this.kept = [...this.kept, { task_instance_id, task_id }].slice(-KEPT_MAX);
    } else if (status === 'D' || status === 'Z' || (status === 'E' && typeof exit_code === 'number')) {
      this.kept = [];
    }
  }

  clear(): void {
    this.kept = [];
  }

  /** The attempts, oldest first. */
  get task_instance_ids(): number[] {
    return this.kept.map(({ task_instance_id }) => task_instance_id);
  }

  get task_ids(): number[] {
    return [...new Set(this.kept.map(({ task_id }) => task_id))];
  }
}
