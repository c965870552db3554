/** The list of workflows that screens begin with: C26. */
import { workflowMachine, type listWorkflowOverview, type ReplyOf, type RequestOf, type WorkflowStatus } from '@jobmon/contracts';
import type { Database, SqlValue } from '@jobmon/entities';
import type { Call, Room } from '../context';
import { inStatuses, not, ofTools, ofUsers, withAttribute, type Condition } from '../workflow-filter';
import { countBars, EMPTY_BAR, type TaskBar } from './task-bar';
import { isoDate } from './wire-value';

/** Tasks counted for one page: about half a second. Beyond them the page ends. */
const TASKS_COUNTED_MAX = 1_000_000;
/** Tasks of a workflow that are asked for their cluster, and workflows asked about by one statement. */
const TASKS_LOOKED_AT = 1_000;
const WORKFLOWS_AT_ONCE = 20;
/** The cluster whose tasks are only tried out; other programs take this id for it, too. */
const DUMMY_CLUSTER_ID = 1;

type Request = RequestOf<typeof listWorkflowOverview>;
type Reply = ReplyOf<typeof listWorkflowOverview>;

export async function findOverview({ database }: Room, request: Request, call: Call): Promise<Reply> {
  const filters = filtersOf(request);
  const workflows: Reply['workflows'] = [];
  let budget = TASKS_COUNTED_MAX;
  for (let before = request.cursor; ;) {
    const room = request.limit - workflows.length;
    const rows = await readRows(database, filters, request, before, room);
    const ids = rows.map(({ wf_id }) => wf_id);
    const { bars, counted, tasks } = await countBars(database, call, ids, budget);
    budget -= tasks;
    const looked = rows.slice(0, counted);
    const isShown = request.include_dummy ? () => true : await realOnes(database, looked, bars);
    workflows.push(...looked.filter(isShown).map((row) => wireRow(row, bars.get(row.wf_id) ?? EMPTY_BAR)));
    if (rows.length < room && counted === rows.length) return { workflows, next: null };
    // Ids stand still, so the last one shown tells where to go on; in another order it is the number of those looked at.
    before = request.sort === 'wf_id' ? (ids[counted - 1] as number) : (before ?? 0) + counted;
    if (workflows.length === request.limit || budget < 0) return { workflows, next: before };
  }
}

function wireRow(row: Row, { tasks, PENDING, SCHEDULED, RUNNING, DONE, FATAL }: TaskBar): Reply['workflows'][number] {
  return {
    ...row,
    wf_submitted_date: isoDate(row.wf_submitted_date),
    wf_status_date: isoDate(row.wf_status_date),
    wfr_count: Number(row.wfr_count),
    wf_status: workflowMachine.states[row.wf_status]?.label ?? row.wf_status,
    PENDING,
    SCHEDULED,
    RUNNING,
    DONE,
    FATAL,
    tasks,
    progress: tasks === 0 ? 0 : DONE / tasks,
  };
}

/** Tells the workflows with a run and with a task elsewhere than on the dummy cluster, among the first of their tasks. */
async function realOnes(
  database: Database,
  rows: readonly Row[],
  bars: ReadonlyMap<number, TaskBar>,
): Promise<(row: Row) => boolean> {
  const ids = rows.filter((row) => Number(row.wfr_count) > 0 && bars.has(row.wf_id)).map(({ wf_id }) => wf_id);
  const real = new Set<number>();
  for (let from = 0; from < ids.length; from += WORKFLOWS_AT_ONCE) {
    const some = ids.slice(from, from + WORKFLOWS_AT_ONCE);
    const branches = some.map(
      (_, at) => `SELECT * FROM (SELECT ? AS id FROM (
          SELECT task_resources_id FROM task WHERE workflow_id = ? LIMIT ${TASKS_LOOKED_AT}) AS first_${at}
        LEFT JOIN task_resources s ON s.id = first_${at}.task_resources_id LEFT JOIN queue q ON q.id = s.queue_id
        WHERE COALESCE(q.cluster_id, 0) <> ${DUMMY_CLUSTER_ID} LIMIT 1) AS workflow_${at}`,
    );
    const found = await database.read<{ id: number }>(
      branches.join(' UNION ALL '),
      some.flatMap((id) => [id, id]),
    );
    for (const { id } of found) real.add(Number(id));
  }
  return ({ wf_id }) => real.has(wf_id);
}

