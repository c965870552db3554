/**
 * Turns single calls into batches without a clock. While a batch is in flight, whatever arrives waits; when it returns, all
 * that waits goes as the next batch. An idle coalescer starts at the end of the present turn of the event loop, so calls
 * that arrived together go together and a lone call waits for nobody. (Windows of 2 and 5 ms measured 2 to 8 times slower.)
 *
 * Modes:
 * - **idle**: nothing waits, nothing is in flight. The first item schedules a start with `setImmediate`.
 * - **busy**: at least one batch is in flight. Items wait until one returns; up to `concurrency` batches run side by side.
 * - **draining**: new items are answered with UNAVAILABLE; what waits is still run.
 */
import { JobmonError, type ErrorBody } from '@jobmon/contracts';
import { metrics } from '@jobmon/runtime';
import type { Outcome } from './messenger';

export interface CoalescerOptions<Item, Result> {
  /**
   * Does one batch and answers one outcome for each item, in order. When it throws, every item of the batch gets that error,
   * INTERNAL without its cause unless it is a JobmonError: `run` logs its own defects. `place`, from 0 up to below `concurrency`, is
   * no other's while the batch is in flight.
   */
  readonly run: (items: Item[], place: number) => Promise<Outcome<Result>[]>;
  /** Names the queue in metrics; one without a name is not measured. */
  readonly name?: string;
  /** Most items in a batch. */
  readonly rows_max: number;
  /** Most bytes in a batch, counted by `sizeOf`. An item that is larger by itself is answered with TOO_LARGE. */
  readonly bytes_max: number;
  /** Bytes of an item, an upper bound. */
  readonly sizeOf: (item: Item) => number;
  /** Items of different keys take turns: a key with ten thousand waiting items does not hold up a key with one. */
  readonly keyOf?: (item: Item) => string | number;
  /** Most items waiting; beyond it an item is answered with UNAVAILABLE at once. */
  readonly waiting_max: number;
  /** An item that has waited longer when a batch starts is answered with UNAVAILABLE instead; without end when absent. */
  readonly waiting_ms_max?: number;
  /** Batches in flight at one time; 1 when absent. */
  readonly concurrency?: number;
}

interface Waiting<Item, Result> {
  readonly item: Item;
  readonly bytes: number;
  readonly settle: (outcome: Outcome<Result>) => void;
  /** When it came, on the process' own clock. */
  readonly since: number;
}

/** A turn's served front is cut off when it is this long and more than half of the turn: each item is moved once at most. */
const FRONT_MAX = 1_024;

/** Items of one key, oldest first. `head` moves instead of `shift`, which costs the length of the array. */
interface Turn<Item, Result> {
  readonly items: Waiting<Item, Result>[];
  head: number;
}

export class Coalescer<Item, Result> {
  /** Keys with waiting items in the order of their turns: served from the front, put back at the end. */
  private readonly turns = new Map<string | number, Turn<Item, Result>>();
  private readonly concurrency: number;
  /** Places that no batch in flight has; the lowest is last. */
  private readonly places: number[];
  private readonly measures;
  private waitingCount = 0;
  private inFlight = 0;
  private isStartScheduled = false;
  private isDraining = false;
  private drained: (() => void)[] = [];

  constructor(private readonly options: CoalescerOptions<Item, Result>) {
    this.concurrency = options.concurrency ?? 1;
    this.places = Array.from({ length: this.concurrency }, (_, at) => this.concurrency - 1 - at);
    const { name: queue } = options;
    this.measures =
      queue === undefined
        ? null
        : { size: metrics.batch_size.labels({ queue }), wait: metrics.queue_wait_seconds.labels({ queue }) };
  }

  /** Items that wait; those in flight are not counted. */
  get waiting(): number {
    return this.waitingCount;
  }

  /** Gives an item to the next batch that has room. Never rejects: every error is an outcome. */
  add(item: Item): Promise<Outcome<Result>> {
    if (this.isDraining) return Promise.resolve(refusal('UNAVAILABLE', 'the service is stopping'));
    if (this.waitingCount >= this.options.waiting_max) {
      return Promise.resolve(refusal('UNAVAILABLE', `too many requests are waiting (${this.waitingCount}); send it again later`));
    }
    const bytes = this.options.sizeOf(item);
    if (bytes > this.options.bytes_max) {
      return Promise.resolve(refusal('TOO_LARGE', `the request has ${bytes} bytes, at most ${this.options.bytes_max} are taken`));
    }
    return new Promise((settle) => {
      const key = this.options.keyOf === undefined ? '' : this.options.keyOf(item);
      const turn = this.turns.get(key);
      const waiting = { item, bytes, settle, since: performance.now() };
      if (turn === undefined) this.turns.set(key, { items: [waiting], head: 0 });
      else turn.items.push(waiting);
      this.waitingCount += 1;
      this.scheduleStart();
    });
  }

