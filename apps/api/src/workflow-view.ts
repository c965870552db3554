/** Workflows as views show them: one, many, and the runs of one. */
import { isDeepStrictEqual } from 'node:util';
import {
  JobmonError,
  type getWorkflow,
  type listWorkflowRuns,
  type listWorkflows,
  type ReplyOf,
  type RequestOf,
  type WorkflowDetails,
  type WorkflowView,
} from '@jobmon/contracts';
import type { Database, SqlValue } from '@jobmon/entities';
import type { Room } from './context';
import { countTasks, recount, totalsOf, type TaskCount } from './task-count';
import { requireWorkflow } from './v3/workflow-template';
import { findHistory } from './workflow-control';
import { inStatuses, named, ofTools, ofUsers, withAttribute, type Condition } from './workflow-filter';

export async function findWorkflow(room: Room, { workflow_id }: RequestOf<typeof getWorkflow>): Promise<WorkflowDetails> {
  const { database } = room;
  const { view, counts } = await readCountedView(database, workflow_id);
  const [row] = await database.read<{ description: string; workflow_args: string; runs: number }>(
    `SELECT COALESCE(w.description, '') AS description, COALESCE(w.workflow_args, '') AS workflow_args,
            (SELECT COUNT(*) FROM workflow_run r WHERE r.workflow_id = w.id) AS runs FROM workflow w WHERE w.id = ?`,
    [workflow_id],
  );
  const attributes = await database.read<{ name: string; value: string | null }>(
    `SELECT y.name AS name, a.value AS value FROM workflow_attribute a
       JOIN workflow_attribute_type y ON y.id = a.workflow_attribute_type_id WHERE a.workflow_id = ? ORDER BY y.name`,
    [workflow_id],
  );
  const { events } = await findHistory(room, { workflow_id, limit: 1 });
  return {
    ...view,
    description: row?.description ?? '',
    workflow_args: row?.workflow_args ?? '',
    attributes: Object.fromEntries(attributes.map(({ name, value }) => [name, value])),
    retries: counts.reduce((sum, { retries }) => sum + retries, 0),
    runs: Number(row?.runs ?? 0),
    last_event: events[0] ?? null,
  };
}

/**
 * One view with the kept counts, which cost no more for a million tasks.
 *
 * @throws JobmonError NOT_FOUND
 */
