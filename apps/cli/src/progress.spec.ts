import type { TaskTemplateProgress, WorkflowError, WorkflowView } from '@jobmon/contracts';
import { barOf, errorLine, frameOf, gistOf, lineOf, Meter, type Canvas, type Look } from './progress';
import { columnsOf } from './text';

const workflow: WorkflowView = {
  workflow_id: 7,
  name: 'nightly forecast',
  tool: 'forecast',
  status: 'R',
  created_date: '2026-11-22 10:00:00',
  status_date: '2026-11-22 10:00:01',
  max_concurrently_running: 100,
  priority: 0,
  tasks: { G: 4_000, Q: 100, R: 210, D: 5_678, F: 12 },
  workflow_run_id: 9,
  workflow_run_status: 'R',
  is_paused: false,
  user: 'ada',
};
const template = (
  task_template: string,
  tasks: Record<string, number>,
  retries = 0,
  limit: number | null = null,
): TaskTemplateProgress => ({
  task_template,
  tasks,
  retries,
  max_concurrently_running: limit,
});
const error = (error_id: number, changes: Partial<WorkflowError> = {}): WorkflowError => ({
  error_id,
  error_time: '2026-11-22 10:22:31',
  task_id: error_id,
  task_name: `fit_${error_id}`,
  task_template: 'fit',
  task_instance_id: error_id,
  nodename: 'host',
  exit_code: 1,
  description: 'the command ended with exit status 1',
  stderr_tail: 'Traceback\nValueError: no such place\n',
  ...changes,
});
const look = (changes: Partial<Look> = {}): Look => ({
  workflow,
  progress: {
    retries: 35,
    task_templates: [
      template('prepare', { D: 100 }),
      template('fit', { G: 3_900, Q: 100, R: 210, D: 5_578, F: 12 }, 35, 250),
      template('report', { G: 100 }),
    ],
    task_templates_total: 3,
    errors: [error(2), error(1)],
  },
  is_final: false,
  rate: 1_240,
  elapsed: 60,
  ...changes,
});
const canvas = (changes: Partial<Canvas> = {}): Canvas => ({ columns: 79, rows: 23, colours: false, unicode: false, ...changes });
/** What a terminal does with a line: colours take no room. */
const plain = (line: string): string => line.replace(/\x1b\[\d+m/g, '');

test('a view at 80 columns without colours says it all in ASCII', () => {
  expect(frameOf(look(), canvas())).toEqual([
    'workflow 7  nightly forecast                                            RUNNING',
    '[###########################x>...................]   56%  5,678 of 10,000 done',
    '210 running, 100 queued, 4,000 waiting, 12 failed, 35 retried',
    '1,240 tasks/min, about 3 min 29 s left',
    '',
    '  prepare  [#############]      100/100',
    '  fit      [#######x>....]  5,578/9,800  210 running, 12 failed, 35 retried',
    '  report   [.............]        0/100',
    '',
    'newest errors',
    '  10:22:31  task 2 fit_2: ValueError: no such place (exit status 1)',
    '  10:22:31  task 1 fit_1: ValueError: no such place (exit status 1)',
  ]);
});

test('a shell that names the file it reads is not quoted with that', () => {
  const told = 'the command ended with exit status 127: a command was not found (nope: not found)';
  expect(gistOf(told, '/home/ada/agent/attempts/7/start.sh: 2: nope: not found\n')).toBe('nope: not found (exit status 127)');
});

test('of an error that is too long for its line the reason stays, the name and paths lose their middles', () => {
  const path = '/ihme/homes/ada/malaria/2026-11/estimates/kenya.csv';
  const stderr_tail = `cat: ${path}: No such file`;
  const lineIn = (columns: number): string =>
    errorLine(error(1, { task_name: 'fit_location-6_year-1990_draws-1000', stderr_tail }), columns);
  expect(lineIn(200)).toBe(`10:22:31  task 1 fit_location-6_year-1990_draws-1000: cat: ${path}: No such file (exit status 1)`);
  expect(lineIn(96)).toBe('10:22:31  task 1 fit_lo…90_draws-1000: cat: /ihme/…es/kenya.csv: No such file (exit status 1)');
  expect(lineIn(79)).toBe('10:22:31  task 1 fit_lo…90_draws-1000: cat: /ihme/…es/kenya.csv: No such file …');
});

test.each([20, 33, 40, 60, 79, 120, 300])(
  'no line is wider than %d columns, however long names are, with colours or without',
  (columns) => {
    const long = 'räumliche_Auflösung_数据处理_😀_'.repeat(20);
    const shown = look({
      workflow: { ...workflow, name: long },
      progress: {
        retries: 1_000_000,
        task_templates: [template(long, { R: 1_000_000, F: 5_000_000 }, 9), template('b', { D: 1 })],
        task_templates_total: 2,
        errors: [error(1, { task_name: long, stderr_tail: long })],
      },
    });
    for (const changes of [{}, { colours: true, unicode: true }]) {
      const lines = frameOf(shown, canvas({ columns, ...changes }));
      for (const line of lines) expect(columnsOf(plain(line))).toBeLessThanOrEqual(columns);
      expect(lines.length).toBeGreaterThan(5);
    }
    expect(columnsOf(lineOf(shown, columns))).toBeLessThanOrEqual(columns);
  },
);

test.each([4, 6, 8, 12, 23, 60])('it takes at most %d rows, and tells what is left out', (rows) => {
  const task_templates = Array.from({ length: 50 }, (_, nth) => template(`template_${nth}`, nth === 40 ? { R: 3 } : { D: 7 }));
  const errors = [5, 4, 3, 2, 1].map((id) => error(id));
  const lines = frameOf(look({ progress: { retries: 0, task_templates, task_templates_total: 200, errors } }), canvas({ rows }));
  expect(lines.length).toBeLessThanOrEqual(rows);
  expect(lines[0]).toContain('workflow 7');
  if (rows < 12) return;
  // What runs is shown before what is done.
  expect(lines.join('\n')).toContain('template_40');
  expect(lines.join('\n')).toMatch(/and \d+ more task templates/);
  expect(lines.filter((line) => line.includes('ValueError')).length).toBeGreaterThan(1);
});

test('names and errors cannot steer the terminal', () => {
  const evil = '\x1b[2J\x1b]0;title\x07\r\nsecond line\u202e';
  const shown = look({
    workflow: { ...workflow, name: evil },
    progress: {
      retries: 0,
      task_templates: [template(evil, { R: 1 })],
      task_templates_total: 1,
      errors: [error(1, { task_name: evil, description: evil, stderr_tail: evil })],
    },
  });
  const text = [...frameOf(shown, canvas()), lineOf(shown), errorLine(error(1, { stderr_tail: evil }))].join('\n');
  expect(text).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
  expect(text).toContain('\\u001b[2J');
});

test('a bar is full only when all is done, and shows the least that failed or runs', () => {
  const bar = (counts: Partial<Parameters<typeof barOf>[0]>) =>
    barOf({ total: 1_000_000, pending: 0, scheduled: 0, running: 0, done: 0, fatal: 0, ...counts }, 12, canvas());
  expect(bar({ done: 999_999, fatal: 1 })).toBe('[#########x]');
  expect(bar({ done: 999_998, fatal: 1, running: 1 })).toBe('[#########x]');
  expect(bar({ done: 500_000, running: 1 })).toBe('[#####>....]');
  expect(bar({ done: 1_000_000 })).toBe('[##########]');
  expect(bar({ total: 0 })).toBe('[..........]');
});

test('one line for a log', () => {
  expect(lineOf(look())).toBe(
    'workflow 7 RUNNING  56% 5678/10000 done, 210 running, 100 queued, 12 failed, 35 retried, 1,240 tasks/min, about 3 min 29 s left',
  );
  const ended = look({ workflow: { ...workflow, status: 'D', tasks: { D: 3 } }, is_final: true, elapsed: 75, rate: 2 });
  expect(lineOf(ended)).toBe('workflow 7 DONE 100% 3/3 done, 35 retried, after 1 min 15 s');
  expect(lineOf(look({ workflow: { ...workflow, is_paused: true } }))).toContain('workflow 7 PAUSED');
});

test.each([
  ['the command ended with exit status 3', 'a\nlast\n', 'last (exit status 3)'],
  ['the command ended with signal SIGKILL', 'last', 'last (signal SIGKILL)'],
  ['the command ended with exit status 3', '', 'the command ended with exit status 3'],
  ['the agent went silent', 'warning: slow', 'the agent went silent'],
  ['Traceback\nKeyError: 1', null, 'KeyError: 1'],
])('the gist of %j with %j', (description, stderr, gist) => expect(gistOf(description, stderr)).toBe(gist));

test('the rate is that of the last minute, and begins anew when tasks are reset', () => {
  const meter = new Meter();
  meter.add(0, 0);
  expect(meter.rate).toBeNull();
  meter.add(10, 500);
  expect(meter.rate).toBeNull();
  for (let second = 1; second <= 120; second++) meter.add(second <= 60 ? 10 : 10 + (second - 60) * 2, second * 1_000);
  expect(Math.round(meter.rate! / 5) * 5).toBe(120);
  meter.add(3, 121_000);
  expect(meter.rate).toBeNull();
  meter.add(3, 125_000);
  expect(meter.rate).toBe(0);
});
