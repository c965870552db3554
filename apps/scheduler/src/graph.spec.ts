import { type TaskStatus } from '@jobmon/contracts';
import fc from 'fast-check';
import { type Graph, GraphBuilder } from './graph';

/** A small graph: task ids are 1 … n in one array (or the array named), node ids are task ids plus 1,000. */
function graphOf(edges: readonly (readonly [number, number])[], statuses: string, arrayOf = (_id: number): number => 7): Graph {
  const builder = new GraphBuilder();
  const ids = [...statuses].map((_, index) => index + 1);
  for (const array of [...new Set(ids.map(arrayOf))]) {
    builder.beginArray(array);
    for (const id of ids.filter((each) => arrayOf(each) === array)) {
      builder.addTask({ id, node_id: id + 1_000, status: statuses[id - 1] as string });
    }
  }
  for (const id of ids) {
    const downstream = edges.filter(([from]) => from === id).map(([, to]) => to + 1_000);
    builder.addEdges(id + 1_000, downstream);
  }
  return builder.build();
}

const taken = (graph: Graph, max = 1_000): number[] => graph.take(max).map((position) => graph.taskIdAt(position));

function set(graph: Graph, id: number, status: TaskStatus, array = 7): void {
  graph.setStatus(graph.positionOf(array, id), status);
}

function answer(graph: Graph, id: number, status: TaskStatus, array = 7): void {
  set(graph, id, status, array);
  graph.settle([graph.positionOf(array, id)]);
}

