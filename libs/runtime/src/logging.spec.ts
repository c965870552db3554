import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger, hidePasswords, type LoggerSettings } from './logging';

function recorded(level: LoggerSettings['level'] = 'info') {
  const lines: string[] = [];
  const log = createLogger({ service: 'api', level, destination: { write: (line) => void lines.push(line) } });
  return { log, lines, values: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

it('writes one JSON object a line with level, time and service', () => {
  const { log, values } = recorded();
  log.debug('not written');
  log.info({ workflow_id: 7 }, 'workflow submitted');
  expect(values()).toEqual([
    {
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      service: 'api',
      pid: process.pid,
      workflow_id: 7,
      message: 'workflow submitted',
    },
  ]);
});

it('ties the lines of a request together', () => {
  const { log, values } = recorded();
  log.child({ request_id: 'r-1' }).warn('slow');
  expect(values()[0]).toMatchObject({ request_id: 'r-1', message: 'slow' });
});

it('keeps the causes of an error', () => {
  const { log, values } = recorded();
  log.error({ error: new Error('cannot store', { cause: new Error('disk is full') }) }, 'failed');
  expect(JSON.stringify(values()[0])).toContain('disk is full');
});

it.each([
  [{ token: 'hunter2' }],
  [{ headers: { authorization: 'Bearer hunter2', 'set-cookie': 'hunter2' } }],
  [{ req: { headers: { authorization: 'hunter2', cookie: 'hunter2' } } }],
  [{ a: { b: { password: 'hunter2' } } }],
  [{ url: 'mariadb://jobmon:hunter2@db/jobmon' }],
  [{ error: new Error('cannot reach mysql+pymysql://jobmon:hunter2@db/jobmon') }],
])('strikes secrets out: %#', (fields) => {
  const { log, lines } = recorded();
  log.info(fields, 'with fields');
  expect(lines[0]).toContain('***');
  expect(lines[0]).not.toContain('hunter2');
});

it('leaves addresses without a password as they are', () => {
  expect(hidePasswords('see http://127.0.0.1:8070/api and a@b')).toBe('see http://127.0.0.1:8070/api and a@b');
});

it('loses lines on a full disk, and throws nothing into the work', () => {
  const log = createLogger({ service: 'local', level: 'info', destination: '/dev/full' });
  for (let n = 0; n < 3; n++) expect(() => log.info('lost')).not.toThrow();
});

it('appends to a file, in a folder that need not exist', () => {
  const folder = mkdtempSync(join(tmpdir(), 'jobmon-log-'));
  const file = join(folder, 'deep', 'jobmon.log');
  for (const message of ['first', 'second']) createLogger({ service: 'local', level: 'info', destination: file }).info(message);
  const written = readFileSync(file, 'utf8').trim().split('\n');
  expect(written.map((line) => (JSON.parse(line) as { message: string }).message)).toEqual(['first', 'second']);
  rmSync(folder, { recursive: true });
});
