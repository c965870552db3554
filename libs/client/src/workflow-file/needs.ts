/**
 * Who waits for whom: `needs` between groups of tasks, and from it the edges between their tasks. Groups are matched by the
 * arguments that their matrices share; what is not shared fans out or in.
 */
import { didYouMean, type Problems } from './problem';
import type { Needs } from './schema';
import type { Rows } from './matrix';
import type { Path, Source } from './source';

/** Edges of one workflow. A million tasks with five upstreams each. */
export const EDGES_MAX = 5_000_000;

/** One group that waits for another. */
export interface Need {
  /** The key of the group that must be done before. */
  readonly on: string;
  /** Arguments in which tasks must agree; none: every task waits for every task. */
  readonly match: readonly string[];
  /** Edges between the two groups. */
  readonly edges: number;
  /** Rows of the other group that row `row` waits for. */
  upstreamsOf(row: number): readonly number[];
}

/** What is known of a group when its needs are looked at. */
export interface Waiting {
  readonly key: string;
  readonly rows: Rows;
  readonly needs: Needs | undefined;
}

interface Asked {
  readonly on: string;
  readonly match: 'same' | 'all' | readonly string[];
  readonly at: Path;
}

/**
 * The needs of each group by its key. `names` are all keys, those of groups that are wrong in themselves included. Tells as
 * problems: unknown names, arguments that cannot be matched, rows that nothing matches, circles, too many edges.
 */
export function needsOf(
  groups: readonly Waiting[],
  names: readonly string[],
  source: Source,
  problems: Problems,
): Map<string, readonly Need[]> {
  const byKey = new Map(groups.map((group) => [group.key, group]));
  const known = new Set(names);
  const asked = new Map(groups.map((group) => [group.key, askedOf(group)]));
  const answer = new Map<string, readonly Need[]>();
  let edges = 0;
  for (const group of groups) {
    const needs: Need[] = [];
    for (const one of asked.get(group.key)!) {
      if (!known.has(one.on)) {
        problems.add(
          source.positionOf(one.at),
          `there is no task '${one.on}'${didYouMean(one.on, names) || `; there are ${listed(names)}`}`,
        );
        continue;
      }
      if (one.on === group.key) {
        problems.add(source.positionOf(one.at), `'${group.key}' waits for itself`);
        continue;
      }
      if (needs.some(({ on }) => on === one.on)) {
        problems.add(source.positionOf(one.at), `'${one.on}' is needed here a second time`);
        continue;
      }
      const other = byKey.get(one.on);
      const need = other === undefined ? undefined : needOf(group, other, one, EDGES_MAX - edges, source, problems);
      if (need === undefined) continue;
      edges += need.edges;
      needs.push(need);
    }
    answer.set(group.key, needs);
  }
  tellCircle(asked, byKey, source, problems);
  return answer;
}

function askedOf({ key, needs }: Waiting): Asked[] {
  const path: Path = ['tasks', key, 'needs'];
  const list = needs === undefined ? [] : Array.isArray(needs) ? needs : [needs];
  return list.map((need, i) => {
    const at = Array.isArray(needs) ? [...path, i] : path;
    if (typeof need === 'string') return { on: need, match: 'same', at };
    return { on: need.task, match: need.match ?? 'same', at: [...at, 'task'] };
  });
}

