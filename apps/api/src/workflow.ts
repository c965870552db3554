/** Workflows: found by what they are made of, or made. Inserting one in its first state is the api's; its status is not. */
import {
  JobmonError,
  LIMIT_NONE,
  registerWorkflow,
  type ReplyOf,
  type RequestOf,
  workflowMachine,
  type WorkflowStatus,
} from '@jobmon/contracts';
import { identityOf, type Database, type Dialect, type Procedure } from '@jobmon/entities';
import { checkText } from './column-limit';
import type { Call, Room } from './context';
import { idsOfNames } from './named-row';
import { OWNER, refuseOthers } from './ownership';
import { recordPerson } from './person';
import { LoginRefusal, type Principal } from './principal';

type Request = RequestOf<typeof registerWorkflow>;
type Reply = ReplyOf<typeof registerWorkflow>;

/** What a workflow is known by, but for its graph, and how it is described. */
export interface WorkflowDefinition {
  readonly tool_version_id: number;
  readonly workflow_args_hash: string;
  readonly task_hash: string;
  readonly description: string | null;
  readonly name: string | null;
  readonly workflow_args: string | null;
  readonly max_concurrently_running?: number | undefined;
  /** Whose it is, with login on. */
  readonly user?: string | undefined;
}

/** One workflow as the handlers that change its definition need it. */
export interface WorkflowRow {
  id: number;
  status: WorkflowStatus;
  dag_id: number;
  /** Set when everything was bound and checked. */
  created_date: string | null;
  /** Set when the whole graph is stored. */
  dag_created_date: string | null;
}

const WORKFLOW = `SELECT w.id AS id, w.status AS status, w.dag_id AS dag_id, w.created_date AS created_date, d.created_date AS dag_created_date
  FROM workflow w JOIN dag d ON d.id = w.dag_id WHERE w.id = ?`;

