/**
 * The end of a server run that was told to stop. The run's letter says what is to be done, so that whoever finds it, after a crash too,
 * can go on: H, what nobody has taken is given back; C, what agents hold is ordered to stop besides; and when nothing is live, the run's end.
 */
import { Actor, Driver, historyReasonOf, LIVE_TASK_INSTANCE_STATUSES, type TaskInstanceStatus } from '@jobmon/contracts';
import { lockRows, type Dialect, type Procedure } from '@jobmon/entities';
import { lockWorkflow, type LiveRun } from './reset';
import { endRuns } from './resume';
import type { RunChange } from './run-report';
import { Transition, type Asker, type ChangedTasks, type LockedInstance } from './transition';
import { isLeaseLost } from './workflow-run-lease';

/** Attempts of one transaction. */
const PIECE_ROWS = 1_000;

const DRAIN: Asker = { actor: Actor.USER, reason: historyReasonOf('workflow.drain') };
const CANCEL: Asker = { actor: Actor.USER, reason: historyReasonOf('workflow.cancel') };

/** What is stopped, by the run's letter. */
const STOPPED: Readonly<Record<'C' | 'H', readonly TaskInstanceStatus[]>> = { C: ['Q', 'I', 'O', 'R', 'T', 'X'], H: ['Q'] };

/** Who asks for it: a person, whoever holds the run, or a scheduler by this number of its lease. */
export type SettledBy = 'person' | { readonly fence: number };

export interface Settled {
  readonly status: string;
  /** The scheduler that asks is a former holder. */
  readonly isLeaseLost: boolean;
  /** True: ask again at once. */
  readonly hasMore: boolean;
  /** True: nothing of the run is live, and it may end. */
  readonly isQuiet: boolean;
  readonly tasks: ChangedTasks[];
  /** Agents that hold what was ordered to stop. */
  readonly agents: number[];
}

/** One piece. A run that was not told to stop, or that a client drives, is answered as it stands. */
export function* settlePiece(dialect: Dialect, writer: string, runId: number, by: SettledBy): Procedure<Settled> {
  const run = yield* lockRun(dialect, runId);
  const done = (more: Partial<Settled> = {}): Settled => ({
    status: run?.status ?? '',
    isLeaseLost: false,
    hasMore: false,
    isQuiet: false,
    tasks: [],
    agents: [],
    ...more,
  });
  if (run === undefined || run.driver !== Driver.SERVER || (run.status !== 'C' && run.status !== 'H')) return done();
  if (by !== 'person' && (yield* isLeaseLost(dialect, runId, by.fence))) return done({ isLeaseLost: true });
  const ids = yield* attemptsOf(runId, STOPPED[run.status], PIECE_ROWS);
  if (ids.length === 0) return done({ isQuiet: (yield* attemptsOf(runId, LIVE_TASK_INSTANCE_STATUSES, 1)).length === 0 });

  const asker = run.status === 'C' ? CANCEL : DRAIN;
  const transition = new Transition(dialect, writer);
  yield* transition.lock(ids);
  const agents = new Set<number>();
  let stopped = 0;
  for (const id of ids) {
    const attempt = transition.instance(id);
    if (attempt === undefined || !STOPPED[run.status].includes(attempt.status)) continue;
    if (attempt.status === 'Q') stopped += Number(giveBack(transition, attempt, asker));
    else if (transition.move(attempt, 'K', asker).accepted) {
      stopped += 1;
      if (attempt.agent_id !== null) agents.add(attempt.agent_id);
    }
  }
  yield* transition.write();
  return done({ hasMore: stopped > 0, tasks: transition.changed(), agents: [...agents] });
}

/** Ends an attempt that nobody has taken; its task is ready as it was before, and the attempt is not counted. */
function giveBack(transition: Transition, attempt: LockedInstance, asker: Asker): boolean {
  const isCurrent = attempt.task.current_task_instance_id === attempt.id;
  if (!transition.move(attempt, 'F', asker).accepted) return false;
  if (isCurrent) transition.giveBack(attempt.task);
  const description = 'The workflow was stopped before anybody took this attempt; it does not count.';
  transition.addError({ task_instance_id: attempt.id, description, is_new: 1 });
  return true;
}

/** The end of a run of which nothing is live: T, or D when all its tasks are done (asked before), the workflow with it. */
export function* endSettled(dialect: Dialect, runId: number, areTasksDone: boolean, by: SettledBy): Procedure<RunChange[]> {
  const run = yield* lockRun(dialect, runId);
  if (run === undefined || run.driver !== Driver.SERVER || (run.status !== 'C' && run.status !== 'H')) return [];
  if (by !== 'person' && (yield* isLeaseLost(dialect, runId, by.fence))) return [];
  if ((yield* attemptsOf(runId, LIVE_TASK_INSTANCE_STATUSES, 1)).length > 0) return [];
  const workflow = yield* lockWorkflow(dialect, run.workflow_id);
  return yield* endRuns(dialect, workflow, `id = ${run.id}`, areTasksDone ? 'D' : 'T');
}

function* lockRun(dialect: Dialect, runId: number): Procedure<(LiveRun & { readonly workflow_id: number }) | undefined> {
  const [found] = (yield { sql: 'SELECT workflow_id FROM workflow_run WHERE id = ?', params: [runId] }).rows as {
    workflow_id: number;
  }[];
  if (found === undefined) return undefined;
  yield* lockWorkflow(dialect, found.workflow_id);
  const locked = yield lockRows(dialect, 'workflow_run', 'id, status, driver', [runId]);
  const [run] = locked.rows as LiveRun[];
  return run && { ...run, workflow_id: found.workflow_id };
}

function* attemptsOf(runId: number, statuses: readonly TaskInstanceStatus[], max: number): Procedure<number[]> {
  const letters = statuses.map((letter) => `'${letter}'`).join(',');
  const read = yield {
    sql: `SELECT id FROM task_instance WHERE workflow_run_id = ? AND status IN (${letters}) LIMIT ${max}`,
    params: [runId],
  };
  return (read.rows as { id: number }[]).map(({ id }) => id);
}
