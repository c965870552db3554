/**
 * Rows for tests of other parts: a whole workflow in one call, written by a few set-based statements, without going through any
 * service. What it writes is what the api's registration and the state machine's submission would have left.
 */
import { randomBytes, createHash } from 'node:crypto';
import {
  Driver,
  LIMIT_NONE,
  type TaskInstanceStatus,
  type TaskStatus,
  type WorkflowRunStatus,
  type WorkflowStatus,
} from '@jobmon/contracts';
import type { Database, Procedure, SqlValue, Statement } from '@jobmon/entities';

export interface WorkflowToInsert {
  /** How many tasks; 1 when absent. At most 100,000. */
  readonly tasks?: number;
  /** Of every task, or of each by its position. G when absent. */
  readonly task_status?: TaskStatus | ((position: number) => TaskStatus);
  readonly max_attempts?: number;
  /** Positions of a task's upstreams; none when absent. */
  readonly upstreams?: (position: number) => readonly number[];
  readonly command?: (position: number) => string;
  readonly name?: string;
  readonly user?: string;
  readonly max_concurrently_running?: number;
  readonly array_max_concurrently_running?: number;
  readonly workflow_status?: WorkflowStatus;
  /** `server` when absent. */
  readonly driver?: Driver;
  /** R when absent. */
  readonly run_status?: WorkflowRunStatus;
  /** Seconds from now to the run's deadline; 93 when absent, negative for a run that is overdue. */
  readonly deadline_seconds?: number;
  readonly working_directory?: string;
  /** Each task gets one current instance in this status, of this run, with num_attempts 1. None when absent. */
  readonly instance_status?: TaskInstanceStatus | ((position: number) => TaskInstanceStatus);
  /** The agent that holds the instances. */
  readonly agent_id?: number;
  /** Name of a seeded cluster; `sequential` when absent. */
  readonly cluster?: string;
}

export interface InsertedWorkflow {
  readonly tool_id: number;
  readonly tool_version_id: number;
  readonly task_template_id: number;
  readonly task_template_version_id: number;
  readonly dag_id: number;
  readonly workflow_id: number;
  readonly workflow_run_id: number;
  readonly array_id: number;
  readonly task_resources_id: number;
  readonly queue_id: number;
  /** By position. */
  readonly node_ids: readonly number[];
  readonly task_ids: readonly number[];
  /** By position; empty when no instances were asked for. */
  readonly task_instance_ids: readonly number[];
}

const PIECE = 5_000;
const TASKS_MAX = 100_000;

/** One statement in a transaction of its own; answers the id of the inserted row, if it inserts one. */
export function execute(database: Database, sql: string, params: readonly SqlValue[] = []): Promise<number> {
  return database.write({ label: 'test' }, function* (): Procedure<number> {
    return (yield { sql, params }).insert_id;
  });
}

/** Inserts a tool, a template, a graph, a workflow with its tasks, and one run. Every call makes rows of its own. */
export async function insertWorkflow(database: Database, wanted: WorkflowToInsert = {}): Promise<InsertedWorkflow> {
  const count = wanted.tasks ?? 1;
  if (count > TASKS_MAX) throw new Error(`insertWorkflow makes at most ${TASKS_MAX} tasks`);
  const definitions = await database.write({ label: 'test.definitions' }, () => insertDefinitions(database, wanted));
  const node_ids: number[] = [];
  const task_ids: number[] = [];
  const task_instance_ids: number[] = [];
  for (let from = 0; from < count; from += PIECE) {
    const piece = Array.from({ length: Math.min(PIECE, count - from) }, (_, i) => from + i);
    const ids = await database.write({ label: 'test.tasks' }, () => insertTasks(database, wanted, definitions, piece));
    node_ids.push(...ids.node_ids);
    task_ids.push(...ids.task_ids);
    task_instance_ids.push(...ids.task_instance_ids);
  }
  await insertEdges(database, wanted, definitions.dag_id, node_ids);
  return { ...definitions, node_ids, task_ids, task_instance_ids };
}

type Definitions = Omit<InsertedWorkflow, 'node_ids' | 'task_ids' | 'task_instance_ids'>;

/** A statement whose one row's id is wanted. */
function insert(table: string, row: Readonly<Record<string, SqlValue>>, dates: Readonly<Record<string, string>> = {}): Statement {
  const columns = [...Object.keys(row), ...Object.keys(dates)].map((column) => `\`${column}\``);
  const values = [...Object.keys(row).map(() => '?'), ...Object.values(dates)];
  return { sql: `INSERT INTO \`${table}\` (${columns.join(', ')}) VALUES (${values.join(', ')})`, params: Object.values(row) };
}

