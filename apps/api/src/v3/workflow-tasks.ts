/** What a client's swarm reads of a workflow's tasks, and what a resume asks of them: E49 to E53, E55. */
import {
  getTasksToResume,
  getTaskStatusUpdates,
  getTaskTemplateDag,
  getWorkflowMetadata,
  getWorkflowStatuses,
  increaseResources,
  workflowMachine,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import { idList, literalOf, valueOf, type Database } from '@jobmon/entities';
import type { Register, Room } from '../context';
import { idsIn } from '../dag';
import { idsAfter } from '../task-view';
import { increase } from './increase-resources';
import { requireRows } from './known';
import { findStatusUpdates } from './task-sync';

/** Rows read at one time: on SQLite a read stops the event loop (design, section 4). */
const PAGE_ROWS = 5_000;

export function registerWorkflowTasks(answer: Register): void {
  answer(getTaskStatusUpdates, findStatusUpdates);
  answer(getWorkflowMetadata, findMetadata);
  answer(getTasksToResume, findTasksToResume);
  answer(getWorkflowStatuses, listStatuses);
  answer(increaseResources, increase);
  answer(getTaskTemplateDag, findTemplateDag);
}

/** E50. */
async function findMetadata(
  { database }: Room,
  { workflow_id }: RequestOf<typeof getWorkflowMetadata>,
): Promise<ReplyOf<typeof getWorkflowMetadata>> {
  const [row] = await database.read<{ dag_id: number; max_concurrently_running: number }>(
    'SELECT dag_id, max_concurrently_running FROM workflow WHERE id = ?',
    [workflow_id],
  );
  return { workflow: row === undefined ? [] : [workflow_id, row.dag_id, row.max_concurrently_running] };
}

interface TaskToResume {
  id: number;
  array_id: number;
  status: string;
  max_attempts: number;
  resource_scales: string | null;
  fallback_queues: string | null;
  requested_resources: string;
  cluster: string;
  queue: string;
  array_limit: number;
}

/** What is missing of a task that has no array, or no queue of a cluster. */
interface Homeless {
  array_limit: number | null;
  cluster: string | null;
}

/**
 * E51. Ids are found by the arrays' index alone, then their rows by primary key: those that are D cost a look each, and a page
 * asks on until it is full. A task without array, resources or queue cannot be run and is left out.
 */
async function findTasksToResume(
  { database }: Room,
  { workflow_id, max_task_id, chunk_size }: RequestOf<typeof getTasksToResume>,
): Promise<ReplyOf<typeof getTasksToResume>> {
  await requireRows(database, 'workflow', [workflow_id]);
  const rows = await database.read<{ id: number }>('SELECT id FROM `array` WHERE workflow_id = ? ORDER BY id', [workflow_id]);
  const arrays = rows.map(({ id }) => id);
  const tasks: ReplyOf<typeof getTasksToResume>['tasks'] = {};
  for (let after = max_task_id, wanted = chunk_size, size = chunk_size; wanted > 0; size *= 4) {
    size = Math.min(size, PAGE_ROWS);
    const ids = await idsAfter(database, { workflow_id, arrays, after, status: undefined, size });
    const found = await readTasks(database, ids);
    for (const task of found.slice(0, wanted)) tasks[task.id] = tupleOf(task);
    wanted -= found.length;
    if (ids.length < size) break;
    after = ids.at(-1) ?? after;
  }
  return { tasks };
}

/** LEFT joins, because they fix the order: from the tasks to what each belongs to. */
async function readTasks(database: Database, ids: readonly number[]): Promise<TaskToResume[]> {
  if (ids.length === 0) return [];
  const list = idList(ids);
  const rows = await database.read<TaskToResume | (Omit<TaskToResume, 'array_limit' | 'cluster'> & Homeless)>(
    `SELECT t.id AS id, t.array_id AS array_id, t.status AS status, t.max_attempts AS max_attempts,
            t.resource_scales AS resource_scales, t.fallback_queues AS fallback_queues,
            r.requested_resources AS requested_resources, c.name AS cluster, q.name AS queue,
            a.max_concurrently_running AS array_limit
       FROM task t${database.dialect.byPrimaryKey}
       LEFT JOIN \`array\` a ON a.id = t.array_id
       LEFT JOIN task_resources r ON r.id = t.task_resources_id
       LEFT JOIN queue q ON q.id = r.queue_id
       LEFT JOIN cluster c ON c.id = q.cluster_id
      WHERE t.id IN ${list.sql} AND t.status <> 'D' ORDER BY t.id`,
    list.params,
  );
  return rows.filter((row): row is TaskToResume => row.array_limit !== null && row.cluster !== null);
}

function tupleOf(task: TaskToResume): ReplyOf<typeof getTasksToResume>['tasks'][string] {
  return [
    task.array_id,
    task.status,
    task.max_attempts,
    literalIn(task.resource_scales ?? '{}'),
    literalIn(task.fallback_queues ?? '[]'),
    literalIn(task.requested_resources),
    task.cluster,
    task.queue,
    task.array_limit,
  ];
}

/** A stored text as a Python literal. What is neither JSON nor a literal goes out as it is: the client knows what it stored. */
function literalIn(text: string): string {
  const value = valueOf(text);
  return value === undefined ? text : literalOf(value);
}

/** E52. */
function listStatuses(): ReplyOf<typeof getWorkflowStatuses> {
  const states = Object.entries(workflowMachine.states).sort(([a], [b]) => (a < b ? -1 : 1));
  return { available_statuses: states.map(([, { label }]) => label) };
}

interface TemplateNode {
  node_id: number;
  version: number | null;
  down: unknown;
}

/** E55. Read from the stored graph: a page of nodes at a time, of each template the nodes that wait for one of its own. */
async function findTemplateDag(
  { database }: Room,
  { workflow_id }: RequestOf<typeof getTaskTemplateDag>,
): Promise<ReplyOf<typeof getTaskTemplateDag>> {
  const versions = new Map<number, number>();
  const downs = new Map<number, Set<number>>();
  const [workflow] = await database.read<{ dag_id: number }>('SELECT dag_id FROM workflow WHERE id = ?', [workflow_id]);
  for (let after = 0, isFull = workflow !== undefined; isFull;) {
    const page = await database.read<TemplateNode>(
      `SELECT e.node_id AS node_id, n.task_template_version_id AS version, e.downstream_node_ids AS down
         FROM edge e LEFT JOIN node n ON n.id = e.node_id
        WHERE e.dag_id = ? AND e.node_id > ? ORDER BY e.node_id LIMIT ${PAGE_ROWS}`,
      [workflow?.dag_id ?? 0, after],
    );
    for (const { node_id, version, down } of page) {
      if (version === null) continue;
      versions.set(node_id, version);
      const waiting = downs.get(version) ?? new Set<number>();
      downs.set(version, waiting);
      for (const id of idsIn(down)) waiting.add(id);
    }
    isFull = page.length === PAGE_ROWS;
    after = page.at(-1)?.node_id ?? after;
  }
  return { tt_dag: await namedEdges(database, versions, downs) };
}

/** Edges between versions of templates as edges between the names of the templates, in the order in which the templates were made. */
async function namedEdges(
  database: Database,
  versions: ReadonlyMap<number, number>,
  downs: ReadonlyMap<number, ReadonlySet<number>>,
): Promise<ReplyOf<typeof getTaskTemplateDag>['tt_dag']> {
  const templates = await database.read<{ version: number; id: number; name: string }>(
    `SELECT v.id AS version, tt.id AS id, tt.name AS name FROM ${database.dialect.jsonRows('given', { id: 'int' })}
       JOIN task_template_version v ON v.id = given.id JOIN task_template tt ON tt.id = v.task_template_id ORDER BY tt.id, v.id`,
    [JSON.stringify([...downs.keys()].map((id) => ({ id })))],
  );
  const templateOf = new Map(templates.map(({ version, id }) => [version, id]));
  const names = new Map(templates.map(({ id, name }) => [id, name]));
  const edges = new Map<number, Set<number>>([...names.keys()].map((id) => [id, new Set()]));
  for (const [version, waiting] of downs) {
    const own = edges.get(templateOf.get(version) ?? 0);
    for (const node_id of waiting) {
      const other = templateOf.get(versions.get(node_id) ?? 0);
      if (other !== undefined) own?.add(other);
    }
  }
  return [...edges].flatMap(([id, others]) => {
    const waiting: (number | null)[] = others.size === 0 ? [null] : [...others].sort((a, b) => a - b);
    return waiting.map((other) => ({
      name: names.get(id) ?? '',
      downstream_task_template_id: other === null ? null : (names.get(other) ?? ''),
    }));
  });
}
