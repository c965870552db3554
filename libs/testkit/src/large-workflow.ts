/**
 * A workflow of a hundred thousand tasks that ran to its end, for tests and benchmarks of questions about it: ten templates in a row,
 * one task of each in every chain, an instance for each task, two for every nineteenth, whose first one failed with an error and a
 * traceback; every fifth of those failed for good. Written by set-based statements in a few seconds.
 */
import { randomBytes } from 'node:crypto';
import { LIMIT_NONE } from '@jobmon/contracts';
import type { Database, Procedure, SqlValue } from '@jobmon/entities';

export interface LargeWorkflow {
  readonly tool_id: number;
  readonly dag_id: number;
  readonly workflow_id: number;
  readonly workflow_run_id: number;
  readonly user: string;
  /** In the order of the chains. */
  readonly templates: readonly {
    readonly task_template_id: number;
    readonly task_template_version_id: number;
    readonly array_id: number;
  }[];
  /** Of the first chain, in its order. */
  readonly task_ids: readonly number[];
  /** The oldest instance that failed, and its task's template. */
  readonly failed: { readonly task_instance_id: number; readonly task_template_id: number };
  /** Tasks that failed for good, and rows of the error log. */
  readonly counts: { readonly failed_tasks: number; readonly errors: number };
}

/** Rows of one statement. */
const PIECE = 5_000;
/** Every such task failed once; coprime to ten, so that all templates have some. */
const FAILED_ONCE = 19;
/** Every such task failed twice and is not done. */
const FAILED = 95;
/** Which remainder fails. */
const UNLUCKY = 3;

const hash = (): string => BigInt(`0x${randomBytes(24).toString('hex')}`).toString();

/** `tasks` is rounded up to whole chains of `templates` tasks. */
export async function seedLargeWorkflow(database: Database, tasks: number, templates = 10): Promise<LargeWorkflow> {
  const made = await database.write({ label: 'test.large_definitions' }, () => insertDefinitions(database, templates));
  const count = Math.ceil(tasks / templates) * templates;
  for (let from = 0; from < count; from += PIECE) {
    const positions = Array.from({ length: Math.min(PIECE, count - from) }, (_, nth) => from + nth);
    await database.write({ label: 'test.large_nodes' }, () => insertNodes(database, made, positions));
  }
  for (let from = 0; from < count; from += PIECE) {
    const positions = Array.from({ length: Math.min(PIECE, count - from) }, (_, nth) => from + nth);
    await database.write({ label: 'test.large_tasks' }, () => insertTasks(database, made, positions, count));
  }
  for (const attempt of [1, 2]) {
    const all = Array.from({ length: count }, (_, position) => position);
    const positions = attempt === 1 ? all : all.filter(isUnlucky(FAILED_ONCE));
    for (let from = 0; from < positions.length; from += PIECE) {
      const piece = positions.slice(from, from + PIECE);
      await database.write({ label: 'test.large_instances' }, () => insertInstances(database, made, piece, attempt));
    }
  }
  return finish(database, made);
}

const isUnlucky =
  (step: number) =>
  (position: number): boolean =>
    position % step === UNLUCKY;

type Definitions = Omit<LargeWorkflow, 'task_ids' | 'failed' | 'counts'> & {
  readonly task_resources_id: number;
  readonly arg_id: number;
};

function* insertDefinitions(database: Database, templates: number): Procedure<Definitions> {
  const { now } = database.dialect;
  const mark = randomBytes(6).toString('hex');
  const insert = function* (sql: string, ...params: SqlValue[]): Procedure<number> {
    return (yield { sql: `INSERT INTO ${sql}`, params }).insert_id;
  };
  const tool_id = yield* insert('tool (name) VALUES (?)', `tool_${mark}`);
  const tool_version_id = yield* insert('tool_version (tool_id) VALUES (?)', tool_id);
  const dag_id = yield* insert(`dag (hash, created_date) VALUES (?, ${now})`, hash());
  const workflow_id = yield* insert(
    `workflow (tool_version_id, dag_id, workflow_args_hash, task_hash, name, workflow_args, max_concurrently_running, status, created_date, status_date)
     VALUES (?, ?, ?, ?, ?, ?, ${LIMIT_NONE}, 'F', ${now}, ${now})`,
    tool_version_id,
    dag_id,
    hash(),
    hash(),
    `large_${mark}`,
    mark,
  );
  const user = `user_${mark}`;
  const workflow_run_id = yield* insert(
    `workflow_run (workflow_id, \`user\`, jobmon_version, jobmon_server_version, status, driver, created_date, status_date, heartbeat_date)
     VALUES (?, ?, 'test', 'test', 'E', 'client', ${now}, ${now}, ${now})`,
    workflow_id,
    user,
  );
  const arg_id = yield* insert('arg (name) VALUES (?)', `location_${mark}`);
  const task_resources_id = yield* insert(
    `task_resources (queue_id, task_resources_type_id, requested_resources) VALUES (2, 'O', '{"cores": 2, "memory": 2, "runtime": 900}')`,
  );
  const list: { task_template_id: number; task_template_version_id: number; array_id: number }[] = [];
  for (let nth = 0; nth < templates; nth++) {
    const name = `step_${nth}_${mark}`;
    const task_template_id = yield* insert('task_template (tool_version_id, name) VALUES (?, ?)', tool_version_id, name);
    const task_template_version_id = yield* insert(
      `task_template_version (task_template_id, command_template, arg_mapping_hash) VALUES (?, 'step {location}', ?)`,
      task_template_id,
      hash(),
    );
    const array_id = yield* insert(
      `array (name, task_template_version_id, workflow_id, max_concurrently_running, created_date) VALUES (?, ?, ?, ${LIMIT_NONE}, ${now})`,
      name,
      task_template_version_id,
      workflow_id,
    );
    list.push({ task_template_id, task_template_version_id, array_id });
  }
  return { tool_id, dag_id, workflow_id, workflow_run_id, user, templates: list, task_resources_id, arg_id };
}

