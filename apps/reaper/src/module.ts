/**
 * The reaper as a part of a Nest application: a pass every few seconds, never two at once.
 *
 * Whose silence counts? Agents and clients are heard by the api. **In a house** the reaper is away together with it, so the first pass comes one
 * whole lease after the start: a house that was away could not hear its agents, and an agent that starts with it adopts what runs. So
 * it is after a pass that came much too late: the process was stopped, or the machine slept, or its clock was set forward. And after a pass
 * that failed, since a database that is away can't take an agent's sign of life either; passes go on meanwhile, and spare the agents.
 *
 * **As a process of its own** it reads in the database since when an api has been there, and its own absence tells nothing. Of several
 * reapers the eldest works and the others wait for its end; two that both think they are do no harm.
 */
import { isEldest, signOff, signOfLife } from '@jobmon/entities';
import { Module, type BeforeApplicationShutdown, type DynamicModule, type OnApplicationBootstrap } from '@nestjs/common';
import { mendInconsistent, readServed, reap, type ReaperContext } from './reap';
import type { Heard } from './rules';

export { ALL, look, readServed, reap, type Failure, type Look, type Pass, type ReaperContext } from './reap';
export type { Finding } from './rules';

/** Between two passes: a deadline is seen so soon after it has passed. */
const PASS_INTERVAL_MS_MAX = 5_000;
/** What ended runs left behind hurts nobody, so it is looked for once an hour. */
const RARE_INTERVAL_MS = 3_600_000;
/** So much earlier than asked for a timer may fire. */
const TIMER_MS = 20;
/** Between two looks at the next few hundred workflows that may be inconsistent. */
const MEND_INTERVAL_MS = 60_000;

export class Reaper implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private timer: NodeJS.Timeout | null = null;
  private passing: Promise<unknown> | null = null;

  /** When the last tick was, by a clock that goes on while the machine sleeps. */
  private ticked_ms = 0;

  /** When what is rare was looked for last, by the same clock. */
  private rare_ms = Number.NEGATIVE_INFINITY;

  /** When inconsistent workflows were looked for last, by the same clock, and how far. */
  private mended_ms = Number.NEGATIVE_INFINITY;
  private mended_id = 0;

  /** Since when the house has been there without a break, by the same clock. */
  private there_since_ms = 0;

  /** When a pass failed last, by the same clock. */
  private failed_ms = Number.NEGATIVE_INFINITY;

  /** `clock` answers milliseconds; tests give their own. */
  constructor(
    private readonly context: ReaperContext,
    private readonly clock: () => number = Date.now,
  ) {}

  onApplicationBootstrap(): void {
    if (this.context.instance === undefined) return this.waitForSigns();
    this.pass();
    this.timer = setInterval(() => this.pass(), this.interval_ms);
  }

  /** Lets a whole lease pass before the first pass. */
  private waitForSigns(): void {
    this.there_since_ms = this.clock();
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.pass();
      this.ticked_ms = this.clock();
      this.timer = setInterval(() => this.tick(), this.interval_ms);
    }, this.lease_ms);
  }

  private tick(): void {
    const silent_ms = this.clock() - this.ticked_ms;
    this.ticked_ms += silent_ms;
    if (silent_ms <= (this.lease_ms * 2) / 3) return this.pass();
    this.context.log.info({ silent_ms }, 'the reaper was away itself and gives all agents a whole lease');
    this.waitForSigns();
  }

  private get lease_ms(): number {
    return this.context.config.agent.lease_seconds * 1_000;
  }

  private get interval_ms(): number {
    return Math.min(this.lease_ms / 3, PASS_INTERVAL_MS_MAX);
  }

  /** Waits for a pass that is under way; its requests end within the messenger's own bound. Another reaper may begin at once. */
  async beforeApplicationShutdown(): Promise<void> {
    if (this.timer !== null) clearTimeout(this.timer);
    await this.passing;
    const { database, instance, log } = this.context;
    if (instance === undefined) return;
    await signOff(database, { service: 'reaper', instance }).catch((error: unknown) =>
      log.warn({ error }, 'the reaper could not tell that it leaves; others find out by themselves'),
    );
  }

  private pass(): void {
    const now_ms = this.clock();
    this.passing ??= this.work(now_ms)
      .catch((error: unknown) => {
        this.failed_ms = this.clock();
        this.context.log.warn({ error }, 'a pass of the reaper failed; the next one does its work');
      })
      .finally(() => {
        this.passing = null;
      });
  }

  private async work(now_ms: number): Promise<void> {
    if (!(await this.isMine())) return;
    const withRare = now_ms - this.rare_ms >= RARE_INTERVAL_MS;
    const { lease_seconds } = this.context.config.agent;
    await reap(this.context, { ...(await this.served(now_ms)), lease_seconds, of: withRare ? ['pass', 'hour'] : ['pass'] });
    if (withRare) this.rare_ms = now_ms;
    if (now_ms - this.mended_ms < MEND_INTERVAL_MS) return;
    this.mended_ms = now_ms;
    this.mended_id = await mendInconsistent(this.context, this.mended_id);
  }

  /** Whether no other reaper works. Its sign outlives two passes, so a slow one changes no hands. */
  private async isMine(): Promise<boolean> {
    const { database, instance } = this.context;
    if (instance === undefined) return true;
    const sign = { service: 'reaper', instance };
    await signOfLife(database, { ...sign, seconds: Math.ceil((2 * this.interval_ms) / 1_000) + 1 });
    return isEldest(database, sign);
  }

  /** In a house: since it came, or since it could be heard again. */
  private async served(now_ms: number): Promise<Pick<Heard, 'served_seconds' | 'clients_served_seconds'>> {
    if (this.context.instance !== undefined) return readServed(this.context.database);
    // Timers may fire a little early.
    const seconds = Math.floor((now_ms - Math.max(this.there_since_ms, this.failed_ms) + TIMER_MS) / 1_000);
    return { served_seconds: seconds, clients_served_seconds: seconds };
  }
}

@Module({})
class ReaperModule {}

export function reaperModule(context: ReaperContext): DynamicModule {
  const log = context.log.child({ part: 'reaper' });
  return {
    module: ReaperModule,
    providers: [{ provide: Reaper, useFactory: () => new Reaper({ ...context, log }) }],
  };
}
