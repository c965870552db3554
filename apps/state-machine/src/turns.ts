/**
 * Which of the queued attempts that an agent may take it gets: those that fit into its room, in turns between runs. Pure.
 *
 * - Runs of higher priority come first; among equals one attempt of each run in turn.
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
}

export interface Turns {
  readonly chosen: Waiting[];
  /** Overdue heads that found too few cores or too little memory. */
  readonly passed_over: Waiting[];
}

/** Memory sums are of fractions; a difference below this is none. */
const MEMORY_GIB_EPSILON = 1e-6;

/**
 * Takes attempts while they fit, at most `count_max`. `keeps` tells of an overdue head that did not fit whether this agent is kept
 * for it.
 */
export function takeTurns(
  runs: readonly RunInTurn[],
  waiting: readonly Waiting[],
  wanted: ReadonlyMap<string, ClusterRoom>,
  count_max: number,
  keeps: (head: Waiting) => boolean,
): Turns {
  const left = new Map([...wanted].map(([cluster, room]) => [cluster, { ...room }]));
  const turns: Turns = { chosen: [], passed_over: [] };
  const byPriority = [...new Set(runs.map(({ priority }) => priority))].sort((a, b) => b - a);
  for (const priority of byPriority) {
    const equals = runs.filter((run) => run.priority === priority).map(({ id }) => new Lines(id, waiting));
    let isAnyTaken = true;
    while (isAnyTaken) {
      isAnyTaken = false;
      for (const lines of equals) {
        if (turns.chosen.length >= count_max) return turns;
        const taken = lines.take((head) => {
          const room = left.get(head.cluster);
          if (room === undefined || room.slots < 1) return false;
          if (head.cores <= room.cores && head.memory_gib <= room.memory_gib + MEMORY_GIB_EPSILON) return true;
          if (head.is_overdue) {
            turns.passed_over.push(head);
            if (keeps(head)) left.delete(head.cluster);
          }
          return false;
        });
        if (taken === undefined) continue;
        const room = left.get(taken.cluster) as ClusterRoom;
        room.slots -= 1;
        room.cores -= taken.cores;
        room.memory_gib -= taken.memory_gib;
        turns.chosen.push(taken);
        isAnyTaken = true;
      }
    }
  }
  return turns;
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
