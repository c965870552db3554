/**
 * Workflows that stand where nobody moves them any more. P1: at F although nothing is left to do, because whoever saw the last task done died
 * before it said so. And those that are in no final status while no run holds them.
 */
import {
  JobmonError,
  LEFT_WORKFLOW_SECONDS,
  type endLeftWorkflow,
  type fixStatusInconsistency,
  type ReplyOf,
  type RequestOf,
  type WorkflowStatus,
} from '@jobmon/contracts';
import { idList, IS_INCONSISTENT_WORKFLOW, lockRows, type Database, type Procedure } from '@jobmon/entities';
import { liveRunOf } from './reset';
import { guarded } from './guard';

/** Workflows mended in one transaction, and by one request: the cursor stops behind the last one. */
const FIXED_MAX = 1_000;

/** Looks without locks, and once more under them. The end of the cursor is the highest id, not the number of rows (race 50). */
export async function fixInconsistent(
  database: Database,
  { workflow_id: cursor, increase_step }: RequestOf<typeof fixStatusInconsistency>,
): Promise<ReplyOf<typeof fixStatusInconsistency>> {
  const { dialect } = database;
  const [highest] = await database.read<{ id: number | null }>('SELECT MAX(id) AS id FROM workflow');
  const found = await database.read<{ id: number }>(
    `SELECT w.id AS id FROM workflow AS w WHERE w.id > ? AND w.id <= ? AND ${IS_INCONSISTENT_WORKFLOW} ORDER BY w.id LIMIT ${FIXED_MAX}`,
    [cursor, cursor + increase_step],
  );
  const ids = found.map(({ id }) => id);
  const end = ids.length === FIXED_MAX ? (ids.at(-1) as number) : cursor + increase_step;
  const wfid = end >= (highest?.id ?? 0) ? 0 : end;
  if (ids.length === 0) return { wfid, fixed: 0 };
  const fixed = await database.write({ label: 'workflow.fix_status_inconsistency' }, function* (): Procedure<number> {
    yield lockRows(dialect, 'workflow', 'id', ids);
    const list = idList(ids);
    const done = yield {
      sql: `SELECT w.id AS id FROM workflow AS w WHERE w.id IN ${list.sql} AND ${IS_INCONSISTENT_WORKFLOW}`,
      params: list.params,
    };
    if (done.rows.length === 0) return 0;
    const mended = idList((done.rows as { id: number }[]).map(({ id }) => id));
    yield* guarded('workflow F→D', done.rows.length, {
      sql: `UPDATE workflow SET status = 'D', status_date = ${dialect.now} WHERE id IN ${mended.sql} AND status = 'F'`,
      params: mended.params,
    });
    return done.rows.length;
  });
  return { wfid, fixed };
}

/** Looks once more under the workflow's lock, at which runs are linked and commands begun. */
export function endLeft(
  database: Database,
  { workflow_id: id }: RequestOf<typeof endLeftWorkflow>,
): Promise<ReplyOf<typeof endLeftWorkflow>> {
  const { dialect } = database;
  return database.write({ label: 'workflow.end_left' }, function* (): Procedure<ReplyOf<typeof endLeftWorkflow>> {
    const [workflow] = (yield lockRows(dialect, 'workflow', 'id, status', [id])).rows as { status: WorkflowStatus }[];
    if (workflow === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${id}`);
    const { status } = workflow;
    const seconds = LEFT_WORKFLOW_SECONDS[status];
    const standing = { workflow_id: id, status };
    if (seconds === undefined || (yield* liveRunOf(id)) !== undefined) return standing;
    const left = yield {
      sql:
        'SELECT w.id FROM workflow AS w LEFT JOIN workflow_command AS c ON c.workflow_id = w.id WHERE w.id = ? AND c.workflow_id IS NULL ' +
        `AND COALESCE(w.status_date, w.created_date, '2000-01-01') <= ${dialect.nowPlusSeconds}`,
      params: [id, -seconds],
    };
    if (left.rows.length === 0) return standing;
    const to = status === 'G' ? 'A' : 'F';
    yield* guarded(`workflow ${status}→${to}`, 1, {
      sql: `UPDATE workflow SET status = '${to}', status_date = ${dialect.now} WHERE id = ? AND status = ?`,
      params: [id, status],
    });
    return { workflow_id: id, status: to };
  });
}
