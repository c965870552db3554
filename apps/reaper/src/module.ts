/**
 * The reaper as a part of a Nest application: a pass every third of a lease, never two at once. The first pass comes one whole
 * lease after the start: a house that was away could not hear its agents, and an agent that starts with it adopts what runs. So
 * it is after a pass that came much too late: the process was stopped, or the machine slept, or its clock was set forward. And after a pass
 * that failed, since a database that is away can't take an agent's sign of life either; passes go on meanwhile, and spare the agents.
 */
import { Module, type BeforeApplicationShutdown, type DynamicModule, type OnApplicationBootstrap } from '@nestjs/common';
import { endLeft } from './left-attempts';
import { reap, type ReaperContext } from './reap';

export type { ReaperContext } from './reap';

/** What ended runs left behind hurts nobody, so it is looked for once an hour. */
const LEFT_INTERVAL_MS = 3_600_000;

export class Reaper implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private timer: NodeJS.Timeout | null = null;
  private passing: Promise<unknown> | null = null;

  /** When the last tick was, by a clock that goes on while the machine sleeps. */
  private ticked_ms = 0;

  /** When what ended runs left behind was looked for last, by the same clock. */
  private left_ms = Number.NEGATIVE_INFINITY;

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
    this.waitForSigns();
  }

  /** Lets a whole lease pass before the first pass. */
  private waitForSigns(): void {
    const { lease_ms } = this;
    this.there_since_ms = this.clock();
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.pass();
      this.ticked_ms = this.clock();
      this.timer = setInterval(() => this.tick(), lease_ms / 3);
    }, lease_ms);
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

  /** Waits for a pass that is under way; its requests end within the messenger's own bound. */
  async beforeApplicationShutdown(): Promise<void> {
    if (this.timer !== null) clearTimeout(this.timer);
    await this.passing;
  }

  private async lookForLeft(now_ms: number): Promise<void> {
    if (now_ms - this.left_ms < LEFT_INTERVAL_MS) return;
    await endLeft(this.context);
    this.left_ms = now_ms;
  }

  private pass(): void {
    const now_ms = this.clock();
    this.passing ??= reap(this.context, now_ms - this.there_since_ms, now_ms - this.failed_ms < this.lease_ms)
      .then(() => this.lookForLeft(now_ms))
      .catch((error: unknown) => {
        this.failed_ms = this.clock();
        this.context.log.warn({ error }, 'a pass of the reaper failed; the next one does its work');
      })
      .finally(() => {
        this.passing = null;
      });
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
