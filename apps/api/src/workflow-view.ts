/** Workflows as views show them, and the stream of one workflow's progress. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import {
  JobmonError,
  taskChanged,
  workflowRunChanged,
  workflowRunMachine,
  type followWorkflow,
  type getWorkflow,
  type listWorkflows,
  type ReplyOf,
  type RequestOf,
  type WorkflowRunStatus,
  type WorkflowView,
} from '@jobmon/contracts';
import type { Database, SqlValue } from '@jobmon/entities';
import type { Call, Room } from './context';
import { countTasks, recount } from './task-count';

/** A follower's view is read at most this often, however much happens. */
const FOLLOW_INTERVAL_MS_MIN = 100;
/** A follower looks this often without being told anything: a lost event costs time only. */
const FOLLOW_INTERVAL_MS_MAX = 2_000;
/** A follower's tasks are counted when this many times the last count's duration have passed, and no more often than it looks. */
const COUNT_PAUSE = 20;

export async function findWorkflow({ database }: Room, { workflow_id }: RequestOf<typeof getWorkflow>): Promise<WorkflowView> {
  return readView(database, workflow_id, true);
}

/** One view; its counts from the tasks themselves, or the kept ones, which cost no more for a million tasks. */
async function readView(database: Database, workflow_id: number, isCounted: boolean): Promise<WorkflowView> {
  const [view] = await readViews(database, 'w.id = ?', [workflow_id], 1);
  if (view === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
  if (!isCounted) return view;
  const tasks = await countTasks(database, workflow_id);
  // Lists and streams show the kept counts; another program may have moved tasks beside them.
  if (!isDeepStrictEqual(tasks, view.tasks)) await recount(database, workflow_id);
  return { ...view, tasks };
}

export async function findWorkflows(
  { database }: Room,
  { before, limit, user }: RequestOf<typeof listWorkflows>,
): Promise<ReplyOf<typeof listWorkflows>> {
  const conditions = ['1 = 1'];
  const params: SqlValue[] = [];
  if (before !== undefined) {
    conditions.push('w.id < ?');
    params.push(before);
  }
  if (user !== undefined) {
    conditions.push('EXISTS (SELECT 1 FROM workflow_run u WHERE u.workflow_id = w.id AND u.user = ?)');
    params.push(user);
  }
  const workflows = await readViews(database, conditions.join(' AND '), params, limit);
  return { workflows, next: workflows.length < limit ? null : (workflows[limit - 1] as WorkflowView).workflow_id };
}

type ViewRow = Omit<WorkflowView, 'tasks'>;

async function readViews(
  database: Database,
  condition: string,
  params: readonly SqlValue[],
  limit: number,
): Promise<WorkflowView[]> {
  const rows = await database.read<ViewRow>(
    `SELECT w.id AS workflow_id, COALESCE(w.name, '') AS name, t.name AS tool, w.status AS status, w.created_date AS created_date,
            w.status_date AS status_date, w.max_concurrently_running AS max_concurrently_running,
            r.id AS workflow_run_id, r.status AS workflow_run_status, r.user AS user
       FROM workflow w
       LEFT JOIN tool_version v ON v.id = w.tool_version_id
       LEFT JOIN tool t ON t.id = v.tool_id
       LEFT JOIN workflow_run r ON r.id = (SELECT MAX(l.id) FROM workflow_run l WHERE l.workflow_id = w.id)
      WHERE ${condition} ORDER BY w.id DESC LIMIT ${limit}`,
    params,
  );
  if (rows.length === 0) return [];
  const counts = await database.read<{ workflow_id: number; status: string; n: number | string }>(
    `SELECT workflow_id, status, SUM(n) AS n FROM task_status_count
      WHERE workflow_id IN (${rows.map(() => '?').join(', ')}) GROUP BY workflow_id, status`,
    rows.map((row) => row.workflow_id),
  );
  return rows.map((row) => {
    const own = counts.filter((count) => count.workflow_id === row.workflow_id && Number(count.n) > 0);
    return { ...row, tasks: Object.fromEntries(own.map(({ status, n }) => [status, Number(n)])) };
  });
}

/** The view at once and after each change; ends when the newest run is final, when the caller hangs up, or on shutdown. */
export async function* follow(
  room: Room,
  { workflow_id }: RequestOf<typeof followWorkflow>,
  call: Call,
): AsyncGenerator<ReplyOf<typeof followWorkflow>, void, void> {
  const signal = call.signal();
  const news = new News();
  const onChange = (payload: { workflow_id: number }): void => {
    if (payload.workflow_id === workflow_id) news.tell();
  };
  const stops = [room.messenger.subscribe(taskChanged, onChange), room.messenger.subscribe(workflowRunChanged, onChange)];
  let shown = '';
  let countAt = 0;
  try {
    while (!signal.aborted) {
      news.forget();
      let workflow = await readView(room.database, workflow_id, false);
      const is_final =
        workflow.workflow_run_status !== null && workflowRunMachine.final.has(workflow.workflow_run_status as WorkflowRunStatus);
      const began = performance.now();
      if (is_final || began >= countAt) {
        workflow = await readView(room.database, workflow_id, true);
        countAt = performance.now() + Math.max(FOLLOW_INTERVAL_MS_MAX, COUNT_PAUSE * (performance.now() - began));
      }
      const text = JSON.stringify(workflow);
      if (text !== shown || is_final) yield { workflow, is_final };
      if (is_final) return;
      shown = text;
      await news.wait(FOLLOW_INTERVAL_MS_MAX, signal);
      // Whatever comes in this pause is read together.
      await sleep(FOLLOW_INTERVAL_MS_MIN, undefined, { signal }).catch(() => undefined);
    }
  } finally {
    for (const stop of stops) stop();
  }
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
