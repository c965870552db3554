/**
 * Agents: they join, ask for work and for orders by long poll, report, give signs of life, and leave. Who holds which attempt is a column of the
 * instance that is no status, so a restarted agent's takeover is written here; every status change goes over the bus.
 */
import {
  agentAsked,
  agentOrdered,
  LIVE_WORKFLOW_RUN_STATUSES,
  JobmonError,
  leaseTaskInstances,
  LOG_TAIL_CHARACTERS_MAX,
  reportAttempt,
  taskQueued,
  workflowControlled,
  workflowRunChanged,
  type Assignment,
  type AttemptReport,
  type beatAgent,
  type leaseAssignments,
  type leaveAgent,
  type orderAgent,
  type registerAgent,
  type reportAttempts,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import { instancesByStatus, type Database, type Dialect, type Procedure } from '@jobmon/entities';
import { setAsideBadHost } from './bad-host';
import { clusterNames } from './cluster';
import type { Call, Room } from './context';
import { News } from './workflow-view';

/** A long poll looks this often without being told anything: a lost event costs time only. */
const LOOK_INTERVAL_MS = 1_000;
/**
 * While nothing that is queued fits an agent, each lease doubles the time to the next one up to here, unless something is told: a lease is a
 * transaction that reads what is queued, and without news it would find the same again.
 */
const LOOK_INTERVAL_MS_MAX = 8_000;
/** How long a lease is waited for, as for batches of reports: another state machine is asked then (docs/decisions/leases.md). */
const LEASE_MS_MAX = 6_000;
/** Orders are rare, and each is told of: a call that waits for one looks by itself this often. */
const ORDERS_INTERVAL_MS = 5_000;
/** Rows looked up in one statement. */
const PIECE_ROWS_MAX = 1_000;
export const MIB_PER_GIB = 1_024;

type JoinRequest = RequestOf<typeof registerAgent>;

/**
 * Makes the agent's row. A predecessor (same host, user and state folder) ends in the same transaction, and its attempts that
 * have not ended pass to the new row: two agents never hold the same attempt. What was ordered of the predecessor stands for the same
 * process that joins again, and not for a new one: starting an agent anew is how it is brought back.
 */
export async function joinAgent(room: Room, request: JoinRequest, call: Call): Promise<ReplyOf<typeof registerAgent>> {
  const { principal } = call;
  if (request.any_user && principal !== undefined && principal.role !== 'admin') {
    const sentence = `an agent that runs everybody's workflows needs a token of an admin, and ${principal.user} is ${principal.role}`;
    throw new JobmonError('FORBIDDEN', `${sentence}: leave --any-user away, or give it another token`);
  }
  const { database, config } = room;
  const { unknown, known } = await clusterNames(database, request.clusters);
  if (unknown !== undefined) {
    throw new JobmonError('MALFORMED', `there is no cluster '${unknown}'; there are ${known.join(', ')}`, {
      rule: 'unknown_cluster',
    });
  }
  const { lease_seconds } = config.agent;
  const joined = await database.write({ label: 'agent.register' }, () => join(database.dialect, request, lease_seconds));
  const adopted = await readAssignments(database, joined.task_instance_ids);
  return { agent_id: joined.agent_id, lease_seconds, adopted, user: request.user };
}

function* join(
  dialect: Dialect,
  request: JoinRequest,
  lease_seconds: number,
): Procedure<{ agent_id: number; task_instance_ids: number[] }> {
  const { hostname, user, state_directory } = request;
  const found = yield {
    sql: `SELECT id, drain_date, drain_reason, set_aside_date, set_aside_reason FROM agent
           WHERE ended_date IS NULL AND hostname = ? AND user = ? AND state_directory = ? ORDER BY id${dialect.forUpdate}`,
    params: [hostname, user, state_directory],
  };
  const former = (found.rows as Former[]).map(({ id }) => id);
  const { insert_id: agent_id } = yield {
    sql: `INSERT INTO agent (hostname, user, any_user, clusters, state_directory, process_id, version, registered_date, lease_until_date, ended_date,
                             cores, memory_mib)
          VALUES (?, ?, ?, ?, ?, ?, ?, ${dialect.now}, ${dialect.nowPlusSeconds}, NULL, ?, ?)`,
    params: [
      hostname,
      user,
      request.any_user ? 1 : 0,
      JSON.stringify(request.clusters),
      state_directory,
      request.process_id,
      request.version,
      lease_seconds,
      request.cores,
      Math.ceil(request.memory_gib * MIB_PER_GIB),
    ],
  };
  const last = (found.rows as Former[]).at(-1);
  if (last === undefined) return { agent_id, task_instance_ids: [] };
  if (request.has_joined_before && (last.drain_date ?? last.set_aside_date) !== null) {
    yield {
      sql: 'UPDATE agent SET drain_date = ?, drain_reason = ?, set_aside_date = ?, set_aside_reason = ? WHERE id = ?',
      params: [last.drain_date, last.drain_reason, last.set_aside_date, last.set_aside_reason, agent_id],
    };
  }
  const marks = former.map(() => '?').join(', ');
  yield { sql: `UPDATE agent SET ended_date = ${dialect.now} WHERE id IN (${marks})`, params: former };
  // Without a lock: a lease begins with its agent's row, which is locked here, so nothing can be added to what they hold.
  const { sql, params } = instancesByStatus('held', 'ti.id', HELD_STATUSES, {
    sql: `${LIVE_SERVER_RUN} AND ti.agent_id IN (${marks})`,
    params: former,
  });
  const held = yield { sql: `SELECT id FROM ${sql} ORDER BY id`, params };
  const task_instance_ids = (held.rows as { id: number }[]).map(({ id }) => id);
  for (let from = 0; from < task_instance_ids.length; from += PIECE_ROWS_MAX) {
    const ids = task_instance_ids.slice(from, from + PIECE_ROWS_MAX);
    yield {
      sql: `UPDATE task_instance SET agent_id = ? WHERE id IN (${ids.map(() => '?').join(', ')})`,
      params: [agent_id, ...ids],
    };
  }
  return { agent_id, task_instance_ids };
}

interface Former {
  readonly id: number;
  readonly drain_date: string | null;
  readonly drain_reason: string | null;
  readonly set_aside_date: string | null;
  readonly set_aside_reason: string | null;
}

/** What an agent may still have to do with: T is heard of again, and K must be stopped and told so. */
export const HELD_STATUSES = ['I', 'O', 'R', 'T', 'K'];
/** Attempts that agents hold are found through the live server runs, since agent_id has no index. */
export const LIVE_SERVER_RUN = `wr.driver = 'server' AND wr.status IN (${LIVE_WORKFLOW_RUN_STATUSES.map((status) => `'${status}'`).join(', ')})`;

/** What an agent needs to start each instance, in the order of the ids. */
async function readAssignments(database: Database, ids: readonly number[]): Promise<Assignment[]> {
  const assignments: Assignment[] = [];
  for (let from = 0; from < ids.length; from += PIECE_ROWS_MAX) {
    const piece = ids.slice(from, from + PIECE_ROWS_MAX);
    const rows = await database.read<Omit<Assignment, 'requested_resources'> & { requested_resources: string }>(
      `SELECT ti.id AS task_instance_id, ti.task_id AS task_id, t.workflow_id AS workflow_id, ti.workflow_run_id AS workflow_run_id,
              ti.status AS status, t.name AS task_name, t.command AS command, c.name AS cluster, ct.name AS cluster_type,
              tr.requested_resources AS requested_resources, COALESCE(r.working_directory, '/') AS working_directory
         FROM task_instance ti
         JOIN task t ON t.id = ti.task_id
         JOIN workflow_run r ON r.id = ti.workflow_run_id
         JOIN task_resources tr ON tr.id = ti.task_resources_id
         JOIN queue q ON q.id = tr.queue_id
         JOIN cluster c ON c.id = q.cluster_id
         JOIN cluster_type ct ON ct.id = c.cluster_type_id
        WHERE ti.id IN (${piece.map(() => '?').join(', ')}) ORDER BY ti.id`,
      piece,
    );
    for (const row of rows) assignments.push({ ...row, requested_resources: objectIn(row.requested_resources) });
  }
  return assignments;
}

export function objectIn(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** Moves the end of an agent's lease. False when the agent is unknown or was ended. */
function renew({ database, config }: Room, agent_id: number): Promise<boolean> {
  const { dialect } = database;
  return database.write({ label: 'agent.renew' }, function* (): Procedure<boolean> {
    const { affected } = yield {
      sql: `UPDATE agent SET lease_until_date = ${dialect.nowPlusSeconds} WHERE id = ? AND ended_date IS NULL`,
      params: [config.agent.lease_seconds, agent_id],
    };
    return affected === 1;
  });
}

/** @throws JobmonError NOT_FOUND when the agent is unknown, was replaced or given up. */
export async function answerLease(
  room: Room,
  { agent_id, wanted, failed_tasks, number, wait_seconds }: RequestOf<typeof leaseAssignments>,
  call: Call,
): Promise<ReplyOf<typeof leaseAssignments>> {
  if (!(await renew(room, agent_id))) {
    throw new JobmonError('NOT_FOUND', `there is no agent ${agent_id}, or it was replaced or given up: register again`);
  }
  const { database, messenger, sender } = room;
  const signal = call.signal();
  const wantsAny = Object.values(wanted).some(({ slots }) => slots > 0);
  const deadline = performance.now() + wait_seconds * 1_000;
  const news = new News();
  let isOver = false;
  let interval_ms = LOOK_INTERVAL_MS;
  const stops = [
    messenger.subscribe(agentAsked, (asked) => {
      if (asked.agent_id !== agent_id || asked.number <= number) return;
      isOver = true;
      news.tell();
    }),
    messenger.subscribe(taskQueued, () => news.tell()),
    messenger.subscribe(workflowRunChanged, () => news.tell()),
    messenger.subscribe(workflowControlled, () => news.tell()),
    messenger.subscribe(agentOrdered, (ordered) => ordered.agent_id === agent_id && news.tell()),
  ];
  messenger.publish(agentAsked, { agent_id, number });
  try {
    for (;;) {
      if (isOver) return { assignments: [] };
      news.forget();
      // Once the caller is gone nothing may be leased in its name.
      if (wantsAny && !signal.aborted && (await isAnythingQueued(database))) {
        const { task_instance_ids } = await sender.send(
          leaseTaskInstances,
          { agent_id, wanted, failed_tasks },
          { ...call.context, timeout_ms: LEASE_MS_MAX },
        );
        if (task_instance_ids.length > 0) return { assignments: await readAssignments(database, task_instance_ids) };
        interval_ms = Math.min(interval_ms * 2, LOOK_INTERVAL_MS_MAX);
      } else interval_ms = LOOK_INTERVAL_MS;
      const left_ms = deadline - performance.now();
      // A timer may fire a fraction of a millisecond early.
      if (left_ms <= 1 || signal.aborted) return { assignments: [] };
      await news.wait(Math.ceil(wantsAny ? Math.min(left_ms, interval_ms) : left_ms), signal);
    }
  } finally {
    for (const stop of stops) stop();
  }
}

/**
 * One cheap read: many idle agents look often, and only the state machine's lease locks anything. A scalar subquery, not EXISTS: that one
 * is made a join by the optimizer and reads all that is queued.
 */
async function isAnythingQueued(database: Database): Promise<boolean> {
  const rows = await database.read(
    `SELECT 1 AS one FROM workflow_run r WHERE r.status = 'R' AND r.driver = 'server' AND COALESCE(r.is_paused, 0) = 0
        AND (SELECT ti.id FROM task_instance ti WHERE ti.workflow_run_id = r.id AND ti.status = 'Q' LIMIT 1) IS NOT NULL LIMIT 1`,
  );
  return rows.length > 0;
}

/**
 * Answers what is ordered of an agent as soon as something is that it does not know. Reads only; a lost event costs it the time to
 * the next look.
 */
export async function answerOrders(
  { database, messenger }: Room,
  { agent_id, killing, is_draining, wait_seconds }: RequestOf<typeof orderAgent>,
  call: Call,
): Promise<ReplyOf<typeof orderAgent>> {
  const signal = call.signal();
  const deadline = performance.now() + wait_seconds * 1_000;
  const known = new Set(killing);
  const news = new News();
  const stop = messenger.subscribe(agentOrdered, (ordered) => ordered.agent_id === agent_id && news.tell());
  try {
    for (;;) {
      news.forget();
      const orders = await readOrders(database, agent_id);
      const kill = orders.kill.filter((task_instance_id) => !known.has(task_instance_id));
      const isNews = !orders.is_known || kill.length > 0 || orders.is_draining !== is_draining;
      const left_ms = deadline - performance.now();
      if (isNews || left_ms <= 1 || signal.aborted) return { ...orders, kill };
      await news.wait(Math.ceil(Math.min(left_ms, ORDERS_INTERVAL_MS)), signal);
    }
  } finally {
    stop();
  }
}

async function readOrders(database: Database, agent_id: number): Promise<ReplyOf<typeof orderAgent>> {
  const [agent] = await database.read<Pick<Former, 'drain_date' | 'set_aside_reason'>>(
    'SELECT drain_date, set_aside_reason FROM agent WHERE id = ? AND ended_date IS NULL',
    [agent_id],
  );
  if (agent === undefined) return { is_known: false, kill: [], is_draining: false, set_aside_reason: null };
  // In this order: left to choose, the optimizer reads every instance that is stored.
  const rows = await database.read<{ id: number }>(
    `SELECT ti.id FROM workflow_run AS wr ${database.dialect.joinInOrder} task_instance AS ti ON ti.workflow_run_id = wr.id ` +
      `AND ti.status = 'K' WHERE ${LIVE_SERVER_RUN} AND ti.agent_id = ? ORDER BY ti.id`,
    [agent_id],
  );
  return {
    is_known: true,
    kill: rows.map(({ id }) => id),
    is_draining: agent.drain_date !== null,
    set_aside_reason: agent.set_aside_reason,
  };
}

/**
 * Ends the row of an agent that holds nothing. The row is locked, and a lease begins with it, so nothing comes in between. One that
 * has ended already has left.
 *
 * @throws JobmonError NOT_FOUND, and CONFLICT when it holds an attempt: a new agent in its state directory must find the row, to adopt it.
 */
export async function letAgentLeave(
  { database }: Room,
  { agent_id }: RequestOf<typeof leaveAgent>,
): Promise<ReplyOf<typeof leaveAgent>> {
  const { dialect } = database;
  return database.write({ label: 'agent.leave' }, function* (): Procedure<ReplyOf<typeof leaveAgent>> {
    const found = yield { sql: `SELECT id FROM agent WHERE id = ?${dialect.forUpdate}`, params: [agent_id] };
    if (found.rows.length === 0) throw new JobmonError('NOT_FOUND', `there is no agent ${agent_id}`);
    const where = { sql: `${LIVE_SERVER_RUN} AND ti.agent_id = ?`, params: [agent_id] };
    const { sql, params } = instancesByStatus('held', 'ti.id', HELD_STATUSES, where);
    const held = yield { sql: `SELECT id FROM ${sql} LIMIT 1`, params };
    if (held.rows.length > 0) {
      throw new JobmonError(
        'CONFLICT',
        `agent ${agent_id} holds attempts that have not ended: it leaves when their ends are reported`,
      );
    }
    yield { sql: `UPDATE agent SET ended_date = COALESCE(ended_date, ${dialect.now}) WHERE id = ?`, params: [agent_id] };
    return {};
  });
}

/**
 * Takes a list of reports apart: each goes to the state machine, where those of all agents are written together. Then looks whether
 * the agent's host is a bad one.
 */
export async function answerReports(
  room: Room,
  { agent_id, reports, failed_starts }: RequestOf<typeof reportAttempts>,
  call: Call,
): Promise<ReplyOf<typeof reportAttempts>> {
  const { sender } = room;
  const outcomes = await Promise.allSettled(
    reports.map((report) => sender.send(reportAttempt, { agent_id, report: shortened(report) }, call.context)),
  );
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  // The agent sends the whole list again; what was written answers its standing status then.
  if (failed !== undefined) throw failed.reason;
  await setAsideBadHost(room, agent_id, failed_starts);
  return { statuses: outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value.status : null)) };
}

