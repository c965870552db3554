/**
 * How soon things went on after a fault, where faults overlap. Pure: from the times of faults, of attempts and of processes that were ready
 * again.
 *
 * The clock of a fault starts when it strikes, since whatever there are two of must go on without the one that was hit. It starts anew
 * whenever an outage ends that was there before things went on: a time in which something that all work needs had no sound copy left (the
 * database, the bus, a wire to them, both of a service, both agents; of an agent also the next fault on the same one). What was being
 * recovered has to begin again then. So it has, from the strike on, when meanwhile the scheduler is hit that holds the workflow: its lease must run out
 * first. That counts only while the first fault's own time lasts, and the second fault is measured as well.
 */
import type { Violation } from './execution-check';

/** A time in which something was killed, frozen, cut off or slowed down; seconds of the machine's one clock. */
export interface Fault {
  /** What was done. */
  readonly kind: string;
  /** What it hit, by its kind (a service, `agent`, `MariaDB`) and by its own name. */
  readonly of: string;
  readonly name: string;
  readonly from: number;
  /** When it was thawed, mended, started again. */
  readonly to: number;
  /** When the process itself was ready again; null when it has no such sign, or was hit again before. */
  readonly ready_at: number | null;
  /** Nothing passed, as opposed to late. */
  readonly isDown: boolean;
}

/** An attempt by the database's history and the commands' own log. */
export interface AttemptTimes {
  readonly id: number;
  readonly workflow: string;
  /** Who has leased it; null when nobody has. */
  readonly host: string | null;
  readonly queued_at: number;
  readonly leased_at: number | null;
  /** Of the command, by itself. */
  readonly started_at: number | null;
  /** When the command is over if nobody ends it; null when it never started. */
  readonly due_at: number | null;
  /** When the database knew its end. */
  readonly ended_at: number | null;
}

/** From this moment on the scheduler of this name holds a workflow, until another one does. */
export interface Holder {
  readonly workflow: string;
  readonly name: string;
  readonly from: number;
}

export interface Course {
  readonly faults: readonly Fault[];
  /** Of what the server drives. */
  readonly attempts: readonly AttemptTimes[];
  /** Oldest first. */
  readonly holders: readonly Holder[];
  /** Names that stand in for one another, and without all of which nothing goes on. */
  readonly needs: readonly (readonly string[])[];
  /** The same of what ends the attempts of an agent that is gone. */
  readonly needsOfAgents: readonly (readonly string[])[];
  /** Longest time until things go on, by what was hit. */
  readonly bound_seconds: (of: string) => number;
  /** Moments at which a client's run went on, oldest first, for faults on the wire `python`. */
  readonly clientSteps: readonly number[];
  /** Times in which no client was there, to be started again by its operator. */
  readonly clientAway: readonly { readonly from: number; readonly to: number }[];
}

export interface Recovery {
  readonly fault: Fault;
  /** Seconds until work went on in every workflow that had some left; null when none had. Of an agent: what it held. */
  readonly work: number | null;
  /** Seconds from the end of the fault until the process itself was ready. */
  readonly itself: number | null;
}

interface Span {
  readonly from: number;
  readonly to: number;
}

/** The recovery of each fault, in their order. */
export function recoveriesOf(course: Course): Recovery[] {
  const outages = outagesOf(course.faults, course.needs);
  const outagesOfAgents = [...outages, ...outagesOf(course.faults, course.needsOfAgents)];
  const workflows = [...new Set(course.attempts.map(({ workflow }) => workflow))].map((name) => ({
    name,
    attempts: course.attempts.filter(({ workflow, started_at }) => workflow === name && started_at !== null),
  }));
  return course.faults.map((fault) => {
    const itself = fault.ready_at === null ? null : elapsed(fault.to, () => fault.ready_at, outages);
    let work: number | null;
    if (fault.of === 'agent') work = heldUntil(fault, course, outagesOfAgents);
    else if (fault.of === 'python')
      work = elapsed(fault.to, (after) => course.clientSteps.find((at) => at > after) ?? null, [
        ...outages,
        ...course.clientAway,
      ]);
    else
      work = latest(
        workflows.map(({ name, attempts }) => {
          const begunAgain = [...outages, ...strikesOnHolder(name, fault, course)];
          return elapsed(fault.from, (after) => throughAll(attempts, after), begunAgain);
        }),
      );
    return { fault, work, itself };
  });
}

