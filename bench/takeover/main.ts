/**
 * `npm run bench -- takeover [--tasks 10000]`: two of each service, real agents, and the busiest scheduler and state machine killed and
 * frozen in the middle of a workflow. `npm run bench -- takeover --large 1000000` measures the takeover of one very large run alone, most
 * of which time is its bind. Exit code 1 when anything was lost, doubled, or against another rule. Figures: bench/results/leases.md.
 */
import { parseArgs } from 'node:util';
import { playCommands } from './commands';
import { playLarge } from './large';

/** A workflow of fewer has ended before the last blow. */
const TASKS_MIN = 2_500;

function count(text: string, flag: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < TASKS_MIN)
    throw new Error(`${flag} must be a whole number from ${TASKS_MIN} on, not '${text}'`);
  return value;
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { tasks: { type: 'string', default: '10000' }, large: { type: 'string' } } });
  if (values.large !== undefined) return console.log(await playLarge(count(values.large, '--large')));
  const { text, isClean } = await playCommands(count(values.tasks, '--tasks'));
  console.log(text);
  if (!isClean) process.exitCode = 1;
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
