/** One text for one value: what is found again by its text must always be written alike. */
import { JobmonError } from '@jobmon/contracts';

/** Deepest nesting of a stored JSON value. */
const DEPTH_MAX = 32;

/** A value as JSON with sorted keys: the same value is always the same text. MALFORMED when it is nested too deeply. */
export function canonicalJson(value: unknown, depth = 0): string {
  if (depth > DEPTH_MAX)
    throw new JobmonError('MALFORMED', `a value is nested deeper than ${DEPTH_MAX} levels`, { rule: 'depth' });
  if (Array.isArray(value)) return `[${value.map((inner) => canonicalJson(inner, depth + 1)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value ?? null);
  const members = Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, inner]) => `${JSON.stringify(key)}:${canonicalJson(inner, depth + 1)}`);
  return `{${members.join(',')}}`;
}
