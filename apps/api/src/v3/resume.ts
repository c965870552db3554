/** Resume: E45. The rest of it changes statuses and is the state machine's. */
import { isResumable, JobmonError, LIVE_WORKFLOW_RUN_STATUSES, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import { instancesByStatus } from '@jobmon/entities';
import type { Register, Room } from '../context';

export function registerResume(answer: Register): void {
  answer(isResumable, answerIsResumable);
}

/** E45: bound to its end, and no run live; I and O count as live too (race 43). */
async function answerIsResumable(
  { database }: Room,
  { workflow_id }: RequestOf<typeof isResumable>,
): Promise<ReplyOf<typeof isResumable>> {
  const killed = instancesByStatus('killed', 'ti.id', ['K'], { sql: 'wr.workflow_id = ?', params: [workflow_id] });
  const letters = LIVE_WORKFLOW_RUN_STATUSES.map((letter) => `'${letter}'`).join(',');
  const [row] = await database.read<{ is_bound: number; live: number; killed: number }>(
    `SELECT w.created_date IS NOT NULL AS is_bound,
            (SELECT COUNT(*) FROM workflow_run AS r WHERE r.workflow_id = w.id AND r.status IN (${letters})) AS live,
            (SELECT COUNT(*) FROM ${killed.sql}) AS killed
       FROM workflow AS w WHERE w.id = ?`,
    [...killed.params, workflow_id],
  );
  if (row === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
  return {
    workflow_is_resumable: Number(row.is_bound) === 1 && Number(row.live) === 0,
    pending_kill_self: Number(row.killed),
  };
}
