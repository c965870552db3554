/** The verbs of people over a test's database, from a state machine of its own, with what it told the others. */
import {
  agentOrdered,
  taskChanged,
  workflowControlled,
  workflowRunChanged,
  type WorkflowRunStatus,
  type WorkflowStatus,
} from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { Operator } from '../src/operator';
import { WorkflowWide } from '../src/workflow-wide';
import { startMachine } from './started-machine';

export function startOperator(database: Database, writer = 'test') {
  const { machine, messenger, lines } = startMachine(database, writer);
  const log = { warn() {}, error() {}, info() {} } as never;
  const context = { log, messenger, database, writer };
  const wide = new WorkflowWide(context);
  const told = { runs: [] as string[], tasks: [] as number[], agents: [] as number[], controlled: 0 };
  messenger.subscribe(workflowRunChanged, ({ status }) => void told.runs.push(status));
  messenger.subscribe(taskChanged, ({ task_ids }) => void told.tasks.push(...task_ids));
  messenger.subscribe(agentOrdered, ({ agent_id }) => void told.agents.push(agent_id));
  messenger.subscribe(workflowControlled, () => void (told.controlled += 1));
  return { machine, messenger, wide, operator: new Operator(context, wide), told, lines };
}

/** The workflow and its runs, oldest first: `['H', 'T', 'B']`. */
export async function letters(
  database: Database,
  workflow_id: number,
): Promise<[WorkflowStatus | WorkflowRunStatus, ...WorkflowRunStatus[]]> {
  const [workflow] = await database.read<{ status: WorkflowStatus }>('SELECT status FROM workflow WHERE id = ?', [workflow_id]);
  const runs = await database.read<{ status: WorkflowRunStatus }>(
    'SELECT status FROM workflow_run WHERE workflow_id = ? ORDER BY id',
    [workflow_id],
  );
  return [workflow!.status, ...runs.map(({ status }) => status)];
}

/** The record of a workflow, oldest first: `['ada pause']`. */
export async function verbs(database: Database, workflow_id: number): Promise<string[]> {
  const rows = await database.read<{ user: string; verb: string }>(
    'SELECT user, verb FROM workflow_event WHERE workflow_id = ? ORDER BY id',
    [workflow_id],
  );
  return rows.map(({ user, verb }) => `${user} ${verb}`);
}

/** How many tasks of a workflow stand at each letter, with the attempts that count: `{ G0: 3, R1: 1 }`. */
export async function tasksAt(database: Database, workflow_id: number): Promise<Record<string, number>> {
  const rows = await database.read<{ status: string; num_attempts: number; n: number }>(
    'SELECT status, num_attempts, COUNT(*) AS n FROM task WHERE workflow_id = ? GROUP BY status, num_attempts',
    [workflow_id],
  );
  return Object.fromEntries(rows.map(({ status, num_attempts, n }) => [`${status}${num_attempts}`, Number(n)]));
}