/** A number as the hashes of the wire look: decimal digits. */
function digits(): string {
  return BigInt(`0x${randomBytes(24).toString('hex')}`).toString();
}

function identity(...parts: (string | number)[]): string {
  return createHash('sha256').update(parts.join('\n')).digest('hex');
}

function* insertDefinitions(database: Database, wanted: WorkflowToInsert): Procedure<Definitions> {
  const { now } = database.dialect;
  const mark = randomBytes(6).toString('hex');
  const tool_id = (yield insert('tool', { name: `tool_${mark}` })).insert_id;
  const tool_version_id = (yield insert('tool_version', { tool_id })).insert_id;
  const task_template_id = (yield insert('task_template', { tool_version_id, name: `template_${mark}` })).insert_id;
  const task_template_version_id = (yield insert('task_template_version', {
    task_template_id,
    command_template: 'echo {x}',
    arg_mapping_hash: digits(),
  })).insert_id;
  const dag_id = (yield insert('dag', { hash: digits() }, { created_date: now })).insert_id;
  const hashes = { workflow_args_hash: digits(), task_hash: digits() };
  const workflow_id = (yield insert(
    'workflow',
    {
      tool_version_id,
      dag_id,
      ...hashes,
      name: wanted.name ?? `workflow_${mark}`,
      workflow_args: mark,
      max_concurrently_running: wanted.max_concurrently_running ?? LIMIT_NONE,
      status: wanted.workflow_status ?? 'R',
      identity: identity(tool_version_id, dag_id, hashes.workflow_args_hash, hashes.task_hash),
    },
    { created_date: now, status_date: now },
  )).insert_id;
  const workflow_run_id = (yield {
    sql: `INSERT INTO workflow_run (workflow_id, \`user\`, jobmon_version, jobmon_server_version, status, driver, working_directory,
            created_date, status_date, heartbeat_date)
          VALUES (?, ?, 'test', 'test', ?, ?, ?, ${now}, ${now}, ${database.dialect.nowPlusSeconds})`,
    params: [
      workflow_id,
      wanted.user ?? 'ada',
      wanted.run_status ?? 'R',
      wanted.driver ?? Driver.SERVER,
      wanted.working_directory ?? '/tmp',
      wanted.deadline_seconds ?? 93,
    ],
  }).insert_id;
  const array_id = (yield insert(
    'array',
    {
      name: `template_${mark}`,
      task_template_version_id,
      workflow_id,
      max_concurrently_running: wanted.array_max_concurrently_running ?? LIMIT_NONE,
    },
    { created_date: now },
  )).insert_id;
  const queues = yield {
    sql: `SELECT q.id AS id FROM queue q JOIN cluster c ON c.id = q.cluster_id WHERE c.name = ? AND q.name = 'null.q'`,
    params: [wanted.cluster ?? 'sequential'],
  };
  const queue_id = Number(queues.rows[0]!.id);
  // The identity is left out on purpose: these resources belong to this workflow alone.
  const task_resources_id = (yield insert('task_resources', {
    queue_id,
    task_resources_type_id: 'O',
    requested_resources: '{"cores": 1}',
  })).insert_id;
  return {
    tool_id,
    tool_version_id,
    task_template_id,
    task_template_version_id,
    dag_id,
    workflow_id,
    workflow_run_id,
    array_id,
    task_resources_id,
    queue_id,
  };
}

