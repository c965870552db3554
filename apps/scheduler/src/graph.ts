/**
 * The graph of one workflow run in typed arrays, and which of its tasks can be queued now. Pure: it is told tasks, edges and
 * statuses, and touches neither database nor bus.
 *
 * A task is known by its position: tasks stand array by array (the ERD's array: tasks of one template in one workflow) and
 * inside an array by ascending id, so an array is a range of positions and an id is found by binary search. Edges are a
 * compressed sparse row: the downstream positions of position p are `downstream[first[p]] … downstream[first[p + 1] - 1]`.
 * Measured for 1,000,000 tasks and 3,000,000 edges: 22 MB (`graph.spec.ts` holds it to 24): ids 4, first 4, downstream 12,
 * waiting 1 while no task has more than 255 upstreams, status 1, ready and asked an eighth each.
 *
 * A task is *ready* when it stands at G or A, all its upstreams stand at D, and it is not being asked about. Downstreams of a
 * task at F never become ready; a status that goes back from D (a reset) makes its downstreams wait again.
 */
import { ACTIVE_TASK_STATUSES, TaskStatus } from '@jobmon/contracts';

const CODE = {
  done: TaskStatus.DONE.charCodeAt(0),
  registering: TaskStatus.REGISTERING.charCodeAt(0),
  adjusting: TaskStatus.ADJUSTING_RESOURCES.charCodeAt(0),
} as const;

type Positions = Uint8Array | Uint16Array | Int32Array;

export class Graph {
  /** How many tasks stand at each status, by letter code. */
  private readonly statusCounts = new Int32Array(128);
  /** One bit for each task that is ready; `readyFrom` is a position below which none is. */
  private readonly ready: Uint32Array;
  private readyFrom = 0;
  private readyCount = 0;
  /** One bit for each task that `take` gave out and `settle` has not taken back. */
  private readonly asked: Uint32Array;
  private askedCount = 0;
  /** Tasks that left an active status since the graph was built; what `limit` counts in. */
  private finished = 0;
  /** Arrays that a limit holds back, to the value of `finished` up to which their share is used. */
  private readonly limited = new Map<number, number>();
  private readonly arrayOfId: ReadonlyMap<number, number>;

  /** Made by GraphBuilder. `waiting` holds the number of upstreams that are not done. */
  constructor(
    arrayIds: readonly number[],
    private readonly arrayStarts: Int32Array,
    private readonly ids: Int32Array,
    private readonly first: Int32Array,
    private readonly downstream: Int32Array,
    private readonly waiting: Positions,
    private readonly statuses: Uint8Array,
  ) {
    this.arrayOfId = new Map(arrayIds.map((id, array) => [id, array]));
    const words = Math.ceil(ids.length / 32);
    this.ready = new Uint32Array(words);
    this.asked = new Uint32Array(words);
    for (let position = 0; position < ids.length; position += 1) {
      const code = statuses[position] as number;
      this.statusCounts[code] = (this.statusCounts[code] as number) + 1;
      this.refresh(position);
    }
  }

  get size(): number {
    return this.ids.length;
  }

  /** Bytes of the typed arrays. */
  get bytes(): number {
    const arrays = [this.arrayStarts, this.ids, this.first, this.downstream, this.waiting, this.statuses, this.ready, this.asked];
    return arrays.reduce((sum, array) => sum + array.byteLength, 0);
  }

  count(status: TaskStatus): number {
    return this.statusCounts[status.charCodeAt(0)] as number;
  }

  get activeCount(): number {
    return ACTIVE_TASK_STATUSES.reduce((sum, status) => sum + this.count(status), 0);
  }

  get isAllDone(): boolean {
    return this.count(TaskStatus.DONE) === this.size;
  }

  /** Nothing runs, nothing can be queued, nothing is being asked about: no status changes any more by itself. */
  get isOver(): boolean {
    return this.readyCount === 0 && this.askedCount === 0 && this.activeCount === 0;
  }

  /** Whether `take` would give something out now. Looks at the limited arrays' shares. */
  get hasReady(): boolean {
    if (this.readyCount === 0) return false;
    return this.limited.size === 0 || this.nextReady(this.readyFrom, new Map()) !== -1;
  }

  get hasLimited(): boolean {
    return this.limited.size > 0;
  }

