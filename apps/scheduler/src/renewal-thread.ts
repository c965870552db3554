/**
 * Leases that are kept by a worker thread (`renewal-worker.ts`): the main thread only tells it that it gets through. A thread that ended
 * by a defect is started anew; meanwhile the leases last. What the thread counts is added to what this one does.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { countsOfThread, type Config, type Logger } from '@jobmon/runtime';
import type { Renewal, RenewalTerms } from './renewal';

/** What the thread is given at its start. */
export interface RenewalThreadData {
  readonly terms: RenewalTerms;
  readonly nats: Config['nats'];
  readonly log: Pick<Config['log'], 'level' | 'file'>;
}

/** What it is told. */
export type RenewalThreadMessage = 'report' | 'stop';

const RESTART_MS = 1_000;
/** Longest wait for the thread to end by itself. */
const STOP_MS_MAX = 2_000;

export class RenewalThread implements Renewal {
  private worker: Worker;
  private isStopping = false;
  private ended: Promise<void> = Promise.resolve();

  /** `file` is the built worker. */
  constructor(
    private readonly log: Logger,
    private readonly file: string,
    private readonly data: RenewalThreadData,
  ) {
    this.worker = this.begin();
  }

  report(): void {
    this.tell('report');
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    this.tell('stop');
    await Promise.race([this.ended, pause(STOP_MS_MAX, undefined, { ref: false })]);
    await this.worker.terminate();
  }

  private tell(message: RenewalThreadMessage): void {
    this.worker.postMessage(message);
  }

  private begin(): Worker {
    const worker = new Worker(this.file, { workerData: this.data });
    worker.on('message', countsOfThread());
    worker.on('error', (error) => this.log.error({ error }, 'the thread that keeps the leases has a defect'));
    this.ended = new Promise((resolve) =>
      worker.on('exit', () => {
        resolve();
        if (this.isStopping) return;
        this.log.warn('the thread that keeps the leases has ended and is started anew');
        setTimeout(() => {
          if (!this.isStopping) this.worker = this.begin();
        }, RESTART_MS).unref();
      }),
    );
    return worker;
  }
}
