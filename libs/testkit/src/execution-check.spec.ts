/** The checker finds each kind of violation when one is forged, and nothing in an execution that is right. */
import { judge, VIOLATIONS, type Executed, type Execution, type ViolationKind } from './execution-check';

const HOST = 'agent-0';
const line = (what: Executed['what'], task: string, task_instance_id: number, at: number, code: number | null): Executed => ({
  what,
  task,
  task_instance_id,
  at,
  host: HOST,
  code,
});
const start = (task: string, attempt: number, at: number): Executed => line('start', task, attempt, at, null);
const twice = (task: string, attempt: number, at: number): Executed => line('twice', task, attempt, at, null);
const end = (task: string, attempt: number, at: number, code = 0): Executed => line('end', task, attempt, at, code);

/** Two tasks, one after the other; the second one failed once before, and was killed once. */
const RIGHT: Execution = {
  log: [
    start('a', 1, 10),
    end('a', 1, 11),
    start('b', 2, 12),
    end('b', 2, 13, 1),
    start('b', 3, 14),
    start('b', 4, 20),
    end('b', 4, 21),
  ],
  tasks: [
    { name: 'a', status: 'D', current_task_instance_id: 1, upstreams: [] },
    { name: 'b', status: 'D', current_task_instance_id: 4, upstreams: ['a'] },
  ],
  attempts: [
    { id: 1, task: 'a', status: 'D' },
    { id: 2, task: 'b', status: 'E' },
    { id: 3, task: 'b', status: 'E' },
    { id: 4, task: 'b', status: 'D' },
  ],
  limit: 1,
  silences: [],
  lease_seconds: 5,
};

const kinds = (execution: Execution): ViolationKind[] => [...new Set(judge(execution).violations.map(({ kind }) => kind))];

it('finds nothing where all is right', () => expect(judge(RIGHT)).toEqual({ violations: [], excused: [] }));

const FORGED: [ViolationKind, string, Partial<Execution>][] = [
  ['lost', 'a task that is done and never ran', { log: RIGHT.log.filter(({ task }) => task === 'a') }],
  ['lost', 'a task that was given up', { tasks: [RIGHT.tasks[0]!, { ...RIGHT.tasks[1]!, status: 'F' }] }],
  [
    'lost',
    'an attempt that is done beside one that ended well',
    { attempts: RIGHT.attempts.map((one) => ({ ...one, status: 'D' })) },
  ],
  ['lost', 'a command that no row knows', { log: [...RIGHT.log, start('a', 9, 9), end('a', 9, 9.5, 1)] }],
  [
    'two current attempts',
    'a task with two live attempts',
    { attempts: [...RIGHT.attempts, { id: 5, task: 'b', status: 'R' }, { id: 6, task: 'b', status: 'R' }] },
  ],
  [
    'run twice at once',
    'a second attempt before the first has ended',
    { limit: 2, log: [...RIGHT.log.slice(0, 3), start('b', 4, 12.5), end('b', 2, 13, 1), end('b', 4, 14)] },
  ],
  [
    'run twice at once',
    'one attempt that is started twice',
    { limit: 2, log: [...RIGHT.log.slice(0, 2), start('b', 4, 12), start('b', 4, 12.1), end('b', 4, 13), end('b', 4, 13.1)] },
  ],
  [
    'run twice at once',
    'a second attempt that met the lock of a first one, which never told its end',
    { log: [...RIGHT.log.slice(0, 5), twice('b', 4, 20), ...RIGHT.log.slice(5)] },
  ],
  ['run again after DONE', 'a command of a task that was done', { log: [...RIGHT.log, start('b', 3, 30), end('b', 3, 31, 1)] }],
  ['started before a parent', 'a command before its parent ended', { limit: 2, log: [...RIGHT.log, start('b', 2, 10.5)] }],
  ['over a limit', 'more commands at once than allowed', { limit: 0 }],
  ['stuck', 'a task that waits for ever', { tasks: [RIGHT.tasks[0]!, { ...RIGHT.tasks[1]!, status: 'Q' }] }],
  ['stuck', 'an attempt that was left', { attempts: [...RIGHT.attempts, { id: 7, task: 'a', status: 'I' }] }],
];

it.each(FORGED)('finds %s: %s', (kind, _what, forged) => expect(kinds({ ...RIGHT, ...forged })).toContain(kind));

it('has a forged one for every kind that is told by the log', () => {
  expect(new Set(FORGED.map(([kind]) => kind))).toEqual(new Set(VIOLATIONS.filter((kind) => kind !== 'recovered too late')));
});

/** The second attempt starts at 19 while the first one runs from 12 to 20; the lease is 5. */
const TWICE: Execution = {
  ...RIGHT,
  limit: 2,
  log: [...RIGHT.log.slice(0, 3), start('b', 4, 19), end('b', 2, 20, 1), end('b', 4, 21)],
};

it("excuses two at once while the older one's agent was silent for longer than its lease", () => {
  expect(kinds(TWICE)).toEqual(['run twice at once']);
  const silences = [{ host: HOST, from: 12.5, to: 19.9 }];
  expect(judge({ ...TWICE, silences })).toEqual({ violations: [], excused: ['b: attempts 2 (agent-0) and 4 (agent-0)'] });
  // By the lock alone, too.
  const locked = [...RIGHT.log.slice(0, 5), twice('b', 4, 20), ...RIGHT.log.slice(5)];
  expect(judge({ ...RIGHT, log: locked, silences: [{ host: HOST, from: 14.5, to: 20.5 }] }).violations).toEqual([]);
});

it.each([
  ['a silence shorter than the lease', { from: 15, to: 19.9 }],
  ["another agent's silence", { host: 'agent-1', from: 12.5, to: 19.9 }],
  ['a silence that was over before the older one started', { from: 2, to: 11 }],
  ['a silence that began after the newer one had started', { from: 19.5, to: 29 }],
  ['a silence that had only begun when the newer one started', { from: 18, to: 29 }],
])('does not excuse two at once by %s', (_what, silence) => {
  expect(kinds({ ...TWICE, silences: [{ host: HOST, ...silence }] })).toEqual(['run twice at once']);
});

it('excuses the older attempt that starts late while its agent is frozen, and not one that starts when it has thawed', () => {
  const thawed = (at: number) => [
    ...RIGHT.log.slice(0, 3),
    start('b', 4, 19),
    twice('b', 2, at),
    start('b', 2, at),
    end('b', 4, 21),
  ];
  const silences = [{ host: HOST, from: 12.5, to: 19.1 }];
  expect(judge({ ...RIGHT, limit: 2, log: thawed(19), silences }).excused).toHaveLength(1);
  expect(judge({ ...RIGHT, limit: 2, log: thawed(19.2), silences }).excused).toHaveLength(0);
});

it("does not excuse one attempt that is started twice, whatever its agent's silence", () => {
  const log = [...RIGHT.log.slice(0, 2), start('b', 4, 12), start('b', 4, 18.5), end('b', 4, 19), end('b', 4, 19.5)];
  expect(kinds({ ...RIGHT, limit: 2, log, silences: [{ host: HOST, from: 12.5, to: 19 }] })).toEqual(['run twice at once']);
});

it('counts no command against a limit that runs on where it was given away', () => {
  expect(kinds({ ...TWICE, limit: 1, silences: [{ host: HOST, from: 12.5, to: 19.9 }] })).toEqual([]);
  expect(kinds({ ...TWICE, limit: 1, silences: [{ host: HOST, from: 15, to: 19.9 }] })).toContain('over a limit');
});
