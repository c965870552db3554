/** Tasks: bound with their arguments and attributes (E13 to E15), and what is asked about some of them (E17, L1, L2). */
import {
  addTaskAttributes,
  bindTaskArgs,
  bindTaskAttributes,
  bindTasksOfClient,
  getDownstreamTasks,
  getMostRecentError,
  getTaskResourceUsage,
  ID_MAX,
  JobmonError,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import type { Procedure } from '@jobmon/entities';
import type { Register, Room } from '../context';
import { idsIn } from '../dag';
import { idsOfNames } from '../named-row';
import { insertArgs } from '../node';
import { piecesOf } from '../pieces';
import { upsertTaskAttributes } from '../task-row';
import { requireRows } from './known';
import { bindTasks } from './task-bind';

/** Tasks looked up in one statement. */
const PAGE_TASKS = 5_000;

export function registerTask(answer: Register): void {
  answer(bindTasksOfClient, bindTasks);
  answer(bindTaskArgs, storeArgs);
  answer(bindTaskAttributes, storeAttributes);
  answer(addTaskAttributes, addAttributes);
  answer(getMostRecentError, findMostRecentError);
  answer(getDownstreamTasks, findDownstreamTasks);
  answer(getTaskResourceUsage, findResourceUsage);
}

/** E14. */
async function storeArgs({ database }: Room, { task_args }: RequestOf<typeof bindTaskArgs>): Promise<Record<string, never>> {
  await requireRows(
    database,
    'task',
    task_args.map(([task_id]) => task_id),
  );
  await requireRows(
    database,
    'arg',
    task_args.map(([, arg_id]) => arg_id),
  );
  const rows = task_args
    .map(([owner_id, arg_id, val]) => ({ owner_id, arg_id, val }))
    // One order for everybody: a repeat and its first attempt wait for each other, and never crosswise.
    .sort((a, b) => a.owner_id - b.owner_id || a.arg_id - b.arg_id);
  for (const piece of piecesOf(database, rows)) {
    await database.write({ label: 'task.bind_args' }, () => insertArgs(database.dialect, 'task_arg', piece));
  }
  return {};
}

/** E15. */
async function storeAttributes(
  { database }: Room,
  { task_attributes }: RequestOf<typeof bindTaskAttributes>,
): Promise<Record<string, never>> {
  const owners = Object.entries(task_attributes).map(([id, attributes]) => ({ task_id: Number(id), attributes }));
  await requireTasks(
    database,
    owners.map(({ task_id }) => task_id),
  );
  const names = new Set(owners.flatMap(({ attributes }) => Object.keys(attributes)));
  if (names.size === 0) return {};
  const { dialect } = database;
  const types = await database.write({ label: 'task.attribute_types' }, () =>
    idsOfNames(dialect, 'task_attribute_type', [...names], 'as_stored'),
  );
  const rows = owners
    .flatMap(({ task_id, attributes }) =>
      Object.entries(attributes).map(([name, value]) => ({ task_id, type_id: types.get(name) as number, value })),
    )
    .sort((a, b) => a.task_id - b.task_id || a.type_id - b.type_id);
  for (const piece of piecesOf(database, rows)) {
    await database.write({ label: 'task.bind_attributes' }, (): Procedure<void> => upsertTaskAttributes(dialect, piece));
  }
  return {};
}

/** Keys of a JSON object are text, so these ids were checked for digits only. */
async function requireTasks(database: Room['database'], ids: readonly number[]): Promise<void> {
  const wrong = ids.find((id) => id < 1 || id > ID_MAX);
  if (wrong !== undefined) throw new JobmonError('NOT_FOUND', `there is no task ${wrong}`);
  await requireRows(database, 'task', ids);
}

/** E15, sent by a running task for itself. */
function addAttributes(
  room: Room,
  { task_id, ...attributes }: RequestOf<typeof addTaskAttributes>,
): Promise<Record<string, never>> {
  return storeAttributes(room, { task_attributes: { [task_id]: attributes } });
}

/** E17. */
async function findMostRecentError(
  { database }: Room,
  { task_id }: RequestOf<typeof getMostRecentError>,
): Promise<ReplyOf<typeof getMostRecentError>> {
  await requireRows(database, 'task', [task_id]);
  const [row] = await database.read<{ description: string; task_instance_id: number }>(
    `SELECT e.description AS description, ti.id AS task_instance_id
       FROM task_instance ti JOIN task_instance_error_log e ON e.task_instance_id = ti.id
      WHERE ti.task_id = ? ORDER BY ti.id DESC, e.id DESC LIMIT 1`,
    [task_id],
  );
  return { error_description: row?.description ?? '', task_instance_id: row?.task_instance_id ?? null };
}

/** L1. */
async function findDownstreamTasks(
  { database }: Room,
  { task_ids, dag_id, client_jobmon_version }: RequestOf<typeof getDownstreamTasks>,
): Promise<ReplyOf<typeof getDownstreamTasks>> {
  await requireRows(database, 'dag', [dag_id]);
  const asText = readsText(client_jobmon_version);
  const downstream_tasks: ReplyOf<typeof getDownstreamTasks>['downstream_tasks'] = {};
  for (let from = 0; from < task_ids.length; from += PAGE_TASKS) {
    const piece = task_ids.slice(from, from + PAGE_TASKS);
    const rows = await database.read<{ id: number; workflow_id: number | null; node_id: number; down: unknown }>(
      `SELECT given.id AS id, w.id AS workflow_id, t.node_id AS node_id, e.downstream_node_ids AS down
         FROM ${database.dialect.jsonRows('given', { id: 'int' })}
         LEFT JOIN task t ON t.id = given.id
         LEFT JOIN workflow w ON w.id = t.workflow_id AND w.dag_id = ?
         LEFT JOIN edge e ON e.dag_id = w.dag_id AND e.node_id = t.node_id`,
      [JSON.stringify(piece.map((id) => ({ id }))), dag_id],
    );
    const stranger = rows.find(({ workflow_id }) => workflow_id === null);
    if (stranger !== undefined) {
      throw new JobmonError('NOT_FOUND', `there is no task ${stranger.id} in a workflow of graph ${dag_id}`);
    }
    for (const { id, node_id, down } of rows) {
      const ids = idsIn(down);
      const list = asText ? `[${ids.join(', ')}]` : ids;
      downstream_tasks[id] = [node_id, ids.length === 0 ? null : list];
    }
  }
  return { downstream_tasks };
}

/** The last version whose clients read the list as JSON text. */
const TEXT_UNTIL = [3, 4, 23] as const;

/** Whether a client of this version reads lists as text; so does one whose version is missing or cannot be read (section 6.4, L1). */
function readsText(version: unknown): boolean {
  if (typeof version !== 'string') return true;
  if (/dev|stage/.test(version)) return false;
  const found = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(version);
  if (found === null) return true;
  for (const [at, last] of TEXT_UNTIL.entries()) {
    const part = Number(found[at + 1] ?? 0);
    if (part !== last) return part < last;
  }
  return true;
}

/** L2. */
async function findResourceUsage(
  { database }: Room,
  { task_id }: RequestOf<typeof getTaskResourceUsage>,
): Promise<ReplyOf<typeof getTaskResourceUsage>> {
  await requireRows(database, 'task', [task_id]);
  const [row] = await database.read<{ attempts: number; nodename: string; wallclock: string; maxrss: string }>(
    `SELECT t.num_attempts AS attempts, ti.nodename AS nodename, ti.wallclock AS wallclock, ti.maxrss AS maxrss
       FROM task_instance ti JOIN task t ON t.id = ti.task_id
      WHERE ti.task_id = ? AND ti.status = 'D' ORDER BY ti.id DESC LIMIT 1`,
    [task_id],
  );
  return { resource_usage: [row?.attempts ?? null, row?.nodename ?? null, row?.wallclock ?? null, row?.maxrss ?? null] };
}
