/**
 * Log records as they are asked for. An index leads to those of a task or of a workflow, the primary key to those of a time; what else is asked is
 * looked for within these, a bounded number of rows at a time, so that a word that stands nowhere costs no more than one that stands everywhere: the
 * page ends early, and its `next` tells from where to go on.
 */
import {
  JobmonError,
  LOG_LEVELS,
  logRecordIdAt,
  timeOfMoment,
  timeTextOf,
  type listLogRecords,
  type LogLevel,
  type LogRecord,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import type { Database, SqlValue } from '@jobmon/entities';

/** Rows looked through in one statement, where not every row fits. */
const STEP_ROWS = 20_000;
/** A page ends when looking has taken so long. */
const LOOK_MS_MAX = 1_000;
/** Characters of a page as JSON: with its envelope, and each three bytes long, it is below what the bus carries. */
const PAGE_CHARS_MAX = 160 * 1024;

export interface Place {
  /** Where the records are. */
  readonly records: Database;
  /** Where tasks and workflows are. */
  readonly database: Database;
}

type Request = RequestOf<typeof listLogRecords>;

interface Condition {
  readonly sql: string;
  readonly params: readonly SqlValue[];
}

/** @throws JobmonError NOT_FOUND: there is no such workflow, run, task or attempt. */
export async function findRecords(place: Place, request: Request): Promise<ReplyOf<typeof listLogRecords>> {
  const { records } = place;
  const { scope, others } = await scopeOf(place.database, request);
  const filters = [...others, ...filtersOf(request)];
  const isNewestFirst = request.order === 'newest';
  const direction = isNewestFirst ? 'DESC' : 'ASC';
  const [beyond, upTo] = isNewestFirst ? ['<', '>='] : ['>', '<='];
  const range = rangeOf(request);

  const found: LogRecord[] = [];
  let at = isNewestFirst ? range.before : range.from;
  const began = performance.now();
  while (found.length < request.limit) {
    const ahead = and(scope, { sql: `id ${beyond} ?`, params: [at] }, isNewestFirst ? after(range.from) : before(range.before));
    const step = filters.length === 0 ? undefined : await stepEnd(records, ahead, direction);
    const within = and(ahead, ...filters, ...(step === undefined ? [] : [{ sql: `id ${upTo} ?`, params: [step] }]));
    const rows = await records.read<Row>(
      `SELECT ${COLUMNS} FROM log_record WHERE ${within.sql} ORDER BY id ${direction} LIMIT ${request.limit - found.length}`,
      within.params,
    );
    let chars = found.length === 0 ? 0 : JSON.stringify(found).length;
    for (const row of rows) {
      const record = recordOf(row);
      chars += JSON.stringify(record).length + 1;
      if (found.length > 0 && chars > PAGE_CHARS_MAX) return { records: found, next: found.at(-1)!.record_id };
      found.push(record);
    }
    if (found.length >= request.limit) break;
    if (step === undefined) return { records: found, next: null };
    at = step;
    if (performance.now() - began > LOOK_MS_MAX) return { records: found, next: step };
  }
  return { records: found, next: found.at(-1)?.record_id ?? null };
}

/** The last row that one step looks at; undefined when fewer are left. Read from the index alone. */
async function stepEnd(records: Database, ahead: Condition, direction: string): Promise<string | undefined> {
  const [row] = await records.read<{ id: string }>(
    `SELECT id FROM log_record WHERE ${ahead.sql} ORDER BY id ${direction} LIMIT 1 OFFSET ${STEP_ROWS - 1}`,
    ahead.params,
  );
  return row?.id;
}

const and = (...conditions: readonly Condition[]): Condition => ({
  sql: conditions.map(({ sql }) => sql).join(' AND '),
  params: conditions.flatMap(({ params }) => params),
});
const after = (id: string): Condition => ({ sql: 'id > ?', params: [id] });
const before = (id: string): Condition => ({ sql: 'id < ?', params: [id] });

/** The places between which all records stand that are asked for, the place behind which the page begins among them. */
function rangeOf({ since, until, after: last, order }: Request): { from: string; before: string } {
  const from = since === undefined ? '' : logRecordIdAt(timeOfMoment(since));
  const end = until === undefined ? '~' : logRecordIdAt(timeOfMoment(until));
  if (last === undefined) return { from, before: end };
  return order === 'newest' ? { from, before: last < end ? last : end } : { from: last > from ? last : from, before: end };
}

/** What an index leads to: the most special of the ids that were given chooses it, the others are looked for among its rows. */
interface Scope {
  readonly scope: Condition;
  readonly others: readonly Condition[];
}

async function scopeOf(database: Database, request: Request): Promise<Scope> {
  let { workflow_id, task_id } = request;
  for (const [name, table, column] of PARENTS) {
    const id = request[name];
    if (id === undefined) continue;
    const [row] = await database.read<{ parent: number }>(`SELECT ${column} AS parent FROM ${table} WHERE id = ?`, [id]);
    if (row === undefined) throw new JobmonError('NOT_FOUND', `there is no ${WORDS[name]} ${id}`);
    if (name === 'task_instance_id') task_id ??= row.parent;
    if (name === 'workflow_run_id') workflow_id ??= row.parent;
  }
  const by = task_id !== undefined ? 'task_id' : workflow_id !== undefined ? 'workflow_id' : undefined;
  const others = PARENTS.flatMap(([name]): Condition[] => {
    const id = request[name];
    // Not as an index would have it, so that none but the chosen one is taken.
    return id === undefined || name === by ? [] : [{ sql: `0 + ${name} = ?`, params: [id] }];
  });
  if (by === undefined) return { scope: { sql: '1 = 1', params: [] }, others };
  return { scope: { sql: `${by} = ?`, params: [(by === 'task_id' ? task_id : workflow_id) as number] }, others };
}

const PARENTS = [
  ['task_instance_id', 'task_instance', 'task_id'],
  ['task_id', 'task', 'workflow_id'],
  ['workflow_run_id', 'workflow_run', 'workflow_id'],
  ['workflow_id', 'workflow', 'id'],
] as const;
const WORDS = { task_instance_id: 'attempt', task_id: 'task', workflow_run_id: 'run', workflow_id: 'workflow' } as const;

function filtersOf({ level, service, text }: Request): Condition[] {
  const filters: Condition[] = [];
  if (level !== 'trace') filters.push({ sql: 'level >= ?', params: [LOG_LEVELS[level]] });
  if (service !== undefined) filters.push({ sql: 'service = ?', params: [service] });
  if (text !== undefined) {
    const pattern = `%${text.replace(/[!%_]/g, '!$&').replace(/[A-Z]/g, (letter) => letter.toLowerCase())}%`;
    const holds = (column: string): string => `LOWER(${column}) LIKE LOWER(?) ESCAPE '!'`;
    filters.push({ sql: `(${holds('text')} OR ${holds('detail')})`, params: [pattern, pattern] });
  }
  return filters;
}

type Row = Omit<LogRecord, 'record_id' | 'time' | 'level' | 'detail'> & { id: string; level: number; detail: string };

const COLUMNS =
  'id, level, service, instance, request_id, workflow_id, workflow_run_id, task_id, task_instance_id, trace_id, text, detail';
const LEVEL_OF = new Map(Object.entries(LOG_LEVELS).map(([name, number]) => [number as number, name as LogLevel]));

function recordOf({ id, level, detail, ...rest }: Row): LogRecord {
  return {
    record_id: id,
    time: timeTextOf(id),
    level: LEVEL_OF.get(level) ?? 'info',
    ...rest,
    detail: JSON.parse(detail) as Record<string, unknown>,
  };
}
