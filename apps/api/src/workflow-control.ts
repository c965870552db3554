/** The record of what people did to a workflow. The verbs themselves are the state machine's. */
import { JobmonError, type getWorkflowHistory, type ReplyOf, type RequestOf, type WorkflowEvent } from '@jobmon/contracts';
import type { Room } from './context';

type EventRow = Omit<WorkflowEvent, 'detail'> & { detail: unknown };

/** @throws JobmonError NOT_FOUND */
export async function findHistory(
  { database }: Room,
  { workflow_id, before, limit }: RequestOf<typeof getWorkflowHistory>,
): Promise<ReplyOf<typeof getWorkflowHistory>> {
  const rows = await database.read<EventRow>(
    `SELECT id AS event_id, date, microsecond, user, verb, reason, workflow_run_id, detail FROM workflow_event
      WHERE workflow_id = ? AND (? IS NULL OR id < ?) ORDER BY id DESC LIMIT ?`,
    [workflow_id, before ?? null, before ?? null, limit + 1],
  );
  if (rows.length === 0 && (await database.read('SELECT id FROM workflow WHERE id = ?', [workflow_id])).length === 0) {
    throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
  }
  const events = rows.slice(0, limit).map((row) => ({ ...row, detail: objectIn(row.detail) }));
  return { events, next: rows.length > limit ? (events.at(-1)?.event_id ?? null) : null };
}

/** A stored JSON column: MySQL gives the value, the others its text. */
function objectIn(stored: unknown): Record<string, unknown> {
  return (typeof stored === 'string' ? JSON.parse(stored) : stored) as Record<string, unknown>;
}
