/** A state machine over a test's database, with what it published and logged, and the truths that must hold after every test. */
import { taskInstanceMachine, verdict, type ClusterRoom, type TaskInstanceStatus } from '@jobmon/contracts';
import type { Database, SqlValue } from '@jobmon/entities';
import { inProcessMessenger, type Messenger, type Outcome } from '@jobmon/messaging';
import { createLogger, type Logger } from '@jobmon/runtime';
import { execute } from '@jobmon/testkit';
import { StateMachine } from '../src/state-machine';

export { execute };

export interface Started {
  readonly machine: StateMachine;
  readonly messenger: Messenger;
  /** Lines of the log, parsed. */
  readonly lines: { level: string; message: string; [member: string]: unknown }[];
}

/** Started over a database, or over one that a test stands in front of. */
export function startMachine(database: Database, writer = 'test'): Started {
  const lines: Started['lines'] = [];
  const log: Logger = createLogger({
    service: 'test',
    level: 'info',
    destination: { write: (line) => void lines.push(JSON.parse(line)) },
  });
  const messenger = inProcessMessenger({ log });
  return { machine: new StateMachine({ log, messenger, database, writer }), messenger, lines };
}

/** The replies; a test that expects an error looks at the outcome itself. */
export function replies<T>(outcomes: readonly Outcome<T>[]): T[] {
  return outcomes.map((outcome) => {
    if ('error' in outcome) throw new Error(`${outcome.error.code}: ${outcome.error.message}`);
    return outcome.ok;
  });
}

/** An agent whose lease ends in `lease_seconds`; negative: it passed. Without `cores` it has no figures, as older ones. */
export async function insertAgent(
  database: Database,
  agent: {
    readonly user?: string;
    readonly any_user?: boolean;
    readonly lease_seconds?: number;
    readonly cores?: number;
    readonly memory_gib?: number;
  } = {},
): Promise<number> {
  const { now, nowPlusSeconds } = database.dialect;
  return execute(
    database,
    'INSERT INTO agent (hostname, `user`, any_user, clusters, state_directory, process_id, version, registered_date, lease_until_date, cores, memory_mib) ' +
      `VALUES ('node1', ?, ?, '["sequential"]', '/tmp/agent', 1, 'test', ${now}, ${nowPlusSeconds}, ?, ?)`,
    [
      agent.user ?? 'ada',
      agent.any_user ? 1 : 0,
      agent.lease_seconds ?? 60,
      agent.cores ?? null,
      agent.cores === undefined ? null : (agent.memory_gib ?? 64) * 1_024,
    ],
  );
}

/** Room for so many attempts on each cluster, whatever they ask for. */
export function rooms(slots: Readonly<Record<string, number>>): Record<string, ClusterRoom> {
  return Object.fromEntries(
    Object.entries(slots).map(([cluster, count]) => [cluster, { slots: count, cores: 1_000_000, memory_gib: 1_000_000 }]),
  );
}

export interface Standing {
  readonly id: number;
  readonly status: TaskInstanceStatus;
  readonly task_id: number;
  readonly task_status: string;
  readonly num_attempts: number;
  readonly [column: string]: SqlValue;
}

/** Instances with their tasks as they stand. */
export async function standing(database: Database, ids: readonly number[]): Promise<Standing[]> {
  return database.read<Standing>(
    'SELECT ti.*, t.status AS task_status, t.num_attempts, t.current_task_instance_id FROM task_instance AS ti ' +
      `JOIN task AS t ON t.id = ti.task_id WHERE ti.id IN (${ids.join(',')}) ORDER BY ti.id`,
  );
}

/** `['Q', 'I', 'R']`: the states of an instance in the order of its history. */
export async function historyOf(database: Database, id: number): Promise<string[]> {
  const rows = await database.read<{ to_status: string }>(
    'SELECT to_status FROM task_instance_history WHERE task_instance_id = ? ORDER BY sequence',
    [id],
  );
  return rows.map((row) => row.to_status);
}

export async function errorsOf(database: Database, id: number): Promise<string[]> {
  const rows = await database.read<{ description: string }>(
    'SELECT description FROM task_instance_error_log WHERE task_instance_id = ? ORDER BY id',
    [id],
  );
  return rows.map((row) => row.description);
}

/** Notes how many tasks stand where, so that the counts written later can be compared with a recount. */
export async function countTasks(database: Database, workflow_id: number): Promise<Map<string, number>> {
  const rows = await database.read<{ status: string; n: number }>(
    'SELECT status, COUNT(*) AS n FROM task WHERE workflow_id = ? GROUP BY status',
    [workflow_id],
  );
  return new Map(rows.map(({ status, n }) => [status, Number(n)]));
}

/**
 * What holds after everything: counts agree with a recount (`before` is what stood when the state machine began); each history is gapless, chained
 * and ends where the instance stands; every step of it is in the table or closes an attempt as F; no task is D unless an
 * instance of it is, and a live current instance has a live task.
 */
export async function expectTruth(database: Database, workflow_id: number, before: ReadonlyMap<string, number>): Promise<void> {
  const counted = await database.read<{ status: string; n: number }>(
    'SELECT status, SUM(n) AS n FROM task_status_count WHERE workflow_id = ? GROUP BY status',
    [workflow_id],
  );
  const expected = new Map(before);
  for (const { status, n } of counted) expected.set(status, (expected.get(status) ?? 0) + Number(n));
  const nonZero = [...expected].filter(([, n]) => n !== 0).sort();
  expect(nonZero).toEqual([...(await countTasks(database, workflow_id))].sort());

  const steps = await database.read<{ id: number; sequence: number; from_status: string | null; to_status: string }>(
    'SELECT h.task_instance_id AS id, h.sequence, h.from_status, h.to_status FROM task_instance_history AS h ' +
      'JOIN task_instance AS ti ON ti.id = h.task_instance_id JOIN task AS t ON t.id = ti.task_id ' +
      'WHERE t.workflow_id = ? ORDER BY h.task_instance_id, h.sequence',
    [workflow_id],
  );
  const instances = await database.read<Standing & { history_sequence: number | null }>(
    'SELECT ti.id, ti.status, ti.task_id, ti.history_sequence, t.status AS task_status, t.current_task_instance_id ' +
      'FROM task_instance AS ti JOIN task AS t ON t.id = ti.task_id WHERE t.workflow_id = ?',
    [workflow_id],
  );
  const byId = new Map<number, typeof steps>();
  for (const step of steps) byId.set(step.id, [...(byId.get(step.id) ?? []), step]);
  for (const instance of instances) {
    const own = byId.get(instance.id) ?? [];
    expect([instance.id, own.map((step) => step.sequence)]).toEqual([instance.id, own.map((_, at) => at + 1)]);
    expect([instance.id, instance.history_sequence ?? 0]).toEqual([instance.id, own.length]);
    for (const [at, step] of own.entries()) {
      if (at > 0) expect(step.from_status).toBe(own[at - 1]?.to_status);
      if (step.from_status === null) continue;
      const said = verdict(taskInstanceMachine, step.from_status as TaskInstanceStatus, step.to_status as TaskInstanceStatus);
      expect([step, said === 'valid' || step.to_status === 'F']).toEqual([step, true]);
    }
    if (own.length > 0) expect(own.at(-1)?.to_status).toBe(instance.status);
    if (instance.current_task_instance_id !== instance.id) continue;
    if (instance.status === 'D') expect([instance.id, instance.task_status]).toEqual([instance.id, 'D']);
    if ('IOR'.includes(instance.status)) expect([instance.id, instance.task_status]).toEqual([instance.id, instance.status]);
  }
}
