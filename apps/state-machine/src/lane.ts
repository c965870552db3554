/**
 * A lane: one kind of work, one batch in flight unless it says more, the rest waiting in bounded line and taking turns by workflow. Lanes do not wait
 * for each other. What goes wrong with a batch is told apart here:
 *
 * - a guard that missed under the lock is a bug of ours: logged, and each item is done again alone;
 * - any other failure of a batch is somebody's value: the batch is halved until the culprit is alone, and only it gets the error;
 * - a COMMIT that nobody answered: done once more, since a repeat has no second effect;
 * - a database that is away: the whole batch gets UNAVAILABLE, splitting would not help.
 */
import { JobmonError } from '@jobmon/contracts';
import { Coalescer, type CoalescerOptions, type Outcome } from '@jobmon/messaging';
import type { Logger } from '@jobmon/runtime';
import { GuardMissed } from './guard';

export interface LaneOptions<Item, Result> extends Omit<CoalescerOptions<Item, Result>, 'run'> {
  /** Names the lane in the log. */
  readonly name: string;
  readonly log: Logger;
  /** Does a batch in one transaction: an outcome for each item, in order, or a throw that changed nothing. `place` is as a coalescer's. */
  readonly write: (items: Item[], place: number) => Promise<Outcome<Result>[]>;
}

export class Lane<Item, Result> extends Coalescer<Item, Result> {
  constructor(options: LaneOptions<Item, Result>) {
    super({ ...options, run: (items, place) => writeSplitting(options, items, place) });
  }
}

/**
 * Writes a batch, and apart what can't be written together. Bound: a batch of n items with one culprit takes at most
 * 2·log2(n) + 1 transactions, whatever is in it 2·n.
 */
async function writeSplitting<Item, Result>(
  options: LaneOptions<Item, Result>,
  items: Item[],
  place: number,
): Promise<Outcome<Result>[]> {
  try {
    return await writeOnceMore(options, items, place);
  } catch (thrown) {
    const error = JobmonError.from(thrown);
    if (error.code === 'UNAVAILABLE') {
      options.log.warn({ error, lane: options.name, items: items.length }, 'a batch was given up: the database is away');
      return items.map(() => ({ error: error.toBody() }));
    }
    if (thrown instanceof GuardMissed) options.log.error({ error: thrown, lane: options.name }, 'a guard missed under the lock');
    if (items.length === 1) {
      if (!(thrown instanceof JobmonError)) options.log.error({ error: thrown, lane: options.name }, 'a request failed');
      return [{ error: error.toBody() }];
    }
    const pieces = thrown instanceof GuardMissed ? items.map((item) => [item]) : halves(items);
    const outcomes: Outcome<Result>[] = [];
    for (const piece of pieces) outcomes.push(...(await writeSplitting(options, piece, place)));
    return outcomes;
  }
}

/** Writes a batch; once more when nobody knows whether the first COMMIT came through. */
async function writeOnceMore<Item, Result>(
  options: LaneOptions<Item, Result>,
  items: Item[],
  place: number,
): Promise<Outcome<Result>[]> {
  try {
    return await options.write(items, place);
  } catch (thrown) {
    if (!isCommitUnknown(thrown)) throw thrown;
    options.log.warn(
      { error: thrown, lane: options.name, items: items.length },
      'the answer to a COMMIT was lost; it is done again',
    );
    return options.write(items, place);
  }
}

function isCommitUnknown(thrown: unknown): boolean {
  const details = thrown instanceof JobmonError ? (thrown.details as { commit_unknown?: unknown } | undefined) : undefined;
  return details?.commit_unknown === true;
}

function halves<Item>(items: Item[]): Item[][] {
  const middle = Math.ceil(items.length / 2);
  return [items.slice(0, middle), items.slice(middle)];
}
