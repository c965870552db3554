/** What people did to what is no run of a workflow: definitions, graphs, agents. What they did to workflows that run is in `workflow_event`. */
import { Entity } from 'typeorm';
import { BigId, DateTime, Int, Varchar } from './columns';
import type { Dialect, Statement } from './database';

/** Ours. One change that somebody made who was logged in: written with the change, never changed. */
@Entity('person_event')
export class PersonEvent {
  @BigId() id: number;
  @DateTime() date: string;
  /** The part of the second that `date` leaves away. */
  @Int() microsecond: number;
  @Varchar(150) user: string;
  /** Name of the operation: `tool.register`. */
  @Varchar(64) operation: string;
  /** The id of what was changed: tool, new version of a tool or a template, agent, workflow (also for its tasks and edges). */
  @Int() subject_id: number;
}

export interface NewPersonEvent {
  readonly user: string;
  readonly operation: string;
  readonly subject_id: number;
}

export function insertPersonEvent(dialect: Dialect, { user, operation, subject_id }: NewPersonEvent): Statement {
  return {
    sql: `INSERT INTO person_event (date, microsecond, user, operation, subject_id) VALUES (${dialect.now}, ${dialect.microsecond}, ?, ?, ?)`,
    params: [user, operation, subject_id],
  };
}
