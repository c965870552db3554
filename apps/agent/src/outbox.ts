/**
 * Reports that the server has not acknowledged. They leave in the order in which their attempts first reported, in batches;
 * a batch whose answer did not come goes back to the front. An attempt has at most one report here: its end replaces an R that
 * was not sent yet, since a report of an end passes through R anyway.
 *
 * The owner asks `isFull` before it takes more work: what is running may still end and report beyond the bound, so that the
 * outbox never holds more than the bound and one report for each slot.
 */
import type { AttemptReport } from '@jobmon/contracts';

/** Reports in one message (the limit of `agent.report`). */
const BATCH_REPORTS_MAX = 1_000;
/** Characters in one message: even at four bytes each it stays below the 64 MiB of the route. */
const BATCH_CHARACTERS_MAX = 8 * 1024 * 1024;
/**
 * Beyond these the outbox counts as full: unreported attempts (one message while another is on its way: whatever is leased
 * later is reported behind all that waits here), and the characters of their texts.
 */
const REPORTS_MAX = BATCH_REPORTS_MAX;
const CHARACTERS_MAX = 32 * 1024 * 1024;
/** What a report weighs besides its texts. */
const CHARACTERS_OF_ONE = 300;

export class Outbox {
  private waiting = new Map<number, AttemptReport>();
  private characters = 0;

  get size(): number {
    return this.waiting.size;
  }

  get isFull(): boolean {
    return this.waiting.size >= REPORTS_MAX || this.characters >= CHARACTERS_MAX;
  }

  add(report: AttemptReport): void {
    const replaced = this.waiting.get(report.task_instance_id);
    if (replaced !== undefined) this.characters -= weightOf(replaced);
    this.characters += weightOf(report);
    this.waiting.set(report.task_instance_id, report);
  }

  /** Takes the next batch out; empty when nothing waits. */
  take(): AttemptReport[] {
    const batch: AttemptReport[] = [];
    let characters = 0;
    for (const report of this.waiting.values()) {
      characters += weightOf(report);
      if (batch.length > 0 && (batch.length >= BATCH_REPORTS_MAX || characters > BATCH_CHARACTERS_MAX)) break;
      batch.push(report);
    }
    for (const report of batch) {
      this.waiting.delete(report.task_instance_id);
      this.characters -= weightOf(report);
    }
    return batch;
  }

  /** Puts a batch back to the front. What was reported of the same attempts meanwhile is newer and stays. */
  giveBack(batch: readonly AttemptReport[]): void {
    const newer = [...this.waiting.values()];
    this.waiting = new Map();
    this.characters = 0;
    for (const report of [...batch, ...newer]) this.add(report);
  }
}

function weightOf(report: AttemptReport): number {
  const { stdout_log, stderr_log, error_description } = report;
  return CHARACTERS_OF_ONE + (stdout_log?.length ?? 0) + (stderr_log?.length ?? 0) + (error_description?.length ?? 0);
}
