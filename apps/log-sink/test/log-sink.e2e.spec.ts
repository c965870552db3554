/** The log sink as a process, over a real JetStream and a real database: what reached the stream is stored, once, whoever dies. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { Connection, followLogs, listLogs } from '@jobmon/client';
import { appendLogRecords, followLogRecords, listLogRecords, logRecordId } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import type { LogStream } from '@jobmon/messaging';
import { openLogStream } from '@jobmon/messaging/service';
import { createLogger, loadConfig, LogQueue, metrics, shipLogs, type Logger, type LogShipper } from '@jobmon/runtime';
import { describeApart, NatsProcess, ROOT, SystemApart, until, type ServiceProcess, type Services } from '@jobmon/testkit';
import { pino } from 'pino';

jest.setTimeout(180_000);

const TOKEN = 'a-token-for-the-log-sink';
const SILENT = pino({ level: 'silent' });
/** What a killed sink was given and had not stored is given to the next one after 10 s. */
const AGAIN_MS_MAX = 60_000;

describeApart('the log sink as a process', (mariadb) => {
  let system: SystemApart;
  let folder: string;
  let nats: NatsProcess;
  let services: Services;
  let sink: ServiceProcess;
  let api: Connection;
  let database: Database;
  /** This process as one that logs. */
  let queue: LogQueue;
  let log: Logger;
  let stream: LogStream;
  let shipper: LogShipper;

  beforeAll(async () => {
    system = await SystemApart.open(mariadb);
    ({ nats, database } = system);
    folder = system.user.folder('agent');
    services = await system.services({ token: TOKEN }).start({ 'log-sink': 1, api: 1 });
    sink = services.alive('log-sink')[0]!;
    api = services.connection();
    queue = new LogQueue();
    log = createLogger({ service: 'tester', instance: 't-1', level: 'info', destination: { write: () => undefined }, queue });
    const { config } = loadConfig({ env: { JOBMON__NATS__URL: nats.url } });
    stream = await openLogStream('tester', { config, log: SILENT }, false);
    system.alsoEnd(() => stream.close());
    shipper = shipLogs({ queue, stream, log: SILENT });
    system.alsoEnd(() => shipper.close());
  });
  afterAll(() => system?.remove());

  /** How many records hold this text, and how many of them are different. */
  const count = async (text: string): Promise<[stored: number, different: number]> => {
    const [row] = await database.read<{ stored: number; different: number }>(
      `SELECT COUNT(*) AS stored, COUNT(DISTINCT detail) AS different FROM log_record WHERE text = ?`,
      [text],
    );
    return [row!.stored, row!.different];
  };
  const stored = (text: string, wanted: number): Promise<void> =>
    until(`${wanted} records '${text}' are stored`, async () => (await count(text))[0] >= wanted, AGAIN_MS_MAX);

  test('what a process logs is listed and followed over HTTP', async () => {
    const heard: string[] = [];
    const stop = new AbortController();
    const follows = (async () => {
      for await (const { records } of api.stream(followLogRecords, { service: 'tester' }, { signal: stop.signal })) {
        heard.push(...records.map(({ text }) => text));
      }
    })().catch(() => undefined);
    log.warn({ request_id: 'r-1', cause: 'a test' }, 'first');
    await stored('first', 1);
    // A follower hears what comes from its first look on; the first record may have been before.
    await until('the follower hears', async () => {
      log.warn('heard');
      return heard.includes('heard');
    });
    expect(new Set(heard).size).toBeLessThanOrEqual(2);
    stop.abort();
    await follows;
    const { records } = await api.send(listLogRecords, { text: 'first', service: 'tester' });
    expect(records).toMatchObject([
      { level: 'warn', instance: 't-1', request_id: 'r-1', text: 'first', detail: { cause: 'a test' } },
    ]);
  });

  test('the warnings of the services themselves come too, with the process that gave them', async () => {
    // Nobody answers for the state machine here: the api says so of each request that needs it.
    const asked = await fetch(`${api.url}/api/v4/workflows/7/pause`, {
      method: 'POST',
      headers: { authorization: 'Bearer a-token-for-the-log-sink', 'content-type': 'application/json' },
      body: '{"user":"ada"}',
    });
    expect(asked.status).toBe(503);
    const request_id = asked.headers.get('x-request-id');
    await until('the record is there', async () => {
      const { records } = await api.send(listLogRecords, { service: 'api', level: 'warn' });
      return records.some((record) => record.request_id === request_id && record.instance.startsWith('api-'));
    });
  });

  test('a sink killed in the middle loses nothing that reached the stream, and nothing is stored twice', async () => {
    for (let n = 0; n < 4_000; n += 1) log.warn({ n }, 'counted');
    await until('some are stored', async () => (await count('counted'))[0] > 0);
    await sink.end('SIGKILL');
    for (let n = 4_000; n < 8_000; n += 1) log.warn({ n }, 'counted');
    await until('all have reached the stream', () => queue.waiting === 0);
    sink = await services.begin('log-sink').ready();
    await stored('counted', 8_000);
    expect(queue.counts.shed).toBe(0);
    // A second sink takes a part of the work, and what is sent again changes nothing.
    const other = await services.begin('log-sink').ready();
    for (let n = 0; n < 2_000; n += 1) log.warn({ n }, 'shared');
    await stored('shared', 2_000);
    expect([await count('counted'), await count('shared')]).toEqual([
      [8_000, 8_000],
      [2_000, 2_000],
    ]);
    expect(await other.end()).toBe(0);
  });

  test('a record of a sender whose clock is wrong by years has its place by the time of the stream', async () => {
    const strange = createLogger({
      service: 'strange',
      level: 'info',
      destination: { write: () => undefined },
      queue: {
        offer: (line: string, level: number) => queue.offer(line.replace(/"time":"\d{4}/, '"time":"2001'), level),
      } as LogQueue,
    });
    strange.warn('long ago');
    await stored('long ago', 1);
    const { records } = await api.send(listLogRecords, { text: 'long ago' });
    expect(Math.abs(Date.parse(`${records[0]!.time.replace(' ', 'T')}Z`) - Date.now())).toBeLessThan(3_600_000);
    expect(new Date(records[0]!.detail.said_at_ms as number).getUTCFullYear()).toBe(2001);
  });

  test('NATS that lost its whole store costs what was in it and no more: the stream is made again', async () => {
    await nats.kill();
    nats.forgetAll();
    log.warn('said while NATS was away');
    await nats.startAgain();
    await stored('said while NATS was away', 1);
    await until('the sink is ready again', async () => (await sink.readiness())?.status === 200);
  });

  test('NATS stopped and started: who logs never waits, the counter says what was shed, and what was kept arrives', async () => {
    const small = new LogQueue({ lines_max: 100 });
    const lines: string[] = [];
    const destination = { write: (line: string) => void lines.push(line) };
    const talker = createLogger({ service: 'talker', level: 'info', destination, queue: small });
    const { config } = loadConfig({ env: { JOBMON__NATS__URL: nats.url } });
    const way = await openLogStream('talker', { config, log: SILENT }, false);
    const ships = shipLogs({ queue: small, stream: way, log: SILENT });
    const shedCounted = async (): Promise<number> =>
      (await metrics.log_records.get()).values.find(({ labels }) => labels.outcome === 'shed')?.value ?? 0;
    try {
      talker.warn({ n: -1 }, 'before the stop');
      await stored('before the stop', 1);
      const [taken, shed] = [small.counts.taken, await shedCounted()];
      await nats.kill();
      let slowest_ms = 0;
      for (let n = 0; n < 5_000; n += 1) {
        const said_ms = performance.now();
        talker.warn({ n }, 'while it was stopped');
        slowest_ms = Math.max(slowest_ms, performance.now() - said_ms);
        // Time for the way to try, and to fail.
        if (n % 1_000 === 0) await new Promise((go) => setImmediate(go));
      }
      // One that waited for NATS would have waited until it was started again.
      expect(slowest_ms).toBeLessThan(1_000);
      // Its own log has all of them, the second copy has what there was room for: the queue, and the message that was on its way.
      expect(lines.filter((line) => line.includes('while it was stopped'))).toHaveLength(5_000);
      const kept = small.counts.taken - taken;
      expect(kept).toBeGreaterThanOrEqual(100);
      expect(kept).toBeLessThanOrEqual(1_000);
      expect([small.counts.shed, await shedCounted()]).toEqual([5_000 - kept, shed + 5_000 - kept]);
      await until('the sink says that the bus is away', async () => {
        const ready = await sink.readiness();
        return ready?.status === 503 && /connection to NATS is lost/.test(ready.details.bus?.cause ?? '');
      });

      await nats.startAgain();
      await stored('while it was stopped', kept);
      await until('nothing waits', () => small.waiting === 0);
      expect(await count('while it was stopped')).toEqual([kept, kept]);
      await until('the sink is ready again', async () => (await sink.readiness())?.status === 200);
    } finally {
      await ships.close();
      await way.close();
    }
  });

  test('NATS without JetStream: the sink says what to do and waits, senders go on and count what is shed', async () => {
    const plain = await NatsProcess.start('jetstream: disabled');
    try {
      const waiting = services.begin('log-sink', { JOBMON__NATS__URL: plain.url });
      await waiting.said(/has no JetStream or no stream jobmon-log in it: start nats-server with -js/);
      const ready = await waiting.readiness();
      expect(ready?.status).toBe(503);
      expect(ready?.details.log_stream?.cause).toMatch(/start nats-server with -js/);

      const small = new LogQueue({ lines_max: 10 });
      const lines: string[] = [];
      const talker = createLogger({
        service: 'talker',
        level: 'info',
        destination: { write: (line) => void lines.push(line) },
        queue: small,
      });
      const { config } = loadConfig({ env: { JOBMON__NATS__URL: plain.url } });
      const nowhere = await openLogStream('talker', { config, log: SILENT }, false);
      const ships = shipLogs({ queue: small, stream: nowhere, log: SILENT });
      const began = performance.now();
      for (let n = 0; n < 10_000; n += 1) talker.warn({ n }, 'into the void');
      const took_ms = performance.now() - began;
      expect([lines.length, small.counts.taken + small.counts.shed]).toEqual([10_000, 10_000]);
      expect(small.counts.shed).toBeGreaterThan(9_000);
      expect(took_ms).toBeLessThan(2_000);
      await ships.close();
      await nowhere.close();
      expect(await waiting.end()).toBe(0);
    } finally {
      await plain.remove();
    }
  });

  test('an agent, which is on no bus, has its warnings stored under its number, whatever they claim to be', async () => {
    const agent = spawn(
      process.execPath,
      [
        path.join(ROOT, 'dist', 'apps', 'cli', 'main.js'),
        'agent',
        '--cluster',
        'dummy',
        '--cores',
        '4000',
        '--state',
        path.join(folder, 'agent'),
      ],
      {
        cwd: folder,
        env: { PATH: process.env.PATH, HOME: folder, JOBMON__HTTP__SERVICE_URL: api.url, JOBMON__HTTP__TOKEN: TOKEN },
        stdio: 'ignore',
      },
    );
    const over = once(agent, 'exit');
    try {
      // Said before it has joined; sent when it has.
      const warned = async () =>
        (await api.send(listLogRecords, { service: 'agent', text: '--cores 4000 is more than' })).records;
      await until('its warning is stored', async () => (await warned()).length > 0, AGAIN_MS_MAX);
      const [record] = await warned();
      expect(record).toMatchObject({ level: 'warn', instance: expect.stringContaining(`-${agent.pid}`) });
      const agent_id = record!.detail.agent_id as number;
      expect(agent_id).toBeGreaterThan(0);

      const { time: _time, arrival: _arrival, ...sent } = record!;
      const forged = {
        ...sent,
        record_id: logRecordId(Date.parse('2001-01-01'), 'F0RGED0000', 1),
        service: 'api',
        text: 'forged',
      };
      expect(await api.send(appendLogRecords, { agent_id, records: [forged, sent] })).toEqual({ stored: 1 });
      expect(await api.send(appendLogRecords, { agent_id, records: [forged, sent] })).toEqual({ stored: 1 });
      const { records } = await api.send(listLogRecords, { text: 'forged' });
      expect(records).toMatchObject([{ service: 'agent', detail: { agent_id } }, { service: 'agent' }]);
      expect(Math.abs(Date.parse(`${records[0]!.time.replace(' ', 'T')}Z`) - Date.now())).toBeLessThan(3_600_000);

      await expect(api.send(appendLogRecords, { agent_id: 9_999, records: [sent] })).rejects.toMatchObject({ code: 'NOT_FOUND' });
      const wrong = { ...sent, text: 'x'.repeat(9_000) };
      await expect(api.send(appendLogRecords, { agent_id, records: [wrong] })).rejects.toMatchObject({ code: 'MALFORMED' });
      const stranger = new Connection({ url: api.url, token: 'not the token' });
      await expect(stranger.send(appendLogRecords, { agent_id, records: [sent] })).rejects.toMatchObject({
        code: 'UNAUTHORIZED',
      });
    } finally {
      agent.kill('SIGTERM');
      await over;
    }
  });

  test('the SDK lists what was said and follows what is said, each record once, over a sink that ends meanwhile', async () => {
    const since = new Date(Date.now() - 60_000);
    for (let n = 0; n < 3; n += 1) log.error({ n, task_id: 77 }, 'for the SDK');
    await stored('for the SDK', 3);
    const listed = await listLogs({ connection: api, text: 'FOR the sdk', level: 'error', order: 'oldest', since, limit: 2 });
    expect(listed.map(({ taskId, detail }) => [taskId, detail.n])).toEqual([
      [77, 0],
      [77, 1],
    ]);
    expect(listed[0]!.time.getTime()).toBeGreaterThan(since.getTime());
    await expect(listLogs({ connection: api, workflowId: 888_888 })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(listLogs({ connection: api, since: new Date('nonsense') })).rejects.toMatchObject({ code: 'MALFORMED' });

    const stop = new AbortController();
    const heard: unknown[] = [];
    const follows = (async () => {
      for await (const { detail } of followLogs({ connection: api, text: 'for the SDK', since, signal: stop.signal }))
        heard.push(detail.n);
    })().catch((error: unknown) => error);
    await until('those that stood there are told', () => heard.length === 3);
    await sink.end('SIGKILL');
    for (let n = 3; n < 6; n += 1) log.error({ n }, 'for the SDK');
    sink = await services.begin('log-sink').ready();
    await until('those that came are told', () => heard.length >= 6, AGAIN_MS_MAX);
    expect([...heard].sort()).toEqual([0, 1, 2, 3, 4, 5]);
    stop.abort('enough');
    expect(await follows).toBe('enough');
  });

  test('a sink that is told to stop stores what it has and ends', async () => {
    for (let n = 0; n < 500; n += 1) log.warn({ n }, 'at the end');
    await until('all have reached the stream', () => queue.waiting === 0);
    expect(await sink.end()).toBe(0);
    sink = await services.begin('log-sink').ready();
    await stored('at the end', 500);
    expect(await count('at the end')).toEqual([500, 500]);
  });
});