  /** Takes nothing new and resolves when everything taken before has its outcome. */
  drain(): Promise<void> {
    this.isDraining = true;
    if (this.waitingCount === 0 && this.inFlight === 0) return Promise.resolve();
    return new Promise((resolve) => this.drained.push(resolve));
  }

  private scheduleStart(): void {
    if (this.isStartScheduled || this.inFlight >= this.concurrency) return;
    this.isStartScheduled = true;
    setImmediate(() => {
      this.isStartScheduled = false;
      this.startBatches();
    });
  }

  private startBatches(): void {
    if (this.options.waiting_ms_max !== undefined) this.refuseLate(performance.now() - this.options.waiting_ms_max);
    while (this.waitingCount > 0 && this.inFlight < this.concurrency) void this.runBatch(this.takeBatch());
    if (this.isDraining && this.waitingCount === 0 && this.inFlight === 0) {
      for (const resolve of this.drained.splice(0)) resolve();
    }
  }

  /** Answers what has waited since before `since_ms`: the oldest of each key, as its items stand in their order. */
  private refuseLate(since_ms: number): void {
    for (const [key, turn] of this.turns) {
      for (; turn.head < turn.items.length; turn.head += 1) {
        const waiting = turn.items[turn.head] as Waiting<Item, Result>;
        if (waiting.since >= since_ms) break;
        this.waitingCount -= 1;
        waiting.settle(refusal('UNAVAILABLE', 'too many requests were waiting before it for too long; send it again later'));
      }
      if (turn.head === turn.items.length) this.turns.delete(key);
    }
  }

  private async runBatch(batch: Waiting<Item, Result>[]): Promise<void> {
    this.inFlight += 1;
    const place = this.places.pop() as number;
    this.measure(batch);
    let outcomes: Outcome<Result>[];
    try {
      outcomes = await this.options.run(
        batch.map((waiting) => waiting.item),
        place,
      );
      if (outcomes.length !== batch.length) {
        throw new JobmonError('INTERNAL', `a batch of ${batch.length} was answered with ${outcomes.length} outcomes`);
      }
    } catch (thrown) {
      const error = JobmonError.from(thrown).toBody();
      outcomes = batch.map(() => ({ error }));
    }
    this.inFlight -= 1;
    this.places.push(place);
    for (const [index, waiting] of batch.entries()) waiting.settle(outcomes[index] as Outcome<Result>);
    if (this.waitingCount > 0) this.scheduleStart();
    else this.startBatches();
  }

  private measure(batch: readonly Waiting<Item, Result>[]): void {
    if (this.measures === null) return;
    const now = performance.now();
    this.measures.size.observe(batch.length);
    for (const { since } of batch) this.measures.wait.observe((now - since) / 1_000);
  }

  /** One item of each key in turn, until the batch is full by rows or by bytes. Never empty: a larger item was refused. */
  private takeBatch(): Waiting<Item, Result>[] {
    const batch: Waiting<Item, Result>[] = [];
    let bytes = 0;
    while (batch.length < this.options.rows_max && this.waitingCount > 0) {
      const [key, turn] = this.turns.entries().next().value as [string | number, Turn<Item, Result>];
      const waiting = turn.items[turn.head] as Waiting<Item, Result>;
      if (bytes + waiting.bytes > this.options.bytes_max) break;
      bytes += waiting.bytes;
      batch.push(waiting);
      this.waitingCount -= 1;
      turn.head += 1;
      if (turn.head === turn.items.length) this.turns.delete(key);
      else this.putLast(key, turn);
    }
    return batch;
  }

  private putLast(key: string | number, turn: Turn<Item, Result>): void {
    if (turn.head >= FRONT_MAX && turn.head * 2 > turn.items.length) {
      turn.items.splice(0, turn.head);
      turn.head = 0;
    }
    if (this.turns.size > 1) {
      this.turns.delete(key);
      this.turns.set(key, turn);
    }
  }
}

function refusal(code: ErrorBody['code'], message: string): { error: ErrorBody } {
  return { error: { code, message } };
}
