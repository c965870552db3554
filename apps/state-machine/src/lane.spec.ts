import { JobmonError } from '@jobmon/contracts';
import { createLogger } from '@jobmon/runtime';
import { Lane, type LaneOptions } from './lane';
import { GuardMissed } from './guard';

function lane(write: (items: number[]) => Promise<number[]>, more: Partial<LaneOptions<number, number>> = {}) {
  const batches: number[][] = [];
  const lines: { level: string; message: string }[] = [];
  const made = new Lane<number, number>({
    name: 'test',
    log: createLogger({ service: 'test', level: 'info', destination: { write: (line) => void lines.push(JSON.parse(line)) } }),
    rows_max: 500,
    bytes_max: 1_000_000,
    waiting_max: 2_000,
    sizeOf: () => 1,
    write: async (items) => {
      batches.push(items);
      return (await write(items)).map((ok) => ({ ok }));
    },
    ...more,
  });
  const send = (items: number[]) => Promise.all(items.map((item) => made.add(item)));
  return { made, batches, lines, send };
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, at) => at);

describe('a lane', () => {
  test('splits a failed batch until the culprit is alone, in at most 2·log2(n) + 1 transactions', async () => {
    const { send, batches, lines } = lane(async (items) => {
      if (items.includes(321)) throw new Error('a value that no column takes');
      return items;
    });
    const outcomes = await send(numbers(500));
    expect(outcomes.map((outcome) => ('ok' in outcome ? outcome.ok : outcome.error.code))).toEqual(
      numbers(500).map((item) => (item === 321 ? 'INTERNAL' : item)),
    );
    expect(batches.length).toBeLessThanOrEqual(2 * 9 + 1);
    expect(lines).toMatchObject([{ level: 'error', message: 'a request failed' }]);
  });

  test('tells a refusal its own code and does not log it as a defect', async () => {
    const { send, lines } = lane(async () => {
      throw new JobmonError('NOT_FOUND', 'there is no such thing');
    });
    expect(await send([1])).toEqual([{ error: { code: 'NOT_FOUND', message: 'there is no such thing' } }]);
    expect(lines).toEqual([]);
  });

  test('does each request alone after a guard that missed', async () => {
    let isFirst = true;
    const { send, batches, lines } = lane(async (items) => {
      if (isFirst) {
        isFirst = false;
        throw new GuardMissed('task R→D', 4, 3);
      }
      return items;
    });
    expect(await send(numbers(4))).toEqual(numbers(4).map((ok) => ({ ok })));
    expect(batches).toEqual([numbers(4), [0], [1], [2], [3]]);
    expect(lines).toMatchObject([{ level: 'error' }]);
  });

  test('does not split what fails for want of a database', async () => {
    const { send, batches } = lane(async () => {
      throw new JobmonError('UNAVAILABLE', 'the database is away');
    });
    const outcomes = await send(numbers(10));
    expect(outcomes.every((outcome) => 'error' in outcome && outcome.error.code === 'UNAVAILABLE')).toBe(true);
    expect(batches).toHaveLength(1);
  });

  test('does a batch once more when the answer to its COMMIT was lost, and only once', async () => {
    const lost = new JobmonError('UNAVAILABLE', 'lost', { commit_unknown: true });
    let losses = 1;
    const { send, batches } = lane(async (items) => {
      if (losses > 0) {
        losses -= 1;
        throw lost;
      }
      return items;
    });
    expect(await send([7])).toEqual([{ ok: 7 }]);
    losses = 2;
    expect(await send([8])).toEqual([{ error: lost.toBody() }]);
    expect(batches).toEqual([[7], [7], [8], [8]]);
  });

  test('gives a small workflow its turn beside a large one', async () => {
    const { send, batches } = lane(async (items) => items, { rows_max: 4, keyOf: (item) => (item < 100 ? 'large' : 'small') });
    await send([...numbers(12), 100, 101]);
    expect(batches[0]).toEqual([0, 100, 1, 101]);
  });
});
