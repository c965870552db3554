/**
 * What is done to the processes and the wires, and when: every 1 to 5 s something new, whether or not what was done before has ended, and
 * never two things to one target at one time. Every choice is drawn from the seed when a fault begins.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { Fault, TcpProxy } from '@jobmon/testkit';

/** Seconds since the machine's start: the clock that the commands read too. */
export const uptime = (): number => Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]);

/** What to take from a time of the machine's other clock, in seconds of 1970, to have it by this one: the database and the logs tell that one. */
export const zeroOfUptime = (): number => Date.now() / 1_000 - uptime();

/** One thing that may be done to a target. `seconds` is how long it lasts. */
export interface Blow {
  readonly kind: string;
  /** Chosen so much more often than a blow of weight 1. */
  readonly weight: number;
  /** Shortest and longest; short ones come as often as ten times longer ones. */
  readonly seconds: readonly [number, number];
  /** Nothing passes, as opposed to late. */
  readonly isDown: boolean;
  /** Does it, waits with `last`, and undoes it. */
  strike(last: () => Promise<void>): Promise<void>;
}

/** Something that is whole or not. */
export interface Target {
  readonly of: string;
  readonly name: string;
  readonly blows: readonly Blow[];
  /** Waits until the process is ready again; absent where nothing tells. Answers false when it was given up because it is hit again. */
  ready?(isGivenUp: () => boolean): Promise<boolean>;
}

/** SIGSTOP and SIGCONT, for as long as a machine may be busy with something else. */
export function freezing(signal: (name: 'SIGSTOP' | 'SIGCONT') => void, weight: number): Blow {
  return {
    kind: 'SIGSTOP',
    weight,
    seconds: [0.1, 60],
    isDown: true,
    async strike(last) {
      signal('SIGSTOP');
      await last();
      signal('SIGCONT');
    },
  };
}

/** A wire that is cut, passes in one direction only, or is slow. */
export function breaking(wire: TcpProxy, weight: number, seconds_max: number, random: () => number): Blow[] {
  const seconds = [0.1, seconds_max] as const;
  return [
    {
      kind: 'cut',
      weight,
      seconds,
      isDown: true,
      async strike(last) {
        await wire.cut();
        await last();
        await wire.mend();
      },
    },
    {
      kind: 'one-way cut',
      weight,
      seconds,
      isDown: true,
      async strike(last) {
        wire.silence(random() < 0.5 ? 'up' : 'down');
        await last();
        await wire.mend();
      },
    },
    {
      kind: 'delay',
      weight,
      seconds,
      isDown: false,
      async strike(last) {
        wire.delay(random() * 400);
        await last();
        await wire.mend();
      },
    },
  ];
}

type Growing = { -readonly [Key in keyof Fault]: Fault[Key] };

/** The fire: it strikes until its time is over, and ends when everything is mended. */
export class Fire {
  private readonly struck: Growing[] = [];
  /** By target: how often it was hit. */
  private readonly hits = new Map<string, number>();
  private readonly burning = new Map<string, Promise<void>>();
  private readonly watching: Promise<void>[] = [];
  private failure: Error | undefined;

  constructor(
    private readonly targets: readonly Target[],
    private readonly random: () => number,
  ) {}

  /** Throws when something could not be undone: a server that does not start again. */
  async burn(minutes: number): Promise<readonly Fault[]> {
    const until = performance.now() + minutes * 60_000;
    for (;;) {
      const wait_ms = 1_000 + this.random() * 4_000;
      if (performance.now() + wait_ms > until) break;
      await pause(wait_ms);
      if (this.failure !== undefined) break;
      this.strike(until);
    }
    await Promise.all(this.burning.values());
    await Promise.all(this.watching);
    if (this.failure !== undefined) throw this.failure;
    return this.struck;
  }

  private strike(until: number): void {
    const free = this.targets.filter(({ name }) => !this.burning.has(name));
    const choices = free.flatMap((target) => target.blows.map((blow) => ({ target, blow })));
    let left = this.random() * choices.reduce((sum, { blow }) => sum + blow.weight, 0);
    const lot = this.random();
    const chosen = choices.find(({ blow }) => (left -= blow.weight) < 0);
    if (chosen === undefined) return;
    const { target, blow } = chosen;
    const [least, most] = blow.seconds;
    // What outlasts the fire would only make everybody wait.
    const left_ms = Math.max(100, until - performance.now());
    const lasts_ms = Math.min(left_ms, 1_000 * least * (most / least) ** lot);
    const from = uptime();
    const { of, name } = target;
    const fault: Growing = { kind: blow.kind, of, name, from, to: Infinity, ready_at: null, isDown: blow.isDown };
    this.struck.push(fault);
    const hit = (this.hits.get(name) ?? 0) + 1;
    this.hits.set(name, hit);
    const burning = blow
      .strike(() => pause(lasts_ms))
      .catch((error: unknown) => void (this.failure ??= error as Error))
      .then(() => {
        fault.to = uptime();
        this.burning.delete(name);
        if (target.ready === undefined) return;
        const watching = target
          .ready(() => this.hits.get(name) !== hit)
          .then((isReady) => {
            if (isReady) fault.ready_at = uptime();
          });
        this.watching.push(watching);
      });
    this.burning.set(name, burning);
  }
}
