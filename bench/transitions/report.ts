/** The figures of the transitions benchmark as tables, and the page around them. */
import { availableParallelism, cpus } from 'node:os';
import type { RoundResult } from './callers';

/** The aim, told beside the figures. */
const AIM = { callers: 64, transitions_per_second: 4_000, p99_ms: 50 };

/** What one process took during a round. */
export interface Usage {
  readonly name: string;
  readonly peak_rss_mb: number;
  /** Processor time over the round's time: 1 is one core. */
  readonly cores: number;
}

export interface Measured extends RoundResult {
  readonly callers: number;
  /** Transitions a second of the raw measurement of the same repetition. */
  readonly raw: number;
  /** Transitions in one transaction on average: what coalescing made of single calls. */
  readonly batch_rows: number;
  readonly usage: readonly Usage[];
}

/** One system on one database, in all repetitions and levels. */
export interface Results {
  readonly name: string;
  readonly measured: readonly Measured[];
}

const rateOf = (entry: Measured): number => entry.transitions / entry.seconds;

/** `median (smallest–largest)` of one figure over the repetitions. */
function spread(values: readonly number[], digits = 0): string {
  const sorted = [...values].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const [low, high] = [sorted[0] ?? 0, sorted.at(-1) ?? 0];
  return `${median.toFixed(digits)} (${low.toFixed(digits)}–${high.toFixed(digits)})`;
}

const of = (rows: readonly Measured[], figure: (entry: Measured) => number, digits = 0): string =>
  spread(rows.map(figure), digits);

function lines(
  results: readonly Results[],
  levels: readonly number[],
  cells: (rows: Measured[]) => (string | number)[],
): string[] {
  return results.flatMap(({ name, measured }) =>
    levels.map((level) => {
      const rows = measured.filter((entry) => entry.callers === level);
      return `| ${[name, level, ...cells(rows)].join(' | ')} |`;
    }),
  );
}

/** What callers saw. */
export function table(results: readonly Results[], levels: readonly number[]): string {
  return [
    '| system | callers | transitions a second | raw limit | ratio | p50 ms | p99 ms | failed | rows a batch |',
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
    ...lines(results, levels, (rows) => [
      of(rows, rateOf),
      of(rows, ({ raw }) => raw),
      of(rows, (entry) => rateOf(entry) / entry.raw, 3),
      of(rows, ({ p50_ms }) => p50_ms, 1),
      of(rows, ({ p99_ms }) => p99_ms, 1),
      rows.reduce((sum, { failed }) => sum + failed, 0),
      of(rows, ({ batch_rows }) => batch_rows),
    ]),
  ].join('\n');
}

/** What it took of the machine: for each process its peak memory and its cores, medians and largest. */
export function usageTable(results: readonly Results[], levels: readonly number[]): string {
  const cell = (rows: readonly Measured[]): string[] => {
    const names = rows[0]?.usage.map(({ name }) => name) ?? [];
    return [
      names
        .map((name) => {
          const own = rows.flatMap(({ usage }) => usage.filter((part) => part.name === name));
          const peak = Math.max(...own.map(({ peak_rss_mb }) => peak_rss_mb));
          const cores = own.map((part) => part.cores).sort((a, b) => a - b)[Math.floor(own.length / 2)] ?? 0;
          return `${name} ${Math.round(peak)} MiB, ${cores.toFixed(2)}`;
        })
        .join('; '),
    ];
  };
  return [
    '| system | callers | peak RSS and cores of each process |',
    '| --- | ---: | --- |',
    ...lines(results, levels, cell),
  ].join('\n');
}

export function report(figures: string, usage: string, repetitions: number, versions: readonly string[], load: number): string {
  return `# Transitions a second over HTTP

${figures}

Aim: ${AIM.transitions_per_second} a second at ${AIM.callers} callers through NATS and MariaDB on two cores with everything on them, none failed, p99 below ${AIM.p99_ms} ms.

Each figure is the median of ${repetitions} repetitions with the smallest and the largest. Machine: ${availableParallelism()} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), Node ${process.version}, ${versions.join('; ')}.
Load average when it began: ${load.toFixed(1)}. Above 0.5 other programs had a part of the cores and of the disk: compare the ratios only.

- _house_: everything in one process, over the bus inside it. _services_: api, state machine, scheduler, log sink and reaper, a process each, over
  NATS. Both on the same MariaDB server in the same minutes, in turns.
- A caller keeps one connection alive and reports \`log_running\`, then \`log_done\`, for one task instance of its own after the other, each
  after the answer to the one before, with the bodies that a Python worker sends. Callers, services and database share the machine.
- The raw limit moves as many instances with the same writes (a guarded update of instance and of task, a history row) straight through
  the driver: 500 rows a transaction, one connection, no locks beforehand, nothing decided, the services idle.
- After each round every instance and every task is DONE and has its two history rows, else the benchmark fails.
- One caller shows a request's latency alone: each of its batches holds one transition and pays for a whole flush to disk.

## What it took of the machine

Largest resident memory in any round, and cores (processor time over the round's time; 1 is one core) as the median of the rounds.

${usage}

To repeat it: \`npm run bench -- transitions\`. It takes about four minutes. A MariaDB server named by \`JOBMON_TEST_MARIADB_URL\` is used
when set, else a private one is started, as is NATS.
`;
}
