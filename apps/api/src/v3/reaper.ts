/** What a reaper asks for: P2, P3. */
import { Driver, findLostWorkflowRuns, getWorkflowNameAndArgs, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import type { Register, Room } from '../context';

export function registerReaper(answer: Register): void {
  answer(getWorkflowNameAndArgs, answerNameAndArgs);
  answer(findLostWorkflowRuns, answerLostRuns);
}

/** P2. */
async function answerNameAndArgs(
  { database }: Room,
  { workflow_id }: RequestOf<typeof getWorkflowNameAndArgs>,
): Promise<ReplyOf<typeof getWorkflowNameAndArgs>> {
  const [row] = await database.read<{ name: string | null; workflow_args: string | null }>(
    'SELECT name, workflow_args FROM workflow WHERE id = ?',
    [workflow_id],
  );
  return { workflow_name: row?.name ?? null, workflow_args: row?.workflow_args ?? null };
}

/** Runs in one answer. */
const LOST_MAX = 1_000;

/** P3. Runs that the server drives are not the reaper's of the Python protocol. */
async function answerLostRuns(
  { database }: Room,
  { status }: RequestOf<typeof findLostWorkflowRuns>,
): Promise<ReplyOf<typeof findLostWorkflowRuns>> {
  if (status.length === 0) return { workflow_runs: [] };
  const rows = await database.read<{ id: number; workflow_id: number }>(
    `SELECT id, workflow_id FROM workflow_run WHERE status IN (${status.map(() => '?').join(',')})
        AND heartbeat_date <= ${database.dialect.now} AND COALESCE(driver, '${Driver.CLIENT}') = '${Driver.CLIENT}'
      ORDER BY heartbeat_date, id LIMIT ${LOST_MAX}`,
    status,
  );
  return { workflow_runs: rows.map(({ id, workflow_id }) => [id, workflow_id]) };
}
