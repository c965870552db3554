/**
 * `npm run bench -- scale`: what a task of a large workflow costs beside one of a smaller, in time and in memory, and whether a small
 * workflow of another user is served meanwhile. House and program are processes of their own; the commands of the first part are of the
 * cluster `dummy`, which runs nothing, so that only the house is measured.
 *
 * Arguments: `--databases sqlite,mariadb`, `--tasks 10000,100000`, `--rounds 3`, `--fair 100000` (0 leaves it out). The report is
 * written only by a run without arguments, or with `--write`.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { mariadbDatabase, sqliteDatabase, type RawDatabase } from '../transitions/database';
import { measure, type Measured } from '../workflow/measure';
import { LOADS, measureFairness, quantile, SMALL, type Fairness } from './fair';
import { measureRaw, type Raw } from './raw';

/** Tasks of the raw measurement: enough that its transactions are many. */
const RAW_TASKS = 20_000;

/** What one task costs. Memory is the peak of the whole process. */
interface Cost {
  readonly bind_ms: number;
  readonly run_ms: number;
  readonly house_mib: number;
  readonly program_mib: number;
}

interface Size {
  readonly tasks: number;
  /** One for each round. */
  readonly costs: Cost[];
}

interface Part {
  readonly kind: string;
  readonly sizes: Size[];
  readonly raw: Raw[];
  readonly fairness: Fairness[];
}

const costOf = ({ tasks, bound, ended, running }: Measured): Cost => ({
  bind_ms: (bound.bind_seconds * 1_000) / tasks,
  run_ms: (ended.run_seconds * 1_000) / tasks,
  house_mib: running.peak_rss_mb,
  program_mib: ended.peak_rss_mb,
});

/** The median, and the smallest and the largest when there are several. */
function spread(given: readonly number[], digits: number): string {
  const sorted = [...given].sort((a, b) => a - b);
  const text = (value: number | undefined): string => (value ?? Number.NaN).toFixed(digits);
  const half = sorted.length / 2;
  const middle = text(((sorted[Math.ceil(half) - 1] ?? Number.NaN) + (sorted[Math.floor(half)] ?? Number.NaN)) / 2);
  return sorted.length < 2 ? middle : `${middle} (${text(sorted[0])}–${text(sorted.at(-1))})`;
}

/** Each round's large figure by the small figure of the same round. */
function ratios(part: Part, of: (cost: Cost) => number): number[] {
  const [small, large] = [part.sizes[0], part.sizes.at(-1)];
  return (large?.costs ?? []).map((cost, round) => of(cost) / of(small?.costs[round] as Cost));
}

/** A row for each size and one for the ratio. */
function costTable(parts: readonly Part[]): string {
  const lines = [
    '| database | tasks | bind ms a task | run ms a task | peak MiB, house | peak MiB, program |',
    '| --- | ---: | ---: | ---: | ---: | ---: |',
  ];
  const columns: [keyof Cost, number][] = [
    ['bind_ms', 3],
    ['run_ms', 3],
    ['house_mib', 0],
    ['program_mib', 0],
  ];
  const row = (...cells: (string | number)[]): number => lines.push(`| ${cells.join(' | ')} |`);
  for (const part of parts) {
    for (const { tasks, costs } of part.sizes) {
      row(
        part.kind,
        tasks,
        ...columns.map(([name, digits]) =>
          spread(
            costs.map((cost) => cost[name]),
            digits,
          ),
        ),
      );
    }
    if (part.sizes.length > 1)
      row(
        part.kind,
        'ratio',
        ...columns.map(([name]) =>
          spread(
            ratios(part, (cost) => cost[name]),
            2,
          ),
        ),
      );
    row(
      part.kind,
      'driver alone',
      ...(['bind_ms', 'run_ms'] as const).map((name) =>
        spread(
          part.raw.map((raw) => raw[name]),
          3,
        ),
      ),
      '',
      '',
    );
  }
  return lines.join('\n');
}

function fairTable(parts: readonly Part[]): string {
  const lines = [
    '| database | load | many | alone: median ms | last ms | beside the many: median ms | last ms | ratio of medians |',
    '| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |',
  ];
  for (const { kind, load, tasks, idle_ms, busy_ms } of parts.flatMap(({ fairness }) => fairness)) {
    const figures = [idle_ms, busy_ms].flatMap((waits) => [quantile(waits, 0.5), quantile(waits, 1)]);
    const ratio = quantile(busy_ms, 0.5) / quantile(idle_ms, 0.5);
    lines.push(`| ${[kind, load.name, tasks, ...figures.map((ms) => ms.toFixed(0)), ratio.toFixed(1)].join(' | ')} |`);
  }
  return lines.join('\n');
}

