/** Log records that are kept. On a server they are in the database, beside a SQLite file in a second one (`openLogRecords`). */
import { Entity, Index } from 'typeorm';
import { BigInteger, BigIntegerWithDefault, DateTime, Int, IntKey, SmallInt, Text, Varchar, VarcharKey } from './columns';

/** Ours. One thing that a process said. Never changed; deleted when its time is over. */
@Entity('log_record')
@Index('ix_log_record_workflow_id', ['workflow_id', 'id'])
@Index('ix_log_record_task_id', ['task_id', 'id'])
@Index('ix_log_record_arrival', ['arrival'])
@Index('ix_log_record_level', ['level', 'id'])
export class LogRecordRow {
  /** Sorts by time; see `libs/contracts/src/log-record.ts`. */
  @VarcharKey(26) id: string;
  /** The id's moment for people: whole seconds, UTC, by the clock of whoever said it. */
  @DateTime() date: string;
  /** 10 trace, 20 debug, 30 info, 40 warn, 50 error, 60 fatal. */
  @SmallInt() level: number;
  @Varchar(64) service: string;
  @Varchar(150) instance: string;
  @Varchar(255, { nullable: true }) request_id: string | null;
  @Int({ nullable: true }) workflow_id: number | null;
  @Int({ nullable: true }) workflow_run_id: number | null;
  @Int({ nullable: true }) task_id: number | null;
  @Int({ nullable: true }) task_instance_id: number | null;
  @Varchar(64, { nullable: true }) trace_id: string | null;
  @Text() text: string;
  /** The rest as JSON. */
  @Text() detail: string;
  /**
   * Its number in the order in which records were committed, from 1; there may be gaps. Whoever follows goes by it, since a record may come long after
   * others that have later ids. 0: from before there were such numbers.
   */
  @BigIntegerWithDefault(0) arrival: number;
}

/**
 * Ours, one row: the last number that was given to a log record. Whoever stores records changes it first, in the same transaction, and so
 * holds it until his commit: a reader who sees a number sees all records with lower ones.
 */
@Entity('log_arrival')
export class LogArrivalRow {
  /** 1. */
  @IntKey() id: number;
  @BigInteger() arrival: number;
}
