/**
 * Whether the process lives, and whether it can serve. *Live* says no more than that the event loop turns: a database that is
 * away is no reason to restart an api. *Ready* asks everything that a request needs: the database with its schema, the state
 * machine behind the bus, and a loop that is not choked.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Controller, Get, Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { HealthCheckService, HealthIndicatorService, type HealthCheckResult, type HealthIndicatorResult } from '@nestjs/terminus';
import { ID_MAX, leaseTaskInstances } from '@jobmon/contracts';
import { API_CONTEXT, type ApiContext } from './context';

/** A question to another part that has no answer by then counts as failed. */
const CHECK_MS_MAX = 3_000;
/** The median turn of the event loop must not take longer: beyond it, callers time out before they are heard. */
const LAG_MS_MAX = 500;

/** How long turns of the event loop took since the last look. */
@Injectable()
export class EventLoopLag implements OnModuleDestroy {
  private readonly delays = monitorEventLoopDelay({ resolution: 20 });

  constructor() {
    this.delays.enable();
  }

  /** Median in milliseconds since the last call; 0 when nothing was measured. */
  take(): number {
    const median_ms = this.delays.count === 0 ? 0 : this.delays.percentile(50) / 1e6;
    this.delays.reset();
    return median_ms;
  }

  onModuleDestroy(): void {
    this.delays.disable();
  }
}

@Controller('health')
export class HealthController {
  private isMigrated = false;

  constructor(
    @Inject(API_CONTEXT) private readonly context: ApiContext,
    @Inject(HealthCheckService) private readonly health: HealthCheckService,
    @Inject(HealthIndicatorService) private readonly indicators: HealthIndicatorService,
    @Inject(EventLoopLag) private readonly lag: EventLoopLag,
  ) {}

  @Get('live')
  live(): { status: 'ok' } {
    return { status: 'ok' };
  }

  /** 200 when every part answers, else 503 with the parts that did not. */
  @Get('ready')
  ready(): Promise<HealthCheckResult> {
    return this.health.check([
      () => this.check('database', async () => void (await this.context.database.read('SELECT 1 AS one'))),
      () => this.check('migrations', () => this.requireMigrations()),
      () => this.check('bus', () => this.requireStateMachine()),
      () => this.check('event_loop', () => this.requireTurns()),
    ]);
  }

  private async check(name: string, attempt: () => Promise<void>): Promise<HealthIndicatorResult> {
    const indicator = this.indicators.check(name);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${CHECK_MS_MAX / 1000} s`)), CHECK_MS_MAX);
    });
    try {
      await Promise.race([attempt(), late]);
      return indicator.up();
    } catch (thrown) {
      this.context.log.warn({ err: thrown, part: name }, 'not ready');
      return indicator.down();
    } finally {
      clearTimeout(timer);
    }
  }

  /** Asked until it is so, then never again: migrations are not undone under a running server. */
  private async requireMigrations(): Promise<void> {
    if (this.isMigrated) return;
    if (await this.context.database.dataSource.showMigrations()) throw new Error('migrations wait to be run');
    this.isMigrated = true;
  }

  /** Asks the state machine for no work at all in the name of nobody: any answer but silence proves the way there and back. */
  private async requireStateMachine(): Promise<void> {
    const nothing = { agent_id: ID_MAX, wanted: {} };
    const [outcome] = await this.context.messenger.request(leaseTaskInstances, [nothing], { timeout_ms: CHECK_MS_MAX });
    if (outcome !== undefined && 'error' in outcome && outcome.error.code === 'UNAVAILABLE')
      throw new Error(outcome.error.message);
  }

  private async requireTurns(): Promise<void> {
    const median_ms = this.lag.take();
    if (median_ms > LAG_MS_MAX) throw new Error(`the event loop takes ${Math.round(median_ms)} ms a turn`);
  }
}
