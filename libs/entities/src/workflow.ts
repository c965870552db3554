/** Workflows, their attributes, the commands that are being done on whole workflows, and the record of what people did to them. */
import { LIVE_WORKFLOW_RUN_STATUSES, type WorkflowStatus } from '@jobmon/contracts';
import { Entity, Index } from 'typeorm';
import { BigId, DateTime, Id, Int, IntKey, Json, Text, Varchar } from './columns';

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
  /** Ours. Higher comes first; NULL is 0. */
  @Int({ nullable: true }) priority: number | null;
  /** Ours. Who bound it with login on: it is his. NULL: it is the user's of its first run. */
  @Varchar(150, { nullable: true }) user: string | null;
}

/**
 * An F workflow `w` with tasks, all of them D, and no live run. Where the counts say that something is left no task is looked at: the first that is
 * not D may be the last of ten thousand. Scalar subqueries, not EXISTS: that one is made a join by the optimizer and reads all tasks of all of
 * these workflows; and CASE, since the order of what AND joins is the optimizer's.
 */
export const IS_INCONSISTENT_WORKFLOW =
  "w.status = 'F' AND (SELECT t.id FROM task AS t WHERE t.workflow_id = w.id LIMIT 1) IS NOT NULL " +
  "AND CASE WHEN (SELECT SUM(c.n) FROM task_status_count AS c WHERE c.workflow_id = w.id AND c.status <> 'D') > 0 THEN 0 " +
  "ELSE (SELECT t.id FROM task AS t WHERE t.workflow_id = w.id AND t.status <> 'D' LIMIT 1) IS NULL END = 1 " +
  'AND NOT EXISTS (SELECT 1 FROM workflow_run AS r WHERE r.workflow_id = w.id ' +
  `AND r.status IN (${LIVE_WORKFLOW_RUN_STATUSES.map((letter) => `'${letter}'`).join(',')}))`;

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

/**
 * Ours. A command on all tasks of a workflow (a reset) that is being done in pieces: there is a row from its first piece to its
 * last, one a workflow. Whoever reads it can go on.
 */
@Entity('workflow_command')
export class WorkflowCommand {
  @IntKey() workflow_id: number;
  /** Name of the operation that asked. */
  @Varchar(64) operation: string;
  /** The operation's request. */
  @Json() request: unknown;
  /** Up to where it is done: this array, and in it this task. */
  @Int() after_array_id: number;
  @Int() after_task_id: number;
  /** Tasks that it has changed and attempts that it has stopped so far. */
  @Int() tasks: number;
  @Int() attempts: number;
  @DateTime() started_date: string;
  /** Of its last piece. */
  @DateTime() moved_date: string;
}

/** Ours. One thing that a person did to a workflow: who, when, why, and what besides the verb. Written with its effect, never changed. */
@Entity('workflow_event')
@Index('ix_workflow_event_workflow_id', ['workflow_id'])
export class WorkflowEvent {
  @BigId() id: number;
  @Int() workflow_id: number;
  /** The run that it met, if one was live. */
  @Int({ nullable: true }) workflow_run_id: number | null;
  @DateTime() date: string;
  /** The part of the second that `date` leaves away. */
  @Int() microsecond: number;
  @Varchar(150) user: string;
  @Varchar(32) verb: string;
  @Text() reason: string;
  @Json() detail: unknown;
}
