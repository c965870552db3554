/**
 * What agents take and lose: queued attempts of server runs are leased to them, and what a silent one held is ended. Both hold
 * the agent's row first, so a lease and the agent's end never overlap; below it the order of locks is everybody's.
 */
import {
  Actor,
  Driver,
  historyReasonOf,
  JobmonError,
  LIVE_WORKFLOW_RUN_STATUSES,
  neededRoom,
  type ClusterRoom,
  type expireAgent,
  type leaseTaskInstances,
  type ReplyOf,
  type RequestOf,
  type TaskInstanceStatus,
} from '@jobmon/contracts';
import { idList, instancesByStatus, lockRows, type Dialect, type Procedure } from '@jobmon/entities';
import { ascending, Transition, type Asker, type ChangedTasks } from './transition';
import { NEW_ATTEMPTS_MAX, takeTurns, type RunInTurn, type Turns, type Waiting } from './turns';

/** Most instances in one lease: more than one agent can start at once, and still one short transaction. */
const LEASE_ROWS_MAX = 500;

/** Runs that one lease looks at. The others come first next time. */
const LEASE_RUNS_MAX = 16;

/** An attempt that heads its run's line and has been queued for so long is passed over no more, see `turns.ts`. */
const OVERDUE_SECONDS = 60;

const MIB_PER_GIB = 1_024;

/** Most attempts that are ended in one transaction. */
const EXPIRE_ROWS_MAX = 1_000;

const LEASE: Asker = { actor: Actor.AGENT, reason: historyReasonOf('task_instance.lease') };
const EXPIRE: Asker = { actor: Actor.REAPER, reason: historyReasonOf('agent.expire') };

interface AgentRow {
  readonly id: number;
  readonly hostname: string;
  readonly user: string;
  readonly any_user: number;
  readonly lease_until_date: string;
  readonly is_ended: number;
  readonly is_silent: number;
  /** It is to drain, or its host starts no commands. */
  readonly is_closed: number;
  readonly cores: number | null;
  readonly memory_mib: number | null;
}

const CLOSED = '(drain_date IS NOT NULL OR set_aside_date IS NOT NULL)';

function* lockAgent(dialect: Dialect, agentId: number): Procedure<AgentRow> {
  const columns =
    'id, hostname, user, any_user, lease_until_date, cores, memory_mib, ended_date IS NOT NULL AS is_ended, ' +
    `${CLOSED} AS is_closed, lease_until_date <= ${dialect.now} AS is_silent`;
  const [agent] = (yield lockRows(dialect, 'agent', columns, [agentId])).rows as AgentRow[];
  if (agent === undefined) throw new JobmonError('NOT_FOUND', `there is no agent ${agentId}`);
  return agent;
}

/** Where the turns stand between two leases. */
export interface Served {
  /** The last run that got something in its turn: the next lease begins behind it. */
  readonly run_id: number;
  /** Attempts of new runs that came before others in succession. */
  readonly head_starts: number;
}

export interface Leased {
  readonly reply: ReplyOf<typeof leaseTaskInstances>;
  readonly changed: ChangedTasks[];
  readonly served: Served;
  /** Whose each leased instance is: its reports take their turn by it. */
  readonly workflows: (readonly [task_instance_id: number, workflow_id: number])[];
}

/**
 * Gives an agent queued instances of the runs that it may serve, Q→I, as many as fit into its room. Within a run in the order of the
 * index (workflow_run_id, status, array_id): arrays as they were bound, oldest first inside an array, so that a hundred thousand
 * queued instances are never sorted. Between runs by turns (`turns.ts`), beginning where the lease before ended. An agent that is ended, silent,
 * draining or set aside gets nothing. `mine` are instances that an earlier try with an unknown end may have leased: they are
 * answered if they were.
 */