export async function readView(database: Database, workflow_id: number): Promise<WorkflowView> {
  const [view] = await readViews(database, [{ where: 'w.id = ?', params: [workflow_id] }], 1);
  if (view === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
  return view;
}

/** One view with its tasks counted as they stand. */
export async function readCountedView(
  database: Database,
  workflow_id: number,
): Promise<{ view: WorkflowView; counts: TaskCount[] }> {
  const view = await readView(database, workflow_id);
  const counts = await countTasks(database, workflow_id);
  const tasks = totalsOf(counts);
  // Lists and streams show the kept counts; another program may have moved tasks beside them.
  if (!isDeepStrictEqual(tasks, view.tasks)) await recount(database, workflow_id);
  return { view: { ...view, tasks }, counts };
}

export async function findWorkflows(
  { database }: Room,
  request: RequestOf<typeof listWorkflows>,
): Promise<ReplyOf<typeof listWorkflows>> {
  const { before, limit, user, tool, name, status, attribute, since, until } = request;
  const conditions: Condition[] = [
    ...(before === undefined ? [] : [{ where: 'w.id < ?', params: [before] }]),
    ...(user.length === 0 ? [] : [ofUsers(user)]),
    ...(tool.length === 0 ? [] : [ofTools(tool)]),
    ...(name.length === 0 ? [] : [named(name)]),
    ...(status.length === 0 ? [] : [inStatuses(status)]),
    ...attribute.map((wanted) => {
      const at = wanted.indexOf('=');
      return at === -1 ? withAttribute(wanted, undefined) : withAttribute(wanted.slice(0, at), wanted.slice(at + 1));
    }),
    ...(since === undefined ? [] : [{ where: 'w.created_date >= ?', params: [since] }]),
    ...(until === undefined ? [] : [{ where: 'w.created_date < ?', params: [until] }]),
  ];
  const workflows = await readViews(database, conditions, limit);
  return { workflows, next: workflows.length < limit ? null : (workflows[limit - 1] as WorkflowView).workflow_id };
}

type ViewRow = Omit<WorkflowView, 'tasks' | 'is_paused'> & { is_paused: number };

async function readViews(database: Database, conditions: readonly Condition[], limit: number): Promise<WorkflowView[]> {
  const rows = await database.read<ViewRow>(
    `SELECT w.id AS workflow_id, COALESCE(w.name, '') AS name, t.name AS tool, w.status AS status, w.created_date AS created_date,
            w.status_date AS status_date, w.max_concurrently_running AS max_concurrently_running,
            COALESCE(w.priority, 0) AS priority, r.id AS workflow_run_id, r.status AS workflow_run_status,
            COALESCE(r.is_paused, 0) AS is_paused, r.user AS user
       FROM workflow w
       LEFT JOIN tool_version v ON v.id = w.tool_version_id
       LEFT JOIN tool t ON t.id = v.tool_id
       LEFT JOIN workflow_run r ON r.id = (SELECT MAX(l.id) FROM workflow_run l WHERE l.workflow_id = w.id)
      WHERE ${['1 = 1', ...conditions.map(({ where }) => where)].join(' AND ')} ORDER BY w.id DESC LIMIT ${limit}`,
    conditions.flatMap(({ params }): readonly SqlValue[] => params),
  );
  if (rows.length === 0) return [];
  const counts = await database.read<{ workflow_id: number; status: string; n: number | string }>(
    `SELECT workflow_id, status, SUM(n) AS n FROM task_status_count
      WHERE workflow_id IN (${rows.map(() => '?').join(', ')}) GROUP BY workflow_id, status`,
    rows.map((row) => row.workflow_id),
  );
  return rows.map((row) => {
    const own = counts.filter((count) => count.workflow_id === row.workflow_id && Number(count.n) > 0);
    const tasks = Object.fromEntries(own.map(({ status, n }) => [status, Number(n)]));
    return { ...row, is_paused: row.is_paused === 1, tasks };
  });
}

type RunRow = Omit<ReplyOf<typeof listWorkflowRuns>['runs'][number], 'is_paused'> & { is_paused: number };

export async function findRuns(
  { database }: Room,
  { workflow_id, before, limit }: RequestOf<typeof listWorkflowRuns>,
): Promise<ReplyOf<typeof listWorkflowRuns>> {
  await requireWorkflow(database, workflow_id);
  const rows = await database.read<RunRow>(
    `SELECT id AS workflow_run_id, status, COALESCE(driver, 'client') AS driver, COALESCE(is_paused, 0) AS is_paused, user,
            created_date, status_date, jobmon_version AS client_version, working_directory
       FROM workflow_run WHERE workflow_id = ? ${before === undefined ? '' : 'AND id < ?'} ORDER BY id DESC LIMIT ${limit + 1}`,
    before === undefined ? [workflow_id] : [workflow_id, before],
  );
  const runs = rows.slice(0, limit).map((row) => ({ ...row, is_paused: row.is_paused === 1 }));
  return { runs, next: rows.length > limit ? runs[limit - 1]!.workflow_run_id : null };
}

/** Whether something was heard since it was last forgotten. One waiter at a time. */
export class News {
  private isHeard = false;
  private wake: (() => void) | undefined;

  tell(): void {
    this.isHeard = true;
    this.wake?.();
  }

  forget(): void {
    this.isHeard = false;
  }

  /** Resolves when something is heard (at once if it was already), when the time is over, or when the signal is aborted. */
  wait(ms: number, signal: AbortSignal): Promise<void> {
    if (this.isHeard || signal.aborted || ms <= 0) return Promise.resolve();
    return new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', finish);
        this.wake = undefined;
        resolve();
      };
      const timer = setTimeout(finish, ms);
      signal.addEventListener('abort', finish, { once: true });
      this.wake = finish;
    });
  }
}
