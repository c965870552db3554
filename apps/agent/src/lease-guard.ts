/**
 * The agent's own view of its lease, by a clock that only goes forward. It is renewed by answers of the server, counted from
 * when they were asked for, and by proof that the server is away. Durations only: what this machine takes for the date is of no account.
 */
import { isServerAway } from './server-away';

/** Looks at the lease come so often; one that comes later than the second figure was frozen with its process. */
export const GUARD_MS = 250;
const FROZEN_MS = 1_500;

export class LeaseGuard {
  /** Length of the lease; without end before the first registration. */
  length_ms = Number.POSITIVE_INFINITY;
  private renewed_ms = 0;
  private hasRunOut = false;
  /** When the guard looked last, and when it last found that it had been frozen. */
  private looked_ms = performance.now();
  private thawed_ms = Number.NEGATIVE_INFINITY;

  /** How long one of several apis is waited for: so short that another one can be asked, and yet another, before the lease has run out. */
  patience_ms(addresses: number, most_ms: number): number {
    return addresses === 1 ? most_ms : Math.min(most_ms, this.length_ms / 8);
  }

  /** A registration that was asked for at `sent_ms` has been answered. */
  begin(lease_seconds: number, sent_ms: number): void {
    this.length_ms = lease_seconds * 1_000;
    this.renewed_ms = sent_ms;
    this.hasRunOut = false;
  }

  /** A call that was made at `sent_ms` renewed the lease. */
  renew(sent_ms: number): void {
    this.renewed_ms = Math.max(this.renewed_ms, sent_ms);
  }

  /** A call that was made at `sent_ms` failed: a server that is away gives nothing to others, and has not yet when it is back. */
  heedFailure(thrown: unknown, sent_ms: number): void {
    if (isServerAway(thrown)) this.renew(sent_ms);
  }

  /** Until the next beat: a third of the lease from when the last renewal was asked for, however late that was answered. */
  get dueIn_ms(): number {
    return Math.max(0, this.renewed_ms + this.length_ms / 3 - performance.now());
  }

  /** Two thirds of the lease have passed without a renewal. */
  get isOverdue(): boolean {
    return performance.now() - this.renewed_ms >= (this.length_ms * 2) / 3;
  }

  /**
   * True once, when the commands must end because the lease could not be renewed for two thirds of it. A process that was frozen
   * (SIGSTOP, Ctrl-Z) did not try: what it held may be its own still, so it has a sixth of the lease for the beat that is due.
   */
  hasJustRunOut(): boolean {
    const now_ms = performance.now();
    if (now_ms - this.looked_ms > FROZEN_MS) this.thawed_ms = now_ms;
    this.looked_ms = now_ms;
    if (this.hasRunOut || !this.isOverdue || now_ms - this.thawed_ms < this.length_ms / 6) return false;
    return (this.hasRunOut = true);
  }
}
