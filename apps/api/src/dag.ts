/**
 * Graphs: the edges of a workflow's tasks, stored in pieces, and the proof that a stored graph can be run. A graph is shared by
 * all workflows of the same shape; once it was proven it is never written again.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { JobmonError, registerEdges, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import type { Database, Dialect, Procedure, Statement } from '@jobmon/entities';
import type { Call, Room } from './context';
import { recordPerson } from './person';
import { refuse } from './task-check';
import { lockWorkflow, readWorkflow, type WorkflowRow } from './workflow';

type Request = RequestOf<typeof registerEdges>;
/** A node with its upstreams and its downstreams. */
export type EdgeLists = Request['nodes'][number];

/** Rows of one transaction, and ids looked up in one statement. */
const PIECE_ROWS_MAX = 2_000;
/** Bytes of edge lists in one transaction: a node that waits for many others has a long one. */
const PIECE_BYTES_MAX = 2 * 1024 * 1024;
/** Rows of one page when a graph is read. */
const PAGE_ROWS = 5_000;
/** Tasks named in one refusal. */
const NAMED_MAX = 10;

/** @throws JobmonError NOT_FOUND, or MALFORMED naming nodes that are of no task of the workflow or whose lists disagree. */
export async function storeEdges(
  { database }: Room,
  { workflow_id, nodes }: Request,
  call: Call,
): Promise<ReplyOf<typeof registerEdges>> {
  const workflow = await readWorkflow(database, workflow_id);
  if (workflow.dag_created_date !== null) return { stored: 0 };
  checkLists(nodes);
  await checkMembers(database, workflow_id, nodes);
  const { dialect } = database;
  const upsert = dialect.onDuplicate(
    ['dag_id', 'node_id'],
    `upstream_node_ids = ${dialect.inserted('upstream_node_ids')}, downstream_node_ids = ${dialect.inserted('downstream_node_ids')}`,
  );
  for (const piece of cut(database, nodes)) {
    await database.write({ label: 'dag.register_edges' }, function* (): Procedure<void> {
      if (!(yield* lockOpenDag(dialect, workflow.dag_id))) return;
      yield insertEdges(dialect, 'INSERT', workflow.dag_id, piece, `WHERE 1 = 1 ${upsert}`);
      yield* recordPerson(dialect, call, registerEdges.name, workflow_id);
    });
  }
  return { stored: nodes.length };
}

/**
 * Stores edges without a proof that they can be run, as the Python protocol does: a node that stands is left alone. With
 * `isLast` the graph is stamped complete.
 *
 * @throws JobmonError NOT_FOUND
 */
export async function appendEdges(
  database: Database,
  dag_id: number,
  nodes: readonly EdgeLists[],
  isLast: boolean,
): Promise<void> {
  const { dialect } = database;
  const [dag] = await database.read<{ created_date: string | null }>('SELECT created_date FROM dag WHERE id = ?', [dag_id]);
  if (dag === undefined) throw new JobmonError('NOT_FOUND', `there is no graph ${dag_id}`);
  if (dag.created_date !== null) return;
  await checkNodes(database, nodes);
  for (const piece of cut(database, nodes)) {
    await database.write({ label: 'dag.add_edges' }, function* (): Procedure<void> {
      if (yield* lockOpenDag(dialect, dag_id)) yield insertEdges(dialect, dialect.insertIgnore, dag_id, piece, '');
    });
  }
  if (!isLast) return;
  await database.write({ label: 'dag.complete' }, function* (): Procedure<void> {
    yield stampDag(dialect, dag_id);
  });
}

/** Locks a graph; answers whether it is still open for edges. */
function* lockOpenDag(dialect: Dialect, dag_id: number): Procedure<boolean> {
  const { rows } = yield { sql: `SELECT created_date FROM dag WHERE id = ?${dialect.forUpdate}`, params: [dag_id] };
  return (rows[0] as { created_date: string | null }).created_date === null;
}

function insertEdges(dialect: Dialect, insert: string, dag_id: number, piece: string, tail: string): Statement {
  const given = dialect.jsonRows('given', { node_id: 'int', up: 'text', down: 'text' });
  return {
    sql: `${insert} INTO edge (dag_id, node_id, upstream_node_ids, downstream_node_ids)
          SELECT ?, given.node_id, given.up, given.down FROM ${given} ${tail}`,
    params: [dag_id, piece],
  };
}

function stampDag(dialect: Dialect, dag_id: number): Statement {
  return { sql: `UPDATE dag SET created_date = COALESCE(created_date, ${dialect.now}) WHERE id = ?`, params: [dag_id] };
}

