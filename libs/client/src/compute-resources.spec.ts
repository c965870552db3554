import { memoryGib, requestedResources, runtimeSeconds, wholeCores } from './compute-resources';

test.each<[number | string, number]>([
  [2, 2],
  [0.5, 0.5],
  ['4', 4],
  ['1G', 1],
  ['1.5GiB', 1.5],
  ['256M', 0.25],
  ['512mb', 0.5],
  ['1048576K', 1],
  ['2T', 2048],
  ['1073741824B', 1],
  [' 3 GB ', 3],
])('memory %j is %d GiB', (memory, gib) => expect(memoryGib(memory)).toBe(gib));

test.each(['', 'lots', '-1', 0, -2, NaN, Infinity, '1P', '1.G', '0G', '1025T', '1e3', true, ['1G'], null])(
  'memory %j is refused',
  (memory) => {
    expect(() => memoryGib(memory)).toThrow(/^memory must be .*, not /);
  },
);

test.each<[number | string, number]>([
  [90, 90],
  ['90s', 90],
  ['10m', 600],
  ['2h', 7_200],
  ['1.5h', 5_400],
  ['01:30:05', 5_405],
  ['100:00:00', 360_000],
  [0.2, 1],
])('runtime %j is %d seconds', (runtime, seconds) => expect(runtimeSeconds(runtime)).toBe(seconds));

test.each(['', 'soon', 0, -5, NaN, '1:2', '00:61:00', '5d', '00:00:00', '99999h', 4e8, false, {}])(
  'runtime %j is refused',
  (runtime) => {
    expect(() => runtimeSeconds(runtime)).toThrow(/^runtime must be .*, not /);
  },
);

test.each<[number | string, number]>([
  [4, 4],
  [' 8 ', 8],
])('cores %j are %d', (cores, count) => expect(wholeCores(cores)).toBe(count));

test.each([0, -1, 1.5, NaN, Infinity, '', 'two', '1.5', 100_001, null])('cores %j are refused', (cores) => {
  expect(() => wholeCores(cores)).toThrow('cores must be a whole number from 1 to 100000, not');
});

test.each([{ queue: '' }, { project: 7 as unknown as string }, { stdout: ' ' }])('%j is refused', (resources) => {
  expect(() => requestedResources(resources)).toThrow('must be text');
});

test('nearer givers replace single entries; the queue stands beside the request; unknown entries pass', () => {
  const tool = { cores: 1, memory: 1, queue: 'long.q', stdout: '/logs' };
  const task = { memory: '2G', runtime: '1m', queue: 'null.q', project: 'x', stderr: undefined };
  expect(requestedResources(tool, undefined, task)).toEqual({
    queue: 'null.q',
    requested: { cores: 1, memory: 2, runtime: 60, stdout: '/logs', project: 'x' },
  });
  expect(requestedResources(undefined)).toEqual({ queue: undefined, requested: {} });
  expect(() => requestedResources({ cores: 1.5 })).toThrow('cores must be a whole number');
});
