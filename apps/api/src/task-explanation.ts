/** Why a task does not run: looked up in the order in which it would come to run. Reads a few rows each, whatever the size of the workflow. */
import {
  JobmonError,
  LIMIT_NONE,
  LIVE_TASK_INSTANCE_STATUSES,
  neededRoom,
  workflowMachine,
  workflowRunMachine,
  type AgentView,
  type explainTask,
  type ReplyOf,
  type RequestOf,
  type TaskReason,
  type TaskReasonRule,
  type TaskStatus,
  type WorkflowRunStatus,
  type WorkflowStatus,
} from '@jobmon/contracts';
import { instancesByStatus, type Database } from '@jobmon/entities';
import { objectIn } from './agent';
import { findAgents } from './agent-view';
import type { Room } from './context';
import { idsIn } from './dag';
import { findHistory } from './workflow-control';

/** Upstreams that a reason names. */
const NAMED_MAX = 10;

interface Row {
  readonly task_id: number;
  readonly workflow_id: number;
  readonly name: string;
  readonly status: TaskStatus;
  readonly status_date: string | null;
  readonly num_attempts: number;
  readonly max_attempts: number;
  readonly array_id: number | null;
  readonly template: string | null;
  readonly array_limit: number | null;
  readonly workflow_status: WorkflowStatus;
  readonly workflow_limit: number;
  readonly priority: number;
  readonly run_id: number | null;
  readonly run_status: WorkflowRunStatus | null;
  readonly driver: string | null;
  readonly is_paused: number;
  readonly user: string | null;
  readonly upstreams: unknown;
}

const reason = (rule: TaskReasonRule, message: string, details: TaskReason['details'] = {}): TaskReason => ({
  rule,
  message,
  details,
});

/** @throws JobmonError NOT_FOUND */
export async function explain(room: Room, { task_id }: RequestOf<typeof explainTask>): Promise<ReplyOf<typeof explainTask>> {
  const [row] = await room.database.read<Row>(
    `SELECT t.id AS task_id, t.workflow_id AS workflow_id, t.name AS name, t.status AS status, t.status_date AS status_date,
            t.num_attempts AS num_attempts, t.max_attempts AS max_attempts, t.array_id AS array_id, tt.name AS template,
            a.max_concurrently_running AS array_limit, w.status AS workflow_status,
            w.max_concurrently_running AS workflow_limit, COALESCE(w.priority, 0) AS priority, r.id AS run_id, r.status AS run_status,
            COALESCE(r.driver, 'client') AS driver, COALESCE(r.is_paused, 0) AS is_paused, r.user AS user,
            e.upstream_node_ids AS upstreams
       FROM task t JOIN workflow w ON w.id = t.workflow_id
       LEFT JOIN array a ON a.id = t.array_id
       LEFT JOIN node n ON n.id = t.node_id
       LEFT JOIN task_template_version v ON v.id = n.task_template_version_id
       LEFT JOIN task_template tt ON tt.id = v.task_template_id
       LEFT JOIN workflow_run r ON r.id = (SELECT MAX(l.id) FROM workflow_run l WHERE l.workflow_id = w.id)
       LEFT JOIN edge e ON e.dag_id = w.dag_id AND e.node_id = t.node_id
      WHERE t.id = ?`,
    [task_id],
  );
  if (row === undefined) throw new JobmonError('NOT_FOUND', `there is no task ${task_id}`);
  const { workflow_id, name, status } = row;
  return { task_id, workflow_id, name, status, reasons: await reasonsOf(room, row) };
}

async function reasonsOf(room: Room, row: Row): Promise<TaskReason[]> {
  const { database } = room;
  if (row.status === 'D') return [reason('done', `it is done since ${row.status_date}`, { since: row.status_date })];
  const attempt = await newestAttempt(database, row.task_id);
  const run = await reasonsOfRun(room, row);
  if (row.status === 'F') return [failed(row, attempt)];
  if (row.status === 'R' || row.status === 'I' || row.status === 'O') return [onItsWay(row, attempt), ...run];
  if (row.status === 'Q') {
    const queued = attempt === undefined ? [] : await reasonsOfQueued(room, row, attempt);
    return [...run, ...(run.length > 0 && queued[0]?.rule === 'ready' ? [] : queued)];
  }
  const reasons = [...run, ...(await reasonsOfUpstreams(database, row)), ...(await reasonsOfLimits(database, row))];
  if (reasons.length > 0) return reasons;
  return [
    reason(
      'ready',
      'nothing holds it: the scheduler queues it with its next look, which may take a few seconds in a large workflow',
    ),
  ];
}

