/** Graphs: nodes with their arguments, and the edges between them. Shared by all workflows of the same shape. */
import { Entity, Index } from 'typeorm';
import { DateTime, Id, Int, IntKey, Json, Varchar } from './columns';

@Entity('dag')
@Index('uc_dag_hash', ['hash'], { unique: true })
export class Dag {
  @Id() id: number;
  @Varchar(150) hash: string;
  /** NULL until the last piece of edges is stored: "edges are missing, send them". */
  @DateTime({ nullable: true }) created_date: string | null;
}

@Entity('node')
@Index('uc_task_template_version_id_node_args_hash', ['task_template_version_id', 'node_args_hash'], { unique: true })
export class Node {
  @Id() id: number;
  @Int() task_template_version_id: number;
  @Varchar(150) node_args_hash: string;
}

/**
 * One row for each node of a graph, with its whole adjacency lists. SQL NULL, JSON null, an empty list, a list, and a list as
 * a (possibly twice) quoted text all occur in stored rows.
 */
@Entity('edge')
export class Edge {
  @IntKey() dag_id: number;
  @IntKey() node_id: number;
  @Json({ nullable: true }) upstream_node_ids: unknown;
  @Json({ nullable: true }) downstream_node_ids: unknown;
}

@Entity('node_arg')
export class NodeArg {
  @IntKey() node_id: number;
  @IntKey() arg_id: number;
  @Varchar(2048) val: string;
}
