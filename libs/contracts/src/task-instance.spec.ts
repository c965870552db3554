/**
 * The decision that moves an instance together with its task, exhaustively: every instance status, task status, target,
 * fence and both sides of the attempt limit, against rules written out by hand from spec/state-machines.md sections 3, 4
 * and its races 24, 27, 29, 30, 32 and 46.
 */
import { verdict } from './machine';
import { TaskStatus, taskMachine } from './task';
import {
  decideAttempt,
  LIVE_TASK_INSTANCE_STATUSES,
  TaskInstanceStatus,
  taskInstanceMachine,
  type AttemptDecision,
} from './task-instance';

const INSTANCE = Object.values(TaskInstanceStatus);
const TASK = Object.values(TaskStatus);
type Fence = 'current' | 'older' | 'cleared';
const FENCES: readonly Fence[] = ['current', 'older', 'cleared'];

/** Task states from which a current attempt may take its task along, by what the attempt asks for; `*` is any. */
const TASK_CAN_FOLLOW: Readonly<Record<TaskInstanceStatus, string>> = {
  Q: '*',
  I: 'QI',
  O: 'IO',
  R: 'IOR',
  D: 'IORD',
  E: 'QIORE',
  Z: 'QIORE',
  U: 'QIORE',
  W: 'QIORE',
  F: 'QIORE',
  K: '*',
  T: '*',
  X: '*',
};

/** Where the task ends up, with attempts left and with none left; `-` stays. */
const TASK_GOES: Readonly<Record<TaskInstanceStatus, readonly [string, string]>> = {
  Q: ['-', '-'],
  I: ['I', 'I'],
  O: ['O', 'O'],
  R: ['R', 'R'],
  D: ['D', 'D'],
  E: ['G', 'F'],
  Z: ['A', 'F'],
  U: ['G', 'F'],
  W: ['G', 'F'],
  F: ['F', 'F'],
  K: ['-', '-'],
  T: ['-', '-'],
  X: ['-', '-'],
};

/** What the spec says should become of one request. */
function expected(from: string, task: string, to: TaskInstanceStatus, fence: Fence, isUsedUp: boolean): AttemptDecision {
  const said = verdict(taskInstanceMachine, from as TaskInstanceStatus, to);
  if (said !== 'valid') return { accepted: false, because: said };
  if (fence !== 'current') return { accepted: true, instance_to: 'IOR'.includes(to) ? 'F' : to, task_to: null };
  if ('DF'.includes(task) && 'WEUZF'.includes(to)) return { accepted: true, instance_to: 'F', task_to: null };
  const can = TASK_CAN_FOLLOW[to];
  if (can !== '*' && !can.includes(task)) {
    const closes = ['Q→F', 'I→F', 'K→F', 'X→E'].includes(`${from}→${to}`);
    return closes ? { accepted: true, instance_to: to, task_to: null } : { accepted: false, because: 'task_not_ready' };
  }
  const goes = TASK_GOES[to][isUsedUp ? 1 : 0];
  return { accepted: true, instance_to: to, task_to: goes === '-' || goes === task ? null : (goes as TaskStatus) };
}

function decide(from: TaskInstanceStatus, task: TaskStatus, to: TaskInstanceStatus, fence: Fence, isUsedUp: boolean) {
  return decideAttempt(
    {
      instance: { id: 7, status: from },
      task: {
        status: task,
        num_attempts: isUsedUp ? 3 : 2,
        max_attempts: 3,
        current_task_instance_id: { current: 7, older: 8, cleared: 0 }[fence],
      },
    },
    to,
  );
}

