/**
 * Frame strings: a table as JSON text inside the JSON answer, which callers therefore decode twice. Column by column, each an object
 * from row number (as text, from "0") to value, as pandas lays out a frame that it writes; spec/http-api-inspection.md section 1.3.
 */

/** The rows under these columns, in this order; a column that a row lacks is null there. No rows: every column with `{}`. */
export function frameString(columns: readonly string[], rows: readonly Record<string, unknown>[]): string {
  const frame: Record<string, Record<string, unknown>> = {};
  for (const column of columns) {
    const values: Record<string, unknown> = (frame[column] = {});
    rows.forEach((row, position) => (values[position] = row[column] ?? null));
  }
  return JSON.stringify(frame);
}