  /** The position of a task, or -1 when it is not of this run. */
  positionOf(arrayId: number, taskId: number): number {
    const array = this.arrayOfId.get(arrayId);
    if (array === undefined) return -1;
    let low = this.arrayStarts[array] as number;
    let high = (this.arrayStarts[array + 1] as number) - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const id = this.ids[middle] as number;
      if (id === taskId) return middle;
      if (id < taskId) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  taskIdAt(position: number): number {
    return this.ids[position] as number;
  }

  statusAt(position: number): TaskStatus {
    return String.fromCharCode(this.statuses[position] as number) as TaskStatus;
  }

  /** A task stands at this status now. Its downstreams become ready or wait again; told twice, the second time does nothing. */
  setStatus(position: number, status: TaskStatus): void {
    const before = this.statuses[position] as number;
    const after = status.charCodeAt(0);
    if (before === after) return;
    if (isActive(before) && !isActive(after)) this.finished += 1;
    this.statuses[position] = after;
    this.statusCounts[before] = (this.statusCounts[before] as number) - 1;
    this.statusCounts[after] = (this.statusCounts[after] as number) + 1;
    this.refresh(position);
    const step = Number(before === CODE.done) - Number(after === CODE.done);
    if (step === 0) return;
    for (let edge = this.first[position] as number; edge < (this.first[position + 1] as number); edge += 1) {
      const target = this.downstream[edge] as number;
      this.waiting[target] = (this.waiting[target] as number) + step;
      this.refresh(target);
    }
  }

  /**
   * Gives out at most `max` ready tasks, lowest positions first, as positions. They are not given out again until `settle`.
   * Of an array that a limit holds back it gives no more than have finished since.
   */
  take(max: number): number[] {
    const taken: number[] = [];
    const takenOfLimited = new Map<number, number>();
    const lowest = this.nextBit(this.readyFrom);
    this.readyFrom = lowest === -1 ? this.size : lowest;
    let position = this.nextReady(this.readyFrom, takenOfLimited);
    while (position !== -1 && taken.length < max) {
      taken.push(position);
      const array = this.arrayOf(position);
      if (this.limited.has(array)) takenOfLimited.set(array, (takenOfLimited.get(array) ?? 0) + 1);
      position = this.nextReady(position + 1, takenOfLimited);
    }
    for (const each of taken) {
      setBit(this.asked, each);
      this.refresh(each);
    }
    this.askedCount += taken.length;
    for (const [array, count] of takenOfLimited) this.limited.set(array, (this.limited.get(array) as number) + count);
    return taken;
  }

  /** The answer about these tasks has come (their statuses were set by it), or will not come: they may be ready again. */
  settle(positions: readonly number[]): void {
    for (const position of positions) {
      if (!hasBit(this.asked, position)) continue;
      clearBit(this.asked, position);
      this.askedCount -= 1;
      this.refresh(position);
    }
  }

  /** A limit held back this task: its array waits until something of the run has finished, or until `unlimit`. */
  limit(position: number): void {
    this.limited.set(this.arrayOf(position), this.finished);
  }

  /** Forgets what was held back, since a limit may have been raised. */
  unlimit(): void {
    this.limited.clear();
  }

  /** The first ready position at or after `from` whose array has a share left, or -1. */
  private nextReady(from: number, takenOfLimited: ReadonlyMap<number, number>): number {
    let position = this.nextBit(from);
    while (position !== -1 && this.limited.size > 0) {
      const array = this.arrayOf(position);
      const usedUpTo = this.limited.get(array);
      if (usedUpTo === undefined || usedUpTo + (takenOfLimited.get(array) ?? 0) < this.finished) break;
      position = this.nextBit(this.arrayStarts[array + 1] as number);
    }
    return position;
  }

  /** The first ready position at or after `from`, or -1. Looks at 32 tasks at a time: a million in 30 µs. */
  private nextBit(from: number): number {
    for (let word = from >>> 5; word < this.ready.length; word += 1) {
      const bits = (this.ready[word] as number) & (word === from >>> 5 ? -1 << (from & 31) : -1);
      if (bits !== 0) return (word << 5) + (31 - Math.clz32(bits & -bits));
    }
    return -1;
  }

  private arrayOf(position: number): number {
    let low = 0;
    let high = this.arrayStarts.length - 2;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.arrayStarts[middle] as number) <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Brings the ready bit of a task in line with its status, its upstreams and whether it is being asked about. */
  private refresh(position: number): void {
    const status = this.statuses[position] as number;
    const canBeQueued = status === CODE.registering || status === CODE.adjusting;
    const isReady = canBeQueued && this.waiting[position] === 0 && !hasBit(this.asked, position);
    if (isReady === hasBit(this.ready, position)) return;
    if (isReady) {
      setBit(this.ready, position);
      this.readyCount += 1;
      if (position < this.readyFrom) this.readyFrom = position;
    } else {
      clearBit(this.ready, position);
      this.readyCount -= 1;
    }
  }
}

/**
 * Collects a graph page by page. Tasks first, array by array with ascending ids inside each; then edges in any order, from
 * node to node; `build` once. While it collects it needs about 80 MB more for a graph of a million tasks.
 */
export class GraphBuilder {
  private readonly arrayIds: number[] = [];
  private readonly arrayStarts: number[] = [];
  private readonly ids = new GrowingInts();
  private readonly statuses = new GrowingInts();
  private readonly positionOfNode = new Map<number, number>();
  private readonly edgesFrom = new GrowingInts();
  private readonly edgesTo = new GrowingInts();

