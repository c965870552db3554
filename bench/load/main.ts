/**
 * `npm run bench -- load`: the load shape of real sites on the Python protocol. The house is a process of its own, the callers are in this
 * one, and so is every request's connection; both share the machine with the database.
 *
 * Arguments: `--databases sqlite,mariadb`, `--only WORDS` (phases whose name has these words, and those that others build upon), `--brief`
 * (without the idle connection). The report is written only by a run without arguments.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { mariadbDatabase, sqliteDatabase, type RawDatabase } from '../transitions/database';
import type { HouseSays, Spent } from './house';
import { PHASES, type Place } from './phases';
import { Caller, Tally } from './requests';

interface Measured {
  readonly kind: string;
  readonly phase: string;
  readonly seconds: number;
  readonly tally: Tally;
  readonly spent: Spent;
}

/** The next message of the house; fails when it ends before. */
function next<K extends HouseSays['kind']>(house: ChildProcess, kind: K): Promise<Extract<HouseSays, { kind: K }>> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`the house ended with exit code ${code}`));
    const onMessage = (message: HouseSays): void => {
      if (message.kind !== kind) return;
      house.off('exit', onExit).off('message', onMessage);
      resolve(message as Extract<HouseSays, { kind: K }>);
    };
    house.on('message', onMessage).once('exit', onExit);
  });
}

async function measure(database: RawDatabase, folder: string, isWanted: (phase: string) => boolean): Promise<Measured[]> {
  const house = fork(join(__dirname, 'house.js'), { execArgv: ['--expose-gc', '--enable-source-maps'] });
  const take = async (): Promise<Spent> => {
    const answer = next(house, 'spent');
    house.send('take');
    return (await answer).spent;
  };
  const measured: Measured[] = [];
  try {
    const isReady = next(house, 'ready');
    house.send({ database_url: database.url, folder });
    const { url } = await isReady;
    await database.open();
    const place: Place = { database, call: (tally) => new Caller(url, tally) };
    const idle = await take();
    measured.push({ kind: database.kind, phase: 'started, nothing asked yet', seconds: 0, tally: new Tally(), spent: idle });
    const phases = PHASES.filter(({ name }) => isWanted(name));
    for (const phase of phases) await phase.begin?.(place);
    for (const phase of phases) {
      await phase.prepare?.(place);
      await take();
      const tally = new Tally();
      const began = performance.now();
      await phase.run(place, place.call(tally));
      const seconds = (performance.now() - began) / 1_000;
      const spent = await take();
      await phase.prove?.(place);
      measured.push({ kind: database.kind, phase: phase.name, seconds, tally, spent });
      console.log(
        `${database.kind}: ${phase.name}: ${seconds.toFixed(1)} s, ${tally.times.length} requests, ${tally.failed} failed, ` +
          `p99 ${tally.within(0.99).toFixed(0)} ms, lag max ${spent.lag_max_ms.toFixed(0)} ms, peak ${spent.peak_rss_mb.toFixed(0)} MiB`,
      );
      for (const [failure, n] of [...tally.failures].slice(0, 10)) console.log(`  ${n} times: ${failure}`);
    }
  } finally {
    const isOver = new Promise((resolve) => house.once('exit', resolve));
    if (house.exitCode === null) house.send('stop');
    await Promise.race([isOver, sleep(20_000)]);
    house.kill('SIGKILL');
    await database.close();
  }
  return measured;
}

function table(measured: readonly Measured[]): string {
  const lines = [
    '| phase | requests | failed | s | requests/s | p50 ms | p99 ms | max ms | lag p99 ms | lag max ms | peak RSS MiB | heap after MiB |',
    `| --- |${' ---: |'.repeat(11)}`,
  ];
  for (const { phase, seconds, tally, spent } of measured) {
    const count = tally.times.length;
    const ms = (part: number): string => (count === 0 ? '' : tally.within(part).toFixed(0));
    const cells = [
      phase,
      count,
      tally.failed,
      seconds.toFixed(1),
      count === 0 ? '' : Math.round(count / seconds),
      ms(0.5),
      ms(0.99),
      ms(1),
      spent.lag_p99_ms.toFixed(0),
      spent.lag_max_ms.toFixed(0),
      Math.round(spent.peak_rss_mb),
      Math.round(spent.heap_mb + spent.buffers_mb),
    ];
    lines.push(`| ${cells.join(' | ')} |`);
  }
  return lines.join('\n');
}

function report(parts: readonly { version: string; measured: readonly Measured[] }[], load: number): string {
  const tables = parts.map(({ version, measured }) => `## ${version}\n\n${table(measured)}\n`);
  return `# The load of real sites, on the Python protocol

Each request has a TCP connection of its own, as Python's client sends them. The house runs without agent, scheduler and reaper. After each
phase the rows are compared with what must stand, else the benchmark fails.

${tables.join('\n')}
- *lag*: how late turns of the house's event loop came in the phase. On SQLite the house runs every statement on that loop.
- *peak RSS*: highest resident memory in the phase. *heap after*: heap and buffers after a collection when the phase was over; what grows from
  row to row there would be a leak.
- Machine: ${availableParallelism()} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), Node ${process.version}; callers, house and database share it. Load average when
  it began: ${load.toFixed(1)}. Above 0.5 other programs had a part of the cores.

To repeat it: \`npm run bench -- load\`. It takes about four minutes on a machine that does nothing else.
`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { databases: { type: 'string' }, only: { type: 'string' }, brief: { type: 'boolean' } },
  });
  const isWanted = (phase: string): boolean => {
    if (values.brief && phase.includes('keep-alive')) return false;
    return values.only === undefined || /heartbeats|one script/.test(phase) || phase.includes(values.only);
  };
  const folder = mkdtempSync(join(tmpdir(), 'jobmon-bench-'));
  const load = loadavg()[0] ?? 0;
  const parts: { version: string; measured: Measured[] }[] = [];
  try {
    for (const kind of (values.databases ?? 'sqlite,mariadb').split(',')) {
      const server = process.env['JOBMON_TEST_MARIADB_URL'];
      if (kind === 'mariadb' && server === undefined) {
        console.log('no MariaDB: its part is left out');
        continue;
      }
      const database = kind === 'mariadb' ? await mariadbDatabase(server as string) : sqliteDatabase(folder);
      parts.push({ version: database.version, measured: await measure(database, folder, isWanted) });
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  for (const { version, measured } of parts) console.log(`\n${version}\n${table(measured)}`);
  if (process.argv.length > 2) return;
  const file = join(process.cwd(), 'bench', 'results', 'load.md');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, report(parts, load));
  console.log('\nwritten to bench/results/load.md');
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
