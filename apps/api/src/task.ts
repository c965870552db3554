/**
 * Binding tasks to a workflow, up to 100,000 in one request. Everything that can be wrong with them is looked for before
 * anything is written; then they are written in pieces, each a transaction under the workflow's lock. A piece is all or
 * nothing, and a repeat of the request finds what stands, so a caller whose connection broke sends the same again.
 *
 * Statements for 1,000 new tasks with arguments and no attributes: see `task.db.spec.ts`, which holds the numbers.
 */
import { DEFAULT_RESOURCE_SCALES, registerTasks, type ReplyOf, type RequestOf, type TaskToRegister } from '@jobmon/contracts';
import { identityOf, updateRows, type Dialect, type Procedure } from '@jobmon/entities';
import { queuesOf } from './cluster';
import type { Call, Room } from './context';
import { idsOfNames } from './named-row';
import { insertArgs, insertNodes } from './node';
import { recordPerson } from './person';
import { piecesOf } from './pieces';
import { checkTasks, readTemplates, refuse, type Template, type Templates } from './task-check';
import { arrayIds, resourcesIds } from './task-group';
import { insertTasks, upsertTaskAttributes } from './task-row';
import { driverOf } from './v3/server-driven';
import { lockWorkflow, readWorkflow } from './workflow';

type Request = RequestOf<typeof registerTasks>;
type Reply = ReplyOf<typeof registerTasks>;

/** What a task takes over from its position in the request's resources. */
interface ResourcesOfTask {
  readonly task_resources_id: number;
  readonly resource_scales: string;
  readonly fallback_queues: string;
}

/** Rows that the tasks of one request share. */
interface Shared {
  readonly templates: Templates;
  /** Template version to array. */
  readonly arrays: ReadonlyMap<number, number>;
  /** By position in the request's resources. */
  readonly resources: readonly ResourcesOfTask[];
  readonly attribute_types: ReadonlyMap<string, number>;
}

/** @throws JobmonError NOT_FOUND, MALFORMED or CONFLICT, naming the rule and up to ten tasks. */
export async function bindTasks(room: Room, { workflow_id, resources, limits, tasks }: Request, call: Call): Promise<Reply> {
  const { database } = room;
  const { dialect } = database;
  const workflow = await readWorkflow(database, workflow_id);
  const templates = await readTemplates(database, tasks);
  checkTasks(tasks, templates, resources.length);
  const tasksOf = (position: number): string[] =>
    tasks
      .filter((task) => task.resources === position)
      .slice(0, 10)
      .map((task) => task.name);
  const queues = await queuesOf(database, resources, tasksOf);
  const pieces = piecesOf(database, tasks);
  const isSubmitted = workflow.created_date !== null;
  for (const piece of pieces) {
    const { sql, params } = standingTasks(dialect, workflow_id, piece);
    check(await database.read<StandingRow>(sql, params), piece, isSubmitted);
  }
  const shared: Shared = await database.write({ label: 'task.register: what they share' }, function* (): Procedure<Shared> {
    yield* recordPerson(dialect, call, registerTasks.name, workflow_id);
    return {
      templates,
      arrays: yield* arrayIds(dialect, workflow_id, templates, new Map(limits)),
      resources: (yield* resourcesIds(dialect, resources, queues)).map((task_resources_id, at) => ({
        task_resources_id,
        resource_scales: JSON.stringify(resources[at]?.resource_scales ?? DEFAULT_RESOURCE_SCALES),
        fallback_queues: JSON.stringify(resources[at]?.fallback_queues ?? []),
      })),
      attribute_types: yield* idsOfNames(dialect, 'task_attribute_type', attributeNames(tasks)),
    };
  });
  const bound: [number, number][] = [];
  for (const piece of pieces) {
    bound.push(...(await database.write({ label: 'task.register' }, () => bindPiece(dialect, workflow_id, piece, shared))));
  }
  return { tasks: bound };
}

function attributeNames(tasks: readonly TaskToRegister[]): string[] {
  const names = new Set<string>();
  for (const { attributes } of tasks) if (attributes !== undefined) for (const name of Object.keys(attributes)) names.add(name);
  return [...names];
}