interface Attempt {
  readonly id: number;
  readonly run_id: number;
  readonly nodename: string | null;
  readonly agent_id: number | null;
  readonly requested: string;
  readonly queue: string | null;
  readonly cluster: string | null;
  readonly error: string | null;
}

async function newestAttempt(database: Database, task_id: number): Promise<Attempt | undefined> {
  const [attempt] = await database.read<Attempt>(
    `SELECT ti.id AS id, ti.workflow_run_id AS run_id, ti.nodename AS nodename, ti.agent_id AS agent_id,
            COALESCE(tr.requested_resources, '{}') AS requested, q.name AS queue, c.name AS cluster,
            (SELECT SUBSTR(e.description, 1, 1000) FROM task_instance_error_log e WHERE e.task_instance_id = ti.id
              ORDER BY e.id DESC LIMIT 1) AS error
       FROM task_instance ti LEFT JOIN task_resources tr ON tr.id = ti.task_resources_id
       LEFT JOIN queue q ON q.id = tr.queue_id LEFT JOIN cluster c ON c.id = q.cluster_id
      WHERE ti.task_id = ? ORDER BY ti.id DESC LIMIT 1`,
    [task_id],
  );
  return attempt;
}

function failed({ workflow_id, task_id, num_attempts, max_attempts }: Row, attempt: Attempt | undefined): TaskReason {
  const error = attempt?.error ?? null;
  const cure = `jobmon workflow retry ${workflow_id} --task ${task_id} runs it again`;
  const message = `it failed for good after ${num_attempts} of ${max_attempts} attempts${error === null ? '' : ` (${error})`}: ${cure}`;
  return reason('failed', message, { num_attempts, max_attempts, error });
}

function onItsWay({ status, status_date }: Row, attempt: Attempt | undefined): TaskReason {
  const where = attempt?.nodename ? ` on ${attempt.nodename}` : attempt?.agent_id ? ` by agent ${attempt.agent_id}` : '';
  const details = { task_instance_id: attempt?.id ?? null, nodename: attempt?.nodename ?? null, since: status_date };
  if (status === 'R') return reason('running', `it runs${where} since ${status_date}`, details);
  return reason(
    'starting',
    `it was taken${where} at ${status_date} and its command has not been reported as started yet`,
    details,
  );
}

/** What the workflow's run keeps from running: whether anybody walks the graph at all. */
async function reasonsOfRun(room: Room, row: Row): Promise<TaskReason[]> {
  const { workflow_id, run_id, run_status, driver } = row;
  const details = { workflow_id, workflow_run_id: run_id, workflow_run_status: run_status };
  if (run_id === null || run_status === null) {
    return [reason('not_submitted', `workflow ${workflow_id} was bound and never submitted`, details)];
  }
  if (workflowRunMachine.final.has(run_status)) {
    const label = workflowMachine.states[row.workflow_status]?.label ?? row.workflow_status;
    const cure = `jobmon workflow resume ${workflow_id} runs what is not done`;
    return [reason('no_live_run', `workflow ${workflow_id} is ${label} and none of its runs is alive: ${cure}`, details)];
  }
  if (run_status === 'C' || run_status === 'H') {
    const how = run_status === 'C' ? 'is cancelled' : 'is drained';
    return [reason('stopping', `run ${run_id} ${how}: nothing new of it starts`, details)];
  }
  if (driver === 'client') {
    const message = `run ${run_id} is driven by its client, whose own scheduler decides; ${row.user ?? 'its user'} knows where that runs`;
    return [reason('client_run', message, { ...details, user: row.user })];
  }
  if (row.is_paused === 1) {
    const { events } = await findHistory(room, { workflow_id, limit: 20 });
    const pause = events.find(({ verb }) => verb === 'pause');
    const by =
      pause === undefined ? '' : ` by ${pause.user} at ${pause.date}${pause.reason === '' ? '' : ` ("${pause.reason}")`}`;
    const message = `workflow ${workflow_id} is paused${by}: jobmon workflow resume ${workflow_id} lifts that`;
    return [reason('paused', message, { ...details, user: pause?.user ?? null, reason: pause?.reason ?? null })];
  }
  if (run_status !== 'R')
    return [reason('run_starting', `run ${run_id} was made and the scheduler has not begun with it yet`, details)];
  return [];
}

