/** The record of what people do to workflows: a row in the transaction of its effect, under the workflow's lock. */
import type { Dialect, Procedure, SqlValue, Statement } from '@jobmon/entities';
import { wellFormed } from './text';

/** What is recorded of one verb. */
export interface Act {
  readonly workflow_id: number;
  /** The run that it met, if one was live. */
  readonly workflow_run_id: number | null;
  readonly user: string;
  readonly verb: string;
  readonly reason: string;
  /** What was asked besides; plain JSON. */
  readonly detail?: Readonly<Record<string, unknown>>;
}

export function insertEvent(dialect: Dialect, act: Act): Statement {
  const params: SqlValue[] = [
    act.workflow_id,
    act.workflow_run_id,
    wellFormed(act.user),
    act.verb,
    wellFormed(act.reason),
    JSON.stringify(act.detail ?? {}),
  ];
  return {
    sql:
      'INSERT INTO workflow_event (workflow_id, workflow_run_id, user, verb, reason, detail, date, microsecond) ' +
      `VALUES (?, ?, ?, ?, ?, ?, ${dialect.now}, ${dialect.microsecond})`,
    params,
  };
}

/** The newest event of a workflow, 0 for none. */
export function* newestEventOf(workflowId: number): Procedure<number> {
  const read = yield { sql: 'SELECT MAX(id) AS id FROM workflow_event WHERE workflow_id = ?', params: [workflowId] };
  return Number((read.rows as { id: number | null }[])[0]?.id ?? 0);
}
