import {
  appendLogRecords,
  listLogRecords,
  logRecordId,
  type listArrivedLogRecords,
  type LogRecord,
  logRecordIdAt,
  logRecordStored,
  type RequestOf,
  type SentLogRecord,
} from '@jobmon/contracts';
import { openDatabase, openLogRecords, type Database, type SqlValue } from '@jobmon/entities';
import { inProcessLogStream, inProcessMessenger, send, type LogStream, type Messenger } from '@jobmon/messaging';
import { createLogger, LogQueue, shipLogs } from '@jobmon/runtime';
import { describeOnDatabases, insertWorkflow, until } from '@jobmon/testkit';
import { createConnection } from 'mysql2/promise';
import { pino } from 'pino';
import { findArrived } from './find';
import { LogSink } from './module';
import { deleteBefore, storeRecords } from './store';

const log = pino({ level: 'silent' });
const SENDER = 'SENDERAAAA';
const HOUR_MS = 3_600_000;

let numbered = 0;
function record(said: Partial<SentLogRecord> & { time_ms?: number } = {}): SentLogRecord {
  const { time_ms = Date.now(), ...rest } = said;
  numbered += 1;
  return {
    record_id: logRecordId(time_ms, SENDER, numbered),
    level: 'warn',
    service: 'api',
    instance: 'api-1',
    request_id: null,
    workflow_id: null,
    workflow_run_id: null,
    task_id: null,
    task_instance_id: null,
    trace_id: null,
    text: `record ${numbered}`,
    detail: {},
    ...rest,
  };
}

