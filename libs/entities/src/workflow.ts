/** Workflows and their attributes. */
import type { WorkflowStatus } from '@jobmon/contracts';
import { Entity, Index } from 'typeorm';
import { DateTime, Id, Int, IntKey, Text, Varchar } from './columns';

@Entity('workflow')
@Index('uc_workflow_identity', ['identity'], { unique: true })
@Index('fkidx_workflow_dag_id', ['dag_id'])
@Index('fkidx_workflow_status', ['status'])
@Index('fkidx_workflow_tool_version_id', ['tool_version_id'])
@Index('ix_workflow_task_hash', ['task_hash'])
@Index('ix_workflow_workflow_args_hash', ['workflow_args_hash'])
export class Workflow {
  @Id() id: number;
  @Int({ nullable: true }) tool_version_id: number | null;
  @Int() dag_id: number;
  @Varchar(150) workflow_args_hash: string;
  @Varchar(150) task_hash: string;
  @Text({ nullable: true }) description: string | null;
  @Varchar(255, { nullable: true }) name: string | null;
  @Text({ nullable: true }) workflow_args: string | null;
  @Int() max_concurrently_running: number;
  /** NULL until the last piece of tasks is bound: "binding unfinished, not resumable". */
  @DateTime({ nullable: true }) created_date: string | null;
  @DateTime({ nullable: true }) status_date: string | null;
  @Varchar(1) status: WorkflowStatus;
  /** Ours. SHA-256 of (tool_version_id, dag_id, workflow_args_hash, task_hash); NULL on rows of other programs. */
  @Varchar(64, { nullable: true }) identity: string | null;
}

@Entity('workflow_attribute')
@Index('fkidx_workflow_attribute_workflow_attribute_type_id', ['workflow_attribute_type_id'])
export class WorkflowAttribute {
  @IntKey() workflow_id: number;
  @IntKey() workflow_attribute_type_id: number;
  @Varchar(255, { nullable: true }) value: string | null;
}

@Entity('workflow_attribute_type')
@Index('uc_workflow_attribute_type_name', ['name'], { unique: true })
export class WorkflowAttributeType {
  @Id() id: number;
  @Varchar(255) name: string;
}
