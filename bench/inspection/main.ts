/**
 * `npm run bench -- inspection`: how long people wait for an answer about a workflow of 100,000 tasks, for every inspection operation
 * of the Python protocol, on both databases; and how long nobody else was served meanwhile.
 *
 * Arguments: `--databases sqlite,mariadb`, `--tasks 100000`, `--only C16`. The report is written only by a run without arguments.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { dirname, join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { databases, seedLargeWorkflow, type DatabaseKind } from '@jobmon/testkit';
import { serve, type Served } from '../../apps/api/test/serve';
import { questionsAbout, type Question } from './questions';

const TASKS = 100_000;
/** Each question is asked so often; the first time, caches are as the seeding left them. */
const ROUNDS = 5;
/** What every answer must keep to. */
const ANSWER_MS_MAX = 1_000;
const LAG_RESOLUTION_MS = 5;
/** Templates that the tasks are of: as many workflows are, and the worst case of whatever goes by template. */
const SHAPES = [10, 1] as const;

interface Measured {
  readonly kind: string;
  readonly templates: number;
  readonly question: Question;
  readonly bytes: number;
  readonly first_ms: number;
  readonly median_ms: number;
  readonly max_ms: number;
  readonly lag_ms: number;
  /** What one answer takes of a core in this process, which asks too; the load of the machine does not change it. */
  readonly cpu_ms: number;
}

/** Bytes of an answer; fails when it is none of 200. */
function ask(served: Served, { method, path, body }: Question): Promise<number> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const headers = text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
    const sent = request(
      { host: '127.0.0.1', port: served.port, method, path: `/api/v3${path}`, agent: false, headers },
      (answer) => {
        let bytes = 0;
        let start = '';
        answer.on('data', (chunk: Buffer) => {
          if (bytes === 0) start = chunk.toString('utf8', 0, 300);
          bytes += chunk.length;
        });
        answer.on('error', reject);
        answer.on('end', () =>
          answer.statusCode === 200
            ? resolve(bytes)
            : reject(new Error(`${method} ${path.slice(0, 100)} answered ${answer.statusCode}: ${start}`)),
        );
      },
    );
    sent.on('error', reject);
    sent.end(text);
  });
}

async function measure(kind: DatabaseKind, templates: number, tasks: number, only: string | undefined): Promise<Measured[]> {
  const database = await kind.open();
  const served = await serve(database);
  const results: Measured[] = [];
  try {
    const began = performance.now();
    const workflow = await seedLargeWorkflow(database, tasks, templates);
    console.log(`${kind.name}: ${tasks} tasks of ${templates} templates in ${((performance.now() - began) / 1000).toFixed(1)} s`);
    const delays = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
    for (const question of questionsAbout(workflow)) {
      if (only !== undefined && question.protocol !== only) continue;
      const times: number[] = [];
      let bytes = 0;
      delays.enable();
      delays.reset();
      const spent = process.cpuUsage();
      for (let round = 0; round < ROUNDS; round++) {
        const since = performance.now();
        bytes = await ask(served, question);
        times.push(performance.now() - since);
      }
      const { user, system } = process.cpuUsage(spent);
      // The last turn is only counted once the next one begins.
      await sleep(2 * LAG_RESOLUTION_MS);
      delays.disable();
      const sorted = [...times].sort((a, b) => a - b);
      const measured = {
        kind: kind.name,
        templates,
        question,
        bytes,
        first_ms: times[0]!,
        median_ms: sorted[Math.floor(ROUNDS / 2)]!,
        max_ms: sorted[ROUNDS - 1]!,
        lag_ms: Math.max(0, delays.max / 1e6 - LAG_RESOLUTION_MS),
        cpu_ms: (user + system) / 1_000 / ROUNDS,
      };
      results.push(measured);
      const { protocol, what } = question;
      console.log(
        `  ${protocol} ${what}: first ${measured.first_ms.toFixed(0)}, median ${measured.median_ms.toFixed(0)}, max ${measured.max_ms.toFixed(0)} ms, ` +
          `lag ${measured.lag_ms.toFixed(0)} ms, cpu ${measured.cpu_ms.toFixed(0)} ms, ${(bytes / 1024).toFixed(1)} KiB`,
      );
    }
    return results;
  } finally {
    await served.close();
    await database.drop();
  }
}

