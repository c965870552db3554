/**
 * Limits of columns that a schema of the wire cannot say: bytes of TEXT, and characters that no command line can hold. Values
 * are checked before anything is written, so no statement ever fails for them (design, section 4).
 */
import { JobmonError } from '@jobmon/contracts';

/** Bytes of a TEXT column, in UTF-8. */
export const TEXT_BYTES_MAX = 65_535;

/** Why a text cannot be stored, as the end of a sentence; undefined when it can. */
export function textFault(text: string): string | undefined {
  if (text.includes('\0')) return 'holds the character NUL, which ends a command line';
  // A UTF-16 unit takes at most three bytes, so most texts need not be counted.
  if (text.length * 3 <= TEXT_BYTES_MAX) return undefined;
  const bytes = Buffer.byteLength(text);
  return bytes > TEXT_BYTES_MAX ? `has ${bytes} bytes in UTF-8, at most ${TEXT_BYTES_MAX} are stored` : undefined;
}

/** Throws MALFORMED naming the field when its text cannot be stored. */
export function checkText(field: string, text: string): void {
  const fault = textFault(text);
  if (fault !== undefined) throw new JobmonError('MALFORMED', `${field} ${fault}`, { rule: 'column_limit', field });
}
