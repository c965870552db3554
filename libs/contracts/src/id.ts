/** Schemas of the values that nearly every operation carries. */
import { z } from 'zod';

/** Largest id of an ERD table: signed 32-bit INT (spec/data-model.md section 1). */
export const ID_MAX = 2_147_483_647;

/** An id. Python clients send numbers as text too (spec/http-api-execution.md trap 15), so digits are taken as well, and nothing else. */
export const Id = z.union([
  z.number().int().positive().max(ID_MAX),
  z
    .string()
    .regex(/^[0-9]{1,10}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().int().positive().max(ID_MAX)),
]);

/** A whole number from `min` to `max`, as a number or as its digits: in a query everything is text, and Python clients send text in bodies too. */
export function Whole(min: number, max: number) {
  const number = z.number().int().min(min).max(max);
  const text = z.string().regex(/^-?[0-9]{1,10}$/, 'must be a whole number');
  return z.union([number, text.transform(Number).pipe(number)]);
}

/** A hash as decimal digits, at most 78 of them for SHA-256 (spec/data-model.md section 4). Always text, never a number. */
export const HashDigits = z.string().regex(/^[0-9]{1,78}$/, 'must be 1 to 78 decimal digits');

/** A concurrency limit; the Python client's default is the largest value. */
export const Limit = z.number().int().nonnegative().max(ID_MAX);
export const LIMIT_NONE = ID_MAX;

/** A limit as Python's clients and the browser send it: a number or its digits (spec/http-api-execution.md trap 15). */
export const LimitOrDigits = z.union([
  Limit,
  z
    .string()
    .regex(/^[0-9]{1,10}$/, 'must be a whole number')
    .transform(Number)
    .pipe(Limit),
]);

/** `YYYY-MM-DD HH:MM:SS`, whole seconds, UTC, by the database's clock. */
export const DateText = z.string();

/**
 * A hash that Python clients send as a JSON number of up to 78 digits (E9, E33, E41): out comes its text of digits. An operation that
 * takes one is declared `http.lossless`, else the number arrives rounded.
 */
export const HashNumber = z.union([z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER).transform(String), HashDigits]);

/**
 * A list in a query, written by repeating its key: `?task_ids=1&task_ids=2` (spec/http-api-inspection.md section 1). One key alone is a list of
 * one, an absent key is absent: add `.optional()` or `.default([])` where that is allowed. In a body the field is a plain list.
 */
export function Repeated<Item extends z.ZodType>(item: Item) {
  return z.preprocess((given) => (given === undefined || Array.isArray(given) ? given : [given]), z.array(item));
}
