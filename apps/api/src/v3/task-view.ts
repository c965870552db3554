/** Tasks as command line and screens read them: C1 to C3, C5, C6, C9, C10. Facts: spec/http-api-inspection.md section 2. */
import {
  findArrayTasks,
  findSubDag,
  findTasksRecursive,
  getTaskDependencies,
  getTaskDetails,
  getTaskInstanceDetails,
  getTaskStatus,
  JobmonError,
  taskInstanceMachine,
  type ReplyOf,
  type RequestOf,
  type TaskInstanceStatus,
} from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import type { Register, Room } from '../context';
import { idsIn } from '../dag';
import { closureOf } from './closure';
import { frameString } from './frame';
import { findLogPaths } from './log-path';
import { isoDate, numberIn } from './wire-value';

/** What the command line refuses to change at once (spec/cli-and-gui.md). */
const CLOSURE_TASKS_MAX = 10_000;
/** Instances shown of one task: the newest. */
const INSTANCES_MAX = 1_000;

export function registerTaskView(answer: Register): void {
  answer(findArrayTasks, findLogPaths);
  answer(getTaskStatus, answerStatus);
  answer(findSubDag, answerSubDag);
  answer(getTaskDependencies, answerDependencies);
  answer(findTasksRecursive, answerRecursive);
  answer(getTaskInstanceDetails, answerInstances);
  answer(getTaskDetails, answerDetails);
}

/** The words of C2's filter, over statuses of instances; together they hold every one. */
const STATUSES_OF_WORD: Readonly<Record<string, string>> = {
  PENDING: "'Q', 'B', 'I', 'O'",
  RUNNING: "'R', 'T'",
  DONE: "'D'",
  FATAL: "'E', 'F', 'K', 'U', 'W', 'X', 'Z'",
};

const STATUS_COLUMNS = [
  'TASK_ID',
  'task_status',
  'TASK_INSTANCE_ID',
  'DISTRIBUTOR_ID',
  'STATUS',
  'RESOURCE_USAGE',
  'STDOUT',
  'STDERR',
  'ERROR_TRACE',
];

/** C2. */
async function answerStatus(
  { database }: Room,
  { task_ids, status }: RequestOf<typeof getTaskStatus>,
): Promise<ReplyOf<typeof getTaskStatus>> {
  const ids = task_ids.filter((id) => id !== '').map((id) => ({ id }));
  if (ids.length === 0) throw new JobmonError('MALFORMED', 'task_ids: no task is named');
  const words = (status ?? []).filter((word) => word !== '');
  const letters = words.map((word) => {
    const known = word.toUpperCase();
    const some = Object.hasOwn(STATUSES_OF_WORD, known) ? STATUSES_OF_WORD[known] : undefined;
    if (some !== undefined) return some;
    throw new JobmonError('MALFORMED', `status: ${word.slice(0, 50)} is none of ${Object.keys(STATUSES_OF_WORD).join(', ')}`);
  });
  const { dialect } = database;
  const rows = await database.read<Record<string, unknown> & { STATUS: string }>(
    `SELECT t.id AS TASK_ID, t.status AS task_status, ti.id AS TASK_INSTANCE_ID, ti.distributor_id AS DISTRIBUTOR_ID, ti.status AS STATUS,
            ti.usage_str AS RESOURCE_USAGE, ti.stdout AS STDOUT, ti.stderr AS STDERR, e.description AS ERROR_TRACE
       FROM (SELECT DISTINCT id FROM ${dialect.jsonRows('listed', { id: 'int' })}) AS given
       ${dialect.joinInOrder} task t ON t.id = given.id
       ${dialect.joinInOrder} task_instance ti ON ti.task_id = t.id
       LEFT JOIN task_instance_error_log e ON e.task_instance_id = ti.id
      ${letters.length === 0 ? '' : `WHERE ti.status IN (${letters.join(', ')})`}
      ORDER BY t.id, ti.id, e.id`,
    [JSON.stringify(ids)],
  );
  const labelled = rows.map((row) => ({ ...row, STATUS: labelOf(row.STATUS) }));
  return { task_instance_status: frameString(STATUS_COLUMNS, labelled) };
}

/** A letter that we do not know stays as it is. */
function labelOf(letter: string): string {
  return taskInstanceMachine.states[letter as TaskInstanceStatus]?.label ?? letter;
}

