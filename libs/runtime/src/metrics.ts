/**
 * What a process counts, for Prometheus: one registry, and the list of everything that is counted. Whoever has something to count
 * calls a member of `metrics`; nobody else knows the client library. Counting costs well under a microsecond, so it needs no switch.
 *
 * Labels are bounded: operations, letters of states, error codes, names of queues. An id or a text of a caller is never a label,
 * since each value of a label is a time series for ever.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

const registry = new Registry();

/** Of a call, a message, a transaction: from half a millisecond to the 20 s after which clients hang up. */
const SECONDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20];
/** Of calls in one message or rows in one transaction. */
const SIZES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];

function counter<Label extends string>(name: string, help: string, labelNames: readonly Label[]): Counter<Label> {
  return new Counter({ name, help, labelNames: [...labelNames], registers: [registry] });
}

function gauge<Label extends string>(name: string, help: string, labelNames: readonly Label[]): Gauge<Label> {
  return new Gauge({ name, help, labelNames: [...labelNames], registers: [registry] });
}

function histogram<Label extends string>(
  name: string,
  help: string,
  labelNames: readonly Label[],
  buckets: readonly number[],
): Histogram<Label> {
  return new Histogram({ name, help, labelNames: [...labelNames], buckets: [...buckets], registers: [registry] });
}

/** Everything that is counted. `docs/services.md` lists the names. */
export const metrics = {
  /** HTTP requests of the api until their answer was sent. `code` is the error's, `OK` when there was none. */
  request_seconds: histogram('jobmon_request_seconds', 'HTTP requests by operation', ['operation', 'code'], SECONDS),
  /** Calls that were refused for who asked, by `LoginRefusalReason` of the api. */
  login_refusals: counter('jobmon_login_refusals_total', 'calls refused for who asked', ['reason']),
  /** Requests that this process answered over the bus. */
  message_seconds: histogram('jobmon_message_seconds', 'bus requests that were answered here', ['operation'], SECONDS),
  /** Messages that could not be taken: garbage, a wrong version, an operation that nobody has. */
  message_refusals: counter('jobmon_message_refusals_total', 'bus messages that were refused', ['reason']),
  /** Items of one batch: calls in a message, reports in a transaction. */
  batch_size: histogram('jobmon_batch_items', 'items of a batch', ['queue'], SIZES),
  /** From the arrival of an item to the start of its batch. */
  queue_wait_seconds: histogram('jobmon_queue_wait_seconds', 'wait for a batch to start', ['queue'], SECONDS),
  /** Reads and writes with all their attempts. `code` is `OK`, or the error's. */
  database_seconds: histogram('jobmon_database_seconds', 'database reads and writes', ['label', 'code'], SECONDS),
  /** Changes of the status of attempts that were committed, by the letters of the machine; `none` is the creation. */
  transitions: counter('jobmon_transitions_total', 'changes of the status of task instances', ['from', 'to']),
  /** Changes that were asked for and not made. */
  refusals: counter('jobmon_refusals_total', 'refused changes of a status', ['reason']),
  /** Connections that were lost and came back. `to` is `bus` or `database`. */
  reconnects: counter('jobmon_reconnects_total', 'connections that came back', ['to']),
  /** Connections to NATS that were lost. `cause` is `silent` (no answer of NATS), `slow` (this process did not read) or `closed` by the other end. */
  bus_losses: counter('jobmon_bus_losses_total', 'connections to NATS that were lost', ['cause']),
  /** Workflow runs whose lease this process holds. */
  leases_held: gauge('jobmon_leases_held', 'workflow runs held by lease', []),
  /** Leases taken, lost, released; and how often all leases of this process together were renewed. */
  leases: counter('jobmon_leases_total', 'what became of leases', ['what']),
  /** What the reaper found past its deadline, by the rule's name: `ended` by it, or `failed` and tried again. */
  reaped: counter('jobmon_reaped_total', 'what the reaper found past its deadline', ['rule', 'outcome']),
  /** The second copy of log records: `sent` to the sink's stream, `shed` for want of room, `stored` by this process, `refused` for their form. */
  log_records: counter('jobmon_log_records_total', 'log records on their way to the sink', ['outcome']),
  /** 1 while a need of this process (database, migrations, bus) is there, else 0. */
  need_up: gauge('jobmon_need_up', 'whether a need is there', ['need']),
} as const;

let isProcessMeasured = false;

/** Begins to measure the process itself: processor time, memory, heap, event-loop lag, garbage collection, open files. */
export function measureProcess(): void {
  if (isProcessMeasured) return;
  isProcessMeasured = true;
  collectDefaultMetrics({ register: registry, prefix: 'jobmon_' });
}

/** All metrics in the text format of Prometheus, with its content type. */
export async function readMetrics(): Promise<{ readonly content_type: string; readonly text: string }> {
  return { content_type: registry.contentType, text: await registry.metrics() };
}

/** A counter with one set of labels, as a thread of this process tells it to another. */
export interface Counted {
  readonly name: string;
  readonly labels: Readonly<Record<string, string | number>>;
  /** Since the thread began. */
  readonly value: number;
}

/** All that this thread has counted: each thread has a list of its own, and the main thread's is the one that is read. */
export async function readCounters(): Promise<Counted[]> {
  const all = await registry.getMetricsAsJSON();
  return all
    .filter(({ type }) => (type as unknown) === 'counter')
    .flatMap(({ name, values }) => values.map(({ labels, value }) => ({ name, labels: labels as Counted['labels'], value })));
}

/** Answers what adds the counts of one other thread to this one's, each time it is told how they stand. */
export function countsOfThread(): (counted: readonly Counted[]) => void {
  const known = new Map<string, number>();
  return (counted) => {
    for (const { name, labels, value } of counted) {
      const key = JSON.stringify([name, labels]);
      const more = value - (known.get(key) ?? 0);
      known.set(key, value);
      if (more > 0) (registry.getSingleMetric(name) as Counter | undefined)?.inc(labels, more);
    }
  };
}
