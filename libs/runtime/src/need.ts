/**
 * What a process can't work without (a database, the bus), and how it waits for it: again and again, at growing pauses, with one
 * log line for each change of the cause and not one for each try. A process that waits lives and says what it waits for; ending
 * and being started anew would tell nobody anything.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { JobmonError } from '@jobmon/contracts';
import type { Logger } from './logging';

/** Something that a process opens, checks while it works, and closes. */
export interface Need<Opened> {
  readonly name: string;
  /**
   * Opens it. A JobmonError UNAVAILABLE says that waiting can help, and is waited for; everything else ends the process. Where its
   * details hold `{ check: NAME }`, it is that check that fails, and those before it are fulfilled.
   */
  open(): Promise<Opened>;
  /** Asks whether it is still there, by the names that `/health/ready` shows, in the order in which they build on each other. */
  readonly checks: Readonly<Record<string, (opened: Opened) => Promise<void>>>;
  close(opened: Opened): Promise<void>;
}

const PAUSE_MS_MIN = 250;
const PAUSE_MS_MAX = 5_000;

export interface WaitOptions {
  readonly log: Logger;
  /** Aborted when the process is to end; waiting ends with the signal's reason then. */
  readonly signal: AbortSignal;
  /** Told at each failed try, and null when it is open. */
  readonly onTry?: (failure: JobmonError | null) => void;
}

/**
 * Opens a need, waiting for it as long as it takes.
 *
 * @throws what `open` threw where waiting can't help, and the signal's reason when the process is to end.
 */
export async function waitFor<Opened>(need: Need<Opened>, { log, signal, onTry }: WaitOptions): Promise<Opened> {
  const since = performance.now();
  let told: string | null = null;
  for (let pause_ms = PAUSE_MS_MIN; ; pause_ms = Math.min(pause_ms * 2, PAUSE_MS_MAX)) {
    signal.throwIfAborted();
    try {
      const opened = await need.open();
      onTry?.(null);
      const waited_s = Math.round((performance.now() - since) / 100) / 10;
      log.info({ need: need.name, ...(told === null ? {} : { waited_s }) }, `the ${need.name} is there`);
      return opened;
    } catch (error) {
      if (!(error instanceof JobmonError) || error.code !== 'UNAVAILABLE') throw error;
      onTry?.(error);
      if (error.message !== told) log.warn({ need: need.name }, `waits for the ${need.name}: ${error.message}`);
      told = error.message;
    }
    // A random part keeps processes that lost the same need from asking for it in step.
    await pause(pause_ms * (0.75 + Math.random() / 2), undefined, { signal });
  }
}
