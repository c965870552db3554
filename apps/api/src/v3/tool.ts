/** Tools and their versions: E36 to E40. */
import {
  addToolVersion,
  bindTool,
  JobmonError,
  listTemplatesOfToolVersion,
  listToolResourceUsage,
  listToolVersions,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import type { Database, Dialect, Procedure } from '@jobmon/entities';
import { checkText } from '../column-limit';
import type { Register, Room } from '../context';
import { findOrInsert, rowNamed } from '../named-row';

export function registerTool(answer: Register): void {
  answer(bindTool, findOrMakeTool);
  answer(listToolVersions, findVersions);
  answer(addToolVersion, makeVersion);
  answer(listTemplatesOfToolVersion, findTemplates);
  answer(listToolResourceUsage, findUsage);
}

/** E36. */
async function findOrMakeTool({ database }: Room, { name }: RequestOf<typeof bindTool>): Promise<ReplyOf<typeof bindTool>> {
  checkText('name', name);
  const rows = await findOrInsert<{ id: number; name: string }>(
    database,
    'tool.bind',
    { sql: 'SELECT id, name FROM tool WHERE name = ?', params: [name] },
    { sql: `${database.dialect.insertIgnore} INTO tool (name) VALUES (?)`, params: [name] },
  );
  const tool = rowNamed(rows, name) as { id: number; name: string };
  return { tool: [tool.id, tool.name] };
}

/**
 * Scripts that start at one time find a new tool without versions, all of them, and each then asks for one. Were each given its own, they
 * would run as different workflows. So whoever is told here that there is none is counted, and so many requests for a version that
 * follow (E39) are answered by one. Nothing in a request tells one caller from another, hence the number. It stands in the
 * database, since the next request may reach another process; it is written for a tool without versions only: once or twice in its life.
 */
const ASKS_WITHIN_SECONDS = 60;

/** E37. */
async function findVersions(
  { database }: Room,
  { tool_id }: RequestOf<typeof listToolVersions>,
): Promise<ReplyOf<typeof listToolVersions>> {
  const versions = { sql: 'SELECT id FROM tool_version WHERE tool_id = ? ORDER BY id', params: [tool_id] };
  const answer = (rows: readonly { id: number }[]): ReplyOf<typeof listToolVersions> => ({
    tool_versions: rows.map(({ id }) => [id, tool_id]),
  });
  const standing = await database.read<{ id: number }>(versions.sql, versions.params);
  if (standing.length > 0) return answer(standing);
  const { dialect } = database;
  return database.write({ label: 'tool_version.none' }, function* (): Procedure<ReplyOf<typeof listToolVersions>> {
    if (!(yield* lockTool(dialect, tool_id))) return answer([]);
    const { rows } = yield versions;
    if (rows.length === 0) {
      const callers = `callers = CASE WHEN told_date >= ${dialect.nowPlusSeconds} THEN callers + 1 ELSE 1 END`;
      const again = dialect.onDuplicate(['tool_id'], `${callers}, told_date = ${dialect.now}`);
      yield {
        sql: `INSERT INTO tool_first_version (tool_id, callers, told_date) VALUES (?, 1, ${dialect.now}) ${again}`,
        params: [tool_id, -ASKS_WITHIN_SECONDS],
      };
    }
    return answer(rows);
  });
}

/** E39. */
async function makeVersion(
  { database }: Room,
  { tool_id }: RequestOf<typeof addToolVersion>,
): Promise<ReplyOf<typeof addToolVersion>> {
  const { dialect } = database;
  return database.write({ label: 'tool_version.add' }, function* (): Procedure<ReplyOf<typeof addToolVersion>> {
    if (!(yield* lockTool(dialect, tool_id))) throw new JobmonError('NOT_FOUND', `there is no tool ${tool_id}`);
    const isCounted = yield* countDown(dialect, tool_id);
    const { rows } = yield { sql: 'SELECT MIN(id) AS id FROM tool_version WHERE tool_id = ?', params: [tool_id] };
    const first = (rows[0] as { id: number | null }).id;
    if (isCounted && first !== null) return { tool_version: [first, tool_id] };
    const { insert_id } = yield { sql: 'INSERT INTO tool_version (tool_id) VALUES (?)', params: [tool_id] };
    return { tool_version: [insert_id, tool_id] };
  });
}

/** Whether the tool exists; its row is locked then. */
function* lockTool(dialect: Dialect, tool_id: number): Procedure<boolean> {
  const { rows } = yield { sql: `SELECT id FROM tool WHERE id = ?${dialect.forUpdate}`, params: [tool_id] };
  return rows.length > 0;
}

/** Whether a request for a version comes from one of those who were told that there is none; there is one of them less then. */
function* countDown(dialect: Dialect, tool_id: number): Procedure<boolean> {
  const { rows } = yield {
    sql: `SELECT callers, told_date >= ${dialect.nowPlusSeconds} AS is_recent FROM tool_first_version WHERE tool_id = ?`,
    params: [-ASKS_WITHIN_SECONDS, tool_id],
  };
  const [told] = rows as { callers: number; is_recent: number }[];
  if (told === undefined) return false;
  const isLast = told.callers === 1 || told.is_recent === 0;
  yield {
    sql: isLast
      ? 'DELETE FROM tool_first_version WHERE tool_id = ?'
      : 'UPDATE tool_first_version SET callers = callers - 1 WHERE tool_id = ?',
    params: [tool_id],
  };
  return told.is_recent === 1;
}

/** E40. */
async function findTemplates(
  { database }: Room,
  { tool_version_id }: RequestOf<typeof listTemplatesOfToolVersion>,
): Promise<ReplyOf<typeof listTemplatesOfToolVersion>> {
  const rows = await database.read<{ id: number | null; name: string }>(
    `SELECT t.id AS id, t.name AS name FROM tool_version v LEFT JOIN task_template t ON t.tool_version_id = v.id
      WHERE v.id = ? ORDER BY t.id`,
    [tool_version_id],
  );
  if (rows.length === 0) throw new JobmonError('NOT_FOUND', `there is no tool version ${tool_version_id}`);
  return { task_templates: rows.flatMap(({ id, name }) => (id === null ? [] : [[id, tool_version_id, name]])) };
}

/** Days that may be asked for at one time. */
const DAYS_MAX = 7;
const DAY_MS = 24 * 60 * 60 * 1_000;
/** Tasks of one page. */
const PAGE_TASKS = 1_000;
/** Rows of one answer, some 200 bytes each. */
const USAGE_ROWS_MAX = 200_000;

type Usage = ReplyOf<typeof listToolResourceUsage>['usage'][number];

/** E38. */
async function findUsage(
  { database }: Room,
  { tool_name, start_date, end_date }: RequestOf<typeof listToolResourceUsage>,
): Promise<ReplyOf<typeof listToolResourceUsage>> {
  const [start, end] = [dayOf('start_date', start_date), dayOf('end_date', end_date)];
  if (Math.abs(end - start) > DAYS_MAX * DAY_MS) throw refused(`start_date and end_date may be at most ${DAYS_MAX} days apart`);
  const arrays = await database.read<{ id: number }>(
    `SELECT a.id AS id FROM tool JOIN tool_version v ON v.tool_id = tool.id JOIN workflow w ON w.tool_version_id = v.id
       JOIN array a ON a.workflow_id = w.id
      WHERE tool.name = ? AND w.created_date >= ? AND w.created_date < ? ORDER BY a.id`,
    [tool_name, dateText(start), dateText(end + DAY_MS)],
  );
  const usage: Usage[] = [];
  for (const { id } of arrays) {
    for await (const page of usageOfArray(database, id)) {
      usage.push(...page);
      if (usage.length > USAGE_ROWS_MAX) throw refused(`these days hold more than ${USAGE_ROWS_MAX} values: ask for fewer days`);
    }
  }
  return { usage };
}

/** Begin of a day, in milliseconds. */
function dayOf(field: string, text: string | undefined): number {
  if (text === undefined) throw refused(`${field} is missing`);
  const at = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  if (Number.isNaN(at) || dateText(at).slice(0, 10) !== text) throw refused(`${field} is no day of the form YYYY-MM-DD`);
  return at;
}

function dateText(at: number): string {
  return new Date(at).toISOString().slice(0, 19).replace('T', ' ');
}

function refused(sentence: string): JobmonError {
  return new JobmonError('MALFORMED', sentence, { is_bare: true });
}

/** By the index of array_id, which ends in the primary key: each page begins where the last one ended. */
async function* usageOfArray(database: Database, array_id: number): AsyncGenerator<Usage[]> {
  for (let after = 0; ;) {
    const rows = await database.read<Usage & { task_id: number }>(
      `SELECT t.id AS task_id, ti.id AS ti_id, ti.wallclock AS ti_wallclock, ti.maxrss AS ti_maxrss, na.val AS node_arg_val,
              r.requested_resources AS ti_requested_resources
         FROM (SELECT id, node_id FROM task WHERE array_id = ? AND id > ? AND status = 'D' ORDER BY id LIMIT ${PAGE_TASKS}) AS t
         LEFT JOIN task_instance ti ON ti.task_id = t.id AND ti.status = 'D'
         LEFT JOIN task_resources r ON r.id = ti.task_resources_id
         LEFT JOIN node_arg na ON na.node_id = t.node_id ORDER BY t.id, ti.id, na.arg_id`,
      [array_id, after],
    );
    yield rows.flatMap(({ task_id: _, ...row }) =>
      row.ti_requested_resources === null || row.node_arg_val === null ? [] : [row],
    );
    const last = rows.at(-1);
    if (last === undefined) return;
    after = last.task_id;
  }
}