/** What stands for one task of a piece: its node, and each task of the workflow on that node. */
interface StandingRow {
  /** Position in the piece. */
  at: number;
  node_id: number | null;
  task_id: number | null;
  task_args_hash: string | null;
}

/** LEFT joins, because they fix the order: from the few given rows to the large tables by their keys. */
function standingTasks(
  dialect: Dialect,
  workflow_id: number,
  piece: readonly TaskToRegister[],
): { sql: string; params: (string | number)[] } {
  const given = dialect.jsonRows('given', { at: 'int', version: 'int', hash: 'text' });
  const rows = piece.map((task, at) => ({ at, version: task.task_template_version_id, hash: task.node_args_hash }));
  return {
    sql: `SELECT given.at AS at, n.id AS node_id, t.id AS task_id, t.task_args_hash AS task_args_hash FROM ${given}
            LEFT JOIN node n ON n.task_template_version_id = given.version AND n.node_args_hash = given.hash
            LEFT JOIN task t ON t.node_id = n.id AND t.workflow_id = ?`,
    params: [JSON.stringify(rows), workflow_id],
  };
}

/** What stands for each task of a piece, in order. */
interface Standing {
  node_id: number | undefined;
  task_id: number | undefined;
}

/** Refuses a piece with a task that contradicts what is stored: its node has other task arguments, or it comes too late. */
function check(rows: readonly StandingRow[], piece: readonly TaskToRegister[], isSubmitted: boolean): Standing[] {
  const standing: Standing[] = piece.map(() => ({ node_id: undefined, task_id: undefined }));
  const twice = new Set<number>();
  for (const { at, node_id, task_id, task_args_hash } of rows) {
    const entry = standing[at] as Standing;
    entry.node_id = node_id ?? undefined;
    if (task_id === null) continue;
    if (task_args_hash !== (piece[at] as TaskToRegister).task_args_hash) twice.add(at);
    // Databases of older programs may hold the same task twice: the first of them is the task.
    else entry.task_id = Math.min(entry.task_id ?? task_id, task_id);
  }
  const named = (at: number): string => (piece[at] as TaskToRegister).name;
  // A node with the very task that is asked for is no conflict, whatever else an older program put on it.
  const conflicts = [...twice].filter((at) => standing[at]?.task_id === undefined).map(named);
  if (conflicts.length > 0) {
    refuse('CONFLICT', 'node_args_twice', conflicts, 'the workflow has another task with the same template and node arguments');
  }
  const late = isSubmitted ? standing.flatMap((entry, at) => (entry.task_id === undefined ? [named(at)] : [])) : [];
  if (late.length > 0) refuse('CONFLICT', 'already_submitted', late, 'the workflow was submitted without these tasks');
  return standing;
}

/** Writes what is missing of a piece and answers `[task_id, node_id]` of every task in it. */
function* bindPiece(
  dialect: Dialect,
  workflow_id: number,
  piece: readonly TaskToRegister[],
  shared: Shared,
): Procedure<[number, number][]> {
  const workflow = yield* lockWorkflow(dialect, workflow_id);
  const { rows } = yield standingTasks(dialect, workflow_id, piece);
  const standing = check(rows as StandingRow[], piece, workflow.created_date !== null);
  const at_new = standing.flatMap((entry, at) => (entry.task_id === undefined ? [at] : []));
  yield* describeAnew(dialect, workflow_id, piece, standing, shared);
  if (at_new.length > 0) {
    yield* makeNodes(dialect, piece, standing, shared.templates);
    yield* makeTasks(
      dialect,
      workflow_id,
      at_new.map((at) => [piece[at], standing[at]] as [TaskToRegister, Standing]),
      shared,
    );
  }
  yield* storeAttributes(dialect, piece, standing, shared);
  return standing.map((entry) => [entry.task_id as number, entry.node_id as number]);
}

/**
 * Gives tasks that stand and are not done what the request says of them. While a client drives, its own word counts, and only
 * what it left open is filled in: the resources of tasks that it never queued, without which the server could not take over.
 */
