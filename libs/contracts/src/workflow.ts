/** A workflow: a graph of tasks with its limits. States, table, and the operations that create and submit one. */
import { z } from 'zod';
import { UserName } from './api-token';
import { HashDigits, Id, Limit } from './id';
import { machine } from './machine';
import { operation } from './operation';

export const WorkflowStatus = {
  REGISTERING: 'G',
  QUEUED: 'Q',
  INSTANTIATING: 'I',
  LAUNCHED: 'O',
  RUNNING: 'R',
  DONE: 'D',
  FAILED: 'F',
  HALTED: 'H',
  ABORTED: 'A',
} as const;
export type WorkflowStatus = (typeof WorkflowStatus)[keyof typeof WorkflowStatus];

/** Facts: spec/state-machines.md section 5. The status only ever follows the run (`workflowFollows` in workflow-run.ts). */
export const workflowMachine = machine<WorkflowStatus>({
  name: 'workflow',
  states: {
    G: { label: 'REGISTERING', meaning: 'being bound' },
    Q: { label: 'QUEUED', meaning: 'everything is bound, a run may start' },
    I: { label: 'INSTANTIATING', meaning: 'what will run it is starting' },
    O: { label: 'LAUNCHED', meaning: 'what will run it is up' },
    R: { label: 'RUNNING', meaning: 'a run is executing' },
    D: { label: 'DONE', meaning: 'all tasks done' },
    F: { label: 'FAILED', meaning: 'the last run ended in error or was stopped' },
    H: { label: 'HALTED', meaning: 'the last run was shut down for a resume' },
    A: { label: 'ABORTED', meaning: 'failed before a run was bound' },
  },
  initial: 'G',
  final: ['D', 'F', 'H', 'A'],
  valid: {
    'G→Q': 'its run is bound',
    'G→A': 'its run died while it was linking, or nobody went on binding it',
    'A→G': 'a new run links',
    'F→G': 'a new run links',
    'H→G': 'a new run links',
    'Q→I': 'its run starts',
    'Q→F': 'its run failed before it started',
    'Q→H': 'its run was stopped for a resume before it started',
    'I→O': 'its run is up',
    'I→F': 'its run failed while starting',
    'I→H': 'ours (race 43): its run was stopped for a resume while it started',
    'O→R': 'its run schedules',
    'O→F': 'its run failed before it scheduled',
    'O→H': 'ours (race 43): its run was stopped for a resume before it scheduled',
    'R→D': 'all tasks done',
    'R→F': 'its run failed or was stopped',
    'R→H': 'its run was stopped for a resume',
  },
  untimely: { 'G→G': 'a new workflow is linked: it is in G already' },
});

/**
 * Finds or makes a workflow. The same tool version, graph, tasks and workflow arguments are the same workflow
 * (spec/data-model.md section 4). The same arguments with another graph or other tasks: CONFLICT.
 */
export const registerWorkflow = operation({
  name: 'workflow.register',
  owner: 'api',
  summary: 'Find or make a workflow.',
  http: { method: 'POST', path: '/api/v4/workflows' },
  request: z.object({
    tool_version_id: Id,
    name: z.string().max(255).default(''),
    description: z.string().max(16_000).default(''),
    /** The text that was hashed; at most 64 KiB less one byte. */
    workflow_args: z.string(),
    workflow_args_hash: HashDigits,
    task_hash: HashDigits,
    dag_hash: HashDigits,
    max_concurrently_running: Limit.optional(),
    attributes: z.record(z.string().min(1).max(255), z.string().max(255)).optional(),
    /** Refuses a workflow that has had a run: CONFLICT, with `rule: 'workflow_exists'`, its id and status; nothing is written. */
    must_be_new: z.boolean().default(false),
    /** Whose it is when it is new, with login on: the caller's when absent, another's for an admin alone. */
    for_user: UserName.optional(),
  }),
  reply: z.object({
    workflow_id: z.number().int(),
    dag_id: z.number().int(),
    status: z.enum(Object.values(WorkflowStatus) as [WorkflowStatus, ...WorkflowStatus[]]),
    newly_created: z.boolean(),
    /** True when the graph is stored already: edges need not be sent. */
    has_edges: z.boolean(),
  }),
});

/**
 * For how many seconds a workflow may stand in a status that is not final while no run holds it: in G somebody may go on binding it; the others
 * follow a run, so without one they are what a program left that changed one of the two alone (race 41).
 */
export const LEFT_WORKFLOW_SECONDS: Readonly<Partial<Record<WorkflowStatus, number>>> = {
  G: 7 * 86_400,
  Q: 86_400,
  I: 86_400,
  O: 86_400,
  R: 86_400,
};

/**
 * Ends a workflow that no run holds and that has stood for longer than `LEFT_WORKFLOW_SECONDS`: G → A, others → F. A new run may link from
 * both. Answers the status that it has now; any other workflow stays as it is.
 */
export const endLeftWorkflow = operation({
  name: 'workflow.end_left',
  owner: 'state-machine',
  summary: 'End a workflow that nobody holds.',
  request: z.object({ workflow_id: Id }),
  reply: z.object({ workflow_id: z.number().int(), status: z.string() }),
});

/**
 * Hands a workflow to the server. Refused before anything is written: a graph with a cycle (its tasks are named), nodes
 * without edges stored, no task at all, a workflow that is DONE. A repeat while its run is alive answers that run.
 */
export const submitWorkflow = operation({
  name: 'workflow.submit',
  owner: 'api',
  summary: 'Let the server run a workflow.',
  http: { method: 'POST', path: '/api/v4/workflows/{workflow_id}/submit' },
  request: z.object({
    workflow_id: Id,
    /** Whose agents may run it. */
    user: z.string().min(1).max(150),
    /** Working folder of every command: where the workflow was submitted. */
    working_directory: z.string().max(2048).startsWith('/', 'must be an absolute path'),
    client_version: z.string().max(150).default('UNKNOWN'),
  }),
  reply: z.object({
    workflow_run_id: z.number().int(),
    status: z.string(),
  }),
});
