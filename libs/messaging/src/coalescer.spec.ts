import fc from 'fast-check';
import { JobmonError } from '@jobmon/contracts';
import { Coalescer, type CoalescerOptions } from './coalescer';
import type { Outcome } from './messenger';

/** A `run` that records its batches and ends each when the test says so. */
function recorder() {
  const batches: string[][] = [];
  const gates: (() => void)[] = [];
  const run = async (items: string[]): Promise<Outcome<string>[]> => {
    batches.push(items);
    await new Promise<void>((open) => gates.push(open));
    return items.map((item) => ({ ok: item.toUpperCase() }));
  };
  return { batches, gates, run };
}

function coalescer(options: Pick<CoalescerOptions<string, string>, 'run'> & Partial<CoalescerOptions<string, string>>) {
  return new Coalescer<string, string>({
    rows_max: 100,
    bytes_max: 1_000,
    sizeOf: (item) => item.length,
    waiting_max: 1_000,
    ...options,
  });
}

const turnOfLoop = (): Promise<void> => new Promise((go) => setImmediate(go));

it('puts calls of one turn of the event loop into one batch, and what comes later into the next', async () => {
  const { batches, gates, run } = recorder();
  const under = coalescer({ run });
  const first = [under.add('a'), under.add('b')];
  await turnOfLoop();
  const second = [under.add('c'), under.add('d'), under.add('e')];
  await turnOfLoop();
  expect(batches).toEqual([['a', 'b']]);
  expect(under.waiting).toBe(3);
  gates[0]!();
  expect(await Promise.all(first)).toEqual([{ ok: 'A' }, { ok: 'B' }]);
  await turnOfLoop();
  expect(batches).toEqual([
    ['a', 'b'],
    ['c', 'd', 'e'],
  ]);
  gates[1]!();
  expect(await Promise.all(second)).toEqual([{ ok: 'C' }, { ok: 'D' }, { ok: 'E' }]);
});

it('caps a batch by rows and by bytes', async () => {
  const batches: string[][] = [];
  const run = async (items: string[]): Promise<Outcome<string>[]> => {
    batches.push(items);
    return items.map((item) => ({ ok: item }));
  };
  const under = coalescer({ run, rows_max: 3, bytes_max: 5 });
  await Promise.all(['a', 'b', 'c', 'dddd', 'ee', 'fffff', 'g'].map((item) => under.add(item)));
  expect(batches).toEqual([['a', 'b', 'c'], ['dddd'], ['ee'], ['fffff'], ['g']]);
});

it('refuses an item that no batch holds, and items beyond the bound', async () => {
  const { batches, gates, run } = recorder();
  const under = coalescer({ run, bytes_max: 5, waiting_max: 2 });
  expect(await under.add('sixsix')).toMatchObject({ error: { code: 'TOO_LARGE' } });
  const running = under.add('a');
  await turnOfLoop();
  const waiting = [under.add('b'), under.add('c')];
  expect(await under.add('d')).toMatchObject({ error: { code: 'UNAVAILABLE' } });
  gates[0]!();
  await running;
  await turnOfLoop();
  gates[1]!();
  await Promise.all(waiting);
  expect(batches).toEqual([['a'], ['b', 'c']]);
});

it('answers UNAVAILABLE to what has waited too long when its batch would start, and runs what came later', async () => {
  let now = 1_000;
  const clock = jest.spyOn(performance, 'now').mockImplementation(() => now);
  try {
    const { batches, gates, run } = recorder();
    const under = coalescer({ run, waiting_ms_max: 9_000, keyOf: (item) => item.slice(0, 1) });
    const running = under.add('first');
    await turnOfLoop();
    const late = [under.add('a late'), under.add('b late')];
    now += 1;
    const inTime = under.add('a in time');
    now += 9_000;
    gates[0]!();
    expect(await running).toEqual({ ok: 'FIRST' });
    for (const outcome of await Promise.all(late)) expect(outcome).toMatchObject({ error: { code: 'UNAVAILABLE' } });
    await turnOfLoop();
    expect(batches).toEqual([['first'], ['a in time']]);
    gates[1]!();
    expect(await inTime).toEqual({ ok: 'A IN TIME' });
    expect(under.waiting).toBe(0);
    await under.drain();
  } finally {
    clock.mockRestore();
  }
});

it('lets keys take turns', async () => {
  const { batches, gates, run } = recorder();
  const under = coalescer({ run, rows_max: 4, keyOf: (item) => item[0] as string });
  const all = ['a1', 'a2', 'a3', 'a4', 'a5', 'a6', 'b1', 'c1', 'c2'].map((item) => under.add(item));
  for (const expected of [1, 2, 3]) {
    await turnOfLoop();
    expect(batches).toHaveLength(expected);
    gates[expected - 1]!();
    await turnOfLoop();
  }
  await Promise.all(all);
  expect(batches).toEqual([['a1', 'b1', 'c1', 'a2'], ['c2', 'a3', 'a4', 'a5'], ['a6']]);
});

