/**
 * The reaper as a part of a Nest application: a pass every third of a lease, never two at once. The first pass comes one whole
 * lease after the start: a house that was away could not hear its agents, and an agent that starts with it adopts what runs.
 */
import { Module, type BeforeApplicationShutdown, type DynamicModule, type OnApplicationBootstrap } from '@nestjs/common';
import { reap, type ReaperContext } from './reap';

export type { ReaperContext } from './reap';

class Reaper implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private timer: NodeJS.Timeout | null = null;
  private passing: Promise<unknown> | null = null;

  constructor(private readonly context: ReaperContext) {}

  onApplicationBootstrap(): void {
    const lease_ms = this.context.config.agent.lease_seconds * 1_000;
    this.timer = setTimeout(() => {
      this.pass();
      this.timer = setInterval(() => this.pass(), lease_ms / 3);
    }, lease_ms);
  }

  /** Waits for a pass that is under way; its requests end within the messenger's own bound. */
  async beforeApplicationShutdown(): Promise<void> {
    if (this.timer !== null) clearTimeout(this.timer);
    await this.passing;
  }

  private pass(): void {
    this.passing ??= reap(this.context)
      .catch((error: unknown) => this.context.log.warn({ error }, 'a pass of the reaper failed; the next one does its work'))
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
