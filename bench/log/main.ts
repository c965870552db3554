/**
 * What the log sink takes in and how fast it answers: `npm run bench -- log [--records N]`. On each database: the raw limit (the same rows by
 * the same statement, nothing around it), ours (through queue and stream inside the process into the table), and a task's records out of all of
 * them. Writes `bench/results/log.md`.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { listLogRecords, logRecordId, type SentLogRecord } from '@jobmon/contracts';
import { openDatabase, openLogRecords, type Database } from '@jobmon/entities';
import { inProcessLogStream, inProcessMessenger, send, shipLogs } from '@jobmon/messaging';
import { createLogger, LogQueue } from '@jobmon/runtime';
import { databases } from '@jobmon/testkit';
import { LogSink } from '@jobmon/log-sink';
import { storeRecords } from '../../apps/log-sink/src/store';

const PIECE = 5_000;
/** Records that name the same task, in all of them. */
const TASK_RECORDS = 40;
const QUESTIONS = 20;

const { values } = parseArgs({ options: { records: { type: 'string', default: '2000000' }, only: { type: 'string' } } });
const total = Number(values.records);
const silent = createLogger({ service: 'bench', level: 'silent' });

function record(n: number, task_id: number): SentLogRecord {
  return {
    record_id: logRecordId(Date.now() - 3_600_000 + Math.floor(n / 2), 'BENCHBENCH', n),
    level: n % 10 === 0 ? 'error' : 'warn',
    service: 'state-machine',
    instance: 'state-machine-1',
    request_id: `r-${n}`,
    workflow_id: 1 + (task_id % 20),
    workflow_run_id: 1 + (task_id % 20),
    task_id,
    task_instance_id: task_id,
    trace_id: null,
    text: 'an attempt failed',
    detail: {
      status: 'ERROR',
      why: `exit code 3 on node${n % 100}: cannot write /scratch/output/${n}.csv`,
      operation: 'task_instance.log_error_worker_node',
    },
  };
}

const rate = (count: number, since: number): number => Math.round(count / ((performance.now() - since) / 1_000));
const text = (n: number): string => n.toLocaleString('en-US');

async function measure(name: string, records: Database, main: Database): Promise<string> {
  // Tasks of 40 records each, their records spread over all.
  const tasks = Math.ceil(total / TASK_RECORDS);
  let made = 0;
  const next = (count: number): SentLogRecord[] => {
    const some: SentLogRecord[] = [];
    for (; some.length < count; made += 1) some.push(record(made, 1 + (made % tasks)));
    return some;
  };
  const store = async (count: number): Promise<void> => {
    for (let left = count; left > 0; left -= PIECE) await storeRecords(records, main, next(Math.min(PIECE, left)));
  };
  const sample = Math.min(100_000, Math.floor(total / 4));
  const since_raw = performance.now();
  await store(sample);
  const raw = rate(sample, since_raw);

  const messenger = inProcessMessenger({ log: silent });
  const stream = inProcessLogStream();
  const sink = new LogSink({ config: { log: { keep_days: 30 } }, log: silent, messenger, database: main, records, stream });
  sink.onApplicationBootstrap();
  const queue = new LogQueue();
  const log = createLogger({ service: 'bench', instance: 'b-1', level: 'info', destination: { write: () => undefined }, queue });
  const shipper = shipLogs({ queue, stream, log: silent });
  const since_ours = performance.now();
  let said_ms = 0;
  for (let n = 0; n < sample;) {
    const began = performance.now();
    for (const piece = Math.min(sample, n + 2_000); n < piece; n += 1) {
      log.warn(
        { workflow_id: 1, task_id: 1 + (n % tasks), task_instance_id: 1 + (n % tasks), why: `exit code 3 on node${n % 100}` },
        'an attempt failed',
      );
    }
    said_ms += performance.now() - began;
    while (queue.waiting > 4_000) await new Promise((resolve) => setImmediate(resolve));
  }
  await shipper.close();
  while (queue.waiting > 0) await new Promise((resolve) => setImmediate(resolve));
  const ours = rate(sample - queue.counts.shed, since_ours);

  await store(Math.max(0, total - 2 * sample));
  const [counted] = await records.read<{ n: number }>('SELECT COUNT(*) AS n FROM log_record');
  const ask = async (request: object): Promise<string> => {
    const times: number[] = [];
    let found = 0;
    for (let at = 0; at < QUESTIONS; at += 1) {
      const began = performance.now();
      const asked = { ...listLogRecords.request.parse({ limit: 100 }), ...request };
      const given = 'workflow_id' in asked || 'level' in request ? asked : { ...asked, task_id: 1 + ((at * 7_919) % tasks) };
      found = (await send(messenger, listLogRecords, given)).records.length;
      times.push(performance.now() - began);
    }
    times.sort((a, b) => a - b);
    return `${times[QUESTIONS / 2]!.toFixed(1)} / ${times.at(-1)!.toFixed(1)} (${found})`;
  };
  const byTask = await ask({});
  const byText = await ask({ text: 'EXIT code 3' });
  const newest = await ask({ level: 'error' });
  await sink.beforeApplicationShutdown();
  return `| ${name} | ${text(raw)} | ${text(ours)} | ${((said_ms * 1_000) / sample).toFixed(1)} | ${text(counted!.n)} | ${byTask} | ${byText} | ${newest} |`;
}

