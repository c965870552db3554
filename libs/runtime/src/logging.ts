/**
 * Log lines: JSON, one per line, to standard output or a file, by pino. A request id ties the lines of one request together:
 * make a child logger with `log.child({ request_id })`. Tokens and passwords are struck out where they are known to stand.
 */
import { dirname, resolve } from 'node:path';
import { pino, stdTimeFunctions, symbols, type DestinationStream, type Logger, type LoggerOptions } from 'pino';
import type { Config } from './config';
import { makeFolder } from './folder';
import type { LogQueue } from './log-queue';

export type { Logger } from 'pino';

export interface LoggerSettings {
  /** Which part of the house writes: `api`, `state-machine`, `local`. */
  readonly service: string;
  readonly level: Config['log']['level'];
  /** File to append to, or a stream (tests). Absent: standard output. */
  readonly destination?: string | { write(line: string): void };
  /** Which process of the service writes; in every line when given. */
  readonly instance?: string;
  /** Where lines are put a second time, for the log sink. */
  readonly queue?: LogQueue;
}

/** Where secrets can stand in what is logged: a request, its headers, a settings object, one of them a level deeper. */
const SECRETS = ['authorization', 'cookie', 'token', 'password', '["set-cookie"]'].flatMap((name) => {
  const member = name.startsWith('[') ? name : `.${name}`;
  return [name, `*${member}`, `*.*${member}`, `*.*.*${member}`];
});

/** Lines that could not be written wait for the next one; beyond this they are dropped. */
const BYTES_WAITING_MAX = 1024 * 1024;

/** `scheme://user:password@host` anywhere in a text; databases' own errors repeat their address. */
const PASSWORD_IN_ADDRESS = /(\b[a-z][a-z0-9+]*:\/\/[^\s:@/]*:)[^\s@]+@/gi;

/** A text without the passwords of the addresses in it. */
export function hidePasswords(text: string): string {
  return text.replace(PASSWORD_IN_ADDRESS, '$1***@');
}

/** Throws the file system's error when the file can't be opened. */
export function createLogger(settings: LoggerSettings): Logger {
  const options: LoggerOptions = {
    level: settings.level,
    base: {
      service: settings.service,
      ...(settings.instance === undefined ? {} : { instance: settings.instance }),
      pid: process.pid,
    },
    timestamp: stdTimeFunctions.isoTime,
    messageKey: 'message',
    errorKey: 'error',
    redact: { paths: SECRETS, censor: '***' },
    formatters: { level: (label) => ({ level: label }) },
    hooks: { streamWrite: hidePasswords },
  };
  const { destination, queue } = settings;
  if (typeof destination === 'object') return pino(options, copying(destination, queue));
  if (destination !== undefined) makeFolder(dirname(resolve(destination)));
  // Written at once, not from a buffer: what was said before a kill -9 can be read after it.
  const file = pino.destination({ dest: destination ?? 1, sync: true, maxLength: BYTES_WAITING_MAX });
  // A full disk or a closed pipe loses lines; it must not throw into the work that is being told about.
  file.on('error', () => undefined);
  return pino(options, copying(file, queue));
}

/** A stream that gives each line to another one, and then to the queue. */
function copying(first: { write(line: string): unknown }, queue: LogQueue | undefined): DestinationStream {
  if (queue === undefined) return first as DestinationStream;
  return {
    // Asks pino to tell the level beside the line.
    [symbols.needsMetadataGsym]: true,
    lastLevel: 0,
    write(line: string): void {
      first.write(line);
      queue.offer(line, this.lastLevel);
    },
  } as DestinationStream & { lastLevel: number };
}
