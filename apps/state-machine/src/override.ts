/**
 * C4, what is looked at before anything changes: which tasks are meant, whether they may be changed now, and with `recursive` all
 * that lie before or behind them. Read without locks: the graph of a workflow never changes, and a status that changes meanwhile is
 * met again under the lock of its piece.
 */
import { Driver, JobmonError, LIVE_WORKFLOW_RUN_STATUSES, type RequestOf, type updateTaskStatuses } from '@jobmon/contracts';
import { idList, type Database } from '@jobmon/entities';
import { ascending } from './transition';

/** Ids looked up in one statement. */
const PIECE_IDS = 1_024;
/** Nodes that one request may reach: as many tasks as the largest workflows have. */
const REACHED_MAX = 1_000_000;
/** A workflow with one of these has no client that counts on its tasks. */
const ENDED: ReadonlySet<string> = new Set(['F', 'D', 'A', 'H']);
/** What a task behind a changed one may be in a workflow that runs: nothing has used its results yet. */
const UNUSED: ReadonlySet<string> = new Set(['G', 'I', 'Q']);

interface TaskRow {
  readonly id: number;
  readonly node_id: number;
  readonly workflow_id: number;
  readonly status: string;
}

/**
 * The tasks to change, ascending; null when all are meant. `isAllowed`: the same request was begun before.
 *
 * @throws JobmonError NOT_FOUND for an unknown workflow; MALFORMED for tasks that are not of it, and while it is running
 */
export async function tasksToChange(
  database: Database,
  request: RequestOf<typeof updateTaskStatuses>,
  isAllowed = false,
): Promise<readonly number[] | null> {
  const { workflow_id, task_ids, new_status } = request;
  const [workflow] = await database.read<{ status: string; dag_id: number; is_server_run_live: number }>(
    `SELECT w.status AS status, w.dag_id AS dag_id, (SELECT COUNT(*) FROM workflow_run AS r WHERE r.workflow_id = w.id
        AND r.driver = '${Driver.SERVER}' AND r.status IN (${LIVE_WORKFLOW_RUN_STATUSES.map((letter) => `'${letter}'`).join(',')}))
        AS is_server_run_live FROM workflow AS w WHERE w.id = ?`,
    [workflow_id],
  );
  if (workflow === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
  if (!isAllowed && Number(workflow.is_server_run_live) > 0) throw running(workflow_id);
  const isEnded = isAllowed || ENDED.has(workflow.status);
  if (task_ids === 'all') {
    if (!isEnded) throw running(workflow_id);
    return null;
  }
  if (task_ids.length === 0) return [];
  const tasks = await rowsOf(database, 'id', ascending(task_ids));
  const strangers = tasks.filter((task) => task.workflow_id !== workflow_id).map(({ id }) => id);
  if (tasks.length === 0 || strangers.length > 0) {
    const which = strangers.length > 0 ? `, but tasks ${strangers.slice(0, 10).join(', ')} are not` : ', and none was found';
    throw new JobmonError('MALFORMED', `all tasks must be of workflow ${workflow_id}${which}`);
  }
  const nodes = tasks.map(({ node_id }) => node_id);
  if (!isEnded) {
    const behind = await neighbours(database, workflow.dag_id, nodes, 'downstream');
    const used = (await rowsOf(database, 'node_id', ascending([...behind]))).filter((task) => task.workflow_id === workflow_id);
    if (used.some(({ status }) => !UNUSED.has(status))) throw running(workflow_id);
  }
  if (!request.recursive) return ascending(tasks.map(({ id }) => id));
  const reached = await closure(database, workflow.dag_id, nodes, new_status === 'D' ? 'upstream' : 'downstream');
  const all = await rowsOf(database, 'node_id', ascending([...reached]));
  return ascending(all.filter((task) => task.workflow_id === workflow_id).map(({ id }) => id));
}

function running(workflowId: number): JobmonError {
  return new JobmonError(
    'MALFORMED',
    `workflow ${workflowId} is running: tasks may be changed when it has ended, or while nothing behind them has started`,
  );
}

async function rowsOf(database: Database, column: 'id' | 'node_id', ids: readonly number[]): Promise<TaskRow[]> {
  const rows: TaskRow[] = [];
  for (let from = 0; from < ids.length; from += PIECE_IDS) {
    const list = idList(ids.slice(from, from + PIECE_IDS));
    const sql = `SELECT id, node_id, workflow_id, status FROM task WHERE ${column} IN ${list.sql}`;
    rows.push(...(await database.read<Record<keyof TaskRow, never>>(sql, list.params)));
  }
  return rows;
}

/** These nodes and all before or behind them, level by level. */
async function closure(
  database: Database,
  dagId: number,
  nodes: readonly number[],
  direction: 'upstream' | 'downstream',
): Promise<ReadonlySet<number>> {
  const reached = new Set(nodes);
  for (let level = nodes; level.length > 0;) {
    const next = [...(await neighbours(database, dagId, level, direction))].filter((node) => !reached.has(node));
    for (const node of next) reached.add(node);
    if (reached.size > REACHED_MAX) throw new JobmonError('MALFORMED', `these tasks reach more than ${REACHED_MAX} others`);
    level = next;
  }
  return reached;
}

async function neighbours(
  database: Database,
  dagId: number,
  nodes: readonly number[],
  direction: 'upstream' | 'downstream',
): Promise<Set<number>> {
  const found = new Set<number>();
  const ids = ascending(nodes);
  for (let from = 0; from < ids.length; from += PIECE_IDS) {
    const list = idList(ids.slice(from, from + PIECE_IDS));
    const rows = await database.read<{ others: unknown }>(
      `SELECT ${direction}_node_ids AS others FROM edge WHERE dag_id = ? AND node_id IN ${list.sql}`,
      [dagId, ...list.params],
    );
    for (const { others } of rows) for (const node of idsIn(others)) found.add(node);
  }
  return found;
}

/** A stored list of ids: a list, its text, or text of its text, as old rows have it (spec/data-model.md section 6). */
function idsIn(stored: unknown): number[] {
  let value = stored;
  for (let quoted = 0; quoted < 3 && typeof value === 'string'; quoted++) value = JSON.parse(value);
  return Array.isArray(value) ? (value as number[]) : [];
}