/** C3. */
async function answerSubDag(
  { database }: Room,
  { task_ids, task_status }: RequestOf<typeof findSubDag>,
): Promise<ReplyOf<typeof findSubDag>> {
  if (task_ids.length === 0) throw new JobmonError('MALFORMED', 'task_ids: no task is named');
  const tasks = await closureOf(database, task_ids, 'down');
  const wanted = new Set(task_status ?? []);
  const shown = wanted.size === 0 ? tasks : tasks.filter(({ status }) => wanted.has(status));
  return {
    workflow_id: tasks[0]?.workflow_id ?? null,
    sub_task: Object.fromEntries(shown.map(({ id, status, name }) => [id, [status, name]])),
  };
}

/** C5. */
async function answerDependencies(
  { database }: Room,
  { task_id }: RequestOf<typeof getTaskDependencies>,
): Promise<ReplyOf<typeof getTaskDependencies>> {
  const [task] = await database.read<{ workflow_id: number; up: unknown; down: unknown }>(
    `SELECT t.workflow_id AS workflow_id, e.upstream_node_ids AS up, e.downstream_node_ids AS down
       FROM task t LEFT JOIN workflow w ON w.id = t.workflow_id LEFT JOIN edge e ON e.dag_id = w.dag_id AND e.node_id = t.node_id
      WHERE t.id = ?`,
    [task_id],
  );
  if (task === undefined) throw unknownTask(task_id);
  return {
    up: await tasksOfNodes(database, task.workflow_id, idsIn(task.up)),
    down: await tasksOfNodes(database, task.workflow_id, idsIn(task.down)),
  };
}

async function tasksOfNodes(
  database: Database,
  workflow_id: number,
  node_ids: readonly number[],
): Promise<{ id: number; status: string; name: string }[]> {
  if (node_ids.length === 0) return [];
  const { dialect } = database;
  return database.read(
    `SELECT t.id AS id, t.status AS status, t.name AS name FROM ${dialect.jsonRows('given', { id: 'int' })}
       ${dialect.joinInOrder} task t ON t.node_id = given.id AND t.workflow_id = ? ORDER BY t.id`,
    [JSON.stringify(node_ids.map((id) => ({ id }))), workflow_id],
  );
}

/** C6. */
async function answerRecursive(
  { database }: Room,
  { direction, task_ids }: RequestOf<typeof findTasksRecursive>,
): Promise<ReplyOf<typeof findTasksRecursive>> {
  if (direction !== 'up' && direction !== 'down') {
    throw new JobmonError('MALFORMED', `the direction is up or down, not ${direction.slice(0, 50)}`);
  }
  const tasks = await closureOf(database, task_ids, direction, CLOSURE_TASKS_MAX);
  if (tasks.length === 0) throw new JobmonError('MALFORMED', 'task_ids: none of them is a task');
  return { task_ids: tasks.map(({ id }) => id) };
}

function unknownTask(task_id: number): JobmonError {
  return new JobmonError('NOT_FOUND', `there is no task ${task_id}`);
}

interface InstanceRow {
  readonly id: number;
  readonly workflow_run_id: number;
  readonly status: string;
  readonly stdout: string | null;
  readonly stderr: string | null;
  readonly stdout_log: string | null;
  readonly stderr_log: string | null;
  readonly distributor_id: string | null;
  readonly nodename: string | null;
  readonly wallclock: string | null;
  readonly maxrss: string | null;
  readonly submitted_date: string | null;
  readonly status_date: string | null;
  readonly requested_resources: string | null;
  readonly queue: string | null;
}

/** C9. */
async function answerInstances(
  { database }: Room,
  { task_id }: RequestOf<typeof getTaskInstanceDetails>,
): Promise<ReplyOf<typeof getTaskInstanceDetails>> {
  const [task] = await database.read<{ n: number | string }>(
    `SELECT (SELECT COUNT(*) FROM task_instance ti WHERE ti.task_id = t.id) AS n FROM task t WHERE t.id = ?`,
    [task_id],
  );
  if (task === undefined) throw unknownTask(task_id);
  const rows = await database.read<InstanceRow>(
    `SELECT ti.id AS id, ti.workflow_run_id AS workflow_run_id, ti.status AS status, ti.stdout AS stdout, ti.stderr AS stderr,
            ti.stdout_log AS stdout_log, ti.stderr_log AS stderr_log, ti.distributor_id AS distributor_id, ti.nodename AS nodename,
            ti.wallclock AS wallclock, ti.maxrss AS maxrss, ti.submitted_date AS submitted_date, ti.status_date AS status_date,
            tr.requested_resources AS requested_resources, q.name AS queue
       FROM task_instance ti
       LEFT JOIN task_resources tr ON tr.id = ti.task_resources_id
       LEFT JOIN queue q ON q.id = tr.queue_id
      WHERE ti.task_id = ? ORDER BY ti.id DESC LIMIT ${INSTANCES_MAX}`,
    [task_id],
  );
  rows.reverse();
  const errors = await errorsOf(
    database,
    rows.map(({ id }) => id),
  );
  const omitted = Number(task.n) - rows.length;
  return {
    taskinstances: rows.map((row, position) => {
      const own = errors.get(row.id) ?? [];
      return {
        ti_id: row.id,
        ti_status: labelOf(row.status),
        ti_stdout: row.stdout,
        ti_stderr: row.stderr,
        ti_stdout_log: row.stdout_log,
        ti_stderr_log: row.stderr_log,
        ti_distributor_id: row.distributor_id,
        ti_nodename: row.nodename,
        ti_error_log_description: own.at(-1)?.description ?? null,
        ti_wallclock: numberIn(row.wallclock),
        ti_maxrss: numberIn(row.maxrss),
        ti_resources: row.requested_resources,
        ti_submit_date: isoDate(row.submitted_date),
        ti_status_date: isoDate(row.status_date),
        ti_queue_name: row.queue,
        ti_errors: own,
        ti_workflow_run_id: row.workflow_run_id,
        ti_attempt: omitted + position + 1,
      };
    }),
  };
}