it('runs as many batches side by side as it may', async () => {
  const { batches, gates, run } = recorder();
  const under = coalescer({ run, rows_max: 1, concurrency: 2 });
  const all = ['a', 'b', 'c'].map((item) => under.add(item));
  await turnOfLoop();
  expect(batches).toEqual([['a'], ['b']]);
  gates[1]!();
  await all[1];
  await turnOfLoop();
  expect(batches).toEqual([['a'], ['b'], ['c']]);
  gates[0]!();
  gates[2]!();
  await Promise.all(all);
});

it.each([
  ['a named error', new JobmonError('CONFLICT', 'no'), { code: 'CONFLICT', message: 'no' }],
  ['a defect', new TypeError('secret'), { code: 'INTERNAL', message: 'internal error' }],
])('answers %s of the run to every item, and goes on', async (_name, thrown, error) => {
  let isBroken = true;
  const under = coalescer({
    run: async (items) => {
      if (isBroken) throw thrown;
      return items.map((item) => ({ ok: item }));
    },
  });
  expect(await Promise.all([under.add('a'), under.add('b')])).toEqual([{ error }, { error }]);
  isBroken = false;
  expect(await under.add('c')).toEqual({ ok: 'c' });
});

it('answers INTERNAL when the run answers a wrong number of outcomes', async () => {
  const under = coalescer({ run: async () => [{ ok: 'only one' }] });
  expect(await Promise.all([under.add('a'), under.add('b')])).toMatchObject([
    { error: { code: 'INTERNAL' } },
    { error: { code: 'INTERNAL' } },
  ]);
});

it('drains: takes nothing new, finishes what it took', async () => {
  const { gates, run } = recorder();
  const under = coalescer({ run, rows_max: 1 });
  const taken = [under.add('a'), under.add('b')];
  let isDrained = false;
  const drained = under.drain().then(() => (isDrained = true));
  expect(await under.add('c')).toMatchObject({ error: { code: 'UNAVAILABLE' } });
  await turnOfLoop();
  gates[0]!();
  await taken[0];
  await turnOfLoop();
  expect(isDrained).toBe(false);
  gates[1]!();
  await drained;
  expect(await Promise.all(taken)).toEqual([{ ok: 'A' }, { ok: 'B' }]);
  await under.drain();
});

it('gives back the memory of what it served while it never runs empty', async () => {
  const under = coalescer({ run: async (items) => items.map((item) => ({ ok: item })), rows_max: 10, waiting_max: 100_000 });
  const waiting = new Set<Promise<unknown>>();
  for (let count = 0; count < 5_000; count += 1) waiting.add(under.add('x'));
  const held = (): number =>
    [...(under as unknown as { turns: Map<string, { items: unknown[] }> }).turns.values()][0]!.items.length;
  for (let round = 0; round < 1_000; round += 1) {
    for (let count = 0; count < 10; count += 1) waiting.add(under.add('x'));
    await turnOfLoop();
  }
  expect(held()).toBeLessThan(12_000);
  await Promise.all(waiting);
});

it('answers every item with its own outcome, once, within the caps, in order of its key, in a place that no other batch has', async () => {
  const item = fc.record({ key: fc.integer({ min: 0, max: 4 }), size: fc.integer({ min: 1, max: 6 }) });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(item, { maxLength: 12 }), { maxLength: 8 }),
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 1, max: 3 }),
      async (rounds, rows_max, concurrency) => {
        const seen: { key: number; number: number }[] = [];
        const taken = new Set<number>();
        const under = new Coalescer<{ key: number; size: number; number: number }, number>({
          rows_max,
          bytes_max: 8,
          sizeOf: ({ size }) => size,
          keyOf: ({ key }) => key,
          waiting_max: 1_000,
          concurrency,
          run: async (items, place) => {
            expect(taken).not.toContain(place);
            expect(place).toBeLessThan(concurrency);
            taken.add(place);
            expect(items.length).toBeLessThanOrEqual(rows_max);
            expect(items.reduce((sum, { size }) => sum + size, 0)).toBeLessThanOrEqual(8);
            seen.push(...items);
            await turnOfLoop();
            taken.delete(place);
            return items.map(({ number }) => ({ ok: number }));
          },
        });
        let number = 0;
        const outcomes: Promise<[number, Outcome<number>]>[] = [];
        for (const round of rounds) {
          for (const given of round) {
            const mine = (number += 1);
            outcomes.push(under.add({ ...given, number: mine }).then((outcome) => [mine, outcome]));
          }
          await turnOfLoop();
        }
        for (const [mine, outcome] of await Promise.all(outcomes)) expect(outcome).toEqual({ ok: mine });
        expect(seen).toHaveLength(number);
        for (const key of [0, 1, 2, 3, 4]) {
          const numbers = seen.filter((entry) => entry.key === key).map((entry) => entry.number);
          expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
        }
      },
    ),
    { numRuns: 100 },
  );
});
