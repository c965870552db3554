/**
 * What does not compile is shown here too: `npm run types` checks this file, and a `@ts-expect-error` above a line that
 * compiles is an error itself.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { VERSION } from '@jobmon/contracts';
import { Tool } from './tool';

const tool = new Tool('spec');

test('the placeholders of the command are the arguments of its tasks', () => {
  const template = tool.getTaskTemplate('fit', '  run {model} --year {year} {{literal}} {flags}  ', {
    taskArgs: ['year'],
    opArgs: ['flags'],
  });
  expect(template.nodeArgs).toEqual(['model']);
  const task = template.createTask({ model: 'a', year: 1990, flags: true });
  expect(task.command).toBe('run a --year 1990 {literal} true');
  expect(task.name).toBe('fit_model-a_year-1990');
  expect(task.values).toEqual(['a', '1990', 'true']);
});

test('a missing or misspelt argument does not compile, and is refused where nothing was compiled', () => {
  const template = tool.getTaskTemplate('fit', 'run {model} {year}');
  // @ts-expect-error -- year is missing
  expect(() => template.createTask({ model: 'a' })).toThrow("task template 'fit': the placeholder {year} has no value");
  // @ts-expect-error -- yeer is misspelt
  expect(() => template.createTask({ model: 'a', year: 1, yeer: 2 })).toThrow('the command has no placeholder {yeer}');
  // @ts-expect-error -- a value must be text, a number or a boolean
  expect(() => template.createTask({ model: undefined, year: 1 })).toThrow('{model} has no value');
  // @ts-expect-error -- no arguments at all
  expect(() => template.createTask()).toThrow('{model} has no value');
  // @ts-expect-error -- an object has no text of its own
  expect(() => template.createTask({ model: {}, year: 1 })).toThrow('the value of {model} is neither text nor number');
  // @ts-expect-error -- what every object inherits is no value
  expect(() => tool.getTaskTemplate('x', '{toString}').createTask({})).toThrow('{toString} has no value');
});

test('a misspelt argument list does not compile, and is refused where nothing was compiled', () => {
  // @ts-expect-error -- modle is misspelt
  expect(() => tool.getTaskTemplate('fit', 'run {model}', { nodeArgs: ['modle'] })).toThrow("'modle' is no placeholder");
  expect(() => tool.getTaskTemplate('fit', 'run {a} {b}', { nodeArgs: ['a'] })).toThrow('{b} must be a node, a task or an op');
  expect(() => tool.getTaskTemplate('fit', 'run {a}', { nodeArgs: ['a'], taskArgs: ['a'] })).toThrow('exactly one of them');
  expect(() => tool.getTaskTemplate('fit', '   ')).toThrow('the command is empty');
});

test('a template without placeholders needs no arguments and takes none', () => {
  const template = tool.getTaskTemplate('list', 'ls {{}}');
  expect(template.createTask().command).toBe('ls {}');
  expect(template.createTask({}, { name: 'x' }).name).toBe('x');
  // @ts-expect-error -- there is nothing to give a value to
  expect(() => template.createTask({ a: 1 })).toThrow('no placeholder {a}');
});

test('a command that is no literal takes any argument and is checked when it runs', () => {
  const command: string = ['run', '{a}'].join(' ');
  const template = tool.getTaskTemplate('dynamic', command);
  expect(template.createTask({ a: 1 }).command).toBe('run 1');
  expect(() => template.createTask({ b: 1 })).toThrow('{a} has no value');
});

test.each([
  ['1st', { a: 'x/y z\\\'"\n' }, '_1st_a-x_y_z____'],
  ['long', { a: 'b'.repeat(600) }, `long_a-${'b'.repeat(242)}`],
  ['pair', { a: `${'b'.repeat(241)}😀` }, `pair_a-${'b'.repeat(241)}`],
])('names that are made keep the rules: %s', (name, args, expected) => {
  expect(tool.getTaskTemplate(name, '{a}').createTask(args).name).toBe(expected);
});

test.each(['', '1a', 'a b', 'a/b', 'a\\b', "a'b", 'a"b', 'a'.repeat(251)])('the name %j is refused', (name) => {
  expect(() => tool.getTaskTemplate('t', '{a}').createTask({ a: 1 }, { name })).toThrow('the task name');
});

test.each([0, -1, 1.5, NaN, 1_000_001])('%d attempts are refused everywhere', (attempts) => {
  const refused = 'maxAttempts must be a whole number';
  expect(() => new Tool('t', { defaultMaxAttempts: attempts })).toThrow(refused);
  expect(() => tool.getTaskTemplate('t', 'x', { maxAttempts: attempts })).toThrow(refused);
  expect(() => tool.createWorkflow({ defaultMaxAttempts: attempts })).toThrow(refused);
  expect(() => tool.getTaskTemplate('t', 'x').createTask({}, { maxAttempts: attempts })).toThrow(refused);
});

describe('a matrix', () => {
  const template = tool.getTaskTemplate('fit', '{model} {year} {version} {flags}', { taskArgs: ['version'], opArgs: ['flags'] });
  const models = new Set(['a', 'b']);
  function* years() {
    yield 1990;
    yield 1991;
  }

  test('is the cross product of the node arguments, the last one turning fastest', () => {
    const tasks = template.createTasks({ model: models, year: years(), version: 7, flags: '-v' });
    expect(tasks.map(({ command }) => command)).toEqual(['a 1990 7 -v', 'a 1991 7 -v', 'b 1990 7 -v', 'b 1991 7 -v']);
    expect(tasks[3]!.nodeArgs).toEqual({ model: 'b', year: '1991' });
    const text = template.createTasks({ model: 'abc', year: [1, 2], version: 7, flags: '' });
    expect(text.map(({ command }) => command)).toEqual(['abc 1 7 ', 'abc 2 7 ']);
  });

  test('gives each task what is common, and adds what is its own', () => {
    const first = template.createTask({ model: 'x', year: 1, version: 1, flags: 1 });
    const tasks = template.createTasks(
      { model: ['a', 'b'], year: 1, version: 1, flags: 1 },
      {
        upstreams: [first],
        attributes: { kind: 'fit' },
        fallbackQueues: ['long.q'],
        each: ({ model }) => ({ name: `fit_${model}`, attributes: { model: String(model) } }),
      },
    );
    expect(tasks.map(({ name, attributes, upstreams }) => [name, attributes, [...upstreams]])).toEqual([
      ['fit_a', { kind: 'fit', model: 'a' }, [first]],
      ['fit_b', { kind: 'fit', model: 'b' }, [first]],
    ]);
  });

  test('does not compile with several values of what is no node argument, and is refused', () => {
    // @ts-expect-error -- version is a task argument
    expect(() => template.createTasks({ model: 'a', year: 1, version: [1, 2], flags: 1 })).toThrow(
      '{version} is no node argument',
    );
    // @ts-expect-error -- flags is missing
    expect(() => template.createTasks({ model: 'a', year: [1], version: 1 })).toThrow('{flags} has no value');
    // @ts-expect-error -- a list of lists
    expect(() => template.createTasks({ model: [['a']], year: 1, version: 1, flags: 1 })).toThrow('{model} is neither text');
    expect(() => template.createTasks({ model: [], year: 1, version: 1, flags: 1 })).toThrow('{model} has no values');
    const many = Array.from({ length: 4_000 }, (_, i) => i);
    expect(() => template.createTasks({ model: many, year: many, version: 1, flags: 1 })).toThrow('16000000 combinations');
  });
});

test('a value that is no number, and a name that no column holds, are refused', () => {
  expect(() => tool.getTaskTemplate('t', '{a}').createTask({ a: NaN })).toThrow('the value of {a} is NaN');
  expect(() => tool.getTaskTemplate('', '{a}')).toThrow('the name of a task template must not be empty');
  expect(() => new Tool('x'.repeat(256))).toThrow('the name of a tool has 256 characters');
  expect(() => tool.getTaskTemplate('t', '{a}').createTask({ a: 1 }, { attributes: { a: 'x'.repeat(256) } })).toThrow(
    '255 is the limit',
  );
});

test('upstreams are a set, given from either end', () => {
  const template = tool.getTaskTemplate('t', '{a}');
  const [first, second, third] = [1, 2, 3].map((a) => template.createTask({ a }));
  third!.addUpstreams([first!, second!, first!]);
  first!.addDownstream(third!);
  expect([...third!.upstreams]).toEqual([first, second]);
  expect(first!.upstreams.size).toBe(0);
});

test('the version that is told is that of the package', () => {
  const file = path.join(__dirname, '..', '..', '..', 'package.json');
  expect((JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version).toBe(VERSION);
});
