/**
 * Which of the queued attempts that an agent may take it gets: those that fit into its room, in turns between runs. Pure.
 *
 * - Runs of higher priority come first; among equals one attempt of each run in turn.
 * - Among equals, runs that have been given little yet come before the turns, in turns of their own, with seven of eight attempts: a
 *   workflow of ten tasks does not take ten turns behind one of a hundred thousand, and a hundred thousand do not stand still
 *   however many small ones come.
 * - A run's attempts for one cluster are a line. Its head keeps its place: when it does not fit, nothing behind it is taken.
 *   Other runs may fill the room meanwhile.
 * - So that a large attempt is not passed over for ever, one that has waited long closes the cluster's room on the one agent that
 *   is kept for it: what ends there is not refilled until the head fits.
 */
import type { ClusterRoom } from '@jobmon/contracts';

/** A queued attempt, with the room that it takes on this agent. */
export interface Waiting {
  readonly id: number;
  readonly workflow_run_id: number;
  readonly cluster: string;
  readonly cores: number;
  readonly memory_gib: number;
  /** It has waited so long that its room is to be kept for it. */
  readonly is_overdue: boolean;
}

/** A run that waits for its turn, in the order of turns. */
export interface RunInTurn {
  readonly id: number;
  readonly priority: number;
  /** It has been given fewer than 20 attempts so far. */
  readonly is_new: boolean;
}

/** A run is new until it has been given so many attempts: more than a small workflow has, and soon over for any other. */
export const NEW_ATTEMPTS_MAX = 20;

/** Attempts of new runs in succession, after which one of another run comes first. */
const HEAD_STARTS_MAX = 7;

export interface Turns {
  readonly chosen: Waiting[];
  /** Overdue heads that found too few cores or too little memory. */
  readonly passed_over: Waiting[];
  /** Attempts of new runs that came before others in succession, up to now. */
  head_starts: number;
}

/** Memory sums are of fractions; a difference below this is none. */
const MEMORY_GIB_EPSILON = 1e-6;

/**
 * Takes attempts while they fit, at most `count_max`. `head_starts` is what the turns before this one answered. `keeps` tells of an
 * overdue head that did not fit whether this agent is kept for it.
 */
export function takeTurns(
  runs: readonly RunInTurn[],
  waiting: readonly Waiting[],
  wanted: ReadonlyMap<string, ClusterRoom>,
  count_max: number,
  head_starts: number,
  keeps: (head: Waiting) => boolean,
): Turns {
  const left = new Map([...wanted].map(([cluster, room]) => [cluster, { ...room }]));
  const turns: Turns = { chosen: [], passed_over: [], head_starts };
  const fits = (head: Waiting): boolean => {
    const room = left.get(head.cluster);
    if (room === undefined || room.slots < 1) return false;
    if (head.cores <= room.cores && head.memory_gib <= room.memory_gib + MEMORY_GIB_EPSILON) return true;
    if (head.is_overdue) {
      turns.passed_over.push(head);
      if (keeps(head)) left.delete(head.cluster);
    }
    return false;
  };
  const byPriority = [...new Set(runs.map(({ priority }) => priority))].sort((a, b) => b - a);
  for (const priority of byPriority) {
    const equals = runs.filter((run) => run.priority === priority);
    const [newcomers, others] = [true, false].map((isNew) =>
      equals.filter(({ is_new }) => is_new === isNew).map(({ id }) => new Lines(id, waiting)),
    ) as [Lines[], Lines[]];
    while (turns.chosen.length < count_max) {
      const isOthersTurn = turns.head_starts >= HEAD_STARTS_MAX;
      const ahead = isOthersTurn ? undefined : takeNext(newcomers, fits);
      const taken = ahead ?? takeNext(others, fits) ?? takeNext(newcomers, fits);
      if (taken === undefined) break;
      turns.head_starts = ahead === undefined || others.length === 0 ? 0 : turns.head_starts + 1;
      const room = left.get(taken.cluster) as ClusterRoom;
      room.slots -= 1;
      room.cores -= taken.cores;
      room.memory_gib -= taken.memory_gib;
      turns.chosen.push(taken);
    }
  }
  return turns;
}

/** One attempt of the run whose turn it is; that run goes to the end. A run of which nothing fits any more leaves. */
function takeNext(runs: Lines[], fits: (head: Waiting) => boolean): Waiting | undefined {
  for (;;) {
    const run = runs.shift();
    const taken = run?.take(fits);
    if (run !== undefined && taken !== undefined) runs.push(run);
    if (run === undefined || taken !== undefined) return taken;
  }
}

/** The lines of one run, one for each cluster. */
class Lines {
  private readonly lines: Waiting[][];

  constructor(run: number, waiting: readonly Waiting[]) {
    const byCluster = new Map<string, Waiting[]>();
    for (const attempt of waiting) {
      if (attempt.workflow_run_id !== run) continue;
      const line = byCluster.get(attempt.cluster);
      if (line === undefined) byCluster.set(attempt.cluster, [attempt]);
      else line.push(attempt);
    }
    for (const line of byCluster.values()) line.reverse();
    this.lines = [...byCluster.values()];
  }

  /** Takes the first head that fits; a line whose head does not is closed for good. */
  take(fits: (head: Waiting) => boolean): Waiting | undefined {
    while (this.lines.length > 0) {
      const line = this.lines[0] as Waiting[];
      const head = line.at(-1);
      if (head !== undefined && fits(head)) {
        // The next turn begins with another cluster's line.
        this.lines.push(this.lines.shift() as Waiting[]);
        return line.pop();
      }
      this.lines.shift();
    }
    return undefined;
  }
}