function table(results: readonly Measured[]): string {
  const lines = [
    '| operation | question | templates | KiB | sqlite first ms | median | max | lag | cpu | mariadb first ms | median | max | lag | cpu |',
    `| --- | --- |${' ---: |'.repeat(12)}`,
  ];
  const keys = [...new Set(results.map(keyOf))];
  for (const key of keys) {
    const same = results.filter((result) => keyOf(result) === key);
    const { question, templates } = same[0]!;
    const figures = ['sqlite', 'mariadb'].flatMap((kind) => {
      const result = same.find((one) => one.kind === kind);
      if (result === undefined) return ['', '', '', '', ''];
      return [result.first_ms, result.median_ms, result.max_ms, result.lag_ms, result.cpu_ms].map((ms) => ms.toFixed(0));
    });
    const size = Math.max(...same.map(({ bytes }) => bytes)) / 1024;
    lines.push(`| ${[question.protocol, question.what, templates, size.toFixed(1), ...figures].join(' | ')} |`);
  }
  return lines.join('\n');
}

function keyOf({ question, templates }: Measured): string {
  return [question.protocol, question.what, templates].join('\n');
}

function report(figures: string, slow: readonly Measured[], load: number): string {
  const verdict =
    slow.length === 0
      ? `Every answer came within ${ANSWER_MS_MAX} ms.`
      : `Slower than ${ANSWER_MS_MAX} ms: ${slow.map((one) => `${one.question.protocol} (${one.question.what}, ${one.kind}, ${one.templates} templates)`).join(', ')}.`;
  return `# Questions about a workflow of ${TASKS.toLocaleString('en')} tasks

${verdict}

${figures}

Machine: ${availableParallelism()} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), Node ${process.version}. Load average when it began: ${load.toFixed(1)}. Above 0.5 other programs
had a part of the cores and of the disk.

- The workflow: \`libs/testkit/src/large-workflow.ts\`. With one template whatever goes by template reads all tasks at once.
- Each question is asked ${ROUNDS} times over a connection of its own: *first* with caches as the seeding left them, then *median* and *max* of all.
- *lag* is how late turns of the event loop came at worst: for that long nobody else was served. Asking and answering share one process
  here, so it holds the receiving of the answer too.
- *cpu* is what one answer takes of a core in that process, asking included; on SQLite that is the whole work, whatever the load.
- Numbers are of spec/http-api-inspection.md; C15 is L3.

To repeat it: \`npm run bench -- inspection\`. It takes about three minutes. A MariaDB server named by \`JOBMON_TEST_MARIADB_URL\` is used when
set, else a private one is started.
`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { databases: { type: 'string' }, tasks: { type: 'string' }, only: { type: 'string' } },
  });
  const names = (values.databases ?? 'sqlite,mariadb').split(',');
  const load = loadavg()[0] ?? 0;
  const results: Measured[] = [];
  for (const kind of databases().filter(({ name }) => names.includes(name))) {
    for (const templates of SHAPES) results.push(...(await measure(kind, templates, Number(values.tasks ?? TASKS), values.only)));
  }
  const slow = results.filter(({ max_ms }) => max_ms > ANSWER_MS_MAX);
  const figures = table(results);
  console.log(`\n${figures}\n\nslower than ${ANSWER_MS_MAX} ms: ${slow.length}`);
  if (process.argv.length > 2) return;
  const file = join(process.cwd(), 'bench', 'results', 'inspection.md');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, report(figures, slow, load));
  console.log('\nwritten to bench/results/inspection.md');
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
