/**
 * The log sink as a part of a Nest application: reads the stream of log records and stores them in batches, answers for them, and
 * deletes those whose time is over. Any number of sinks share the work; each message is given to one of them.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { JobmonError, listArrivedLogRecords, listLogRecords, logRecordIdAt, logRecordStored } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import type { LogReader, LogStream, Messenger, Outcome } from '@jobmon/messaging';
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

/** Between two looks for records whose time is over. */
const KEEP_LOOK_MS = 60_000;
/** After each piece that was deleted whoever stores has his turn. */
const DELETE_PAUSE_MS = 50;
const DAY_MS = 24 * 3_600_000;

export class LogSink implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private reader: LogReader | undefined;
  private readonly closing = new AbortController();
  private deleting: Promise<void> = Promise.resolve();

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
    this.reader = stream.read((values) => this.store(values));
    this.deleting = this.deleteForEver();
  }

  /** Lets a batch that is being stored come to its end. What was not stored by then is still in the stream. */
  async beforeApplicationShutdown(): Promise<void> {
    this.closing.abort();
    await this.reader?.close();
    await this.deleting;
  }

  private async store(values: readonly unknown[]): Promise<void> {
    const { records, database, messenger, log } = this.context;
    const { stored, refused } = await storeRecords(records, database, values);
    if (refused > 0) log.warn({ refused }, 'something on the stream of log records is none');
    if (stored > 0) messenger.publish(logRecordStored, {});
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
