/** Tasks as views show them, a page at a time, and one task with all its attempts. */
import {
  HISTORY_REASONS,
  JobmonError,
  type getTask,
  type HistoryReason,
  type listTasks,
  type ReplyOf,
  type RequestOf,
  type TaskInstanceView,
  type TaskView,
} from '@jobmon/contracts';
import { valueOf, type Database, type SqlValue } from '@jobmon/entities';
import type { Room } from './context';
import { requireWorkflow } from './v3/workflow-template';
import { tasksOfTemplate, type TaskCondition } from './workflow-error';

/** Rows read at one time for a page. */
const STEP_ROWS = 500;
/** Arrays looked through in one statement. */
const ARRAYS_AT_ONCE = 100;
/** A page of long commands ends early, so that no answer outgrows the memory. */
const PAGE_BYTES_MAX = 8 * 1024 * 1024;
/** Characters of an error in a list; the whole text is with the task itself. */
const LISTED_ERROR_CHARACTERS = 1_000;
/** Attempts and errors shown of one task: the newest. */
const ATTEMPTS_MAX = 1_000;

interface TaskRow extends Omit<TaskView, 'wallclock_seconds' | 'error'> {
  workflow_id: number;
  current_task_instance_id: number | null;
}

const TASK = `SELECT t.id AS task_id, t.workflow_id AS workflow_id, t.name AS name, t.status AS status, t.status_date AS status_date,
    t.num_attempts AS num_attempts, t.max_attempts AS max_attempts, t.command AS command, tt.name AS task_template,
    t.current_task_instance_id AS current_task_instance_id
  FROM task t
  LEFT JOIN node n ON n.id = t.node_id
  LEFT JOIN task_template_version v ON v.id = n.task_template_version_id
  LEFT JOIN task_template tt ON tt.id = v.task_template_id`;

export async function findTasks(
  { database }: Room,
  { workflow_id, after, limit, status, task_template }: RequestOf<typeof listTasks>,
): Promise<ReplyOf<typeof listTasks>> {
  await requireWorkflow(database, workflow_id);
  const arrays = await database.read<{ id: number }>('SELECT id FROM array WHERE workflow_id = ? ORDER BY id', [workflow_id]);
  const isFiltered = status.length > 0 || task_template !== undefined;
  const chosen = isFiltered
    ? await chosenAfter(database, {
        workflow_id,
        after,
        limit,
        status,
        tasks: await tasksOfTemplate(database, workflow_id, task_template),
      })
    : [];
  const tasks: TaskView[] = [];
  let bytes = 0;
  let last = after;
  while (tasks.length < limit && bytes < PAGE_BYTES_MAX) {
    const size = Math.min(STEP_ROWS, limit - tasks.length);
    const ids = isFiltered
      ? chosen.slice(tasks.length, tasks.length + size)
      : await idsAfter(database, { workflow_id, arrays: arrays.map(({ id }) => id), after: last, status: undefined, size });
    if (ids.length === 0) return { tasks, next: null };
    const rows = await database.read<TaskRow>(`${TASK} WHERE t.id IN (${ids.map(() => '?').join(', ')}) ORDER BY t.id`, ids);
    tasks.push(...(await viewsOf(database, rows)));
    if (rows.length < size) return { tasks, next: null };
    last = (rows[rows.length - 1] as TaskRow).task_id;
    bytes += rows.reduce((sum, row) => sum + row.command.length, 0);
  }
  return { tasks, next: last };
}

interface Chosen {
  readonly workflow_id: number;
  readonly after: number;
  readonly limit: number;
  /** Letters; any when empty. */
  readonly status: readonly string[];
  readonly tasks: TaskCondition;
}

/** Ids of the tasks that are asked for, ascending: one look through the index that holds status and array of all (docs/schema.md). */
async function chosenAfter(database: Database, { workflow_id, after, limit, status, tasks }: Chosen): Promise<number[]> {
  const inStatus = status.length === 0 ? '' : `AND t.status IN (${status.map(() => '?').join(', ')})`;
  const rows = await database.read<{ id: number }>(
    `SELECT t.id AS id FROM task t WHERE t.workflow_id = ? AND t.id > ? ${inStatus} AND ${tasks.where} ORDER BY t.id LIMIT ${limit}`,
    [workflow_id, after, ...status, ...tasks.params],
  );
  return rows.map(({ id }) => id);
}

interface Page {
  readonly workflow_id: number;
  readonly arrays: readonly number[];
  readonly after: number;
  readonly status: string | undefined;
  readonly size: number;
}

/**
 * The ids of the next tasks of a workflow, ascending: the first ones of each array by its index, which ends in the primary key, and of
 * the tasks that older programs left without an array; of all these the lowest. By workflow alone each page would sort all of them.
 */
export async function idsAfter(database: Database, { workflow_id, arrays, after, status, size }: Page): Promise<number[]> {
  const hasStatus = status === undefined ? '' : ' AND status = ?';
  const pick = (owner: string): string =>
    `SELECT * FROM (SELECT id FROM task WHERE ${owner} AND id > ?${hasStatus} ORDER BY id LIMIT ${size})`;
  let ids: number[] = [];
  for (let from = 0; from === 0 || from < arrays.length; from += ARRAYS_AT_ONCE) {
    const some = arrays.slice(from, from + ARRAYS_AT_ONCE);
    const branches = [
      ...some.map(() => pick('array_id = ?')),
      ...(from === 0 ? [pick('workflow_id = ? AND array_id IS NULL')] : []),
    ];
    const params = [...some, ...(from === 0 ? [workflow_id] : [])].flatMap((owner): SqlValue[] => [
      owner,
      after,
      ...(status === undefined ? [] : [status]),
    ]);
    const sql = branches.map((branch, at) => `${branch} AS part_${at}`).join(' UNION ALL ');
    const found = await database.read<{ id: number }>(`SELECT id FROM (${sql}) AS tasks ORDER BY id LIMIT ${size}`, params);
    ids = [...ids, ...found.map(({ id }) => id)].sort((a, b) => a - b).slice(0, size);
  }
  return ids;
}

