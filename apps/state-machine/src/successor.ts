/**
 * The server run that follows on another: what a resume or a retry links when nothing stands in its way any more, and what is
 * looked at before. A run that is live is told to stop and waited for; so are attempts that were ordered to stop.
 */
import {
  Driver,
  JobmonError,
  LIVE_TASK_INSTANCE_STATUSES,
  WORKFLOW_RUN_DEADLINE_SECONDS,
  workflowMachine,
  type RequestOf,
  type ResumeMode,
  type resumeWorkflow,
  type retryTasks,
  type WorkflowStatus,
} from '@jobmon/contracts';
import { instancesByStatus, type Database, type Dialect, type Procedure, type Statement } from '@jobmon/entities';
import type { LiveRun, LockedWorkflow } from './reset';
import type { RunChange } from './run-report';
import { findChanges } from './resource-change';
import { isStopping, setPaused, tellToEnd } from './workflow-control';
import { insertEvent } from './workflow-event';
import { followedBy, insertRun } from './workflow-run';

/** A command that links a server run when it has made its tasks ready, unless one is live. */
export type LinkingCommand =
  | { readonly operation: 'workflow.resume'; readonly request: RequestOf<typeof resumeWorkflow> }
  | {
      readonly operation: 'workflow.retry';
      readonly request: RequestOf<typeof retryTasks>;
      /** Found before, ascending; null: all that failed. Not stored: the same request finds the same. */
      readonly task_ids: readonly number[] | null;
    };

/** What the new run is made of. */
export interface Successor {
  readonly workflow_id: number;
  readonly user: string;
  readonly client_version: string;
  readonly working_directory?: string | undefined;
}

/** Tasks looked at in one statement, and named in one error. */
const PAGE_ROWS = 5_000;
const NAMED_MAX = 10;

/**
 * Refuses a workflow from which no server run can be linked, ever.
 *
 * @throws JobmonError CONFLICT, with the cure
 */
function* requireLinkable(workflow: LockedWorkflow, request: Successor, mayBeDone: boolean): Procedure<void> {
  const { id, status } = workflow;
  if (status === 'D' && !mayBeDone) throw new JobmonError('CONFLICT', `workflow ${id} is DONE: nothing is left to run`);
  if (workflow.created_date === null) {
    throw new JobmonError('CONFLICT', `workflow ${id} was never bound to its end: submit it from the program that describes it`);
  }
  if ((yield* folderOf(request)) !== null) return;
  throw new JobmonError(
    'CONFLICT',
    `nothing says where the commands of workflow ${id} start, since no server run has run it: give working_directory`,
  );
}

function* folderOf({ workflow_id, working_directory }: Successor): Procedure<string | null> {
  if (working_directory !== undefined) return working_directory;
  const read = yield {
    sql: 'SELECT working_directory FROM workflow_run WHERE workflow_id = ? AND working_directory IS NOT NULL ORDER BY id DESC LIMIT 1',
    params: [workflow_id],
  };
  return (read.rows as { working_directory: string }[])[0]?.working_directory ?? null;
}

/** What a live run makes of a command that links one. */
export interface Met {
  /** It has to end first; else nothing is left to do. */
  readonly is_waiting: boolean;
  readonly is_changed: boolean;
  readonly changed: RunChange[];
}

const AT_REST: Met = { is_waiting: false, is_changed: false, changed: [] };

/**
 * Meets what stands between a command and its run. Null: nothing, its tasks may be made ready now.
 *
 * - A resume lifts the pause of a live server run; one that it finds going on is what it wanted. Any other live run is told to stop
 *   (a drain becomes a cancel for a cold resume) and waited for.
 * - A retry goes on under a live server run, and is refused by one that is being stopped or that a client drives.
 *
 * @throws JobmonError CONFLICT, with the cure
 */
export function* meetRun(
  dialect: Dialect,
  command: LinkingCommand,
  workflow: LockedWorkflow,
  live: LiveRun | undefined,
  isBegun: boolean,
): Procedure<Met | null> {
  const { operation, request } = command;
  const isServed = live?.driver === Driver.SERVER && !isStopping(live);
  if (operation === 'workflow.retry') {
    if (live === undefined) {
      if (!isBegun) yield* requireLinkable(workflow, request, true);
      return null;
    }
    if (isServed || isBegun) return isServed ? null : { ...AT_REST, is_waiting: true };
    const what = isStopping(live) ? 'is being stopped' : 'is driven by a client';
    throw new JobmonError(
      'CONFLICT',
      `run ${live.id} of workflow ${workflow.id} ${what}: resume the workflow, which takes in every task that is not done`,
    );
  }
  if (live !== undefined && isServed) {
    if (!isBegun && request.resources.length > 0) {
      throw new JobmonError(
        'CONFLICT',
        `run ${live.id} of workflow ${workflow.id} is live: drain or cancel it, then resume with other resources`,
      );
    }
    const is_changed = !(yield* setPaused(dialect, live.id, 0));
    if (is_changed) yield resumeEvent(dialect, request, live.id);
    return { ...AT_REST, is_changed };
  }
  if (!isBegun) {
    yield* requireLinkable(workflow, request, false);
    yield* findChanges(workflow.id, request.resources);
  }
  if (live === undefined) return workflow.status === 'D' ? AT_REST : null;
  if (!isBegun) yield resumeEvent(dialect, request, live.id);
  const isToldEnough = isStopping(live) && request.mode === 'hot';
  const changed = isToldEnough ? [] : yield* tellToEnd(dialect, workflow.id, live, request.mode === 'cold' ? 'C' : 'H');
  return { is_waiting: true, is_changed: !isBegun || changed.length > 0, changed };
}

