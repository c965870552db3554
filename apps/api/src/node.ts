/** Nodes: a template version with its node arguments. Shared by all graphs, so two callers at one time may make the same. */
import type { Dialect, Procedure, Statement } from '@jobmon/entities';

/** What a node is known by. */
export interface NodeKey {
  readonly version: number;
  readonly hash: string;
}

/** Reads `at` (the position in `nodes`) with `node_id`, null where there is none. A LEFT join: from the given rows to the table by its key. */
export function findNodes(dialect: Dialect, nodes: readonly NodeKey[]): Statement {
  return {
    sql: `SELECT given.at AS at, n.id AS node_id FROM ${dialect.jsonRows('given', { at: 'int', version: 'int', hash: 'text' })}
            LEFT JOIN node n ON n.task_template_version_id = given.version AND n.node_args_hash = given.hash`,
    params: [JSON.stringify(nodes.map(({ version, hash }, at) => ({ at, version, hash })))],
  };
}

/** Makes the nodes that are missing and answers the ids of all, in their order. */
export function* insertNodes(dialect: Dialect, nodes: readonly NodeKey[]): Procedure<number[]> {
  // One order for everybody: two writers of the same nodes wait for each other, and never crosswise.
  const sorted = [...nodes].sort((a, b) => a.version - b.version || (a.hash < b.hash ? -1 : 1));
  yield {
    sql: `${dialect.insertIgnore} INTO node (task_template_version_id, node_args_hash)
          SELECT given.version, given.hash FROM ${dialect.jsonRows('given', { version: 'int', hash: 'text' })}`,
    params: [JSON.stringify(sorted.map(({ version, hash }) => ({ version, hash })))],
  };
  const ids = new Array<number>(nodes.length);
  const { rows } = yield findNodes(dialect, nodes);
  for (const { at, node_id } of rows as { at: number; node_id: number }[]) ids[at] = node_id;
  return ids;
}

/** Values of arguments of nodes or tasks, each stored once: what stands is left alone. */
export function* insertArgs(
  dialect: Dialect,
  table: 'node_arg' | 'task_arg',
  rows: readonly { owner_id: number; arg_id: number; val: string }[],
): Procedure<void> {
  if (rows.length === 0) return;
  const owner = table === 'node_arg' ? 'node_id' : 'task_id';
  const given = dialect.jsonRows('given', { owner_id: 'int', arg_id: 'int', val: 'text' });
  yield {
    sql: `${dialect.insertIgnore} INTO ${table} (${owner}, arg_id, val) SELECT given.owner_id, given.arg_id, given.val FROM ${given}`,
    params: [JSON.stringify(rows)],
  };
}