async function reasonsOfUpstreams(database: Database, { workflow_id, upstreams }: Row): Promise<TaskReason[]> {
  const given = idsIn(upstreams).map((id) => ({ id }));
  if (given.length === 0) return [];
  const from = `${database.dialect.jsonRows('given', { id: 'int' })}
    ${database.dialect.joinInOrder} task t ON t.node_id = given.id AND t.workflow_id = ?`;
  const params = [JSON.stringify(given), workflow_id];
  const counts = await database.read<{ status: string; n: number | string }>(
    `SELECT t.status AS status, COUNT(*) AS n FROM ${from} GROUP BY t.status`,
    params,
  );
  const countOf = (isIn: (status: string) => boolean): number =>
    counts.reduce((sum, { status, n }) => sum + (isIn(status) ? Number(n) : 0), 0);
  const named = (where: string): Promise<{ task_id: number; name: string; status: string }[]> =>
    database.read(
      `SELECT t.id AS task_id, t.name AS name, t.status AS status FROM ${from} WHERE ${where} ORDER BY t.id LIMIT ${NAMED_MAX}`,
      params,
    );
  const reasons: TaskReason[] = [];
  const add = async (rule: 'upstreams_failed' | 'upstreams_not_done', n: number, where: string, tell: string): Promise<void> => {
    if (n === 0) return;
    const tasks = await named(where);
    const list = tasks.map(({ task_id, name }) => `${task_id} ${name}`).join(', ');
    const message = `${n} of its ${given.length} upstreams ${tell}: task ${list}${n > tasks.length ? ', …' : ''}`;
    reasons.push(reason(rule, message, { count: n, upstreams: given.length, tasks }));
  };
  await add(
    'upstreams_failed',
    countOf((status) => status === 'F'),
    `t.status = 'F'`,
    'failed for good and must be retried first',
  );
  const isPending = (status: string): boolean => status !== 'D' && status !== 'F';
  await add('upstreams_not_done', countOf(isPending), `t.status NOT IN ('D', 'F')`, 'are not done yet');
  return reasons;
}

async function reasonsOfLimits(database: Database, row: Row): Promise<TaskReason[]> {
  const { workflow_id, array_id, template, workflow_limit, array_limit } = row;
  if (workflow_limit >= LIMIT_NONE && (array_limit ?? LIMIT_NONE) >= LIMIT_NONE) return [];
  const live = instancesByStatus('live', 'ti.array_id AS array_id', LIVE_TASK_INSTANCE_STATUSES, {
    sql: 'wr.workflow_id = ?',
    params: [workflow_id],
  });
  const rows = await database.read<{ array_id: number; n: number | string }>(
    `SELECT array_id, COUNT(*) AS n FROM ${live.sql} GROUP BY array_id`,
    live.params,
  );
  const all = rows.reduce((sum, { n }) => sum + Number(n), 0);
  const own = Number(rows.find((found) => found.array_id === array_id)?.n ?? 0);
  const tell = (n: number, limit: number, option: string): string =>
    limit === 0
      ? `may run nothing (its limit is 0): jobmon workflow limit ${workflow_id} ${option}`
      : `has ${n} attempts on their way, and ${limit} is its limit: jobmon workflow limit ${workflow_id} ${option}`;
  return [
    ...(all < workflow_limit
      ? []
      : [
          reason('workflow_limit', `workflow ${workflow_id} ${tell(all, workflow_limit, '--workflow COUNT')}`, {
            attempts: all,
            limit: workflow_limit,
          }),
        ]),
    ...(array_limit === null || own < array_limit
      ? []
      : [
          reason('template_limit', `task template ${template} ${tell(own, array_limit, `--template ${template}=COUNT`)}`, {
            task_template: template,
            attempts: own,
            limit: array_limit,
          }),
        ]),
  ];
}

