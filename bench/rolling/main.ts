/**
 * `npm run bench -- rolling [--tasks N] [--from REF]`: two of each service, two agents and the published Python client, over MariaDB and a NATS with
 * accounts, while every service is restarted as a rolling update of a cluster does it, round after round until all tasks (500) have ended.
 * The commands write down themselves what they do; that is held against the database, and what clients were answered is read off the wires
 * in front of the apis. Exit code 1 when anything was lost or doubled, a client saw a 4xx or waited for longer than 5 s, or a process
 * did not end in order. The report is bench/results/rolling.md.
 *
 * With `--from`, all services and agents are of that commit (a tag, a branch, a hash) when the work begins. Its schema is then migrated by this
 * release while they work; they go on for a while on the newer schema; each service is upgraded, rolled back, upgraded again and so on. The
 * report is bench/results/upgrade.md.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ROOT } from '@jobmon/testkit';
import { play } from './play';
import { reportOf, wrongIn } from './report';

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { tasks: { type: 'string', default: '500' }, from: { type: 'string' } } });
  const tasks = Number(values.tasks);
  if (!Number.isInteger(tasks) || tasks < 100) throw new Error(`--tasks ${values.tasks}: give a whole number of at least 100`);
  const story = await play(tasks, values.from);
  const report = reportOf(story);
  console.log(report);
  const results = join(ROOT, 'bench', 'results');
  mkdirSync(results, { recursive: true });
  writeFileSync(join(results, values.from === undefined ? 'rolling.md' : 'upgrade.md'), report);
  const wrong = wrongIn(story);
  for (const sentence of wrong) console.log(`WRONG: ${sentence}`);
  if (wrong.length > 0) console.log(`what is left of the run: ${story.user.path}`);
  else await story.user.remove();
  return wrong.length === 0 ? 0 : 1;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
