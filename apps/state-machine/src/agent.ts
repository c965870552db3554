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
import { LEASE_ROWS_MAX, queuedInstances, type Candidate } from './queued';
import { ascending, Transition, type Asker, type ChangedTasks } from './transition';
import { NEW_ATTEMPTS_MAX, takeTurns, type RunInTurn, type Turns, type Waiting } from './turns';

/** Runs that a lease looks at together. Those that were not looked at come first next time. */
const LEASE_RUNS_MAX = 16;

/** So often a lease looks at further runs while those before have nothing for this agent: what waits for others must hide nothing. */
const LEASE_LOOKS_MAX = 16;

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
 * Gives an agent queued instances of the runs that it may serve, Q→I, as many as fit into its room. Within a run arrays as they were bound
 * and the oldest first inside an array (`queued.ts`). Between runs by turns (`turns.ts`), beginning where the lease before ended. An agent that is ended, silent,
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
  const wanted = new Map(Object.entries(request.wanted).filter(([, room]) => room.slots > 0 && room.cores > 0));
  if (agent.is_ended || agent.is_silent || wanted.size === 0) return nothing;
  if (mine.size > 0) {
    const kept = yield* leasedBefore(agent.id, mine);
    if (kept.length > 0) return { ...nothing, reply: { task_instance_ids: kept } };
  }
  if (agent.is_closed) return nothing;
  const failed = new Set(request.failed_tasks ?? []);
  const others = new Others(dialect, agent);
  let runs: RunToServe[] = [];
  let turns: Turns = { chosen: [], passed_over: [], head_starts: served.head_starts };
  for (let look = 0; look < LEASE_LOOKS_MAX && turns.chosen.length + turns.passed_over.length === 0; look++) {
    runs = yield* runsToServe(agent, served.run_id, look * LEASE_RUNS_MAX);
    others.serveRuns(runs);
    const candidates = yield* queuedInstances(dialect, runs, wanted, startable(wanted) + failed.size, (candidate) =>
      others.areToTake(candidate),
    );
    turns = yield* choose(others, runs, candidates, wanted, served.head_starts, failed);
    if (runs.length < LEASE_RUNS_MAX) break;
  }
  const { chosen, head_starts } = turns;
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
 * made a join by the optimizer and reads all that is queued. Which of them are new is asked with their ids as constants: in a subquery MariaDB
 * reads all that is queued for it too.
 */
function* runsToServe(agent: AgentRow, afterRunId: number, offset: number): Procedure<RunToServe[]> {
  const read = yield {
    sql:
      'SELECT wr.id, wr.user, COALESCE(w.priority, 0) AS priority FROM workflow_run AS wr JOIN workflow AS w ON w.id = wr.workflow_id ' +
      `WHERE wr.status = 'R' AND wr.driver = '${Driver.SERVER}' AND COALESCE(wr.is_paused, 0) = 0 AND (? = 1 OR wr.user = ?) ` +
      "AND (SELECT ti.id FROM task_instance AS ti WHERE ti.workflow_run_id = wr.id AND ti.status = 'Q' LIMIT 1) IS NOT NULL " +
      `ORDER BY COALESCE(w.priority, 0) DESC, CASE WHEN wr.id > ? THEN 0 ELSE 1 END, wr.id LIMIT ${LEASE_RUNS_MAX} OFFSET ?`,
    params: [agent.any_user, agent.user, afterRunId, offset],
  };
  const runs = read.rows as Omit<RunToServe, 'is_new'>[];
  if (runs.length === 0) return [];
  const old =
    "SELECT * FROM (SELECT workflow_run_id AS id FROM task_instance WHERE workflow_run_id = ? AND status <> 'Q' " +
    `LIMIT 1 OFFSET ${NEW_ATTEMPTS_MAX - 1})`;
  const asked = yield {
    sql: runs.map((_, at) => `${old} AS run_${at}`).join(' UNION ALL '),
    params: runs.map(({ id }) => id),
  };
  const isOld = new Set((asked.rows as { id: number }[]).map(({ id }) => id));
  return runs.map((run) => ({ ...run, is_new: !isOld.has(run.id) }));
}

interface RunToServe extends RunInTurn {
  readonly user: string;
}

/** Most attempts that fit: each takes a core at least (`neededRoom`), so a thousand slots and two free cores are room for two. */
function startable(wanted: ReadonlyMap<string, ClusterRoom>): number {
  return [...wanted.values()].reduce((sum, { slots, cores }) => sum + Math.min(slots, Math.ceil(cores)), 0);
}

