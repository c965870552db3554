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
import type { Database, Procedure, StatementResult } from '@jobmon/entities';
import { checkText } from '../column-limit';
import type { Room } from '../context';
import type { Register } from '../handlers';
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

/** E37. */
async function findVersions(
  { database }: Room,
  { tool_id }: RequestOf<typeof listToolVersions>,
): Promise<ReplyOf<typeof listToolVersions>> {
  const rows = await database.read<{ id: number }>('SELECT id FROM tool_version WHERE tool_id = ? ORDER BY id', [tool_id]);
  return { tool_versions: rows.map(({ id }) => [id, tool_id]) };
}

/** E39. */
async function makeVersion(
  { database }: Room,
  { tool_id }: RequestOf<typeof addToolVersion>,
): Promise<ReplyOf<typeof addToolVersion>> {
  const made = await database.write({ label: 'tool_version.add' }, function* (): Procedure<StatementResult> {
    return yield { sql: 'INSERT INTO tool_version (tool_id) SELECT id FROM tool WHERE id = ?', params: [tool_id] };
  });
  if (made.affected === 0) throw new JobmonError('NOT_FOUND', `there is no tool ${tool_id}`);
  return { tool_version: [made.insert_id, tool_id] };
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
