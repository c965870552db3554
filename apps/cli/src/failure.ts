/** What a failed command says and which exit code it gives. A stack trace is for a bug's report, not for a terminal. */
import { JobmonError, type ErrorCode } from '@jobmon/contracts';
import { isServerUnreachable } from '@jobmon/client';
import { oneLine } from './text';

/** Stable: scripts look at them. */
export const Exit = {
  ERROR: 1,
  USAGE: 2,
  NOT_FOUND: 3,
  NOT_ALLOWED: 4,
  UNREACHABLE: 5,
  NOT_DONE: 6,
  TIMED_OUT: 7,
  /** Ctrl-C, as shells have it: 128 and the signal's number. */
  INTERRUPTED: 130,
} as const;

const EXIT_OF_CODE: Readonly<Partial<Record<ErrorCode, number>>> = {
  NOT_FOUND: Exit.NOT_FOUND,
  UNAUTHORIZED: Exit.NOT_ALLOWED,
  FORBIDDEN: Exit.NOT_ALLOWED,
  TOO_MANY: Exit.NOT_ALLOWED,
  UNAVAILABLE: Exit.UNREACHABLE,
};

/** Thrown by a command that ran out of the time it was given. */
export class TimedOut extends Error {}

/** Thrown by a command that its user left with Ctrl-C; its message says what goes on without it. */
export class Interrupted extends Error {}

/** What stands on the line does not make sense together. */
export class WrongUsage extends Error {}

export function exitCodeOf(error: unknown): number {
  if (error instanceof TimedOut) return Exit.TIMED_OUT;
  if (error instanceof Interrupted) return Exit.INTERRUPTED;
  if (error instanceof WrongUsage) return Exit.USAGE;
  if (isServerUnreachable(error)) return Exit.UNREACHABLE;
  return error instanceof JobmonError ? (EXIT_OF_CODE[error.code] ?? Exit.ERROR) : Exit.ERROR;
}

/** One line. An error that is none of ours is a bug; `JOBMON_DEBUG=1` shows where it came from. */
export function sentenceOf(error: unknown): string {
  if (process.env.JOBMON_DEBUG === '1' && error instanceof Error) return error.stack ?? error.message;
  if ((error as NodeJS.ErrnoException | undefined)?.syscall === 'uv_cwd')
    return 'the folder that you are in is gone: go to another one';
  const message = error instanceof Error ? error.message : String(error);
  if (
    error instanceof JobmonError &&
    error.code === 'UNAUTHORIZED' &&
    process.env.JOBMON__HTTP__SERVICE_URL &&
    !/jobmon (login|token)/.test(message)
  ) {
    return `${message}; set JOBMON__HTTP__TOKEN to the server's token`;
  }
  return oneLine(message.replaceAll('\n', ' '));
}
