/**
 * Larger resources for tasks that failed for lack of them (E53). What an attempt failed with is scaled by its task's own rule, so the
 * result depends on that attempt alone: a repeat, or two callers at one time, come to the same rows and nothing compounds (race 49).
 * Rows of resources never change: a result is found or made, and the task points to it.
 */
import type { increaseResources, ReplyOf, RequestOf } from '@jobmon/contracts';
import {
  canonicalJson,
  idList,
  idsOfResources,
  updateRows,
  valueOf,
  type Database,
  type Procedure,
  type ResourcesRow,
} from '@jobmon/entities';
import type { Room } from '../context';
import { lockWorkflow } from '../workflow';
import { requireRows } from './known';
import { isServerDriven } from './server-driven';

type Reply = ReplyOf<typeof increaseResources>;

/** Attempts looked at in one read. */
const PAGE_ROWS = 5_000;
/** Tasks of one transaction. */
const PIECE_TASKS = 1_000;

/** A task that is E or F, with the attempt of it that failed last. */
interface FailedTask {
  id: number;
  num_attempts: number;
  resource_scales: string | null;
  task_resources_id: number;
}

/** E53. */
export async function increase({ database }: Room, { workflow_id }: RequestOf<typeof increaseResources>): Promise<Reply> {
  await requireRows(database, 'workflow', [workflow_id]);
  const updated: number[] = [];
  for await (const tasks of failedTasks(database, workflow_id)) {
    const larger = await largerResources(database, tasks);
    for (let from = 0; from < larger.length; from += PIECE_TASKS) {
      const piece = larger.slice(from, from + PIECE_TASKS);
      if (!(await point(database, workflow_id, piece))) return { updated_task_count: 0, updated_task_ids: [] };
      updated.push(...piece.map(({ task_id }) => task_id));
    }
  }
  return { updated_task_count: updated.length, updated_task_ids: updated.sort((a, b) => a - b) };
}

/** From the attempts that ended Z, by the runs' index, to those of their tasks that had no attempt since. */
async function* failedTasks(database: Database, workflow_id: number): AsyncGenerator<FailedTask[]> {
  for (let after = 0, isFull = true; isFull;) {
    const attempts = await database.read<{ id: number }>(
      `SELECT ti.id AS id FROM workflow_run wr JOIN task_instance ti ON ti.workflow_run_id = wr.id AND ti.status = 'Z'
        WHERE wr.workflow_id = ? AND ti.id > ? ORDER BY ti.id LIMIT ${PAGE_ROWS}`,
      [workflow_id, after],
    );
    if (attempts.length === 0) return;
    const list = idList(attempts.map(({ id }) => id));
    // A LEFT join, because it fixes the order: from the attempts to their tasks, not from all tasks of the workflow.
    const found = await database.read<FailedTask | { id: null }>(
      `SELECT t.id AS id, t.num_attempts AS num_attempts, t.resource_scales AS resource_scales,
              ti.task_resources_id AS task_resources_id
         FROM task_instance ti${database.dialect.byPrimaryKey}
         LEFT JOIN task t ON t.id = ti.task_id AND t.workflow_id = ? AND t.status IN ('E', 'F')
        WHERE ti.id IN ${list.sql}
          AND NOT EXISTS (SELECT 1 FROM task_instance later WHERE later.task_id = ti.task_id AND later.id > ti.id)`,
      [workflow_id, ...list.params],
    );
    yield found.filter((row): row is FailedTask => row.id !== null);
    isFull = attempts.length === PAGE_ROWS;
    after = attempts[attempts.length - 1]!.id;
  }
}

interface Larger {
  readonly task_id: number;
  readonly row: ResourcesRow;
}

/** The tasks whose rule makes something of their resources larger, with the result. */
async function largerResources(database: Database, tasks: readonly FailedTask[]): Promise<Larger[]> {
  const list = idList([...new Set(tasks.map((task) => task.task_resources_id))]);
  const rows = await database.read<{ id: number; queue_id: number | null; requested_resources: string }>(
    `SELECT id, queue_id, requested_resources FROM task_resources WHERE id IN ${list.sql}`,
    list.params,
  );
  const stored = new Map(rows.map((row) => [row.id, row]));
  return tasks.flatMap(({ id, task_resources_id, resource_scales, num_attempts }) => {
    const base = stored.get(task_resources_id);
    const text = base && resource_scales !== null ? scaled(base.requested_resources, resource_scales, num_attempts) : undefined;
    return base === undefined || text === undefined ? [] : [{ task_id: id, row: { queue_id: base.queue_id, type: 'A', text } }];
  });
}

/**
 * Resources scaled by a task's rule, as canonical JSON; undefined when nothing of them changes. A number `s` makes `ceil(value * (1 +
 * s))`, a list gives the value for the attempt (its last one for all later attempts), and a name of a client's function means
 * nothing here (spec/state-machines.md section 4).
 */
export function scaled(requested: string, scales: string, num_attempts: number): string | undefined {
  const [resources, rules] = [membersOf(requested), membersOf(scales)];
  let isChanged = false;
  for (const [name, rule] of rules) {
    const value = resources.get(name);
    if (typeof value !== 'number') continue;
    const next = Array.isArray(rule)
      ? (rule as unknown[])[Math.min(Math.max(num_attempts, 1), rule.length) - 1]
      : typeof rule === 'number'
        ? Math.ceil(value * (1 + rule))
        : undefined;
    if (typeof next !== 'number' || !Number.isFinite(next) || next === value) continue;
    resources.set(name, next);
    isChanged = true;
  }
  return isChanged ? canonicalJson(Object.fromEntries(resources)) : undefined;
}

function membersOf(text: string): Map<string, unknown> {
  const value = valueOf(text);
  return new Map(typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : []);
}

/** Points tasks to larger resources. False, and nothing changed, while the server drives the workflow. */
function point(database: Database, workflow_id: number, piece: readonly Larger[]): Promise<boolean> {
  const { dialect } = database;
  return database.write({ label: 'workflow.increase_resources' }, function* (): Procedure<boolean> {
    yield* lockWorkflow(dialect, workflow_id);
    if (yield* isServerDriven(workflow_id)) return false;
    const ids = yield* idsOfResources(
      dialect,
      piece.map(({ row }) => row),
    );
    yield updateRows(dialect, {
      table: 'task',
      given: { id: 'int', task_resources_id: 'int' },
      rows: piece.map(({ task_id }, at) => ({ id: task_id, task_resources_id: ids[at] })),
      set: { task_resources_id: 'given.task_resources_id' },
      where: `task.status IN ('E', 'F')`,
    });
    return true;
  });
}
