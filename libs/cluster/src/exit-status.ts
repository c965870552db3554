/** How a command ended, in words that name the cause where the shell gives only a number. */
import { constants } from 'node:os';

/** Longest line of the command's own words that is repeated. */
const LINE_CHARACTERS_MAX = 300;

/** Of several names of a signal the first, which is the common one. */
const SIGNALS = new Map<number, string>(
  Object.entries(constants.signals)
    .reverse()
    .map(([name, number]) => [number, name]),
);

/**
 * `exit status 3`, and what a status over 125 stands for: 126 and 127 are the shell's own, and one of 128 + n is a signal.
 *
 * @param stderr_log the end of what the command said; the shell names there what it did not find, and says when a core was dumped
 * @param has_core the command's own process left a core dump
 */
export function exitText(exit_code: number, stderr_log: string, has_core: boolean): string {
  const said = (pattern: RegExp): string => {
    const line = stderr_log
      .trimEnd()
      .split('\n')
      .slice(-5)
      .reverse()
      .find((text) => pattern.test(text));
    return line === undefined ? '' : ` (${line.replace(/^.*?start\.sh: (?:line )?\d*:? ?/, '').slice(0, LINE_CHARACTERS_MAX)})`;
  };
  const status = `exit status ${exit_code}`;
  if (exit_code === 127) return `${status}: a command was not found${said(/not found|No such file/)}`;
  if (exit_code === 126)
    return `${status}: a command could not be executed${said(/denied|cannot execute|[Ii]s a directory|format error/)}`;
  const signal = SIGNALS.get(exit_code - 128);
  if (signal === undefined) return status;
  return `${status}: killed by ${signal}${has_core || said(/core dumped/) !== '' ? ' (core dumped)' : ''}`;
}

/** An amount of memory as people say it. */
export function bytesText(bytes: number): string {
  const mib = bytes / 2 ** 20;
  return mib < 1024 ? `${rounded(mib)} MiB` : `${rounded(mib / 1024)} GiB`;
}

/** A number with at most two digits behind the point. */
export function rounded(value: number): string {
  return String(Math.round(value * 100) / 100);
}
