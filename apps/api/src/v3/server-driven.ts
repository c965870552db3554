/** The rule that the Python protocol changes nothing on a run that the server drives (design, section 5). */
import type { Procedure } from '@jobmon/entities';

/** Runs that are not over. One in G was refused before it was linked. */
const LINKED = `('L', 'B', 'I', 'O', 'R', 'C', 'H')`;

/** Whether the server drives a run of the workflow that is not over. To be asked under the workflow's lock: runs are linked there. */
export function* isServerDriven(workflow_id: number): Procedure<boolean> {
  const { rows } = yield {
    sql: `SELECT id FROM workflow_run WHERE workflow_id = ? AND driver = 'server' AND status IN ${LINKED} LIMIT 1`,
    params: [workflow_id],
  };
  return rows.length > 0;
}