  beginArray(arrayId: number): void {
    this.arrayIds.push(arrayId);
    this.arrayStarts.push(this.ids.length);
  }

  addTask(task: { id: number; node_id: number; status: string }): void {
    this.positionOfNode.set(task.node_id, this.ids.length);
    this.ids.push(task.id);
    this.statuses.push(task.status.charCodeAt(0));
  }

  /** Nodes that have no task in this workflow are passed over: a graph may be shared by workflows. */
  addEdges(nodeId: number, downstreamNodeIds: readonly number[]): void {
    const from = this.positionOfNode.get(nodeId);
    if (from === undefined) return;
    for (const node of downstreamNodeIds) {
      const to = this.positionOfNode.get(node);
      if (to === undefined) continue;
      this.edgesFrom.push(from);
      this.edgesTo.push(to);
    }
  }

  build(): Graph {
    const size = this.ids.length;
    const from = this.edgesFrom.trimmed();
    const to = this.edgesTo.trimmed();
    const first = new Int32Array(size + 1);
    for (const position of from) first[position + 1] = (first[position + 1] as number) + 1;
    for (let position = 0; position < size; position += 1) {
      first[position + 1] = (first[position + 1] as number) + (first[position] as number);
    }
    const downstream = new Int32Array(to.length);
    const filled = first.slice(0, size);
    const upstreams = new Int32Array(size);
    const statuses = Uint8Array.from(this.statuses.trimmed());
    const waiting = new Int32Array(size);
    for (let edge = 0; edge < to.length; edge += 1) {
      const source = from[edge] as number;
      const target = to[edge] as number;
      downstream[filled[source] as number] = target;
      filled[source] = (filled[source] as number) + 1;
      upstreams[target] = (upstreams[target] as number) + 1;
      if (statuses[source] !== CODE.done) waiting[target] = (waiting[target] as number) + 1;
    }
    // The counts must have room for every upstream, not only for those that are not done at this moment.
    const most = upstreams.reduce((a, b) => Math.max(a, b), 0);
    const narrow = most < 256 ? Uint8Array.from(waiting) : most < 65_536 ? Uint16Array.from(waiting) : waiting;
    const starts = Int32Array.from([...this.arrayStarts, size]);
    return new Graph(this.arrayIds, starts, this.ids.trimmed(), first, downstream, narrow, statuses);
  }
}

/** Integers that become more: doubles its room when it is full. */
class GrowingInts {
  private room = new Int32Array(1_024);
  length = 0;

  push(value: number): void {
    if (this.length === this.room.length) {
      const larger = new Int32Array(this.room.length * 2);
      larger.set(this.room);
      this.room = larger;
    }
    this.room[this.length] = value;
    this.length += 1;
  }

  trimmed(): Int32Array<ArrayBuffer> {
    return this.room.slice(0, this.length);
  }
}

const ACTIVE_CODES: ReadonlySet<number> = new Set(ACTIVE_TASK_STATUSES.map((status) => status.charCodeAt(0)));
const isActive = (code: number): boolean => ACTIVE_CODES.has(code);

const hasBit = (bits: Uint32Array, at: number): boolean => ((bits[at >>> 5] as number) & (1 << (at & 31))) !== 0;
const setBit = (bits: Uint32Array, at: number): void => {
  bits[at >>> 5] = (bits[at >>> 5] as number) | (1 << (at & 31));
};
const clearBit = (bits: Uint32Array, at: number): void => {
  bits[at >>> 5] = (bits[at >>> 5] as number) & ~(1 << (at & 31));
};
