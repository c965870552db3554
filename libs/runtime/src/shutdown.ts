/**
 * What a process does when it is told to stop. SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal was closed) start an orderly
 * stop with a bound; a second SIGINT ends the process at once. A reader of standard output that went away is no error.
 */
import type { Logger } from './logging';

export interface ShutdownOptions {
  readonly log: Logger;
  /** Longest time that `stop` may take; then the process ends with exit code 1. 25 s when absent: the bus drains for 20. */
  readonly bound_ms?: number;
}

const BOUND_MS_DEFAULT = 25_000;
/**
 * Two SIGINT within this time are one key press: the terminal sends it to the whole process group, and npm passes on to its
 * child what the child was sent already.
 */
const KEY_PRESS_MS = 200;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** Exit code of a process that Ctrl-C ended: 128 + 2. */
const EXIT_INTERRUPTED = 130;

/**
 * Calls `stop` once when the first signal comes and ends the process after it: exit code 0, or 1 when `stop` failed or took
 * too long. A second SIGINT, by another press of the keys, ends it at once with 130; further SIGTERM and SIGHUP change nothing. Answers a function that
 * takes the listeners away again, for processes that end by themselves.
 */
export function onShutdown(stop: (signal: NodeJS.Signals) => Promise<void>, options: ShutdownOptions): () => void {
  const { log } = options;
  const bound = options.bound_ms ?? BOUND_MS_DEFAULT;
  let isStopping = false;
  let firstAt = 0;

  const onSignal = (signal: NodeJS.Signals): void => {
    if (isStopping) {
      if (signal === 'SIGINT' && performance.now() - firstAt > KEY_PRESS_MS) process.exit(EXIT_INTERRUPTED);
      return;
    }
    isStopping = true;
    firstAt = performance.now();
    log.info({ signal }, 'stopping');
    setTimeout(() => {
      log.error({ bound_ms: bound }, 'could not stop in time');
      process.exit(1);
    }, bound).unref();
    stop(signal).then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ error }, 'stopping failed');
        process.exit(1);
      },
    );
  };

  for (const signal of SIGNALS) process.on(signal, onSignal);
  process.stdout.on('error', ignoreClosedPipe);
  process.stderr.on('error', ignoreClosedPipe);
  return () => {
    for (const signal of SIGNALS) process.off(signal, onSignal);
    process.stdout.off('error', ignoreClosedPipe);
    process.stderr.off('error', ignoreClosedPipe);
  };
}

/** EPIPE: the program behind the pipe has ended. EIO: the terminal was closed. */
function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error;
}