describeOnDatabases('the log sink', (database) => {
  let records: Database;
  let messenger: Messenger;
  let stream: LogStream;
  let sink: LogSink;
  beforeAll(async () => {
    records = await openLogRecords(database(), { url: database().url, log });
    messenger = inProcessMessenger({ log });
    stream = inProcessLogStream();
    sink = new LogSink({ config: { log: { keep_days: 1 } }, log, messenger, database: database(), records, stream });
    sink.onApplicationBootstrap();
  });
  afterAll(async () => {
    await sink?.beforeApplicationShutdown();
    await records?.close();
  });
  beforeEach(() =>
    records.write({ label: 'test' }, function* () {
      yield { sql: 'DELETE FROM log_record' };
    }),
  );

  const list = async (request: Partial<RequestOf<typeof listLogRecords>> = {}) =>
    send(messenger, listLogRecords, { ...listLogRecords.request.parse({}), ...request });
  const texts = async (request: Partial<RequestOf<typeof listLogRecords>> = {}): Promise<string[]> =>
    (await list(request)).records.map(({ text }) => text);

  it('answers a record as it was said, with the ids that follow from its attempt', async () => {
    const made = await insertWorkflow(database(), { tasks: 2, instance_status: 'R' });
    const { task_ids, workflow_id, workflow_run_id } = made;
    const [task_instance_id] = made.task_instance_ids;
    const said = record({
      time_ms: Date.parse('2026-11-22T10:15:00.250Z'),
      level: 'error',
      request_id: 'r-1',
      trace_id: 't-1',
      text: 'quotes \' " \\ and 😀\nin two lines',
      detail: { cause: { code: 'E', list: [1, null, 'x'] } },
      task_instance_id: task_instance_id!,
    });
    await stream.publish([
      said,
      record({ workflow_run_id }),
      record({ task_id: task_ids[1]! }),
      record({ task_instance_id: 999_999 }),
    ]);
    const ids = { task_id: task_ids[0], workflow_run_id, workflow_id };
    const expected = { ...said, ...ids, time: '2026-11-22 10:15:00.250', arrival: expect.any(Number) as number };
    expect((await list({ task_instance_id })).records).toEqual([expected]);
    expect((await list({ task_id: task_ids[0] })).records).toEqual([expected]);
    expect((await list({ workflow_run_id })).records).toHaveLength(2);
    expect((await list({ workflow_id })).records).toHaveLength(3);
    expect((await list()).records).toHaveLength(4);
    expect((await list({ workflow_id, task_id: task_ids[1], workflow_run_id })).records).toEqual([]);
    for (const name of ['task_instance_id', 'task_id', 'workflow_run_id', 'workflow_id']) {
      await expect(list({ [name]: 888_888 })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    }
  });

  it('stores a record once, however often it comes, and what is no record not at all', async () => {
    const twice = [record(), record()];
    let told = 0;
    const stop = messenger.subscribe(logRecordStored, () => void (told += 1));
    await stream.publish(twice);
    await stream.publish([...twice, record({ text: 'new' })]);
    await until('both are told', async () => told === 2);
    stop();
    expect(await texts({ order: 'oldest' })).toEqual([...twice.map(({ text }) => text), 'new']);
    const wrong = [null, 'x', {}, { ...record(), record_id: 'short' }, { ...record(), text: 'x'.repeat(9_000) }];
    expect(await storeRecords(records, database(), [...wrong, record()])).toMatchObject({ stored: 1, refused: 5 });
    expect((await list()).records).toHaveLength(4);
  });

  it('filters by level, service, time and text, whatever signs the text holds', async () => {
    const at = Date.now() - HOUR_MS;
    await stream.publish([
      record({ time_ms: at, level: 'debug', text: 'old and quiet' }),
      record({ time_ms: at + 1_000, level: 'fatal', service: 'reaper', text: '100% of C_ABC! is gone' }),
      record({ time_ms: at + 2_000, level: 'error', text: 'plain', detail: { reason: 'Disk FULL' } }),
    ]);
    const moment = (ms: number): string => new Date(ms).toISOString().slice(0, 23);
    expect(await texts({ level: 'error' })).toEqual(['plain', '100% of C_ABC! is gone']);
    expect(await texts({ service: 'reaper' })).toEqual(['100% of C_ABC! is gone']);
    expect(await texts({ since: moment(at + 1_000), until: moment(at + 2_000) })).toEqual(['100% of C_ABC! is gone']);
    for (const [text, found] of [
      ['100%', 1],
      ['1%0', 0],
      ['c_abc!', 1],
      ['cxabc', 0],
      ['disk full', 1],
      ['!', 1],
      ["'", 0],
    ] as const) {
      expect([text, (await texts({ text })).length]).toEqual([text, found]);
    }
  });

  it.each(['newest', 'oldest'] as const)('gives all in pages, %s first, none twice', async (order) => {
    const base = Date.now() - HOUR_MS;
    // A thousand in ten milliseconds: neighbours have the same time.
    const many = Array.from({ length: 1_000 }, (_, n) =>
      record({ time_ms: base + Math.floor(n / 100), level: n % 7 ? 'warn' : 'error' }),
    );
    await stream.publish(many);
    const sorted = [...many].sort((a, b) => (a.record_id < b.record_id === (order === 'oldest') ? -1 : 1));
    for (const level of ['trace', 'error'] as const) {
      const seen: string[] = [];
      let after: string | undefined;
      for (let page = 0; page < 40; page += 1) {
        const { records: some, next } = await list({ order, after, limit: 150, level });
        expect(some.length).toBeLessThanOrEqual(150);
        seen.push(...some.map(({ record_id }) => record_id));
        if (next === null) break;
        after = next;
      }
      const wanted = sorted.filter((one) => level === 'trace' || one.level === 'error');
      expect(seen).toEqual(wanted.map(({ record_id }) => record_id));
    }
  });

  it('finds the newest errors behind many warnings without a look at those', async () => {
    const base = Date.now() - HOUR_MS;
    const errors = [7, 8, 9].map((n) =>
      record({ time_ms: base - n * 1_000, level: n === 8 ? 'fatal' : 'error', text: `bad ${n}` }),
    );
    const quiet = record({ time_ms: base - 500, level: 'info', text: 'nothing' });
    await storeRecords(records, database(), [...errors, quiet]);
    await storeRecords(
      records,
      database(),
      Array.from({ length: 12_000 }, (_, n) => record({ time_ms: base + n })),
    );
    const looked: { sql: string; params: readonly SqlValue[] }[] = [];
    const read = records.read.bind(records);
    const spy = jest.spyOn(records, 'read').mockImplementation(async (sql, params = []) => {
      looked.push({ sql, params });
      return read(sql, params);
    });
    try {
      expect(await texts({ level: 'error' })).toEqual(['bad 7', 'bad 8', 'bad 9']);
      expect(await texts({ level: 'error', order: 'oldest', limit: 2 })).toEqual(['bad 9', 'bad 8']);
      expect(await texts({ level: 'error', text: 'BAD 8' })).toEqual(['bad 8']);
      expect(await texts({ level: 'info', order: 'oldest', limit: 4 })).toEqual(['bad 9', 'bad 8', 'bad 7', 'nothing']);
    } finally {
      spy.mockRestore();
    }
    const { sql: statement, params: given } = looked.find(({ sql }) => sql.includes('one_level'))!;
    if (database().dialect.name === 'sqlite') {
      const steps = await records.read<{ detail: string }>(`EXPLAIN QUERY PLAN ${statement}`, given);
      const plan = steps.map(({ detail }) => detail).filter((detail) => /log_record/.test(detail));
      expect(plan).toHaveLength(3);
      for (const step of plan) expect(step).toMatch(/ix_log_record_level \(level=\? AND id>\? AND id<\?\)|\(id=\?\)/);
    } else {
      const steps = await records.read<{ key: string | null; rows: number }>(`EXPLAIN ${statement}`, given);
      const plan = steps.filter(({ key }) => key === 'ix_log_record_level');
      expect(plan).toHaveLength(2);
      expect(steps.every(({ rows }) => Number(rows) < 1_000)).toBe(true);
    }
  });

  it('ends a page of long records before it is too large for the bus', async () => {
    const long = Array.from({ length: 60 }, (_, n) => record({ text: '😀'.repeat(4_000), detail: { n } }));
    for (const one of long) await stream.publish([one]);
    const { records: some, next } = await list({ order: 'oldest', limit: 1_000 });
    expect(some.length).toBeGreaterThan(5);
    expect(some.length).toBeLessThan(60);
    const rest: number[] = [];
    for (let after = next; after !== null;) {
      const page = await list({ order: 'oldest', limit: 1_000, after });
      rest.push(...page.records.map(({ detail }) => detail.n as number));
      after = page.next;
    }
    expect([...some.map(({ detail }) => detail.n), ...rest]).toEqual(long.map(({ detail }) => detail.n));
  });

  it('deletes what is older than it is kept, in pieces, and nothing else', async () => {
    const old = Array.from({ length: 1_500 }, (_, n) => record({ time_ms: Date.now() - 25 * HOUR_MS - n }));
    const young = record({ time_ms: Date.now() - 23 * HOUR_MS });
    await storeRecords(records, database(), [...old, young]);
    expect(await deleteBefore(records, logRecordIdAt(Date.now() - 24 * HOUR_MS))).toBe(1_000);
    expect(await sink.deleteOld()).toBe(500);
    expect((await list()).records.map(({ record_id }) => record_id)).toEqual([young.record_id]);
    expect(await sink.deleteOld()).toBe(0);
  });

  it('asks agents to wait when enough of them are being stored', async () => {
    const agent_id = await database().change(
      `INSERT INTO agent (hostname, user, any_user, clusters, state_directory, process_id, version, registered_date, lease_until_date)
       VALUES ('h', 'ada', 0, '[]', '/', 1, '', ${database().dialect.now}, ${database().dialect.now})`,
    );
    const outcomes = await messenger.request(
      appendLogRecords,
      Array.from({ length: 20 }, (_, n) => ({ agent_id, records: [record({ text: `of an agent ${n}`, service: 'api' })] })),
    );
    const codes = outcomes.map((outcome) => ('error' in outcome ? outcome.error.code : outcome.ok.stored));
    expect(codes).toEqual([...Array<number>(16).fill(1), ...Array<string>(4).fill('UNAVAILABLE')]);
    expect(await list({ service: 'agent' })).toMatchObject({ records: Array(16).fill({ detail: { agent_id } }) });
  });

  it('gets what a process logs, by its queue, without its waiting; what fails to be stored is stored later', async () => {
    const queue = new LogQueue({ lines_max: 50 });
    const own = createLogger({
      service: 'scheduler',
      instance: 's-1',
      level: 'info',
      destination: { write: () => undefined },
      queue,
    });
    let isAway = true;
    let tries = 0;
    const shipper = shipLogs({
      queue,
      log,
      stream: {
        publish: async (some) => {
          tries += 1;
          if (isAway) throw new Error('away');
          await stream.publish(some);
        },
      },
    });
    own.info('not kept');
    own.warn('first');
    await until('the stream refused it', async () => tries > 0);
    for (let n = 0; n < 100; n += 1) own.info({ task_instance_id: 5, n }, 'flood');
    expect(queue.counts).toEqual({ taken: 51, shed: 50 });
    isAway = false;
    await until('all that had room is stored', async () => (await list({ limit: 200 })).records.length === 51);
    expect(await texts({ order: 'oldest', limit: 2, service: 'scheduler' })).toEqual(['first', 'flood']);
    own.error('last');
    await shipper.close();
    expect(await texts({ limit: 1 })).toEqual(['last']);
  });
});

describeOnDatabases('the order in which log records come', (database) => {
  let records: Database;
  /** Another sink, with connections of its own; a SQLite file has one house, which writes in turns. */
  let other: Database;
  beforeAll(async () => {
    records = await openLogRecords(database(), { url: database().url, log });
    other = database().dialect.name === 'sqlite' ? records : await openDatabase({ url: database().url, log });
  });
  afterAll(async () => {
    if (other !== records) await other?.close();
    await records?.close();
  });

  const arrived = async (request: Partial<RequestOf<typeof listArrivedLogRecords>>) =>
    findArrived({ records, database: database() }, { level: 'trace', limit: 1_000, ...request });

  it('tells a follower every record once, though two sinks write at once and others came long after later ones', async () => {
    const { arrival: begin } = await arrived({});
    const count = 1_000;
    let written = 0;
    // Each sink has its own mixture of times: most of what it writes is older than what the follower knows by then.
    const writes = [records, other].map(async (sink) => {
      for (let n = 0; n < count;) {
        const some = Array.from({ length: 1 + ((n * 7) % 90) }, (_, at) => {
          return record({ time_ms: Date.now() - ((n + at) % 5) * HOUR_MS });
        });
        n += some.length;
        const { stored } = await storeRecords(sink, database(), some);
        written += stored;
      }
    });
    let isWriting = true;
    const written_all = Promise.all(writes).then(() => (isWriting = false));
    const heard: LogRecord[] = [];
    let after = begin;
    for (let isLast = false; !isLast;) {
      isLast = !isWriting;
      for (let has_more = true; has_more;) {
        const page = await arrived({ after, limit: 200 });
        heard.push(...page.records);
        expect(page.arrival).toBeGreaterThanOrEqual(after);
        ({ arrival: after, has_more } = page);
      }
    }
    await written_all;
    expect(written).toBeGreaterThanOrEqual(2 * count);
    expect(new Set(heard.map(({ record_id }) => record_id)).size).toBe(written);
    expect(heard).toHaveLength(written);
    const numbers = heard.map(({ arrival }) => arrival);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
  });

  it('gives no number past one that is not committed yet', async () => {
    if (database().dialect.name === 'sqlite') return; // One writer at a time, and each of its transactions in one turn.
    const { arrival: begin } = await arrived({});
    const url = new URL(database().url);
    const connection = await createConnection({
      host: url.hostname,
      port: Number(url.port),
      user: url.username,
      password: url.password,
      database: url.pathname.slice(1),
    });
    try {
      // A sink that has taken a number, and whose commit is long in coming.
      await connection.query('START TRANSACTION');
      await connection.query('UPDATE log_arrival SET arrival = arrival + 1');
      let isStored = false;
      const stored = storeRecords(other, database(), [record({ text: 'behind it' })]).then(() => (isStored = true));
      await until('the other waits for it', async () => {
        const [row] = await database().read<{ n: number }>(
          `SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST WHERE db = DATABASE() AND info LIKE 'UPDATE log_arrival SET arrival = %'`,
        );
        return row!.n > 0;
      });
      expect([isStored, await arrived({ after: begin })]).toEqual([false, { records: [], arrival: begin, has_more: false }]);
      await connection.query('COMMIT');
      await stored;
      expect((await arrived({ after: begin })).records.map(({ text, arrival }) => [text, arrival])).toEqual([
        ['behind it', begin + 2],
      ]);
    } finally {
      connection.destroy();
    }
  });

  it('has the server end a transaction whose sink froze in the middle, so that others go on', async () => {
    if (database().dialect.name === 'sqlite') return; // There a frozen sink is a frozen house.
    const single = await openDatabase({ url: database().url, log, connections_max: 1 });
    try {
      await storeRecords(single, database(), [record()]);
      const [row] = await single.read<{ seconds: number }>('SELECT @@SESSION.idle_write_transaction_timeout AS seconds');
      expect(row!.seconds).toBe(10);
    } finally {
      await single.close();
    }
  });

  it('goes on with records that fit, and begins anew where the store was begun anew', async () => {
    const { arrival: begin } = await arrived({});
    const time_ms = Date.now() - 3 * HOUR_MS;
    await storeRecords(records, database(), [
      record({ level: 'error', text: 'one' }),
      record({ text: 'two' }),
      record({ level: 'error', text: 'old', time_ms }),
    ]);
    const since = new Date(Date.now() - HOUR_MS).toISOString().slice(0, 19);
    expect((await arrived({ after: begin, level: 'error' })).records.map(({ text }) => text)).toEqual(['old', 'one']);
    expect((await arrived({ after: begin, level: 'error', since })).records.map(({ text }) => text)).toEqual(['one']);
    const none = await arrived({ after: begin, text: 'nowhere' });
    expect(none).toEqual({ records: [], arrival: begin + 3, has_more: false });
    expect((await arrived({ after: begin + 1_000_000, limit: 1 })).records).toHaveLength(1);
    await expect(arrived({ after: 0, task_id: 888_888 })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});
