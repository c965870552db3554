/**
 * `npm run bench -- transitions`: how many transitions a second the house takes over HTTP, beside what the database can do at
 * all. The house runs in this process, the callers in another, both databases on the same machine. Each repetition measures
 * the raw limit and then 1, 64 and 256 callers, so that a ratio compares figures of the same minute.
 *
 * Arguments: `--repetitions N` (3), `--databases sqlite,mariadb`, `--callers 1,64,256`. The report is written only by a run
 * without arguments.
 */
import { fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { startHouse } from '@jobmon/local';
import { createLogger, loadConfig } from '@jobmon/runtime';
import type { Round, RoundResult } from './callers';
import { countWrong, mariadbDatabase, measureRaw, seedInstances, seedRun, sqliteDatabase, type RawDatabase } from './database';

/** Instances of one round; each makes two transitions. One caller gets fewer: it only shows the latency of a lone request. */
const INSTANCES = 15_000;
const INSTANCES_ALONE = 1_500;
const INSTANCES_WARM_UP = 4_096;
const RSS_SAMPLE_MS = 50;
/** The aim, told beside the figures. */
const AIM = { callers: 64, transitions_per_second: 5_000, p99_ms: 30 };

interface Measured extends RoundResult {
  readonly callers: number;
  /** Transitions a second of the raw measurement of the same repetition. */
  readonly raw: number;
  readonly peak_rss_mb: number;
  /** Transitions in one transaction on average: what coalescing made of single calls. */
  readonly batch_rows: number;
}

class Callers {
  private readonly child = fork(join(__dirname, 'callers.js'), { serialization: 'json' });

  play(round: Round): Promise<RoundResult> {
    return new Promise((resolve, reject) => {
      this.child.once('message', (result) => resolve(result as RoundResult));
      this.child.once('exit', (code) => reject(new Error(`the callers ended with exit code ${code}`)));
      this.child.send(round);
    });
  }

  stop(): void {
    this.child.removeAllListeners('exit');
    this.child.kill();
  }
}

async function benchDatabase(database: RawDatabase, folder: string, repetitions: number, levels: number[]): Promise<Measured[]> {
  const { config } = loadConfig({ env: { HOME: folder }, overrides: { db: { url: database.url }, http: { port: 0 } } });
  const log = createLogger({ service: 'local', level: config.log.level, destination: join(folder, `${database.kind}.log`) });
  const house = await startHouse({ config, log, without: ['agent', 'scheduler', 'reaper'] });
  const port = Number(new URL(house.url).port);
  const callers = new Callers();
  const measured: Measured[] = [];
  try {
    await database.open();
    await seedRun(database);
    let next_id = 1;
    const seeded = async (count: number): Promise<number> => {
      await seedInstances(database, next_id, count);
      next_id += count;
      return next_id - count;
    };
    const round = async (
      count: number,
      instances: number,
    ): Promise<RoundResult & { peak_rss_mb: number; batch_rows: number }> => {
      const instances_per_caller = Math.ceil(instances / count);
      const first_id = await seeded(instances_per_caller * count);
      let peak = 0;
      const transactions = house.database.counts.transactions;
      const sampling = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), RSS_SAMPLE_MS);
      const result = await callers.play({ port, callers: count, first_id, instances_per_caller });
      clearInterval(sampling);
      const batches = house.database.counts.transactions - transactions;
      const wrong = await countWrong(database, first_id, instances_per_caller * count);
      if (wrong > 0)
        throw new Error(`${wrong} rows are not as they must be after ${count} callers: ${result.failures.join('; ')}`);
      return { ...result, peak_rss_mb: peak / 2 ** 20, batch_rows: result.transitions / batches };
    };
    await round(64, INSTANCES_WARM_UP);
    for (let repetition = 1; repetition <= repetitions; repetition += 1) {
      const raw = await measureRaw(database, await seeded(INSTANCES), INSTANCES);
      for (const level of levels) {
        const result = await round(level, level === 1 ? INSTANCES_ALONE : INSTANCES);
        measured.push({ ...result, callers: level, raw });
        const rate = Math.round(result.transitions / result.seconds);
        console.log(
          `${database.kind} ${repetition}/${repetitions}: ${level} callers ${rate}/s, raw ${Math.round(raw)}/s, failed ${result.failed}`,
        );
        for (const failure of result.failures) console.log(`  ${failure}`);
      }
    }
  } finally {
    callers.stop();
    await house.stop();
    await database.close();
  }
  return measured;
}

