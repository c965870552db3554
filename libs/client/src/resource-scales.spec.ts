import { keptScales, listedScales, type ResourceScales } from './resource-scales';

const listed = (
  scales: ResourceScales,
  maxAttempts = 4,
  requested: Record<string, unknown> = { memory: 1, runtime: 60, cores: 1 },
) => listedScales([keptScales(scales)], maxAttempts, requested);

test('memory and runtime grow by one half when nobody says anything', () => {
  expect(listedScales([], 3, {})).toEqual({ memory: 0.5, runtime: 0.5 });
  expect(listed({ runtime: 0 })).toEqual({ memory: 0.5, runtime: 0 });
});

test('a nearer giver replaces single entries', () => {
  const givers = [{ memory: 0.1, runtime: 0.2 }, undefined, { memory: [2, 4] }].map((scales) => scales && keptScales(scales));
  expect(listedScales(givers, 3, {})).toEqual({ memory: [2, 4], runtime: 0.2 });
});

test('a list and an iterator are values of later attempts, with units; of an endless one as many are taken as there are attempts', () => {
  function* doubled() {
    for (let gib = 2; ; gib *= 2) yield gib;
  }
  expect(listed({ memory: ['512M', '1.5G', 3, 4, 5], runtime: ['10m', '01:00:00'], cores: ['2'] })).toEqual({
    memory: [0.5, 1.5, 3],
    runtime: [600, 3_600],
    cores: [2],
  });
  expect(listed({ memory: doubled() }).memory).toEqual([2, 4, 8]);
  // Once only, and by every task that has it.
  const kept = keptScales({ memory: doubled() });
  expect(listedScales([kept], 3, {}).memory).toEqual([2, 4]);
  expect(listedScales([kept], 5, {}).memory).toEqual([2, 4, 8, 16]);
  expect(listedScales([kept], 2, {}).memory).toEqual([2]);
});

test('a function goes from value to value, and stops at what no machine has', () => {
  expect(listed({ memory: (gib) => gib * 3 }).memory).toEqual([3, 9, 27]);
  expect(listed({ runtime: (seconds) => seconds * 1.01, cores: (cores) => cores + 0.5 })).toMatchObject({
    runtime: [61, 62, 63],
    cores: [2, 3, 4],
  });
  expect(listed({ memory: () => '2T' }).memory).toEqual([2048, 2048, 2048]);
  expect(listed({ memory: (gib) => gib * 1_000 }, 10).memory).toEqual([1_000, 1_000_000, 1_048_576]);
  expect(listed({ memory: (gib) => gib * 3 }, 1)).toEqual({ runtime: 0.5 });
});

test('lists that no column could hold lose what grew most often', () => {
  const { memory, runtime } = listed({ memory: (gib) => gib + 0.123456789, runtime: (seconds) => seconds + 1 }, 1_000);
  expect(JSON.stringify({ memory, runtime }).length).toBeLessThanOrEqual(1_000);
  expect((runtime as number[]).slice(0, 3)).toEqual([61, 62, 63]);
  expect((memory as number[]).length).toBeGreaterThan(20);
});

test.each<[unknown, string]>([
  [-0.5, 'the scale of memory: a factor must be from 0 to 1000, not -0.5'],
  [NaN, 'a factor must be from 0 to 1000, not NaN'],
  [1_001, 'a factor must be from 0 to 1000'],
  ['50%', 'must be a number, a list, an iterator or a function, not "50%"'],
  [{}, 'must be a number, a list, an iterator or a function'],
  [[], 'the list is empty'],
  [['lots'], 'memory must be a number of GiB'],
  [[-1], 'memory must be a number of GiB'],
  [() => NaN, 'memory must be a number of GiB'],
  [() => 0, 'memory must be a number of GiB'],
  [() => undefined, 'memory must be a number of GiB'],
  [() => Infinity, 'memory must be a number of GiB'],
  [
    () => {
      throw new Error('no idea');
    },
    'the scale of memory failed for 1: no idea',
  ],
])('the scale %p is refused', (scale, sentence) => {
  expect(() => listed({ memory: scale } as ResourceScales)).toThrow(sentence);
});

test('a function needs an old value', () => {
  expect(() => listed({ memory: (gib) => gib }, 3, {})).toThrow('the task asks for no memory; ask for some');
});
