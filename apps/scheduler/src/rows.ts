/**
 * What the scheduler reads: the graph of a workflow, and the statuses of its tasks. Reads only, committed rows only, in pages
 * of at most 5,000 rows with a yield after each, so that no other work of the process waits longer than for one page.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { idList, type Database } from '@jobmon/entities';
import { GraphBuilder, type Graph } from './graph';

/** Design section 4: reads come in pages of at most this many rows. */
const ROWS_MAX = 5_000;
/** Rows of edges hold whole adjacency lists, so fewer of them come at a time. */
const EDGE_ROWS_MAX = 1_000;

/** A task as the graph is told about it. */
export interface TaskStanding {
  readonly id: number;
  readonly array_id: number;
  readonly status: string;
}

interface TaskRow {
  readonly id: number;
  readonly node_id: number;
  readonly status: string;
}

/** Reads tasks and edges of a workflow: two statements, one for each array, and one for each page more. */
export async function loadGraph(database: Database, workflowId: number): Promise<Graph> {
  const builder = new GraphBuilder();
  for (const arrayId of await arraysOf(database, workflowId)) {
    builder.beginArray(arrayId);
    for await (const tasks of tasksOfArray(database, arrayId)) for (const task of tasks) builder.addTask(task);
  }
  for (let after = 0, isLast = false; !isLast;) {
    const rows = await database.read<{ node_id: number; downstream_node_ids: unknown }>(
      'SELECT e.node_id, e.downstream_node_ids FROM workflow AS w JOIN edge AS e ON e.dag_id = w.dag_id ' +
        `WHERE w.id = ? AND e.node_id > ? ORDER BY e.node_id LIMIT ${EDGE_ROWS_MAX}`,
      [workflowId, after],
    );
    for (const row of rows) builder.addEdges(row.node_id, nodeIds(row.downstream_node_ids));
    after = rows.at(-1)?.node_id ?? after;
    isLast = rows.length < EDGE_ROWS_MAX;
    await nextTurn();
  }
  return builder.build();
}

/** The standing of every task of a workflow, in pages. */
export async function* readAllStandings(database: Database, workflowId: number): AsyncGenerator<TaskStanding[]> {
  for (const arrayId of await arraysOf(database, workflowId)) {
    for await (const tasks of tasksOfArray(database, arrayId)) {
      yield tasks.map(({ id, status }) => ({ id, array_id: arrayId, status }));
    }
  }
}

/**
 * The standing of every task of a workflow whose status changed within the last `seconds` by the database's clock, in pages.
 * A row that changes between two pages comes again, later: its date only grows.
 */
export async function* readChangedSince(database: Database, workflowId: number, seconds: number): AsyncGenerator<TaskStanding[]> {
  const columns = 'SELECT id, array_id, status, status_date FROM task WHERE workflow_id = ? AND status_date >=';
  const order = `ORDER BY status_date, id LIMIT ${ROWS_MAX}`;
  type Row = TaskStanding & { status_date: string };
  let rows = await database.read<Row>(`${columns} ${database.dialect.nowPlusSeconds} ${order}`, [workflowId, -seconds]);
  for (;;) {
    yield rows;
    const last = rows.at(-1);
    if (last === undefined || rows.length < ROWS_MAX) return;
    await nextTurn();
    const { status_date: date, id } = last;
    rows = await database.read<Row>(`${columns} ? AND (status_date > ? OR id > ?) ${order}`, [workflowId, date, date, id]);
  }
}

/** The standing of these tasks, at most 1,000; ids that do not exist are left out. */
export function readStandings(database: Database, taskIds: readonly number[]): Promise<TaskStanding[]> {
  const list = idList(taskIds);
  return database.read<TaskStanding>(`SELECT id, array_id, status FROM task WHERE id IN ${list.sql}`, list.params);
}

/** The newest thing that somebody did to a workflow, 0 for nothing. */
export async function newestEventOf(database: Database, workflowId: number): Promise<number> {
  const [row] = await database.read<{ id: number | null }>('SELECT MAX(id) AS id FROM workflow_event WHERE workflow_id = ?', [
    workflowId,
  ]);
  return Number(row?.id ?? 0);
}

async function arraysOf(database: Database, workflowId: number): Promise<number[]> {
  const rows = await database.read<{ id: number }>('SELECT id FROM array WHERE workflow_id = ? ORDER BY id', [workflowId]);
  return rows.map(({ id }) => id);
}

/** By the index of array_id, which ends in the primary key: each page begins where the last one ended, nothing is sorted. */
async function* tasksOfArray(database: Database, arrayId: number): AsyncGenerator<TaskRow[]> {
  for (let after = 0; ;) {
    const rows = await database.read<TaskRow>(
      `SELECT id, node_id, status FROM task WHERE array_id = ? AND id > ? ORDER BY id LIMIT ${ROWS_MAX}`,
      [arrayId, after],
    );
    yield rows;
    after = rows.at(-1)?.id ?? after;
    if (rows.length < ROWS_MAX) return;
    await nextTurn();
  }
}

/**
 * A list of node ids as it is stored: SQL NULL, JSON null, `[]`, a list, or a list as a text that was quoted once or twice
 * (spec/data-model.md section 6). The driver may have read the JSON already.
 */
export function nodeIds(stored: unknown): number[] {
  let value = stored;
  for (let quotes = 0; typeof value === 'string' && quotes < 3; quotes += 1) value = JSON.parse(value) as unknown;
  if (value === null || value === undefined) return [];
  if (!Array.isArray(value)) throw new Error(`a list of node ids was expected, not ${JSON.stringify(stored)?.slice(0, 100)}`);
  return value.map(Number);
}
