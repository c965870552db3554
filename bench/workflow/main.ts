/**
 * `npm run bench -- workflow`: what a whole workflow costs from the SDK's first call to the last task's end, at sizes a decade apart,
 * so that whatever grows with the tasks that wait or the rows that are stored shows. House and program are processes of their
 * own; commands are of the cluster `dummy`, which runs nothing, so that only the house is measured.
 *
 * Arguments: `--databases sqlite,mariadb`, `--tasks 1000,10000,100000`. The report is written only by a run without arguments.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { mariadbDatabase, sqliteDatabase } from '../transitions/database';
import { ASK_MS, measure, type Measured } from './measure';

function table(results: readonly Measured[]): string {
  const lines = [
    '| database | tasks | bind s | run s | tasks/s | bind ms/task | run ms/task | statements/task, bind | run | peak MiB, house | program | lag p99 ms | lag max ms | answer p99 ms | max ms |',
    `|${' --- |'.repeat(1)}${' ---: |'.repeat(14)}`,
  ];
  for (const { kind, tasks, bound, ended, binding, running, answers } of results) {
    const cells = [
      kind,
      tasks,
      bound.bind_seconds.toFixed(2),
      ended.run_seconds.toFixed(2),
      Math.round(tasks / ended.run_seconds),
      ((bound.bind_seconds * 1_000) / tasks).toFixed(3),
      ((ended.run_seconds * 1_000) / tasks).toFixed(3),
      (binding.statements / tasks).toFixed(3),
      (running.statements / tasks).toFixed(3),
      Math.round(running.peak_rss_mb),
      Math.round(ended.peak_rss_mb),
      Math.max(binding.lag_p99_ms, running.lag_p99_ms).toFixed(0),
      Math.max(binding.lag_max_ms, running.lag_max_ms).toFixed(0),
      answers.p99_ms.toFixed(0),
      answers.max_ms.toFixed(0),
    ];
    lines.push(`| ${cells.join(' | ')} |`);
  }
  return lines.join('\n');
}

function report(figures: string, versions: ReadonlySet<string>, load: number): string {
  return `# A workflow from the first call to the last end

${figures}

Machine: ${availableParallelism()} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), Node ${process.version}, ${[...versions].join('; ')}. One run of each size, on a fresh database and a
fresh house. Load average when it began: ${load.toFixed(1)}. Above 0.5 other programs had a part of the cores and of the disk: then compare the
figures of a task at one size with those at another, and statements, which no load changes much.

- Three tiers: fits that wait for nothing, a sum for each ten of them, a plot for each sum. The cluster is \`dummy\`: every attempt is leased,
  reported and recorded as any other, and no command is started.
- *bind* is \`workflow.bind()\` (hashes, definitions, tasks, edges), *run* is submitting and waiting for the end.
- *lag* is how late turns of the house's event loop came, the worse of bind and run; *answer* is how long \`GET /health/ready\` and
  \`GET /api/v4/workflows/{id}\` took meanwhile, asked every ${ASK_MS} ms.
- After each run every task is DONE by one attempt with its four history rows, and the counts for display are the true ones, else the
  benchmark fails.

To repeat it: \`npm run bench -- workflow\`. It takes about five minutes. A MariaDB server named by \`JOBMON_TEST_MARIADB_URL\` is used when
set, else a private one is started.
`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { databases: { type: 'string' }, tasks: { type: 'string' } } });
  const sizes = (values.tasks ?? '1000,10000,100000').split(',').map(Number);
  const server = process.env['JOBMON_TEST_MARIADB_URL'];
  const versions = new Set<string>();
  const load = loadavg()[0] ?? 0;
  const results: Measured[] = [];
  for (const kind of (values.databases ?? 'sqlite,mariadb').split(',')) {
    if (kind === 'mariadb' && server === undefined) {
      console.log('no MariaDB: its part is left out');
      continue;
    }
    for (const tasks of sizes) {
      const folder = mkdtempSync(join(tmpdir(), 'jobmon-bench-'));
      const database = kind === 'mariadb' ? await mariadbDatabase(server as string) : sqliteDatabase(folder);
      versions.add(database.version);
      try {
        const measured = await measure(database, tasks, folder);
        results.push(measured);
        const { bound, ended, binding, running, answers } = measured;
        console.log(
          `${kind} ${tasks}: build ${bound.build_seconds.toFixed(2)} s, bind ${bound.bind_seconds.toFixed(2)} s, submit ${ended.submit_seconds.toFixed(2)} s, ` +
            `run ${ended.run_seconds.toFixed(2)} s; retries ${binding.retries}+${running.retries}; ` +
            `lag p99/max bind ${binding.lag_p99_ms.toFixed(0)}/${binding.lag_max_ms.toFixed(0)}, run ${running.lag_p99_ms.toFixed(0)}/${running.lag_max_ms.toFixed(0)} ms; ` +
            `answers p99/max ${answers.p99_ms.toFixed(0)}/${answers.max_ms.toFixed(0)} ms, failed ${answers.failed}`,
        );
      } finally {
        await database.close();
        rmSync(folder, { recursive: true, force: true });
      }
    }
  }
  const figures = table(results);
  console.log(`\n${figures}`);
  if (process.argv.length > 2) return;
  const file = join(process.cwd(), 'bench', 'results', 'workflow.md');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, report(figures, versions, load));
  console.log('\nwritten to bench/results/workflow.md');
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