/** @throws JobmonError NOT_FOUND */
export async function readWorkflow(database: Database, workflow_id: number): Promise<WorkflowRow> {
  const [row] = await database.read<WorkflowRow>(WORKFLOW, [workflow_id]);
  if (row === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
  return row;
}

/** The row under its lock: whoever holds it is the only one who binds tasks to the workflow or submits it. */
export function* lockWorkflow(
  dialect: Dialect,
  workflow_id: number,
): Procedure<Pick<WorkflowRow, 'id' | 'dag_id' | 'created_date'>> {
  const { rows } = yield {
    sql: `SELECT id, dag_id, created_date FROM workflow WHERE id = ?${dialect.forUpdate}`,
    params: [workflow_id],
  };
  if (rows[0] === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
  return rows[0] as Pick<WorkflowRow, 'id' | 'dag_id' | 'created_date'>;
}

/**
 * Finds or makes a workflow with its graph's row. A found one keeps its status; name, description, limit and attributes
 * become those of the request.
 *
 * @throws JobmonError NOT_FOUND for an unknown tool version; FORBIDDEN when it is somebody else's; CONFLICT, naming the other workflow, when the same arguments
 *   of the same tool version are taken by a workflow with another graph or other tasks.
 */
export async function findOrMakeWorkflow({ database }: Room, request: Request, call: Call): Promise<Reply> {
  const { principal } = call;
  const user = ownerFor(request, principal);
  const { dialect } = database;
  for (const field of ['workflow_args', 'description', 'name'] as const) checkText(field, request[field]);
  return database.write({ label: 'workflow.register' }, function* (): Procedure<Reply> {
    yield* lockToolVersion(dialect, request.tool_version_id);
    const dag = yield* findOrMakeDag(dialect, request.dag_hash);
    const standing = yield* findTwin(request, dag.id);
    if (standing !== undefined && principal !== undefined) yield* requireOwn(standing.id, principal);
    if (standing !== undefined && request.must_be_new) yield* requireNoRun(standing);
    const definition = { ...request, user };
    const workflow_id = standing === undefined ? yield* insertWorkflow(dialect, definition, dag.id) : standing.id;
    if (standing !== undefined) yield* describeAnew(request, workflow_id);
    yield* storeAttributes(dialect, workflow_id, request.attributes ?? {}, 'exact');
    yield* recordPerson(dialect, call, registerWorkflow.name, workflow_id);
    return {
      workflow_id,
      dag_id: dag.id,
      status: standing?.status ?? 'G',
      newly_created: standing === undefined,
      has_edges: dag.created_date !== null,
    };
  });
}

/** Whose a new workflow is. @throws JobmonError FORBIDDEN when it is to be another's and no admin asks. */
function ownerFor({ for_user }: Request, principal: Principal | undefined): string | undefined {
  if (principal === undefined || for_user === undefined || for_user === principal.user) return principal?.user;
  if (principal.role === 'admin') return for_user;
  const cure = `leave for_user away, or ask an admin`;
  throw new LoginRefusal(
    'role',
    'FORBIDDEN',
    `only an admin binds workflows for others: ${principal.user} can't bind one for ${for_user}; ${cure}`,
  );
}

/** Whoever holds the tool version's lock looks for other workflows with the same arguments and inserts one in one step. */
export function* lockToolVersion(dialect: Dialect, tool_version_id: number): Procedure<void> {
  const sql = `SELECT id FROM tool_version WHERE id = ?${dialect.forUpdate}`;
  const { rows } = yield { sql, params: [tool_version_id] };
  if (rows.length === 0) throw new JobmonError('NOT_FOUND', `there is no tool version ${tool_version_id}`);
}

function* findOrMakeDag(dialect: Dialect, hash: string): Procedure<{ id: number; created_date: string | null }> {
  const find = { sql: 'SELECT id, created_date FROM dag WHERE hash = ?', params: [hash] };
  const found = (yield find).rows[0];
  if (found !== undefined) return found as { id: number; created_date: string | null };
  yield { sql: `${dialect.insertIgnore} INTO dag (hash, created_date) VALUES (?, NULL)`, params: [hash] };
  return (yield find).rows[0] as { id: number; created_date: string | null };
}

/** The workflow with the same arguments of the same tool version, if its graph and tasks are the same too; else CONFLICT. */
function* findTwin(request: Request, dag_id: number): Procedure<{ id: number; status: WorkflowStatus } | undefined> {
  const { rows } = yield {
    sql: `SELECT id, status, dag_id, task_hash FROM workflow
           WHERE workflow_args_hash = ? AND tool_version_id = ? ORDER BY id`,
    params: [request.workflow_args_hash, request.tool_version_id],
  };
  const others = rows as { id: number; status: WorkflowStatus; dag_id: number; task_hash: string }[];
  const twin = others.find((row) => row.dag_id === dag_id && row.task_hash === request.task_hash);
  const [other] = others;
  if (twin !== undefined || other === undefined) return twin;
  const what = other.dag_id === dag_id ? 'other tasks' : 'another graph';
  throw new JobmonError(
    'CONFLICT',
    `workflow ${other.id} has the same workflow arguments and ${what}: give this one other arguments, or none`,
    { rule: 'workflow_args_taken', workflow_id: other.id },
  );
}

function* requireOwn(workflow_id: number, principal: Principal): Procedure<void> {
  const { rows } = yield OWNER.workflow(workflow_id);
  refuseOthers('workflow', workflow_id, (rows[0] as { owner: string | null }).owner, principal);
}

function* requireNoRun({ id, status }: { id: number; status: WorkflowStatus }): Procedure<void> {
  const { rows } = yield { sql: 'SELECT id FROM workflow_run WHERE workflow_id = ? LIMIT 1', params: [id] };
  if (rows.length === 0) return;
  const { label } = workflowMachine.states[status];
  const cure = status === 'D' ? 'give other workflow arguments to run it anew' : 'resume it, or give other workflow arguments';
  const details = { rule: 'workflow_exists', workflow_id: id, status };
  throw new JobmonError('CONFLICT', `workflow ${id} is the same and is ${label} already: ${cure}`, details);
}

/** A workflow in G, under its tool version's lock. */
export function* insertWorkflow(dialect: Dialect, workflow: WorkflowDefinition, dag_id: number): Procedure<number> {
  const { tool_version_id, workflow_args_hash, task_hash } = workflow;
  const { insert_id } = yield {
    sql: `INSERT INTO workflow (tool_version_id, dag_id, workflow_args_hash, task_hash, description, name, workflow_args,
            max_concurrently_running, created_date, status_date, status, identity, user)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ${dialect.now}, 'G', ?, ?)`,
    params: [
      tool_version_id,
      dag_id,
      workflow_args_hash,
      task_hash,
      workflow.description,
      workflow.name,
      workflow.workflow_args,
      workflow.max_concurrently_running ?? LIMIT_NONE,
      identityOf(tool_version_id, dag_id, workflow_args_hash, task_hash),
      workflow.user ?? null,
    ],
  };
  return insert_id;
}

/** Whoever binds a workflow again describes it anew; a limit that is not given stays. */
export function* describeAnew(
  { name, description, max_concurrently_running }: WorkflowDefinition,
  workflow_id: number,
): Procedure<void> {
  yield {
    sql: 'UPDATE workflow SET name = ?, description = ?, max_concurrently_running = COALESCE(?, max_concurrently_running) WHERE id = ?',
    params: [name, description, max_concurrently_running ?? null, workflow_id],
  };
}

/** Sets attributes by name; `matching` as in `idsOfNames`. */
export function* storeAttributes(
  dialect: Dialect,
  workflow_id: number,
  attributes: Readonly<Record<string, string | null>>,
  matching: 'exact' | 'as_stored',
): Procedure<void> {
  const names = Object.keys(attributes);
  if (names.length === 0) return;
  const ids = yield* idsOfNames(dialect, 'workflow_attribute_type', names, matching);
  const given = dialect.jsonRows('given', { type_id: 'int', value: 'text' });
  const upsert = dialect.onDuplicate(['workflow_id', 'workflow_attribute_type_id'], `value = ${dialect.inserted('value')}`);
  yield {
    // A condition, because SQLite reads the ON of an upsert behind a bare SELECT … FROM as a join's.
    sql: `INSERT INTO workflow_attribute (workflow_id, workflow_attribute_type_id, value)
          SELECT ?, given.type_id, given.value FROM ${given} WHERE 1 = 1 ${upsert}`,
    params: [workflow_id, JSON.stringify(names.map((name) => ({ type_id: ids.get(name), value: attributes[name] })))],
  };
}
