/**
 * Bars: the tasks of a workflow under the five labels that command line and screens show, counted from the tasks as they stand, since other
 * programs change them too. One index holds all that is counted: 100,000 tasks take 0.05 s (docs/schema.md).
 */
import { JobmonError, type TaskStatus } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import type { Call } from '../context';

export const BAR_LABELS = ['PENDING', 'SCHEDULED', 'RUNNING', 'DONE', 'FATAL'] as const;
export type BarLabel = (typeof BAR_LABELS)[number];

/** The one mapping for every answer, so that the bar of a workflow is the sum of its templates' bars (spec/http-api-inspection.md section 1.2). */
export const LABEL_OF_TASK_STATUS: Readonly<Record<TaskStatus, BarLabel>> = {
  G: 'PENDING',
  Q: 'PENDING',
  I: 'PENDING',
  O: 'SCHEDULED',
  R: 'RUNNING',
  D: 'DONE',
  F: 'FATAL',
  E: 'PENDING',
  A: 'PENDING',
};

/** The letters under a label. */
export function statusesUnder(label: BarLabel): TaskStatus[] {
  return (Object.keys(LABEL_OF_TASK_STATUS) as TaskStatus[]).filter((status) => LABEL_OF_TASK_STATUS[status] === label);
}

/** The five labels add up to `tasks`. */
export type TaskBar = Readonly<Record<BarLabel, number>> & {
  readonly tasks: number;
  readonly attempts_min: number;
  readonly attempts_max: number;
  readonly attempts_sum: number;
  /** Attempts beyond the first of each task, all together. */
  readonly retries: number;
};

export const EMPTY_BAR: TaskBar = {
  PENDING: 0,
  SCHEDULED: 0,
  RUNNING: 0,
  DONE: 0,
  FATAL: 0,
  tasks: 0,
  attempts_min: 0,
  attempts_max: 0,
  attempts_sum: 0,
  retries: 0,
};

/** Workflows counted by one statement. On SQLite, where it costs nothing more, each has its own, since a read stops the event loop. */
const WORKFLOWS_AT_ONCE = { mariadb: 20, sqlite: 1 } as const;

/**
 * The bar of each workflow that has tasks, and how many tasks there are. Stops early once more than `tasks_max` were counted: then the last of
 * `workflow_ids` are missing, and `counted` tells how many were looked at. Nothing is counted for a caller that is gone: UNAVAILABLE.
 */
export async function countBars(
  database: Database,
  call: Call,
  workflow_ids: readonly number[],
  tasks_max = Infinity,
): Promise<{ bars: Map<number, TaskBar>; counted: number; tasks: number }> {
  const bars = new Map<number, TaskBar>();
  const step = WORKFLOWS_AT_ONCE[database.dialect.name];
  let tasks = 0;
  let counted = 0;
  while (counted < workflow_ids.length && tasks <= tasks_max) {
    requireCaller(call);
    const some = workflow_ids.slice(counted, counted + step);
    counted += some.length;
    const rows = await database.read<Record<string, number | string>>(
      `SELECT workflow_id, COUNT(*) AS tasks, MIN(num_attempts) AS attempts_min, MAX(num_attempts) AS attempts_max,
              SUM(num_attempts) AS attempts_sum, SUM(CASE WHEN num_attempts > 1 THEN num_attempts - 1 ELSE 0 END) AS retries,
              ${['SCHEDULED', 'RUNNING', 'DONE', 'FATAL'].map((label) => sumUnder(label as BarLabel)).join(', ')}
         FROM task WHERE workflow_id IN (${some.map(() => '?').join(', ')}) GROUP BY workflow_id`,
      some,
    );
    for (const row of rows) {
      const number = (name: string): number => Number(row[name]);
      const bar = Object.fromEntries(Object.keys(EMPTY_BAR).map((name) => [name, number(name)])) as unknown as TaskBar;
      // Whatever letter another program wrote, the five add up.
      const PENDING = bar.tasks - bar.SCHEDULED - bar.RUNNING - bar.DONE - bar.FATAL;
      bars.set(number('workflow_id'), { ...bar, PENDING });
      tasks += bar.tasks;
    }
  }
  return { bars, counted, tasks };
}

/** Throws when the caller hung up: many who ask again and again must not leave their questions behind. */
export function requireCaller(call: Call): void {
  if (call.signal().aborted) throw new JobmonError('UNAVAILABLE', 'the caller hung up, or the server is closing');
}

function sumUnder(label: BarLabel): string {
  const letters = statusesUnder(label).map((status) => `'${status}'`);
  return `SUM(CASE WHEN status IN (${letters.join(', ')}) THEN 1 ELSE 0 END) AS ${label}`;
}
