/** What the services said: warnings and errors, and what became of attempts; as it stands, or as it comes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { followLogRecords, JobmonError, listLogRecords, type LogLevel, type LogRecord, type RequestOf } from '@jobmon/contracts';
import { findServer } from './profile';
import { Connection } from './send';

/** All that are given must hold. */
export interface LogFilter {
  readonly workflowId?: number;
  readonly workflowRunId?: number;
  readonly taskId?: number;
  readonly taskInstanceId?: number;
  /** This level and those above it. */
  readonly level?: LogLevel;
  readonly service?: string;
  /** Stands in the text, or in what it says besides; upper or lower case. */
  readonly text?: string;
  /** From this moment on. */
  readonly since?: Date;
}

export interface LogListOptions extends LogFilter {
  /** Before this moment. */
  readonly until?: Date;
  readonly order?: 'newest' | 'oldest';
  /** At most so many; 100 when absent. */
  readonly limit?: number;
  readonly connection?: Connection;
}

export interface LogFollowOptions extends LogFilter {
  /** Ends the following. */
  readonly signal?: AbortSignal;
  /** For so long a server that went away is waited for; ten minutes when absent. */
  readonly patienceSeconds?: number;
  readonly connection?: Connection;
}

/** One thing that a process said. */
export interface LogEntry {
  readonly recordId: string;
  /** By the clock of whoever said it. */
  readonly time: Date;
  readonly level: LogLevel;
  readonly service: string;
  readonly instance: string;
  readonly requestId: string | null;
  readonly workflowId: number | null;
  readonly workflowRunId: number | null;
  readonly taskId: number | null;
  readonly taskInstanceId: number | null;
  readonly traceId: string | null;
  readonly text: string;
  /** All else that was said. */
  readonly detail: Readonly<Record<string, unknown>>;
}

/** Records of one answer of the api. */
const PAGE_MAX = 1_000;
const PATIENCE_SECONDS = 600;
const PAUSE_MS_MIN = 200;
const PAUSE_MS_MAX = 5_000;

/** Lists what was said, the newest first unless it is asked otherwise. Throws NOT_FOUND when there is no such workflow, run, task or attempt. */
export async function listLogs(options: LogListOptions = {}): Promise<LogEntry[]> {
  const { limit = 100, order = 'newest', until } = options;
  const connection = options.connection ?? new Connection(await findServer());
  const entries: LogEntry[] = [];
  for (let after: string | undefined; entries.length < limit;) {
    const page = { order, after, until: momentOf(until), limit: Math.min(PAGE_MAX, limit - entries.length) };
    const { records, next } = await connection.send(listLogRecords, { ...filterOf(options), ...page });
    entries.push(...records.map(entryOf));
    if (next === null) break;
    after = next;
  }
  return entries;
}

/**
 * What is said from now on, or since a moment, each record once and in the order in which they come. Goes on without an end; survives a restart of the
 * server. Throws what the server refuses, UNAVAILABLE when it is away for too long, and the signal's reason.
 */
export async function* followLogs(options: LogFollowOptions = {}): AsyncGenerator<LogEntry, void, void> {
  const { signal, patienceSeconds = PATIENCE_SECONDS } = options;
  const connection = options.connection ?? new Connection(await findServer());
  const filter = filterOf(options);
  let after: number | undefined;
  /** Told before the server had named a place to go on from. */
  const told = new Set<string>();
  let heard = performance.now();
  for (let pause_ms = PAUSE_MS_MIN; ; pause_ms = Math.min(pause_ms * 2, PAUSE_MS_MAX)) {
    try {
      for await (const event of connection.stream(followLogRecords, { ...filter, after }, { signal, tries_max: 0 })) {
        [heard, pause_ms] = [performance.now(), PAUSE_MS_MIN];
        for (const record of event.records) {
          if (told.has(record.record_id)) continue;
          if (event.arrival === null) told.add(record.record_id);
          yield entryOf(record);
        }
        after = event.arrival ?? after;
        if (after !== undefined) told.clear();
      }
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      const isOver = performance.now() - heard > patienceSeconds * 1_000;
      if (isOver || !(error instanceof JobmonError && error.kind.retryable)) throw error;
    }
    await sleep(pause_ms, undefined, { signal }).catch((error: unknown) => {
      throw signal?.reason ?? error;
    });
  }
}

function filterOf({ workflowId, workflowRunId, taskId, taskInstanceId, level, service, text, since }: LogFilter) {
  const filter: Partial<RequestOf<typeof listLogRecords>> = {
    workflow_id: workflowId,
    workflow_run_id: workflowRunId,
    task_id: taskId,
    task_instance_id: taskInstanceId,
    level,
    service,
    text,
    since: momentOf(since),
  };
  return filter;
}

function momentOf(date: Date | undefined): string | undefined {
  if (date === undefined) return undefined;
  if (Number.isNaN(date.getTime())) throw new JobmonError('MALFORMED', 'a moment of the log must be a date that exists');
  return date.toISOString().slice(0, 23);
}

function entryOf(record: LogRecord): LogEntry {
  const { record_id, time, level, service, instance, text, detail } = record;
  return {
    recordId: record_id,
    time: new Date(`${time.replace(' ', 'T')}Z`),
    level,
    service,
    instance,
    requestId: record.request_id,
    workflowId: record.workflow_id,
    workflowRunId: record.workflow_run_id,
    taskId: record.task_id,
    taskInstanceId: record.task_instance_id,
    traceId: record.trace_id,
    text,
    detail,
  };
}
