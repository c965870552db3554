/** Graphs: E9 to E11. */
import { addEdges, bindDag, bindNodes, JobmonError, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import type { Database, Procedure } from '@jobmon/entities';
import type { Register, Room } from '../context';
import { appendEdges } from '../dag';
import { findOrInsert } from '../named-row';
import { findNodes, insertArgs, insertNodes, type NodeKey } from '../node';

export function registerDag(answer: Register): void {
  answer(bindDag, findOrMakeDag);
  answer(addEdges, storeEdges);
  answer(bindNodes, findOrMakeNodes);
}

/** E9. */
async function findOrMakeDag({ database }: Room, { dag_hash }: RequestOf<typeof bindDag>): Promise<ReplyOf<typeof bindDag>> {
  const [dag] = await findOrInsert<{ id: number; created_date: string | null }>(
    database,
    'dag.bind',
    { sql: 'SELECT id, created_date FROM dag WHERE hash = ?', params: [dag_hash] },
    { sql: `${database.dialect.insertIgnore} INTO dag (hash, created_date) VALUES (?, NULL)`, params: [dag_hash] },
  );
  const { id, created_date } = dag as { id: number; created_date: string | null };
  return { dag_id: id, created_date };
}

/** E10. */
async function storeEdges(
  { database }: Room,
  { dag_id, edges_to_add, mark_created }: RequestOf<typeof addEdges>,
): Promise<ReplyOf<typeof addEdges>> {
  const nodes = edges_to_add.map(({ node_id, upstream_node_ids, downstream_node_ids }): [number, number[], number[]] => [
    node_id,
    upstream_node_ids ?? [],
    downstream_node_ids ?? [],
  ]);
  await appendEdges(database, dag_id, nodes, mark_created);
  return {};
}

/** Nodes of one transaction: many enough that its fixed statements do not count, few enough that SQLite's writer is free soon. */
const PIECE_NODES = 1_000;

type NodeToBind = RequestOf<typeof bindNodes>['nodes'][number];

/** E11. What stands is only read: a graph that ran before costs one statement for 1,000 nodes. */
async function findOrMakeNodes({ database }: Room, { nodes }: RequestOf<typeof bindNodes>): Promise<ReplyOf<typeof bindNodes>> {
  const wanted = new Map(nodes.map((node) => [`${node.task_template_version_id}:${node.node_args_hash}`, node]));
  const keys = [...wanted.keys()];
  const ids = new Map<string, number>();
  for (let from = 0; from < keys.length; from += PIECE_NODES) {
    const piece = keys.slice(from, from + PIECE_NODES);
    const { sql, params } = findNodes(
      database.dialect,
      piece.map((key) => keyOf(wanted.get(key) as NodeToBind)),
    );
    for (const { at, node_id } of await database.read<{ at: number; node_id: number | null }>(sql, params)) {
      if (node_id !== null) ids.set(piece[at] as string, node_id);
    }
  }
  const missing = keys.filter((key) => !ids.has(key));
  const missingNodes = missing.map((key) => wanted.get(key) as NodeToBind);
  await checkIds(
    database,
    'task_template_version',
    missingNodes.map((node) => node.task_template_version_id),
  );
  await checkIds(
    database,
    'arg',
    missingNodes.flatMap((node) => Object.keys(node.node_args).map(Number)),
  );
  for (let from = 0; from < missing.length; from += PIECE_NODES) {
    const piece = missingNodes.slice(from, from + PIECE_NODES);
    const made = await database.write({ label: 'node.bind' }, () => makeNodes(database, piece));
    made.forEach((id, at) => ids.set(missing[from + at] as string, id));
  }
  return { nodes: Object.fromEntries(keys.map((key) => [key, ids.get(key) as number])) };
}

function keyOf({ task_template_version_id: version, node_args_hash: hash }: NodeToBind): NodeKey {
  return { version, hash };
}

function* makeNodes({ dialect }: Database, nodes: readonly NodeToBind[]): Procedure<number[]> {
  const ids = yield* insertNodes(dialect, nodes.map(keyOf));
  const args = nodes.flatMap(({ node_args }, at) =>
    Object.entries(node_args).map(([arg_id, val]) => ({ owner_id: ids[at] as number, arg_id: Number(arg_id), val })),
  );
  yield* insertArgs(dialect, 'node_arg', args);
  return ids;
}

/** @throws JobmonError NOT_FOUND naming the first id that the table does not have. */
async function checkIds(database: Database, table: 'arg' | 'task_template_version', ids: readonly number[]): Promise<void> {
  if (ids.length === 0) return;
  const [stranger] = await database.read<{ id: number }>(
    `SELECT given.id AS id FROM ${database.dialect.jsonRows('given', { id: 'int' })}
       LEFT JOIN ${table} row ON row.id = given.id WHERE row.id IS NULL LIMIT 1`,
    [JSON.stringify([...new Set(ids)].map((id) => ({ id })))],
  );
  if (stranger !== undefined) throw new JobmonError('NOT_FOUND', `there is no ${table.replaceAll('_', ' ')} ${stranger.id}`);
}
