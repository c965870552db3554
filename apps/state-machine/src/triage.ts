/**
 * Silent attempts of client runs (E61 of spec/http-api-execution.md). They are looked for without locks and moved under them, each only
 * while it still stands where it was found with its deadline passed (race 14), 1,000 in a transaction. Looked through are all runs of
 * the workflow: what survived a hot resume carries the run that queued it (race 31).
 */
import { Actor, CLIENT_RETRY_SECONDS, Driver, historyReasonOf, JobmonError, type TaskInstanceStatus } from '@jobmon/contracts';
import { instancesByStatus, type Database, type Dialect, type Procedure } from '@jobmon/entities';
import { IS_CLIENT_RUN } from './distributor';
import { Transition, type Asker, type ChangedTasks } from './transition';

const TRIAGE: Asker = { actor: Actor.CLIENT, reason: historyReasonOf('workflow_run.set_status_for_triaging') };

/** Attempts of one look, and of one transaction. */
const PIECE_ROWS = 1_000;

/** One kind of silence. */
export interface Silence {
  readonly from: TaskInstanceStatus;
  readonly to: TaskInstanceStatus;
  /** It must also have stood there for a while: fresh and retried launches are left alone (race 15). */
  readonly must_be_old: boolean;
  /** Text for the error log, where the move ends the attempt. */
  readonly description?: string;
}

/**
 * In this order: what goes silent is first asked after, by the distributor of its run. When nobody says what became of it (its
 * distributor is gone, or its cluster's plug-in fails each time; races 7, 17 and 51) it is given up, and its task retried. What was
 * ordered to stop is asked after by the distributor of a live run alone, so what an ended run left so ends here too (race 17).
 */
export const SILENCES: readonly Silence[] = [
  { from: 'R', to: 'T', must_be_old: false },
  { from: 'O', to: 'X', must_be_old: true },
  {
    from: 'T',
    to: 'U',
    must_be_old: true,
    description: 'The attempt went silent, and nobody could say what became of it.',
  },
  {
    from: 'X',
    to: 'E',
    must_be_old: true,
    description: 'The attempt was launched and never heard of, and nobody could say what became of it.',
  },
  {
    from: 'K',
    to: 'F',
    must_be_old: true,
    description: 'The attempt was under the order to stop and went silent, and nobody could say what became of it.',
  },
];

/** What of a silence counts. */
export interface Patience {
  /** Seconds after which a status has stood for a while. */
  readonly old_seconds: number;
  /** For so long workers could be heard without a break. */
  readonly served_seconds: number;
}

/** The workflow of a run. @throws JobmonError NOT_FOUND */
export async function workflowOf(database: Database, runId: number): Promise<number> {
  const [run] = await database.read<{ workflow_id: number }>('SELECT workflow_id FROM workflow_run WHERE id = ?', [runId]);
  if (run === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow run ${runId}`);
  return run.workflow_id;
}

/**
 * The next silent attempts of a workflow behind `after`, ascending: one look at the index of run and status for each run. What stood there
 * while nobody could be heard is not given up before workers that found nobody have asked again (race 54).
 */
export async function silentInstances(
  database: Database,
  workflowId: number,
  silence: Silence,
  { old_seconds, served_seconds }: Patience,
  after: number,
): Promise<number[]> {
  const { dialect } = database;
  const bounds = !silence.must_be_old
    ? []
    : [
        { sql: ` AND ti.status_date <= ${dialect.nowPlusSeconds}`, seconds: Math.ceil(old_seconds) },
        ...(served_seconds >= CLIENT_RETRY_SECONDS
          ? []
          : [{ sql: ` AND ti.status_date >= ${dialect.nowPlusSeconds}`, seconds: Math.floor(served_seconds) }]),
      ];
  const silent = instancesByStatus('silent', 'ti.id', [silence.from], {
    sql: `wr.workflow_id = ? AND ${IS_CLIENT_RUN} AND ti.id > ? AND ti.report_by_date <= ${dialect.now}${bounds.map(({ sql }) => sql).join('')}`,
    params: [workflowId, after, ...bounds.map(({ seconds }) => -seconds)],
  });
  const rows = await database.read<{ id: number }>(
    `SELECT silent.id FROM ${silent.sql} ORDER BY silent.id LIMIT ${PIECE_ROWS}`,
    silent.params,
  );
  return rows.map(({ id }) => id);
}

/** Whether a look brought as much as one look brings, so that there may be more. */
export const isFull = (ids: readonly number[]): boolean => ids.length === PIECE_ROWS;

/** Moves those that are still silent. How long they have stood there is not asked again: while the status stands, that only grows. */
export function* triage(dialect: Dialect, writer: string, silence: Silence, ids: readonly number[]): Procedure<ChangedTasks[]> {
  const transition = new Transition(dialect, writer);
  yield* transition.lock(ids);
  for (const id of ids) {
    const instance = transition.instance(id);
    if (instance?.driver !== Driver.CLIENT || instance.status !== silence.from || !instance.is_overdue) continue;
    const { to, description } = silence;
    if (description === undefined) transition.move(instance, to, TRIAGE);
    else if (transition.end(instance, [to], TRIAGE)) transition.addError({ task_instance_id: id, description, is_new: 1 });
  }
  yield* transition.write();
  return transition.changed();
}
