/**
 * The thread that keeps a scheduler's leases, with a bus of its own. Waits for the bus as long as it takes; what the main thread reports
 * meanwhile is kept in its port. What it counts it tells the main thread.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { openNatsMessenger, type Messenger } from '@jobmon/messaging';
import { createLogger, readCounters, waitFor, type Need } from '@jobmon/runtime';
import { RenewalLoop } from './renewal';
import type { RenewalThreadData, RenewalThreadMessage } from './renewal-thread';

const COUNTS_MS = 2_000;

const tellCounts = async (): Promise<void> => parentPort?.postMessage(await readCounters());

async function keepLeases({ terms, nats, log: settings }: RenewalThreadData): Promise<void> {
  const log = createLogger({ service: 'scheduler', level: settings.level, destination: settings.file }).child({
    part: 'renewal',
    instance: terms.scheduler_instance,
  });
  const stopping = new AbortController();
  const begun: { messenger?: Messenger; loop?: RenewalLoop } = {};
  let hasReported = false;
  setInterval(() => void tellCounts(), COUNTS_MS).unref();
  parentPort?.on('message', (message: RenewalThreadMessage) => {
    if (message === 'report') {
      hasReported = true;
      begun.loop?.report();
      return;
    }
    stopping.abort();
    void (async () => {
      await begun.loop?.stop();
      await begun.messenger?.drain();
      await tellCounts();
      parentPort?.close();
    })();
  });
  const bus: Need<Messenger> = {
    name: 'bus',
    open: () => openNatsMessenger({ log, name: 'scheduler', ...nats }),
    checks: {},
    close: (opened) => opened.drain(),
  };
  try {
    begun.messenger = await waitFor(bus, { log, signal: stopping.signal });
  } catch (error) {
    if (stopping.signal.aborted) return;
    throw error;
  }
  begun.loop = new RenewalLoop({ log, messenger: begun.messenger }, terms);
  if (hasReported) begun.loop.report();
}

void keepLeases(workerData as RenewalThreadData);
