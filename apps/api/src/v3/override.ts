/** What people ask before they change something: C19, C21, C22. */
import {
  validateTasks,
  validateUsername,
  validateWorkflowReset,
  JobmonError,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import { idList, type Database } from '@jobmon/entities';
import type { Register, Room } from '../context';

export function registerOverride(answer: Register): void {
  answer(validateTasks, answerValidateTasks);
  answer(validateUsername, answerValidateUsername);
  answer(validateWorkflowReset, answerValidateWorkflowReset);
}

/** Ids looked up in one statement. */
const PIECE = 5_000;

/** C19. */
async function answerValidateTasks(
  { database }: Room,
  { task_ids }: RequestOf<typeof validateTasks>,
): Promise<ReplyOf<typeof validateTasks>> {
  if (task_ids.length === 0) return { validation: true, workflow_status: null };
  const found = new Map<number, string>();
  for (let from = 0; from < task_ids.length; from += PIECE) {
    const list = idList(task_ids.slice(from, from + PIECE));
    const rows = await database.read<{ id: number; status: string }>(
      `SELECT w.id AS id, w.status AS status FROM workflow AS w
        WHERE w.id IN (SELECT t.workflow_id FROM task AS t WHERE t.id IN ${list.sql})`,
      list.params,
    );
    for (const { id, status } of rows) found.set(id, status);
  }
  const [status] = found.values();
  if (found.size !== 1 || status === undefined) return { validation: false, workflow_status: null };
  return { validation: ['F', 'D', 'A', 'H'].includes(status), workflow_status: status };
}

/** C21. */
async function answerValidateUsername(
  { database }: Room,
  { workflow_id, username }: RequestOf<typeof validateUsername>,
): Promise<ReplyOf<typeof validateUsername>> {
  await checkWorkflow(database, workflow_id);
  const runs = await database.read('SELECT 1 AS found FROM workflow_run WHERE workflow_id = ? AND `user` = ? LIMIT 1', [
    workflow_id,
    username,
  ]);
  return { validation: runs.length > 0 };
}

/** C22: the newest run of all counts, so that a live one refuses. */
async function answerValidateWorkflowReset(
  { database }: Room,
  { workflow_id, username }: RequestOf<typeof validateWorkflowReset>,
): Promise<ReplyOf<typeof validateWorkflowReset>> {
  await checkWorkflow(database, workflow_id);
  const [newest] = await database.read<{ id: number; user: string | null; status: string }>(
    "SELECT id, `user`, status FROM workflow_run WHERE workflow_id = ? AND status <> 'G' ORDER BY id DESC LIMIT 1",
    [workflow_id],
  );
  const mayReset = newest !== undefined && newest.user === username && ['E', 'S', 'T', 'A'].includes(newest.status);
  return { workflow_run_id: mayReset ? newest.id : null };
}

/** @throws JobmonError NOT_FOUND */
async function checkWorkflow(database: Database, workflow_id: number): Promise<void> {
  const rows = await database.read('SELECT 1 AS found FROM workflow WHERE id = ?', [workflow_id]);
  if (rows.length === 0) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
}
