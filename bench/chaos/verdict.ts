/** What became of a run: its rows and its log brought to the checks, and the tables that a person reads. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  judge,
  judgeRecovery,
  recoveriesOf,
  VIOLATIONS,
  type AttemptTimes,
  type Course,
  type Executed,
  type Fault,
  type Recovery,
  type Silence,
  type Violation,
} from '@jobmon/testkit';
import { zeroOfUptime } from './faults';

export interface Workflow {
  /** Its tasks are called `NAME_POSITION`, and a position waits for the one a width before it. */
  readonly name: string;
  readonly limit: number;
  readonly width: number;
  readonly lease_seconds: number;
  /** Seconds of each command, by task; only of what the server drives. */
  readonly lasts?: ReadonlyMap<string, number>;
}

export interface Ended extends Pick<Course, 'faults' | 'holders' | 'needs' | 'needsOfAgents' | 'clientAway' | 'bound_seconds'> {
  readonly query: <Row>(sql: string) => Promise<Row[]>;
  /** The folder with the commands' log. */
  readonly work: string;
  readonly workflows: readonly Workflow[];
  /** Agents by their state folders. */
  readonly hosts: ReadonlyMap<string, string>;
}

export interface Judged {
  readonly faults: readonly Fault[];
  readonly recoveries: readonly Recovery[];
  readonly violations: readonly Violation[];
  readonly excused: readonly string[];
  /** Commands started, by workflow. */
  readonly started: ReadonlyMap<string, number>;
}

const workflowOf = (task: string): string => task.slice(0, task.lastIndexOf('_'));

export async function verdictOf(ended: Ended): Promise<Judged> {
  const { query, faults, workflows } = ended;
  const log = readExecuted(ended.work);
  const tasks = await query<{ name: string; status: string; current: number | null }>(
    'SELECT name, status, current_task_instance_id AS current FROM task ORDER BY id',
  );
  const attempts = await query<{ id: number; task: string; status: string }>(
    'SELECT ti.id, t.name AS task, ti.status FROM task_instance ti JOIN task t ON t.id = ti.task_id ORDER BY ti.id',
  );
  const standing = await query<{ name: string; status: string }>('SELECT name, status FROM workflow');
  const silences = silencesOf(faults);
  const violations: Violation[] = [];
  const excused: string[] = [];
  for (const { name, limit, width, lease_seconds } of workflows) {
    const own = <Row>(rows: readonly Row[], taskOf: (row: Row) => string): Row[] =>
      rows.filter((row) => workflowOf(taskOf(row)) === name);
    const verdict = judge({
      log: own(log, ({ task }) => task),
      tasks: own(tasks, (task) => task.name).map((task) => {
        const position = Number(task.name.slice(name.length + 1));
        const upstreams = position < width ? [] : [`${name}_${position - width}`];
        const current = task.current === null ? null : Number(task.current);
        return { name: task.name, status: task.status, current_task_instance_id: current, upstreams };
      }),
      attempts: own(attempts, ({ task }) => task).map((one) => ({ ...one, id: Number(one.id) })),
      limit,
      silences,
      lease_seconds,
    });
    violations.push(...verdict.violations);
    excused.push(...verdict.excused);
    const status = standing.find((workflow) => workflow.name === name)?.status ?? 'nowhere';
    if (status !== 'D') violations.push({ kind: 'stuck', what: `the workflow ${name} was left at ${status}` });
  }
  const known = new Set(workflows.map(({ name }) => name));
  for (const { task } of log)
    if (!known.has(workflowOf(task))) violations.push({ kind: 'lost', what: `${task} is nobody's task` });
  const steps = await stepsOf(ended, log);
  const recoveries = recoveriesOf({ ...ended, ...steps });
  violations.push(...judgeRecovery(recoveries, ended.bound_seconds));
  // For whoever reads what is left of a run.
  writeFileSync(join(ended.work, 'course.json'), JSON.stringify({ recoveries, silences, ...steps }));
  const started = new Map(
    workflows.map(({ name }) => [name, log.filter(({ what, task }) => what === 'start' && workflowOf(task) === name).length]),
  );
  return { faults, recoveries, violations, excused, started };
}

/** A host is silent while it is frozen, dead, or cut off in any direction; faults that touch are one silence. */
function silencesOf(faults: readonly Fault[]): Silence[] {
  const silences: { host: string; from: number; to: number }[] = [];
  const spans = faults
    .filter(({ of, isDown }) => isDown && (of === 'agent' || of === 'python'))
    .map(({ name, from, to }) => ({ host: name.split(' ')[0]!, from, to }))
    .sort((a, b) => a.from - b.from);
  for (const span of spans) {
    const last = silences.findLast(({ host }) => host === span.host);
    if (last !== undefined && span.from <= last.to) last.to = Math.max(last.to, span.to);
    else silences.push(span);
  }
  return silences;
}

