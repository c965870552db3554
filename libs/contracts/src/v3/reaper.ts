/** What a reaper asks for: P1 to P4. */
import { z } from 'zod';
import { Id, ID_MAX, Whole } from '../id';
import { operation, type Operation } from '../operation';

/**
 * P1. Workflows with an id in (cursor, cursor + step] that are F although all their tasks are D, and that no run holds, become D.
 * Answers the next cursor, 0 once it has passed the highest id (race 50), and how many were mended.
 */
export const fixStatusInconsistency = operation({
  protocol: 'P1',
  name: 'workflow.fix_status_inconsistency',
  owner: 'state-machine',
  summary: 'Mend failed workflows whose tasks are all done.',
  http: { method: 'PUT', path: '/api/v3/workflow/{workflow_id}/fix_status_inconsistency' },
  request: z.object({
    /** The cursor, from 0. */
    workflow_id: Whole(0, ID_MAX),
    increase_step: Whole(1, ID_MAX),
  }),
  reply: z.object({ wfid: z.number().int(), fixed: z.number().int() }),
});

/** P2. For notifications; both null for an unknown workflow. */
export const getWorkflowNameAndArgs = operation({
  protocol: 'P2',
  name: 'workflow.name_and_args',
  owner: 'api',
  summary: 'Name and arguments of a workflow.',
  http: { method: 'GET', path: '/api/v3/workflow/{workflow_id}/workflow_name_and_args' },
  request: z.object({ workflow_id: Id }),
  reply: z.object({ workflow_name: z.string().nullable(), workflow_args: z.string().nullable() }),
});

/**
 * P3. Client runs in these statuses whose deadline has passed, longest overdue first, at most 1,000: what is left comes with the next
 * question. By status and deadline alone; the version is not looked at (race 20).
 */
export const findLostWorkflowRuns = operation({
  protocol: 'P3',
  name: 'workflow_run.find_lost',
  owner: 'api',
  summary: 'Runs whose client has gone silent.',
  http: { method: 'GET', path: '/api/v3/lost_workflow_run' },
  request: z.object({
    status: z.union([z.array(z.string()).max(100), z.string().transform((letter) => [letter])]),
    version: z.string(),
  }),
  reply: z.object({
    /** `[workflow_run_id, workflow_id]`. */
    workflow_runs: z.array(z.tuple([z.number().int(), z.number().int()])),
  }),
});

/**
 * P4. Ends a client run whose deadline has passed: L → A with the workflow; B, I, O and R → E, the workflow F (races 42, 43); C and H
 * settle their instances as E57 does and then → T, the workflow H, or both → D when every task is D (race 45). Answers the status
 * that it has now; the empty text when the run is unknown or its deadline has not passed; with `kill_self_remaining` when attempts
 * are still under the order to stop. In all other statuses nothing happens.
 */
export const reapWorkflowRun = operation({
  protocol: 'P4',
  name: 'workflow_run.reap',
  owner: 'state-machine',
  summary: 'End a run whose client has gone silent.',
  http: { method: 'PUT', path: '/api/v3/workflow_run/{workflow_run_id}/reap' },
  request: z.object({ workflow_run_id: Id }),
  reply: z.object({ status: z.string(), kill_self_remaining: z.number().int().optional() }),
});

export const REAPER_OPERATIONS: readonly Operation[] = [
  fixStatusInconsistency,
  getWorkflowNameAndArgs,
  findLostWorkflowRuns,
  reapWorkflowRun,
];
