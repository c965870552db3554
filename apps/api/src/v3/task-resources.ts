/** Requested resources: E16 and E35. */
import { bindTaskResources, getTaskResources, JobmonError, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import { canonicalJson, valueOf, type Procedure, type StatementResult } from '@jobmon/entities';
import { checkText } from '../column-limit';
import type { Register, Room } from '../context';

export function registerTaskResources(answer: Register): void {
  answer(bindTaskResources, makeResources);
  answer(getTaskResources, findResources);
}

/** E16. Without an identity, which makes rows of v4 one: these are never looked for. */
async function makeResources(
  { database }: Room,
  { queue_id, task_resources_type_id, requested_resources }: RequestOf<typeof bindTaskResources>,
): Promise<ReplyOf<typeof bindTaskResources>> {
  const text = canonicalJson(requested_resources);
  checkText('requested_resources', text);
  const made = await database.write({ label: 'task_resources.bind' }, function* (): Procedure<StatementResult> {
    return yield {
      sql: `INSERT INTO task_resources (queue_id, task_resources_type_id, requested_resources, identity)
            SELECT id, ?, ?, NULL FROM queue WHERE id = ?`,
      params: [task_resources_type_id, text, queue_id],
    };
  });
  if (made.affected === 0) throw new JobmonError('NOT_FOUND', `there is no queue ${queue_id}`);
  return { task_resources_id: made.insert_id };
}

/** E35. Rows hold JSON; those of elder programs may hold Python's notation. */
async function findResources(
  { database }: Room,
  { task_resources_id }: RequestOf<typeof getTaskResources>,
): Promise<ReplyOf<typeof getTaskResources>> {
  const [row] = await database.read<{ requested: string; queue: string | null }>(
    `SELECT r.requested_resources AS requested, q.name AS queue FROM task_resources r LEFT JOIN queue q ON q.id = r.queue_id
      WHERE r.id = ?`,
    [task_resources_id],
  );
  if (row === undefined) return { requested_resources: null, queue_name: null };
  return { requested_resources: valueOf(row.requested) ?? null, queue_name: row.queue };
}
