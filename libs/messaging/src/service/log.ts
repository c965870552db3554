/**
 * Log records of a process of its own: from its queue onto the stream, over a connection that is opened when there is something to send; and
 * the stream as what the log sink needs.
 */
import { JobmonError } from '@jobmon/contracts';
import { shipLogs, type LogQueue, type LogShipper, type Need } from '@jobmon/runtime';
import type { LogReader, LogStream } from '../log-stream';
import type { ServiceSettings } from './service';

const MIB = 1024 * 1024;

/**
 * Opens the stream over a connection of its own, so that a flood of records delays no request. `makes`: makes the stream too, when it is missing. The
 * client of NATS is loaded here and not with the file.
 *
 * @throws JobmonError UNAVAILABLE: NATS is away, or has no JetStream.
 */
export async function openLogStream(
  name: string,
  { config, log }: Pick<ServiceSettings, 'config' | 'log'>,
  makes: boolean,
): Promise<LogStream> {
  /* eslint-disable @typescript-eslint/no-require-imports -- an import() of a neighbour would have to name a built file */
  const { openNats } = require('../nats-connection') as typeof import('../nats-connection');
  const { ensureLogStream, natsLogStream } = require('../nats-log-stream') as typeof import('../nats-log-stream');
  /* eslint-enable @typescript-eslint/no-require-imports */
  const connection = await openNats(`${name} log`, config.nats, log);
  const options = { log, bytes_max: config.log.stream_mib * MIB };
  try {
    if (makes) await ensureLogStream(connection, options);
  } catch (error) {
    await connection.close();
    throw error;
  }
  return natsLogStream(connection, options);
}

/** Ships what a process logs from now on; closing it sends what waits, for at most 2 s. */
export function shipServiceLogs(name: string, settings: ServiceSettings, queue: LogQueue): LogShipper {
  let stream: LogStream | undefined;
  const shipper = shipLogs({
    queue,
    log: settings.log,
    stream: {
      publish: async (records) => {
        stream ??= await openLogStream(name, settings, false);
        await stream.publish(records);
      },
    },
  });
  return {
    close: async () => {
      await shipper.close();
      await stream?.close();
    },
  };
}

/** A stream whose readers tell of their troubles. */
export interface CheckedLogStream extends LogStream {
  /** Null while records arrive, else what is wrong. */
  trouble(): string | null;
}

/** The stream as a need of the log sink, which makes it. The check is `log_stream`. */
export function logStreamNeed(name: string, settings: ServiceSettings): Need<CheckedLogStream> {
  return {
    name: 'log stream',
    open: async () => {
      const stream = await openLogStream(name, settings, true);
      const readers: LogReader[] = [];
      return {
        ...stream,
        read: (store) => {
          const reader = stream.read(store);
          readers.push(reader);
          return reader;
        },
        trouble: () => readers.map((reader) => reader.trouble()).find((trouble) => trouble !== null) ?? null,
      };
    },
    checks: {
      log_stream: async (stream) => {
        const trouble = stream.trouble();
        if (trouble !== null) throw new JobmonError('UNAVAILABLE', trouble);
      },
    },
    close: (stream) => stream.close(),
  };
}
