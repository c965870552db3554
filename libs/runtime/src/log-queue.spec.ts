import { ID_MAX, LogRecordId, SentLogRecord, timeOfLogRecord } from '@jobmon/contracts';
import { LogQueue } from './log-queue';
import { recordOfLine } from './log-record';
import { createLogger } from './logging';

function started(lines_max?: number) {
  const queue = new LogQueue({ lines_max });
  const lines: string[] = [];
  const log = createLogger({
    service: 'api',
    instance: 'api-1',
    level: 'debug',
    destination: { write: (line) => void lines.push(line) },
    queue,
  });
  return { queue, log, lines };
}

describe('the second way of log lines', () => {
  it('takes warnings and above, and whatever names an attempt, also by a child; the first way gets all', () => {
    const { queue, log, lines } = started();
    log.info({ workflow_id: 1 }, 'not kept');
    log.warn({ workflow_id: 7, operation: 'x.y' }, 'kept');
    log.child({ task_instance_id: 12, request_id: 'r-1' }).debug({ trace_id: 't' }, 'kept too');
    expect(lines).toHaveLength(3);
    const records = queue.take(10);
    expect(records).toMatchObject([
      { level: 'warn', service: 'api', instance: 'api-1', workflow_id: 7, text: 'kept', detail: { operation: 'x.y' } },
      { level: 'debug', task_instance_id: 12, request_id: 'r-1', trace_id: 't', text: 'kept too', detail: {} },
    ]);
    expect(queue.waiting).toBe(0);
    for (const record of records) expect(SentLogRecord.parse(record)).toEqual(record);
    const [first, second] = records as [SentLogRecord, SentLogRecord];
    expect(second.record_id > first.record_id).toBe(true);
    expect(Math.abs(timeOfLogRecord(first.record_id) - Date.now())).toBeLessThan(60_000);
  });

  it('drops and counts what it has no room for, and takes again when there is room', () => {
    const { queue, log, lines } = started(3);
    for (let n = 0; n < 10; n += 1) log.warn({ n }, 'again');
    expect([lines.length, queue.waiting, queue.counts]).toEqual([10, 3, { taken: 3, shed: 7 }]);
    expect(queue.take(2).map(({ detail }) => detail.n)).toEqual([0, 1]);
    log.warn('fits');
    expect(queue.take(10).map(({ text }) => text)).toEqual(['again', 'fits']);
  });

  it('wakes whoever waits for a line', async () => {
    const { queue, log } = started();
    const waits = queue.filled(new AbortController().signal);
    log.error('now');
    await waits;
    expect(queue.waiting).toBe(1);
    const given = new AbortController();
    queue.take(1);
    const forever = queue.filled(given.signal);
    given.abort();
    await forever;
  });

  it('keeps a line of a megabyte, cut', () => {
    const { queue, log } = started();
    log.error({ huge: 'é'.repeat(600_000), after: 1 }, `${'x'.repeat(1_000_000)}`);
    const [record] = queue.take(1) as [SentLogRecord];
    expect(SentLogRecord.parse(record).text).toMatch(/^x{7999}…$/);
    expect(record.detail).toEqual({ huge: `${'é'.repeat(3_999)}…`, after: 1 });
  });

  it('says no password a second time', () => {
    const { queue, log } = started();
    log.warn({ token: 'secret' }, 'mariadb://ada:secret@host/db is away');
    expect(JSON.stringify(queue.take(1))).not.toContain('secret');
  });
});

describe('a record of a line', () => {
  const recordOf = (said: Record<string, unknown>): SentLogRecord => {
    const record = recordOfLine(JSON.stringify({ level: 'warn', time: '2026-11-22T10:15:00.250Z', ...said }), 'S'.repeat(10), 1);
    expect(SentLogRecord.parse(JSON.parse(JSON.stringify(record)))).toEqual(record);
    return record;
  };

  it.each<[string, string, string]>([
    ['a NUL and a bell', 'a\u0000b\u0007c', 'a\uFFFDb\uFFFDc'],
    ['an escape of a terminal', '\u001b[2Jgone', '\uFFFD[2Jgone'],
    ['half a character', 'a\ud800b', 'a\uFFFDb'],
    ['a whole one', 'a😀b', 'a😀b'],
    ['tab and newline stay', 'a\tb\nc', 'a\tb\nc'],
    ['bytes that are no UTF-8', Buffer.from([0x61, 0xff, 0xfe, 0x62]).toString('utf8'), 'a\uFFFD\uFFFDb'],
  ])('%s', (_, message, text) => {
    expect(recordOf({ message }).text).toBe(text);
    expect(recordOf({ error: { message } }).detail).toEqual({ error: { message: text } });
  });

  it('does not cut through a character', () => {
    expect(recordOf({ message: '😀'.repeat(8_000) }).text).toBe(`${'😀'.repeat(3_999)}…`);
  });

  it('leaves away what is too much besides, and says so', () => {
    const many = Object.fromEntries(Array.from({ length: 90 }, (_, n) => [`m${n}`, 'x'.repeat(3_000)]));
    const { detail } = recordOf(many);
    expect(JSON.stringify(detail).length).toBeLessThanOrEqual(16_000);
    expect(detail).toMatchObject({ m0: 'x'.repeat(3_000), cut: true });
    const deep: Record<string, unknown> = {};
    let at = deep;
    for (let depth = 0; depth < 500; depth += 1) at = at['in'] = {};
    expect(JSON.stringify(recordOf({ deep }).detail).length).toBeLessThan(100);
  });

  it('takes as ids only what are ids', () => {
    expect(recordOf({ task_id: 5, workflow_id: '7', task_instance_id: -1, workflow_run_id: ID_MAX + 1 })).toMatchObject({
      task_id: 5,
      workflow_id: null,
      task_instance_id: null,
      workflow_run_id: null,
      detail: { workflow_id: '7', task_instance_id: -1, workflow_run_id: ID_MAX + 1 },
    });
  });

  it('is made of any line, and sorts by its time', () => {
    expect(recordOfLine('no JSON', 'S'.repeat(10), 0)).toMatchObject({ text: 'no JSON', level: 'info', service: 'unknown' });
    const ids = ['1970-01-01T00:00:00Z', '2026-11-22T10:15:00.250Z', '2026-11-22T10:15:00.251Z', '9999-01-01T00:00:00Z'].map(
      (time) => recordOf({ time }).record_id,
    );
    expect([...ids].sort()).toEqual(ids);
    for (const id of ids) expect(LogRecordId.safeParse(id).success).toBe(true);
    expect(timeOfLogRecord(ids[1]!)).toBe(Date.parse('2026-11-22T10:15:00.250Z'));
  });
});