function* insertTasks(
  database: Database,
  wanted: WorkflowToInsert,
  ids: Definitions,
  positions: readonly number[],
): Procedure<Pick<InsertedWorkflow, 'node_ids' | 'task_ids' | 'task_instance_ids'>> {
  const { now, jsonRows } = database.dialect;
  const of = <T>(value: T | ((position: number) => T) | undefined, position: number): T | undefined =>
    typeof value === 'function' ? (value as (position: number) => T)(position) : value;
  yield {
    sql: `INSERT INTO node (task_template_version_id, node_args_hash)
          SELECT ${ids.task_template_version_id}, r.hash FROM ${jsonRows('r', { position: 'int', hash: 'text' })} ORDER BY r.position`,
    params: [JSON.stringify(positions.map((position) => ({ position, hash: String(position) })))],
  };
  const nodes = yield {
    sql: `SELECT id, node_args_hash FROM node WHERE task_template_version_id = ?`,
    params: [ids.task_template_version_id],
  };
  const nodeByPosition = new Map(nodes.rows.map((row) => [Number(row.node_args_hash), Number(row.id)]));
  const node_ids = positions.map((position) => nodeByPosition.get(position)!);
  const isQueued = wanted.instance_status !== undefined;
  yield {
    sql: `INSERT INTO task (workflow_id, node_id, task_args_hash, array_id, name, command, task_resources_id, num_attempts, max_attempts,
            resource_scales, fallback_queues, status, status_date, identity)
          SELECT ${ids.workflow_id}, r.node_id, '0', ${ids.array_id}, r.name, r.command, ${ids.task_resources_id}, ${isQueued ? 1 : 0},
            ${wanted.max_attempts ?? 3}, '{}', '[]', r.status, ${now}, r.identity
          FROM ${jsonRows('r', { node_id: 'int', name: 'text', command: 'text', status: 'text', identity: 'text' })} ORDER BY r.node_id`,
    params: [
      JSON.stringify(
        positions.map((position, i) => ({
          node_id: node_ids[i],
          name: `task_${position}`,
          command: of(wanted.command, position) ?? `echo ${position}`,
          status: of(wanted.task_status, position) ?? (isQueued ? 'Q' : 'G'),
          identity: identity(ids.workflow_id, node_ids[i]!, '0'),
        })),
      ),
    ],
  };
  const tasks = yield { sql: `SELECT id, node_id FROM task WHERE workflow_id = ?`, params: [ids.workflow_id] };
  const taskByNode = new Map(tasks.rows.map((row) => [Number(row.node_id), Number(row.id)]));
  const task_ids = node_ids.map((node_id) => taskByNode.get(node_id)!);
  if (!isQueued) return { node_ids, task_ids, task_instance_ids: [] };

  yield {
    sql: `INSERT INTO task_instance (workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, status,
            status_date, agent_id)
          SELECT ${ids.workflow_run_id}, ${ids.array_id}, r.task_id, ${ids.task_resources_id}, 1, r.step, r.status, ${now}, ?
          FROM ${jsonRows('r', { task_id: 'int', step: 'int', status: 'text' })} ORDER BY r.task_id`,
    params: [
      wanted.agent_id ?? null,
      JSON.stringify(positions.map((step, i) => ({ task_id: task_ids[i], step, status: of(wanted.instance_status, step) }))),
    ],
  };
  const instances = yield {
    sql: `SELECT id, task_id FROM task_instance WHERE array_id = ?`,
    params: [ids.array_id],
  };
  const instanceByTask = new Map(instances.rows.map((row) => [Number(row.task_id), Number(row.id)]));
  const task_instance_ids = task_ids.map((task_id) => instanceByTask.get(task_id)!);
  yield {
    sql: `UPDATE task SET current_task_instance_id = (SELECT MAX(i.id) FROM task_instance i WHERE i.task_id = task.id)
           WHERE workflow_id = ?`,
    params: [ids.workflow_id],
  };
  return { node_ids, task_ids, task_instance_ids };
}

async function insertEdges(
  database: Database,
  wanted: WorkflowToInsert,
  dag_id: number,
  node_ids: readonly number[],
): Promise<void> {
  const upstreams = node_ids.map((_, position) => wanted.upstreams?.(position) ?? []);
  const downstreams = node_ids.map((): number[] => []);
  upstreams.forEach((above, position) => above.forEach((up) => downstreams[up]!.push(position)));
  const list = (positions: readonly number[]): string => JSON.stringify(positions.map((position) => node_ids[position]));
  const sql = `INSERT INTO edge (dag_id, node_id, upstream_node_ids, downstream_node_ids)
               SELECT ${dag_id}, r.node_id, r.up, r.down FROM ${database.dialect.jsonRows('r', { node_id: 'int', up: 'text', down: 'text' })}`;
  for (let from = 0; from < node_ids.length; from += PIECE) {
    const rows = node_ids.slice(from, from + PIECE).map((node_id, i) => ({
      node_id,
      up: list(upstreams[from + i]!),
      down: list(downstreams[from + i]!),
    }));
    await database.write({ label: 'test.edges' }, function* () {
      yield { sql, params: [JSON.stringify(rows)] };
    });
  }
}
