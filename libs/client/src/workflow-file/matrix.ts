/** The combinations of a matrix: how many there are, and the values of each, made when they are asked for. */
import { didYouMean, type Problems } from './problem';
import type { Matrix, Range } from './schema';
import type { Path, Source } from './source';

/** The tasks of a group by their position: values of the matrix' arguments. */
export interface Rows {
  readonly args: readonly string[];
  readonly count: number;
  /** The value of argument `arg` (by its position in `args`) in row `row`. */
  valueOf(row: number, arg: number): string;
}

/** A group without a matrix: one task. */
export const ONE_ROW: Rows = { args: [], count: 1, valueOf: () => '' };

/** The values of one argument, by position. */
interface Axis {
  readonly count: number;
  at(position: number): string;
}

/**
 * The rows of a matrix at `path` of the source. Tells as problems: no arguments, no values, a value twice, rows that differ in
 * their arguments. Undefined when there was one.
 */
export function rowsOf(matrix: Matrix, source: Source, path: Path, problems: Problems): Rows | undefined {
  return Array.isArray(matrix) ? listed(matrix, source, path, problems) : crossed(matrix, source, path, problems);
}

function crossed(
  matrix: Readonly<Record<string, readonly unknown[] | Range>>,
  source: Source,
  path: Path,
  problems: Problems,
): Rows | undefined {
  const args = Object.keys(matrix);
  if (args.length === 0) {
    problems.add(source.positionOf(path, 'key'), 'the matrix has no arguments; give it some, or take it away for a single task');
    return undefined;
  }
  const axes = args.map((arg) => axisOf(matrix[arg]!, source, [...path, arg], problems));
  if (axes.some((axis) => axis === undefined)) return undefined;
  const wheels = axes as Axis[];
  // The last argument turns fastest, as the innermost of nested loops.
  const turns = wheels.map((_, i) => wheels.slice(i + 1).reduce((product, { count }) => product * count, 1));
  return {
    args,
    count: wheels.reduce((product, { count }) => product * count, 1),
    valueOf: (row, arg) => wheels[arg]!.at(Math.floor(row / turns[arg]!) % wheels[arg]!.count),
  };
}

function axisOf(given: readonly unknown[] | Range, source: Source, path: Path, problems: Problems): Axis | undefined {
  const arg = String(path.at(-1));
  if (!isList(given)) {
    const { from, to, step = 1 } = given;
    const count = Math.floor((to - from) / step) + 1;
    if (count > 0) return { count, at: (position) => String(from + position * step) };
    problems.add(source.positionOf(path), `the range of '${arg}' is empty: ${from} is above ${to}`);
    return undefined;
  }
  if (given.length === 0) {
    problems.add(source.positionOf(path), `the argument '${arg}' has no values, so there would be no task; list some`);
    return undefined;
  }
  const values = given.map((_, i) => source.textOf(given, i));
  const seen = new Map<string, number>();
  for (const [i, value] of values.entries()) {
    const first = seen.get(value);
    if (first !== undefined) {
      problems.add(source.positionOf([...path, i]), `the value ${JSON.stringify(value)} of '${arg}' stands here a second time`);
      return undefined;
    }
    seen.set(value, i);
  }
  return { count: values.length, at: (position) => values[position]! };
}

function listed(
  matrix: readonly Readonly<Record<string, unknown>>[],
  source: Source,
  path: Path,
  problems: Problems,
): Rows | undefined {
  if (matrix.length === 0) {
    problems.add(source.positionOf(path), 'the matrix is empty, so there would be no task; list some maps');
    return undefined;
  }
  const args = Object.keys(matrix[0]!);
  if (args.length === 0) {
    problems.add(source.positionOf([...path, 0]), 'the matrix has no arguments; give it some, or take it away for a single task');
    return undefined;
  }
  const seen = new Map<string, number>();
  const rows: string[][] = [];
  for (const [i, row] of matrix.entries()) {
    const missing = args.find((arg) => !Object.hasOwn(row, arg));
    if (missing !== undefined) {
      problems.add(
        source.positionOf([...path, i]),
        `the argument '${missing}' is missing here; the first map has ${args.join(', ')}`,
      );
      return undefined;
    }
    const foreign = Object.keys(row).find((arg) => !args.includes(arg));
    if (foreign !== undefined) {
      const cure = didYouMean(foreign, args) || `; it has ${args.join(', ')}`;
      problems.add(source.positionOf([...path, i, foreign], 'key'), `the argument '${foreign}' is not in the first map${cure}`);
      return undefined;
    }
    const values = args.map((arg) => source.textOf(row, arg));
    const key = JSON.stringify(values);
    if (seen.has(key)) {
      problems.add(source.positionOf([...path, i]), `the same values stand in map ${seen.get(key)! + 1} of the matrix already`);
      return undefined;
    }
    seen.set(key, i);
    rows.push(values);
  }
  return { args, count: rows.length, valueOf: (row, arg) => rows[row]![arg]! };
}

function isList(given: readonly unknown[] | Range): given is readonly unknown[] {
  return Array.isArray(given);
}
