/** Attempts of ended client runs that nobody resumes: their owner is the reaper, their deadline a day (design rule 5.10). */
import { Driver, endLeftAttempts, LIVE_TASK_INSTANCE_STATUSES, workflowRunMachine } from '@jobmon/contracts';
import { send } from '@jobmon/messaging';
import type { ReaperContext } from './reap';

/** Runs of one call; the next one finds the rest. */
const RUNS_MAX = 100;
/** After so long nobody is expected to resume; what still runs for an ended run is heard of all the while. */
const LEFT_SECONDS_MIN = 86_400;
/** Runs that ended earlier are not looked at again, so that the pass costs by what ends in a week and not by all that ever ran. */
const LEFT_SECONDS_MAX = 8 * 86_400;

/**
 * Ends what client runs left behind that ended a day ago: Python's own server leaves such attempts as they stand for ever. Answers how many it
 * ended. To be called now and then: it looks at every client run that ended within the week before.
 */
export async function endLeft({ database, messenger, log }: ReaperContext): Promise<number> {
  const { now, nowPlusSeconds } = database.dialect;
  const live = LIVE_TASK_INSTANCE_STATUSES.map((letter) => `'${letter}'`).join(',');
  const ended = [...workflowRunMachine.final].map((letter) => `'${letter}'`).join(',');
  const left = await database.read<{ id: number }>(
    `SELECT wr.id FROM workflow_run AS wr WHERE wr.status IN (${ended}) AND wr.heartbeat_date BETWEEN ${nowPlusSeconds} AND ${nowPlusSeconds} ` +
      `AND COALESCE(wr.driver, '${Driver.CLIENT}') = '${Driver.CLIENT}' AND (SELECT ti.id FROM task_instance AS ti ` +
      `WHERE ti.workflow_run_id = wr.id AND ti.status IN (${live}) AND (ti.report_by_date IS NULL OR ti.report_by_date <= ${now}) ` +
      `LIMIT 1) IS NOT NULL ORDER BY wr.id LIMIT ${RUNS_MAX}`,
    [-LEFT_SECONDS_MAX, -LEFT_SECONDS_MIN],
  );
  let sum = 0;
  for (const { id: workflow_run_id } of left) {
    try {
      sum += (await send(messenger, endLeftAttempts, { workflow_run_id })).ended;
    } catch (error) {
      log.warn({ error, workflow_run_id }, 'attempts that an ended run left behind could not be ended; that is tried again');
    }
  }
  if (sum > 0) log.warn({ attempts: sum }, 'attempts that ended client runs had left behind were ended');
  return sum;
}
