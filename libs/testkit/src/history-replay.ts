/**
 * What a database's history tells afterwards: how many attempts of a workflow and of each array stood in given states at one
 * moment at most, and when tasks started. The rows are replayed in the order in which they were written, so the answer holds for
 * every instant and not only for those at which somebody looked.
 *
 * The order is exact on SQLite, where rows are numbered as they are committed. On MariaDB it is that of the rows' time in
 * microseconds: an attempt's end is stamped before its commit, and whoever counts attempts in order to start another one counts
 * after that commit and stamps later still, so by these times no two attempts overlap of which one made room for the other.
 */
import { LIVE_TASK_INSTANCE_STATUSES } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';

/** The most at one moment, and the first moment at which it was so many: `YYYY-MM-DD HH:MM:SS.ffffff`, UTC. */
export interface Overlap {
  readonly most: number;
  readonly at: string;
}

export interface Overlaps {
  /** By workflow_id. */
  readonly workflows: ReadonlyMap<number, Overlap>;
  /** By array_id. */
  readonly arrays: ReadonlyMap<number, Overlap>;
}

type Readable = Pick<Database, 'dialect' | 'read'>;

/** Attempts of one page: their rows are found by the primary key, and no page is sorted by the database. */
const PAGE_INSTANCES = 5_000;

interface Step {
  readonly place: number | string;
  readonly at: string;
  readonly is_entry: boolean;
  readonly workflow_id: number;
  readonly array_id: number;
}

/**
 * The highest overlap of attempts that stand in one of `statuses`, of every workflow and array that ever had one. By default the
 * states that count against a limit: from queued to the end.
 */
export async function highestOverlaps(
  database: Readable,
  statuses: readonly string[] = LIVE_TASK_INSTANCE_STATUSES,
): Promise<Overlaps> {
  const steps = await stepsBetween(database, statuses);
  // At the same microsecond what ends is first: it made the room.
  steps.sort((a, b) => (a.place < b.place ? -1 : a.place > b.place ? 1 : Number(a.is_entry) - Number(b.is_entry)));
  const workflows = new Tally();
  const arrays = new Tally();
  for (const step of steps) {
    workflows.count(step.workflow_id, step);
    arrays.count(step.array_id, step);
  }
  return { workflows: workflows.highest, arrays: arrays.highest };
}

/** When each task of a workflow first started to run, by its name, in milliseconds since 1970 by the database's clock. */
export async function startTimes(database: Readable, workflow_id: number): Promise<Map<string, number>> {
  const rows = await database.read<{ name: string; date: string; microsecond: number }>(
    `SELECT t.name AS name, h.date AS date, h.microsecond AS microsecond FROM task t
       JOIN task_instance ti ON ti.task_id = t.id
       JOIN task_instance_history h ON h.task_instance_id = ti.id
      WHERE t.workflow_id = ? AND h.to_status = 'R' ORDER BY h.date, h.microsecond`,
    [workflow_id],
  );
  const times = new Map<string, number>();
  for (const { name, date, microsecond } of rows) {
    if (!times.has(name)) times.set(name, Date.parse(`${date.replace(' ', 'T')}Z`) + microsecond / 1_000);
  }
  return times;
}

class Tally {
  private readonly now = new Map<number, number>();
  readonly highest = new Map<number, Overlap>();

  count(id: number, { is_entry, at }: Step): void {
    const n = (this.now.get(id) ?? 0) + (is_entry ? 1 : -1);
    this.now.set(id, n);
    if (n > (this.highest.get(id)?.most ?? 0)) this.highest.set(id, { most: n, at });
  }
}

/** The rows by which an attempt enters the states or leaves them. */
async function stepsBetween(database: Readable, statuses: readonly string[]): Promise<Step[]> {
  const letters = statuses.map((status) => `'${status}'`).join(', ');
  const was = `COALESCE(h.from_status, '') IN (${letters})`;
  const is = `h.to_status IN (${letters})`;
  const { dialect } = database;
  const number = dialect.name === 'sqlite' ? 'h.rowid' : '0';
  const [last] = await database.read<{ id: number | null }>('SELECT MAX(task_instance_id) AS id FROM task_instance_history');
  const steps: Step[] = [];
  for (let after = 0; after < (last?.id ?? 0); after += PAGE_INSTANCES) {
    const rows = await database.read<{
      number: number;
      date: string;
      microsecond: number;
      is_entry: number;
      workflow_id: number;
      array_id: number;
    }>(
      `SELECT ${number} AS number, h.date AS date, h.microsecond AS microsecond, ${is} AS is_entry, wr.workflow_id AS workflow_id, ti.array_id AS array_id
         FROM task_instance_history h JOIN task_instance ti ON ti.id = h.task_instance_id JOIN workflow_run wr ON wr.id = ti.workflow_run_id
        WHERE h.task_instance_id > ? AND h.task_instance_id <= ? AND (${was}) <> (${is})`,
      [after, after + PAGE_INSTANCES],
    );
    for (const { number: place, date, microsecond, is_entry, workflow_id, array_id } of rows) {
      const at = `${date}.${String(microsecond).padStart(6, '0')}`;
      steps.push({ place: dialect.name === 'sqlite' ? place : at, at, is_entry: Number(is_entry) === 1, workflow_id, array_id });
    }
  }
  return steps;
}
