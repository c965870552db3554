/** Clusters and their queues, and the agents that run where a cluster is. */
import { Entity, Index } from 'typeorm';
import { BigId, DateTime, Id, Int, SmallInt, Text, Varchar } from './columns';

@Entity('cluster_type')
@Index('uc_cluster_type_name', ['name'], { unique: true })
export class ClusterType {
  @Id() id: number;
  /** Names the plug-in. */
  @Varchar(255) name: string;
  @Varchar(500, { nullable: true }) logfile_templates: string | null;
}

@Entity('cluster')
@Index('uc_cluster_name', ['name'], { unique: true })
@Index('fkidx_cluster_cluster_type_id', ['cluster_type_id'])
export class Cluster {
  @Id() id: number;
  @Varchar(255) name: string;
  @Int() cluster_type_id: number;
  /** JSON text. */
  @Varchar(2500, { nullable: true }) connection_parameters: string | null;
}

@Entity('queue')
@Index('uc_name_cluster_id', ['name', 'cluster_id'], { unique: true })
@Index('fkidx_queue_cluster_id', ['cluster_id'])
export class Queue {
  @Id() id: number;
  @Varchar(255) name: string;
  @Int() cluster_id: number;
  /** JSON that is a Python literal too: no `true`, `false` or `null` inside. */
  @Varchar(2500) parameters: string;
}

/**
 * Ours. An agent is alive while `ended_date` is NULL and `lease_until_date` has not passed. It is leased nothing while `drain_date`
 * (somebody wants it to leave) or `set_aside_date` (its host starts no commands) is set.
 */
@Entity('agent')
@Index('ix_agent_ended_date_lease_until_date', ['ended_date', 'lease_until_date'])
export class Agent {
  @BigId() id: number;
  @Varchar(150) hostname: string;
  @Varchar(150) user: string;
  /** 1: takes other users' workflows too. */
  @SmallInt() any_user: number;
  /** JSON array of cluster names. */
  @Text() clusters: string;
  @Varchar(2048) state_directory: string;
  @Int() process_id: number;
  @Varchar(150) version: string;
  @DateTime() registered_date: string;
  @DateTime() lease_until_date: string;
  @DateTime({ nullable: true }) ended_date: string | null;
  /** Cores that its tasks may ask for in all; NULL on rows older than the column. */
  @Int({ nullable: true }) cores: number | null;
  /** Memory that its tasks may ask for in all, in MiB. */
  @Int({ nullable: true }) memory_mib: number | null;
  @DateTime({ nullable: true }) drain_date: string | null;
  @Varchar(1000, { nullable: true }) drain_reason: string | null;
  @DateTime({ nullable: true }) set_aside_date: string | null;
  @Varchar(1000, { nullable: true }) set_aside_reason: string | null;
}
