/**
 * What the log sink takes in and how fast it answers: `npm run bench -- log [--records N] [--sample N] [--speakers N] [--sinks N]
 * [--only sqlite|mariadb]`. With as many records there as asked for, on MariaDB by the real way (processes that log, NATS JetStream,
 * log sinks as processes, the api's route for the questions), on SQLite as in the house (all of it inside one process). Beside each, its raw limits.
 * Writes `bench/results/log.md`.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { listLogRecords, logRecordId, type ReplyOf, type RequestOf, type SentLogRecord } from '@jobmon/contracts';
import { openDatabase, openLogRecords, type Database } from '@jobmon/entities';
import { inProcessLogStream, inProcessMessenger, send } from '@jobmon/messaging';
import { openLogStream } from '@jobmon/messaging/service';
import { createLogger, loadConfig, LogQueue, shipLogs } from '@jobmon/runtime';
import { buildHouse, databases, NatsProcess, Services, type DatabaseKind, type ServiceProcess } from '@jobmon/testkit';
import { LogSink } from '@jobmon/log-sink';
import { insertRecords } from '../../apps/log-sink/src/store';
import { fill, insertTasks, TASK_RECORDS, type Made } from './fill';

const QUESTIONS = 20;
/** Records of one message in the raw measurement of JetStream, as a shipper makes it. */
const MESSAGE_RECORDS = 500;
const HOUR_MS = 3_600_000;

const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '2000000' },
    sample: { type: 'string', default: '200000' },
    speakers: { type: 'string', default: '2' },
    sinks: { type: 'string', default: '1' },
    only: { type: 'string' },
  },
});
const total = Number(values.records);
const sample = Number(values.sample);
const silent = createLogger({ service: 'bench', level: 'silent' });

const rate = (count: number, since: number): number => Math.round(count / ((performance.now() - since) / 1_000));
const text = (n: number): string => Math.round(n).toLocaleString('en-US');
const mib = (bytes: number): string => text(bytes / 2 ** 20);

/** One row of each table of the page. */
interface Measured {
  readonly rates: string;
  readonly questions: string;
}

function record(n: number, { task_instance_ids }: Made): SentLogRecord {
  const task_instance_id = task_instance_ids[n % task_instance_ids.length]!;
  return {
    record_id: logRecordId(Date.now(), 'RAWRAWRAWR', n),
    level: 'warn',
    service: 'raw',
    instance: 'r-1',
    request_id: null,
    workflow_id: 1,
    workflow_run_id: 1,
    task_id: task_instance_id,
    task_instance_id,
    trace_id: null,
    text: 'an attempt failed',
    detail: { status: 'ERROR', why: `exit code 3 on node${n % 100}: no room`, operation: 'log_error' },
  };
}

const some = (made: Made, count: number): SentLogRecord[] => Array.from({ length: count }, (_, n) => record(n, made));

/** The sink's own statement, its rows ready in memory. */
async function rawInserts(records: Database, made: Made): Promise<number> {
  const rows = some(made, Math.floor(sample / 2));
  const began = performance.now();
  await insertRecords(records, rows);
  return rate(rows.length, began);
}

/** Messages as a shipper makes them, one after the other, each acknowledged; nobody reads meanwhile. */
async function rawStream(url: string, made: Made): Promise<number> {
  const { config } = loadConfig({ env: { JOBMON__NATS__URL: url } });
  const stream = await openLogStream('raw', { config, log: silent }, true);
  const messages = Math.ceil(sample / MESSAGE_RECORDS);
  const message = some(made, MESSAGE_RECORDS);
  const began = performance.now();
  // The stream knows a message by its first record: each must have another one.
  for (let n = 0; n < messages; n += 1) await stream.publish([record(1_000_000 + n, made), ...message.slice(1)]);
  const raw = rate(messages * MESSAGE_RECORDS, began);
  await stream.close();
  return raw;
}

type Ask = (request: Partial<RequestOf<typeof listLogRecords>>) => Promise<ReplyOf<typeof listLogRecords>>;