export function* lease(
  dialect: Dialect,
  writer: string,
  request: RequestOf<typeof leaseTaskInstances>,
  served: Served,
  mine: Set<number>,
): Procedure<Leased> {
  const agent = yield* lockAgent(dialect, request.agent_id);
  const nothing: Leased = { reply: { task_instance_ids: [] }, changed: [], served, workflows: [] };
  const wanted = new Map(Object.entries(request.wanted).filter(([, room]) => room.slots > 0));
  if (agent.is_ended || agent.is_silent || wanted.size === 0) return nothing;
  if (mine.size > 0) {
    const kept = yield* leasedBefore(agent.id, mine);
    if (kept.length > 0) return { ...nothing, reply: { task_instance_ids: kept } };
  }
  if (agent.is_closed) return nothing;
  const runs = yield* runsToServe(agent, served.run_id);
  const candidates = yield* queuedInstances(dialect, runs, wanted);
  const failed = new Set(request.failed_tasks ?? []);
  const { chosen, head_starts } = yield* choose(dialect, agent, runs, candidates, wanted, served.head_starts, failed);
  if (chosen.length === 0) return nothing;

  const transition = new Transition(dialect, writer);
  yield* transition.lock(chosen.map(({ id }) => id));
  const leased: number[] = [];
  const workflows: [number, number][] = [];
  for (const { id } of chosen) {
    const instance = transition.instance(id);
    if (instance === undefined || instance.status !== 'Q') continue;
    const decision = transition.move(instance, 'I', LEASE);
    if (!decision.accepted || decision.instance_to !== 'I') continue;
    instance.fields.agent_id = agent.id;
    leased.push(id);
    workflows.push([id, instance.task.workflow_id]);
    mine.add(id);
  }
  yield* transition.write();
  return {
    reply: { task_instance_ids: leased },
    changed: transition.changed(),
    served: { run_id: lastInTurn(runs, chosen) ?? served.run_id, head_starts },
    workflows,
  };
}

/** The last run that was served in its turn. New runs count only among themselves: else they would move everybody's turns. */
function lastInTurn(runs: readonly RunToServe[], chosen: readonly Waiting[]): number | undefined {
  const ordinary = new Set(runs.filter(({ is_new }) => !is_new).map(({ id }) => id));
  return chosen.findLast(({ workflow_run_id: id }) => ordinary.size === 0 || ordinary.has(id))?.workflow_run_id;
}

/** Which of these instances stand at I with this agent: leased by a try whose COMMIT was answered by nobody. */
function* leasedBefore(agentId: number, mine: ReadonlySet<number>): Procedure<number[]> {
  const list = idList(ascending([...mine]));
  const read = yield {
    sql: `SELECT id FROM task_instance WHERE id IN ${list.sql} AND status = 'I' AND agent_id = ? ORDER BY id`,
    params: [...list.params, agentId],
  };
  return (read.rows as { id: number }[]).map(({ id }) => id);
}

/**
 * Running server runs with something queued that this agent may serve, in turn order. A scalar subquery, not EXISTS: that one is
 * made a join by the optimizer and reads all that is queued.
 */
function* runsToServe(agent: AgentRow, afterRunId: number): Procedure<RunToServe[]> {
  const read = yield {
    sql:
      'SELECT wr.id, wr.user, COALESCE(w.priority, 0) AS priority, (SELECT ti.id FROM task_instance AS ti WHERE ti.workflow_run_id = wr.id ' +
      `AND ti.status <> 'Q' LIMIT 1 OFFSET ${NEW_ATTEMPTS_MAX - 1}) IS NULL AS is_new ` +
      'FROM workflow_run AS wr JOIN workflow AS w ON w.id = wr.workflow_id ' +
      `WHERE wr.status = 'R' AND wr.driver = '${Driver.SERVER}' AND COALESCE(wr.is_paused, 0) = 0 AND (? = 1 OR wr.user = ?) ` +
      "AND (SELECT ti.id FROM task_instance AS ti WHERE ti.workflow_run_id = wr.id AND ti.status = 'Q' LIMIT 1) IS NOT NULL " +
      `ORDER BY COALESCE(w.priority, 0) DESC, CASE WHEN wr.id > ? THEN 0 ELSE 1 END, wr.id LIMIT ${LEASE_RUNS_MAX}`,
    params: [agent.any_user, agent.user, afterRunId],
  };
  return (read.rows as (Omit<RunToServe, 'is_new'> & { is_new: number })[]).map((run) => ({ ...run, is_new: run.is_new === 1 }));
}

interface RunToServe extends RunInTurn {
  readonly user: string;
}

interface Candidate {
  readonly id: number;
  readonly task_id: number;
  readonly workflow_run_id: number;
  readonly cluster: string;
  readonly is_overdue: number;
  readonly requested_resources: string;
}

/**
 * Queued instances of each run for the wanted clusters, each branch in the order of the index and no longer than the lease. The
 * cluster is a scalar subquery so that no optimizer begins with it. Measured (bench/transition-statements, two busy shared
 * cores): 71,000 instances a second on MariaDB, 320,000 on SQLite. What they ask for is read by a second statement: few rows of
 * resources serve many instances.
 */
