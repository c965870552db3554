/** The rule that the Python protocol changes nothing on a run that the server drives (design, section 5). */
import { Driver, LIVE_WORKFLOW_RUN_STATUSES } from '@jobmon/contracts';
import type { Procedure } from '@jobmon/entities';

const LIVE = LIVE_WORKFLOW_RUN_STATUSES.map((letter) => `'${letter}'`).join(', ');

/** Who drives the workflow's live run; undefined when none is live. To be asked under the workflow's lock: runs are linked there. */
export function* driverOf(workflow_id: number): Procedure<Driver | undefined> {
  const { rows } = yield {
    sql: `SELECT driver FROM workflow_run WHERE workflow_id = ? AND status IN (${LIVE}) ORDER BY id DESC LIMIT 1`,
    params: [workflow_id],
  };
  const [run] = rows as { driver: Driver | null }[];
  return run === undefined ? undefined : (run.driver ?? Driver.CLIENT);
}

/** Whether the server drives the workflow now. */
export function* isServerDriven(workflow_id: number): Procedure<boolean> {
  return (yield* driverOf(workflow_id)) === Driver.SERVER;
}
