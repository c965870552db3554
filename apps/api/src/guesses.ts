/**
 * A bound on trying out credentials: an address may show so many unknown ones a minute, and is asked to wait after that. A token is 256 random
 * bits and can't be guessed anyway; this keeps whoever tries from costing a look at the database each time. Whoever shows what was good before is
 * not guessing and passes, so that one machine's forgotten agent shuts nobody out who works from the same address.
 *
 * Each api counts by itself, in a memory that is bounded. What is in flight at one moment may go beyond the bound, since a credential counts once
 * it is known to be none.
 */
import { isIPv6 } from 'node:net';
import { LoginRefusal } from './principal';

const ADDRESSES_MAX = 10_000;
const GOOD_MAX = 10_000;
/** Callers whose address nobody knows share one. */
const UNKNOWN_ADDRESS = 'unknown';

interface Count {
  /** Unknown credentials that are not forgotten yet; one is forgotten each `forget_ms`. */
  level: number;
  at_ms: number;
}

export class Guesses {
  /** Who guessed last stands last. */
  private readonly counts = new Map<string, Count>();
  private readonly good = new Set<string>();
  private readonly forget_ms: number;

  /** `per_minute` unknown credentials at once, and as many a minute; `clock` answers milliseconds. */
  constructor(
    private readonly per_minute: number,
    private readonly clock: () => number = () => performance.now(),
  ) {
    this.forget_ms = 60_000 / per_minute;
  }

  /**
   * To be asked before a credential is looked at. `hash` stands for the credential.
   *
   * @throws LoginRefusal TOO_MANY with the seconds to wait, unless the credential was good before.
   */
  require(address: string | null, hash: string): void {
    const count = this.counts.get(keyOf(address));
    if (count === undefined || this.good.has(hash)) return;
    const level = this.levelOf(count);
    if (level <= this.per_minute - 1) return;
    const retry_after_seconds = Math.max(1, Math.ceil(((level - (this.per_minute - 1)) * this.forget_ms) / 1_000));
    throw new LoginRefusal(
      'too_many',
      'TOO_MANY',
      `too many unknown credentials came from ${address ?? 'callers behind a proxy that does not tell their addresses'}: try again in ${retry_after_seconds} s, with a good one (\`jobmon login\`, or JOBMON__HTTP__TOKEN)`,
      { retry_after_seconds },
    );
  }

  /** The credential is known to nobody. */
  failed(address: string | null): void {
    const key = keyOf(address);
    const before = this.counts.get(key);
    this.counts.delete(key);
    if (this.counts.size >= ADDRESSES_MAX) this.counts.delete(this.counts.keys().next().value as string);
    this.counts.set(key, { level: (before === undefined ? 0 : this.levelOf(before)) + 1, at_ms: this.clock() });
  }

  passed(hash: string): void {
    if (this.good.has(hash)) return;
    if (this.good.size >= GOOD_MAX) this.good.delete(this.good.keys().next().value as string);
    this.good.add(hash);
  }

  private levelOf({ level, at_ms }: Count): number {
    return Math.max(0, level - (this.clock() - at_ms) / this.forget_ms);
  }
}

/** Of IPv6 the network of 64 bits, which is what one caller is given. */
function keyOf(address: string | null): string {
  if (address === null) return UNKNOWN_ADDRESS;
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.split('::');
  const groups = head === '' ? [] : head.split(':');
  const behind = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? [] : Array<string>(Math.max(0, 8 - groups.length - behind.length)).fill('0');
  return [...groups, ...zeros, ...behind]
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ''))
    .join(':');
}
