/**
 * Whether a process lives, and whether it can serve. *Live* says no more than that the event loop turns: a database that is
 * away is no reason to restart anything. *Ready* asks everything that its work needs, and a loop that is not choked. What is asked
 * is a table of checks, so that each process has its own and all of them answer alike.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { hidePasswords, metrics, type Logger } from '@jobmon/runtime';
import { Controller, Get, Inject, Module, type DynamicModule } from '@nestjs/common';
import {
  HealthCheckService,
  HealthIndicatorService,
  TerminusModule,
  type HealthCheckResult,
  type HealthIndicatorResult,
} from '@nestjs/terminus';

/** Resolves when all is well, else throws an error whose message says what is not. */
export type Check = () => Promise<void>;

/** A question to another part that has no answer by then counts as failed; asking goes on until it has one. */
const CHECK_MS_MAX = 3_000;
/** The median turn of the event loop must not take longer: beyond it, callers time out before they are heard. */
const LAG_MS_MAX = 500;

/** One check, and what it said last. */
interface Standing {
  readonly check: Check;
  asking: Promise<void> | null;
  /** Undefined before the first answer. */
  failure: string | null | undefined;
}

/** The checks of a process, asked by whoever wants to know. A change is told in the log once, not at each look. */
export class Health {
  private readonly standings = new Map<string, Standing>();
  private readonly delays = monitorEventLoopDelay({ resolution: 20 });

  constructor(
    private readonly log: Logger,
    checks: Readonly<Record<string, Check>>,
  ) {
    const all: Readonly<Record<string, Check>> = { ...checks, event_loop: async () => this.requireTurns() };
    for (const [name, check] of Object.entries(all)) this.standings.set(name, { check, asking: null, failure: undefined });
    this.delays.enable();
  }

  /**
   * For each name null, or the sentence that says what is wrong. Whoever asks while a check is under way is given its answer; one that takes
   * too long is told by what it said last, if that was a failure.
   */
  async ask(): Promise<ReadonlyMap<string, string | null>> {
    const answers = [...this.standings].map(async ([name, standing]): Promise<[string, string | null]> => {
      standing.asking ??= this.settle(name, standing).finally(() => {
        standing.asking = null;
      });
      if (await within(standing.asking)) return [name, standing.failure ?? null];
      return [name, standing.failure ?? `no answer within ${CHECK_MS_MAX / 1000} s`];
    });
    return new Map(await Promise.all(answers));
  }

  /** Ends the measuring of the event loop. */
  close(): void {
    this.delays.disable();
  }

  /** Asks one check, however long it takes, and tells what has changed. */
  private async settle(name: string, standing: Standing): Promise<void> {
    const failure = await failureOf(standing.check);
    const former = standing.failure;
    standing.failure = failure;
    metrics.need_up.set({ need: name }, failure === null ? 1 : 0);
    if (failure === former || (former === undefined && failure === null)) return;
    if (failure === null) this.log.info({ part: name }, 'ready again');
    else this.log.warn({ part: name }, `not ready: ${failure}`);
  }

  /** By the median since the last look: one long turn is no choked loop. */
  private requireTurns(): void {
    const median_ms = this.delays.count === 0 ? 0 : this.delays.percentile(50) / 1e6;
    this.delays.reset();
    if (median_ms > LAG_MS_MAX) throw new Error(`the event loop takes ${Math.round(median_ms / 100) / 10} s a turn`);
  }
}

async function failureOf(check: Check): Promise<string | null> {
  try {
    await check();
    return null;
  } catch (thrown) {
    return hidePasswords(thrown instanceof Error ? thrown.message : String(thrown));
  }
}

/** Whether a check has its answer in time. */
async function within(asking: Promise<void>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), CHECK_MS_MAX);
  });
  try {
    return await Promise.race([asking.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

const HEALTH = Symbol('health');
const IS_CAUSE_TOLD = Symbol('is the cause told');

@Controller('health')
class HealthController {
  constructor(
    @Inject(HEALTH) private readonly health: Health,
    @Inject(IS_CAUSE_TOLD) private readonly isCauseTold: boolean,
    @Inject(HealthCheckService) private readonly terminus: HealthCheckService,
    @Inject(HealthIndicatorService) private readonly indicators: HealthIndicatorService,
  ) {}

  @Get('live')
  live(): { status: 'ok' } {
    return { status: 'ok' };
  }

  /** 200 when every part answers, else 503 with the parts that did not. */
  @Get('ready')
  async ready(): Promise<HealthCheckResult> {
    const failures = await this.health.ask();
    return this.terminus.check(
      [...failures].map(([name, failure]) => (): HealthIndicatorResult => {
        const indicator = this.indicators.check(name);
        if (failure === null) return indicator.up();
        return this.isCauseTold ? indicator.down({ cause: failure }) : indicator.down();
      }),
    );
  }
}

@Module({})
class HealthModule {}

/**
 * `GET /health/live` and `/health/ready`. The causes of failures name addresses and users, so they are told on ports that are not
 * for everybody only.
 */
export function healthModule(health: Health, { isCauseTold }: { readonly isCauseTold: boolean }): DynamicModule {
  return {
    module: HealthModule,
    imports: [TerminusModule.forRoot({ logger: false })],
    controllers: [HealthController],
    providers: [
      { provide: HEALTH, useValue: health },
      { provide: IS_CAUSE_TOLD, useValue: isCauseTold },
    ],
  };
}
