/**
 * Log records as they are asked for. An index leads to those of a task, of a workflow or of each level, the primary key to those of a time; what else is asked is
 * looked for within these, a bounded number of rows at a time, so that a word that stands nowhere costs no more than one that stands everywhere: the
 * page ends early, and its `next` tells from where to go on.
 */
import {
  JobmonError,
  LOG_LEVELS,
  logRecordIdAt,
  timeOfMoment,
  timeTextOf,
  type listArrivedLogRecords,
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
type Ids = Pick<Request, 'workflow_id' | 'workflow_run_id' | 'task_id' | 'task_instance_id'>;

interface Condition {
  readonly sql: string;
  readonly params: readonly SqlValue[];
}

/** @throws JobmonError NOT_FOUND: there is no such workflow, run, task or attempt. */
export async function findRecords(place: Place, request: Request): Promise<ReplyOf<typeof listLogRecords>> {
  const { records } = place;
  const arrival = await lastArrival(records);
  const { scope, others, isAll } = await scopeOf(place.database, request);
  const isAlongLevels = isAll && request.level !== 'trace';
  const { from, before: end } = rangeOf(request);
  const isNewestFirst = request.order === 'newest';
  const found = await lookAlong(records, {
    key: 'id',
    isDescending: isNewestFirst,
    begin: isNewestFirst ? end : from,
    scope: and(scope, isNewestFirst ? after(from) : before(end)),
    ...(isAlongLevels ? { levels: levelsFrom(request.level) } : {}),
    filters: [...others, ...(isAlongLevels ? [] : levelFilter(request)), ...filtersOf(request)],
    limit: request.limit,
  });
  return { records: found.records, next: found.at as string | null, arrival };
}

/** The records that came behind a place, in the order in which they came. @throws as `findRecords`. */
export async function findArrived(
  place: Place,
  request: RequestOf<typeof listArrivedLogRecords>,
): Promise<ReplyOf<typeof listArrivedLogRecords>> {
  const { records } = place;
  // Whatever has a number up to this one is committed: read before the records are.
  const last = await lastArrival(records);
  const { scope, others } = await scopeOf(place.database, request, 'arrival');
  const { since, after: behind } = request;
  if (behind === undefined) return { records: [], arrival: last, has_more: false };
  const found = await lookAlong(records, {
    key: 'arrival',
    isDescending: false,
    // A place that was never reached is of a store that is gone: the records were begun anew.
    begin: behind > last ? 0 : behind,
    scope: and(scope, { sql: 'arrival <= ?', params: [last] }),
    filters: [
      ...others,
      ...levelFilter(request),
      ...filtersOf(request),
      ...(since === undefined ? [] : [after(logRecordIdAt(timeOfMoment(since)))]),
    ],
    limit: request.limit,
  });
  return { records: found.records, arrival: (found.at as number | null) ?? last, has_more: found.at !== null };
}

async function lastArrival(records: Database): Promise<number> {
  const [row] = await records.read<{ arrival: number }>('SELECT arrival FROM log_arrival WHERE id = 1');
  return row?.arrival ?? 0;
}

/** How to go along the table. */
interface Way {
  /** The column that gives the order. */
  readonly key: 'id' | 'arrival';
  readonly isDescending: boolean;
  /** Only what stands behind it. */
  readonly begin: string | number;
  readonly scope: Condition;
  /** The levels to go along, each by the index of levels and ids; undefined: along the table. */
  readonly levels?: readonly number[];
  readonly filters: readonly Condition[];
  readonly limit: number;
}

/** A page, and the place up to which was looked; null when all was. */
async function lookAlong(records: Database, way: Way): Promise<{ records: LogRecord[]; at: string | number | null }> {
  const { key, begin, scope, filters, limit } = way;
  const [beyond, upTo] = way.isDescending ? ['<', '>='] : ['>', '<='];
  const placeOf = (record: LogRecord | undefined) => (key === 'id' ? record?.record_id : record?.arrival) ?? null;
  const found: LogRecord[] = [];
  let at = begin;
  const began = performance.now();
  while (found.length < limit) {
    const ahead = and(scope, { sql: `${key} ${beyond} ?`, params: [at] });
    const step = filters.length === 0 ? undefined : await stepEnd(records, way, ahead);
    const within = and(ahead, ...filters, ...(step === undefined ? [] : [{ sql: `${key} ${upTo} ?`, params: [step] }]));
    const rows = await readRows(records, way, within, limit - found.length);
    let chars = found.length === 0 ? 0 : JSON.stringify(found).length;
    for (const row of rows) {
      const record = recordOf(row);
      chars += JSON.stringify(record).length + 1;
      if (found.length > 0 && chars > PAGE_CHARS_MAX) return { records: found, at: placeOf(found.at(-1)) };
      found.push(record);
    }
    if (found.length >= limit) break;
    if (step === undefined) return { records: found, at: null };
    at = step;
    if (performance.now() - began > LOOK_MS_MAX) return { records: found, at: step };
  }
  return { records: found, at: placeOf(found.at(-1)) };
}

/** The last row that one step looks at; undefined when fewer are left. Read from the index alone. */
async function stepEnd(records: Database, way: Way, ahead: Condition): Promise<string | number | undefined> {
  const { sql, params } = placesAlong(records, way, ahead, { limit: 1, offset: STEP_ROWS - 1 });
  const [row] = await records.read<{ place: string | number }>(sql, params);
  return row?.place;
}

async function readRows(records: Database, way: Way, within: Condition, limit: number): Promise<Row[]> {
  const { key, levels } = way;
  const direction = directionOf(way);
  if (levels === undefined) {
    const sql = `SELECT ${COLUMNS} FROM log_record WHERE ${within.sql} ORDER BY ${key} ${direction} LIMIT ${limit}`;
    return records.read<Row>(sql, within.params);
  }
  const { sql, params } = placesAlong(records, way, within, { limit, offset: 0 });
  return records.read<Row>(
    `SELECT ${COLUMNS} FROM (${sql}) AS found ${records.dialect.joinInOrder} log_record ON id = place ORDER BY id ${direction}`,
    params,
  );
}

/** The places of what fits, in their order. Of each level no more is read than would be answered if it stood alone. */
function placesAlong(
  { dialect }: Database,
  way: Way,
  where: Condition,
  { limit, offset }: { limit: number; offset: number },
): Condition {
  const { key, levels } = way;
  const direction = directionOf(way);
  const page = `LIMIT ${limit} OFFSET ${offset}`;
  if (levels === undefined) {
    const sql = `SELECT ${key} AS place FROM log_record WHERE ${where.sql} ORDER BY ${key} ${direction} ${page}`;
    return { sql, params: where.params };
  }
  const ofLevel =
    `SELECT * FROM (SELECT ${key} AS place FROM log_record${BY_LEVEL[dialect.name]} WHERE level = ? AND ${where.sql} ` +
    `ORDER BY ${key} ${direction} LIMIT ${limit + offset}) AS one_level`;
  return {
    sql: `${levels.map(() => ofLevel).join(' UNION ALL ')} ORDER BY place ${direction} ${page}`,
    params: levels.flatMap((level) => [level, ...where.params]),
  };
}

const directionOf = ({ isDescending }: Way): string => (isDescending ? 'DESC' : 'ASC');
/** The optimizer of either database may think that rows of a level are found as soon along the table. */
const BY_LEVEL = { sqlite: ' INDEXED BY ix_log_record_level', mariadb: ' FORCE INDEX (ix_log_record_level)' } as const;

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
  /** No id was given that an index leads to. */
  readonly isAll: boolean;
}