function* insertNodes(database: Database, made: Definitions, positions: readonly number[]): Procedure<void> {
  const { jsonRows, joinInOrder } = database.dialect;
  const rows = positions.map((position) => ({ ...nodeAt(made, position), location: String(position % 1_000) }));
  const given = jsonRows('r', { version: 'int', hash: 'text', location: 'text' });
  yield {
    sql: `INSERT INTO node (task_template_version_id, node_args_hash) SELECT r.version, r.hash FROM ${given}`,
    params: [JSON.stringify(rows)],
  };
  yield {
    sql: `INSERT INTO node_arg (node_id, arg_id, val) SELECT n.id, ${made.arg_id}, r.location
            FROM ${given} ${joinInOrder} node n ON n.task_template_version_id = r.version AND n.node_args_hash = r.hash`,
    params: [JSON.stringify(rows)],
  };
}

/** What finds the node of a task by its position: version and hash. */
function nodeAt({ templates }: Definitions, position: number): { version: number; hash: string } {
  return { version: templates[position % templates.length]!.task_template_version_id, hash: String(position) };
}

function* insertTasks(database: Database, made: Definitions, positions: readonly number[], count: number): Procedure<void> {
  const { jsonRows, joinInOrder, now } = database.dialect;
  const width = made.templates.length;
  const rows = positions.map((position) => {
    const hasUp = position % width > 0;
    const hasDown = position % width < width - 1 && position + 1 < count;
    const up = hasUp ? nodeAt(made, position - 1) : undefined;
    const down = hasDown ? nodeAt(made, position + 1) : undefined;
    return {
      ...nodeAt(made, position),
      up_version: up?.version,
      up_hash: up?.hash,
      down_version: down?.version,
      down_hash: down?.hash,
      array_id: made.templates[position % width]!.array_id,
      name: `task_${position}`,
      command: `python /share/code/step_${position % width}.py --location ${position} --out /share/results/${position}`,
      attempts: isUnlucky(FAILED_ONCE)(position) ? 2 : 1,
      status: isUnlucky(FAILED)(position) ? 'F' : 'D',
    };
  });
  const given = jsonRows('r', {
    version: 'int',
    hash: 'text',
    up_version: 'int',
    up_hash: 'text',
    down_version: 'int',
    down_hash: 'text',
    array_id: 'int',
    name: 'text',
    command: 'text',
    attempts: 'int',
    status: 'text',
  });
  const nodes = `${given} ${joinInOrder} node n ON n.task_template_version_id = r.version AND n.node_args_hash = r.hash`;
  yield {
    sql: `INSERT INTO task (workflow_id, node_id, task_args_hash, array_id, name, command, task_resources_id, num_attempts, max_attempts,
            resource_scales, fallback_queues, status, status_date)
          SELECT ${made.workflow_id}, n.id, '0', r.array_id, r.name, r.command, ${made.task_resources_id}, r.attempts, 2, '{}', '[]',
            r.status, ${now} FROM ${nodes}`,
    params: [JSON.stringify(rows)],
  };
  yield {
    sql: `INSERT INTO edge (dag_id, node_id, upstream_node_ids, downstream_node_ids)
          SELECT ${made.dag_id}, n.id, CASE WHEN u.id IS NULL THEN NULL ELSE CONCAT('[', u.id, ']') END,
            CASE WHEN d.id IS NULL THEN NULL ELSE CONCAT('[', d.id, ']') END
          FROM ${nodes}
          LEFT JOIN node u ON u.task_template_version_id = r.up_version AND u.node_args_hash = r.up_hash
          LEFT JOIN node d ON d.task_template_version_id = r.down_version AND d.node_args_hash = r.down_hash`,
    params: [JSON.stringify(rows)],
  };
}

