/** An address in front of several apis, as a cluster's service is: who gets the next connection, by what each says of itself. */
import { setTimeout as pause } from 'node:timers/promises';

/** An api that is not ready within this time is given no new connections; also the pause between two looks. */
const PROBE_MS = 1_000;

/** Whether `/health/ready` below a URL answers 200 within so long. */
export async function isReadyAt(url: string, ms: number): Promise<boolean> {
  const answer = await fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(ms) }).catch(() => undefined);
  await answer?.body?.cancel();
  return answer?.status === 200;
}

/** Names the apis in turn, leaving out those that are not ready. What passes the bytes on asks it: `TcpProxy.to(() => balancer.next())`. */
export class Balancer {
  /** By URL, whether it was ready when it was looked at last. */
  private readonly sound = new Map<string, boolean>();
  private turn = 0;
  private isOver = false;

  constructor(urls: readonly string[] = []) {
    for (const url of urls) this.sound.set(url, true);
  }

  /** From now on it is looked at; it gets its first connection when it was seen ready. */
  add(url: string): void {
    if (!this.sound.has(url)) this.sound.set(url, false);
  }

  remove(url: string): void {
    this.sound.delete(url);
  }

  /** Looks at all of them, a second after the last look, until `stop`. */
  async watch(): Promise<void> {
    while (!this.isOver) {
      await Promise.all(
        [...this.sound.keys()].map(async (url) => {
          const isReady = await isReadyAt(url, PROBE_MS);
          if (this.sound.has(url)) this.sound.set(url, isReady);
        }),
      );
      await pause(PROBE_MS, undefined, { ref: false });
    }
  }

  stop(): void {
    this.isOver = true;
  }

  /** Those that were ready when they were looked at last. */
  get ready(): string[] {
    return [...this.sound].filter(([, isReady]) => isReady).map(([url]) => url);
  }

  /** Where the next connection goes; one of all when none is ready. Throws when there is none at all. */
  next(): string {
    const { ready } = this;
    const from = ready.length > 0 ? ready : [...this.sound.keys()];
    if (from.length === 0) throw new Error('the balancer has nobody to pass connections to');
    this.turn += 1;
    return from[this.turn % from.length]!;
  }
}
