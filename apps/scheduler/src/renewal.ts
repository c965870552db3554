/**
 * Keeps a scheduler's leases: every third of their length its deadline is moved, as long as the loop that walks the runs reports that it
 * gets through. When that loop has been silent for 5 s nothing is renewed any more, so that a scheduler that hangs loses its runs to
 * those that do not. What was renewed during the silence ends soon after it began: a lease never reaches further than its length and
 * 2 s from the last report.
 *
 * In the house of one process it runs on the same thread (`RenewalLoop`). A scheduler that is a process of its own runs it in a worker
 * thread with a bus of its own (`renewal-worker.ts`), where no work of the main thread makes it late.
 */
import { renewScheduler } from '@jobmon/contracts';
import { send, type Messenger } from '@jobmon/messaging';
import { metrics, type Logger } from '@jobmon/runtime';

/** Silence of the loop after which nothing is renewed. */
export const SILENCE_MS_MAX = 5_000;
/** How much longer than its length a lease may last from the last report on. */
const SLACK_MS = 2_000;

export interface RenewalTerms {
  readonly scheduler_instance: string;
  /** Length of the leases. */
  readonly lease_seconds: number;
}

export interface Renewal {
  /** The loop that walks the runs has just got through. */
  report(): void;
  /** Nothing is renewed from here on; answers when no request is under way. */
  stop(): Promise<void>;
}

/** For how many seconds leases are renewed after so long a silence; null: not at all. */
export function renewedSeconds(lease_seconds: number, silent_ms: number): number | null {
  if (silent_ms >= SILENCE_MS_MAX) return null;
  return Math.max(1, Math.min(lease_seconds, Math.floor((lease_seconds * 1_000 + SLACK_MS - silent_ms) / 1_000)));
}

export class RenewalLoop implements Renewal {
  private reportedAt = Number.NEGATIVE_INFINITY;
  private isSilent = true;
  private readonly timer: NodeJS.Timeout;
  private renewing: Promise<void> | null = null;

  /** `clock` gives milliseconds that only grow; tests give their own. */
  constructor(
    private readonly context: { readonly log: Logger; readonly messenger: Messenger },
    private readonly terms: RenewalTerms,
    private readonly clock: () => number = () => performance.now(),
  ) {
    this.timer = setInterval(() => this.renew(), (terms.lease_seconds * 1_000) / 3);
  }

  report(): void {
    this.reportedAt = this.clock();
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    await this.renewing;
  }

  private renew(): void {
    const { scheduler_instance, lease_seconds } = this.terms;
    const silent_ms = this.clock() - this.reportedAt;
    const seconds = renewedSeconds(lease_seconds, silent_ms);
    if (seconds === null) {
      if (!this.isSilent) this.context.log.warn({ silent_ms }, 'the scheduler hangs: its leases are not renewed');
      this.isSilent = true;
      return;
    }
    this.isSilent = false;
    const timeout_ms = lease_seconds * 1_000;
    this.renewing ??= send(this.context.messenger, renewScheduler, { scheduler_instance, seconds }, { timeout_ms })
      .then(() => metrics.leases.inc({ what: 'renewed' }))
      .catch((error: unknown) => this.context.log.warn({ error }, 'leases could not be renewed; that is tried again'))
      .finally(() => {
        this.renewing = null;
      });
  }
}
