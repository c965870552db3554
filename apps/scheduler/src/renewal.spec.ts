/** How long leases are kept while the loop that walks the runs is silent. */
import { renewScheduler } from '@jobmon/contracts';
import { inProcessMessenger } from '@jobmon/messaging';
import { pino } from 'pino';
import { RenewalLoop, renewedSeconds } from './renewal';

const log = pino({ level: 'silent' });

/** Answers when `isTrue` does; throws after 20 s. */
async function until(isTrue: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 20_000; !isTrue();) {
    if (Date.now() > deadline) throw new Error('what was waited for did not come within 20 s');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('how long leases are renewed', () => {
  it.each([
    [6, 0, 6],
    [6, 1_900, 6],
    [6, 3_500, 4],
    [6, 4_999, 3],
    [6, 5_000, null],
    [60, 4_000, 58],
    [60, Number.POSITIVE_INFINITY, null],
    [3, 4_900, 1],
  ])('of %i s, after %i ms of silence: %s s', (lease_seconds, silent_ms, seconds) => {
    expect(renewedSeconds(lease_seconds, silent_ms)).toBe(seconds);
  });

  it('ends at most its length and two seconds after the last report, whenever it was renewed last', () => {
    for (let silent_ms = 0; silent_ms < 5_000; silent_ms += 100) {
      const seconds = renewedSeconds(6, silent_ms);
      expect(silent_ms + 1_000 * (seconds ?? 0)).toBeLessThanOrEqual(8_000);
    }
  });
});

describe('the renewal of leases', () => {
  it('begins with the first report, stops after 5 s without one, and goes on with the next', async () => {
    let now = 0;
    let ticks = 0;
    const renewed: number[] = [];
    const messenger = inProcessMessenger({ log });
    messenger.handle(renewScheduler, async (requests) => {
      renewed.push(...requests.map(({ seconds }) => seconds));
      return requests.map(() => ({ ok: {} }));
    });
    const terms = { scheduler_instance: 'a', lease_seconds: 1 };
    const loop = new RenewalLoop({ log, messenger }, terms, () => {
      ticks += 1;
      return now;
    });
    const ticksMore = async (count: number): Promise<void> => {
      const wanted = ticks + count;
      await until(() => ticks >= wanted);
    };
    await ticksMore(2);
    expect(renewed).toEqual([]);
    loop.report();
    await until(() => renewed.length >= 2);
    now = 4_999;
    const before = renewed.length;
    await until(() => renewed.length > before);
    now = 5_000;
    await ticksMore(1);
    const last = renewed.length;
    await ticksMore(2);
    expect(renewed).toHaveLength(last);
    loop.report();
    await until(() => renewed.length > last);
    await loop.stop();
    const stopped = renewed.length;
    const { length } = renewed;
    await new Promise((resolve) => setImmediate(resolve));
    expect([stopped, new Set(renewed)]).toEqual([length, new Set([1])]);
    await messenger.drain();
  });
});
