/** P1: workflows that stand at F although nothing is left to do, because whoever saw the last task done died before it said so. */
import { LIVE_WORKFLOW_RUN_STATUSES, type fixStatusInconsistency, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import { idList, lockRows, type Database, type Procedure } from '@jobmon/entities';
import { guarded } from './transition';

/** Workflows mended in one transaction, and by one request: the cursor stops behind the last one. */
const FIXED_MAX = 1_000;

/** An F workflow `w` with tasks, all of them D, and no live run. The tasks' index alone is read. */
const IS_DONE =
  "w.status = 'F' AND EXISTS (SELECT 1 FROM task AS t WHERE t.workflow_id = w.id) " +
  "AND NOT EXISTS (SELECT 1 FROM task AS t WHERE t.workflow_id = w.id AND t.status <> 'D') " +
  'AND NOT EXISTS (SELECT 1 FROM workflow_run AS r WHERE r.workflow_id = w.id ' +
  `AND r.status IN (${LIVE_WORKFLOW_RUN_STATUSES.map((letter) => `'${letter}'`).join(',')}))`;

/** Looks without locks, and once more under them. The end of the cursor is the highest id, not the number of rows (race 50). */
export async function fixInconsistent(
  database: Database,
  { workflow_id: cursor, increase_step }: RequestOf<typeof fixStatusInconsistency>,
): Promise<ReplyOf<typeof fixStatusInconsistency>> {
  const { dialect } = database;
  const [highest] = await database.read<{ id: number | null }>('SELECT MAX(id) AS id FROM workflow');
  const found = await database.read<{ id: number }>(
    `SELECT w.id AS id FROM workflow AS w WHERE w.id > ? AND w.id <= ? AND ${IS_DONE} ORDER BY w.id LIMIT ${FIXED_MAX}`,
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
      sql: `SELECT w.id AS id FROM workflow AS w WHERE w.id IN ${list.sql} AND ${IS_DONE}`,
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