/** Every node that a row is stored for must exist. Those that it names have rows of their own. */
async function checkNodes(database: Database, nodes: readonly EdgeLists[]): Promise<void> {
  const sql = `SELECT given.id AS id FROM ${database.dialect.jsonRows('given', { id: 'int' })}
                 LEFT JOIN node n ON n.id = given.id WHERE n.id IS NULL LIMIT 1`;
  for (let from = 0; from < nodes.length; from += PAGE_ROWS) {
    const piece = nodes.slice(from, from + PAGE_ROWS).map(([id]) => ({ id }));
    const [stranger] = await database.read<{ id: number }>(sql, [JSON.stringify(piece)]);
    if (stranger !== undefined) throw new JobmonError('NOT_FOUND', `there is no node ${stranger.id}`);
  }
}

/** Rows of edges as JSON parameters, each small enough for one transaction. An empty list is stored as NULL. */
function cut(database: Database, nodes: readonly EdgeLists[]): string[] {
  const bytes_max = Math.min(PIECE_BYTES_MAX, database.batch_bytes_max / 4);
  const pieces: string[] = [];
  let rows: string[] = [];
  let bytes = 0;
  const text = (ids: readonly number[]): string | null => (ids.length === 0 ? null : JSON.stringify([...new Set(ids)]));
  for (const [node_id, up, down] of nodes) {
    const row = JSON.stringify({ node_id, up: text(up), down: text(down) });
    if (rows.length > 0 && (rows.length === PIECE_ROWS_MAX || bytes + row.length > bytes_max)) {
      pieces.push(`[${rows.join(',')}]`);
      rows = [];
      bytes = 0;
    }
    rows.push(row);
    bytes += row.length;
  }
  if (rows.length > 0) pieces.push(`[${rows.join(',')}]`);
  return pieces;
}

/** Where both ends of an edge stand in the request, both must tell of it; the rest is compared when the workflow is submitted. */
function checkLists(nodes: readonly EdgeLists[]): void {
  const given = new Set(nodes.map(([node_id]) => node_id));
  if (given.size !== nodes.length) throw new JobmonError('MALFORMED', 'a node is given twice', { rule: 'node_twice' });
  const balance = new Map<string, number>();
  const count = (from: number, to: number, step: number): void => {
    if (!given.has(from) || !given.has(to)) return;
    const edge = `${from} ${to}`;
    const sum = (balance.get(edge) ?? 0) + step;
    if (sum === 0) balance.delete(edge);
    else balance.set(edge, sum);
  };
  for (const [node_id, up, down] of nodes) {
    for (const from of new Set(up)) count(from, node_id, 1);
    for (const to of new Set(down)) count(node_id, to, -1);
  }
  const [odd] = balance.keys();
  if (odd === undefined) return;
  const [from, to] = odd.split(' ').map(Number);
  throw new JobmonError('MALFORMED', `the edge from node ${from} to node ${to} stands in the lists of only one of them`, {
    rule: 'edge_of_one_side',
    node_ids: [from, to],
  });
}

/** Every node that is named must be of a task of the workflow. */
async function checkMembers(database: Database, workflow_id: number, nodes: readonly EdgeLists[]): Promise<void> {
  const ids = new Set<number>();
  for (const [node_id, up, down] of nodes) {
    ids.add(node_id);
    for (const id of up) ids.add(id);
    for (const id of down) ids.add(id);
  }
  const all = [...ids];
  const sql = `SELECT given.id AS id FROM ${database.dialect.jsonRows('given', { id: 'int' })}
                 LEFT JOIN task t ON t.node_id = given.id AND t.workflow_id = ? WHERE t.id IS NULL ORDER BY given.id`;
  for (let from = 0; from < all.length; from += PAGE_ROWS) {
    const piece = all.slice(from, from + PAGE_ROWS).map((id) => ({ id }));
    const strangers = await database.read<{ id: number }>(sql, [JSON.stringify(piece), workflow_id]);
    if (strangers.length === 0) continue;
    const node_ids = strangers.slice(0, NAMED_MAX).map(({ id }) => id);
    const sentence = `edges name nodes that are of no task of workflow ${workflow_id}: ${node_ids.join(', ')}`;
    throw new JobmonError('MALFORMED', sentence, { rule: 'foreign_node', node_ids, count: strangers.length });
  }
}

/**
 * Proves that the stored graph of a workflow can be run, and stamps workflow and graph as complete. Refuses with CONFLICT, naming
 * the rule and up to ten tasks: no task, a task without its edges, lists that disagree, a cycle.
 */
