/** How soon things went on: forged courses of faults, outages and attempts. */
import { judgeRecovery, recoveriesOf, type AttemptTimes, type Course, type Fault } from './execution-recovery';

const BOUND = 11;

const fault = (of: string, name: string, from: number, to: number, more: Partial<Fault> = {}): Fault => ({
  kind: 'kill -9',
  of,
  name,
  from,
  to,
  ready_at: null,
  isDown: true,
  ...more,
});

/** An attempt that is queued, leased, started and ended at these times by an agent; its command takes a second. */
const attempt = (
  id: number,
  queued_at: number,
  started_at: number | null,
  ended_at: number | null,
  host = 'agent-0',
): AttemptTimes => ({
  id,
  workflow: 'native',
  host,
  queued_at,
  leased_at: queued_at + 0.1,
  started_at,
  due_at: started_at === null ? null : started_at + 1,
  ended_at,
});

const course = (faults: readonly Fault[], attempts: readonly AttemptTimes[], more: Partial<Course> = {}): Course => ({
  faults,
  attempts,
  holders: [],
  needs: [['MariaDB'], ['api-0', 'api-1'], ['agent-0', 'agent-1']],
  needsOfAgents: [['reaper-0', 'reaper-1']],
  clientSteps: [],
  clientAway: [],
  bound_seconds: () => BOUND,
  ...more,
});

const workOf = (one: Course): (number | null)[] => recoveriesOf(one).map(({ work }) => work);
const late = (one: Course): number => judgeRecovery(recoveriesOf(one), one.bound_seconds).length;

it('counts from the strike to the start of a command whose task was queued later', () => {
  const attempts = [attempt(1, 99, 104, 105), attempt(2, 106, 107, 108), attempt(3, 101, null, 109)];
  expect(workOf(course([fault('api', 'api-0', 100, 130)], attempts))).toEqual([7]);
});

it('waits for each workflow that has work left: the scheduler that was hit held one of them', () => {
  const other = { ...attempt(3, 108, 109, 110), workflow: 'other' };
  expect(workOf(course([fault('scheduler', 'scheduler-0', 100, 130)], [attempt(1, 101, 102, 103), other]))).toEqual([9]);
});

it('counts anew from the strike on the scheduler that holds the workflow, while the first fault may still take its time', () => {
  const faults = [fault('state-machine', 'state-machine-0', 100, 101), fault('scheduler', 'scheduler-1', 106, 130)];
  const attempts = [attempt(1, 112, 113, 114)];
  const held = (name: string, from = 90, workflow = 'native') => ({ holders: [{ workflow, name, from }] });
  expect(workOf(course(faults, attempts, held('scheduler-1')))).toEqual([7, 7]);
  for (const [name, from, workflow] of [
    ['scheduler-0', 90, 'native'],
    ['scheduler-1', 107, 'native'],
    ['scheduler-1', 90, 'other'],
  ] as const)
    expect(workOf(course(faults, attempts, held(name, from, workflow)))).toEqual([13, 7]);
  const slow = [faults[0]!, { ...faults[1]!, kind: 'delay', isDown: false }];
  expect(workOf(course(slow, attempts, held('scheduler-1')))).toEqual([13, 7]);
  // Late by itself before the second one struck.
  const later = [faults[0]!, fault('scheduler', 'scheduler-1', 111.5, 130)];
  expect(workOf(course(later, [attempt(1, 112, 113, 114)], held('scheduler-1')))).toEqual([13, 1.5]);
});

it('has nothing to count when no work was left', () => {
  expect(workOf(course([fault('api', 'api-0', 100, 101)], [attempt(1, 90, 91, 92)]))).toEqual([null]);
});

it('counts from the end of a fault on what there is only one of, and anew for what overlaps with it', () => {
  const faults = [fault('MariaDB', 'MariaDB', 100, 120), fault('api', 'api-0', 95, 130)];
  expect(workOf(course(faults, [attempt(1, 124, 125, 126)]))).toEqual([5, 5]);
});

it('has an outage while both of a service are hit, and none while one is', () => {
  const faults = [fault('api', 'api-0', 100, 120), fault('api', 'api-1', 110, 140)];
  expect(workOf(course(faults, [attempt(1, 124, 125, 126)]))).toEqual([5, 5]);
  expect(workOf(course([faults[0]!, fault('api', 'api-1', 121, 140)], [attempt(1, 124, 125, 126)]))).toEqual([25, 4]);
});

it('has no outage where things were slow only', () => {
  const slow = fault('MariaDB', 'MariaDB', 100, 120, { kind: 'delay', isDown: false });
  expect(workOf(course([slow], [attempt(1, 124, 125, 126)]))).toEqual([25]);
});

it('counts for an agent until the end of the last attempt that it held, beyond the time that its command takes', () => {
  const attempts = [
    attempt(1, 95, 96, 108),
    attempt(2, 95, 99.5, 104),
    attempt(3, 95, 96, 120, 'agent-1'),
    attempt(4, 101, 102, 130),
  ];
  expect(workOf(course([fault('agent', 'agent-0 wire', 100, 103)], attempts))).toEqual([8]);
  expect(workOf(course([fault('agent', 'agent-0', 100, 103)], [attempt(1, 95, 99.5, 101.5)]))).toEqual([1]);
  const again = fault('agent', 'agent-0', 104, 107);
  expect(workOf(course([fault('agent', 'agent-0 wire', 100, 103), again], attempts))).toEqual([3.5, 26]);
  const reapers = [fault('reaper', 'reaper-0', 101, 106), fault('reaper', 'reaper-1', 101, 107)];
  expect(workOf(course([fault('agent', 'agent-0', 100, 103), ...reapers], attempts))[0]).toBe(2);
});

it('counts for the wire of a client from its end to the next step of its run', () => {
  const cut = fault('python', 'python wire', 100, 110);
  expect(workOf(course([cut], [], { clientSteps: [99, 105, 112] }))).toEqual([2]);
  expect(workOf(course([cut], [], { clientSteps: [105, 150], clientAway: [{ from: 120, to: 140 }] }))).toEqual([10]);
  expect(workOf(course([cut], [], { clientSteps: [105] }))).toEqual([null]);
});

it('finds what recovered too late, forged: work that waits, an attempt that nobody ends, a process that is not ready', () => {
  const thawed = { kind: 'SIGSTOP', ready_at: 115 };
  const inTime = course([fault('api', 'api-0', 100, 105, thawed)], [attempt(1, 105, 110, 111)]);
  expect(late(inTime)).toBe(0);
  expect(judgeRecovery(recoveriesOf({ ...inTime, attempts: [attempt(1, 110, 112, 113)] }), () => BOUND)).toEqual([
    { kind: 'recovered too late', what: 'SIGSTOP of api-0 from 100.00 to 105.00: work went on after 12.0 s, 11 are allowed' },
  ]);
  expect(late(course([fault('api', 'api-0', 100, 101, thawed)], [attempt(1, 105, 110, 111)]))).toBe(1);
  expect(late(course([fault('agent', 'agent-0', 100, 101)], [attempt(1, 95, 96, null)]))).toBe(1);
  expect(late(course([fault('agent', 'agent-0', 100, 101)], [attempt(1, 95, 96, 112)]))).toBe(1);
});