function* queuedInstances(
  dialect: Dialect,
  runs: readonly RunToServe[],
  wanted: ReadonlyMap<string, ClusterRoom>,
): Procedure<Candidate[]> {
  if (runs.length === 0) return [];
  const total = [...wanted.values()].reduce((sum, { slots }) => sum + slots, 0);
  const names = [...wanted.keys()];
  const cluster =
    '(SELECT c.name FROM task_resources AS tr JOIN queue AS q ON q.id = tr.queue_id ' +
    'JOIN cluster AS c ON c.id = q.cluster_id WHERE tr.id = ti.task_resources_id)';
  const branch =
    `SELECT * FROM (SELECT ti.id, ti.task_id, ti.workflow_run_id, ti.task_resources_id, ${cluster} AS cluster, ` +
    `ti.status_date <= ${dialect.nowPlusSeconds} AS is_overdue FROM task_instance AS ti ` +
    `WHERE ti.workflow_run_id = ? AND ti.status = 'Q' AND ${cluster} IN (${names.map(() => '?').join(',')}) ` +
    'ORDER BY ti.array_id, ti.id LIMIT ?)';
  const read = yield {
    sql: runs.map((_, at) => `${branch} AS run_${at}`).join(' UNION ALL '),
    params: runs.flatMap(({ id }) => [-OVERDUE_SECONDS, id, ...names, Math.min(total, LEASE_ROWS_MAX)]),
  };
  const rows = read.rows as (Omit<Candidate, 'requested_resources'> & { task_resources_id: number })[];
  const list = idList(ascending([...new Set(rows.map(({ task_resources_id }) => task_resources_id))]));
  if (rows.length === 0) return [];
  const resources = yield {
    sql: `SELECT id, requested_resources FROM task_resources WHERE id IN ${list.sql}`,
    params: list.params,
  };
  const requested = new Map((resources.rows as { id: number; requested_resources: string }[]).map((row) => [row.id, row]));
  return rows.map((row) => ({
    ...row,
    requested_resources: requested.get(row.task_resources_id)?.requested_resources ?? '',
  }));
}

/**
 * Those that fit. One that asks for more than this agent has in all is left to an agent that has enough, and cut to the whole of this
 * one when none lives; so is one whose task failed at its start here. Others are read only when that matters, or when an overdue head was passed over: it is the largest agent,
 * the oldest among equals, that is kept for such a head.
 */
function* choose(
  dialect: Dialect,
  agent: AgentRow,
  runs: readonly RunToServe[],
  candidates: readonly Candidate[],
  wanted: ReadonlyMap<string, ClusterRoom>,
  headStarts: number,
  failedTasks: ReadonlySet<number>,
): Procedure<Turns> {
  const own = roomOf(agent);
  const needs = new Map<string, { cores: number; memory_gib: number }>();
  const needOf = ({ requested_resources: text }: Candidate) => {
    const need = needs.get(text) ?? neededRoom(parsed(text));
    needs.set(text, need);
    return need;
  };
  const users = new Map(runs.map(({ id, user }) => [id, user]));
  const isBetterElsewhere = (candidate: Candidate): boolean =>
    failedTasks.has(candidate.task_id) || !isWithin(needOf(candidate), own);
  const isForOthers = candidates.some(isBetterElsewhere);
  let others: OtherAgent[] = isForOthers ? yield* otherAgents(dialect, agent) : [];
  const waiting = candidates.flatMap((candidate): Waiting[] => {
    const need = needOf(candidate);
    const canOther = (other: OtherAgent): boolean => serves(other, candidate, users) && isWithin(need, roomOf(other));
    if (isBetterElsewhere(candidate) && others.some(canOther)) return [];
    const { id, workflow_run_id, cluster } = candidate;
    const [cores, memory_gib] = [Math.min(need.cores, own.cores), Math.min(need.memory_gib, own.memory_gib)];
    return [{ id, workflow_run_id, cluster, cores, memory_gib, is_overdue: candidate.is_overdue === 1 }];
  });
  const first = takeTurns(runs, waiting, wanted, LEASE_ROWS_MAX, headStarts, () => false);
  if (first.passed_over.length === 0) return first;
  if (!isForOthers) others = yield* otherAgents(dialect, agent);
  const isKept = (head: Waiting): boolean => !others.some((other) => serves(other, head, users) && isLarger(other, agent));
  return takeTurns(runs, waiting, wanted, LEASE_ROWS_MAX, headStarts, isKept);
}

type OtherAgent = Pick<AgentRow, 'id' | 'user' | 'any_user' | 'cores' | 'memory_mib'> & { readonly clusters: string };

/** Living agents but this one that take work. Read without locks: a wrong guess costs time only. */
function* otherAgents(dialect: Dialect, agent: AgentRow): Procedure<OtherAgent[]> {
  const read = yield {
    sql:
      'SELECT id, user, any_user, cores, memory_mib, clusters FROM agent ' +
      `WHERE ended_date IS NULL AND lease_until_date > ${dialect.now} AND NOT ${CLOSED} AND id <> ?`,
    params: [agent.id],
  };
  return read.rows as OtherAgent[];
}