function* insertInstances(database: Database, made: Definitions, positions: readonly number[], attempt: number): Procedure<void> {
  const { jsonRows, joinInOrder, now } = database.dialect;
  const rows = positions.map((position) => {
    const isFailed = attempt === 1 ? isUnlucky(FAILED_ONCE)(position) : isUnlucky(FAILED)(position);
    return {
      ...nodeAt(made, position),
      step: position,
      status: isFailed ? 'E' : 'D',
      host: `node-${position % 97}.cluster.example`,
      wallclock: `${10 + (position % 600)}.5`,
      maxrss: String(50_000_000 + (position % 1_000) * 1_000),
      log: `/share/logs/${position}_${attempt}`,
      stderr_log: isFailed ? traceback(position) : null,
    };
  });
  const given = jsonRows('r', {
    version: 'int',
    hash: 'text',
    step: 'int',
    status: 'text',
    host: 'text',
    wallclock: 'text',
    maxrss: 'text',
    log: 'text',
    stderr_log: 'text',
  });
  yield {
    sql: `INSERT INTO task_instance (workflow_run_id, array_id, task_id, distributor_id, task_resources_id, array_batch_num, array_step_id,
            nodename, wallclock, maxrss, stdout, stderr, stdout_log, stderr_log, status, submitted_date, status_date)
          SELECT ${made.workflow_run_id}, t.array_id, t.id, CONCAT('', r.step), ${made.task_resources_id}, ${attempt}, r.step, r.host,
            r.wallclock, r.maxrss, CONCAT(r.log, '.o'), CONCAT(r.log, '.e'), 'the end', r.stderr_log, r.status, ${now}, ${now}
          FROM ${given} ${joinInOrder} node n ON n.task_template_version_id = r.version AND n.node_args_hash = r.hash
          ${joinInOrder} task t ON t.node_id = n.id AND t.workflow_id = ${made.workflow_id}`,
    params: [JSON.stringify(rows)],
  };
}

/** Four kinds of failure, each with particulars of its own, after half a page of output. */
function traceback(position: number): string {
  const errors = [
    `KeyError: 'location ${position}'`,
    `FileNotFoundError: [Errno 2] No such file or directory: '/share/data/${position}.csv'`,
    `ValueError: cannot reshape array of size ${position} into shape (${position % 7},3)`,
    `MemoryError: Unable to allocate ${position % 90}.5 GiB`,
  ];
  const output = Array.from(
    { length: 20 },
    (_, line) => `2025-01-31 12:00:${10 + line} step ${line} of location ${position} is done`,
  );
  const frames = ['main', 'fit', 'load'].map(
    (name, at) => `  File "/share/code/model.py", line ${at + 7}, in ${name}\n    ${name}(data)`,
  );
  return [...output, 'Traceback (most recent call last):', ...frames, errors[position % errors.length]].join('\n');
}

/** What follows from the rows: the log of errors and the counts for display. */
async function finish(database: Database, made: Definitions): Promise<LargeWorkflow> {
  const { workflow_id, workflow_run_id } = made;
  await database.write({ label: 'test.large_errors' }, function* () {
    yield {
      sql: `INSERT INTO task_instance_error_log (task_instance_id, error_time, description)
            SELECT ti.id, ti.status_date, CONCAT('the command of task ', ti.task_id, ' returned 1')
              FROM task_instance ti WHERE ti.workflow_run_id = ? AND ti.status = 'E' ORDER BY ti.id`,
      params: [workflow_run_id],
    };
    yield {
      sql: `INSERT INTO task_status_count (workflow_id, array_id, status, writer, n)
            SELECT workflow_id, array_id, status, 'test', COUNT(*) FROM task WHERE workflow_id = ? GROUP BY workflow_id, array_id, status`,
      params: [workflow_id],
    };
  });
  const read = async <Row>(sql: string, ...params: SqlValue[]): Promise<Row[]> => database.read<Row>(sql, params);
  const chain = await read<{ id: number }>(
    'SELECT t.id AS id FROM task t WHERE t.workflow_id = ? ORDER BY t.id LIMIT ?',
    workflow_id,
    made.templates.length,
  );
  const [failed] = await read<{ id: number; array_id: number }>(
    `SELECT id, array_id FROM task_instance WHERE workflow_run_id = ? AND status = 'E' ORDER BY id LIMIT 1`,
    workflow_run_id,
  );
  const [errors] = await read<{ n: number }>(
    `SELECT COUNT(*) AS n FROM task_instance WHERE workflow_run_id = ? AND status = 'E'`,
    workflow_run_id,
  );
  const [fatal] = await read<{ n: number }>(`SELECT COUNT(*) AS n FROM task WHERE workflow_id = ? AND status = 'F'`, workflow_id);
  const { task_resources_id: _, arg_id: __, ...workflow } = made;
  return {
    ...workflow,
    task_ids: chain.map(({ id }) => id),
    failed: {
      task_instance_id: failed?.id ?? 0,
      task_template_id: made.templates.find(({ array_id }) => array_id === failed?.array_id)?.task_template_id ?? 0,
    },
    counts: { failed_tasks: Number(fatal?.n ?? 0), errors: Number(errors?.n ?? 0) },
  };
}
