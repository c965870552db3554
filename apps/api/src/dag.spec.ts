import fc from 'fast-check';
import { Graph } from './dag';

/** A graph of nodes 1, 2, 3 … from its edges. */
function graphOf(count: number, edges: readonly (readonly [number, number])[]): Graph {
  const ups = Array.from({ length: count + 1 }, (): number[] => []);
  const downs = Array.from({ length: count + 1 }, (): number[] => []);
  for (const [from, to] of edges) {
    ups[to]!.push(from);
    downs[from]!.push(to);
  }
  const graph = new Graph();
  for (let id = 1; id <= count; id++) graph.add(id, ups[id]!, downs[id]!);
  return graph;
}

/** Any edges without repeats, loops among them. */
const anyEdges = fc.integer({ min: 1, max: 12 }).chain((count) =>
  fc.record({
    count: fc.constant(count),
    edges: fc.uniqueArray(fc.tuple(fc.integer({ min: 1, max: count }), fc.integer({ min: 1, max: count })), {
      selector: (edge) => edge.join(' '),
      maxLength: 40,
    }),
  }),
);

/** Whether some node reaches itself, by brute force. */
function hasCycle(count: number, edges: readonly (readonly [number, number])[]): boolean {
  const reaches = (from: number, to: number, seen: Set<number>): boolean =>
    edges.some(([a, b]) => a === from && (b === to || (!seen.has(b) && reaches(b, to, seen.add(b)))));
  return Array.from({ length: count }, (_, at) => at + 1).some((id) => reaches(id, id, new Set()));
}

describe('a graph', () => {
  it('has a cycle found exactly when there is one, and the cycle is real', async () => {
    await fc.assert(
      fc.asyncProperty(anyEdges, async ({ count, edges }) => {
        const graph = graphOf(count, edges);
        expect(await graph.firstUnevenNode()).toBeUndefined();
        const cycle = graph.findCycle();
        expect(cycle.length > 0).toBe(hasCycle(count, edges));
        cycle.forEach((at, nth) => expect(edges).toContainEqual([at + 1, cycle[(nth + 1) % cycle.length]! + 1]));
        expect(new Set(cycle).size).toBe(cycle.length);
      }),
    );
  });

  it('is even when both ends tell of each edge, and uneven when one end is silent or names a stranger', async () => {
    await fc.assert(
      fc.asyncProperty(anyEdges, fc.nat(), async ({ count, edges }, choice) => {
        const graph = new Graph();
        const lost = edges[choice % Math.max(1, edges.length)];
        for (let id = 1; id <= count; id++) {
          const up = edges.filter(([, to]) => to === id).map(([from]) => from);
          const down = edges.filter((edge) => edge[0] === id && edge !== lost).map(([, to]) => to);
          graph.add(id, lost === undefined && id === 1 ? [99] : up, down);
        }
        expect(await graph.firstUnevenNode()).toBeDefined();
      }),
    );
  });

  // The bound is the test's own time-out: a cost by pairs of nodes would be thousands of times larger.
  it('of 200,000 nodes and 600,000 edges is proven', async () => {
    const edges: [number, number][] = [];
    for (let to = 4; to <= 200_000; to++) edges.push([to - 1, to], [to - 2, to], [to - 3, to]);
    const graph = graphOf(200_000, edges);
    const started = performance.now();
    expect(await graph.firstUnevenNode()).toBeUndefined();
    expect(graph.findCycle()).toEqual([]);
    if (process.env.JOBMON_TEST_RATES) console.log(`${Math.round(performance.now() - started)} ms`);
  }, 120_000);
});
