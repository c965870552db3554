/**
 * `npm run conformance -- [--kinds sqlite,mariadb] [--apart] [--only TEXT] [--tasks 1001]`: what the published Python clients do against a house, longer than a run of
 * the tests has time for: every story, 1,000 tasks on multiprocess, and every sub-command of the old command line. Without --only its table
 * is bench/results/python-clients.md and its transcript docs/python-command-line.md. With --apart two of each service stand in the
 * place of the house, on MariaDB; the table is bench/results/python-clients-services.md then, and there is no transcript. `--only '1001 tasks'` is the many tasks alone, `--tasks 101` makes them fewer.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { buildHouse, databases, pythonPrograms, ROOT } from '@jobmon/testkit';
import { faultsOf, pageOf, typeAll, type State, type Typed } from '../../apps/local/test/python/command-line';
import { NATIVE_STORIES } from '../../apps/local/test/python/native';
import { Stage, type Story } from '../../apps/local/test/python/stage';
import { finishes, storiesWith } from '../../apps/local/test/python/stories';
import { servicesApart } from './apart';
import { reportOf, type Played } from './report';

/** Stories at one time. */
const AT_ONCE = 5;
/** Of the story with many. */
const TASKS = 1_001;
const STATES: readonly State[] = ['finished', 'failed', 'running', 'resumed'];

/** The old command line on workflows in four states, one after the other on an empty house, so that ids are the same each time. */
function commandLine(pages: string[]): Story {
  return {
    title: 'every sub-command of the old command line',
    seconds_max: 1_800,
    tell: async (scene) => {
      const typed: Typed[] = [];
      // The client refuses to ask for the usage of template version 1.
      await scene.flow(['--cluster', 'dummy', '--template', 'first', '--tier', 'first']).ended;
      for (const state of STATES) typed.push(...(await typeAll(state, scene)));
      pages.push(pageOf(typed, scene.site.folder));
      const faults = faultsOf(typed);
      if (faults.length > 0) throw new Error(`commands that should have worked:\n${faults.join('\n')}`);
    },
  };
}

/** Two tiers of one size, and one task behind them. */
function manyOf(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 3 && count % 2 === 1) return count;
  throw new Error(`--tasks must be an odd whole number from 3 on, not '${text}'`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      kinds: { type: 'string', default: 'sqlite,mariadb' },
      only: { type: 'string', default: '' },
      apart: { type: 'boolean', default: false },
      tasks: { type: 'string', default: String(TASKS) },
    },
  });
  const python = pythonPrograms();
  if ('missing' in python) throw new Error(python.missing);
  buildHouse();
  const pages: string[] = [];
  // The command line on an empty house, and the many tasks without company; the rest side by side.
  const acts: readonly (readonly Story[])[] = [
    [commandLine(pages)],
    // The native ones need the agent of the house.
    [...storiesWith(61), ...(values.apart ? [] : NATIVE_STORIES)],
    [finishes('multiprocess', manyOf(values.tasks))],
  ];
  const played: Played[] = [];
  const kinds = values.apart ? ['mariadb'] : values.kinds.split(',');
  for (const kind of databases().filter(({ name }) => kinds.includes(name))) {
    const stage = await (values.apart ? Stage.open(kind, python.folder, servicesApart) : Stage.open(kind, python.folder));
    try {
      for (const act of acts) {
        const stories = act.filter(({ title }) => title.includes(values.only));
        const plays = stage.playAll(stories, AT_ONCE);
        for (const story of stories) {
          const fault = await plays.get(story.title)!.then(
            () => '',
            (error: Error) => error.stack ?? error.message,
          );
          const { seconds, exchanges } = stage.played.get(story.title)!;
          console.log(`${kind.name}: ${story.title}: ${seconds.toFixed(1)} s, ${exchanges.length} requests: ${fault || 'good'}`);
          played.push({ database: kind.name, story, seconds, exchanges, fault });
        }
      }
    } finally {
      await stage.close();
    }
  }
  if (played.some(({ fault }) => fault !== '')) process.exitCode = 1;

  const version = spawnSync(path.join(python.folder, 'python'), ['--version'], { encoding: 'utf8' }).stdout.trim();
  const report = reportOf(played, `${version}, ${availableParallelism()} cores`, values.apart ? 'services' : 'house');
  const file = path.join(ROOT, 'bench', 'results', values.apart ? 'python-clients-services.md' : 'python-clients.md');
  if (values.only === '' && Number(values.tasks) === TASKS) writeFileSync(file, report);
  else console.log(report);
  const [transcript] = pages;
  if (transcript === undefined || values.apart) return;
  const page = path.join(ROOT, 'docs', 'python-command-line.md');
  writeFileSync(page, transcript);
  spawnSync(process.execPath, [path.join(ROOT, 'node_modules/prettier/bin/prettier.cjs'), '--log-level=warn', '--write', page]);
}

void main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
