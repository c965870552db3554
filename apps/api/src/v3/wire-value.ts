/** Stored values as the inspection routes show them. */
import { valueOf } from '@jobmon/entities';

/** A stored date, `YYYY-MM-DD HH:MM:SS`, with the letter T in its middle. */
export function isoDate(date: string | null): string | null {
  return date === null ? null : date.replace(' ', 'T');
}

/** The finite number in a value that several programs write, mostly as text; null when there is none. */
export function numberIn(value: unknown): number | null {
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (typeof value !== 'string' || value.trim() === '') return null;
  const number = Number(value);
  return Number.isFinite(number) ? number : null;
}

/** The requested resources in a column's text; nothing when it holds something else. */
export function resourcesIn(text: string | null): Readonly<Record<string, unknown>> {
  const value = text === null ? undefined : valueOf(text);
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
