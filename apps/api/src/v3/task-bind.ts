/**
 * Tasks as Python's clients bind them (E13), some hundred in a request: new ones are inserted, those that the workflow has are reset
 * for another run. Everything that a task names is looked for before anything is written. Then come pieces, each a transaction under
 * the workflow's lock, so that of many callers at one time, or of a repeat that overlaps its first attempt, each task is made once.
 * Statements of a request: see `task-bind.db.spec.ts`, which holds the numbers.
 */
import { resetTasks, type bindTasksOfClient, type Driver, JobmonError, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import { identityOf, updateRows, type Database, type Dialect, type Procedure } from '@jobmon/entities';
import { checkText } from '../column-limit';
import type { Call, Room } from '../context';
import { piecesOf } from '../pieces';
import { insertTasks, type TaskRow } from '../task-row';
import { lockWorkflow } from '../workflow';
import { requireRows } from './known';
import { driverOf } from './server-driven';

type Request = RequestOf<typeof bindTasksOfClient>;
type Reply = ReplyOf<typeof bindTasksOfClient>;

/** Tasks of one request to the state machine. */
const RESET_TASKS_MAX = 1_000;

/** A task of the request. */
interface GivenTask {
  /** The key under which it was sent and is answered. */
  readonly hash: string;
  readonly reset_if_running: boolean;
  readonly row: TaskRow;
}

/** Where a task of the request stands. */
interface BoundTask {
  readonly task_id: number;
  status: string;
  /** Stood before this request. */
  readonly isKnown: boolean;
}

/** E13. @throws JobmonError NOT_FOUND, or MALFORMED for new tasks of a workflow that the server drives. */
export async function bindTasks(
  room: Room,
  { workflow_id, tasks: requested, mark_created }: Request,
  call: Call,
): Promise<Reply> {
  const { database } = room;
  const tasks = Object.entries(requested).map(([hash, task]) => givenTask(workflow_id, hash, task));
  await checkTasks(database, workflow_id, tasks);
  const bound: BoundTask[] = [];
  let driver: Driver | undefined;
  for (const piece of piecesOf(database, tasks)) {
    const written = await database.write({ label: 'task.bind' }, () => bindPiece(database.dialect, workflow_id, piece));
    bound.push(...written.tasks);
    driver = written.driver;
  }
  if (driver !== 'server') await resetKnown(room, workflow_id, tasks, bound, call);
  if (mark_created) await markCreated(database, workflow_id);
  return { tasks: Object.fromEntries(tasks.map(({ hash }, at) => [hash, [bound[at]!.task_id, bound[at]!.status]])) };
}

function givenTask(workflow_id: number, hash: string, task: Request['tasks'][string]): GivenTask {
  const [node_id, task_args_hash, array_id, task_resources_id, name, command, max_attempts, reset_if_running, scales, queues] =
    task;
  checkText(`the command of task ${hash}`, command);
  checkText(`the name of task ${hash}`, name);
  const row = {
    node_id,
    task_args_hash,
    array_id,
    name,
    command,
    task_resources_id,
    max_attempts,
    resource_scales: JSON.stringify(scales ?? {}),
    fallback_queues: JSON.stringify(queues ?? []),
    identity: identityOf(workflow_id, node_id, task_args_hash),
  };
  return { hash, reset_if_running, row };
}

/** Nothing that the tasks name may be missing. */
async function checkTasks(database: Database, workflow_id: number, tasks: readonly GivenTask[]): Promise<void> {
  await requireRows(database, 'workflow', [workflow_id]);
  const rows = tasks.map(({ row }) => row);
  await requireRows(
    database,
    'array',
    rows.map((row) => row.array_id),
    workflow_id,
  );
  await requireRows(
    database,
    'node',
    rows.map((row) => row.node_id),
  );
  await requireRows(
    database,
    'task_resources',
    rows.map((row) => row.task_resources_id),
  );
}

/** Finds or inserts the tasks of a piece; answers them in its order, and who drives the workflow now. */
function* bindPiece(
  dialect: Dialect,
  workflow_id: number,
  piece: readonly GivenTask[],
): Procedure<{ tasks: BoundTask[]; driver: Driver | undefined }> {
  yield* lockWorkflow(dialect, workflow_id);
  const driver = yield* driverOf(workflow_id);
  // Two hashes of one request may be the same task: it is made once.
  const rows = new Map(piece.map(({ row }) => [row.identity, row]));
  const known = yield* findTasks(dialect, workflow_id, [...rows.values()]);
  const fresh = [...rows.values()].filter((row) => !known.has(row.identity));
  if (fresh.length > 0) {
    if (driver === 'server') {
      throw new JobmonError('MALFORMED', `the server runs workflow ${workflow_id}, so it takes no new tasks`);
    }
    const ids = yield* insertTasks(dialect, workflow_id, fresh);
    fresh.forEach(({ identity }, at) => known.set(identity, { task_id: ids[at] as number, status: 'G', isKnown: false }));
  }
  return { tasks: piece.map(({ row }) => ({ ...known.get(row.identity)! })), driver };
}

/**
 * The tasks that the workflow has, by identity. Rows of older programs carry none: only where an array begins with such a row are they
 * looked for by their node, which may belong to many workflows.
 */
function* findTasks(dialect: Dialect, workflow_id: number, rows: readonly TaskRow[]): Procedure<Map<string, BoundTask>> {
  const known = new Map<string, BoundTask>();
  const given = dialect.jsonRows('given', { node_id: 'int', hash: 'text', identity: 'text' });
  const text = (wanted: readonly TaskRow[]): string =>
    JSON.stringify(wanted.map(({ node_id, task_args_hash: hash, identity }) => ({ node_id, hash, identity })));
  const note = (found: readonly { identity: string; task_id: number | null; status: string }[]): void => {
    for (const { identity, task_id, status } of found) {
      // Databases of older programs may hold the same task twice: the first of them is the task.
      if (task_id === null || (known.get(identity)?.task_id ?? Infinity) < task_id) continue;
      known.set(identity, { task_id, status, isKnown: true });
    }
  };
  const ours = yield {
    sql: `SELECT given.identity AS identity, t.id AS task_id, t.status AS status
            FROM ${given} LEFT JOIN task t ON t.identity = given.identity`,
    params: [text(rows)],
  };
  note(ours.rows as { identity: string; task_id: number | null; status: string }[]);
  const missing = rows.filter(({ identity }) => !known.has(identity));
  if (missing.length === 0) return known;
  const elder = yield {
    sql: `SELECT first.id AS id FROM \`array\` a
            JOIN task first ON first.id = (SELECT t.id FROM task t WHERE t.array_id = a.id ORDER BY t.id LIMIT 1)
           WHERE a.workflow_id = ? AND first.identity IS NULL LIMIT 1`,
    params: [workflow_id],
  };
  if (elder.rows.length === 0) return known;
  const theirs = yield {
    sql: `SELECT given.identity AS identity, t.id AS task_id, t.status AS status
            FROM ${given} LEFT JOIN task t ON t.node_id = given.node_id AND t.workflow_id = ? AND t.task_args_hash = given.hash`,
    params: [text(missing), workflow_id],
  };
  note(theirs.rows as { identity: string; task_id: number | null; status: string }[]);
  return known;
}

/** Lets the state machine reset what stood before and is not D, and gives those tasks the request's name, command and attempts. */
async function resetKnown(
  { database, sender }: Room,
  workflow_id: number,
  tasks: readonly GivenTask[],
  bound: readonly BoundTask[],
  call: Call,
): Promise<void> {
  for (const reset_if_running of [false, true]) {
    const positions = bound.flatMap(({ isKnown, status }, at) =>
      isKnown && status !== 'D' && tasks[at]!.reset_if_running === reset_if_running ? [at] : [],
    );
    for (let from = 0; from < positions.length; from += RESET_TASKS_MAX) {
      const piece = positions.slice(from, from + RESET_TASKS_MAX);
      const task_ids = [...new Set(piece.map((at) => bound[at]!.task_id))];
      const request = { workflow_id, task_ids, reset_if_running };
      const { statuses } = await sender.send(resetTasks, request, call.context);
      const standing = new Map(statuses);
      for (const at of piece) bound[at]!.status = standing.get(bound[at]!.task_id) ?? bound[at]!.status;
      const ready = piece.filter((at) => bound[at]!.status === 'G');
      for (const rows of piecesOf(
        database,
        ready.map((at) => ({ id: bound[at]!.task_id, ...described(tasks[at]!.row) })),
      )) {
        await database.write({ label: 'task.describe' }, () => describeAnew(database.dialect, workflow_id, rows));
      }
    }
  }
}

type Described = Pick<TaskRow, 'name' | 'command' | 'max_attempts'>;

const described = ({ name, command, max_attempts }: TaskRow): Described => ({ name, command, max_attempts });

/** Array, resources, scales and queues stay as they were bound first. */
function* describeAnew(
  dialect: Dialect,
  workflow_id: number,
  rows: readonly (Described & { readonly id: number })[],
): Procedure<void> {
  yield* lockWorkflow(dialect, workflow_id);
  if ((yield* driverOf(workflow_id)) !== undefined) return;
  yield updateRows(dialect, {
    table: 'task',
    given: { id: 'int', name: 'text', command: 'text', max_attempts: 'int' },
    rows: [...rows].sort((a, b) => a.id - b.id),
    set: { name: 'given.name', command: 'given.command', max_attempts: 'given.max_attempts' },
    where: `task.status IN ('G')`,
  });
}

/** Everything is bound: from now on the workflow may be linked. */
async function markCreated(database: Database, workflow_id: number): Promise<void> {
  const { dialect } = database;
  await database.write({ label: 'workflow.mark_created' }, function* (): Procedure<void> {
    yield* lockWorkflow(dialect, workflow_id);
    yield {
      sql: `UPDATE workflow SET created_date = COALESCE(created_date, ${dialect.now}) WHERE id = ?`,
      params: [workflow_id],
    };
  });
}
