/**
 * The heart: one transaction moves a batch of task instances together with their tasks. Lock, then decide, then write
 * (design section 4).
 *
 * - **Resolve** ids without locks: which task and which run an instance belongs to never changes.
 * - **Lock** by primary key ascending, one statement per table, tasks before instances; never a locking join.
 * - **Decide** with the pure machine of contracts, request by request in order, on what was locked.
 * - **Write** one guarded statement per (from, to), then history, error log and counts. A guard that misses under the lock is a
 *   bug of ours: `GuardMissed` rolls everything back, and the lane does each request again alone.
 *
 * A `Transition` lives for one run of one procedure and is made inside it, so that a repeat after a deadlock begins anew.
 */
import {
  decideAttempt,
  Driver,
  LIVE_TASK_INSTANCE_STATUSES,
  type Actor,
  type AttemptDecision,
  type HistoryReason,
  type TaskInstanceStatus,
  type TaskStatus,
  type WorkflowRunStatus,
} from '@jobmon/contracts';
import {
  idList,
  lockRows,
  together,
  updateRows,
  type Dialect,
  type Procedure,
  type SqlValue,
  type Statement,
  type StatementResult,
} from '@jobmon/entities';
import { metrics } from '@jobmon/runtime';
import { endsOf } from './attempt-end';
import { guardedTogether, type Guarded } from './guard';
import { insertErrors, insertHistory, TaskStatusCounts, type ErrorRow, type HistoryRow } from './record';

/** A locked task. `status` is what this transaction has decided so far. */
export interface LockedTask {
  readonly id: number;
  readonly workflow_id: number;
  readonly array_id: number;
  readonly num_attempts: number;
  readonly max_attempts: number;
  readonly current_task_instance_id: number;
  readonly status_found: TaskStatus;
  status: TaskStatus;
  /** Set by `override`: the fence is cleared, and in G no attempt counts any more. Written even when the status stays. */
  is_overridden: boolean;
  /** Set by `giveBack`: besides, only the last attempt does not count. */
  is_given_back: boolean;
}

/** Columns that a report stores beside the status; each is written only where a value is given. */
export interface AttemptFields {
  nodename?: string | null;
  process_group_id?: number | null;
  distributor_id?: string | null;
  stdout?: string | null;
  stderr?: string | null;
  stdout_log?: string | null;
  stderr_log?: string | null;
  exit_code?: number | null;
  wallclock?: string | null;
  maxrss?: string | null;
  cpu?: string | null;
  agent_id?: number;
  /** The deadline becomes the database's now plus this. */
  report_by_seconds?: number;
  /** 1: the attempt started; stamps submitted_date once. */
  is_started?: 1;
}

const FIELD_TYPES: Readonly<Record<keyof AttemptFields, 'int' | 'text'>> = {
  nodename: 'text',
  process_group_id: 'int',
  distributor_id: 'text',
  stdout: 'text',
  stderr: 'text',
  stdout_log: 'text',
  stderr_log: 'text',
  exit_code: 'int',
  wallclock: 'text',
  maxrss: 'text',
  cpu: 'text',
  agent_id: 'int',
  report_by_seconds: 'int',
  is_started: 'int',
};

/** A locked instance with its task and its run. `status`, `steps` and `fields` are what this transaction has decided so far. */
export interface LockedInstance {
  readonly id: number;
  readonly task: LockedTask;
  readonly workflow_run_id: number;
  readonly driver: Driver;
  /** Where its run stood when the instance was resolved, before any lock. */
  readonly run_status: WorkflowRunStatus;
  readonly agent_id: number | null;
  readonly nodename: string | null;
  readonly process_group_id: number | null;
  /** Its deadline had passed under the lock. */
  readonly is_overdue: boolean;
  readonly status_found: TaskInstanceStatus;
  status: TaskInstanceStatus;
  /** Last sequence of its history before this transaction. */
  readonly history_sequence: number;
  /** Steps that this transaction adds to its history. */
  steps: number;
  readonly fields: AttemptFields;
}

/** Who asks, and by which operation: goes into the history. */
export interface Asker {
  readonly actor: Actor;
  readonly reason: HistoryReason;
}

