/** The task templates that a workflow uses, by its arrays; of tasks that older programs left without an array the nodes tell. */
import { JobmonError } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { hasStrays } from './task-range';

export interface WorkflowTemplate {
  readonly task_template_id: number;
  readonly name: string;
  readonly task_template_version_id: number;
  /** Null for the tasks that have no array. */
  readonly array_id: number | null;
  readonly max_concurrently_running: number | null;
}

const TEMPLATE = 'v.task_template_id AS task_template_id, tt.name AS name, v.id AS task_template_version_id';
const JOINS = 'JOIN task_template tt ON tt.id = v.task_template_id';

/** @throws JobmonError NOT_FOUND */
export async function requireWorkflow(database: Database, workflow_id: number): Promise<void> {
  const [workflow] = await database.read('SELECT id FROM workflow WHERE id = ?', [workflow_id]);
  if (workflow === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
}

/**
 * One entry for each array, and one for each version that has tasks without an array, the newest version first; versions without tasks
 * are left out. Nothing for an unknown workflow.
 */
export async function templatesOf(database: Database, workflow_id: number): Promise<WorkflowTemplate[]> {
  const ofArrays = await database.read<WorkflowTemplate>(
    `SELECT ${TEMPLATE}, a.id AS array_id, a.max_concurrently_running AS max_concurrently_running
       FROM array a JOIN task_template_version v ON v.id = a.task_template_version_id ${JOINS}
      WHERE a.workflow_id = ? AND EXISTS (SELECT 1 FROM task t WHERE t.array_id = a.id) ORDER BY v.id DESC`,
    [workflow_id],
  );
  if (!(await hasStrays(database, workflow_id))) return ofArrays;
  const ofNodes = await database.read<WorkflowTemplate>(
    `SELECT DISTINCT ${TEMPLATE}, NULL AS array_id, NULL AS max_concurrently_running
       FROM task t JOIN node n ON n.id = t.node_id JOIN task_template_version v ON v.id = n.task_template_version_id ${JOINS}
      WHERE t.workflow_id = ? AND t.array_id IS NULL`,
    [workflow_id],
  );
  return [...ofArrays, ...ofNodes].sort((a, b) => b.task_template_version_id - a.task_template_version_id);
}
