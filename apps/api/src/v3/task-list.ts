/** Long lists of a workflow's tasks: C20 and C27. Their ids come from an index alone, their rows in pages. */
import {
  ID_MAX,
  JobmonError,
  type getWorkflowTasks,
  type listTemplateTasks,
  type ReplyOf,
  type RequestOf,
  type TaskStatus,
} from '@jobmon/contracts';
import type { Database, SqlValue } from '@jobmon/entities';
import type { Call, Room } from '../context';
import { frameString } from './frame';
import { BAR_LABELS, LABEL_OF_TASK_STATUS, requireCaller, statusesUnder, type BarLabel } from './task-bar';
import { hasStrays } from './task-range';

/** Rows read by one statement (design, section 4). */
const PAGE_ROWS = 5_000;

const TASK_COLUMNS = ['TASK_ID', 'TASK_NAME', 'STATUS', 'RETRIES'];
const FRAME_ROW = 'task.id AS TASK_ID, task.name AS TASK_NAME, task.status AS STATUS, task.num_attempts AS RETRIES';
const TABLE_ROW = `task.id AS task_id, task.name AS task_name, task.status AS task_status, task.command AS task_command,
  task.num_attempts AS task_num_attempts, task.status_date AS task_status_date, task.max_attempts AS task_max_attempts`;

type FrameRow = { TASK_ID: number; TASK_NAME: string; STATUS: string; RETRIES: number };
type TableRow = ReplyOf<typeof listTemplateTasks>['tasks'][number];

export async function findTasksOfWorkflow(
  { database }: Room,
  { workflow_id, limit, status }: RequestOf<typeof getWorkflowTasks>,
  call: Call,
): Promise<ReplyOf<typeof getWorkflowTasks>> {
  const statuses = statusesOf(status);
  await requireWorkflow(database, workflow_id);
  const ids = await idsOf(database, { workflow_id, statuses, order: 'DESC', limit: limit === 0 ? ID_MAX : limit });
  const rows = await rowsOf<FrameRow>(database, call, ids, FRAME_ROW, 'DESC');
  for (const row of rows) {
    row.STATUS = labelOf(row.STATUS);
    row.RETRIES = Math.max(0, row.RETRIES - 1);
  }
  return { workflow_tasks: frameString(TASK_COLUMNS, rows) };
}

export async function findTasksOfTemplate(
  { database }: Room,
  { workflow_id, tt_name, task_template_id, status, sort, order, limit, cursor }: RequestOf<typeof listTemplateTasks>,
  call: Call,
): Promise<ReplyOf<typeof listTemplateTasks>> {
  if (tt_name === undefined && task_template_id === undefined) {
    const faults = [{ type: 'missing', loc: ['query', 'tt_name'], msg: 'give tt_name or task_template_id', input: null }];
    throw new JobmonError('UNPROCESSABLE', 'tt_name: give it or task_template_id', { faults });
  }
  const statuses = statusesOf(status);
  await requireWorkflow(database, workflow_id);
  const isById = sort === 'task_id';
  const wanted: Wanted = {
    workflow_id,
    statuses,
    by: SORTED_BY[sort],
    order: order === 'asc' ? 'ASC' : 'DESC',
    limit: limit + 1,
    ...(isById ? { after: cursor } : { skip: cursor }),
  };
  const ids = await idsOfTemplate(database, wanted, { tt_name, task_template_id });
  const shown = ids.slice(0, limit);
  const tasks = await rowsOf<TableRow>(database, call, shown, TABLE_ROW, 'ASC');
  for (const row of tasks) row.task_status = labelOf(row.task_status);
  if (!isById || order === 'desc') {
    const place = new Map(shown.map((id, at) => [id, at]));
    tasks.sort((a, b) => place.get(a.task_id)! - place.get(b.task_id)!);
  }
  const last = isById ? shown.at(-1)! : (cursor ?? 0) + limit;
  return { tasks, next: ids.length > limit ? last : null };
}

/** Columns that stand in the index, so that an order costs no look at the tasks themselves. */
const SORTED_BY = { task_id: 'id', task_status_date: 'status_date', task_num_attempts: 'num_attempts' } as const;

