/** The checker of the survival tests finds what it is there to find. */
import { brokenRules, mostAtOnce, type Standing, type Witnessed } from './witnessed-workflow';

const line = (what: Witnessed['what'], pid: number, at: number, task = 0): Witnessed => ({ what, task, pid, at });
const kill = (at: number, done: number[], running: number[]): Standing => ({
  at,
  done: new Set(done),
  running: new Set(running),
});

it.each<[string, Witnessed[], Standing[], string[]]>([
  ['once', [line('start', 1, 1), line('end', 1, 2)], [kill(1.5, [], [0])], []],
  ['again after a failure that nobody had as running', [line('start', 1, 1), line('start', 2, 3), line('end', 2, 4)], [], ['task 0 ran twice at once']],
  ['never', [], [], ['task 0 is DONE and never ran', 'task 0 is DONE and never ended']],
  ['twice at once', [line('start', 1, 1), line('start', 2, 1.5), line('end', 1, 2), line('end', 2, 3)], [], ['task 0 ran twice at once']],
  ['again after it was done', [line('start', 1, 1), line('end', 1, 2), line('start', 2, 4), line('end', 2, 5)], [kill(3, [0], [])], ['task 0 was DONE and ran again']],
  ['again although it was running', [line('start', 1, 1), line('end', 1, 4), line('start', 2, 5), line('end', 2, 6)], [kill(3, [], [0])], ['task 0 was running and was not adopted']],
])('a task that ran %s', (_name, log, kills, broken) => expect(brokenRules(log, kills, 1)).toEqual(broken)); // prettier-ignore

it('counts what ran at one time', () => {
  expect(mostAtOnce([line('start', 1, 1), line('end', 1, 3), line('start', 2, 2), line('start', 3, 4)])).toBe(2);
});
