/** docs/services.md: its tables of refusals and of time-outs say what the code says. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decideAttempt, ERROR_KINDS, TaskInstanceStatus, TaskStatus, type ErrorKind } from '@jobmon/contracts';
import { TIMEOUT_MS_DEFAULT } from '@jobmon/messaging';
import { loadConfig } from '@jobmon/runtime';

const ROOT = join(__dirname, '..');
const page = readFileSync(join(ROOT, 'docs/services.md'), 'utf8');

/** The rows of the one table with these columns, each a list of its cells. */
function rowsOf(...columns: string[]): string[][] {
  const tables = page.split(/\n(?!\|)/).map((part) =>
    part
      .split('\n')
      .filter((line) => line.startsWith('|'))
      .map((line) =>
        line
          .slice(1, -1)
          .split('|')
          .map((cell) => cell.trim()),
      ),
  );
  const found = tables.filter(([head]) => head?.join() === columns.join());
  expect([columns, found.length]).toEqual([columns, 1]);
  return found[0]!.slice(2);
}

const bare = (cell: string | undefined): string => (cell ?? '').replaceAll('`', '');

const CODES = ['code', 'status', 'level', 'again', 'when', 'cure'];

describe('refusals', () => {
  it('has each code with its status, level and whether it is worth a repeat, in the order of the contracts', () => {
    const told = rowsOf(...CODES).map((cells) => cells.slice(0, 4).map(bare));
    const kinds: [string, ErrorKind][] = Object.entries(ERROR_KINDS);
    expect(told).toEqual(
      kinds.map(([code, kind]) => [code, String(kind.http_status), kind.level, kind.retryable ? 'yes' : 'no']),
    );
  });

  it('says of each code when it comes and what to do', () => {
    for (const [code, , , , when = '', cure = ''] of rowsOf(...CODES))
      expect([code, when.length > 20, cure.length > 20]).toEqual([code, true, true]);
  });

  it('has each reason for which a message on the bus is refused, with a code that there is', () => {
    const rows = rowsOf('`reason`', 'when', 'answered with', 'cure');
    expect(rows.map(([reason]) => bare(reason)).sort()).toEqual([...reasonsInCode()].sort());
    for (const [, , answered = ''] of rows) expect(Object.keys(ERROR_KINDS)).toContain(/`(\w+)`/.exec(answered)?.[1]);
  });

  it('has each reason for which a change of a status is not made', () => {
    const told = rowsOf('`reason`', 'when');
    expect(told.map(([reason]) => bare(reason)).sort()).toEqual([...reasonsOfMachine()].sort());
  });
});

describe('time-outs', () => {
  const rows = rowsOf('who waits for what', 'constant', 'in', 'seconds', 'v3', 'what happens then').map(
    ([who = '', constant, file, seconds, v3, then = '']) => ({
      who,
      constant: bare(constant),
      file: bare(file),
      seconds: Number(seconds),
      isOfPython: v3 === 'yes',
      then,
    }),
  );
  const of = (constant: string, file: string): number =>
    rows.find((row) => row.constant === constant && row.file.endsWith(file))!.seconds;

  it.each(rows)('$constant in $file is $seconds s', ({ constant, file, seconds }) =>
    expect(secondsOf(constant, file)).toBe(seconds),
  );

  it('gives a connection up after as many questions as it says', () => {
    const source = readFileSync(join(ROOT, 'libs/messaging/src/nats-connection.ts'), 'utf8');
    expect(/const PINGS_MAX = (\d+);/.exec(source)?.[1]).toBe('2');
    expect(rows.find(({ constant }) => constant === 'PING_MS')?.then).toContain('after two without an answer');
  });

  it('says of each wait what happens after it', () => {
    expect(rows.filter(({ then }) => then.length < 10)).toEqual([]);
    expect(new Set(rows.map(({ constant, file }) => `${file} ${constant}`)).size).toBe(rows.length);
  });

  it('lets no call of the Python protocol wait for 15 s, in the queue and for its message together', () => {
    expect(rows.filter(({ isOfPython }) => isOfPython).length).toBeGreaterThan(3);
    for (const { isOfPython, seconds } of rows) if (isOfPython) expect(seconds).toBeLessThan(15);
    expect(of('WAITING_MS_MAX', 'sender.ts') + of('ANSWER_MS_MAX', 'sender.ts')).toBeLessThan(15);
    expect(of('PATIENCE_MS', 'mariadb.ts') + of('ANSWER_TIMEOUT_MS', 'mariadb.ts')).toBeLessThan(15);
  });

  it('gives whoever waits for another more time than that one waits itself', () => {
    expect(of('ANSWER_MS_MAX', 'agent.ts')).toBeGreaterThan(of('LEASE_MS_MAX', 'api/src/agent.ts'));
    expect(of('ANSWER_MS_MAX', 'sender.ts')).toBeGreaterThan(of('PATIENCE_MS', 'mariadb.ts'));
    expect(of('ANSWER_MS_MAX', 'run.ts')).toBeGreaterThan(of('PATIENCE_MS', 'mariadb.ts'));
    expect(of('TIMEOUT_MS', 'send.ts')).toBeGreaterThan(of('TIMEOUT_MS_DEFAULT', 'in-process.ts'));
    expect(of('STOP_MS_MAX', 'service.ts')).toBeLessThan(20);
  });
});

/** A constant of a file, or a setting's default, in seconds. */
function secondsOf(constant: string, file: string): number {
  const setting = /^(\w+)\.(\w+)$/.exec(constant);
  if (setting !== null) {
    const { config } = loadConfig({ env: {} });
    return (config as unknown as Record<string, Record<string, number>>)[setting[1]!]![setting[2]!]!;
  }
  const found = new RegExp(`const ${constant} = ([^;]+);`).exec(readFileSync(join(ROOT, file), 'utf8'));
  if (found === null) throw new Error(`${file} has no ${constant}`);
  const said = found[1]!;
  if (/^[\d_]+$/.test(said)) return Number(said.replaceAll('_', '')) / (constant.endsWith('_SECONDS') ? 1 : 1_000);
  const difference = /^TIMEOUT_MS_DEFAULT - (\w+)$/.exec(said);
  if (difference === null) throw new Error(`${constant} = ${said}: neither a number nor what is left of the longest wait`);
  return TIMEOUT_MS_DEFAULT / 1_000 - secondsOf(difference[1]!, file);
}

/** Reasons by which the sources of the bus count a message as refused. */
function reasonsInCode(): Set<string> {
  const folder = join(ROOT, 'libs/messaging/src');
  const sources = readdirSync(folder).filter((file) => file.endsWith('.ts') && !file.endsWith('.spec.ts'));
  const text = sources.map((file) => readFileSync(join(folder, file), 'utf8')).join('\n');
  const reasons = [...text.matchAll(/message_refusals\.inc\(\{ reason: '(\w+)' \}\)/g)].map(([, reason]) => reason!);
  // None is counted in another way of writing.
  expect(text.match(/message_refusals\b/g)).toHaveLength(reasons.length);
  return new Set(reasons);
}

/** Every reason that the machine of task instances gives, found by asking it for everything. */
function reasonsOfMachine(): Set<string> {
  const reasons = new Set<string>();
  for (const from of Object.values(TaskInstanceStatus))
    for (const to of Object.values(TaskInstanceStatus))
      for (const status of Object.values(TaskStatus)) {
        const task = { status, num_attempts: 1, max_attempts: 3, current_task_instance_id: 1 };
        const decision = decideAttempt({ instance: { id: 1, status: from }, task }, to);
        if (!decision.accepted) reasons.add(decision.because);
      }
  return reasons;
}