async function requireWorkflow(database: Database, workflow_id: number): Promise<void> {
  const [workflow] = await database.read('SELECT id FROM workflow WHERE id = ?', [workflow_id]);
  if (workflow === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
}

/** The letters under the labels asked for; undefined: all. */
function statusesOf(labels: readonly string[] | undefined): TaskStatus[] | undefined {
  const words = (labels ?? []).filter((word) => word !== '');
  if (words.length === 0) return undefined;
  const isLabel = (word: string): word is BarLabel => (BAR_LABELS as readonly string[]).includes(word);
  return words.flatMap((word) => {
    const label = word.toUpperCase();
    if (isLabel(label)) return statusesUnder(label);
    throw new JobmonError('MALFORMED', `status: '${word}' is not one of ${BAR_LABELS.join(', ')}`);
  });
}

/** A letter that no machine knows shows as it is counted. */
function labelOf(status: string): BarLabel {
  return LABEL_OF_TASK_STATUS[status as TaskStatus] ?? 'PENDING';
}

/** A template, by name or by id or both. */
interface Template {
  readonly tt_name?: string;
  readonly task_template_id?: number;
}

/** True for the template `t`. */
function conditionOf({ tt_name, task_template_id }: Template): { where: string; params: SqlValue[] } {
  const parts: [string, SqlValue][] = [];
  if (tt_name !== undefined) parts.push(['t.name = ?', tt_name]);
  if (task_template_id !== undefined) parts.push(['t.id = ?', task_template_id]);
  return { where: parts.map(([part]) => part).join(' AND '), params: parts.map(([, value]) => value) };
}

interface Wanted {
  readonly workflow_id: number;
  /** All when absent. */
  readonly statuses?: readonly TaskStatus[];
  /** `id` when absent; among equals by id. */
  readonly by?: (typeof SORTED_BY)[keyof typeof SORTED_BY];
  readonly order: 'ASC' | 'DESC';
  readonly limit: number;
  /** Only ids beyond it. */
  readonly after?: number;
  /** Tasks left out at the beginning. */
  readonly skip?: number;
}

/** Ids in their order, from the index in which all that is asked for stands (docs/schema.md): 100,000 in 0.1 s. */
async function idsOf(database: Database, wanted: Wanted, owner = '', owners: readonly SqlValue[] = []): Promise<number[]> {
  const { workflow_id, statuses, by = 'id', order, limit, after, skip = 0 } = wanted;
  const params: SqlValue[] = [workflow_id, ...owners];
  let where = `k.workflow_id = ?${owner}`;
  if (statuses !== undefined) {
    where += ` AND k.status IN (${statuses.map(() => '?').join(', ')})`;
    params.push(...statuses);
  }
  if (after !== undefined) {
    where += ` AND k.id ${order === 'ASC' ? '>' : '<'} ?`;
    params.push(after);
  }
  const rows = await database.read<{ id: number }>(
    `SELECT k.id AS id FROM task k WHERE ${where} ORDER BY ${by === 'id' ? '' : `k.${by} ${order}, `}k.id ${order} LIMIT ${limit} OFFSET ${skip}`,
    params,
  );
  return rows.map(({ id }) => id);
}

/** As `idsOf`, of one template: the tasks of its arrays, and those that older programs left without an array, by their nodes. */
async function idsOfTemplate(database: Database, wanted: Wanted, template: Template): Promise<number[]> {
  const { where, params } = conditionOf(template);
  const arrays = await database.read<{ id: number }>(
    `SELECT a.id AS id FROM array a JOIN task_template_version v ON v.id = a.task_template_version_id
       JOIN task_template t ON t.id = v.task_template_id WHERE a.workflow_id = ? AND ${where}`,
    [wanted.workflow_id, ...params],
  );
  const array_ids = arrays.map(({ id }) => id);
  const ofArrays = array_ids.length === 0 ? '1 = 0' : `k.array_id IN (${array_ids.map(() => '?').join(', ')})`;
  if (!(await hasStrays(database, wanted.workflow_id))) return idsOf(database, wanted, ` AND ${ofArrays}`, array_ids);
  const byNode = `SELECT 1 FROM node n JOIN task_template_version v ON v.id = n.task_template_version_id
    JOIN task_template t ON t.id = v.task_template_id WHERE n.id = k.node_id`;
  const owner = ` AND (${ofArrays} OR (k.array_id IS NULL AND EXISTS (${byNode} AND ${where})))`;
  return idsOf(database, wanted, owner, [...array_ids, ...params]);
}

/** The rows of these tasks, read in pages and made once: there may be a hundred thousand of them. */
async function rowsOf<Row>(
  database: Database,
  call: Call,
  ids: readonly number[],
  columns: string,
  order: Wanted['order'],
): Promise<Row[]> {
  const { jsonRows, joinInOrder } = database.dialect;
  const rows: Row[] = [];
  for (let from = 0; from < ids.length; from += PAGE_ROWS) {
    requireCaller(call);
    const page = await database.read<Row>(
      `SELECT ${columns} FROM ${jsonRows('given', { id: 'int' })} ${joinInOrder} task ON task.id = given.id ORDER BY task.id ${order}`,
      [JSON.stringify(ids.slice(from, from + PAGE_ROWS).map((id) => ({ id })))],
    );
    rows.push(...page);
  }
  return rows;
}