/** Tasks of one run whose status changed: the payload of one `task.changed`. */
export interface ChangedTasks {
  readonly workflow_id: number;
  readonly workflow_run_id: number;
  readonly task_ids: number[];
}

export class Transition {
  private readonly instances = new Map<number, LockedInstance>();
  private readonly tasks = new Map<number, LockedTask>();
  private readonly history: HistoryRow[] = [];
  private readonly errors: ErrorRow[] = [];
  /** By task id; made when it is first asked for, after all locks. */
  private attempts: Map<string, LockedInstance[]> | null = null;

  constructor(
    private readonly dialect: Dialect,
    private readonly writer: string,
  ) {}

  /**
   * Resolves and locks these instances with their tasks. Ids without a row are left out. 3 statements in two messages, 4 with older rows. Answers
   * the rows of `beside`, a read that goes with the locks; none when no id has a row.
   */
  *lock(instanceIds: readonly number[], beside?: Statement): Procedure<StatementResult['rows']> {
    const ids = ascending(instanceIds);
    if (ids.length === 0) return [];
    const list = idList(ids);
    const resolved = yield {
      sql:
        'SELECT ti.id, ti.task_id, ti.workflow_run_id, wr.workflow_id, wr.driver, wr.status AS run_status ' +
        `FROM task_instance AS ti${this.dialect.byPrimaryKey} ` +
        `${this.dialect.joinInOrder} workflow_run AS wr ON wr.id = ti.workflow_run_id WHERE ti.id IN ${list.sql}`,
      params: list.params,
    };
    const owners = new Map<number, Owner>((resolved.rows as Owner[]).map((row) => [row.id, row]));
    if (owners.size === 0) return [];
    const columns =
      'id, status, agent_id, nodename, process_group_id, history_sequence, ' +
      `report_by_date <= ${this.dialect.now} AS is_overdue`;
    const [locked, read] = yield* this.lockTaskRows(
      [...owners.values()],
      lockRows(this.dialect, 'task_instance', columns, ascending([...owners.keys()])),
      ...(beside === undefined ? [] : [beside]),
    );
    for (const row of (locked?.rows ?? []) as unknown as InstanceRow[]) {
      const owner = owners.get(row.id);
      const task = owner && this.tasks.get(owner.task_id);
      if (owner === undefined || task === undefined) continue;
      this.instances.set(row.id, {
        ...row,
        task,
        workflow_run_id: owner.workflow_run_id,
        driver: owner.driver === Driver.SERVER ? Driver.SERVER : Driver.CLIENT,
        run_status: owner.run_status,
        is_overdue: row.is_overdue === 1,
        status_found: row.status,
        history_sequence: row.history_sequence ?? 0,
        steps: 0,
        fields: {},
      });
    }
    return read?.rows ?? [];
  }

  /** Locks these tasks of one workflow, then their attempts that have not ended: 3 statements, 6 when there are such attempts. */
  *lockTasks(workflowId: number, taskIds: readonly number[]): Procedure<LockedTask[]> {
    const given = idList(ascending(taskIds));
    // The workflow is looked at here: in the statement it would tempt the optimizer to read all of its tasks.
    const found = yield { sql: `SELECT id, workflow_id FROM task WHERE id IN ${given.sql}`, params: given.params };
    const own = (found.rows as { id: number; workflow_id: number | null }[]).filter((row) => row.workflow_id === workflowId);
    const ids = ascending(own.map(({ id }) => id));
    if (ids.length === 0) return [];
    yield* this.lockTaskRows(ids.map((task_id) => ({ task_id, workflow_id: workflowId })));
    const list = idList(ids);
    // Whoever moves an instance holds its task, so these stay as they are found.
    const live = yield {
      sql:
        `SELECT id FROM task_instance WHERE task_id IN ${list.sql} ` +
        `AND status IN (${LIVE_TASK_INSTANCE_STATUSES.map((letter) => `'${letter}'`).join(',')})`,
      params: list.params,
    };
    yield* this.lock((live.rows as { id: number }[]).map(({ id }) => id));
    return ids.flatMap((id) => this.tasks.get(id) ?? []);
  }

