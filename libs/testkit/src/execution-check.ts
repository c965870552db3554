/**
 * What commands wrote down themselves, held against the database: nothing lost, nothing run twice at once or again after it was done,
 * nothing before its parents, nothing over a limit, nothing stuck. Pure: whoever calls brings the rows.
 */

/** One line that a command wrote and synced; `at` in seconds of the machine's one clock. */
export interface Executed {
  readonly what: 'start' | 'end';
  readonly task: string;
  readonly task_instance_id: number;
  readonly at: number;
  /** Of an end. */
  readonly code: number | null;
}

export interface ExecutedTask {
  readonly name: string;
  readonly status: string;
  readonly current_task_instance_id: number | null;
  /** Names. */
  readonly upstreams: readonly string[];
}

export interface ExecutedAttempt {
  readonly id: number;
  readonly task: string;
  readonly status: string;
}

/** A time in which an agent could not end what it had started: frozen, or cut off. */
export interface Silence {
  readonly from: number;
  readonly to: number;
}

export interface Execution {
  readonly log: readonly Executed[];
  readonly tasks: readonly ExecutedTask[];
  readonly attempts: readonly ExecutedAttempt[];
  /** Most commands at one time. */
  readonly limit: number;
  readonly silences: readonly Silence[];
  readonly lease_seconds: number;
}

export const VIOLATIONS = [
  'lost',
  'two current attempts',
  'run twice at once',
  'run again after DONE',
  'started before a parent',
  'over a limit',
  'stuck',
] as const;
export type ViolationKind = (typeof VIOLATIONS)[number];

export interface Violation {
  readonly kind: ViolationKind;
  readonly what: string;
}

export interface Verdict {
  readonly violations: readonly Violation[];
  /** Pairs that ran at once while the older one's agent was silent for longer than its lease: the physics that no lease can change. */
  readonly excused: readonly string[];
}

const LIVE = 'QIORTKX';

/** All that is wrong. A command that has no end in the log was killed at some time that nobody knows: it counts until its last sign only. */
export function judge(execution: Execution): Verdict {
  const { log, tasks, attempts } = execution;
  const violations: Violation[] = [];
  const say = (kind: ViolationKind, what: string): void => void violations.push({ kind, what });
  const runs = runsOf(log);
  const byTask = groupBy(runs, ({ task }) => task);
  const attemptsOf = groupBy(attempts, ({ task }) => task);
  const status = new Map(attempts.map((attempt) => [attempt.id, attempt.status]));
  const doneAt = new Map<string, number>();
  for (const { task, task_instance_id, to, code } of runs) {
    if (code === 0 && to !== null && status.get(task_instance_id) === 'D') doneAt.set(task, to);
  }
  for (const { name, status: standing, current_task_instance_id, upstreams } of tasks) {
    const own = byTask.get(name) ?? [];
    if (standing === 'D' && !own.some(({ code }) => code === 0)) say('lost', `${name} is D and never ended well`);
    if (standing !== 'D' && standing !== 'F') say('stuck', `${name} was left at ${standing}`);
    const left = (attemptsOf.get(name) ?? []).filter((attempt) => LIVE.includes(attempt.status));
    const current = left.filter(({ id }) => id === current_task_instance_id);
    if (left.length > 1) say('two current attempts', `${name} has the live attempts ${left.map(({ id }) => id).join(', ')}`);
    else if (left.length > current.length) say('stuck', `${name}: attempt ${left[0]!.id} was left at ${left[0]!.status}`);
    const done = doneAt.get(name);
    for (const { task_instance_id, from } of own) {
      if (done !== undefined && from > done) say('run again after DONE', `${name}, attempt ${task_instance_id}`);
      for (const parent of upstreams) {
        const ended = doneAt.get(parent);
        if (ended === undefined || from < ended)
          say('started before a parent', `${name}, attempt ${task_instance_id}, before ${parent}`);
      }
    }
  }
  for (const { task, task_instance_id } of runs) {
    if (!status.has(task_instance_id)) say('lost', `attempt ${task_instance_id} of ${task} ran and is in no row`);
  }
  const { pairs, excused } = overlapsOf(byTask, execution);
  for (const pair of pairs) say('run twice at once', pair);
  const most = mostAtOnce(runs);
  if (most > execution.limit) say('over a limit', `${most} commands at once, ${execution.limit} are allowed`);
  return { violations, excused };
}

interface Run {
  readonly task: string;
  readonly task_instance_id: number;
  readonly from: number;
  /** Null when it never said its end. */
  readonly to: number | null;
  readonly code: number | null;
}

/** Each start with the first end of its attempt that no other start has. */
function runsOf(log: readonly Executed[]): Run[] {
  const ends = groupBy(
    log.filter(({ what }) => what === 'end'),
    ({ task_instance_id }) => task_instance_id,
  );
  return log
    .filter(({ what }) => what === 'start')
    .map(({ task, task_instance_id, at }) => {
      const end = ends.get(task_instance_id)?.shift();
      return { task, task_instance_id, from: at, to: end?.at ?? null, code: end?.code ?? null };
    });
}

function overlapsOf(byTask: ReadonlyMap<string, readonly Run[]>, execution: Execution): { pairs: string[]; excused: string[] } {
  const pairs: string[] = [];
  const excused: string[] = [];
  for (const [task, runs] of byTask) {
    const sorted = [...runs].sort((a, b) => a.from - b.from);
    for (const [index, older] of sorted.entries()) {
      for (const newer of sorted.slice(index + 1)) {
        if (older.to === null ? older.task_instance_id !== newer.task_instance_id : newer.from >= older.to) continue;
        const isExcused = execution.silences.some(
          ({ from, to }) => to - from > execution.lease_seconds && from < newer.from && older.from < to && newer.from - from > 0,
        );
        const text = `${task}: attempts ${older.task_instance_id} and ${newer.task_instance_id}`;
        (isExcused && older.task_instance_id !== newer.task_instance_id ? excused : pairs).push(text);
      }
    }
  }
  return { pairs, excused };
}

function mostAtOnce(runs: readonly Run[]): number {
  const steps = runs.flatMap(({ from, to }) => [
    { at: from, by: 1 },
    { at: to ?? from, by: -1 },
  ]);
  // At one moment those that end make room first.
  steps.sort((a, b) => a.at - b.at || a.by - b.by);
  let now = 0;
  let most = 0;
  for (const { by } of steps) most = Math.max(most, (now += by));
  return most;
}

function groupBy<Value, Key>(values: readonly Value[], keyOf: (value: Value) => Key): Map<Key, Value[]> {
  const groups = new Map<Key, Value[]>();
  for (const value of values) {
    const key = keyOf(value);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [value]);
    else group.push(value);
  }
  return groups;
}