/** No more of a text than is stored, so that one report never outgrows a message of the bus. A character has one or two units. */
function shortened(report: AttemptReport): AttemptReport {
  const tail = (text: string | null | undefined) => text?.slice(-2 * LOG_TAIL_CHARACTERS_MAX);
  return {
    ...report,
    ...(report.stdout_log == null ? {} : { stdout_log: tail(report.stdout_log) }),
    ...(report.stderr_log == null ? {} : { stderr_log: tail(report.stderr_log) }),
    ...(report.error_description == null ? {} : { error_description: tail(report.error_description) }),
  };
}

/** Renews the lease and names, of the attempts that the agent runs, those that it must end. */
export async function answerBeat(
  room: Room,
  { agent_id, running }: RequestOf<typeof beatAgent>,
): Promise<ReplyOf<typeof beatAgent>> {
  if (!(await renew(room, agent_id))) return { is_known: false, kill: running };
  const { database } = room;
  const kill: number[] = [];
  const sql = `SELECT given.id AS id FROM ${database.dialect.jsonRows('given', { id: 'int' })}
                 LEFT JOIN task_instance ti ON ti.id = given.id
                WHERE ti.id IS NULL OR ti.agent_id IS NULL OR ti.agent_id <> ? OR ti.status NOT IN ('I', 'O', 'R', 'T')`;
  for (let from = 0; from < running.length; from += PIECE_ROWS_MAX) {
    const piece = running.slice(from, from + PIECE_ROWS_MAX).map((id) => ({ id }));
    for (const { id } of await database.read<{ id: number }>(sql, [JSON.stringify(piece), agent_id])) kill.push(id);
  }
  return { is_known: true, kill };
}