  /** The locked attempts of a task. */
  attemptsOf(task: LockedTask): LockedInstance[] {
    this.attempts ??= groupBy([...this.instances.values()], (instance) => String(instance.task.id));
    return this.attempts.get(String(task.id)) ?? [];
  }

  /** Puts a task where a reset or a person wants it, past its table; no attempt is its current one any more. */
  override(task: LockedTask, to: TaskStatus): void {
    task.status = to;
    task.is_overridden = true;
  }

  /** Makes a task ready again as it was before its current attempt, which nobody has taken, was queued. */
  giveBack(task: LockedTask): void {
    this.override(task, 'G');
    task.is_given_back = true;
  }

  /** A locked instance, if there is such a row. */
  instance(id: number): LockedInstance | undefined {
    return this.instances.get(id);
  }

  /** Decides one request to move an instance and takes the decision over; what was refused changes nothing. */
  move(instance: LockedInstance, to: TaskInstanceStatus, asker: Asker): AttemptDecision {
    const decision = decideAttempt({ instance, task: instance.task }, to);
    if (!decision.accepted) {
      metrics.refusals.inc({ reason: decision.because });
      return decision;
    }
    instance.steps += 1;
    this.history.push({
      task_instance_id: instance.id,
      sequence: instance.history_sequence + instance.steps,
      from_status: instance.status,
      to_status: decision.instance_to,
      ...asker,
    });
    instance.status = decision.instance_to;
    if (decision.task_to !== null) instance.task.status = decision.task_to;
    return decision;
  }

  /**
   * Moves an attempt by these steps to its end. Where its task can't follow, since another program has put it elsewhere, the attempt is closed as
   * one that was told to stop, and the task stays there (race 24): else nobody would ever end it. Answers whether it has ended.
   */
  end(instance: LockedInstance, steps: readonly TaskInstanceStatus[], asker: Asker): boolean {
    for (const step of steps) {
      const decision = this.move(instance, step, asker);
      if (decision.accepted) continue;
      if (decision.because !== 'task_not_ready') return false;
      return (instance.status === 'K' || this.move(instance, 'K', asker).accepted) && this.move(instance, 'F', asker).accepted;
    }
    return true;
  }

  /** Notes an error text of an instance; twice the same in one batch is one row. */
  addError(row: ErrorRow): void {
    const isKnown = this.errors.some(
      (error) => error.task_instance_id === row.task_instance_id && error.description === row.description,
    );
    if (row.is_new === 1 || !isKnown) this.errors.push(row);
  }

  /**
   * Writes all that was decided, in one message. Statements: one for each (from, to) of instances and of tasks, and one each of what
   * else there is.
   */
  *write(): Procedure<void> {
    const writes: Guarded[] = [];
    for (const [pair, group] of groupBy([...this.instances.values()].filter(isTouched), pairOf)) {
      const statement = updateInstances(this.dialect, group);
      writes.push({ what: `task_instance ${pair}`, expected: group.length, statement });
    }
    const counts = new TaskStatusCounts();
    const moved = [...this.tasks.values()].filter((task) => task.is_overridden || task.status !== task.status_found);
    for (const [pair, group] of groupBy(moved, (task) => `${pairOf(task)}${wayOf(task)}`)) {
      writes.push({ what: `task ${pair}`, expected: group.length, statement: updateTasks(this.dialect, group) });
      for (const task of group) counts.move(task, task.status_found, task.status);
    }
    const write = (what: string, statement: Statement | null): void => {
      if (statement !== null) writes.push({ what, expected: null, statement });
    };
    if (this.history.length > 0) {
      const ends = endsOf(this.history, this.errors, this.instances);
      write('history', Object.assign(insertHistory(this.dialect, this.history), { ends }));
    }
    if (this.errors.length > 0) write('errors', insertErrors(this.dialect, this.errors));
    write('counts', counts.write(this.dialect, this.writer));
    yield* guardedTogether(writes);
  }

  /** The tasks that `write` moved, by run, for the events after the commit. */
  changed(): ChangedTasks[] {
    const touched = [...this.instances.values()].filter(({ task }) => task.status !== task.status_found);
    return [...groupBy(touched, ({ workflow_run_id }) => String(workflow_run_id))].map(([run, group]) => ({
      workflow_id: group[0]?.task.workflow_id ?? 0,
      workflow_run_id: Number(run),
      task_ids: ascending(group.map(({ task }) => task.id)),
    }));
  }

