/** Workflow runs: one execution of a workflow. */
import type { Driver, WorkflowRunStatus } from '@jobmon/contracts';
import { Entity, Index } from 'typeorm';
import { DateTime, Id, Int, SmallInt, Varchar } from './columns';

@Entity('workflow_run')
@Index('fkidx_workflow_run_workflow_id', ['workflow_id'])
@Index('ix_workflow_run_status_heartbeat_date', ['status', 'heartbeat_date'])
export class WorkflowRun {
  @Id() id: number;
  @Int() workflow_id: number;
  /** OS user of the client. */
  @Varchar(150, { nullable: true }) user: string | null;
  @Varchar(150, { nullable: true }) jobmon_version: string | null;
  @Varchar(150, { nullable: true }) jobmon_server_version: string | null;
  @Varchar(1) status: WorkflowRunStatus;
  @DateTime({ nullable: true }) created_date: string | null;
  @DateTime({ nullable: true }) status_date: string | null;
  /** A deadline, not the time of the last beat. */
  @DateTime({ nullable: true }) heartbeat_date: string | null;
  /** Ours. Who walks the graph; NULL means `client`. */
  @Varchar(8, { nullable: true }) driver: Driver | null;
  /** Ours. Where the workflow was submitted; commands of a server run start there. */
  @Varchar(2048, { nullable: true }) working_directory: string | null;
  /** Ours. 1: nothing new of this server run is queued or handed out. */
  @SmallInt({ nullable: true }) is_paused: number | null;
}