/** What is recorded of a resume, whatever it meets. */
export function resumeEvent(
  dialect: Dialect,
  request: RequestOf<typeof resumeWorkflow>,
  workflow_run_id: number | null,
): Statement {
  const { mode, resources } = request;
  return insertEvent(dialect, { ...request, workflow_run_id, verb: 'resume', detail: { mode, resources } });
}

/** A retry leaves alone what runs. */
export const modeOf = ({ operation, request }: LinkingCommand): ResumeMode =>
  operation === 'workflow.resume' ? request.mode : 'hot';

/**
 * Attempts of earlier runs that stand in the way: two processes of one task would run at once. A hot resume leaves what runs for a
 * task that still has it.
 */
export function* hasUnended(workflowId: number, mode: ResumeMode): Procedure<boolean> {
  const live = instancesByStatus('live', 'ti.task_id, ti.status', LIVE_TASK_INSTANCE_STATUSES, {
    sql: 'wr.workflow_id = ?',
    params: [workflowId],
  });
  const kept = mode === 'hot' ? " AND NOT (live.status = 'R' AND t.status = 'R')" : '';
  const read = yield {
    sql: `SELECT 1 AS found FROM ${live.sql} JOIN task AS t ON t.id = live.task_id WHERE t.status <> 'D'${kept} LIMIT 1`,
    params: live.params,
  };
  return read.rows.length > 0;
}

/**
 * Whose agents run it: with login on its owner's, whoever asked, for an admin who helps somebody must not start that one's commands as
 * himself. Without an owner, of who asked.
 */
function* runsAs(workflow_id: number, { user }: Successor): Procedure<string> {
  const { rows } = yield { sql: 'SELECT user FROM workflow WHERE id = ?', params: [workflow_id] };
  return (rows[0] as { user: string | null }).user ?? user;
}

/** Links the run: B, the workflow through G to Q. */
export function* linkSuccessor(
  dialect: Dialect,
  workflow: { readonly id: number; readonly status: WorkflowStatus },
  request: Successor,
): Procedure<RunChange> {
  const follows = followedBy(workflow.status, ['L', 'B']);
  if (follows === null) {
    const standing = workflowMachine.states[workflow.status].label;
    throw new JobmonError('CONFLICT', `workflow ${workflow.id} is ${standing}, from where no run can be linked`);
  }
  const { client_version: version } = request;
  const run = {
    status: 'B',
    driver: Driver.SERVER,
    user: yield* runsAs(workflow.id, request),
    version,
    working_directory: yield* folderOf(request),
    seconds: WORKFLOW_RUN_DEADLINE_SECONDS,
  } as const;
  const linked = yield* insertRun(dialect, workflow.id, run, workflow.status, follows);
  return { workflow_id: workflow.id, ...linked.reply };
}

/**
 * Refuses a workflow with a task that cannot run natively, because a Python client bound it and never queued it: a task gets its
 * resources from that client with its first attempt. Read without locks, a page at a time; `areMoved`: a change gives every such task a cluster.
 *
 * @throws JobmonError CONFLICT, with the tasks and the cure
 */
export async function requireResources(database: Database, workflowId: number, areMoved: boolean): Promise<void> {
  const [runs] = await database.read<{ n: number; native: number | null }>(
    `SELECT COUNT(*) AS n, SUM(CASE WHEN driver = '${Driver.SERVER}' THEN 1 ELSE 0 END) AS native FROM workflow_run WHERE workflow_id = ?`,
    [workflowId],
  );
  // Every task that was bound natively has its resources.
  if (areMoved || (Number(runs?.n) > 0 && Number(runs?.n) === Number(runs?.native))) return;
  const lacking: number[] = [];
  const arrays = await database.read<{ id: number }>('SELECT id FROM array WHERE workflow_id = ? ORDER BY id', [workflowId]);
  for (const { id } of arrays) {
    for (let after: number | null = 0; after !== null;) {
      const page: { id: number; lacks: number }[] = await database.read(
        "SELECT id, CASE WHEN task_resources_id IS NULL AND status <> 'D' THEN 1 ELSE 0 END AS lacks FROM task " +
          `WHERE array_id = ? AND id > ? ORDER BY id LIMIT ${PAGE_ROWS}`,
        [id, after],
      );
      for (const task of page) if (Number(task.lacks) === 1) lacking.push(task.id);
      after = page.length === PAGE_ROWS ? (page.at(-1)?.id ?? null) : null;
    }
  }
  if (lacking.length === 0) return;
  const named = lacking.slice(0, NAMED_MAX).join(', ');
  throw new JobmonError(
    'CONFLICT',
    `${lacking.length} tasks of workflow ${workflowId} have no resources, since its Python client never queued them (task ${named}): ` +
      'give resources with a cluster for all of them, or let the Python client run it',
    { rule: 'no_resources', task_ids: lacking.slice(0, 1_000) },
  );
}