function serves(
  other: OtherAgent,
  { cluster, workflow_run_id }: { readonly cluster: string; readonly workflow_run_id: number },
  users: ReadonlyMap<number, string>,
): boolean {
  if (other.any_user !== 1 && other.user !== users.get(workflow_run_id)) return false;
  return (JSON.parse(other.clusters) as string[]).includes(cluster);
}

/** What an agent has in all; one that was registered without figures has room for everything. */
function roomOf({ cores, memory_mib }: Pick<AgentRow, 'cores' | 'memory_mib'>): { cores: number; memory_gib: number } {
  return { cores: cores ?? Number.MAX_VALUE, memory_gib: memory_mib === null ? Number.MAX_VALUE : memory_mib / MIB_PER_GIB };
}

function isWithin(need: { cores: number; memory_gib: number }, room: { cores: number; memory_gib: number }): boolean {
  return need.cores <= room.cores && need.memory_gib <= room.memory_gib;
}

function isLarger(other: OtherAgent, agent: AgentRow): boolean {
  const [theirs, own] = [roomOf(other), roomOf(agent)];
  if (theirs.cores !== own.cores) return theirs.cores > own.cores;
  if (theirs.memory_gib !== own.memory_gib) return theirs.memory_gib > own.memory_gib;
  return other.id < agent.id;
}

/** Requested resources; rows of other programs hold text that is no JSON, which asks for nothing that could be counted. */
function parsed(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** Where an attempt ends whose agent fell silent: nobody knows how it ended, or it never started, or it was told to stop. */
const ENDS_AT: Readonly<Partial<Record<TaskInstanceStatus, TaskInstanceStatus>>> = {
  I: 'W',
  O: 'U',
  R: 'U',
  T: 'U',
  X: 'E',
  K: 'F',
};

export interface Expired {
  readonly reply: ReplyOf<typeof expireAgent>;
  readonly changed: ChangedTasks[];
}

/**
 * Ends what a silent agent held, at most 1,000 attempts, each with its task's retry rule and an error text; with the last
 * of them it closes the agent. An agent whose lease has not passed by the database's clock keeps everything. Its attempts are looked up through
 * the live server runs, since agent_id has no index.
 */
export function* expire(dialect: Dialect, writer: string, request: RequestOf<typeof expireAgent>): Procedure<Expired> {
  const agent = yield* lockAgent(dialect, request.agent_id);
  if (!agent.is_silent) return { reply: { ended: 0, remaining: false }, changed: [] };
  const live = LIVE_WORKFLOW_RUN_STATUSES.map((letter) => `'${letter}'`).join(',');
  const owned = instancesByStatus('held', 'ti.id', Object.keys(ENDS_AT), {
    sql: `wr.status IN (${live}) AND wr.driver = '${Driver.SERVER}' AND ti.agent_id = ?`,
    params: [agent.id],
  });
  const held = yield { sql: `SELECT id FROM ${owned.sql} LIMIT ${EXPIRE_ROWS_MAX + 1}`, params: owned.params };
  const ids = (held.rows as { id: number }[]).map(({ id }) => id);
  if (ids.length <= EXPIRE_ROWS_MAX) {
    // With the last piece and not before: a reaper that ends between two pieces must find this agent again.
    yield {
      sql: `UPDATE agent SET ended_date = COALESCE(ended_date, ${dialect.now}) WHERE id = ?`,
      params: [agent.id],
    };
  }
  const transition = new Transition(dialect, writer);
  yield* transition.lock(ids.slice(0, EXPIRE_ROWS_MAX));
  let ended = 0;
  for (const id of ids.slice(0, EXPIRE_ROWS_MAX)) {
    const instance = transition.instance(id);
    const to = instance && ENDS_AT[instance.status];
    if (instance === undefined || to === undefined || instance.agent_id !== agent.id) continue;
    if (!transition.end(instance, [to], EXPIRE)) continue;
    ended += 1;
    transition.addError({ task_instance_id: id, description: silence(agent), is_new: 1 });
  }
  yield* transition.write();
  return { reply: { ended, remaining: ids.length > EXPIRE_ROWS_MAX }, changed: transition.changed() };
}

function silence(agent: AgentRow): string {
  return (
    `The agent ${agent.id} of ${agent.user} on ${agent.hostname}, which held this attempt, gave no sign of life; ` +
    `its lease passed at ${agent.lease_until_date} UTC. What became of the command is not known.`
  );
}
