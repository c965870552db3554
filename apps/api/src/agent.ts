/**
 * Agents: they join, ask for work by long poll, report, and give signs of life. Who holds which attempt is a column of the
 * instance that is no status, so a restarted agent's takeover is written here; every status change goes over the bus.
 */
import {
  LIVE_WORKFLOW_RUN_STATUSES,
  JobmonError,
  leaseTaskInstances,
  LOG_TAIL_CHARACTERS_MAX,
  reportAttempt,
  taskQueued,
  workflowRunChanged,
  type AgentView,
  type Assignment,
  type AttemptReport,
  type beatAgent,
  type leaseAssignments,
  type listAgents,
  type registerAgent,
  type reportAttempts,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import { instancesByStatus, type Database, type Dialect, type Procedure } from '@jobmon/entities';
import { unknownClusters } from './cluster';
import type { Call, Room } from './context';
import { News } from './workflow-view';

/** A long poll looks this often without being told anything: a lost event costs time only. */
const LOOK_INTERVAL_MS = 1_000;
/** Rows looked up in one statement. */
const PIECE_ROWS_MAX = 1_000;
/** Agents in one list. */
const LISTED_MAX = 1_000;
const DAY_SECONDS = 86_400;

type JoinRequest = RequestOf<typeof registerAgent>;

/**
 * Makes the agent's row. A predecessor (same host, user and state folder) ends in the same transaction, and its attempts that
 * have not ended pass to the new row: two agents never hold the same attempt.
 */
export async function joinAgent(room: Room, request: JoinRequest): Promise<ReplyOf<typeof registerAgent>> {
  const { database, config } = room;
  const [unknown] = await unknownClusters(database, request.clusters);
  if (unknown !== undefined) throw new JobmonError('MALFORMED', `there is no cluster '${unknown}'`, { rule: 'unknown_cluster' });
  const { lease_seconds } = config.agent;
  const joined = await database.write({ label: 'agent.register' }, () => join(database.dialect, request, lease_seconds));
  return { agent_id: joined.agent_id, lease_seconds, adopted: await readAssignments(database, joined.task_instance_ids) };
}

function* join(
  dialect: Dialect,
  request: JoinRequest,
  lease_seconds: number,
): Procedure<{ agent_id: number; task_instance_ids: number[] }> {
  const { hostname, user, state_directory } = request;
  const found = yield {
    sql: `SELECT id FROM agent WHERE ended_date IS NULL AND hostname = ? AND user = ? AND state_directory = ? ORDER BY id${dialect.forUpdate}`,
    params: [hostname, user, state_directory],
  };
  const former = (found.rows as { id: number }[]).map(({ id }) => id);
  const { insert_id: agent_id } = yield {
    sql: `INSERT INTO agent (hostname, user, any_user, clusters, state_directory, process_id, version, registered_date, lease_until_date, ended_date)
          VALUES (?, ?, ?, ?, ?, ?, ?, ${dialect.now}, ${dialect.nowPlusSeconds}, NULL)`,
    params: [
      hostname,
      user,
      request.any_user ? 1 : 0,
      JSON.stringify(request.clusters),
      state_directory,
      request.process_id,
      request.version,
      lease_seconds,
    ],
  };
  if (former.length === 0) return { agent_id, task_instance_ids: [] };
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

/** What an agent may still have to do with: T is heard of again, and K must be stopped and told so. */
const HELD_STATUSES = ['I', 'O', 'R', 'T', 'K'];
/** Attempts that agents hold are found through the live server runs, since agent_id has no index. */
const LIVE_SERVER_RUN = `wr.driver = 'server' AND wr.status IN (${LIVE_WORKFLOW_RUN_STATUSES.map((status) => `'${status}'`).join(', ')})`;

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

function objectIn(text: string): Record<string, unknown> {
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
  { agent_id, wanted, wait_seconds }: RequestOf<typeof leaseAssignments>,
  call: Call,
): Promise<ReplyOf<typeof leaseAssignments>> {
  if (!(await renew(room, agent_id))) {
    throw new JobmonError('NOT_FOUND', `there is no agent ${agent_id}, or it was replaced or given up: register again`);
  }
  const { database, messenger, sender } = room;
  const signal = call.signal();
  const wantsAny = Object.values(wanted).some((count) => count > 0);
  const deadline = performance.now() + wait_seconds * 1_000;
  const news = new News();
  const stops = [messenger.subscribe(taskQueued, () => news.tell()), messenger.subscribe(workflowRunChanged, () => news.tell())];
  try {
    for (;;) {
      news.forget();
      // Once the caller is gone nothing may be leased in its name.
      if (wantsAny && !signal.aborted && (await isAnythingQueued(database))) {
        const { task_instance_ids } = await sender.send(
          leaseTaskInstances,
          { agent_id, wanted },
          { request_id: call.request_id },
        );
        if (task_instance_ids.length > 0) return { assignments: await readAssignments(database, task_instance_ids) };
      }
      const left_ms = deadline - performance.now();
      // A timer may fire a fraction of a millisecond early.
      if (left_ms <= 1 || signal.aborted) return { assignments: [] };
      await news.wait(Math.ceil(wantsAny ? Math.min(left_ms, LOOK_INTERVAL_MS) : left_ms), signal);
    }
  } finally {
    for (const stop of stops) stop();
  }
}

/** One cheap read: many idle agents look often, and only the state machine's lease locks anything. */
async function isAnythingQueued(database: Database): Promise<boolean> {
  const rows = await database.read(
    `SELECT 1 AS one FROM workflow_run r WHERE r.status = 'R' AND r.driver = 'server'
        AND EXISTS (SELECT 1 FROM task_instance ti WHERE ti.workflow_run_id = r.id AND ti.status = 'Q') LIMIT 1`,
  );
  return rows.length > 0;
}

/** Takes a list of reports apart: each goes to the state machine, where those of all agents are written together. */
export async function answerReports(
  { sender }: Room,
  { agent_id, reports }: RequestOf<typeof reportAttempts>,
  call: Call,
): Promise<ReplyOf<typeof reportAttempts>> {
  const outcomes = await Promise.allSettled(
    reports.map((report) => sender.send(reportAttempt, { agent_id, report: shortened(report) }, { request_id: call.request_id })),
  );
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  // The agent sends the whole list again; what was written answers its standing status then.
  if (failed !== undefined) throw failed.reason;
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

type AgentRow = Omit<AgentView, 'any_user' | 'clusters' | 'is_alive'> & { any_user: number; clusters: string; is_alive: number };

export async function findAgents({ database }: Room): Promise<ReplyOf<typeof listAgents>> {
  const { dialect } = database;
  const rows = await database.read<AgentRow>(
    `SELECT id AS agent_id, hostname, user, any_user, clusters, registered_date, lease_until_date,
            CASE WHEN ended_date IS NULL AND lease_until_date > ${dialect.now} THEN 1 ELSE 0 END AS is_alive
       FROM agent WHERE ended_date IS NULL OR ended_date > ${dialect.nowPlusSeconds} ORDER BY id DESC LIMIT ${LISTED_MAX}`,
    [-DAY_SECONDS],
  );
  return {
    agents: rows.map((row) => ({
      ...row,
      any_user: row.any_user === 1,
      clusters: JSON.parse(row.clusters) as string[],
      is_alive: row.is_alive === 1,
    })),
  };
}
