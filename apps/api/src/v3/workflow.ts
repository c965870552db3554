/** Workflows as clients bind them: E41 to E43. */
import {
  bindWorkflow,
  JobmonError,
  listMatchingWorkflows,
  setWorkflowAttributes,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import type { Procedure } from '@jobmon/entities';
import { checkText } from '../column-limit';
import type { Register, Room } from '../context';
import { describeAnew, insertWorkflow, lockToolVersion, storeAttributes } from '../workflow';

export function registerWorkflow(answer: Register): void {
  answer(listMatchingWorkflows, findMatching);
  answer(bindWorkflow, findOrMakeWorkflow);
  answer(setWorkflowAttributes, setAttributes);
}

/** E42. */
async function findMatching(
  { database }: Room,
  { workflow_args_hash }: RequestOf<typeof listMatchingWorkflows>,
): Promise<ReplyOf<typeof listMatchingWorkflows>> {
  if (!/^-?[0-9]{1,150}$/.test(workflow_args_hash))
    throw new JobmonError('MALFORMED', 'the hash of workflow arguments is an integer');
  const rows = await database.read<{ task_hash: string; tool_version_id: number | null; dag_hash: string }>(
    `SELECT w.task_hash AS task_hash, w.tool_version_id AS tool_version_id, d.hash AS dag_hash
       FROM workflow w JOIN dag d ON d.id = w.dag_id WHERE w.workflow_args_hash = ? ORDER BY w.id`,
    [String(BigInt(workflow_args_hash))],
  );
  return { matching_workflows: rows.map((row) => [row.task_hash, row.tool_version_id, row.dag_hash]) };
}

type Bind = RequestOf<typeof bindWorkflow>;

/** E41. */
async function findOrMakeWorkflow({ database }: Room, request: Bind): Promise<ReplyOf<typeof bindWorkflow>> {
  const { dialect } = database;
  const { tool_version_id, dag_id, workflow_args_hash, task_hash } = request;
  for (const field of ['description', 'name', 'workflow_args'] as const) checkText(field, request[field] ?? '');
  checkAttributes(request.workflow_attributes);
  return database.write({ label: 'workflow.bind' }, function* (): Procedure<ReplyOf<typeof bindWorkflow>> {
    yield* lockToolVersion(dialect, tool_version_id);
    const { rows: dags } = yield { sql: 'SELECT id FROM dag WHERE id = ?', params: [dag_id] };
    if (dags.length === 0) throw new JobmonError('NOT_FOUND', `there is no graph ${dag_id}`);
    // By what it is made of, not by our hash of that, which rows of other programs lack. Twins of theirs: always the first.
    const { rows } = yield {
      sql: `SELECT id, status FROM workflow
             WHERE workflow_args_hash = ? AND tool_version_id = ? AND dag_id = ? AND task_hash = ? ORDER BY id LIMIT 1`,
      params: [workflow_args_hash, tool_version_id, dag_id, task_hash],
    };
    const standing = rows[0] as { id: number; status: string } | undefined;
    const workflow_id = standing?.id ?? (yield* insertWorkflow(dialect, request, dag_id));
    if (standing !== undefined) yield* describeAnew(request, workflow_id);
    yield* storeAttributes(dialect, workflow_id, request.workflow_attributes, 'as_stored');
    return { workflow_id, status: standing?.status ?? 'G', newly_created: standing === undefined };
  });
}

/** E43. */
async function setAttributes(
  { database }: Room,
  { workflow_id, workflow_attributes }: RequestOf<typeof setWorkflowAttributes>,
): Promise<ReplyOf<typeof setWorkflowAttributes>> {
  checkAttributes(workflow_attributes);
  await database.write({ label: 'workflow.set_attributes' }, function* (): Procedure<void> {
    const { rows } = yield { sql: 'SELECT id FROM workflow WHERE id = ?', params: [workflow_id] };
    if (rows.length === 0) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
    yield* storeAttributes(database.dialect, workflow_id, workflow_attributes, 'as_stored');
  });
  return {};
}

function checkAttributes(attributes: Readonly<Record<string, string | null>>): void {
  for (const [name, value] of Object.entries(attributes)) {
    checkText('the name of an attribute', name);
    checkText('an attribute', value ?? '');
  }
}
