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
