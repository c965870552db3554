/** Arrays: bound by clients (E1), and moved batch by batch (E2 to E5). */
import { bindArray, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import type { Procedure } from '@jobmon/entities';
import { checkText } from '../column-limit';
import type { Register, Room } from '../context';
import { lockWorkflow } from '../workflow';
import { requireRows } from './known';
import { isServerDriven } from './server-driven';

export function registerArray(answer: Register): void {
  answer(bindArray, findOrMakeArray);
}

/** E1. Under the workflow's lock, so that of many callers at one time one makes the row. */
async function findOrMakeArray({ database }: Room, request: RequestOf<typeof bindArray>): Promise<ReplyOf<typeof bindArray>> {
  const { workflow_id, task_template_version_id, max_concurrently_running } = request;
  checkText('name', request.name);
  await requireRows(database, 'task_template_version', [task_template_version_id]);
  return database.write({ label: 'array.bind' }, function* (): Procedure<ReplyOf<typeof bindArray>> {
    const { dialect } = database;
    yield* lockWorkflow(dialect, workflow_id);
    const { rows } = yield {
      sql: `SELECT id, max_concurrently_running AS standing FROM \`array\`
             WHERE task_template_version_id = ? AND workflow_id = ?${dialect.forUpdate}`,
      params: [task_template_version_id, workflow_id],
    };
    const [known] = rows as { id: number; standing: number }[];
    if (known === undefined) {
      const made = yield {
        sql: `INSERT INTO \`array\` (name, task_template_version_id, workflow_id, max_concurrently_running, created_date)
              VALUES (?, ?, ?, ?, ${dialect.now})`,
        params: [request.name, task_template_version_id, workflow_id, max_concurrently_running],
      };
      return { array_id: made.insert_id };
    }
    if (known.standing !== max_concurrently_running && !(yield* isServerDriven(workflow_id))) {
      yield {
        sql: 'UPDATE `array` SET max_concurrently_running = ? WHERE id = ?',
        params: [max_concurrently_running, known.id],
      };
    }
    return { array_id: known.id };
  });
}
