/**
 * `npm run bench -- transitions`: how many transitions a second are taken over HTTP, beside what the database can do at all: by
 * the house in one process on SQLite and on MariaDB, and by the five services over NATS and MariaDB. The callers run in another process,
 * both databases on the same machine. Each repetition measures the raw limit and then 1, 64 and 256 callers, so that a ratio
 * compares figures of the same minute; house and services on MariaDB take turns.
 *
 * Arguments: `--repetitions N` (3), `--systems sqlite,mariadb,services`, `--callers 1,64,256`. The report is written only by a run
 * without arguments.
 */
import { fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Round, RoundResult } from './callers';
import { countWrong, mariadbDatabase, measureRaw, seedInstances, seedRun, sqliteDatabase, type RawDatabase } from './database';
import { report, table, usageTable, type Measured, type Results } from './report';
import { cpuSeconds, house, residentMib, services, type System } from './systems';

/** Instances of one round; each makes two transitions. One caller gets fewer: it only shows the latency of a lone request. */
const INSTANCES = 15_000;
const INSTANCES_ALONE = 1_000;
const INSTANCES_WARM_UP = 4_096;
const RSS_SAMPLE_MS = 50;

const SYSTEMS = {
  sqlite: { name: 'house, SQLite', start: house },
  mariadb: { name: 'house, MariaDB', start: house },
  services: { name: 'services, NATS and MariaDB', start: services },
} as const;
type SystemName = keyof typeof SYSTEMS;

class Callers {
  readonly child = fork(join(__dirname, 'callers.js'), { serialization: 'json' });

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

/** A started system with its database, its instances and its results. */
class Bench {
  readonly measured: Measured[] = [];
  private next_id = 1;

  constructor(
    readonly name: string,
    private readonly database: RawDatabase,
    private readonly system: System,
    private readonly callers: Callers,
  ) {}

  async begin(): Promise<void> {
    await this.database.open();
    await seedRun(this.database);
    await this.round(64, INSTANCES_WARM_UP);
  }

  async repeat(repetition: string, levels: readonly number[]): Promise<void> {
    const raw = await measureRaw(this.database, await this.seeded(INSTANCES), INSTANCES);
    for (const callers of levels) {
      const result = await this.round(callers, callers === 1 ? INSTANCES_ALONE : INSTANCES);
      this.measured.push({ ...result, callers, raw });
      const rate = Math.round(result.transitions / result.seconds);
      const usage = result.usage.map(({ name, cores }) => `${name} ${cores.toFixed(2)}`).join(' ');
      console.log(
        `${repetition} ${this.name}: ${callers} callers ${rate}/s, p50 ${result.p50_ms.toFixed(1)} ms, p99 ${result.p99_ms.toFixed(1)} ms, ` +
          `raw ${Math.round(raw)}/s, failed ${result.failed}, cores: ${usage}`,
      );
      for (const failure of result.failures) console.log(`  ${failure}`);
    }
  }

  async end(): Promise<void> {
    await this.system.stop();
    await this.database.close();
  }

  private async seeded(count: number): Promise<number> {
    await seedInstances(this.database, this.next_id, count);
    this.next_id += count;
    return this.next_id - count;
  }

  private async round(callers: number, instances: number): Promise<Omit<Measured, 'callers' | 'raw'>> {
    const instances_per_caller = Math.ceil(instances / callers);
    const count = instances_per_caller * callers;
    const first_id = await this.seeded(count);
    const server = await this.database.serverPid();
    const parts = [
      ...this.system.parts,
      ...(server === null ? [] : [{ name: 'mariadb', pid: server }]),
      { name: 'callers', pid: this.callers.child.pid! },
    ].map((part) => ({ ...part, cpu_seconds: cpuSeconds(part.pid), peak: 0 }));
    const batches = await this.system.batches();
    const sample = (): void => {
      for (const part of parts) part.peak = Math.max(part.peak, residentMib(part.pid));
    };
    const sampling = setInterval(sample, RSS_SAMPLE_MS);
    const result = await this.callers.play({ port: this.system.port, callers, first_id, instances_per_caller });
    clearInterval(sampling);
    const usage = parts.map(({ name, pid, cpu_seconds, peak }) => ({
      name,
      peak_rss_mb: peak,
      cores: (cpuSeconds(pid) - cpu_seconds) / result.seconds,
    }));
    const batch_rows = result.transitions / ((await this.system.batches()) - batches);
    const wrong = await countWrong(this.database, first_id, count);
    if (wrong > 0) {
      throw new Error(`${wrong} rows are not as they must be after ${callers} callers: ${result.failures.join('; ')}`);
    }
    return { ...result, usage, batch_rows };
  }
}

async function start(system: SystemName, folder: string, callers: Callers): Promise<{ bench: Bench; version: string } | null> {
  const server = process.env['JOBMON_TEST_MARIADB_URL'];
  if (system !== 'sqlite' && server === undefined) {
    console.log(`no MariaDB: ${SYSTEMS[system].name} is left out`);
    return null;
  }
  const database = system === 'sqlite' ? sqliteDatabase(folder) : await mariadbDatabase(server!);
  const bench = new Bench(SYSTEMS[system].name, database, await SYSTEMS[system].start(database, folder), callers);
  await bench.begin();
  return { bench, version: database.version };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { repetitions: { type: 'string' }, systems: { type: 'string' }, callers: { type: 'string' } },
  });
  const repetitions = Number(values.repetitions ?? 3);
  const levels = (values.callers ?? '1,64,256').split(',').map(Number);
  const chosen = (values.systems ?? Object.keys(SYSTEMS).join()).split(',') as SystemName[];
  const folder = mkdtempSync(join(tmpdir(), 'jobmon-bench-'));
  const load = loadavg()[0] ?? 0;
  const callers = new Callers();
  const results: Results[] = [];
  const versions = new Set<string>();
  try {
    // SQLite by itself; those on a server side by side, in turns.
    for (const together of [chosen.filter((name) => name === 'sqlite'), chosen.filter((name) => name !== 'sqlite')]) {
      const benches: Bench[] = [];
      try {
        for (const name of together) {
          const started = await start(name, folder, callers);
          if (started === null) continue;
          benches.push(started.bench);
          versions.add(started.version);
        }
        for (let repetition = 1; repetition <= repetitions; repetition += 1) {
          for (const bench of benches) await bench.repeat(`${repetition}/${repetitions}`, levels);
        }
        results.push(...benches);
      } finally {
        for (const bench of benches) await bench.end();
      }
    }
  } finally {
    callers.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  const figures = table(results, levels);
  const usage = usageTable(results, levels);
  console.log(`\n${figures}\n\n${usage}`);
  if (process.argv.length > 2) return;
  const file = join(process.cwd(), 'bench', 'results', 'transitions.md');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, report(figures, usage, repetitions, [...versions], load));
  console.log('\nwritten to bench/results/transitions.md');
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
