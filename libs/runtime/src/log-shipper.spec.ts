import { setTimeout as pause } from 'node:timers/promises';
import type { SentLogRecord } from '@jobmon/contracts';
import { LogQueue } from './log-queue';
import { shipLogs } from './log-shipper';
import { createLogger } from './logging';

async function until(isSo: () => boolean): Promise<void> {
  for (let waited_ms = 0; !isSo(); waited_ms += 5) {
    if (waited_ms > 20_000) throw new Error('it did not come to that');
    await pause(5);
  }
}

function started(
  publish: (records: readonly SentLogRecord[]) => Promise<void>,
  options: { lines_max: number; bytes_max?: number },
) {
  const queue = new LogQueue(options);
  const lines: string[] = [];
  const log = createLogger({ service: 'api', level: 'info', destination: { write: (line) => void lines.push(line) }, queue });
  return { queue, log, lines, shipper: shipLogs({ queue, stream: { publish }, log, bytes_max: options.bytes_max }) };
}

it('waits for a slow sink with one message, sheds what has no room, and says how much when there is room again', async () => {
  const sent: SentLogRecord[][] = [];
  let release: () => void = () => undefined;
  const slow = new Promise<void>((resolve) => (release = resolve));
  const { queue, log, lines, shipper } = started(
    async (records) => {
      sent.push([...records]);
      if (sent.length === 1) await slow;
    },
    { lines_max: 20 },
  );
  log.warn('the first');
  await until(() => sent.length === 1);
  const began = performance.now();
  for (let n = 0; n < 1_000; n += 1) log.warn({ n }, 'flood');
  // None of a thousand lines waits for the sink, which takes none of them.
  expect(performance.now() - began).toBeLessThan(5_000);
  expect([lines.length, sent.length, queue.waiting, queue.counts]).toEqual([1_001, 1, 20, { taken: 21, shed: 980 }]);
  release();
  await until(() => sent.flat().some(({ detail }) => detail.shed === 980));
  expect(
    sent
      .flat()
      .filter(({ text }) => text === 'flood')
      .map(({ detail }) => detail.n),
  ).toEqual(Array.from({ length: 20 }, (_, n) => n));
  await shipper.close();
});

it('makes messages that are no longer than they may be', async () => {
  const sizes: number[] = [];
  const { log, shipper } = started(async (records) => void sizes.push(Buffer.byteLength(JSON.stringify(records))), {
    lines_max: 100,
    bytes_max: 10_000,
  });
  for (let n = 0; n < 10; n += 1) log.warn('é'.repeat(2_000));
  await shipper.close();
  expect(sizes.length).toBe(5);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(10_000);
});