describe('decideAttempt', () => {
  test('every instance status, task status, target, fence and attempt count', () => {
    const wrong: unknown[] = [];
    let cases = 0;
    for (const from of INSTANCE)
      for (const task of TASK)
        for (const to of INSTANCE)
          for (const fence of FENCES)
            for (const isUsedUp of [false, true]) {
              cases += 1;
              const got = decide(from, task, to, fence, isUsedUp);
              const wanted = expected(from, task, to, fence, isUsedUp);
              if (JSON.stringify(got) !== JSON.stringify(wanted)) wrong.push({ from, task, to, fence, isUsedUp, got, wanted });
            }
    expect(wrong).toEqual([]);
    expect(cases).toBe(13 * 9 * 13 * 3 * 2);
  });

  test('never leaves the passing state E behind, and never moves a task that is not its own', () => {
    for (const from of INSTANCE)
      for (const task of TASK)
        for (const to of INSTANCE)
          for (const fence of FENCES) {
            const got = decide(from, task, to, fence, false);
            if (!got.accepted) continue;
            expect(got.task_to).not.toBe('E');
            if (fence !== 'current') expect(got.task_to).toBeNull();
          }
  });

  test('a final instance never moves again', () => {
    for (const from of taskInstanceMachine.final)
      for (const to of INSTANCE)
        for (const task of TASK) for (const fence of FENCES) expect(decide(from, task, to, fence, false).accepted).toBe(false);
  });

  test.each([
    ['race 4: a success beats the order to stop', 'K', 'R', 'D', 'current', { instance_to: 'D', task_to: 'D' }],
    ['race 4: so it does when its start was never heard of', 'K', 'I', 'D', 'current', { instance_to: 'D', task_to: 'D' }],
    ['race 24: an orphan closes although its task is done', 'X', 'D', 'E', 'current', { instance_to: 'F', task_to: null }],
    ['race 27: a heartbeat brings a triaged attempt back', 'T', 'R', 'R', 'current', { instance_to: 'R', task_to: null }],
    ['race 27: finished work counts though triaged', 'T', 'R', 'D', 'current', { instance_to: 'D', task_to: 'D' }],
    ['race 29: an old attempt is recorded only', 'R', 'R', 'E', 'older', { instance_to: 'E', task_to: null }],
    ['race 29: an old attempt may not start', 'O', 'R', 'R', 'older', { instance_to: 'F', task_to: null }],
    ['race 46: a stopped attempt ends after a reset', 'K', 'G', 'F', 'current', { instance_to: 'F', task_to: null }],
    [
      'race 30: an order to stop reaches a triaged attempt, the task waits for its end',
      'T',
      'R',
      'K',
      'current',
      { instance_to: 'K', task_to: null },
    ],
    [
      'race 30: an order to stop reaches a silent launch, the task waits for its end',
      'X',
      'O',
      'K',
      'current',
      { instance_to: 'K', task_to: null },
    ],
    [
      'race 32: an attempt stopped before it was taken takes its task along',
      'Q',
      'Q',
      'F',
      'current',
      { instance_to: 'F', task_to: 'F' },
    ],
    [
      'race 32: an attempt stopped before it was launched takes its task along',
      'I',
      'I',
      'F',
      'current',
      { instance_to: 'F', task_to: 'F' },
    ],
    [
      'race 46: a waiting attempt ends although its task was reset',
      'Q',
      'G',
      'F',
      'current',
      { instance_to: 'F', task_to: null },
    ],
    ['a reset task is not moved by what it left running', 'R', 'G', 'D', 'cleared', { instance_to: 'D', task_to: null }],
  ] as const)('%s', (_, from, task, to, fence, wanted) => {
    expect(decide(from, task, to, fence, false)).toEqual({ accepted: true, ...wanted });
  });
});

test('a status is live or final, never both, and all are one of them', () => {
  for (const status of INSTANCE) {
    const isLive = (LIVE_TASK_INSTANCE_STATUSES as readonly string[]).includes(status);
    expect([status, isLive]).toEqual([status, !taskInstanceMachine.final.has(status)]);
  }
});

test('every live status of an instance has a way to a final one', () => {
  for (const status of LIVE_TASK_INSTANCE_STATUSES) {
    const seen = new Set<string>([status]);
    for (const at of seen)
      for (const pair of Object.keys(taskInstanceMachine.valid))
        if (pair.startsWith(`${at}→`)) seen.add(pair.slice(at.length + 1));
    expect([...seen].some((at) => taskInstanceMachine.final.has(at as TaskInstanceStatus))).toBe(true);
  }
});

test('a task passes E only on its way to a state that waits, runs or ends', () => {
  const leaving = Object.keys(taskMachine.valid).filter((pair) => pair.startsWith('E→'));
  expect(leaving.sort()).toEqual(['E→A', 'E→F', 'E→G', 'E→Q']);
});
