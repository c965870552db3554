/**
 * All tasks that some tasks wait for, or all that wait for them, near and far. One direction of the workflow's whole graph is read, in
 * pages, and walked in memory: a walk in the database would need a statement for each level, and graphs are as deep as they like.
 */
import { JobmonError } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { idsIn } from '../dag';

/** Rows of one page of the graph, and ids looked up in one statement. */
const PAGE_ROWS = 5_000;

export interface TaskOfGraph {
  readonly id: number;
  readonly workflow_id: number | null;
  readonly node_id: number | null;
  readonly status: string;
  readonly name: string;
}

const COLUMNS = 't.id AS id, t.workflow_id AS workflow_id, t.node_id AS node_id, t.status AS status, t.name AS name';

/**
 * The tasks given and their ancestors (`up`) or descendants (`down`), ascending by id; unknown ids are left out, and none known is
 * an empty list.
 *
 * @throws JobmonError MALFORMED when the tasks are of several workflows, or when the closure has more than `tasks_max` tasks.
 */
export async function closureOf(
  database: Database,
  task_ids: readonly number[],
  direction: 'up' | 'down',
  tasks_max = Infinity,
): Promise<TaskOfGraph[]> {
  const given = await tasksOf(database, 't.id = given.id', task_ids);
  const [first] = given;
  if (first === undefined) return [];
  const { workflow_id } = first;
  const stranger = given.find((task) => task.workflow_id !== workflow_id);
  if (stranger !== undefined) {
    const sentence = `the tasks are of several workflows, ${workflow_id} and ${stranger.workflow_id} among them`;
    throw new JobmonError('MALFORMED', sentence, { rule: 'several_workflows' });
  }
  // Another program may have left a task without workflow or node: nothing waits for it, but it was asked for.
  const homeless = given.filter((task) => task.workflow_id === null || task.node_id === null);
  if (workflow_id === null) return homeless.sort((a, b) => a.id - b.id);
  const neighbours = await readDirection(database, workflow_id, direction);
  const found = new Set(given.flatMap(({ node_id }) => node_id ?? []));
  // A set is walked in the order of insertion, what is added on the way included.
  for (const node_id of found) {
    for (const next of neighbours.get(node_id) ?? []) found.add(next);
    if (found.size > tasks_max) {
      throw new JobmonError('MALFORMED', `more than ${tasks_max} tasks would be concerned`, { rule: 'too_many_tasks' });
    }
  }
  const tasks = await tasksOf(database, 't.node_id = given.id AND t.workflow_id = given.workflow_id', found, workflow_id);
  return [...tasks, ...homeless].sort((a, b) => a.id - b.id);
}

/** The tasks of a list of ids, by one statement for each page. */
async function tasksOf(
  database: Database,
  isOf: string,
  ids: Iterable<number>,
  workflow_id: number | null = null,
): Promise<TaskOfGraph[]> {
  const { dialect } = database;
  const sql = `SELECT ${COLUMNS} FROM ${dialect.jsonRows('given', { id: 'int', workflow_id: 'int' })} ${dialect.joinInOrder} task t ON ${isOf}`;
  const all = [...new Set(ids)];
  const tasks: TaskOfGraph[] = [];
  for (let from = 0; from < all.length; from += PAGE_ROWS) {
    const page = all.slice(from, from + PAGE_ROWS).map((id) => ({ id, workflow_id }));
    for (const task of await database.read<TaskOfGraph>(sql, [JSON.stringify(page)])) tasks.push(task);
  }
  return tasks;
}

/** For each node of the workflow's graph its upstream or its downstream nodes; nodes without any are left out. */
async function readDirection(
  database: Database,
  workflow_id: number,
  direction: 'up' | 'down',
): Promise<Map<number, readonly number[]>> {
  const [workflow] = await database.read<{ dag_id: number }>('SELECT dag_id FROM workflow WHERE id = ?', [workflow_id]);
  const neighbours = new Map<number, readonly number[]>();
  if (workflow === undefined) return neighbours;
  const list = direction === 'up' ? 'upstream_node_ids' : 'downstream_node_ids';
  for (let after = 0; ;) {
    const rows = await database.read<{ node_id: number; list: unknown }>(
      `SELECT node_id, ${list} AS list FROM edge WHERE dag_id = ? AND node_id > ? ORDER BY node_id LIMIT ${PAGE_ROWS}`,
      [workflow.dag_id, after],
    );
    for (const row of rows) {
      const ids = idsIn(row.list);
      if (ids.length > 0) neighbours.set(row.node_id, ids);
    }
    if (rows.length < PAGE_ROWS) return neighbours;
    after = rows[rows.length - 1]!.node_id;
  }
}
