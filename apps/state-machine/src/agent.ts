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
  type expireAgent,
  type leaseTaskInstances,
  type ReplyOf,
  type RequestOf,
  type TaskInstanceStatus,
} from '@jobmon/contracts';
import { idList, instancesByStatus, lockRows, type Dialect, type Procedure } from '@jobmon/entities';
import { ascending, Transition, type Asker, type ChangedTasks } from './transition';

/** Most instances in one lease: more than one agent can start at once, and still one short transaction. */
const LEASE_ROWS_MAX = 500;

/** Runs that one lease looks at. The others come first next time. */
const LEASE_RUNS_MAX = 16;

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
}

function* lockAgent(dialect: Dialect, agentId: number): Procedure<AgentRow> {
  const columns =
    'id, hostname, user, any_user, lease_until_date, ended_date IS NOT NULL AS is_ended, ' +
    `lease_until_date <= ${dialect.now} AS is_silent`;
  const [agent] = (yield lockRows(dialect, 'agent', columns, [agentId])).rows as AgentRow[];
  if (agent === undefined) throw new JobmonError('NOT_FOUND', `there is no agent ${agentId}`);
  return agent;
}

export interface Leased {
  readonly reply: ReplyOf<typeof leaseTaskInstances>;
  readonly changed: ChangedTasks[];
  /** The last run that got something: the next lease begins behind it. */
  readonly last_run_id: number;
}

/**
 * Gives an agent queued instances of the runs that it may serve, Q→I. Within a run in the order of the index
 * (workflow_run_id, status, array_id): arrays as they were bound, oldest first inside an array, so that a hundred thousand queued
 * instances are never sorted. Between runs by turns, beginning behind `afterRunId`. An agent that is ended or silent gets
 * nothing. `mine` are instances that an earlier try with an unknown end may have leased: they are answered if they were.
 */
export function* lease(
  dialect: Dialect,
  writer: string,
  request: RequestOf<typeof leaseTaskInstances>,
  afterRunId: number,
  mine: Set<number>,
): Procedure<Leased> {
  const agent = yield* lockAgent(dialect, request.agent_id);
  const nothing: Leased = { reply: { task_instance_ids: [] }, changed: [], last_run_id: afterRunId };
  const wanted = new Map(Object.entries(request.wanted).filter(([, count]) => count > 0));
  if (agent.is_ended || agent.is_silent || wanted.size === 0) return nothing;
  if (mine.size > 0) {
    const kept = yield* leasedBefore(agent.id, mine);
    if (kept.length > 0) return { ...nothing, reply: { task_instance_ids: kept } };
  }
  const runs = yield* runsToServe(agent, afterRunId);
  const candidates = yield* queuedInstances(runs, wanted);
  const chosen = takeTurns(runs, candidates, wanted);
  if (chosen.length === 0) return nothing;

  const transition = new Transition(dialect, writer);
  yield* transition.lock(chosen.map(({ id }) => id));
  const leased: number[] = [];
  for (const { id } of chosen) {
    const instance = transition.instance(id);
    if (instance === undefined || instance.status !== 'Q') continue;
    const decision = transition.move(instance, 'I', LEASE);
    if (!decision.accepted || decision.instance_to !== 'I') continue;
    instance.fields.agent_id = agent.id;
    leased.push(id);
    mine.add(id);
  }
  yield* transition.write();
  return {
    reply: { task_instance_ids: leased },
    changed: transition.changed(),
    last_run_id: chosen.at(-1)?.workflow_run_id ?? afterRunId,
  };
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
function* runsToServe(agent: AgentRow, afterRunId: number): Procedure<number[]> {
  const read = yield {
    sql:
      `SELECT wr.id FROM workflow_run AS wr WHERE wr.status = 'R' AND wr.driver = '${Driver.SERVER}' AND (? = 1 OR wr.user = ?) ` +
      "AND (SELECT ti.id FROM task_instance AS ti WHERE ti.workflow_run_id = wr.id AND ti.status = 'Q' LIMIT 1) IS NOT NULL " +
      `ORDER BY CASE WHEN wr.id > ? THEN 0 ELSE 1 END, wr.id LIMIT ${LEASE_RUNS_MAX}`,
    params: [agent.any_user, agent.user, afterRunId],
  };
  return (read.rows as { id: number }[]).map(({ id }) => id);
}

interface Candidate {
  readonly id: number;
  readonly workflow_run_id: number;
  readonly cluster: string;
}

/**
 * Queued instances of each run for the wanted clusters, each branch in the order of the index and no longer than the lease. The
 * cluster is a scalar subquery so that no optimizer begins with it. Measured (bench/transition-statements, two busy shared
 * cores): 71,000 instances a second on MariaDB, 320,000 on SQLite.
 */
function* queuedInstances(runs: readonly number[], wanted: ReadonlyMap<string, number>): Procedure<Candidate[]> {
  if (runs.length === 0) return [];
  const total = [...wanted.values()].reduce((sum, count) => sum + count, 0);
  const names = [...wanted.keys()];
  const cluster =
    '(SELECT c.name FROM task_resources AS tr JOIN queue AS q ON q.id = tr.queue_id ' +
    'JOIN cluster AS c ON c.id = q.cluster_id WHERE tr.id = ti.task_resources_id)';
  const branch =
    `SELECT * FROM (SELECT ti.id, ti.workflow_run_id, ${cluster} AS cluster FROM task_instance AS ti ` +
    `WHERE ti.workflow_run_id = ? AND ti.status = 'Q' AND ${cluster} IN (${names.map(() => '?').join(',')}) ` +
    'ORDER BY ti.array_id, ti.id LIMIT ?)';
  const read = yield {
    sql: runs.map((_, at) => `${branch} AS run_${at}`).join(' UNION ALL '),
    params: runs.flatMap((run) => [run, ...names, Math.min(total, LEASE_ROWS_MAX)]),
  };
  return read.rows as Candidate[];
}

/** One instance of each run in turn while its cluster still wants one. */
function takeTurns(runs: readonly number[], candidates: readonly Candidate[], wanted: ReadonlyMap<string, number>): Candidate[] {
  const left = new Map(wanted);
  const lines = runs.map((run) => candidates.filter((candidate) => candidate.workflow_run_id === run));
  const chosen: Candidate[] = [];
  const longest = Math.max(0, ...lines.map((line) => line.length));
  for (let turn = 0; turn < longest; turn += 1) {
    for (const line of lines) {
      const candidate = line[turn];
      const room = candidate && (left.get(candidate.cluster) ?? 0);
      if (candidate === undefined || !room || chosen.length >= LEASE_ROWS_MAX) continue;
      left.set(candidate.cluster, room - 1);
      chosen.push(candidate);
    }
  }
  return chosen;
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
    if (!transition.move(instance, to, EXPIRE).accepted) continue;
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
