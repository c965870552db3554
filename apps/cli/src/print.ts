/** Output: tables that fit the terminal for people, JSON for programs. What the database holds is shown, never obeyed. */
import { Option } from 'commander';

/** Columns where the width is not known: a pipe, a file. */
const COLUMNS_DEFAULT = 80;
/** A column that gives room to others keeps this much. */
const COLUMN_MIN = 8;

export type Shape = 'table' | 'json';

/** `-o table|json`. */
export function output(): Option {
  return new Option('-o, --output <shape>', 'table for people, json for programs').choices(['table', 'json']).default('table');
}

/** One value as JSON. */
export function printRecord(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

export interface Column<Row> {
  readonly title: string;
  readonly of: (row: Row) => string | number | null;
  readonly align?: 'right';
  /** Gives room when the table is too wide: what is cut off ends with an ellipsis. */
  readonly isFlexible?: true;
  /** A status: coloured on a terminal. */
  readonly isStatus?: true;
}

/** A table with its head, every line at most as wide as the terminal. */
export function printTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): void {
  for (const line of tableOf(columns, rows, widthOf(process.stdout), hasColours(process.stdout)))
    process.stdout.write(`${line}\n`);
}

/** `name    value` lines. */
export function printFields(fields: readonly (readonly [string, string | number | null | undefined])[]): void {
  const width = Math.max(...fields.map(([name]) => name.length));
  for (const [name, value] of fields) {
    if (value === null || value === undefined || value === '') continue;
    process.stdout.write(`${name.padEnd(width)}  ${coloured(oneLine(String(value)), hasColours(process.stdout))}\n`);
  }
}

export function tableOf<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  columns_max: number,
  colours: boolean,
): string[] {
  const cells = rows.map((row) => columns.map((column) => oneLine(String(column.of(row) ?? '-'))));
  const widths = columns.map(({ title }, i) => Math.max(title.length, ...cells.map((line) => charsOf(line[i]!))));
  let excess = widths.reduce((sum, width) => sum + width + 2, -2) - columns_max;
  // Last first: what stands on the left names the row.
  for (let i = columns.length - 1; i >= 0 && excess > 0; i--) {
    if (!columns[i]!.isFlexible) continue;
    const given = Math.min(excess, Math.max(0, widths[i]! - COLUMN_MIN));
    widths[i]! -= given;
    excess -= given;
  }
  const fit = (text: string, i: number): string => {
    const cut = charsOf(text) > widths[i]! ? `${[...text].slice(0, widths[i]! - 1).join('')}…` : text;
    const blanks = ' '.repeat(widths[i]! - charsOf(cut));
    const shown = columns[i]!.isStatus ? coloured(cut, colours) : cut;
    return columns[i]!.align === 'right' ? blanks + shown : shown + blanks;
  };
  const lines = [columns.map(({ title }) => title), ...cells];
  return lines.map((line) => line.map(fit).join('  ').trimEnd());
}

/** Line breaks and control characters as escapes: a name may not move the cursor. */
export function oneLine(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, escaped);
}

const SHORT_ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\t': '\\t', '\r': '\\r' };

function escaped(char: string): string {
  return SHORT_ESCAPES[char] ?? `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

const charsOf = (text: string): number => [...text].length;

function widthOf(stream: NodeJS.WriteStream): number {
  const set = Number(process.env.COLUMNS);
  // Some terminals say 0 for "not known".
  return stream.columns || (set > 0 ? set : COLUMNS_DEFAULT);
}

function hasColours(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
}

const COLOUR_OF: Readonly<Record<string, number>> = {
  DONE: 32,
  RUNNING: 34,
  FAILED: 31,
  ERROR_FATAL: 31,
  ERROR: 31,
  ABORTED: 35,
  HALTED: 33,
};

/** A status word in its colour; any other text as it is. */
function coloured(text: string, colours: boolean): string {
  const colour = colours ? COLOUR_OF[text] : undefined;
  return colour === undefined ? text : `\x1b[${colour}m${text}\x1b[0m`;
}
