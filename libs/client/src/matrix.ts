/** The cross product of the values of arguments: a row for each combination. */
import { JobmonError } from '@jobmon/contracts';
import type { ArgValue } from './task-template';

/** More is a slip: an argument too many. A million tasks take about a gigabyte here. */
const COMBINATIONS_MAX = 10_000_000;

/**
 * One row for each combination of the values of `crossed` arguments, in the order in which the caller named them, the last turning fastest; every
 * other argument has the same value in all rows. Throws MALFORMED at the first row.
 */
export function* combinations(
  given: Readonly<Record<string, ArgValue | Iterable<ArgValue>>>,
  crossed: readonly string[],
  templateName: string,
): Generator<Record<string, ArgValue>, void, void> {
  const malformed = (what: string): JobmonError => new JobmonError('MALFORMED', `task template '${templateName}': ${what}`);
  const row: Record<string, ArgValue> = {};
  const axes: { arg: string; values: readonly ArgValue[] }[] = [];
  for (const [arg, value] of Object.entries(given)) {
    const isMany = typeof value === 'object' && value !== null && Symbol.iterator in value;
    if (!isMany || !crossed.includes(arg)) {
      if (isMany) throw malformed(`{${arg}} is no node argument, so it has one value for all tasks, not several`);
      row[arg] = value as ArgValue;
      continue;
    }
    const values = [...value];
    if (values.length === 0) throw malformed(`{${arg}} has no values, so there would be no task`);
    axes.push({ arg, values });
  }
  const count = axes.reduce((product, { values }) => product * values.length, 1);
  if (count > COMBINATIONS_MAX) throw malformed(`${count} combinations are asked for, ${COMBINATIONS_MAX} is the limit`);
  for (let nth = 0; nth < count; nth++) {
    let rest = nth;
    for (let i = axes.length - 1; i >= 0; i--) {
      const { arg, values } = axes[i]!;
      row[arg] = values[rest % values.length]!;
      rest = Math.floor(rest / values.length);
    }
    yield { ...row };
  }
}
