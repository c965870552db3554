/** Limits of workflows and arrays, read and set: E6, E7, E47, E48, E54. */
import {
  getArrayLimit,
  getTemplateLimit,
  getWorkflowLimit,
  JobmonError,
  setArrayLimit,
  setWorkflowLimit,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import type { Database, Procedure } from '@jobmon/entities';
import type { Register, Room } from '../context';
import { lockWorkflow } from '../workflow';
import { isServerDriven } from './server-driven';

export function registerLimit(answer: Register): void {
  answer(getArrayLimit, findArrayLimit);
  answer(getTemplateLimit, findTemplateLimit);
  answer(getWorkflowLimit, findWorkflowLimit);
  answer(setWorkflowLimit, limitWorkflow);
  answer(setArrayLimit, limitArray);
}

/** E6. */
function findArrayLimit({ database }: Room, { array_id }: RequestOf<typeof getArrayLimit>) {
  return limitOf(database, 'FROM `array` WHERE id = ?', [array_id], `there is no array ${array_id}`);
}

/** E7. */
function findTemplateLimit({ database }: Room, request: RequestOf<typeof getTemplateLimit>) {
  const { workflow_id, task_template_version_id } = request;
  const from = 'FROM `array` WHERE task_template_version_id = ? AND workflow_id = ?';
  return limitOf(database, from, [task_template_version_id, workflow_id], noArray(request));
}

/** E47. */
function findWorkflowLimit({ database }: Room, { workflow_id }: RequestOf<typeof getWorkflowLimit>) {
  return limitOf(database, 'FROM workflow WHERE id = ?', [workflow_id], `there is no workflow ${workflow_id}`);
}

function noArray({ workflow_id, task_template_version_id }: { workflow_id: number; task_template_version_id: number }): string {
  return `workflow ${workflow_id} has no array of task template version ${task_template_version_id}`;
}

async function limitOf(
  database: Database,
  from: string,
  ids: readonly number[],
  absent: string,
): Promise<{ max_concurrently_running: number }> {
  const [row] = await database.read<{ max_concurrently_running: number }>(`SELECT max_concurrently_running ${from}`, ids);
  if (row === undefined) throw new JobmonError('NOT_FOUND', absent);
  return row;
}

/** E48. */
function limitWorkflow({ database }: Room, { workflow_id, max_tasks }: RequestOf<typeof setWorkflowLimit>) {
  return setLimit(database, workflow_id, function* () {
    yield { sql: 'UPDATE workflow SET max_concurrently_running = ? WHERE id = ?', params: [max_tasks, workflow_id] };
    return `workflow ${workflow_id} may have ${max_tasks} active tasks`;
  });
}

/** E54. */
function limitArray({ database }: Room, request: RequestOf<typeof setArrayLimit>) {
  const { workflow_id, task_template_version_id, max_tasks } = request;
  return setLimit(database, workflow_id, function* () {
    const { affected } = yield {
      sql: 'UPDATE `array` SET max_concurrently_running = ? WHERE task_template_version_id = ? AND workflow_id = ?',
      params: [max_tasks, task_template_version_id, workflow_id],
    };
    if (affected === 0) throw new JobmonError('NOT_FOUND', noArray(request));
    return `the array of task template version ${task_template_version_id} in workflow ${workflow_id} may have ${max_tasks} active tasks`;
  });
}

/** Sets a limit of a workflow that the server does not drive, and answers what became of it. */
function setLimit(
  database: Database,
  workflow_id: number,
  set: () => Procedure<string>,
): Promise<ReplyOf<typeof setWorkflowLimit>> {
  return database.write({ label: 'limit.set' }, function* (): Procedure<{ message: string }> {
    yield* lockWorkflow(database.dialect, workflow_id);
    if (yield* isServerDriven(workflow_id)) {
      return { message: `nothing changed: the server runs workflow ${workflow_id}, and this protocol does not reach its runs` };
    }
    return { message: yield* set() };
  });
}
