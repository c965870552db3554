/** The question before what cannot be taken back. */
import { createInterface } from 'node:readline';
import { Interrupted, WrongUsage } from './failure';

/**
 * Asks on a terminal, and returns when the answer is yes. Throws when it is anything else or none (exit code 1), `Interrupted` after
 * Ctrl-C, and `WrongUsage` where nobody can be asked.
 */
export async function confirm(question: string): Promise<void> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new WrongUsage('nobody can be asked here: give --yes to do it, or --dry-run');
  }
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await new Promise<string | Interrupted | undefined>((resolve) => {
    reader.once('SIGINT', () => resolve(new Interrupted('Nothing was done.')));
    // Without an answer when the input ends.
    reader.once('close', () => resolve(undefined));
    reader.question(`${question} [y/N] `, resolve);
  });
  reader.close();
  // The line of the question stands open.
  if (typeof answer !== 'string') process.stderr.write('\n');
  if (answer instanceof Interrupted) throw answer;
  if (!/^y(es)?$/i.test(answer?.trim() ?? '')) throw new Error('nothing was done');
}
