/** Values that people give, checked where they are given: each function answers the value or throws MALFORMED with the rule. */
import { JobmonError, LIMIT_NONE, PRIORITY_MAX } from '@jobmon/contracts';

/** Attempts must be a whole number above 0. */
export function checkedAttempts(max_attempts: number): number {
  if (Number.isInteger(max_attempts) && max_attempts >= 1 && max_attempts <= 1_000_000) return max_attempts;
  throw new JobmonError('MALFORMED', `maxAttempts must be a whole number from 1 to 1000000, not ${String(max_attempts)}`);
}

/** A limit of tasks that run at one time; 0 lets none start. */
export function checkedLimit(limit: number): number {
  if (Number.isInteger(limit) && limit >= 0 && limit <= LIMIT_NONE) return limit;
  throw new JobmonError(
    'MALFORMED',
    `maxConcurrentlyRunning must be a whole number from 0 to ${LIMIT_NONE}, not ${String(limit)}`,
  );
}

export function checkedPriority(priority: number): number {
  if (Number.isInteger(priority) && Math.abs(priority) <= PRIORITY_MAX) return priority;
  throw new JobmonError(
    'MALFORMED',
    `priority must be a whole number from -${PRIORITY_MAX} to ${PRIORITY_MAX}, not ${String(priority)}`,
  );
}

/** Text of at most so many characters, as the database's columns hold it. */
export function checkedText(what: string, text: unknown, max: number, min: 0 | 1 = 1): string {
  if (typeof text !== 'string') throw new JobmonError('MALFORMED', `${what} must be text, not ${typeof text}`);
  if (text.length < min) throw new JobmonError('MALFORMED', `${what} must not be empty`);
  if (text.length > max) throw new JobmonError('MALFORMED', `${what} has ${text.length} characters, ${max} is the limit`);
  if (text.includes('\0')) throw new JobmonError('MALFORMED', `${what} must not hold the character NUL`);
  return text;
}

/** Attributes: names and values are text of at most 255 characters. */
export function checkedAttributes(
  owner: string,
  attributes: Readonly<Record<string, string>> | undefined,
): Record<string, string> {
  const checked: Record<string, string> = {};
  for (const [name, value] of Object.entries(attributes ?? {})) {
    checkedText(`the name of an attribute of ${owner}`, name, 255);
    checked[name] = checkedText(`the attribute '${name}' of ${owner}`, value, 255, 0);
  }
  return checked;
}
