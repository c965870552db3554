/** What must hold when a round is over: the database against itself, and against what the commands wrote down themselves. */
import { neverSucceeds, planOf, TASKS, type Witnessed } from './workflow';

export type Query = <Row>(sql: string) => Promise<Row[]>;

interface InstanceRow {
  readonly id: number;
  readonly status: string;
  readonly exit_code: number | null;
  readonly history_sequence: number;
  readonly position: number;
}

interface TaskRow {
  readonly position: number;
  readonly status: string;
  readonly num_attempts: number;
  readonly current: number;
}

/** Positions that stood at D at a moment, in seconds since the machine's start. */
export interface DoneAt {
  readonly at: number;
  readonly positions: ReadonlySet<number>;
}

const numberOf = (name: string): number => Number(name.slice('task_'.length));

export async function readDone(query: Query): Promise<ReadonlySet<number>> {
  const rows = await query<{ name: string }>("SELECT name FROM task WHERE status = 'D'");
  return new Set(rows.map(({ name }) => numberOf(name)));
}

/** Every rule that is broken, as sentences. */
export async function brokenRules(
  query: Query,
  log: readonly Witnessed[],
  isFailing: boolean,
  done: readonly DoneAt[],
): Promise<string[]> {
  const instances = (
    await query<Omit<InstanceRow, 'position'> & { name: string }>(
      'SELECT ti.id, ti.status, ti.exit_code, ti.history_sequence, t.name FROM task_instance ti JOIN task t ON t.id = ti.task_id ORDER BY ti.id',
    )
  ).map(({ name, ...row }): InstanceRow => ({ ...row, position: numberOf(name) }));
  const tasks = (
    await query<Omit<TaskRow, 'position'> & { name: string }>(
      'SELECT name, status, num_attempts, current_task_instance_id AS current FROM task',
    )
  ).map(({ name, ...row }): TaskRow => ({ ...row, position: numberOf(name) }));
  return [
    ...(await checkRun(query, isFailing)),
    ...checkTasks(tasks, instances, isFailing),
    ...checkWitness(tasks, instances, log, done),
    ...(await checkHistory(query, instances)),
    ...(await checkCounts(query)),
  ];
}

async function checkRun(query: Query, isFailing: boolean): Promise<string[]> {
  const broken: string[] = [];
  const workflows = await query<{ status: string }>('SELECT status FROM workflow');
  const runs = await query<{ status: string }>('SELECT status FROM workflow_run');
  if (workflows.length !== 1 || runs.length !== 1) broken.push(`${workflows.length} workflows and ${runs.length} runs`);
  const [run, workflow] = isFailing ? ['E', 'F'] : ['D', 'D'];
  if (runs[0]?.status !== run || workflows[0]?.status !== workflow) {
    broken.push(`the run ended at ${runs[0]?.status} and the workflow at ${workflows[0]?.status}, not at ${run} and ${workflow}`);
  }
  return broken;
}

/** Each task ends as its commands say, with as many attempts as there are instances, none of them live. */
function checkTasks(tasks: readonly TaskRow[], instances: readonly InstanceRow[], isFailing: boolean): string[] {
  const broken: string[] = [];
  if (tasks.length !== TASKS) broken.push(`${tasks.length} tasks`);
  for (const task of tasks) {
    const plan = planOf(task.position, isFailing);
    const own = instances.filter(({ position }) => position === task.position);
    const wanted = neverSucceeds(plan) ? 'F' : 'D';
    const name = `task ${task.position}`;
    if (task.status !== wanted) broken.push(`${name} ended at ${task.status}, not at ${wanted}`);
    if (task.num_attempts !== own.length)
      broken.push(`${name} has ${own.length} instances and counts ${task.num_attempts} attempts`);
    if (task.num_attempts > plan.max_attempts) broken.push(`${name} had ${task.num_attempts} attempts of ${plan.max_attempts}`);
    if (own.at(-1)?.id !== task.current) broken.push(`${name}: its current attempt is not its last`);
    if (own.slice(0, -1).some(({ status }) => status === 'D')) broken.push(`${name} was tried again after it was done`);
    if (wanted === 'D' && own.at(-1)?.status !== 'D') broken.push(`${name}: its last attempt ended at ${own.at(-1)?.status}`);
  }
  for (const { id, status } of instances) if ('QIORTXK'.includes(status)) broken.push(`attempt ${id} was left at ${status}`);
  return broken;
}

