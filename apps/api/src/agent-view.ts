/** What people see of agents and order of them: lists with what each runs, one agent, drain, restore. */
import {
  agentOrdered,
  JobmonError,
  neededRoom,
  type AgentView,
  type drainAgent,
  type getAgent,
  type HeldAttempt,
  type listAgents,
  type ReplyOf,
  type RequestOf,
  type restoreAgent,
} from '@jobmon/contracts';
import { instancesByStatus, type Database, type Procedure, type SqlValue } from '@jobmon/entities';
import { HELD_STATUSES, LIVE_SERVER_RUN, MIB_PER_GIB, objectIn } from './agent';
import { REASON_CHARACTERS_MAX } from './bad-host';
import type { Call, Room } from './context';
import { recordPerson } from './person';

/** Agents in one list. */
const LISTED_MAX = 1_000;
const DAY_SECONDS = 86_400;
/** Newest attempts of an agent in a list, and of one agent. */
const NEWEST_IN_LIST = 3;
const NEWEST_OF_ONE = 100;

interface AgentRow {
  readonly agent_id: number;
  readonly hostname: string;
  readonly user: string;
  readonly any_user: number;
  readonly clusters: string;
  readonly registered_date: string;
  readonly lease_until_date: string;
  readonly has_ended: number;
  readonly is_silent: number;
  readonly drain_date: string | null;
  readonly drain_reason: string | null;
  readonly set_aside_date: string | null;
  readonly set_aside_reason: string | null;
  readonly cores: number | null;
  readonly memory_mib: number | null;
  readonly state_directory: string;
  readonly process_id: number;
  readonly version: string;
}

const COLUMNS = `id AS agent_id, hostname, user, any_user, clusters, registered_date, lease_until_date, drain_date, drain_reason,
  set_aside_date, set_aside_reason, cores, memory_mib, state_directory, process_id, version`;

function readAgents(database: Database, where: string, params: readonly SqlValue[]): Promise<AgentRow[]> {
  return database.read<AgentRow>(
    `SELECT ${COLUMNS}, CASE WHEN ended_date IS NULL THEN 0 ELSE 1 END AS has_ended,
            CASE WHEN lease_until_date > ${database.dialect.now} THEN 0 ELSE 1 END AS is_silent
       FROM agent WHERE ${where} ORDER BY id DESC LIMIT ${LISTED_MAX}`,
    params,
  );
}

/** Agents that are there, and those that ended within the last day. */
export async function findAgents({ database }: Room): Promise<ReplyOf<typeof listAgents>> {
  const where = `ended_date IS NULL OR ended_date > ${database.dialect.nowPlusSeconds}`;
  const agents = await readAgents(database, where, [-DAY_SECONDS]);
  const held = await readHeld(database, '1 = 1', [], NEWEST_IN_LIST);
  return { agents: agents.map((row) => viewOf(row, held.get(row.agent_id))) };
}

/** @throws JobmonError NOT_FOUND when there is no such agent. */
export async function findAgent({ database }: Room, { agent_id }: RequestOf<typeof getAgent>): Promise<ReplyOf<typeof getAgent>> {
  const [row] = await readAgents(database, 'id = ?', [agent_id]);
  if (row === undefined) throw unknownAgent(agent_id);
  const held = await readHeld(database, 'ti.agent_id = ?', [agent_id], NEWEST_OF_ONE);
  const { state_directory, process_id, version } = row;
  return { agent: { ...viewOf(row, held.get(agent_id)), state_directory, process_id, version } };
}

/** What an agent holds: how many attempts in which status asked for what, and its newest. */
interface Held {
  readonly groups: { readonly status: string; readonly n: number; readonly requested_resources: string }[];
  newest: Omit<HeldAttempt, 'cores' | 'memory_gib'>[];
  resources: string[];
}

/** By agent, of the live server runs that `where` narrows. Counts are made by the database: rows for each kind of request, not for each attempt. */
async function readHeld(
  database: Database,
  where: string,
  params: readonly SqlValue[],
  newest_max: number,
): Promise<Map<number, Held>> {
  const condition = { sql: `${LIVE_SERVER_RUN} AND ti.agent_id > 0 AND ${where}`, params };
  const columns = 'ti.id, ti.agent_id, ti.status, ti.task_id, ti.task_resources_id, ti.status_date';
  const source = instancesByStatus('held', columns, HELD_STATUSES, condition);
  const held = new Map<number, Held>();
  const of = (agent_id: number): Held => {
    const found = held.get(agent_id) ?? { groups: [], newest: [], resources: [] };
    held.set(agent_id, found);
    return found;
  };
  const groups = await database.read<{ agent_id: number; status: string; n: number; requested_resources: string }>(
    `SELECT g.agent_id AS agent_id, g.status AS status, g.n AS n, tr.requested_resources AS requested_resources
       FROM (SELECT agent_id, status, task_resources_id, COUNT(*) AS n FROM ${source.sql} GROUP BY agent_id, status, task_resources_id) AS g
       JOIN task_resources AS tr ON tr.id = g.task_resources_id`,
    source.params,
  );
  for (const { agent_id, ...group } of groups) of(agent_id).groups.push({ ...group, n: Number(group.n) });
  if (groups.length === 0) return held;
  type Row = Held['newest'][number] & { agent_id: number; requested_resources: string };
  const newest = await database.read<Row>(
    `SELECT r.id AS task_instance_id, r.agent_id AS agent_id, r.status AS status, r.status_date AS status_date, r.task_id AS task_id,
            t.name AS task_name, t.workflow_id AS workflow_id, tr.requested_resources AS requested_resources
       FROM (SELECT held.*, ROW_NUMBER() OVER (PARTITION BY agent_id ORDER BY id DESC) AS place FROM ${source.sql}) AS r
       JOIN task AS t ON t.id = r.task_id JOIN task_resources AS tr ON tr.id = r.task_resources_id
      WHERE r.place <= ? ORDER BY r.id DESC`,
    [...source.params, newest_max],
  );
  for (const { agent_id, requested_resources, ...attempt } of newest) {
    of(agent_id).newest.push(attempt);
    of(agent_id).resources.push(requested_resources);
  }
  return held;
}

