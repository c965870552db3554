/** Workflows as command line and screens read them: C20, C24 to C28; how far one is (C24, C25), and one in detail (C28). */
import {
  getWorkflowBars,
  getWorkflowDetails,
  getWorkflowStatus,
  getWorkflowTasks,
  JobmonError,
  LIVE_WORKFLOW_RUN_STATUSES,
  listTemplateTasks,
  listWorkflowOverview,
  workflowMachine,
  type ReplyOf,
  type RequestOf,
  type WorkflowStatus,
} from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import type { Call, Register, Room } from '../context';
import { frameString } from './frame';
import { findTasksOfTemplate, findTasksOfWorkflow } from './task-list';
import { BAR_LABELS, countBars, EMPTY_BAR, type TaskBar } from './task-bar';
import { isoDate } from './wire-value';
import { findOverview } from './workflow-overview';

export function registerWorkflowView(answer: Register): void {
  answer(getWorkflowTasks, findTasksOfWorkflow);
  answer(getWorkflowStatus, findStatus);
  answer(getWorkflowBars, findBars);
  answer(listWorkflowOverview, findOverview);
  answer(listTemplateTasks, findTasksOfTemplate);
  answer(getWorkflowDetails, findDetails);
}

const STATUS_COLUMNS = ['WF_ID', 'WF_NAME', 'WF_STATUS', 'CREATED_DATE', 'TASKS', ...BAR_LABELS, 'RETRIES'];

async function findStatus(
  { database }: Room,
  { workflow_id: ids = [], user: users = [], limit }: RequestOf<typeof getWorkflowStatus>,
  call: Call,
): Promise<ReplyOf<typeof getWorkflowStatus>> {
  if (ids.length === 0 && users.length === 0) throw new JobmonError('MALFORMED', 'give at least one workflow_id or user');
  const workflow_ids = ids.length > 0 ? ids : await idsByUsers(database, users, limit);
  const workflows = await database.read<{ id: number; name: string; status: WorkflowStatus; created_date: string | null }>(
    `SELECT w.id AS id, COALESCE(w.name, '') AS name, w.status AS status, w.created_date AS created_date
       FROM ${database.dialect.jsonRows('given', { id: 'int' })} JOIN workflow w ON w.id = given.id ORDER BY w.id DESC`,
    [JSON.stringify([...new Set(workflow_ids)].map((id) => ({ id })))],
  );
  const { bars } = await countBars(
    database,
    call,
    workflows.map(({ id }) => id),
  );
  const rows = workflows.map(({ id, name, status, created_date }) => {
    const bar = bars.get(id) ?? EMPTY_BAR;
    return {
      WF_ID: id,
      WF_NAME: name,
      WF_STATUS: workflowMachine.states[status]?.label ?? status,
      CREATED_DATE: created_date === null ? null : Date.parse(`${created_date.replace(' ', 'T')}Z`),
      TASKS: bar.tasks,
      ...Object.fromEntries(BAR_LABELS.map((label) => [label, share(bar[label], bar.tasks)])),
      RETRIES: bar.retries,
    };
  });
  const columns = rows.length > 0 ? STATUS_COLUMNS : STATUS_COLUMNS.filter((column) => column !== 'SCHEDULED');
  return { workflows: frameString(columns, rows) };
}

async function idsByUsers(database: Database, users: readonly string[], limit: number): Promise<number[]> {
  const rows = await database.read<{ id: number }>(
    `SELECT DISTINCT workflow_id AS id FROM workflow_run WHERE \`user\` IN (${users.map(() => '?').join(', ')})
      ORDER BY workflow_id DESC LIMIT ${limit}`,
    users,
  );
  return rows.map(({ id }) => id);
}

/** `3 (30.0%)`. */
function share(part: number, whole: number): string {
  return `${part} (${(whole === 0 ? 0 : (100 * part) / whole).toFixed(1)}%)`;
}

