/** Graphs: E9 to E11. */
import { z } from 'zod';
import { DateText, HashNumber, Id } from '../id';
import { operation, type Operation } from '../operation';

const BODY_BYTES_MAX = 64 * 1024 * 1024;

/** E9. Found by its hash, or made. */
export const bindDag = operation({
  protocol: 'E9',
  name: 'dag.bind',
  owner: 'api',
  summary: 'Find or make a graph.',
  http: { method: 'POST', path: '/api/v3/dag', lossless: true },
  request: z.object({ dag_hash: HashNumber }),
  /** `created_date` null: its edges are missing, send them. */
  reply: z.object({ dag_id: z.number().int(), created_date: DateText.nullable() }),
});

/**
 * E10. Stores edges, 500 nodes at a time by today's clients; a node that stands is left alone, and a complete graph is not written
 * any more, nor is what a repeat names looked at then. NOT_FOUND for an unknown graph, and for an unknown node of a graph that still
 * takes edges, before anything is written.
 */
export const addEdges = operation({
  protocol: 'E10',
  name: 'dag.add_edges',
  owner: 'api',
  summary: 'Store edges of a graph.',
  http: { method: 'POST', path: '/api/v3/dag/{dag_id}/edges', body_bytes_max: BODY_BYTES_MAX },
  request: z.object({
    dag_id: Id,
    edges_to_add: z
      .array(
        z.object({
          node_id: Id,
          upstream_node_ids: z.array(Id).nullish(),
          downstream_node_ids: z.array(Id).nullish(),
        }),
      )
      .max(100_000),
    /** True with the last piece: the graph is complete. */
    mark_created: z.boolean(),
  }),
  reply: z.object({}),
});

/**
 * E11. Found by template version and hash of its arguments, or made, 500 at a time by today's clients. NOT_FOUND for an unknown
 * template version or argument, before anything is written.
 */
export const bindNodes = operation({
  protocol: 'E11',
  name: 'node.bind',
  owner: 'api',
  summary: 'Find or make nodes.',
  http: { method: 'POST', path: '/api/v3/nodes', body_bytes_max: BODY_BYTES_MAX },
  request: z.object({
    nodes: z
      .array(
        z.object({
          task_template_version_id: Id,
          node_args_hash: z.string().regex(/^[0-9]{1,150}$/, 'must be 1 to 150 decimal digits'),
          /** Id of the argument, as text, to its value; 2048 is the width of `node_arg.val`. */
          node_args: z.record(
            z.string().regex(/^[0-9]{1,10}$/, 'must be the id of an argument'),
            z.union([z.string().max(2048), z.number().transform(String)]),
          ),
        }),
      )
      .max(100_000),
  }),
  /** `<task_template_version_id>:<node_args_hash>` to the node's id. */
  reply: z.object({ nodes: z.record(z.string(), z.number().int()) }),
});

export const DAG_OPERATIONS: readonly Operation[] = [bindDag, addEdges, bindNodes];