function report(parts: readonly Part[], versions: ReadonlySet<string>, rounds: number, load: number): string {
  return `# Ten thousand tasks and a hundred thousand

${costTable(parts)}

Machine: ${availableParallelism()} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), Node ${process.version}, ${[...versions].join('; ')}. Each figure is the median of ${rounds} rounds with the
smallest and the largest; a round measures the sizes one after the other, so that its ratio compares figures of the same minutes. Load average when it
began: ${load.toFixed(1)}. Above 0.5 other programs had a part of the cores and of the disk: compare the ratios only.

- The workflow, *bind* and *run* are those of [workflow.md](workflow.md), each on a fresh database and a fresh house; *peak* is the most
  resident memory of the process in its whole life.
- *driver alone* writes the same rows straight through the driver: 1,000 tasks a transaction, one connection, no locks beforehand, nothing
  decided (\`bench/scale/raw.ts\`), ${RAW_TASKS} tasks.
- After each run every task is DONE by one attempt with its four history rows, else the benchmark fails.

## A small workflow beside a large one

${fairTable(parts)}

From the call that submits a workflow of ${SMALL} tasks that wait for nothing to the start of each of them, by the history: ten such
workflows one after the other, before the many are submitted and while they run; the agent serves both users. *many* is the size of the other user's workflow.

- With commands that take time, whoever comes waits for a core: no command is stopped to make room. The small workflow's tasks come before
  the turns (\`apps/state-machine/src/turns.ts\`), so they take cores as these become free.
- With \`dummy\` there is no command to wait for, and the house itself is busy without end: the wait is that of each message for the
  batches before it. That is the price of batches, and the worst that a house can do.

To repeat it: \`npm run bench -- scale\`. It takes some ten minutes. A MariaDB server named by \`JOBMON_TEST_MARIADB_URL\` is used when set, else a
private one is started.
`;
}

/** Gives `work` an empty database of the kind, and removes it. */
async function onFresh<T>(kind: string, work: (place: RawDatabase, folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'jobmon-bench-'));
  const place =
    kind === 'mariadb' ? await mariadbDatabase(process.env['JOBMON_TEST_MARIADB_URL'] as string) : sqliteDatabase(folder);
  try {
    return await work(place, folder);
  } finally {
    await place.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      databases: { type: 'string', default: 'sqlite,mariadb' },
      tasks: { type: 'string', default: '10000,100000' },
      rounds: { type: 'string', default: '3' },
      fair: { type: 'string', default: '100000' },
      write: { type: 'boolean', default: process.argv.length === 2 },
    },
  });
  const sizes = values.tasks.split(',').filter(Boolean).map(Number);
  const rounds = Number(values.rounds);
  const load = loadavg()[0] ?? 0;
  const versions = new Set<string>();
  const parts: Part[] = [];
  for (const kind of values.databases.split(',')) {
    if (kind === 'mariadb' && process.env['JOBMON_TEST_MARIADB_URL'] === undefined) {
      console.log('no MariaDB: its part is left out');
      continue;
    }
    const part: Part = { kind, sizes: sizes.map((tasks) => ({ tasks, costs: [] })), raw: [], fairness: [] };
    parts.push(part);
    for (let round = 0; round < rounds; round += 1) {
      for (const { tasks, costs } of part.sizes) {
        costs.push(await onFresh(kind, async (place, folder) => costOf(await measure(place, tasks, folder))));
        console.log(kind, tasks, JSON.stringify(costs.at(-1)));
      }
      part.raw.push(await onFresh(kind, (place) => (versions.add(place.version), measureRaw(place, RAW_TASKS))));
      console.log(kind, 'driver alone', JSON.stringify(part.raw.at(-1)));
    }
    for (const given of Number(values.fair) > 0 ? LOADS : []) {
      part.fairness.push(await onFresh(kind, (place, folder) => measureFairness(place, given, Number(values.fair), folder)));
      console.log(fairTable([part]));
    }
  }
  const text = report(parts, versions, rounds, load);
  console.log(`\n${text}`);
  if (!values.write) return;
  const file = join(process.cwd(), 'bench', 'results', 'scale.md');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  console.log('\nwritten to bench/results/scale.md');
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