describe('a graph', () => {
  it('gives out the tasks without upstreams first, and a downstream when its last upstream is done', () => {
    const graph = graphOf([[1, 3], [2, 3]], 'GGG'); // prettier-ignore
    expect(taken(graph)).toEqual([1, 2]);
    expect(taken(graph)).toEqual([]);
    answer(graph, 1, 'Q');
    answer(graph, 2, 'Q');
    set(graph, 1, 'D');
    expect(graph.hasReady).toBe(false);
    set(graph, 2, 'D');
    expect(taken(graph)).toEqual([3]);
  });

  it('takes up a graph in the middle of a run', () => {
    const graph = graphOf([[1, 3], [2, 3], [1, 4]], 'DRGA'); // prettier-ignore
    expect(taken(graph)).toEqual([4]);
    expect(graph.activeCount).toBe(1);
    set(graph, 2, 'D');
    expect(taken(graph)).toEqual([3]);
  });

  it('gives a failed attempt out again, and never what stands behind a task that failed for good', () => {
    const graph = graphOf([[1, 2]], 'GG');
    taken(graph);
    answer(graph, 1, 'Q');
    set(graph, 1, 'G');
    expect(taken(graph)).toEqual([1]);
    answer(graph, 1, 'Q');
    set(graph, 1, 'F');
    expect(graph.hasReady).toBe(false);
    expect(graph.isOver).toBe(true);
    expect(graph.isAllDone).toBe(false);
  });

  it('makes a downstream wait again when its upstream is reset', () => {
    const graph = graphOf([[1, 2]], 'DG');
    expect(graph.hasReady).toBe(true);
    set(graph, 1, 'G');
    expect(taken(graph)).toEqual([1]);
    answer(graph, 1, 'D');
    expect(taken(graph)).toEqual([2]);
  });

  it('is over when all is done, and not while something is being asked about', () => {
    const graph = graphOf([], 'GD');
    const positions = graph.take(10);
    expect(graph.isOver).toBe(false);
    graph.settle(positions);
    expect(graph.isOver).toBe(false);
    set(graph, 1, 'D');
    expect([graph.isOver, graph.isAllDone]).toEqual([true, true]);
    expect(graphOf([], '').isOver).toBe(true);
  });

  it('asks of a limited array only as many as have finished since, and leaves other arrays alone', () => {
    const graph = graphOf([], 'GGGGGG', (id) => (id <= 4 ? 7 : 8));
    const positions = graph.take(4);
    answer(graph, 1, 'Q');
    graph.settle(positions);
    graph.limit(graph.positionOf(7, 2));
    expect(taken(graph)).toEqual([5, 6]);
    expect(graph.hasReady).toBe(false);
    expect(graph.isOver).toBe(false);
    set(graph, 1, 'D');
    expect(taken(graph)).toEqual([2]);
    expect(taken(graph)).toEqual([]);
    graph.unlimit();
    expect(taken(graph)).toEqual([3, 4]);
  });

  it('passes over nodes that have no task here', () => {
    const builder = new GraphBuilder();
    builder.beginArray(7);
    builder.addTask({ id: 1, node_id: 11, status: 'G' });
    builder.addEdges(11, [12]);
    builder.addEdges(13, [11]);
    expect(taken(builder.build())).toEqual([1]);
    expect(builder.build().positionOf(7, 2)).toBe(-1);
    expect(builder.build().positionOf(9, 1)).toBe(-1);
  });

  it('agrees with a plain model over random graphs and random commands', () => {
    const letters = ['G', 'Q', 'I', 'O', 'R', 'D', 'A', 'F'] as const;
    const command = fc.oneof(
      fc.record({ kind: fc.constant('set' as const), at: fc.nat(), to: fc.constantFrom(...letters) }),
      fc.record({ kind: fc.constant('take' as const), max: fc.integer({ min: 1, max: 9 }) }),
      fc.record({ kind: fc.constant('settle' as const) }),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 70 }),
        fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 150 }),
        fc.infiniteStream(fc.constantFrom(...letters)),
        fc.array(command, { maxLength: 60 }),
        (size, rawEdges, letterStream, commands) => {
          const edges = rawEdges.map(([a, b]) => [(a % size) + 1, (b % size) + 1] as const).filter(([from, to]) => from < to);
          const arrayOf = (id: number): number => 100 + (id % 3);
          const status = Array.from({ length: size }, () => letterStream.next().value as (typeof letters)[number]);
          const graph = graphOf(edges, status.join(''), arrayOf);
          const asked = new Set<number>();
          const isReady = (id: number): boolean =>
            'GA'.includes(status[id - 1] as string) &&
            !asked.has(id) &&
            edges.every(([from, to]) => to !== id || status[from - 1] === 'D');
          for (const each of commands) {
            if (each.kind === 'set') {
              const id = (each.at % size) + 1;
              status[id - 1] = each.to;
              set(graph, id, each.to, arrayOf(id));
            } else if (each.kind === 'take') {
              const ready = status.map((_, index) => index + 1).filter(isReady);
              const got = taken(graph, each.max);
              expect(got.length).toBe(Math.min(each.max, ready.length));
              expect(got.every((id) => ready.includes(id))).toBe(true);
              for (const id of got) asked.add(id);
            } else {
              graph.settle([...asked].map((id) => graph.positionOf(arrayOf(id), id)));
              asked.clear();
            }
            const ready = status.filter((_, index) => isReady(index + 1)).length;
            expect(graph.hasReady).toBe(ready > 0);
            expect(graph.activeCount).toBe(status.filter((letter) => 'QIOR'.includes(letter)).length);
            expect(graph.isOver).toBe(ready === 0 && asked.size === 0 && graph.activeCount === 0);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('holds a million tasks and three million edges in 24 MB, and walks them within a few seconds', () => {
    const size = 1_000_000;
    const builder = new GraphBuilder();
    builder.beginArray(1);
    for (let id = 1; id <= size; id += 1) builder.addTask({ id, node_id: id, status: 'G' });
    for (let id = 1; id <= size; id += 1) {
      builder.addEdges(
        id,
        [id + 1_000, id + 2_000, id + 3_000].filter((node) => node <= size),
      );
    }
    const graph = builder.build();
    expect(graph.bytes).toBeLessThan(24_000_000);
    let walked = 0;
    for (let positions = graph.take(1_000); positions.length > 0; positions = graph.take(1_000)) {
      walked += positions.length;
      for (const position of positions) graph.setStatus(position, 'D');
      graph.settle(positions);
    }
    expect(walked).toBe(size);
    expect([graph.isOver, graph.isAllDone]).toEqual([true, true]);
  });
});
