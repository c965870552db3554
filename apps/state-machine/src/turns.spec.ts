import { takeTurns, type RunInTurn, type Waiting } from './turns';

const run = (id: number, given: Partial<RunInTurn> = {}): RunInTurn => ({ id, priority: 0, is_new: false, ...given });

/** Attempts 100, 101, … of run 1, 200, 201, … of run 2, each of one core. */
const line = (runId: number, count: number): Waiting[] =>
  Array.from({ length: count }, (_, nth) => ({
    id: runId * 100 + nth,
    workflow_run_id: runId,
    cluster: 'local',
    cores: 1,
    memory_gib: 0,
    is_overdue: false,
  }));

/** Ids that leases of `slots` attempts give out, one lease after the other, as an agent asks whose commands end one by one. */
function leases(runs: readonly RunInTurn[], waiting: readonly Waiting[], slots: number, count: number): number[][] {
  let left = [...waiting];
  let head_starts = 0;
  return Array.from({ length: count }, () => {
    const wanted = new Map([['local', { slots, cores: slots, memory_gib: 1 }]]);
    const turns = takeTurns(runs, left, wanted, 500, head_starts, () => false);
    head_starts = turns.head_starts;
    left = left.filter((attempt) => !turns.chosen.includes(attempt));
    return turns.chosen.map(({ id }) => id);
  });
}

describe('turns', () => {
  it('give one attempt of each run after the other', () => {
    const waiting = [...line(1, 50), ...line(2, 2), ...line(3, 50)];
    expect(leases([run(2), run(3), run(1)], waiting, 7, 1)).toEqual([[200, 300, 100, 201, 301, 101, 302]]);
  });

  it('take all of a higher priority first, new or not', () => {
    const waiting = [...line(1, 2), ...line(2, 2), ...line(3, 2)];
    const runs = [run(1, { is_new: true }), run(2, { priority: 5 }), run(3)];
    expect(leases(runs, waiting, 5, 1)).toEqual([[200, 201, 100, 101, 300]]);
  });

  it('let new runs go ahead with seven of eight attempts, in one lease as in many', () => {
    const waiting = [...line(1, 50), ...line(2, 20), ...line(3, 20)];
    const runs = [run(1), run(2, { is_new: true }), run(3, { is_new: true })];
    const [atOnce] = leases(runs, waiting, 16, 1);
    expect(atOnce).toEqual([200, 300, 201, 301, 202, 302, 203, 100, 303, 204, 304, 205, 305, 206, 306, 101]);
    const single = leases(runs, waiting, 1, 16).flat();
    expect(single.filter((id) => id < 200)).toEqual([100, 101]);
    expect(single.indexOf(100)).toBe(7);
  });

  it('give a new run everything when nobody else waits, and owe nobody anything for it', () => {
    const alone = takeTurns(
      [run(2, { is_new: true })],
      line(2, 20),
      new Map([['local', { slots: 9, cores: 9, memory_gib: 1 }]]),
      500,
      0,
      () => false,
    );
    expect([alone.chosen.length, alone.head_starts]).toEqual([9, 0]);
  });

  it('fill the room with others when the head of a line does not fit', () => {
    const large = line(2, 2).map((attempt) => ({ ...attempt, cores: 4 }));
    expect(leases([run(2, { is_new: true }), run(1)], [...large, ...line(1, 5)], 3, 1)).toEqual([[100, 101, 102]]);
  });
});