/** An attempt waits for an agent of its cluster. */
async function reasonsOfQueued(room: Room, row: Row, attempt: Attempt): Promise<TaskReason[]> {
  const { cluster } = attempt;
  if (row.driver === 'client') return [];
  const { agents } = await findAgents(room);
  const serving = agents.filter((agent) => agent.is_alive && cluster !== null && agent.clusters.includes(cluster));
  const own = serving.filter((agent) => agent.any_user || agent.user === row.user);
  const taking = own.filter(({ state }) => state === 'alive');
  if (taking.length === 0) return [noAgent(row, attempt, serving, own)];
  const needed = neededRoom(objectIn(attempt.requested));
  const asks = `${needed.cores} core${needed.cores === 1 ? '' : 's'}${needed.memory_gib > 0 ? ` and ${needed.memory_gib} GiB` : ''}`;
  const figures = { cluster, ...needed, agents: taking.map(({ agent_id }) => agent_id) };
  const reasons: TaskReason[] = [];
  const fitsAnywhere = taking.some(
    ({ cores, memory_gib }) => needed.cores <= (cores ?? Infinity) && needed.memory_gib <= (memory_gib ?? Infinity),
  );
  if (!fitsAnywhere) {
    const message = `it asks for ${asks}, more than any of the ${taking.length} agents of ${cluster} has: it runs alone on one when nothing else does`;
    reasons.push(reason('larger_than_agents', message, figures));
  }
  const ahead = await queuedAhead(room.database, row, attempt);
  if (ahead.higher > 0) {
    const message = `${ahead.higher} queued attempts of workflows with a higher priority than ${row.priority} come first`;
    reasons.push(reason('priority', message, { attempts: ahead.higher, priority: row.priority }));
  }
  if (ahead.own > 0 || ahead.others > 0) {
    const behind = `it waits behind ${ahead.own} queued attempts of its own workflow`;
    const turns = ahead.others > 0 ? `, and takes turns with ${ahead.others} of other workflows` : '';
    reasons.push(reason('queue', `${behind}${turns}`, { own: ahead.own, others: ahead.others }));
  }
  const isFree = ({ cores, memory_gib, cores_in_use, memory_gib_in_use }: AgentView): boolean =>
    needed.cores <= (cores ?? Infinity) - cores_in_use && needed.memory_gib <= (memory_gib ?? Infinity) - memory_gib_in_use;
  if (fitsAnywhere && !taking.some(isFree)) {
    const message = `none of the ${taking.length} agents of ${cluster} has ${asks} free now: jobmon agent list shows what they run`;
    reasons.push(reason('agents_busy', message, figures));
  }
  if (reasons.length > 0) return reasons;
  return [reason('ready', `an agent of ${cluster} takes it with its next look, within a second or two`, figures)];
}

function noAgent(row: Row, { cluster }: Attempt, serving: readonly AgentView[], own: readonly AgentView[]): TaskReason {
  const start = `jobmon agent --cluster ${cluster}`;
  const details = { cluster, user: row.user, agents: serving.map(({ agent_id, state, user }) => ({ agent_id, state, user })) };
  if (own.length > 0) {
    const states = own.map(({ agent_id, hostname, state, reason: because }) => {
      const told = because === null ? '' : ` (${because})`;
      return `agent ${agent_id} on ${hostname} is ${state.replace('_', ' ')}${told}`;
    });
    return reason(
      'no_agent',
      `no agent of cluster ${cluster} takes anything new: ${states.slice(0, NAMED_MAX).join('; ')}`,
      details,
    );
  }
  if (serving.length > 0) {
    const message = `the ${serving.length} agents of cluster ${cluster} are of other users than ${row.user} and take only theirs: start one, or one with --any-user (${start})`;
    return reason('no_agent', message, details);
  }
  return reason('no_agent', `no agent of cluster ${cluster} is alive: ${start}`, details);
}

/** Queued attempts for the same cluster: of this run before it, of runs with a higher priority, and of others that take turns with it. */
async function queuedAhead(
  database: Database,
  { run_id, priority }: Row,
  attempt: Attempt,
): Promise<{ own: number; higher: number; others: number }> {
  const rows = await database.read<{ run_id: number; priority: number; n: number | string }>(
    `SELECT wr.id AS run_id, COALESCE(w.priority, 0) AS priority, COUNT(*) AS n
       FROM workflow_run wr JOIN task_instance ti ON ti.workflow_run_id = wr.id AND ti.status = 'Q'
       JOIN workflow w ON w.id = wr.workflow_id
       JOIN task_resources tr ON tr.id = ti.task_resources_id JOIN queue q ON q.id = tr.queue_id JOIN cluster c ON c.id = q.cluster_id
      WHERE wr.status = 'R' AND wr.driver = 'server' AND COALESCE(wr.is_paused, 0) = 0 AND c.name = ? AND (wr.id <> ? OR ti.id < ?)
      GROUP BY wr.id, w.priority`,
    [attempt.cluster, run_id, attempt.id],
  );
  const sum = (isIn: (row: (typeof rows)[number]) => boolean): number =>
    rows.reduce((total, found) => total + (isIn(found) ? Number(found.n) : 0), 0);
  return {
    own: sum((found) => found.run_id === run_id),
    higher: sum((found) => found.run_id !== run_id && found.priority > priority),
    others: sum((found) => found.run_id !== run_id && found.priority === priority),
  };
}