async function main(): Promise<void> {
  const rows: string[] = [];
  const began = loadavg()[0]!;
  for (const kind of databases()) {
    if (values.only !== undefined && values.only !== kind.name) continue;
    const place = await kind.place();
    const folder = mkdtempSync(join(tmpdir(), 'jobmon-bench-log-'));
    const database = await openDatabase({ url: place.url, log: silent });
    const records = await openLogRecords(database, { url: place.url, log: silent });
    try {
      // Tasks are asked for by id: those that the questions name must be there.
      await database.write({ label: 'bench' }, function* () {
        const { dialect } = database;
        const columns = 'id, workflow_id, node_id, task_args_hash, name, command, num_attempts, max_attempts, status';
        const given = dialect.jsonRows('given', { id: 'int' });
        const ids = Array.from({ length: QUESTIONS }, (_, at) => ({ id: 1 + ((at * 7_919) % Math.ceil(total / TASK_RECORDS)) }));
        yield {
          sql: `${dialect.insertIgnore} INTO task (${columns}) SELECT id, 1, id, '0', 'bench', 'true', 1, 3, 'F' FROM ${given}`,
          params: [JSON.stringify(ids)],
        };
      });
      rows.push(await measure(kind.name, records, database));
      console.log(rows.at(-1));
    } finally {
      await records.close();
      await database.close();
      await place.remove();
      rmSync(folder, { recursive: true, force: true });
    }
  }
  const page = `# Log records

Made by \`npm run bench -- log --records ${total}\`; Node ${process.version}, ${cpus().length} cores, load ${began.toFixed(1)} at the start and ${loadavg()[0]!.toFixed(1)} at the
end (other programs were at work). Raw: the sink's own statement, rows ready in memory. Ours: each line written by pino, put into the queue, cleaned,
sent through the stream inside the process, validated, given the ids that follow, and stored. Said: what one line costs the process that logs, both
copies. Questions: median / longest of ${QUESTIONS} in milliseconds over the bus (records found): a task's, a task's with a word in them, the newest errors of the house.

| database | raw, records/s | ours, records/s | said, µs | records there | of a task | with a word | newest errors |
| --- | --- | --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

The newest errors stand behind the records of "ours", all of them warnings, which are looked through for each question.

The aims: 10,000 records a second in, a task's records out of two million in less than 100 ms.
`;
  writeFileSync(join('bench', 'results', 'log.md'), page);
}

void main();
