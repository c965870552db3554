/** Task instances: the attempts of tasks, their errors, and the record of their transitions. */
import type { Actor, HistoryReason, TaskInstanceStatus } from '@jobmon/contracts';
import { Entity, Index } from 'typeorm';
import { BigInteger, DateTime, Id, Int, IntKey, IntWithDefault, SmallInt, Text, Varchar } from './columns';

@Entity('task_instance')
@Index('uc_task_instance_array_batch_step', ['array_id', 'array_batch_num', 'array_step_id', 'twin'], { unique: true })
@Index('ix_task_instance_run_status_array_resources', ['workflow_run_id', 'status', 'array_id', 'task_resources_id'])
@Index('fkidx_task_instance_task_id', ['task_id'])
export class TaskInstance {
  @Id() id: number;
  /** The run that queued it; never changes. */
  @Int() workflow_run_id: number;
  @Int() array_id: number;
  @Int() task_id: number;
  /** Id given by the cluster. */
  @Varchar(20, { nullable: true }) distributor_id: string | null;
  /** What this attempt really asks for. */
  @Int() task_resources_id: number;
  /** 1, 2, 3 … within the array. */
  @Int() array_batch_num: number;
  /** Position in the batch, from 0. */
  @Int() array_step_id: number;
  @Varchar(150, { nullable: true }) nodename: string | null;
  @Int({ nullable: true }) process_group_id: number | null;
  @Varchar(250, { nullable: true }) usage_str: string | null;
  /** Seconds, as text. */
  @Varchar(50, { nullable: true }) wallclock: string | null;
  /** Bytes, as text. */
  @Varchar(50, { nullable: true }) maxrss: string | null;
  @Varchar(50, { nullable: true }) maxpss: string | null;
  /** Seconds on a processor, user and system together, as text. */
  @Varchar(50, { nullable: true }) cpu: string | null;
  @Varchar(50, { nullable: true }) io: string | null;
  /** Path of the output file. */
  @Varchar(2048, { nullable: true }) stdout: string | null;
  @Varchar(2048, { nullable: true }) stderr: string | null;
  /** Last 10,000 characters of the output. */
  @Text({ nullable: true }) stdout_log: string | null;
  @Text({ nullable: true }) stderr_log: string | null;
  @Varchar(1) status: TaskInstanceStatus;
  @DateTime({ nullable: true }) submitted_date: string | null;
  @DateTime({ nullable: true }) status_date: string | null;
  /** Deadline of the next sign of life. */
  @DateTime({ nullable: true }) report_by_date: string | null;
  /** Ours. Who took it: the agent that leased it; on client runs a negative number, the call of a distributor (E30). */
  @BigInteger({ nullable: true }) agent_id: number | null;
  /** Ours. Last sequence used in its history; NULL: none yet. */
  @Int({ nullable: true }) history_sequence: number | null;
  /** Ours. Of the command; 128 + signal when a signal ended it. */
  @Int({ nullable: true }) exit_code: number | null;
  /**
   * Ours. 0 everywhere but on rows that shared their place in a batch when the database was migrated: those are numbered from
   * 0 in the order of their ids, so that the unique key of the place could be made.
   */
  @IntWithDefault(0) twin: number;
}

@Entity('task_instance_error_log')
@Index('fkidx_task_instance_error_log_task_instance_id', ['task_instance_id'])
export class TaskInstanceErrorLog {
  @Id() id: number;
  @Int() task_instance_id: number;
  @DateTime({ nullable: true }) error_time: string | null;
  @Text() description: string;
}

/** Ours. One row for each transition, written with it; a duplicate key is a double transition (design rule 5.6). */
@Entity('task_instance_history')
export class TaskInstanceHistory {
  @IntKey() task_instance_id: number;
  @IntKey() sequence: number;
  /** NULL: the row's creation. */
  @Varchar(1, { nullable: true }) from_status: TaskInstanceStatus | null;
  @Varchar(1) to_status: TaskInstanceStatus;
  @DateTime() date: string;
  @Varchar(1) actor: Actor;
  @SmallInt() reason: HistoryReason;
  /** The part of the second in which it happened, by the same clock: 0 to 999,999, on SQLite whole thousands. 0 on rows of older versions. */
  @IntWithDefault(0) microsecond: number;
}
