/**
 * Output: tables that fit the terminal for people, records for programs. A command has one shape of record, in JSON, in JSON lines and in
 * CSV alike: flat, its names those of the database, statuses as words. A list is an array of records, one thing is one record.
 */
import { Option } from 'commander';
import { hasColours, isForPrograms, settings, SHAPES, widthOf, type Shape } from './settings';
import { columnsOf, cut, cutMiddle, padded, oneLine, wrapped } from './text';

export { oneLine } from './text';
export type { Shape } from './settings';

/** A column that gives room to others keeps this much. */
const COLUMN_MIN = 8;
/** What stands below a row has no more lines. */
const BELOW_LINES_MAX = 4;
const BELOW_INDENT = '    ';

/** `-o table|json|jsonl|csv`, for a command that wants to see it among its own options. */
export function output(): Option {
  return new Option('-o, --output <shape>')
    .choices(SHAPES)
    .default('table' satisfies Shape)
    .hideHelp();
}

/** The fields of a record, in order, each with where it comes from. */
export type Fields<Row> = Readonly<Record<string, (row: Row) => unknown>>;

export interface Column<Row> {
  readonly title: string;
  readonly of: (row: Row) => string | number | null | undefined;
  readonly align?: 'right';
  /** Gives room when the table is too wide: what is cut off ends with an ellipsis. */
  readonly isFlexible?: true;
  /** Prose that is worth the whole width: it stands below the row, broken at blanks, and has no title. */
  readonly isBelow?: true;
  /** A status: coloured on a terminal. */
  readonly isStatus?: true;
}

/** A list: a table for people, or records. */
export function printList<Row>(rows: readonly Row[], fields: Fields<Row>, columns: readonly Column<Row>[]): void {
  if (!isForPrograms()) return printTable(columns, rows);
  process.stdout.write(
    recordsText(
      rows.map((row) => recordOf(row, fields)),
      Object.keys(fields),
    ),
  );
}

/** One thing: whatever `show` prints for people, or its record. */
export function printOne<Row>(row: Row, fields: Fields<Row>, show: () => void): void {
  if (isForPrograms()) printRecord(recordOf(row, fields));
  else show();
}

export function recordOf<Row>(row: Row, fields: Fields<Row>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([name, of]) => [name, of(row) ?? null]));
}

/** A record, or an array of them, in the shape that was asked for; JSON where a table was. */
export function printRecord(value: unknown): void {
  if (Array.isArray(value)) return void process.stdout.write(recordsText(value as Record<string, unknown>[]));
  if (settings.output === 'csv') return void process.stdout.write(recordsText([value as Record<string, unknown>]));
  process.stdout.write(`${JSON.stringify(value, undefined, settings.output === 'jsonl' ? undefined : 2)}\n`);
}

function recordsText(records: readonly Record<string, unknown>[], names = namesOf(records)): string {
  switch (settings.output) {
    case 'jsonl':
      return records.map((record) => `${JSON.stringify(record)}\n`).join('');
    case 'csv':
      return [names, ...records.map((record) => names.map((name) => record[name]))].map(csvLine).join('');
    default:
      return `${JSON.stringify(records, undefined, 2)}\n`;
  }
}

function namesOf(records: readonly Record<string, unknown>[]): string[] {
  return [...new Set(records.flatMap((record) => Object.keys(record)))];
}

/** RFC 4180, but for the line's end: a newline alone. What is no text or number is written as JSON. */
export function csvLine(values: readonly unknown[]): string {
  const cells = values.map((value) => {
    if (value === null || value === undefined) return '';
    const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
    return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  });
  return `${cells.join(',')}\n`;
}

/** A table with its head, every line at most as wide as the terminal. */
export function printTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): void {
  for (const line of tableOf(columns, rows, widthOf(process.stdout), hasColours(process.stdout)))
    process.stdout.write(`${line}\n`);
}

/** `name    value` lines; a field without a value is left out. */
export function printFields(fields: readonly (readonly [string, string | number | null | undefined])[]): void {
  const width = Math.max(...fields.map(([name]) => name.length));
  for (const [name, value] of fields) {
    if (value === null || value === undefined || value === '') continue;
    process.stdout.write(`${name.padEnd(width)}  ${coloured(oneLine(String(value)), hasColours(process.stdout))}\n`);
  }
}

export function tableOf<Row>(all: readonly Column<Row>[], rows: readonly Row[], columns_max: number, colours: boolean): string[] {
  const columns = all.filter(({ isBelow }) => !isBelow);
  const textOf = (column: Column<Row>, row: Row): string => oneLine(String(column.of(row) ?? '-'));
  const cells = rows.map((row) => columns.map((column) => textOf(column, row)));
  const widths = columns.map(({ title }, i) => cells.reduce((width, line) => Math.max(width, columnsOf(line[i]!)), title.length));
  let excess = widths.reduce((sum, width) => sum + width + 2, -2) - columns_max;
  // Last first: what stands on the left names the row.
  for (let i = columns.length - 1; i >= 0 && excess > 0; i--) {
    if (!columns[i]!.isFlexible) continue;
    const given = Math.min(excess, Math.max(0, widths[i]! - COLUMN_MIN));
    widths[i]! -= given;
    excess -= given;
  }
  const cellOf = (text: string, i: number): string => {
    const { align, isStatus } = columns[i]!;
    const shown = cut(text, widths[i]!);
    const filled = padded(shown, widths[i]!, align);
    return isStatus ? filled.replace(shown, () => coloured(shown, colours)) : filled;
  };
  const lineOf = (texts: readonly string[]): string => texts.map(cellOf).join('  ').trimEnd();
  const below = all.filter(({ isBelow }) => isBelow);
  return [
    lineOf(columns.map(({ title }) => title)),
    ...rows.flatMap((row, nth) => [
      lineOf(cells[nth]!),
      ...below.flatMap((column) => linesBelow(textOf(column, row), columns_max - BELOW_INDENT.length)),
    ]),
  ];
}

/** A word that is longer than a line, most often a path, loses its middle; what is more than a few lines loses its end. */
function linesBelow(text: string, columns_max: number): string[] {
  const words = text.split(' ').map((word) => cutMiddle(word, columns_max));
  const lines = wrapped(words.join(' '), columns_max);
  const [shown, rest] = [lines.slice(0, BELOW_LINES_MAX - 1), lines.slice(BELOW_LINES_MAX - 1).join(' ')];
  return [...shown, ...(rest === '' ? [] : [cut(rest, columns_max)])].map((line) => BELOW_INDENT + line);
}

const COLOUR_OF: Readonly<Record<string, number>> = {
  DONE: 32,
  RUNNING: 34,
  PAUSED: 33,
  FAILED: 31,
  ERROR_FATAL: 31,
  ERROR: 31,
  ABORTED: 35,
  HALTED: 33,
};

/** A status word in its colour; any other text as it is. */
export function coloured(text: string, colours: boolean): string {
  const colour = colours ? COLOUR_OF[text] : undefined;
  return colour === undefined ? text : `\x1b[${colour}m${text}\x1b[0m`;
}