export async function sealGraph(database: Database, workflow: WorkflowRow): Promise<void> {
  const names = await readTaskNodes(database, workflow.id);
  if (names.size === 0) throw new JobmonError('CONFLICT', `workflow ${workflow.id} has no tasks`, { rule: 'no_tasks' });
  const graph = await readGraph(database, workflow.dag_id, names);
  const nameOf = async (at: number[]): Promise<string[]> =>
    readNames(
      database,
      at.slice(0, NAMED_MAX).map((i) => names.get(graph.node_ids[i] as number) as number),
    );
  if (graph.node_ids.length < names.size) {
    const stored = new Set(graph.node_ids);
    const bare = [...names].filter(([node_id]) => !stored.has(node_id)).map(([, task_id]) => task_id);
    refuse(
      'CONFLICT',
      'no_edges',
      await readNames(database, bare.slice(0, NAMED_MAX)),
      'edges were not stored for tasks, among them',
    );
  }
  const uneven = await graph.firstUnevenNode();
  if (uneven !== undefined) {
    refuse('CONFLICT', 'edge_of_one_side', await nameOf([uneven]), 'the upstream and downstream lists of the graph disagree at');
  }
  const cycle = graph.findCycle();
  if (cycle.length > 0) refuse('CONFLICT', 'cycle', await nameOf(cycle), `${cycle.length} tasks wait for each other in a circle`);
  await database.write({ label: 'workflow.seal' }, function* (): Procedure<void> {
    const { dialect } = database;
    yield* lockWorkflow(dialect, workflow.id);
    const { rows } = yield { sql: 'SELECT COUNT(*) AS n FROM task WHERE workflow_id = ?', params: [workflow.id] };
    if (Number((rows[0] as { n: number }).n) !== names.size) {
      throw new JobmonError('CONFLICT', `tasks were bound to workflow ${workflow.id} while it was submitted: submit it again`);
    }
    yield {
      sql: `UPDATE workflow SET created_date = COALESCE(created_date, ${dialect.now}) WHERE id = ?`,
      params: [workflow.id],
    };
    yield stampDag(dialect, workflow.dag_id);
  });
}

/** Node to task of a workflow, read array by array: their index ends in the primary key, so no page sorts or passes by anything. */
async function readTaskNodes(database: Database, workflow_id: number): Promise<Map<number, number>> {
  const nodes = new Map<number, number>();
  const arrays = await database.read<{ id: number }>('SELECT id FROM array WHERE workflow_id = ?', [workflow_id]);
  for (const array of arrays) {
    for (let after = 0, isLast = false; !isLast;) {
      const rows = await database.read<{ id: number; node_id: number }>(
        `SELECT id, node_id FROM task WHERE array_id = ? AND id > ? ORDER BY id LIMIT ${PAGE_ROWS}`,
        [array.id, after],
      );
      for (const { id, node_id } of rows) nodes.set(node_id, id);
      isLast = rows.length < PAGE_ROWS;
      after = rows.at(-1)?.id ?? after;
    }
  }
  return nodes;
}

async function readNames(database: Database, task_ids: readonly number[]): Promise<string[]> {
  const rows = await database.read<{ id: number; name: string }>(
    `SELECT id, name FROM task WHERE id IN (${task_ids.map(() => '?').join(', ')})`,
    [...task_ids],
  );
  const names = new Map(rows.map(({ id, name }) => [id, name]));
  return task_ids.map((id) => names.get(id) ?? String(id));
}

/** Edges of other nodes than the workflow's stand in no graph that it can share: a node more is a graph of another workflow. */
async function readGraph(database: Database, dag_id: number, tasks: ReadonlyMap<number, number>): Promise<Graph> {
  const graph = new Graph();
  for (let after = 0; ;) {
    const rows = await database.read<{ node_id: number; up: unknown; down: unknown }>(
      `SELECT node_id, upstream_node_ids AS up, downstream_node_ids AS down FROM edge
        WHERE dag_id = ? AND node_id > ? ORDER BY node_id LIMIT ${PAGE_ROWS}`,
      [dag_id, after],
    );
    for (const { node_id, up, down } of rows) {
      if (tasks.has(node_id)) graph.add(node_id, idsIn(up), idsIn(down));
    }
    if (rows.length < PAGE_ROWS) return graph;
    after = (rows[rows.length - 1] as { node_id: number }).node_id;
  }
}

/** A stored list of ids: a list, its text, or text of its text, as old rows have it (spec/data-model.md section 6). */
export function idsIn(stored: unknown): number[] {
  let value = stored;
  for (let quoted = 0; quoted < 3 && typeof value === 'string'; quoted++) value = JSON.parse(value);
  return Array.isArray(value) ? (value as number[]) : [];
}