async function findBars(
  { database }: Room,
  { workflow_ids = [] }: RequestOf<typeof getWorkflowBars>,
  call: Call,
): Promise<ReplyOf<typeof getWorkflowBars>> {
  if (workflow_ids.length === 0) throw new JobmonError('MALFORMED', 'give at least one id in workflow_ids');
  const ids = [...new Set(workflow_ids)];
  const limits = await database.read<{ id: number; max: number }>(
    `SELECT id, max_concurrently_running AS max FROM workflow WHERE id IN (${ids.map(() => '?').join(', ')})`,
    ids,
  );
  const limitOf = new Map(limits.map(({ id, max }) => [id, max]));
  const { bars } = await countBars(database, call, ids);
  return { workflows: ids.map((id) => wireBar(id, bars.get(id) ?? EMPTY_BAR, limitOf.get(id) ?? 0)) };
}

function wireBar(id: number, bar: TaskBar, MAXC: number): ReplyOf<typeof getWorkflowBars>['workflows'][number] {
  const { tasks, PENDING, SCHEDULED, RUNNING, DONE, FATAL } = bar;
  return {
    id,
    tasks,
    PENDING,
    SCHEDULED,
    RUNNING,
    DONE,
    FATAL,
    MAXC,
    num_attempts_avg: tasks === 0 ? 0 : bar.attempts_sum / tasks,
    num_attempts_min: bar.attempts_min,
    num_attempts_max: bar.attempts_max,
  };
}

type Details = ReplyOf<typeof getWorkflowDetails>;
type DetailsRow = Omit<Details, 'attributes' | 'resumable' | 'wf_finished_date' | 'wf_status'> & {
  wf_status: WorkflowStatus;
  is_alive: number;
};

const LIVE = LIVE_WORKFLOW_RUN_STATUSES.map((letter) => `'${letter}'`).join(', ');

async function findDetails({ database }: Room, { workflow_id }: RequestOf<typeof getWorkflowDetails>): Promise<Details> {
  const [row] = await database.read<DetailsRow>(
    `SELECT COALESCE(w.name, '') AS wf_name, w.workflow_args AS wf_args, w.created_date AS wf_created_date,
            w.status_date AS wf_status_date, t.name AS tool_name, w.status AS wf_status, s.description AS wf_status_desc,
            r.jobmon_version AS wfr_jobmon_version, r.heartbeat_date AS wfr_heartbeat_date, r.\`user\` AS wfr_user, r.id AS wfr_id,
            r.status AS wfr_status, r.created_date AS wf_started_date,
            (SELECT COUNT(*) FROM workflow_run c WHERE c.workflow_id = w.id) AS wfr_count,
            w.max_concurrently_running AS max_concurrently_running,
            EXISTS (SELECT 1 FROM workflow_run a WHERE a.workflow_id = w.id AND a.status IN (${LIVE})) AS is_alive
       FROM workflow w
       LEFT JOIN tool_version v ON v.id = w.tool_version_id
       LEFT JOIN tool t ON t.id = v.tool_id
       LEFT JOIN workflow_status s ON s.id = w.status
       LEFT JOIN workflow_run r ON r.id = (SELECT MAX(l.id) FROM workflow_run l WHERE l.workflow_id = w.id)
      WHERE w.id = ?`,
    [workflow_id],
  );
  if (row === undefined) throw new JobmonError('NOT_FOUND', `there is no workflow ${workflow_id}`);
  const attributes = await database.read<{ name: string; value: string | null }>(
    `SELECT t.name AS name, a.value AS value FROM workflow_attribute a
       JOIN workflow_attribute_type t ON t.id = a.workflow_attribute_type_id WHERE a.workflow_id = ? ORDER BY t.name`,
    [workflow_id],
  );
  const { wf_started_date, wfr_count, max_concurrently_running, is_alive, ...shown } = row;
  return {
    ...shown,
    wf_created_date: isoDate(row.wf_created_date),
    wf_status_date: isoDate(row.wf_status_date),
    wfr_heartbeat_date: isoDate(row.wfr_heartbeat_date),
    wf_started_date: isoDate(wf_started_date),
    wf_finished_date: workflowMachine.final.has(row.wf_status) ? isoDate(row.wf_status_date) : null,
    wfr_count: Number(wfr_count),
    attributes: Object.fromEntries(attributes.map(({ name, value }) => [name, value])),
    max_concurrently_running,
    resumable: row.wf_status !== 'D' && row.wfr_id !== null && row.wf_created_date !== null && Number(is_alive) === 0,
  };
}