async function errorsOf(
  database: Database,
  ids: readonly number[],
): Promise<Map<number, { time: string | null; description: string }[]>> {
  const { dialect } = database;
  const errors = new Map<number, { time: string | null; description: string }[]>();
  if (ids.length === 0) return errors;
  const rows = await database.read<{ task_instance_id: number; error_time: string | null; description: string }>(
    `SELECT e.task_instance_id AS task_instance_id, e.error_time AS error_time, e.description AS description
       FROM ${dialect.jsonRows('given', { id: 'int' })}
       ${dialect.joinInOrder} task_instance_error_log e ON e.task_instance_id = given.id ORDER BY e.id`,
    [JSON.stringify(ids.map((id) => ({ id })))],
  );
  for (const { task_instance_id, error_time, description } of rows) {
    const own = errors.get(task_instance_id) ?? [];
    own.push({ time: isoDate(error_time), description });
    errors.set(task_instance_id, own);
  }
  return errors;
}

/** C10. */
async function answerDetails(
  { database }: Room,
  { task_id }: RequestOf<typeof getTaskDetails>,
): Promise<ReplyOf<typeof getTaskDetails>> {
  const [row] = await database.read<
    Omit<ReplyOf<typeof getTaskDetails>['task_details'][number], 'node_args' | 'task_args' | 'task_attributes'> & {
      node_id: number | null;
    }
  >(
    `SELECT t.status AS task_status, t.workflow_id AS workflow_id, t.name AS task_name, t.command AS task_command,
            t.status_date AS task_status_date, tt.id AS task_template_id, tt.name AS task_template_name,
            v.id AS task_template_version_id, t.num_attempts AS num_attempts, t.max_attempts AS max_attempts,
            tr.requested_resources AS requested_resources, t.node_id AS node_id
       FROM task t
       LEFT JOIN node n ON n.id = t.node_id
       LEFT JOIN task_template_version v ON v.id = n.task_template_version_id
       LEFT JOIN task_template tt ON tt.id = v.task_template_id
       LEFT JOIN task_resources tr ON tr.id = t.task_resources_id
      WHERE t.id = ?`,
    [task_id],
  );
  if (row === undefined) throw unknownTask(task_id);
  const values = await database.read<{ kind: 'node' | 'task' | 'attribute'; name: string; value: string | null }>(
    `SELECT 'node' AS kind, a.name AS name, x.val AS value FROM node_arg x JOIN arg a ON a.id = x.arg_id WHERE x.node_id = ?
     UNION ALL
     SELECT 'task' AS kind, a.name AS name, x.val AS value FROM task_arg x JOIN arg a ON a.id = x.arg_id WHERE x.task_id = ?
     UNION ALL
     SELECT 'attribute' AS kind, y.name AS name, x.value AS value FROM task_attribute x
       JOIN task_attribute_type y ON y.id = x.task_attribute_type_id WHERE x.task_id = ?
     ORDER BY 2`,
    [row.node_id, task_id, task_id],
  );
  const valuesOf = (kind: string): Record<string, string | null> =>
    Object.fromEntries(values.filter((value) => value.kind === kind).map(({ name, value }) => [name, value]));
  const { node_id: _, requested_resources, ...task } = row;
  return {
    task_details: [
      {
        ...task,
        task_status_date: isoDate(task.task_status_date),
        node_args: valuesOf('node'),
        task_args: valuesOf('task'),
        task_attributes: valuesOf('attribute'),
        requested_resources,
      },
    ],
  };
}
