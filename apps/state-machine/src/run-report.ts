/**
 * What clients say of their runs: heartbeats and new statuses (E58, E59), many in one transaction. Run and workflow are locked, both are
 * decided, then both are written or neither (race 41). A run that the server drives is answered as it stands.
 */
import {
  Driver,
  JobmonError,
  LIVE_WORKFLOW_RUN_STATUSES,
  verdict,
  WORKFLOW_RUN_DEADLINE_SECONDS,
  workflowRunMachine,
  type WorkflowRunStatus,
  type WorkflowStatus,
} from '@jobmon/contracts';
import { idList, lockRows, updateRows, type Dialect, type Procedure } from '@jobmon/entities';
import type { Outcome } from '@jobmon/messaging';
import { guarded } from './guard';
import { ascending, groupBy } from './transition';
import { followedBy } from './workflow-run';

/** One call of E58 or E59. */
export interface RunReport {
  readonly workflow_run_id: number;
  /** What the client wants it to be, or believes it to be. Any text. */
  readonly status: string;
  /** Seconds to the next heartbeat; null when this is none. */
  readonly seconds: number | null;
}

export interface RunChange {
  readonly workflow_id: number;
  readonly workflow_run_id: number;
  readonly status: string;
}

export interface RunReportsDone {
  readonly outcomes: Outcome<{ status: string }>[];
  /** Runs whose status is new. */
  readonly changed: RunChange[];
}

/**
 * Seconds that a run may stay silent from its entry to a status on. A client sends no heartbeat while its distributor
 * starts, for which it waits 180 s (spec/state-machines.md section 2), so B, I and O get those besides.
 */
const START_SECONDS = WORKFLOW_RUN_DEADLINE_SECONDS + 180;
const SECONDS_ON_ENTRY: Readonly<Partial<Record<WorkflowRunStatus, number>>> = {
  B: START_SECONDS,
  I: START_SECONDS,
  O: START_SECONDS,
  R: WORKFLOW_RUN_DEADLINE_SECONDS,
  C: WORKFLOW_RUN_DEADLINE_SECONDS,
  H: WORKFLOW_RUN_DEADLINE_SECONDS,
};

interface LockedRun {
  readonly id: number;
  readonly workflow: { readonly id: number; readonly status_found: WorkflowStatus; status: WorkflowStatus };
  readonly driver: string | null;
  readonly status_found: WorkflowRunStatus;
  status: WorkflowRunStatus;
  /** The deadline becomes the database's now plus this; null: it stays. */
  seconds: number | null;
}

/** 3 statements for any number of reports, and one for each (from, to) of workflows and of runs. */
export function* applyRunReports(dialect: Dialect, reports: readonly RunReport[]): Procedure<RunReportsDone> {
  const runs = yield* lockRuns(
    dialect,
    reports.map(({ workflow_run_id }) => workflow_run_id),
  );
  const outcomes = reports.map((report): Outcome<{ status: string }> => {
    const run = runs.get(report.workflow_run_id);
    if (run === undefined) {
      return { error: new JobmonError('NOT_FOUND', `there is no workflow run ${report.workflow_run_id}`).toBody() };
    }
    if (run.driver !== Driver.SERVER) apply(run, report);
    return { ok: { status: run.status } };
  });
  yield* write(dialect, [...runs.values()]);
  const changed = [...runs.values()].filter((run) => run.status !== run.status_found);
  return {
    outcomes,
    changed: changed.map(({ id, workflow, status }) => ({ workflow_id: workflow.id, workflow_run_id: id, status })),
  };
}

/**
 * A step that the tables lack is left. A heartbeat is a sign of life whatever its sender believes (race 43), but not of a run that is told to
 * stop: the clients' loop goes on, beating, as long as tasks wait in it that it may no longer queue, so only the reaper can end such a run. It
 * does so when nothing of the run is left to be stopped, which makes it harmless to be early (race 44).
 */
function apply(run: LockedRun, { status, seconds }: RunReport): void {
  if (!Object.hasOwn(workflowRunMachine.states, status)) return;
  const to = status as WorkflowRunStatus;
  if (verdict(workflowRunMachine, run.status, to) === 'valid') {
    const follows = followedBy(run.workflow.status, [to]);
    if (follows !== null) {
      run.status = to;
      run.workflow.status = follows;
      run.seconds = SECONDS_ON_ENTRY[to] ?? null;
    }
  }
  const isLive = (LIVE_WORKFLOW_RUN_STATUSES as readonly string[]).includes(run.status);
  const isToldToStop = run.status === 'C' || run.status === 'H';
  if (seconds !== null && isLive && !isToldToStop) run.seconds = Math.ceil(seconds);
}

function* lockRuns(dialect: Dialect, ids: readonly number[]): Procedure<Map<number, LockedRun>> {
  const list = idList(ascending(ids));
  const found = (yield { sql: `SELECT id, workflow_id FROM workflow_run WHERE id IN ${list.sql}`, params: list.params }).rows as {
    id: number;
    workflow_id: number;
  }[];
  if (found.length === 0) return new Map();
  const workflowIds = ascending(found.map(({ workflow_id }) => workflow_id));
  const rows = (yield lockRows(dialect, 'workflow', 'id, status', workflowIds)).rows as { id: number; status: WorkflowStatus }[];
  const workflows = new Map(rows.map(({ id, status }) => [id, { id, status, status_found: status }]));
  const locked = (yield lockRows(
    dialect,
    'workflow_run',
    'id, workflow_id, status, driver',
    ascending(found.map(({ id }) => id)),
  )).rows as { id: number; workflow_id: number; status: WorkflowRunStatus; driver: string | null }[];
  const runs = new Map<number, LockedRun>();
  for (const { id, workflow_id, status, driver } of locked) {
    const workflow = workflows.get(workflow_id);
    if (workflow !== undefined) runs.set(id, { id, workflow, driver, status, status_found: status, seconds: null });
  }
  return runs;
}

function* write(dialect: Dialect, runs: readonly LockedRun[]): Procedure<void> {
  const pairOf = (row: { status_found: string; status: string }): string => `${row.status_found}→${row.status}`;
  const workflows = [...new Set(runs.map(({ workflow }) => workflow))].filter(
    ({ status, status_found }) => status !== status_found,
  );
  for (const [pair, group] of groupBy(workflows, pairOf)) {
    const [{ status_found, status }] = group as [LockedRun['workflow']];
    const list = idList(ascending(group.map(({ id }) => id)));
    yield* guarded(`workflow ${pair}`, group.length, {
      sql: `UPDATE workflow SET status = '${status}', status_date = ${dialect.now} WHERE id IN ${list.sql} AND status = '${status_found}'`,
      params: list.params,
    });
  }
  const touched = runs.filter((run) => run.status !== run.status_found || run.seconds !== null);
  for (const [pair, group] of groupBy(touched, pairOf)) {
    const [{ status_found, status }] = group as [LockedRun];
    yield* guarded(
      `workflow_run ${pair}`,
      group.length,
      updateRows(dialect, {
        table: 'workflow_run',
        given: { id: 'int', seconds: 'int' },
        rows: group.map(({ id, seconds }) => ({ id, seconds })),
        set: {
          ...(status === status_found ? {} : { status: `'${status}'`, status_date: dialect.now }),
          heartbeat_date:
            'CASE WHEN given.seconds IS NULL THEN workflow_run.heartbeat_date ' +
            `ELSE ${dialect.nowPlusSeconds.replace('?', 'given.seconds')} END`,
        },
        where: `workflow_run.status = '${status_found}'`,
      }),
    );
  }
}