/** Milliseconds of each kind of question: the median, the longest, and how many records the last one found. */
async function questions(ask: Ask, made: Made): Promise<string> {
  const task = (n: number) => ({ task_id: made.task_ids[(n * 379) % made.task_ids.length] });
  const hour = (n: number) => {
    const since_ms = Date.now() - (30 + n * 20) * HOUR_MS;
    return {
      since: new Date(since_ms).toISOString().slice(0, 19),
      until: new Date(since_ms + HOUR_MS).toISOString().slice(0, 19),
    };
  };
  const kinds: ((n: number) => Partial<RequestOf<typeof listLogRecords>>)[] = [
    task,
    (n) => ({ task_instance_id: made.task_instance_ids[(n * 379) % made.task_instance_ids.length] }),
    (n) => ({ ...task(n), text: 'NO ROOM for' }),
    () => ({ workflow_id: made.workflow_id }),
    () => ({ workflow_id: made.workflow_id, level: 'error' }),
    () => ({ level: 'error' }),
    (n) => ({ ...hour(n), level: 'error' }),
    (n) => ({ ...hour(n), text: 'node37:' }),
  ];
  const cells: string[] = [];
  for (const kind of kinds) {
    const times: number[] = [];
    let found = 0;
    for (let n = 0; n < QUESTIONS; n += 1) {
      const began = performance.now();
      found = (await ask({ limit: 100, ...kind(n) })).records.length;
      times.push(performance.now() - began);
    }
    times.sort((a, b) => a - b);
    cells.push(`${times[QUESTIONS / 2]!.toFixed(1)} / ${times.at(-1)!.toFixed(1)} (${found})`);
  }
  return cells.join(' | ');
}

async function counted(records: Database): Promise<number> {
  const [row] = await records.read<{ n: number }>('SELECT COUNT(*) AS n FROM log_record');
  return row!.n;
}

/** Highest resident memory of a process so far, in bytes. */
const peakOf = (pid: number): number =>
  Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN) * 1024;

interface Spoken {
  readonly taken: number;
  readonly shed: number;
  readonly said_ms: number;
  readonly seconds: number;
  readonly rss: number;
}