/**
 * Those that fit. One whose task failed at its start here is left to another agent that has enough, while one lives. It is the largest agent, the
 * oldest among equals, that is kept for an overdue head that was passed over.
 */
function* choose(
  others: Others,
  runs: readonly RunToServe[],
  candidates: readonly Candidate[],
  wanted: ReadonlyMap<string, ClusterRoom>,
  headStarts: number,
  failedTasks: ReadonlySet<number>,
): Procedure<Turns> {
  const waiting: Waiting[] = [];
  for (const candidate of candidates) {
    if (failedTasks.has(candidate.task_id) && (yield* others.areAble(candidate))) continue;
    const { id, workflow_run_id, cluster } = candidate;
    waiting.push({ id, workflow_run_id, cluster, ...others.roomHere(candidate), is_overdue: candidate.is_overdue === 1 });
  }
  const first = takeTurns(runs, waiting, wanted, LEASE_ROWS_MAX, headStarts, () => false);
  if (first.passed_over.length === 0) return first;
  yield* others.ask();
  return takeTurns(runs, waiting, wanted, LEASE_ROWS_MAX, headStarts, (head) => !others.haveLarger(head));
}

type OtherAgent = Pick<AgentRow, 'id' | 'user' | 'any_user' | 'cores' | 'memory_mib'> & { readonly clusters: string };

/** Living agents but one that take work, and what is better left to them. Read when that first matters, without locks: a wrong guess costs time only. */
class Others {
  private known: OtherAgent[] | undefined;
  private readonly own: Room;
  private readonly needs = new Map<string, Room>();
  private users: ReadonlyMap<number, string> = new Map();

  constructor(
    private readonly dialect: Dialect,
    private readonly agent: AgentRow,
  ) {
    this.own = roomOf(agent);
  }

  /** Whose runs are asked about from now on. */
  serveRuns(runs: readonly RunToServe[]): void {
    this.users = new Map(runs.map(({ id, user }) => [id, user]));
  }

  /** What an attempt takes here: one that asks for more than the agent has in all, and that nobody else can take, gets the whole of it. */
  roomHere(candidate: Candidate): Room {
    const { cores, memory_gib } = this.needOf(candidate);
    return { cores: Math.min(cores, this.own.cores), memory_gib: Math.min(memory_gib, this.own.memory_gib) };
  }

  /** Whether it asks for more than the agent has in all, and another has enough. The same for all that ask for the same in one run. */
  *areToTake(candidate: Candidate): Procedure<boolean> {
    return !isWithin(this.needOf(candidate), this.own) && (yield* this.areAble(candidate));
  }

  /** Whether another has enough in all. */
  *areAble(candidate: Candidate): Procedure<boolean> {
    const need = this.needOf(candidate);
    return (yield* this.ask()).some((other) => this.serves(other, candidate) && isWithin(need, roomOf(other)));
  }

  /** Whether a larger one serves it, or one as large and older. Asked before by `ask`. */
  haveLarger(head: Waiting): boolean {
    return (this.known ?? []).some((other) => this.serves(other, head) && isLarger(other, this.agent));
  }

  *ask(): Procedure<OtherAgent[]> {
    if (this.known !== undefined) return this.known;
    const read = yield {
      sql:
        'SELECT id, user, any_user, cores, memory_mib, clusters FROM agent ' +
        `WHERE ended_date IS NULL AND lease_until_date > ${this.dialect.now} AND NOT ${CLOSED} AND id <> ?`,
      params: [this.agent.id],
    };
    return (this.known = read.rows as OtherAgent[]);
  }

  private needOf({ requested_resources: text }: Candidate): Room {
    const need = this.needs.get(text) ?? neededRoom(parsed(text));
    this.needs.set(text, need);
    return need;
  }

  private serves(
    other: OtherAgent,
    { cluster, workflow_run_id }: { readonly cluster: string; readonly workflow_run_id: number },
  ): boolean {
    if (other.any_user !== 1 && other.user !== this.users.get(workflow_run_id)) return false;
    return (JSON.parse(other.clusters) as string[]).includes(cluster);
  }
}

interface Room {
  readonly cores: number;
  readonly memory_gib: number;
}

/** What an agent has in all; one that was registered without figures has room for everything. */
function roomOf({ cores, memory_mib }: Pick<AgentRow, 'cores' | 'memory_mib'>): Room {
  return { cores: cores ?? Number.MAX_VALUE, memory_gib: memory_mib === null ? Number.MAX_VALUE : memory_mib / MIB_PER_GIB };
}

function isWithin(need: Room, room: Room): boolean {
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