function checkWitness(
  tasks: readonly TaskRow[],
  instances: readonly InstanceRow[],
  log: readonly Witnessed[],
  done: readonly DoneAt[],
): string[] {
  const broken: string[] = [];
  const starts = new Map<number, Witnessed>();
  const ends = new Map<number, Witnessed>();
  for (const line of log) {
    if (line.what === 'twice') broken.push(`task ${line.position} ran twice at once (attempt ${line.task_instance_id})`);
    if (line.what === 'end') ends.set(line.task_instance_id, line);
    if (line.what !== 'start') continue;
    if (starts.has(line.task_instance_id)) broken.push(`attempt ${line.task_instance_id} was started twice`);
    starts.set(line.task_instance_id, line);
    for (const moment of done) {
      if (moment.positions.has(line.position) && line.at > moment.at) broken.push(`task ${line.position} was done and ran again`);
    }
  }
  const known = new Set(instances.map(({ id }) => id));
  for (const id of starts.keys()) if (!known.has(id)) broken.push(`attempt ${id} ran and is in no row`);
  const doneFrom = new Map(tasks.filter(({ status }) => status === 'D').map(({ position, current }) => [position, current]));
  for (const { id, position, status, exit_code } of instances) {
    const said = ends.get(id)?.code ?? null;
    if (status === 'D' && said !== 0) broken.push(`attempt ${id} is D, and its command said ${said}`);
    if (status === 'E' && exit_code === 1 && said !== 1)
      broken.push(`attempt ${id} is E with exit code 1, and its command said ${said}`);
    if (starts.has(id) && id > (doneFrom.get(position) ?? Number.POSITIVE_INFINITY))
      broken.push(`task ${position} ran after it was done`);
  }
  return broken;
}

/** Sequences 1, 2, 3 … up to the instance's own number, each step beginning where the last one ended. */
async function checkHistory(query: Query, instances: readonly InstanceRow[]): Promise<string[]> {
  const rows = await query<{ task_instance_id: number; sequence: number; from_status: string | null; to_status: string }>(
    'SELECT task_instance_id, sequence, from_status, to_status FROM task_instance_history ORDER BY task_instance_id, sequence',
  );
  const of = new Map<number, (typeof rows)[number][]>();
  for (const row of rows) of.set(row.task_instance_id, [...(of.get(row.task_instance_id) ?? []), row]);
  return instances.flatMap(({ id, status, history_sequence }) => {
    const steps = of.get(id) ?? [];
    const isWhole =
      steps.length === history_sequence &&
      steps.at(-1)?.to_status === status &&
      steps.every((step, at) => step.sequence === at + 1 && step.from_status === (steps[at - 1]?.to_status ?? null));
    const shown = steps.map((step) => `${step.sequence}:${step.from_status ?? ''}→${step.to_status}`).join(' ');
    return isWhole ? [] : [`attempt ${id} at ${status} has the history ${shown} and counts ${history_sequence}`];
  });
}

async function checkCounts(query: Query): Promise<string[]> {
  const kept = await query<{ array_id: number; status: string; n: number }>(
    'SELECT array_id, status, SUM(n) AS n FROM task_status_count GROUP BY array_id, status HAVING SUM(n) <> 0 ORDER BY array_id, status',
  );
  const counted = await query<{ array_id: number; status: string; n: number }>(
    'SELECT array_id, status, COUNT(*) AS n FROM task GROUP BY array_id, status ORDER BY array_id, status',
  );
  const shown = (rows: typeof kept): string =>
    rows.map(({ array_id, status, n }) => `${array_id}/${status}=${Number(n)}`).join(' ');
  return shown(kept) === shown(counted) ? [] : [`counts say ${shown(kept)}, the tasks ${shown(counted)}`];
}
