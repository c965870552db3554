/**
 * What stands in a database before anything is measured: a workflow whose tasks and attempts can be named, and as many log records as asked for,
 * spread over days, tasks and workflows. The records are made inside the database, so that filling takes minutes and not hours.
 */
import { logRecordId } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { insertWorkflow, type InsertedWorkflow } from '@jobmon/testkit';

/** Records of each task. */
export const TASK_RECORDS = 40;
/** Tasks and attempts that are rows; the others are numbers in log records alone. */
const TASKS_MAX = 1_000;
/** Rows of one statement; they have one millisecond. */
const PIECE = 1_000;
const DAYS = 20;
const DAY_MS = 86_400_000;
/** Of a random word that only one record of so many holds. */
const RARE = 1_000;

export type Made = Pick<InsertedWorkflow, 'workflow_id' | 'workflow_run_id' | 'task_ids' | 'task_instance_ids'>;

export async function insertTasks(database: Database): Promise<Made> {
  return insertWorkflow(database, { tasks: TASKS_MAX, instance_status: 'E' });
}

/** Fills the table of records up; answers how many seconds it took. */
export async function fill(records: Database, { workflow_id, task_ids }: Made, count: number): Promise<number> {
  const began = performance.now();
  const { dialect } = records;
  const tasks = Math.ceil(count / TASK_RECORDS);
  const first_ms = Date.now() - DAYS * DAY_MS;
  const numbers = JSON.stringify(Array.from({ length: PIECE }, (_, n) => ({ n })));
  const text = (...parts: string[]): string => (dialect.name === 'sqlite' ? parts.join(' || ') : `CONCAT(${parts.join(', ')})`);
  const padded = dialect.name === 'sqlite' ? `printf('%06d', n)` : `LPAD(n, 6, '0')`;
  for (let at = 0; at < count; at += PIECE) {
    const time_ms = first_ms + (at / count) * DAYS * DAY_MS;
    const task = `(? + (n + ?) % ${tasks})`;
    const why = text(
      `'{"status":"ERROR","why":"exit code 3 on node'`,
      'n % 100',
      `': no room for output '`,
      `n % ${RARE}`,
      `'"}'`,
    );
    const sql = `INSERT INTO log_record (id, date, level, service, instance, request_id, workflow_id, workflow_run_id, task_id, task_instance_id,
        trace_id, text, detail)
      SELECT ${text('?', padded)}, ?, CASE WHEN n % 10 = 0 THEN 50 ELSE 40 END, 'state-machine', 'state-machine-1', ${text(`'r-'`, 'n')},
             ? + n % 20, ? + n % 20, ${task}, ${task}, NULL, 'an attempt failed', ${why}
        FROM ${dialect.jsonRows('given', { n: 'int' })} WHERE n < ?`;
    const head = logRecordId(time_ms, 'F111111111', 0).slice(0, 20);
    const date = new Date(time_ms).toISOString().slice(0, 19).replace('T', ' ');
    const params = [
      head,
      date,
      workflow_id,
      workflow_id,
      task_ids[0]!,
      at,
      task_ids[0]!,
      at,
      numbers,
      Math.min(PIECE, count - at),
    ];
    await records.write({ label: 'bench.fill' }, function* () {
      yield { sql, params };
    });
  }
  return (performance.now() - began) / 1_000;
}