function viewOf(row: AgentRow, held: Held = { groups: [], newest: [], resources: [] }): AgentView {
  const memory_gib = row.memory_mib === null ? null : row.memory_mib / MIB_PER_GIB;
  const taken = (text: string): { cores: number; memory_gib: number } => {
    const need = neededRoom(objectIn(text));
    return {
      cores: Math.min(need.cores, row.cores ?? need.cores),
      memory_gib: Math.min(need.memory_gib, memory_gib ?? need.memory_gib),
    };
  };
  const attempts: Record<string, number> = {};
  let [cores_in_use, memory_gib_in_use] = [0, 0];
  for (const { status, n, requested_resources } of held.groups) {
    const need = taken(requested_resources);
    attempts[status] = (attempts[status] ?? 0) + n;
    cores_in_use += n * need.cores;
    memory_gib_in_use += n * need.memory_gib;
  }
  const state = stateOf(row);
  return {
    agent_id: row.agent_id,
    hostname: row.hostname,
    user: row.user,
    any_user: row.any_user === 1,
    clusters: JSON.parse(row.clusters) as string[],
    registered_date: row.registered_date,
    lease_until_date: row.lease_until_date,
    is_alive: state !== 'ended' && state !== 'silent',
    state,
    reason: row.drain_reason ?? row.set_aside_reason,
    cores: row.cores,
    memory_gib,
    cores_in_use,
    memory_gib_in_use,
    attempts,
    newest: held.newest.map((attempt, at) => ({ ...attempt, ...taken(held.resources[at] ?? '') })),
  };
}

function stateOf(row: AgentRow): AgentView['state'] {
  if (row.has_ended === 1) return 'ended';
  if (row.is_silent === 1) return 'silent';
  if (row.drain_date !== null) return 'draining';
  return row.set_aside_date === null ? 'alive' : 'set_aside';
}

/** @throws JobmonError NOT_FOUND, or CONFLICT when the agent has ended. */
export function drain(room: Room, request: RequestOf<typeof drainAgent>, call: Call): Promise<ReplyOf<typeof drainAgent>> {
  const { user, reason } = request;
  const said = `by ${user}${reason === '' ? '' : `: ${reason}`}`.slice(0, REASON_CHARACTERS_MAX);
  return order(room, call, request.agent_id, 'agent.drain', {
    sql: `drain_reason = CASE WHEN drain_date IS NULL THEN ? ELSE drain_reason END, drain_date = COALESCE(drain_date, ${room.database.dialect.now})`,
    params: [said],
  });
}

/** @throws JobmonError NOT_FOUND, or CONFLICT when the agent has ended. */
export function restore(room: Room, request: RequestOf<typeof restoreAgent>, call: Call): Promise<ReplyOf<typeof restoreAgent>> {
  room.log.info({ agent_id: request.agent_id, user: request.user, reason: request.reason }, 'an agent is restored');
  return order(room, call, request.agent_id, 'agent.restore', {
    sql: 'drain_date = NULL, drain_reason = NULL, set_aside_date = NULL, set_aside_reason = NULL',
    params: [],
  });
}

async function order(
  { database, messenger }: Room,
  call: Call,
  agent_id: number,
  label: string,
  set: { readonly sql: string; readonly params: readonly SqlValue[] },
): Promise<ReplyOf<typeof drainAgent>> {
  const isThere = await database.write({ label }, function* (): Procedure<boolean> {
    const { affected } = yield {
      sql: `UPDATE agent SET ${set.sql} WHERE id = ? AND ended_date IS NULL`,
      params: [...set.params, agent_id],
    };
    if (affected === 1) yield* recordPerson(database.dialect, call, label, agent_id);
    return affected === 1;
  });
  const [row] = await readAgents(database, 'id = ?', [agent_id]);
  if (row === undefined) throw unknownAgent(agent_id);
  if (!isThere) throw new JobmonError('CONFLICT', `agent ${agent_id} has ended: \`jobmon agent list\` shows those that live`);
  messenger.publish(agentOrdered, { agent_id });
  return { agent_id, state: stateOf(row) };
}

function unknownAgent(agent_id: number): JobmonError {
  return new JobmonError('NOT_FOUND', `there is no agent ${agent_id}: \`jobmon agent list\` shows those that live`);
}