function* describeAnew(
  dialect: Dialect,
  workflow_id: number,
  piece: readonly TaskToRegister[],
  standing: readonly Standing[],
  shared: Shared,
): Procedure<void> {
  const rows = piece.flatMap((task, at) => {
    const id = standing[at]?.task_id;
    if (id === undefined) return [];
    const { name, command, max_attempts } = task;
    return [{ id, name, command, max_attempts, ...(shared.resources[task.resources] as ResourcesOfTask) }];
  });
  if (rows.length === 0) return;
  const driver = yield* driverOf(workflow_id);
  if (driver === 'server') return;
  const resources = { task_resources_id: 'given.task_resources_id' };
  const words = ['name', 'command', 'max_attempts', 'resource_scales', 'fallback_queues'];
  const all = { ...resources, ...Object.fromEntries(words.map((column) => [column, `given.${column}`])) };
  yield updateRows(dialect, {
    table: 'task',
    given: {
      id: 'int',
      name: 'text',
      command: 'text',
      max_attempts: 'int',
      task_resources_id: 'int',
      resource_scales: 'text',
      fallback_queues: 'text',
    },
    rows: rows.sort((a, b) => a.id - b.id),
    set: driver === undefined ? all : resources,
    where: driver === undefined ? `task.status IN ('G', 'F', 'E', 'A')` : 'task.task_resources_id IS NULL',
  });
}

function* makeNodes(
  dialect: Dialect,
  piece: readonly TaskToRegister[],
  standing: readonly Standing[],
  templates: Templates,
): Procedure<void> {
  const missing = piece.flatMap((task, at) => {
    const entry = standing[at] as Standing;
    return entry.node_id === undefined ? [{ task, entry }] : [];
  });
  if (missing.length === 0) return;
  const keys = missing.map(({ task }) => ({ version: task.task_template_version_id, hash: task.node_args_hash }));
  const ids = yield* insertNodes(dialect, keys);
  const args = missing.flatMap(({ task, entry }, nth) => {
    const node_id = ids[nth] as number;
    entry.node_id = node_id;
    return argRows(node_id, task.node_args, templates.get(task.task_template_version_id) as Template);
  });
  yield* insertArgs(dialect, 'node_arg', args);
}

function argRows(owner_id: number, values: Readonly<Record<string, string>>, { arg_ids }: Template) {
  return Object.entries(values).map(([name, val]) => ({ owner_id, arg_id: arg_ids.get(name) as number, val }));
}

/** Inserts tasks in G with their arguments. */
function* makeTasks(
  dialect: Dialect,
  workflow_id: number,
  fresh: readonly (readonly [TaskToRegister, Standing])[],
  shared: Shared,
): Procedure<void> {
  const rows = fresh.map(([task, { node_id }]) => ({
    node_id: node_id as number,
    task_args_hash: task.task_args_hash,
    array_id: shared.arrays.get(task.task_template_version_id) as number,
    name: task.name,
    command: task.command,
    ...(shared.resources[task.resources] as ResourcesOfTask),
    max_attempts: task.max_attempts,
    identity: identityOf(workflow_id, node_id as number, task.task_args_hash),
  }));
  const ids = yield* insertTasks(dialect, workflow_id, rows);
  const args = fresh.flatMap(([task, entry], at) => {
    const task_id = ids[at] as number;
    entry.task_id = task_id;
    return argRows(task_id, task.task_args, shared.templates.get(task.task_template_version_id) as Template);
  });
  yield* insertArgs(dialect, 'task_arg', args);
}

function* storeAttributes(
  dialect: Dialect,
  piece: readonly TaskToRegister[],
  standing: readonly Standing[],
  shared: Shared,
): Procedure<void> {
  const rows = piece.flatMap((task, at) =>
    Object.entries(task.attributes ?? {}).map(([name, value]) => ({
      task_id: standing[at]?.task_id as number,
      type_id: shared.attribute_types.get(name) as number,
      value,
    })),
  );
  yield* upsertTaskAttributes(dialect, rows);
}
