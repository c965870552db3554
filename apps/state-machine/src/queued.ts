/**
 * What waits for an agent: queued attempts of runs for the clusters that it has room on. Reading them costs what the lease may take and the
 * kinds of attempts in the line, never the length of the line: a hundred thousand that wait for another cluster are one step.
 */
import type { ClusterRoom } from '@jobmon/contracts';
import { idList, type Dialect, type Procedure, type SqlValue } from '@jobmon/entities';
import { ascending } from './transition';

/** Most instances in one lease: more than one agent can start at once, and still one short transaction. */
export const LEASE_ROWS_MAX = 500;

/** An attempt that heads its run's line and has been queued for so long is passed over no more, see `turns.ts`. */
const OVERDUE_SECONDS = 60;

/** Least attempts of a run that are read together, so that a line of many kinds is not read one by one for an agent with little room. */
const PAGE_ROWS_MIN = 16;

/** A queued attempt with what it asks for. */
export interface Candidate extends Resources {
  readonly id: number;
  readonly task_id: number;
  readonly workflow_run_id: number;
  readonly is_overdue: number;
}

interface Resources {
  readonly cluster: string;
  /** JSON; rows of other programs hold any text. */
  readonly requested_resources: string;
}

/** A place in a run's line, in the order of the index (array_id, task_resources_id, id). */
interface Place {
  readonly array_id: number;
  readonly task_resources_id: number;
  readonly id: number;
}

interface QueuedRow extends Place {
  readonly task_id: number;
  readonly workflow_run_id: number;
  readonly is_overdue: number;
}

const START: Place = { array_id: 0, task_resources_id: 0, id: 0 };

/** Behind every attempt of a kind: ids of rows are below it on both databases. */
const LAST_ID = Number.MAX_SAFE_INTEGER;

/**
 * Queued attempts of these runs for the wanted clusters; of each run at most `count_max`, in the order of the index: arrays as they were bound,
 * within an array those that ask for the same together, the oldest first. `isLeft` says of what asks for the same that this agent leaves it to
 * others; it counts as for another cluster. A page of each line is read at a time; where it ends among attempts that are not for this agent the
 * next one begins behind all of their kind. Two statements when the heads of the lines are wanted, one more for each kind to pass.
 */
export function* queuedInstances(
  dialect: Dialect,
  runs: readonly { readonly id: number }[],
  wanted: ReadonlyMap<string, ClusterRoom>,
  count_max: number,
  isLeft: (candidate: Candidate) => Procedure<boolean>,
): Procedure<Candidate[]> {
  const limit = Math.min(count_max, LEASE_ROWS_MAX);
  const resources = new Map<number, Resources>();
  const found = new Map<number, Candidate[]>(runs.map(({ id }) => [id, []]));
  let lines = runs.map(({ id }) => ({ run: id, after: START }));
  for (let size = Math.max(limit, PAGE_ROWS_MIN); lines.length > 0; size = Math.min(size * 2, LEASE_ROWS_MAX)) {
    const rows = yield* pages(dialect, lines, size);
    yield* learnResources(resources, rows);
    const next: typeof lines = [];
    for (const { run } of lines) {
      const page = rows.filter(({ workflow_run_id }) => workflow_run_id === run);
      const taken = found.get(run) as Candidate[];
      let isForThis = false;
      for (const row of page) {
        const asked = resources.get(row.task_resources_id);
        const candidate = asked === undefined ? undefined : { ...row, ...asked };
        isForThis = candidate !== undefined && wanted.has(candidate.cluster) && !(yield* isLeft(candidate));
        if (isForThis && taken.length < limit) taken.push(candidate as Candidate);
      }
      const last = page.at(-1);
      if (last === undefined || page.length < size || taken.length >= limit) continue;
      next.push({ run, after: isForThis ? last : { ...last, id: LAST_ID } });
    }
    lines = next;
  }
  return [...found.values()].flat();
}

/** The next attempts of each line, in its order. */
function* pages(
  dialect: Dialect,
  lines: readonly { readonly run: number; readonly after: Place }[],
  size: number,
): Procedure<QueuedRow[]> {
  // Each database jumps to a place by one of the two only; by the other it reads what lies before.
  const isBehind =
    dialect.name === 'sqlite'
      ? '(ti.array_id, ti.task_resources_id, ti.id) > (?, ?, ?)'
      : '(ti.array_id > ? OR ti.array_id = ? AND ti.task_resources_id > ? OR ti.array_id = ? AND ti.task_resources_id = ? AND ti.id > ?)';
  const place = ({ array_id: array, task_resources_id: kind, id }: Place): SqlValue[] =>
    dialect.name === 'sqlite' ? [array, kind, id] : [array, array, kind, array, kind, id];
  const page =
    'SELECT ti.id, ti.task_id, ti.workflow_run_id, ti.array_id, ti.task_resources_id, ' +
    `ti.status_date <= ${dialect.nowPlusSeconds} AS is_overdue FROM task_instance AS ti ` +
    `WHERE ti.workflow_run_id = ? AND ti.status = 'Q' AND ${isBehind} ORDER BY ti.array_id, ti.task_resources_id, ti.id LIMIT ?`;
  const read = yield {
    sql: lines.map((_, at) => `SELECT * FROM (${page}) AS line_${at}`).join(' UNION ALL '),
    params: lines.flatMap(({ run, after }) => [-OVERDUE_SECONDS, run, ...place(after), size]),
  };
  const rows = read.rows as QueuedRow[];
  return rows.sort((a, b) => a.array_id - b.array_id || a.task_resources_id - b.task_resources_id || a.id - b.id);
}

/** Adds what rows ask for that is not known yet: few rows of resources serve many attempts. */
function* learnResources(known: Map<number, Resources>, rows: readonly QueuedRow[]): Procedure<void> {
  const unknown = new Set(rows.map(({ task_resources_id }) => task_resources_id).filter((id) => !known.has(id)));
  if (unknown.size === 0) return;
  const list = idList(ascending([...unknown]));
  const read = yield {
    sql:
      'SELECT tr.id, c.name AS cluster, tr.requested_resources FROM task_resources AS tr ' +
      `JOIN queue AS q ON q.id = tr.queue_id JOIN cluster AS c ON c.id = q.cluster_id WHERE tr.id IN ${list.sql}`,
    params: list.params,
  };
  for (const { id, ...asked } of read.rows as (Resources & { id: number })[]) known.set(id, asked);
}