interface Row {
  readonly wf_id: number;
  readonly wf_name: string;
  readonly wf_submitted_date: string | null;
  readonly wf_status_date: string | null;
  readonly wf_args: string | null;
  readonly wfr_count: number | string;
  readonly wf_status: WorkflowStatus;
  readonly wf_tool: string | null;
  readonly wf_user: string | null;
}

const SORTED_BY = {
  wf_id: 'w.id',
  wf_name: 'w.name',
  wf_submitted_date: 'w.created_date',
  wf_status_date: 'w.status_date',
} as const;

async function readRows(
  database: Database,
  filters: readonly Condition[],
  { sort, order }: Pick<Request, 'sort' | 'order'>,
  before: number | undefined,
  limit: number,
): Promise<Row[]> {
  const beyond = { where: `w.id ${order === 'desc' ? '<' : '>'} ?`, params: [before ?? 0] };
  const conditions = before === undefined || sort !== 'wf_id' ? filters : [...filters, beyond];
  const skip = sort === 'wf_id' ? 0 : (before ?? 0);
  return database.read<Row>(
    `SELECT w.id AS wf_id, COALESCE(w.name, '') AS wf_name, w.created_date AS wf_submitted_date, w.status_date AS wf_status_date,
            w.workflow_args AS wf_args, (SELECT COUNT(*) FROM workflow_run c WHERE c.workflow_id = w.id) AS wfr_count,
            w.status AS wf_status, t.name AS wf_tool,
            (SELECT l.\`user\` FROM workflow_run l WHERE l.workflow_id = w.id ORDER BY l.id DESC LIMIT 1) AS wf_user
       FROM workflow w
       LEFT JOIN tool_version v ON v.id = w.tool_version_id
       LEFT JOIN tool t ON t.id = v.tool_id
      WHERE ${['1 = 1', ...conditions.map(({ where }) => where)].join(' AND ')} 
      ORDER BY ${SORTED_BY[sort]} ${order}, w.id ${order} LIMIT ${limit} OFFSET ${skip}`,
    conditions.flatMap(({ params }) => params),
  );
}

function filtersOf(request: Request): Condition[] {
  const conditions: Condition[] = [];
  const add = (where: string, ...params: SqlValue[]): void => void conditions.push({ where, params });
  const whenAny = (values: readonly string[], condition: (values: readonly string[]) => Condition): void => {
    if (values.length > 0) conditions.push(condition(values));
  };

  whenAny(parted(request.user), ofUsers);
  whenAny(set(request['user!']), (users) => not(ofUsers(users)));
  whenAny(parted(request.tool), ofTools);
  whenAny(set(request['tool!']), (tools) => ({ ...ofTools(tools), where: `(t.name IS NULL OR NOT ${ofTools(tools).where})` }));
  whenAny(letters(parted(request.status)), inStatuses);
  whenAny(letters(set(request['status!'])), (statuses) => not(inStatuses(statuses)));
  if (request.wf_name) add('w.name = ?', request.wf_name);
  if (request.wf_args) add('w.workflow_args = ?', request.wf_args);
  if (request.search) {
    const holds = (column: string): string => `INSTR(LOWER(COALESCE(${column}, '')), LOWER(?)) > 0`;
    add(`(${holds('w.name')} OR ${holds('w.workflow_args')})`, request.search, request.search);
  }
  if (request.wf_id) add('w.id = ?', request.wf_id);
  if (request.date_submitted) add('w.created_date >= ?', `${request.date_submitted} 00:00:00`);
  if (request.date_submitted_end) add('w.created_date <= ?', `${request.date_submitted_end} 00:00:00`);
  const [key, value] = [request.wf_attribute_key || undefined, request.wf_attribute_value || undefined];
  if (key !== undefined || value !== undefined) conditions.push(withAttribute(key, value));
  return conditions;
}

/** The values that are set, of a key that may be repeated. */
function set(values: readonly string[] | undefined): string[] {
  return (values ?? []).filter((value) => value !== '');
}

/** As `set`, each value a comma list. */
function parted(values: readonly string[] | undefined): string[] {
  return set((values ?? []).flatMap((value) => value.split(',')));
}

/** Statuses as they are stored, on databases that tell capitals apart too. */
function letters(values: readonly string[]): string[] {
  return values.map((value) => value.toUpperCase());
}