async function scopeOf(database: Database, request: Ids, order: Way['key'] = 'id'): Promise<Scope> {
  let { workflow_id, task_id } = request;
  for (const [name, table, column] of PARENTS) {
    const id = request[name];
    if (id === undefined) continue;
    const [row] = await database.read<{ parent: number }>(`SELECT ${column} AS parent FROM ${table} WHERE id = ?`, [id]);
    if (row === undefined) throw new JobmonError('NOT_FOUND', `there is no ${WORDS[name]} ${id}`);
    if (name === 'task_instance_id') task_id ??= row.parent;
    if (name === 'workflow_run_id') workflow_id ??= row.parent;
  }
  // In the order of arrival its own index leads to the records.
  const by =
    order === 'arrival' ? undefined : task_id !== undefined ? 'task_id' : workflow_id !== undefined ? 'workflow_id' : undefined;
  const others = PARENTS.flatMap(([name]): Condition[] => {
    const id = request[name];
    // Not as an index would have it, so that none but the chosen one is taken.
    return id === undefined || name === by ? [] : [{ sql: `0 + ${name} = ?`, params: [id] }];
  });
  if (by === undefined) return { scope: { sql: '1 = 1', params: [] }, others, isAll: true };
  const scope = { sql: `${by} = ?`, params: [(by === 'task_id' ? task_id : workflow_id) as number] };
  return { scope, others, isAll: false };
}

const PARENTS = [
  ['task_instance_id', 'task_instance', 'task_id'],
  ['task_id', 'task', 'workflow_id'],
  ['workflow_run_id', 'workflow_run', 'workflow_id'],
  ['workflow_id', 'workflow', 'id'],
] as const;
const WORDS = { task_instance_id: 'attempt', task_id: 'task', workflow_run_id: 'run', workflow_id: 'workflow' } as const;

const levelFilter = ({ level }: Pick<Request, 'level'>): Condition[] =>
  level === 'trace' ? [] : [{ sql: 'level >= ?', params: [LOG_LEVELS[level]] }];
const levelsFrom = (level: LogLevel): number[] => Object.values(LOG_LEVELS).filter((number) => number >= LOG_LEVELS[level]);

function filtersOf({ service, text }: Pick<Request, 'service' | 'text'>): Condition[] {
  const filters: Condition[] = [];
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
  'id, level, service, instance, request_id, workflow_id, workflow_run_id, task_id, task_instance_id, trace_id, text, detail, arrival';
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