/** Nodes looked at between two turns of the event loop. */
const YIELD_NODES = 20_000;

/**
 * A graph in memory: nodes by position, ascending by id, with their edges as positions behind one another in typed arrays.
 * Looking is done in steps, so that a large graph does not hold up other requests.
 */
export class Graph {
  readonly node_ids: number[] = [];
  private readonly positions = new Map<number, number>();
  private readonly ups = new EdgeList();
  private readonly downs = new EdgeList();

  /** Nodes must come ascending by id. */
  add(node_id: number, up: readonly number[], down: readonly number[]): void {
    this.positions.set(node_id, this.node_ids.length);
    this.node_ids.push(node_id);
    this.ups.add(up);
    this.downs.add(down);
  }

  /**
   * The position of a node that names an unknown node, or whose downstreams are not those that upstream lists say; undefined
   * when there is none. To be asked before `findCycle`.
   */
  async firstUnevenNode(): Promise<number | undefined> {
    for (const list of [this.ups, this.downs]) {
      const stranger = await list.resolve(this.positions);
      if (stranger !== undefined) return stranger;
    }
    const count = this.node_ids.length;
    const { to: parents, ends } = this.ups;
    const starts = new Int32Array(count + 1);
    for (const parent of parents) starts[parent + 1]!++;
    for (let at = 0; at < count; at++) starts[at + 1]! += starts[at]!;
    const filled = starts.slice(0, count);
    const children = new Int32Array(parents.length);
    for (let at = 0, edge = 0; at < count; at++) for (; edge < ends[at]!; edge++) children[filled[parents[edge]!]!++] = at;
    for (let at = 0; at < count; at++) {
      if (at % YIELD_NODES === 0) await nextTurn();
      const first = starts[at]!;
      const told = this.downs.sorted(at);
      if (told.length !== starts[at + 1]! - first) return at;
      for (let nth = 0; nth < told.length; nth++) if (told[nth] !== children[first + nth]) return at;
    }
    return undefined;
  }

  /** The positions of the nodes of one cycle, in its order; empty when there is none. Takes time in proportion to the edges. */
  findCycle(): number[] {
    const count = this.node_ids.length;
    const waits = new Int32Array(count);
    for (let at = 0; at < count; at++) waits[at] = this.ups.ends[at]! - this.ups.start(at);
    const ready = new Int32Array(count);
    let filled = 0;
    for (let at = 0; at < count; at++) if (waits[at] === 0) ready[filled++] = at;
    for (let next = 0; next < filled; next++) {
      const from = ready[next]!;
      for (let edge = this.downs.start(from); edge < this.downs.ends[from]!; edge++) {
        const child = this.downs.to[edge]!;
        if (--waits[child]! === 0) ready[filled++] = child;
      }
    }
    if (filled === count) return [];
    // Every node that still waits has an upstream that still waits: going up must come round.
    const seen = new Map<number, number>();
    const way: number[] = [];
    let at = waits.findIndex((n) => n > 0);
    while (!seen.has(at)) {
      seen.set(at, way.length);
      way.push(at);
      at = this.ups.sorted(at).find((parent) => waits[parent]! > 0)!;
    }
    return way.slice(seen.get(at)).reverse();
  }
}

/** One direction of a graph's edges. */
class EdgeList {
  /** For each node the position behind its last edge. */
  readonly ends: number[] = [];
  /** The other ends as positions, once they are resolved. */
  to = new Int32Array(0);
  private ids: number[] = [];

  add(ids: readonly number[]): void {
    for (const id of ids) this.ids.push(id);
    this.ends.push(this.ids.length);
  }

  /** Turns ids into positions. Answers the first node that names an unknown id, if one does. */
  async resolve(positions: ReadonlyMap<number, number>): Promise<number | undefined> {
    this.to = new Int32Array(this.ids.length);
    for (let at = 0, edge = 0; at < this.ends.length; at++) {
      if (at % YIELD_NODES === 0) await nextTurn();
      for (; edge < this.ends[at]!; edge++) {
        const position = positions.get(this.ids[edge]!);
        if (position === undefined) return at;
        this.to[edge] = position;
      }
    }
    this.ids = [];
    return undefined;
  }

  /** The position of a node's first edge. */
  start(at: number): number {
    return at === 0 ? 0 : this.ends[at - 1]!;
  }

  /** The other ends of a node's edges, ascending: a window, not a copy. */
  sorted(at: number): Int32Array {
    const window = this.to.subarray(this.start(at), this.ends[at]);
    for (let nth = 1; nth < window.length; nth++) if (window[nth - 1]! > window[nth]!) return window.sort();
    return window;
  }
}