async function stepsOf(
  { query, workflows, hosts }: Ended,
  log: readonly Executed[],
): Promise<Pick<Course, 'attempts' | 'clientSteps'>> {
  const zero = zeroOfUptime();
  const rows = await query<{ id: number; task: string; to_status: string; at: string; state: string | null }>(
    `SELECT h.task_instance_id AS id, t.name AS task, h.to_status, a.state_directory AS state,
            TIMESTAMPDIFF(SECOND, '1970-01-01', h.date) + h.microsecond / 1000000 AS at
       FROM task_instance_history h
       JOIN task_instance ti ON ti.id = h.task_instance_id
       JOIN task t ON t.id = ti.task_id
       LEFT JOIN agent a ON a.id = ti.agent_id
      ORDER BY h.task_instance_id, h.sequence`,
  );
  const lasts = new Map(workflows.flatMap((workflow) => [...(workflow.lasts ?? [])]));
  const startOf = new Map(log.filter(({ what }) => what === 'start').map((line) => [line.task_instance_id, line.at]));
  const attempts = new Map<number, { -readonly [Key in keyof AttemptTimes]: AttemptTimes[Key] }>();
  const clientSteps: number[] = [];
  for (const row of rows) {
    const at = Number(row.at) - zero;
    const seconds = lasts.get(row.task);
    if (seconds === undefined) {
      clientSteps.push(at);
      continue;
    }
    const id = Number(row.id);
    const started_at = startOf.get(id) ?? null;
    const due_at = started_at === null ? null : started_at + seconds;
    const host = row.state === null ? null : (hosts.get(row.state) ?? null);
    const attempt = attempts.get(id) ?? {
      id,
      workflow: workflowOf(row.task),
      host,
      queued_at: at,
      leased_at: null,
      started_at,
      due_at,
      ended_at: null,
    };
    attempts.set(id, attempt);
    if (row.to_status === 'I') attempt.leased_at ??= at;
    if (!'QIORTKX'.includes(row.to_status)) attempt.ended_at = at;
  }
  return { attempts: [...attempts.values()], clientSteps: clientSteps.sort((a, b) => a - b) };
}

/** What the commands wrote down, in the order in which they wrote. */
export function readExecuted(folder: string): Executed[] {
  const file = join(folder, 'executed.log');
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const [what, task = '', attempt, at, host = '', code] = line.split(' ');
      return {
        what: what as Executed['what'],
        task,
        task_instance_id: Number(attempt),
        at: Number(at),
        host,
        code: what === 'end' ? Number(code) : null,
      };
    });
}

function quantile(values: readonly number[], share: number): string {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]?.toFixed(2) ?? '';
}

const table = (heads: readonly string[], rows: readonly (readonly (string | number)[])[]): string =>
  [heads, heads.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

/** The tables of a run, and its last line. */
export function told(judged: Judged & { readonly seconds: number; readonly deaths: readonly string[] }, tasks: number): string {
  const { faults, recoveries, violations, excused, started, seconds, deaths } = judged;
  const groups = new Map<string, Recovery[]>();
  for (const recovery of recoveries) {
    const name = `${recovery.fault.kind} | ${recovery.fault.of}`;
    groups.set(name, [...(groups.get(name) ?? []), recovery]);
  }
  const shares = [0.5, 0.99, 1];
  const isNumber = (value: number | null): value is number => value !== null;
  const rows = [...groups].sort().map(([name, group]) => {
    const work = group.map((one) => one.work).filter(isNumber);
    const itself = group.map((one) => one.itself).filter(isNumber);
    const down = group.map(({ fault }) => fault.to - fault.from);
    return [
      name,
      group.length,
      quantile(down, 1),
      ...shares.map((share) => quantile(work, share)),
      ...shares.map((share) => quantile(itself, share)),
    ];
  });
  const heads = [
    'fault',
    'of',
    'times',
    'longest, s',
    'work goes on after, s: p50',
    'p99',
    'max',
    'itself ready after, s: p50',
    'p99',
    'max',
  ];
  const counts = VIOLATIONS.map((kind) => [kind, violations.filter((one) => one.kind === kind).length]);
  const commands = [...started].map(([name, count]) => `${name} ${count}`).join(', ');
  return `${tasks} tasks, ${seconds.toFixed(0)} s; commands started: ${commands}; the Python client was started again ${deaths.length} times

${table(heads, rows)}

${table(['violation', 'times'], [...counts, ['(at once behind a host silent for longer than its lease)', excused.length]])}

${[
  ...deaths.map((why) => `- the Python client ended, ${why}`),
  ...excused.map((pair) => `- excused: ${pair}`),
  ...violations.map(({ kind, what }) => `- ${kind}: ${what}`),
]
  .map((line) => `${line}\n`)
  .join('')}chaos: ${tasks} tasks, ${faults.length} faults, ${violations.length} violations`;
}
