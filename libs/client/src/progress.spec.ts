import { PassThrough } from 'node:stream';
import { printProgress, progressText } from './progress';
import { taskCounts, type Progress } from './workflow-run';

const progress = (counts: Partial<Progress['counts']>, status = 'RUNNING'): Progress => ({
  workflowId: 7,
  workflowRunId: 9,
  name: 'w',
  status,
  counts: { total: 10, pending: 0, scheduled: 0, running: 0, done: 0, fatal: 0, ...counts },
  isFinal: false,
});

test('the nine states of tasks count as five words that add up', () => {
  const counts = taskCounts({ G: 1, Q: 2, I: 3, O: 4, A: 5, E: 6, R: 7, D: 8, F: 9 });
  expect(counts).toEqual({ total: 45, pending: 7, scheduled: 14, running: 7, done: 8, fatal: 9 });
});

test.each([
  [
    progress({ done: 5, running: 2, fatal: 1 }),
    80,
    'workflow 7 RUNNING [===========>           ]  50% 5/10 done, 2 running, 1 failed',
  ],
  [progress({ done: 10 }, 'DONE'), 50, 'workflow 7 DONE [================] 100% 10/10 done'],
  [progress({ total: 0 }), 40, 'workflow 7 RUNNING [>    ]   0% 0/0 done'],
  [progress({ scheduled: 3 }), 20, 'workflow 7 RUNNING  '],
])('%# one line that fits', (value, columns, text) => {
  const line = progressText(value, columns);
  expect(line.length).toBeLessThanOrEqual(columns);
  expect(line).toBe(text);
});

test('a share is rounded down, so that 100% means all', () => {
  expect(progressText(progress({ total: 1_000, done: 999 }), 80)).toContain(' 99% ');
});

function written(isTTY: boolean, shows: Progress[]): string {
  const stream = Object.assign(new PassThrough(), { isTTY, columns: 60 }) as unknown as NodeJS.WriteStream;
  const printed = printProgress(stream);
  shows.forEach(printed.show);
  printed.end();
  return String((stream as unknown as PassThrough).read());
}

test('a terminal is given one line that is rewritten whole, a file a line for each change', () => {
  const shows = [progress({ running: 1 }), progress({ running: 1 }), progress({ done: 10 }, 'DONE')];
  const onTerminal = written(true, shows);
  expect(onTerminal.split('\r')).toHaveLength(3);
  expect(onTerminal.match(/\n/g)).toHaveLength(1);
  const [first, second] = onTerminal.trimEnd().split('\r').slice(1);
  expect(second!.length).toBeGreaterThanOrEqual(first!.trimEnd().length - 1);
  expect(written(false, shows).trimEnd().split('\n')).toHaveLength(2);
});