/** Recoveries over their bound, as violations. */
export function judgeRecovery(recoveries: readonly Recovery[], bound_seconds: Course['bound_seconds']): Violation[] {
  return recoveries.flatMap(({ fault, work, itself }) => {
    const bound = bound_seconds(fault.of);
    const what = `${fault.kind} of ${fault.name} from ${fault.from.toFixed(2)} to ${fault.to.toFixed(2)}`;
    const late: Violation[] = [];
    const say = (seconds: number, who: string): void =>
      void late.push({ kind: 'recovered too late', what: `${what}: ${who} ${seconds.toFixed(1)} s, ${bound} are allowed` });
    if (work !== null && work > bound) say(work, 'work went on after');
    if (itself !== null && itself > bound) say(itself, 'it was ready again after');
    return late;
  });
}

/**
 * When a task that was not queued before a moment has been queued and leased, and its command has started: every service has had its part
 * in that, and the scheduler that holds this workflow.
 */
function throughAll(started: readonly AttemptTimes[], after: number): number | null {
  let first: number | null = null;
  for (const { queued_at, started_at } of started) {
    if (queued_at > after && (first === null || started_at! < first)) first = started_at;
  }
  return first;
}

/** Moments at which the scheduler that held a workflow was hit while the time that a fault may take was not over. */
function strikesOnHolder(workflow: string, fault: Fault, { faults, holders, bound_seconds }: Course): Span[] {
  const until = fault.from + bound_seconds(fault.of);
  return faults
    .filter((one) => one !== fault && one.isDown && one.from > fault.from && one.from <= until)
    .filter(({ name, from }) => holders.findLast((one) => one.workflow === workflow && one.from <= from)?.name === name)
    .map(({ from }) => ({ from, to: from }));
}

const latest = (values: readonly (number | null)[]): number | null => {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : Math.max(...known);
};

/** Seconds from a moment to the first sign after it, less all before the last outage that ended in between. */
function elapsed(from: number, next: (after: number) => number | null, outages: readonly Span[]): number | null {
  let start = from;
  for (;;) {
    const sign = next(start);
    const later = outages.filter((one) => one.to > start && one.from <= (sign ?? Infinity)).map(({ to }) => to);
    // Without a sign there may still be an outage that began later, and nothing to do when it had ended.
    if (later.length === 0) return sign === null ? null : Math.max(0, sign - start);
    start = Math.min(...later);
  }
}

/**
 * What an agent that was hit held goes on when the database knows the end of each of its attempts: told by the agent itself, or given up
 * by the reaper in its place. Commands may take their own time.
 */
function heldUntil(fault: Fault, { attempts, faults }: Course, needed: readonly Span[]): number | null {
  const host = fault.name.split(' ')[0]!;
  // Hit again before that, it has to begin again as well.
  const outages = [...needed, ...faults.filter((one) => one !== fault && one.isDown && belongsTo(one, host))];
  const held = attempts.filter(
    ({ host: holder, leased_at, ended_at }) =>
      holder === host && leased_at !== null && leased_at < fault.from && (ended_at ?? Infinity) > fault.from,
  );
  const seconds = held.map(({ due_at, ended_at }) =>
    elapsed(
      Math.max(fault.from, due_at ?? 0),
      (after) => (ended_at === null ? Infinity : Math.max(after, ended_at)),
      outages.filter(({ from }) => from < (ended_at ?? Infinity)),
    ),
  );
  return latest(seconds);
}

/** When something that all work needs had no sound copy: the common part of the faults of all that stand in for one another. */
function outagesOf(faults: readonly Fault[], needs: Course['needs']): Span[] {
  return needs.flatMap((names) =>
    names
      .map((name) => faults.filter((fault) => fault.isDown && belongsTo(fault, name)).map(({ from, to }) => ({ from, to })))
      .reduce((common, spans) => common.flatMap((one) => spans.flatMap((two) => commonPart(one, two)))),
  );
}

/** A fault on `agent-0` or on its wire, `agent-0 wire`. */
const belongsTo = ({ name }: Fault, needed: string): boolean => name === needed || name.startsWith(`${needed} `);

function commonPart(one: Span, two: Span): Span[] {
  const [from, to] = [Math.max(one.from, two.from), Math.min(one.to, two.to)];
  return from < to ? [{ from, to }] : [];
}
