/** Tasks, their arguments and attributes, the resources they ask for, and how many of them stand in each status. */
import type { TaskStatus } from '@jobmon/contracts';
import { Entity, Index } from 'typeorm';
import { DateTime, Id, Int, IntKey, Text, Varchar, VarcharKey } from './columns';

@Entity('task')
@Index('uc_task_identity', ['identity'], { unique: true })
@Index('ix_task_workflow_id_status_date_status_num_attempts_array_id', [
  'workflow_id',
  'status_date',
  'status',
  'num_attempts',
  'array_id',
])
@Index('fkidx_task_array_id', ['array_id'])
@Index('fkidx_task_node_id', ['node_id'])
export class Task {
  @Id() id: number;
  @Int({ nullable: true }) workflow_id: number | null;
  @Int({ nullable: true }) node_id: number | null;
  @Varchar(150) task_args_hash: string;
  @Int({ nullable: true }) array_id: number | null;
  @Varchar(255) name: string;
  @Text() command: string;
  /** The original request; adjusted ones are not written back here. */
  @Int({ nullable: true }) task_resources_id: number | null;
  /** One more on each entry to Q, back to 0 on a reset. */
  @Int() num_attempts: number;
  @Int() max_attempts: number;
  /** How resources grow from attempt to attempt: JSON; in rows of the Python server the text of a dict, e.g. `{'memory': 0.5}`. */
  @Varchar(1000, { nullable: true }) resource_scales: string | null;
  /** Queues that are tried when the larger resources do not fit: JSON; in rows of the Python server the text of a list of names. */
  @Varchar(1000, { nullable: true }) fallback_queues: string | null;
  @Varchar(1) status: TaskStatus;
  @DateTime({ nullable: true }) status_date: string | null;
  /** Ours. The fence: an id, 0 when a reset cleared it, NULL on rows of other programs (then the highest instance id). */
  @Int({ nullable: true }) current_task_instance_id: number | null;
  /** Ours. SHA-256 of (workflow_id, node_id, task_args_hash); NULL on rows of other programs. */
  @Varchar(64, { nullable: true }) identity: string | null;
}

@Entity('task_arg')
export class TaskArg {
  @IntKey() task_id: number;
  @IntKey() arg_id: number;
  @Varchar(2048) val: string;
}

@Entity('task_attribute')
@Index('fkidx_task_attribute_task_attribute_type_id', ['task_attribute_type_id'])
export class TaskAttribute {
  @IntKey() task_id: number;
  @IntKey() task_attribute_type_id: number;
  /** NULL: declared, not yet set. */
  @Varchar(255, { nullable: true }) value: string | null;
}

@Entity('task_attribute_type')
@Index('uc_task_attribute_type_name', ['name'], { unique: true })
export class TaskAttributeType {
  @Id() id: number;
  @Varchar(255) name: string;
}

/** A request of resources, shared by many tasks and instances: never updated in place. */
@Entity('task_resources')
@Index('uc_task_resources_identity', ['identity'], { unique: true })
@Index('fkidx_task_resources_queue_id', ['queue_id'])
@Index('fkidx_task_resources_task_resources_type_id', ['task_resources_type_id'])
export class TaskResources {
  @Id() id: number;
  @Int({ nullable: true }) queue_id: number | null;
  @Varchar(1) task_resources_type_id: string;
  /** JSON text of the request without the queue. */
  @Text() requested_resources: string;
  /** Ours. SHA-256 of (queue_id, type letter, canonical JSON); NULL on rows of other programs. */
  @Varchar(64, { nullable: true }) identity: string | null;
}

/**
 * Ours. Counts for display: tasks of an array in a status, one row for each writer, so that no two writers wait for
 * each other. `n` may be negative in one writer's row; the sum over writers counts.
 */
@Entity('task_status_count')
export class TaskStatusCount {
  @IntKey() workflow_id: number;
  @IntKey() array_id: number;
  @VarcharKey(1) status: TaskStatus;
  @VarcharKey(64) writer: string;
  @Int() n: number;
}
