/** Leases of server runs, the schedulers that hold them, and the statements that find what nobody holds. */
import { Entity, Index } from 'typeorm';
import { BigInteger, DateTime, IntKey, Varchar, VarcharKey } from './columns';
import type { Dialect, SqlValue, Statement } from './database';

/**
 * Ours. Who walks a server run. The row comes with the first lease and stays as long as the run, so that its number never goes
 * back. The lease holds until the deadline of its scheduler.
 */
@Entity('workflow_run_lease')
@Index('ix_workflow_run_lease_scheduler_instance', ['scheduler_instance'])
export class WorkflowRunLease {
  @IntKey() workflow_run_id: number;
  /** NULL: nobody holds it. */
  @Varchar(150, { nullable: true }) scheduler_instance: string | null;
  /** One more with each change of hands. */
  @BigInteger() fence: number;
}

/** Ours. One start of a scheduler that is, or lately was, alive. */
@Entity('scheduler')
export class SchedulerRow {
  @VarcharKey(150) instance: string;
  /** From here on others take what it holds. */
  @DateTime() expires_date: string;
}

/** A command that was moved more recently is being worked on by whoever asked for it. */
const WAITING_SECONDS = 1;
/** Commands that wait, looked at in one statement; the others come when some have ended. */
const WAITING_MAX = 100;

/** Which commands wait for the end of a run, as a condition on `workflow_command AS c`; its parameter is `WAITING_COMMANDS_PARAM`. */
export function waitingCommands(dialect: Dialect): string {
  return `c.operation IN ('workflow.resume', 'workflow.retry') AND c.moved_date <= ${dialect.nowPlusSeconds}`;
}
export const WAITING_COMMANDS_PARAM = -WAITING_SECONDS;

/**
 * Runs that need a scheduler, as a derived table `run` with the columns id and workflow_id: live server runs, by the index (status,
 * heartbeat_date), and the newest run of each workflow on which a command waits. Costs by these runs, not by stored ones.
 */
function runsInNeed(dialect: Dialect): { readonly sql: string; readonly params: readonly SqlValue[] } {
  return {
    sql:
      "(SELECT wr.id, wr.workflow_id FROM workflow_run AS wr WHERE wr.status IN ('B', 'I', 'O', 'R', 'C', 'H') AND wr.driver = 'server' " +
      'UNION SELECT MAX(wr.id) AS id, wr.workflow_id FROM ' +
      `(SELECT c.workflow_id FROM workflow_command AS c WHERE ${waitingCommands(dialect)} ORDER BY c.moved_date LIMIT ${WAITING_MAX}) AS waiting ` +
      'JOIN workflow_run AS wr ON wr.workflow_id = waiting.workflow_id GROUP BY wr.workflow_id) AS run',
    params: [WAITING_COMMANDS_PARAM],
  };
}

/** How many runs need a scheduler (`runs`), how many of them this one holds (`held`), and how many schedulers are alive (`schedulers`). */
export function countRunsInNeed(dialect: Dialect, scheduler_instance: string): Statement {
  const run = runsInNeed(dialect);
  return {
    sql:
      'SELECT COUNT(*) AS runs, COUNT(CASE WHEN l.scheduler_instance = ? THEN 1 END) AS held, ' +
      `(SELECT COUNT(*) FROM scheduler WHERE expires_date > ${dialect.now}) AS schedulers ` +
      `FROM ${run.sql} LEFT JOIN workflow_run_lease AS l ON l.workflow_run_id = run.id`,
    params: [scheduler_instance, ...run.params],
  };
}

/**
 * Ids of at most `max` runs that need a scheduler and have none that is alive, the highest priority first, then the oldest. `is_new`: it
 * was never leased.
 */
export function freeRuns(dialect: Dialect, max: number): Statement {
  const run = runsInNeed(dialect);
  return {
    sql:
      `SELECT run.id, l.workflow_run_id IS NULL AS is_new FROM ${run.sql} JOIN workflow AS w ON w.id = run.workflow_id ` +
      'LEFT JOIN workflow_run_lease AS l ON l.workflow_run_id = run.id ' +
      `LEFT JOIN scheduler AS s ON s.instance = l.scheduler_instance AND s.expires_date > ${dialect.now} ` +
      `WHERE s.instance IS NULL ORDER BY COALESCE(w.priority, 0) DESC, run.id LIMIT ${Math.max(0, Math.floor(max))}`,
    params: run.params,
  };
}
