/**
 * What commands wrote down themselves, held against the database: nothing lost, nothing run twice at once or again after it was done,
 * nothing before its parents, nothing over a limit, nothing stuck. Pure: whoever calls brings the rows. How soon things went on is
 * judged by execution-recovery.ts.
 */

/** One line that a command wrote and synced; `at` in seconds of the machine's one clock. */
export interface Executed {
  /** `twice`: as it started, another command of its task was alive, by a lock of the kernel. It stands before the start. */
  readonly what: 'start' | 'end' | 'twice';
  readonly task: string;
  readonly task_instance_id: number;
  readonly at: number;
  /** Whose command it is: an agent, or the place of a client's workers. */
  readonly host: string;
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

/** A time in which a host could neither be heard nor end what it had started: frozen, or cut off. */
export interface Silence {
  readonly host: string;
  readonly from: number;
  readonly to: number;
}

/** One workflow, all of whose commands succeed in the end. */
export interface Execution {
  readonly log: readonly Executed[];
  readonly tasks: readonly ExecutedTask[];
  readonly attempts: readonly ExecutedAttempt[];
  /** Most commands at one time. */
  readonly limit: number;
  readonly silences: readonly Silence[];
  /** Silence of a host after which what it held may be given to others. */
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
  'recovered too late',
] as const;
export type ViolationKind = (typeof VIOLATIONS)[number];

export interface Violation {
  readonly kind: ViolationKind;
  readonly what: string;
}

export interface Verdict {
  readonly violations: readonly Violation[];
  /** Pairs that ran at once while the older one's host was silent for longer than its lease: the physics that no lease can change. */
  readonly excused: readonly string[];
}

const LIVE = 'QIORTKX';

/**
 * All that is wrong. A command that has no end in the log was killed at some time that nobody knows: it counts until its last sign only,
 * but for the lock that tells the next command of its task whether it lives.
 */
export function judge(execution: Execution): Verdict {
  const { log, tasks, attempts } = execution;
  const violations: Violation[] = [];
  const say = (kind: ViolationKind, what: string): void => void violations.push({ kind, what });
  const runs = runsOf(log);
  const byTask = groupBy(runs, ({ task }) => task);
  const attemptsOf = groupBy(attempts, ({ task }) => task);
  const status = new Map(attempts.map((attempt) => [attempt.id, attempt.status]));
  const endedWell = new Set(runs.filter(({ code }) => code === 0).map(({ task_instance_id }) => task_instance_id));
  const doneAt = new Map<string, number>();
  for (const { task, task_instance_id, to, code } of runs) {
    if (code === 0 && to !== null && status.get(task_instance_id) === 'D') doneAt.set(task, to);
  }
  for (const { name, status: standing, current_task_instance_id, upstreams } of tasks) {
    const own = byTask.get(name) ?? [];
    if (standing === 'F') say('lost', `${name} was given up, although its command succeeds in the end`);
    else if (standing !== 'D') say('stuck', `${name} was left at ${standing}`);
    if (standing === 'D' && !own.some(({ code }) => code === 0)) say('lost', `${name} is D and never ended well`);
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
  for (const { id, task, status: standing } of attempts) {
    if (standing === 'D' && !endedWell.has(id)) say('lost', `attempt ${id} of ${task} is D, and its command never ended well`);
  }
  for (const { task, task_instance_id } of runs) {
    if (!status.has(task_instance_id)) say('lost', `attempt ${task_instance_id} of ${task} ran and is in no row`);
  }
  const { pairs, excused } = overlapsOf(byTask, execution);
  for (const pair of pairs) say('run twice at once', pair);
  const most = mostAtOnce(runs, execution);
  if (most > execution.limit) say('over a limit', `${most} commands at once, ${execution.limit} are allowed`);
  return { violations, excused };
}

interface Run {
  readonly task: string;
  readonly task_instance_id: number;
  readonly host: string;
  readonly from: number;
  /** Null when it never said its end. */
  readonly to: number | null;
  readonly code: number | null;
  /** Another command of its task was alive as it started. */
  readonly isSecond: boolean;
}

/** Each start with the first end of its attempt that no other start has. */
function runsOf(log: readonly Executed[]): Run[] {
  const byAttempt = (what: Executed['what']): Map<number, Executed[]> =>
    groupBy(
      log.filter((line) => line.what === what),
      ({ task_instance_id }) => task_instance_id,
    );
  const [ends, seconds] = [byAttempt('end'), byAttempt('twice')];
  return log
    .filter(({ what }) => what === 'start')
    .map(({ task, task_instance_id, at, host }) => {
      const end = ends.get(task_instance_id)?.shift();
      const isSecond = seconds.get(task_instance_id)?.shift() !== undefined;
      return { task, task_instance_id, host, from: at, to: end?.at ?? null, code: end?.code ?? null, isSecond };
    });
}

/**
 * Commands of a task that ran at one time: by the times of their starts and ends, or by the lock. Such a pair is nobody's fault only when
 * the older one's host was silent for longer than its lease, and the newer one started while or after it was, no sooner than half a lease
 * into it: until then the last sign of life before it held. Nobody else's silence counts. Older is the attempt that was made first,
 * also when it was started last; a host that thaws starts nothing before it knows what is still its own.
 */
function overlapsOf(
  byTask: ReadonlyMap<string, readonly Run[]>,
  { silences, lease_seconds }: Execution,
): { pairs: string[]; excused: string[] } {
  const pairs: string[] = [];
  const excused: string[] = [];
  for (const [task, runs] of byTask) {
    const sorted = [...runs].sort((a, b) => a.from - b.from);
    for (const [index, newer] of sorted.entries()) {
      const before = sorted.slice(0, index);
      // The lock says that somebody lives, not who: the last one that may, else the last one.
      const holder = newer.isSecond ? (before.findLast(({ to }) => to === null || to > newer.from) ?? before.at(-1)) : undefined;
      for (const first of before) {
        const isOver = first.to === null ? first.task_instance_id !== newer.task_instance_id : newer.from >= first.to;
        if (isOver && first !== holder) continue;
        // An agent that was frozen with a start in its hands makes it when it thaws: the older attempt starts last.
        const [old, young] = first.task_instance_id < newer.task_instance_id ? [first, newer] : [newer, first];
        const isExcused = silences.some(
          ({ host, from, to }) =>
            host === old.host && to - from > lease_seconds && old.from < to && young.from > from + lease_seconds / 2,
        );
        const text = `${task}: attempts ${old.task_instance_id} (${old.host}) and ${young.task_instance_id} (${young.host})`;
        (isExcused && old.task_instance_id !== young.task_instance_id ? excused : pairs).push(text);
      }
    }
  }
  return { pairs, excused };
}

/** What runs on at a host that was silent for longer than its lease has been given away: it counts no more from then on. */
function mostAtOnce(runs: readonly Run[], { silences, lease_seconds }: Execution): number {
  const steps = runs.flatMap(({ from, to, host }) => {
    const silence = silences.find(
      (one) => one.host === host && one.to - one.from > lease_seconds && from < one.to && (to ?? from) > one.from,
    );
    const until = Math.min(to ?? from, silence === undefined ? Infinity : Math.max(from, silence.from));
    return [
      { at: from, by: 1 },
      { at: until, by: -1 },
    ];
  });
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