/** Starts processes that log, and answers what each of them says at its end. */
async function speak(url: string, speakers: number, { task_instance_ids }: Made): Promise<Spoken[]> {
  const args = [url, String(Math.floor(sample / speakers)), String(task_instance_ids[0]), String(task_instance_ids.length)];
  return Promise.all(
    Array.from({ length: speakers }, async () => {
      const child = spawn(process.execPath, [join(__dirname, 'speaker.js'), ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
      let last = '';
      for await (const line of createInterface({ input: child.stdout })) last = line;
      return JSON.parse(last) as Spoken;
    }),
  );
}

async function stored(sinks: readonly ServiceProcess[]): Promise<number> {
  const numbers = await Promise.all(sinks.map((sink) => sink.metric('jobmon_log_records_total', { outcome: 'stored' })));
  return numbers.reduce((sum, n) => sum + n, 0);
}

/** MariaDB, the services as processes of their own. */
async function apart(kind: DatabaseKind): Promise<Measured> {
  buildHouse();
  const folder = mkdtempSync(join(tmpdir(), 'jobmon-bench-log-'));
  const [place, nats] = await Promise.all([kind.place(), NatsProcess.start()]);
  const services = new Services({ folder, database_url: place.url, nats_url: nats.url, token: 'token-of-the-benchmark' });
  await services.migrate();
  const database = await openDatabase({ url: place.url, log: silent });
  try {
    const made = await insertTasks(database);
    console.log(`${kind.name}: filled in ${(await fill(database, made, total)).toFixed(0)} s`);
    const raw_inserts = await rawInserts(database, made);
    const raw_stream = await rawStream(nats.url, made);
    // What the raw measurement left in the stream is none of the sinks' business.
    await nats.kill();
    nats.forgetAll();
    await nats.startAgain();
    await services.start({ 'log-sink': Number(values.sinks), api: 1 });
    const sinks = services.alive('log-sink');
    const before = await stored(sinks);
    const began = performance.now();
    const spoken = await speak(nats.url, Number(values.speakers), made);
    const taken = spoken.reduce((sum, one) => sum + one.taken, 0);
    while ((await stored(sinks)) - before < taken) await pause(20);
    const ours = rate(taken, began);
    const shed = spoken.reduce((sum, one) => sum + one.shed, 0);
    const said = (spoken.reduce((sum, one) => sum + one.said_ms, 0) * 1_000) / taken;
    const api = services.connection();
    const cells = await questions((request) => api.send(listLogRecords, request), made);
    const memory = `${sinks.map((sink) => mib(peakOf(sink.child.pid!))).join(', ')} / ${mib(Math.max(...spoken.map(({ rss }) => rss)))}`;
    const rates = `| MariaDB, ${values.speakers} speakers, ${values.sinks} sink${Number(values.sinks) > 1 ? 's' : ''} | ${text(raw_stream)} | ${text(raw_inserts)} | ${text(ours)} | ${said.toFixed(1)} | ${shed} | ${memory} |`;
    return { rates, questions: `| MariaDB, over HTTP | ${text(await counted(database))} | ${cells} |` };
  } finally {
    await services.stop('SIGKILL');
    await database.close();
    await nats.remove();
    await place.remove();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** SQLite, everything inside one process, as the house has it. */
async function inside(kind: DatabaseKind): Promise<Measured> {
  const place = await kind.place();
  const database = await openDatabase({ url: place.url, log: silent });
  const records = await openLogRecords(database, { url: place.url, log: silent });
  try {
    const made = await insertTasks(database);
    console.log(`${kind.name}: filled in ${(await fill(records, made, total)).toFixed(0)} s`);
    const raw_inserts = await rawInserts(records, made);
    const messenger = inProcessMessenger({ log: silent });
    const stream = inProcessLogStream();
    const sink = new LogSink({ config: { log: { keep_days: 30 } }, log: silent, messenger, database, records, stream });
    sink.onApplicationBootstrap();
    const queue = new LogQueue();
    const log = createLogger({ service: 'local', instance: 'l-1', level: 'info', destination: '/dev/null', queue });
    const shipper = shipLogs({ queue, stream, log: silent });
    const began = performance.now();
    let said_ms = 0;
    for (let n = 0; n < sample;) {
      const from = performance.now();
      for (const upto = Math.min(sample, n + 500); n < upto; n += 1) {
        const task_instance_id = made.task_instance_ids[n % made.task_instance_ids.length];
        log.warn(
          { task_instance_id, status: 'ERROR', why: `exit code 3 on node${n % 100}: no room`, operation: 'log_error' },
          'an attempt failed',
        );
      }
      said_ms += performance.now() - from;
      do await new Promise((resolve) => setImmediate(resolve));
      while (queue.waiting > 8_000);
    }
    while (queue.waiting > 0) await new Promise((resolve) => setImmediate(resolve));
    await shipper.close();
    const ours = rate(queue.counts.taken, began);
    const cells = await questions(
      (request) => send(messenger, listLogRecords, { ...listLogRecords.request.parse({}), ...request }),
      made,
    );
    await sink.beforeApplicationShutdown();
    const rates = `| SQLite, one process | – | ${text(raw_inserts)} | ${text(ours)} | ${((said_ms * 1_000) / sample).toFixed(1)} | ${queue.counts.shed} | ${mib(peakOf(process.pid))} (all of it) |`;
    return { rates, questions: `| SQLite, in the process | ${text(await counted(records))} | ${cells} |` };
  } finally {
    await records.close();
    await database.close();
    await place.remove();
  }
}

async function main(): Promise<void> {
  const began = performance.now();
  const load = loadavg()[0]!;
  const rows: Measured[] = [];
  for (const kind of databases().reverse()) {
    if (values.only !== undefined && values.only !== kind.name) continue;
    rows.push(kind.name === 'mariadb' ? await apart(kind) : await inside(kind));
    console.log(`${rows.at(-1)!.rates}\n${rows.at(-1)!.questions}`);
  }
  const page = `# Log records

Made by \`npm run bench -- log\` in ${text((performance.now() - began) / 1_000)} s with ${text(total)} records there before the first was said; Node ${process.version}, ${cpus().length} cores,
load ${load.toFixed(1)} at the start and ${loadavg()[0]!.toFixed(1)} at the end.

${text(sample)} warnings that name an attempt were said.

| way | JetStream alone, records/s | inserts alone, records/s | end to end, records/s | said, µs | shed | memory, MiB |
| --- | --- | --- | --- | --- | --- | --- |
${rows.map(({ rates }) => rates).join('\n')}

- JetStream alone: messages of ${MESSAGE_RECORDS} records published one after the other, each acknowledged, nobody reads.
- Inserts alone: the sink's own statement, rows ready in memory.
- End to end: from the first line said until the last one is committed. On MariaDB by processes that log (pino, queue, shipper), a NATS server with
  its store on disk, and log sinks as processes; on SQLite inside one process.
- Said: what one line costs the process that logs, both copies. Shed: lines for which the queue had no room.
- Memory: the highest of a sink, and of a process that logs.

Questions, each asked ${QUESTIONS} times for pages of 100: median / longest in milliseconds (records found). A task has ${TASK_RECORDS} records or more.

| way | records there | of a task | of an attempt | of a task, with a text | of a workflow | of a workflow, errors | newest errors | errors of an hour | a text within an hour |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
${rows.map((row) => row.questions).join('\n')}

The newest errors stand behind the ${text(sample * 1.5)} warnings that were said and inserted last, which are looked through for each question.

The aims: 10,000 records a second in, a task's records out of two million in less than 100 ms.
`;
  writeFileSync(join('bench', 'results', 'log.md'), page);
}

void main();
