/** The scheduler as a part of a Nest application: it starts with it and stops before the bus closes. */
import { Module, type BeforeApplicationShutdown, type DynamicModule, type OnApplicationBootstrap } from '@nestjs/common';
import { Scheduler, type SchedulerContext } from './scheduler';

export type { SchedulerContext } from './scheduler';

class RunningScheduler extends Scheduler implements OnApplicationBootstrap, BeforeApplicationShutdown {
  onApplicationBootstrap(): void {
    this.start();
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.stop();
  }
}

@Module({})
class SchedulerModule {}

export function schedulerModule(context: SchedulerContext): DynamicModule {
  return {
    module: SchedulerModule,
    providers: [{ provide: Scheduler, useFactory: () => new RunningScheduler(context) }],
  };
}