  /** Locks tasks; `more` is done in the same message, and its results are the answer. */
  private *lockTaskRows(
    owners: readonly Pick<Owner, 'task_id' | 'workflow_id'>[],
    ...more: Statement[]
  ): Procedure<StatementResult[]> {
    const workflowOf = new Map(owners.map((owner) => [owner.task_id, owner.workflow_id]));
    const columns = 'id, array_id, status, num_attempts, max_attempts, current_task_instance_id';
    const [locked, ...results] = yield* together([
      lockRows(this.dialect, 'task', columns, ascending([...workflowOf.keys()])),
      ...more,
    ]);
    const rows = (locked?.rows ?? []) as unknown as TaskRow[];
    const newest = yield* newestInstances(rows.filter((row) => row.current_task_instance_id === null).map((row) => row.id));
    for (const row of rows) {
      this.tasks.set(row.id, {
        ...row,
        array_id: row.array_id ?? 0,
        workflow_id: workflowOf.get(row.id) ?? 0,
        current_task_instance_id: row.current_task_instance_id ?? newest.get(row.id) ?? 0,
        status_found: row.status,
        is_overridden: false,
        is_given_back: false,
      });
    }
    return results;
  }
}

interface Owner {
  readonly id: number;
  readonly task_id: number;
  readonly workflow_run_id: number;
  readonly workflow_id: number;
  readonly driver: string | null;
  readonly run_status: WorkflowRunStatus;
}

interface TaskRow {
  readonly id: number;
  readonly array_id: number | null;
  readonly status: TaskStatus;
  readonly num_attempts: number;
  readonly max_attempts: number;
  readonly current_task_instance_id: number | null;
}

interface InstanceRow {
  readonly id: number;
  readonly status: TaskInstanceStatus;
  readonly agent_id: number | null;
  readonly nodename: string | null;
  readonly process_group_id: number | null;
  readonly history_sequence: number | null;
  readonly is_overdue: number | null;
}

/** The fence of rows older than the column: the highest instance id of each task. The task rows are locked, so none can be added. */
function* newestInstances(taskIds: readonly number[]): Procedure<Map<number, number>> {
  if (taskIds.length === 0) return new Map();
  const list = idList(taskIds);
  const newest = yield {
    sql: `SELECT task_id, MAX(id) AS id FROM task_instance WHERE task_id IN ${list.sql} GROUP BY task_id`,
    params: list.params,
  };
  return new Map((newest.rows as { task_id: number; id: number }[]).map((row) => [row.task_id, row.id]));
}

/**
 * One (from, to) group of instances. Rows that all give the same (a lone report, a lease, what a silent agent leaves) are named by a
 * list of ids; else each row's values come from one JSON parameter. Measured
 * (bench/transition-statements, two busy shared cores, 100,000 rows beside): alike 24,000 to 55,000 rows a second on MariaDB,
 * where most of it is the index with the status, and 480,000 to 750,000 on SQLite; from JSON, with 200 characters of
 * output each, 20,000 and 180,000.
 */
function updateInstances(dialect: Dialect, group: readonly LockedInstance[]): Statement {
  const [first] = group as [LockedInstance];
  const isUniform = group.every(
    (row) => row.steps === first.steps && JSON.stringify(row.fields) === JSON.stringify(first.fields),
  );
  return isUniform ? updateAlike(dialect, group) : updateEach(dialect, group);
}

function updateAlike(dialect: Dialect, group: readonly LockedInstance[]): Statement {
  const [{ status_found: from, status: to, steps, fields }] = group as [LockedInstance];
  const set: string[] = [];
  const params: SqlValue[] = [];
  if (from !== to) set.push(`status = '${to}'`, `status_date = ${dialect.now}`);
  if (steps > 0) set.push(`history_sequence = COALESCE(history_sequence, 0) + ${steps}`);
  for (const name of namesOf([fields])) {
    if (name === 'is_started') {
      set.push(`submitted_date = COALESCE(submitted_date, ${dialect.now})`);
      continue;
    }
    set.push(name === 'report_by_seconds' ? `report_by_date = ${dialect.nowPlusSeconds}` : `${name} = ?`);
    params.push(fields[name] as SqlValue);
  }
  const list = idList(group.map(({ id }) => id));
  return {
    sql: `UPDATE task_instance SET ${set.join(', ')} WHERE id IN ${list.sql} AND status = '${from}'`,
    params: [...params, ...list.params],
  };
}

