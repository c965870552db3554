/** How requests grow, and where they go then. */
import { DEFAULT_RESOURCE_SCALES, RESOURCES_MAX } from '@jobmon/contracts';
import { fallbackQueuesIn, limitsIn, placed, scaled, scalesIn, type QueueLimits, type Requested } from './scaling';

const growths: [string, Requested, Parameters<typeof scaled>[1], number, Requested][] = [
  ['by half', { cores: 1, memory: 2, runtime: 60 }, DEFAULT_RESOURCE_SCALES, 1, { cores: 1, memory: 3, runtime: 90 }],
  ['memory to a whole MiB', { memory: 0.1 }, { memory: 0.5 }, 1, { memory: 154 / 1024 }],
  [
    'not up for a fraction that is none',
    { memory: 10, runtime: 30 },
    { memory: 0.1, runtime: 0.1 },
    1,
    { memory: 11, runtime: 33 },
  ],
  ['run time to a whole second', { runtime: 0.4 }, { runtime: 0.5 }, 1, { runtime: 1 }],
  ['cores to a whole core', { cores: 3 }, { cores: 0.5 }, 1, { cores: 5 }],
  [
    'another whole amount to a whole one, a fraction as it is',
    { gpus: 1, share: 0.5 },
    { gpus: 0.5, share: 1 },
    1,
    { gpus: 2, share: 1 },
  ],
  ['by 0: not at all', { memory: 2 }, { memory: 0 }, 1, { memory: 2 }],
  ['by no scale: not at all', { memory: 2 }, {}, 1, { memory: 2 }],
  ['a list for the second attempt', { memory: 2 }, { memory: [4, 16] }, 1, { memory: 4 }],
  ['a list for the third', { memory: 2 }, { memory: [4, 16] }, 2, { memory: 16 }],
  ['the last of a list for all later ones', { memory: 2 }, { memory: [4, 16] }, 9, { memory: 16 }],
  ['not what was not asked for', { cores: 2 }, { memory: 1, runtime: [60] }, 1, { cores: 2 }],
  ['not what is no amount', { memory: 'much', stdout: '/o' }, { memory: 1, stdout: 1 }, 1, { memory: 'much', stdout: '/o' }],
  ['an amount that is stored as text', { memory: '2' }, { memory: 0.5 }, 1, { memory: 3 }],
  ['up to the largest figure', { runtime: 3e8 }, { runtime: 1 }, 1, { runtime: RESOURCES_MAX.runtime }],
];
test.each(growths)('a request grows %s', (_, requested, scales, num_attempts, larger) => {
  expect(scaled(requested, scales, num_attempts)).toEqual(larger);
});

const queue = (id: number, limits: Record<string, [number, number]>): QueueLimits => ({
  id,
  limits: new Map(Object.entries(limits)),
});
const short = queue(1, { memory: [0.5, 4], runtime: [1, 600] });
const long = queue(2, { memory: [0.5, 16], runtime: [1, 86_400] });
const huge = queue(3, { memory: [64, 512] });
const places: [string, Requested, [QueueLimits, ...QueueLimits[]], number, Requested][] = [
  ['stays where it fits', { memory: 4 }, [short, long], 1, { memory: 4 }],
  ['goes to the first fallback that takes it', { memory: 5 }, [short, huge, long], 2, { memory: 5 }],
  [
    'goes to the last one, cut, when none takes it',
    { memory: 20, runtime: 9, x: 1 },
    [short, long],
    2,
    { memory: 16, runtime: 9, x: 1 },
  ],
  ['is raised to the least that the last one takes', { memory: 20 }, [short, huge], 3, { memory: 64 }],
  ['is cut to its own queue without fallbacks', { memory: 20, runtime: 700 }, [short], 1, { memory: 4, runtime: 600 }],
  ['fits a queue without limits', { memory: 1e6 }, [queue(4, {})], 4, { memory: 1e6 }],
];
test.each(places)('a request %s', (_, requested, queues, id, after) => {
  const [found, request] = placed(requested, queues);
  expect([found.id, request]).toEqual([id, after]);
});

test.each([
  [null, DEFAULT_RESOURCE_SCALES],
  ['<function at 0x7f>', DEFAULT_RESOURCE_SCALES],
  ['[1]', DEFAULT_RESOURCE_SCALES],
  ['{}', {}],
  ['{"memory":0.2,"runtime":[60,90]}', { memory: 0.2, runtime: [60, 90] }],
  ["{'memory': 0.2, 'runtime': (60, 90)}", { memory: 0.2, runtime: [60, 90] }],
  [`{"memory":"<function grow>","runtime":-1,"cores":[],"x":null}`, { memory: 0.5, runtime: 0.5, cores: 0.5, x: 0.5 }],
])('the stored scales %s', (text, scales) => {
  expect(scalesIn(text)).toEqual(scales);
});

test('stored fallback queues and limits of queues, in JSON and in Python', () => {
  expect([null, '[]', '["long.q"]', "['long.q', 7]", 'None', 'x'].map(fallbackQueuesIn)).toEqual([
    [],
    [],
    ['long.q'],
    ['long.q'],
    [],
    [],
  ]);
  const limits = (text: string) => Object.fromEntries(limitsIn(text));
  expect(limits('{"cores": (1,20)}')).toEqual({ cores: [1, 20] });
  expect(limits('{"cores":[1,20],"memory":8,"runtime":["0","1"],"max":[9,1],"name":"x"}')).toEqual({
    cores: [1, 20],
    memory: [0, 8],
  });
  expect(limits('')).toEqual({});
});