function needOf(
  group: Waiting,
  other: Waiting,
  asked: Asked,
  room: number,
  source: Source,
  problems: Problems,
): Need | undefined {
  const tell = (message: string): void => problems.add(source.positionOf(asked.at), message);
  const shared = group.rows.args.filter((arg) => other.rows.args.includes(arg));
  const match = asked.match === 'same' ? shared : asked.match === 'all' ? [] : asked.match;
  const stranger = match.find((arg) => !shared.includes(arg));
  if (stranger !== undefined) {
    const cure =
      didYouMean(stranger, shared) || (shared.length === 0 ? '; they share none' : `; they share ${shared.join(', ')}`);
    tell(`'${stranger}' is no argument of the matrices of both '${group.key}' and '${other.key}'${cure}`);
    return undefined;
  }
  const { count } = other.rows;
  const keyOf = keyMaker(group.rows, match);
  const index = match.length === 0 ? undefined : indexOf(other.rows, match);
  let edges = 0;
  for (let row = 0; row < (index === undefined ? 0 : group.rows.count); row++) {
    const found = index!.get(keyOf(row))?.length ?? 0;
    if (found === 0) {
      const values = match.map((arg) => `${arg} ${group.rows.valueOf(row, group.rows.args.indexOf(arg))}`);
      const cure = 'take the values away, or write {task: …, match: all}';
      tell(`no task of '${other.key}' has ${values.join(' and ')}, which '${group.key}' has; ${cure}`);
      return undefined;
    }
    edges += found;
  }
  if (index === undefined) edges = group.rows.count * count;
  if (edges > room) {
    const cure = `at most ${EDGES_MAX} are allowed in a workflow; put one task between the two that waits for all of '${other.key}'`;
    tell(`'${group.key}' waiting for '${other.key}' makes ${edges} edges, and ${cure}`);
    return undefined;
  }
  const all = index === undefined ? Array.from({ length: count }, (_, row) => row) : [];
  return { on: other.key, match, edges, upstreamsOf: (row) => (index === undefined ? all : index.get(keyOf(row))!) };
}

function keyMaker(rows: Rows, match: readonly string[]): (row: number) => string {
  const at = match.map((arg) => rows.args.indexOf(arg));
  return at.length === 1 ? (row) => rows.valueOf(row, at[0]!) : (row) => JSON.stringify(at.map((arg) => rows.valueOf(row, arg)));
}

function indexOf(rows: Rows, match: readonly string[]): Map<string, number[]> {
  const keyOf = keyMaker(rows, match);
  const index = new Map<string, number[]>();
  for (let row = 0; row < rows.count; row++) {
    const key = keyOf(row);
    const found = index.get(key);
    if (found === undefined) index.set(key, [row]);
    else found.push(row);
  }
  return index;
}

/** Takes away, again and again, the groups that wait for nothing that is left. If any are left, one circle of them is told. */
function tellCircle(
  asked: ReadonlyMap<string, readonly Asked[]>,
  groups: ReadonlyMap<string, Waiting>,
  source: Source,
  problems: Problems,
): void {
  const order = new Set(
    orderOf(new Map([...asked].map(([key, needs]) => [key, needs.filter(({ on }) => on !== key).map(({ on }) => on)]))).map(
      ({ key }) => key,
    ),
  );
  let at = [...groups.keys()].find((key) => !order.has(key));
  if (at === undefined) return;
  const way = new Map<string, Asked>();
  while (!way.has(at)) {
    const next: Asked = asked.get(at)!.find(({ on }) => on !== at && groups.has(on) && !order.has(on))!;
    way.set(at, next);
    at = next.on;
  }
  const visited = [...way.keys()];
  const circle = [...visited.slice(visited.indexOf(at)), at].map((key) => `'${key}'`);
  const shown = circle.length > 10 ? [...circle.slice(0, 8), '…', circle.at(-1)!] : circle;
  problems.add(source.positionOf(way.get(at)!.at), `tasks wait for each other in a circle: ${shown.join(' waits for ')}`);
}

/** Keys so that each comes behind those it waits for, with its level: 1 for those that wait for nothing. Leaves out circles. */
export function orderOf(needs: ReadonlyMap<string, readonly string[]>): { key: string; level: number }[] {
  const waits = new Map<string, number>();
  const downstreams = new Map<string, string[]>();
  for (const [key, all] of needs) {
    const known = [...new Set(all)].filter((on) => needs.has(on));
    waits.set(key, known.length);
    for (const on of known) {
      const found = downstreams.get(on);
      if (found === undefined) downstreams.set(on, [key]);
      else found.push(key);
    }
  }
  let ready = [...waits].filter(([, count]) => count === 0).map(([key]) => key);
  const order: { key: string; level: number }[] = [];
  for (let level = 1; ready.length > 0; level++) {
    const next: string[] = [];
    for (const key of ready) {
      order.push({ key, level });
      for (const downstream of downstreams.get(key) ?? []) {
        const left = waits.get(downstream)! - 1;
        waits.set(downstream, left);
        if (left === 0) next.push(downstream);
      }
    }
    ready = next;
  }
  return order;
}

function listed(names: readonly string[]): string {
  return names.length > 10 ? `${names.slice(0, 10).join(', ')}, …` : names.join(', ');
}