function updateEach(dialect: Dialect, group: readonly LockedInstance[]): Statement {
  const [{ status_found: from, status: to }] = group as [LockedInstance];
  const names = namesOf(group.map(({ fields }) => fields));
  const set: Record<string, string> = { history_sequence: 'COALESCE(task_instance.history_sequence, 0) + given.steps' };
  if (from !== to) Object.assign(set, { status: `'${to}'`, status_date: dialect.now });
  for (const name of names) Object.assign(set, assignmentOf(dialect, name));
  return updateRows(dialect, {
    table: 'task_instance',
    given: { id: 'int', steps: 'int', ...Object.fromEntries(names.map((name) => [name, FIELD_TYPES[name]])) },
    rows: group.map(({ id, steps, fields }) => ({ id, steps, ...(fields as Record<string, SqlValue>) })),
    set,
    where: `task_instance.status = '${from}'`,
  });
}

/** The columns that any of these rows gives, in a fixed order. */
function namesOf(all: readonly AttemptFields[]): (keyof AttemptFields)[] {
  return (Object.keys(FIELD_TYPES) as (keyof AttemptFields)[]).filter((name) =>
    all.some((fields) => fields[name] !== undefined && fields[name] !== null),
  );
}

/** The assignment of one field: a row that does not give it keeps what it has. */
function assignmentOf(dialect: Dialect, name: keyof AttemptFields): Record<string, string> {
  switch (name) {
    case 'report_by_seconds':
      return {
        report_by_date:
          `CASE WHEN given.report_by_seconds IS NULL THEN task_instance.report_by_date ` +
          `ELSE ${dialect.nowPlusSeconds.replace('?', 'given.report_by_seconds')} END`,
      };
    case 'is_started':
      return {
        submitted_date: `CASE WHEN given.is_started = 1 THEN COALESCE(task_instance.submitted_date, ${dialect.now}) ELSE task_instance.submitted_date END`,
      };
    default:
      return { [name]: `COALESCE(given.${name}, task_instance.${name})` };
  }
}

/** One (from, to) group of tasks. Measured as above: 145,000 to 225,000 rows a second on MariaDB, 760,000 to 970,000 on SQLite. */
function updateTasks(dialect: Dialect, group: readonly LockedTask[]): Statement {
  const [{ status_found: from, status: to, is_overridden, is_given_back }] = group as [LockedTask];
  const counted = is_given_back ? 'CASE WHEN num_attempts > 0 THEN num_attempts - 1 ELSE 0 END' : '0';
  const attempts = is_overridden ? `, current_task_instance_id = 0${to === 'G' ? `, num_attempts = ${counted}` : ''}` : '';
  const list = idList(group.map(({ id }) => id));
  return {
    sql: `UPDATE task SET status = '${to}', status_date = ${dialect.now}${attempts} WHERE id IN ${list.sql} AND status = '${from}'`,
    params: list.params,
  };
}

const isTouched = (instance: LockedInstance): boolean =>
  instance.status !== instance.status_found ||
  Object.values(instance.fields).some((value) => value !== undefined && value !== null);

const pairOf = (row: { readonly status_found: string; readonly status: string }): string => `${row.status_found}→${row.status}`;

const wayOf = (task: LockedTask): string => (task.is_given_back ? ' given back' : task.is_overridden ? ' by override' : '');

/** Rows by a key, in the order in which the keys first occur. */
export function groupBy<Row>(rows: readonly Row[], keyOf: (row: Row) => string): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const key = keyOf(row);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [row]);
    else group.push(row);
  }
  return groups;
}

/** Distinct ids in ascending order: the order of every lock. */
export function ascending(ids: readonly number[]): number[] {
  return [...new Set(ids)].sort((a, b) => a - b);
}
