/** Identities: what carries the unique keys that keep two callers at one time from making the same row twice. */
import { createHash } from 'node:crypto';

/** Lower-case hex SHA-256 of the parts joined by line breaks. */
export function identityOf(...parts: readonly (string | number)[]): string {
  return createHash('sha256').update(parts.join('\n')).digest('hex');
}
