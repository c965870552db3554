/** The checker finds each kind of violation when one is forged, and nothing in an execution that is right. */
import { judge, VIOLATIONS, type Executed, type Execution, type ViolationKind } from './execution-check';

const start = (task: string, task_instance_id: number, at: number): Executed => ({
  what: 'start',
  task,
  task_instance_id,
  at,
  code: null,
});
const end = (task: string, task_instance_id: number, at: number, code = 0): Executed => ({
  what: 'end',
  task,
  task_instance_id,
  at,
  code,
});

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
  ['run again after DONE', 'a command of a task that was done', { log: [...RIGHT.log, start('b', 3, 30), end('b', 3, 31, 1)] }],
  ['started before a parent', 'a command before its parent ended', { limit: 2, log: [...RIGHT.log, start('b', 2, 10.5)] }],
  ['over a limit', 'more commands at once than allowed', { limit: 0 }],
  ['stuck', 'a task that waits for ever', { tasks: [RIGHT.tasks[0]!, { ...RIGHT.tasks[1]!, status: 'Q' }] }],
  ['stuck', 'an attempt that was left', { attempts: [...RIGHT.attempts, { id: 7, task: 'a', status: 'I' }] }],
];

it.each(FORGED)('finds %s: %s', (kind, _what, forged) => expect(kinds({ ...RIGHT, ...forged })).toContain(kind));

it('has a forged one for every kind', () => {
  expect(new Set(FORGED.map(([kind]) => kind))).toEqual(new Set(VIOLATIONS));
});

it('excuses two at once only while an agent was silent for longer than its lease', () => {
  const log = [...RIGHT.log.slice(0, 3), start('b', 4, 19), end('b', 2, 20, 1), end('b', 4, 21)];
  const twice = { ...RIGHT, limit: 2, log };
  expect(kinds(twice)).toEqual(['run twice at once']);
  expect(judge({ ...twice, silences: [{ from: 12.5, to: 19.9 }] })).toEqual({
    violations: [],
    excused: ['b: attempts 2 and 4'],
  });
  expect(kinds({ ...twice, silences: [{ from: 15, to: 19.9 }] })).toEqual(['run twice at once']);
});