const rateOf = (entry: Measured): number => entry.transitions / entry.seconds;

/** `median (smallest–largest)` of one figure over the repetitions. */
function spread(values: readonly number[], digits = 0): string {
  const sorted = [...values].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const [low, high] = [sorted[0] ?? 0, sorted.at(-1) ?? 0];
  return `${median.toFixed(digits)} (${low.toFixed(digits)}–${high.toFixed(digits)})`;
}

function table(results: readonly { kind: string; measured: readonly Measured[] }[], levels: readonly number[]): string {
  const lines = [
    '| database | callers | transitions a second | raw limit | ratio | p50 ms | p99 ms | failed | rows a batch | peak RSS MiB |',
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
  ];
  for (const { kind, measured } of results) {
    for (const level of levels) {
      const rows = measured.filter((entry) => entry.callers === level);
      const cells = [
        kind,
        level,
        spread(rows.map(rateOf)),
        spread(rows.map(({ raw }) => raw)),
        spread(
          rows.map((entry) => rateOf(entry) / entry.raw),
          3,
        ),
        spread(
          rows.map(({ p50_ms }) => p50_ms),
          1,
        ),
        spread(
          rows.map(({ p99_ms }) => p99_ms),
          1,
        ),
        rows.reduce((sum, { failed }) => sum + failed, 0),
        spread(rows.map(({ batch_rows }) => batch_rows)),
        Math.round(Math.max(...rows.map(({ peak_rss_mb }) => peak_rss_mb))),
      ];
      lines.push(`| ${cells.join(' | ')} |`);
    }
  }
  return lines.join('\n');
}

function report(table: string, repetitions: number, versions: readonly string[], load: number): string {
  return `# Transitions a second over HTTP

${table}

Aim: ${AIM.transitions_per_second} a second at ${AIM.callers} callers on two cores with everything on them, none failed, p99 below ${AIM.p99_ms} ms.

Each figure is the median of ${repetitions} repetitions with the smallest and the largest. Machine: ${availableParallelism()} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), Node ${process.version}, ${versions.join('; ')}.
Load average when it began: ${load.toFixed(1)}. Above 0.5 other programs had a part of the cores and of the disk: compare the ratios only.

- A caller keeps one connection alive and reports \`log_running\`, then \`log_done\`, for one task instance of its own after the other, each
  after the answer to the one before, with the bodies that a Python worker sends. Callers, house and database share the machine.
- The raw limit moves as many instances with the same writes (a guarded update of instance and of task, a history row) straight through
  the driver: 500 rows a transaction, one connection, no locks beforehand, nothing decided, the house idle.
- After each round every instance and every task is DONE and has its two history rows, else the benchmark fails.
- One caller shows a request's latency alone: each of its batches holds one transition and pays for a whole flush to disk.

To repeat it: \`npm run bench -- transitions\`. It takes about three minutes. A MariaDB server named by \`JOBMON_TEST_MARIADB_URL\` is used
when set, else a private one is started.
`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { repetitions: { type: 'string' }, databases: { type: 'string' }, callers: { type: 'string' } },
  });
  const repetitions = Number(values.repetitions ?? 3);
  const levels = (values.callers ?? '1,64,256').split(',').map(Number);
  const folder = mkdtempSync(join(tmpdir(), 'jobmon-bench-'));
  const versions: string[] = [];
  const load = loadavg()[0] ?? 0;
  const results: { kind: string; measured: Measured[] }[] = [];
  try {
    for (const kind of (values.databases ?? 'sqlite,mariadb').split(',')) {
      const server = process.env['JOBMON_TEST_MARIADB_URL'];
      if (kind === 'mariadb' && server === undefined) {
        console.log('no MariaDB: its part is left out');
        continue;
      }
      const database = kind === 'mariadb' ? await mariadbDatabase(server as string) : sqliteDatabase(folder);
      versions.push(database.version);
      results.push({ kind, measured: await benchDatabase(database, folder, repetitions, levels) });
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const figures = table(results, levels);
  console.log(`\n${figures}`);
  if (process.argv.length > 2) return;
  const file = join(process.cwd(), 'bench', 'results', 'transitions.md');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, report(figures, repetitions, versions, load));
  console.log('\nwritten to bench/results/transitions.md');
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
