/**
 * The log sink as a part of a Nest application: reads the stream of log records and stores them in batches, answers for them, and
 * deletes those whose time is over. Any number of sinks share the work; each message is given to one of them.
 */
import { setTimeout as pause } from 'node:timers/promises';
import {
  appendLogRecords,
  JobmonError,
  listArrivedLogRecords,
  listLogRecords,
  logRecordIdAt,
  logRecordStored,
  type RequestOf,
} from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { placedInTime, type LogReader, type LogStream, type Messenger, type Outcome } from '@jobmon/messaging';
import type { Config, Logger } from '@jobmon/runtime';
import { Module, type BeforeApplicationShutdown, type DynamicModule, type OnApplicationBootstrap } from '@nestjs/common';
import { findArrived, findRecords } from './find';
import { deleteBefore, storeRecords } from './store';

export interface LogSinkContext {
  readonly config: { readonly log: Pick<Config['log'], 'keep_days'> };
  readonly log: Logger;
  readonly messenger: Messenger;
  /** Where tasks and workflows stand. */
  readonly database: Database;
  /** Where log records stand: the same one, or the second file of a SQLite house. */
  readonly records: Database;
  readonly stream: LogStream;
}

/** Calls of agents that are stored at one time; of another one the agent is asked to wait. */
const APPENDS_MAX = 16;
/** Between two looks for records whose time is over. */
const KEEP_LOOK_MS = 60_000;
/** After each piece that was deleted whoever stores has his turn. */
const DELETE_PAUSE_MS = 50;
const DAY_MS = 24 * 3_600_000;

export class LogSink implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private reader: LogReader | undefined;
  private readonly closing = new AbortController();
  private deleting: Promise<void> = Promise.resolve();
  /** Calls of agents that are being stored. */
  private appending = 0;

  constructor(private readonly context: LogSinkContext) {}

  onApplicationBootstrap(): void {
    const { messenger, stream } = this.context;
    messenger.handle(
      listLogRecords,
      answering((request) => findRecords(this.context, request)),
    );
    messenger.handle(
      listArrivedLogRecords,
      answering((request) => findArrived(this.context, request)),
    );
    messenger.handle(
      appendLogRecords,
      answering((request) => this.append(request)),
    );
    this.reader = stream.read(async (values) => void (await this.store(values)));
    this.deleting = this.deleteForEver();
  }

  /** Lets a batch that is being stored come to its end. What was not stored by then is still in the stream. */
  async beforeApplicationShutdown(): Promise<void> {
    this.closing.abort();
    await this.reader?.close();
    await this.deleting;
  }

  private async store(values: readonly unknown[]): Promise<{ stored: number }> {
    const { records, database, messenger, log } = this.context;
    const { stored, refused } = await storeRecords(records, database, values);
    if (refused > 0) log.warn({ refused }, 'something on the stream of log records is none');
    if (stored > 0) messenger.publish(logRecordStored, {});
    return { stored };
  }

  /** What an agent said; not when more than a few of them are at it already. */
  private async append({ agent_id, records: said }: RequestOf<typeof appendLogRecords>): Promise<{ stored: number }> {
    const { database } = this.context;
    if (this.appending >= APPENDS_MAX) {
      throw new JobmonError('UNAVAILABLE', 'the log sink has enough log records of agents to store: send them again later');
    }
    this.appending += 1;
    try {
      const known = await database.read('SELECT 1 AS known FROM agent WHERE id = ?', [agent_id]);
      if (known.length === 0) throw new JobmonError('NOT_FOUND', `there is no agent ${agent_id}`);
      const now_ms = Date.now();
      return await this.store(
        said.map((record) => {
          const own = { ...record, service: 'agent', detail: { ...record.detail, agent_id } };
          return placedInTime(own, now_ms);
        }),
      );
    } finally {
      this.appending -= 1;
    }
  }

  private async deleteForEver(): Promise<void> {
    const { log } = this.context;
    const { signal } = this.closing;
    while (!signal.aborted) {
      await this.deleteOld().catch((error: unknown) =>
        log.warn({ error }, 'old log records could not be deleted; tried again in a minute'),
      );
      await pause(KEEP_LOOK_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  /** Deletes, piece by piece, what is older than `log.keep_days` by the database's clock; answers how many. */
  async deleteOld(): Promise<number> {
    const { records, config, log } = this.context;
    const [clock] = await records.read<{ now: string }>(`SELECT ${records.dialect.now} AS now`);
    const cutoff = Date.parse(`${clock!.now.replace(' ', 'T')}Z`) - config.log.keep_days * DAY_MS;
    let deleted = 0;
    for (let piece = 1; piece > 0 && !this.closing.signal.aborted;) {
      piece = await deleteBefore(records, logRecordIdAt(cutoff));
      deleted += piece;
      if (piece > 0) await pause(DELETE_PAUSE_MS);
    }
    if (deleted > 0) log.info({ deleted, keep_days: config.log.keep_days }, 'old log records were deleted');
    return deleted;
  }
}

/** A handler of one request at a time; what is refused is that request's answer alone. */
function answering<Request, Reply>(answer: (request: Request) => Promise<Reply>) {
  return (requests: readonly Request[]): Promise<Outcome<Reply>[]> =>
    Promise.all(
      requests.map(async (request) => {
        try {
          return { ok: await answer(request) };
        } catch (error) {
          if (error instanceof JobmonError) return { error: error.toBody() };
          throw error;
        }
      }),
    );
}

@Module({})
class LogSinkModule {}

export function logSinkModule(context: LogSinkContext): DynamicModule {
  const log = context.log.child({ part: 'log-sink' });
  return {
    module: LogSinkModule,
    providers: [{ provide: LogSink, useFactory: () => new LogSink({ ...context, log }) }],
  };
}
