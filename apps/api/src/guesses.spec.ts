import { Guesses } from './guesses';

describe('guesses', () => {
  let now_ms: number;
  const guesses = (per_minute: number): Guesses => new Guesses(per_minute, () => now_ms);
  /** Seconds to wait, or that it passes. */
  const asked = (all: Guesses, address: string | null, hash = 'new'): number | 'passes' => {
    try {
      all.require(address, hash);
      return 'passes';
    } catch (error) {
      const { code, details } = error as { code: string; details: { retry_after_seconds: number } };
      expect(code).toBe('TOO_MANY');
      return details.retry_after_seconds;
    }
  };
  beforeEach(() => (now_ms = 1_000));

  it('are so many a minute, and the wait that is told is enough', () => {
    const all = guesses(4);
    for (let at = 0; at < 4; at++) {
      expect(asked(all, '192.0.2.7')).toBe('passes');
      all.failed('192.0.2.7');
    }
    expect(asked(all, '192.0.2.7')).toBe(15);
    now_ms += 14_000;
    expect(asked(all, '192.0.2.7')).toBe(1);
    now_ms += 1_000;
    expect(asked(all, '192.0.2.7')).toBe('passes');
    all.failed('192.0.2.7');
    expect(asked(all, '192.0.2.7')).toBe(15);
    now_ms += 60_000;
    for (let at = 0; at < 4; at++) all.failed('192.0.2.7');
    expect(asked(all, '192.0.2.7')).toBe(15);
  });

  it('shut nobody out who shows what was good before, nor other addresses', () => {
    const all = guesses(1);
    all.passed('good');
    all.failed('192.0.2.7');
    expect([asked(all, '192.0.2.7'), asked(all, '192.0.2.7', 'good'), asked(all, '192.0.2.8')]).toEqual([60, 'passes', 'passes']);
  });

  it.each([
    ['2001:db8:0:1::1', '2001:db8:0:1:ffff::2', true],
    ['2001:db8::1', '2001:db8:0:0:1::', true],
    ['2001:db8:0:1::1', '2001:db8:0:2::1', false],
    ['::1', '::2', true],
    [null, null, true],
    [null, '192.0.2.7', false],
  ])('of %s and %s are counted together: %s', (one, other, together) => {
    const all = guesses(1);
    all.failed(one);
    expect(asked(all, other)).toBe(together ? 60 : 'passes');
  });

  it('are counted in a memory that is bounded', () => {
    const all = guesses(1);
    all.failed('192.0.2.7');
    for (let at = 0; at < 10_000; at++) {
      all.failed(`10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`);
      all.passed(String(at));
    }
    const { counts, good } = all as unknown as { counts: Map<string, unknown>; good: Set<string> };
    expect([counts.size, good.size, counts.has('192.0.2.7')]).toEqual([10_000, 10_000, false]);
  });
});