/** Adds to each task what its latest attempt tells: its time and its newest error. */
async function viewsOf(database: Database, rows: readonly TaskRow[]): Promise<TaskView[]> {
  if (rows.length === 0) return [];
  const marks = (count: number): string => Array<string>(count).fill('?').join(', ');
  const attempts = await database.read<{ id: number; task_id: number; wallclock: string | null }>(
    `SELECT id, task_id, wallclock FROM task_instance WHERE task_id IN (${marks(rows.length)}) ORDER BY id`,
    rows.map((row) => row.task_id),
  );
  const latest = new Map(attempts.map((attempt) => [attempt.task_id, attempt]));
  const errors = new Map<number, string>();
  const ids = [...latest.values()].map(({ id }) => id);
  if (ids.length > 0) {
    const found = await database.read<{ task_instance_id: number; description: string }>(
      `SELECT e.task_instance_id AS task_instance_id, SUBSTR(e.description, 1, ${LISTED_ERROR_CHARACTERS}) AS description
         FROM task_instance_error_log e WHERE e.task_instance_id IN (${marks(ids.length)}) ORDER BY e.id`,
      ids,
    );
    for (const { task_instance_id, description } of found) errors.set(task_instance_id, description);
  }
  return rows.map(({ workflow_id: _, current_task_instance_id: __, ...row }) => {
    const attempt = latest.get(row.task_id);
    return {
      ...row,
      wallclock_seconds: figureIn(attempt?.wallclock ?? null),
      error: attempt === undefined ? null : (errors.get(attempt.id) ?? null),
    };
  });
}

/** What attempts used is stored as text, by several programs. */
function figureIn(text: string | null): number | null {
  const figure = text === null || text === '' ? NaN : Number(text);
  return Number.isFinite(figure) ? figure : null;
}

/** Requested resources are JSON; rows of other programs may hold Python's notation. What can't be read asks for nothing. */
function requestedIn(text: string | null): Record<string, unknown> {
  const value = text === null ? null : valueOf(text);
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

export async function findTask({ database }: Room, { task_id }: RequestOf<typeof getTask>): Promise<ReplyOf<typeof getTask>> {
  const [row] = await database.read<TaskRow>(`${TASK} WHERE t.id = ?`, [task_id]);
  if (row === undefined) throw new JobmonError('NOT_FOUND', `there is no task ${task_id}`);
  const [task] = await viewsOf(database, [row]);
  return { task: task as TaskView, workflow_id: row.workflow_id, instances: await readInstances(database, task_id) };
}

type Interpreted = 'wallclock_seconds' | 'max_rss_bytes' | 'cpu_seconds' | 'requested_resources' | 'errors' | 'history';
type InstanceRow = Omit<TaskInstanceView, Interpreted> & {
  wallclock: string | null;
  maxrss: string | null;
  cpu: string | null;
  requested: string | null;
};
type HistoryRow = {
  id: number;
  sequence: number;
  from_status: string | null;
  to_status: string;
  date: string;
  actor: string;
  reason: number;
};

async function readInstances(database: Database, task_id: number): Promise<TaskInstanceView[]> {
  const rows = await database.read<InstanceRow>(
    `SELECT ti.id AS task_instance_id, ti.status, ti.nodename, ti.process_group_id, ti.exit_code, ti.submitted_date, ti.status_date,
            ti.wallclock, ti.maxrss, ti.cpu, tr.requested_resources AS requested, q.name AS queue,
            ti.stdout, ti.stderr, ti.stdout_log, ti.stderr_log
       FROM task_instance ti LEFT JOIN task_resources tr ON tr.id = ti.task_resources_id LEFT JOIN queue q ON q.id = tr.queue_id
      WHERE ti.task_id = ? ORDER BY ti.id DESC LIMIT ${ATTEMPTS_MAX}`,
    [task_id],
  );
  if (rows.length === 0) return [];
  rows.reverse();
  const ids = rows.map((row) => row.task_instance_id);
  const among = `IN (${ids.map(() => '?').join(', ')})`;
  const errors = await database.read<{ id: number; error_time: string | null; description: string }>(
    `SELECT task_instance_id AS id, error_time, description FROM task_instance_error_log
      WHERE task_instance_id ${among} ORDER BY task_instance_error_log.id DESC LIMIT ${ATTEMPTS_MAX}`,
    ids,
  );
  const history = await database.read<HistoryRow>(
    `SELECT task_instance_id AS id, sequence, from_status, to_status, date, actor, reason FROM task_instance_history
      WHERE task_instance_id ${among} ORDER BY task_instance_id, sequence`,
    ids,
  );
  return rows.map(({ wallclock, maxrss, cpu, requested, ...row }) => ({
    ...row,
    wallclock_seconds: figureIn(wallclock),
    max_rss_bytes: figureIn(maxrss),
    cpu_seconds: figureIn(cpu),
    requested_resources: requestedIn(requested),
    errors: errors
      .filter((error) => error.id === row.task_instance_id)
      .reverse()
      .map(({ error_time, description }) => ({ error_time, description })),
    history: history
      .filter((step) => step.id === row.task_instance_id)
      .map(({ id: _, reason, ...step }) => ({ ...step, reason: HISTORY_REASONS[reason as HistoryReason] ?? String(reason) })),
  }));
}
