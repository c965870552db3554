/** What is wrong with workflow files is told with its place, and nothing of it is found later: a table of files and messages. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { WorkflowFileError, type Problem } from './problem';
import { readWorkflowFile, type WorkflowFileOptions } from './workflow-file';

let folder: string;
beforeAll(() => (folder = mkdtempSync(path.join(tmpdir(), 'jobmon-file-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Files = Record<string, string | Buffer>;

/** Writes the files (text alone is `flow.yaml`) and answers the name of the first. */
function written(given: string | Buffer | Files): string {
  const files: Files = typeof given === 'string' || Buffer.isBuffer(given) ? { 'flow.yaml': given } : given;
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    writeFileSync(path.join(folder, name), content);
  }
  return path.join(folder, Object.keys(files)[0]!);
}

/** `file:line:column: message` of each problem. */
function problemsOf(given: string | Buffer | Files, options: WorkflowFileOptions = {}): string[] {
  const file = written(given);
  try {
    readWorkflowFile(file, options).plan();
  } catch (error) {
    if (!(error instanceof WorkflowFileError)) throw error;
    return error.problems.map(told);
  }
  return [];
}

const told = ({ file, line, column, message }: Problem): string =>
  `${path.relative(folder, file)}:${line}:${column}: ${message.replaceAll(`${folder}/`, '')}`;

/** A file that is right but for what a case adds. */
const HEAD = 'tool: spec\ncluster: dummy\n';
const TASK = 'tasks: {a: {command: echo}}\n';

const MEMORY = 'memory above 0 and up to 1 PiB: a number of GiB, or text such as 512M, 1.5G or 2TiB (units B, K, M, G, T)';
const RUNTIME = 'a run time above 0 and up to 10 years: a number of seconds, or text such as 90s, 10m, 1.5h or 10:00:00';
const bomb = (levels: number): string =>
  Array.from(
    { length: levels },
    (_, i) =>
      `x-${i}: &a${i} [${Array(9)
        .fill(i === 0 ? 1 : `*a${i - 1}`)
        .join(',')}]\n`,
  ).join('');

describe('a file that is no file', () => {
  test.each<[string, string | Buffer, string[]]>([
    ['empty', '', ['flow.yaml:1:1: expected a workflow: a map with tool, templates, tasks, …, found nothing']],
    ['a list', '- a\n', ['flow.yaml:1:1: expected a workflow: a map with tool, templates, tasks, …, found a list']],
    [
      'not UTF-8',
      Buffer.from('tool: x\nname: caf\xe9\n', 'latin1'),
      ['flow.yaml:2:10: the file is not UTF-8 from here on; save it as UTF-8 text'],
    ],
    [
      'UTF-16',
      Buffer.from('\ufefftool: x\n', 'utf16le'),
      ['flow.yaml:1:1: the file is UTF-16 from here on; save it as UTF-8 text'],
    ],
    ['binary', 'tool: x\0\n', ['flow.yaml:1:8: the file is binary from here on; save it as UTF-8 text']],
    [
      'huge',
      Buffer.alloc(8 * 1024 * 1024 + 1, '#'),
      ["flow.yaml:1:1: the file 'flow.yaml' is larger than 8 MiB; describe so large a workflow by a program that uses the SDK"],
    ],
    ['indented by tabs', 'tool: x\ntasks:\n\ta: {command: b}\n', ['flow.yaml:3:1: a tab cannot indent; use blanks']],
    [
      'badly indented',
      'tool: x\ntasks:\n    a: {command: b}\n  b: {command: b}\n',
      ['flow.yaml:4:1: the indentation fits none of the lines above'],
    ],
    [
      'two documents',
      `${HEAD}${TASK}---\ntool: y\n`,
      ["flow.yaml:4:1: expected one document, and another begins here; take away the line '---'"],
    ],
    [
      'colon in plain text',
      `${HEAD}tasks:\n  a:\n    command: echo b: c\n`,
      ["flow.yaml:5:14: a second ': ' stands in this line; put text that holds ': ' in quotes, or under '|' on lines of its own"],
    ],
    [
      'text behind quotes',
      `${HEAD}tasks:\n  a:\n    command: "a" b\n`,
      ['flow.yaml:5:18: this does not belong here; put text that begins with a brace, bracket or quote in quotes as a whole'],
    ],
    [
      'tags',
      `${HEAD}name: !!python/name x\n${TASK}`,
      ["flow.yaml:3:7: tags ('!…') have no meaning here; put text that begins with '!' in quotes"],
    ],
    [
      'a key twice',
      `${HEAD}tasks:\n  a: {command: b}\n  a: {command: c}\ntool: z\n`,
      [
        "flow.yaml:5:3: the key 'a' stands here a second time; the first is in line 4",
        "flow.yaml:6:1: the key 'tool' stands here a second time; the first is in line 1",
      ],
    ],
    [
      'a list as key',
      `${HEAD}[a]: b\n`,
      ['flow.yaml:3:1: expected a name as key, found a list, a map or nothing; names with braces need quotes'],
    ],
    [
      'an alias bomb',
      `${bomb(9)}${HEAD}${TASK}`,
      ['flow.yaml:5:11: aliases make this file more than 10000 values larger; write fewer of them'],
    ],
    [
      'an alias in itself',
      'tool: x\ntasks: &t\n  a: *t\n',
      ["flow.yaml:3:6: the alias '*t' stands inside of what it stands for"],
    ],
    [
      'an alias of nothing',
      'x-a: &some 1\ntool: *same\n',
      ["flow.yaml:2:7: no anchor '&same' stands before this alias; did you mean 'some'?"],
    ],
    [
      'a star without quotes',
      `${HEAD}tasks: {a: {command: *.sh }}\n`,
      ["flow.yaml:3:22: no anchor '&.sh' stands before this alias; text that begins with * must be in quotes"],
    ],
    ['a merge of no map', `${HEAD}<<: 3\n${TASK}`, ["flow.yaml:3:5: expected a map, or a list of maps, behind '<<', found 3"]],
    [
      'forty-one deep',
      `tool: ${'{a: '.repeat(45)}1${'}'.repeat(45)}\n`,
      ['flow.yaml:1:167: lists and maps stand in each other more than 40 deep'],
    ],
    ['__proto__', `${HEAD}__proto__: {a: 1}\n${TASK}`, ["flow.yaml:3:1: '__proto__' cannot be a key"]],
  ])('%s', (_, text, expected) => expect(problemsOf(text)).toEqual(expected));

  test('thousands of brackets are refused, not run out of stack', () => {
    expect(problemsOf(`a: ${'['.repeat(5_000)}${']'.repeat(5_000)}`)).toEqual([
      expect.stringMatching(/^flow.yaml:1:\d+: lists and maps stand in each other too deeply to be read$/),
    ]);
  });

  test('one that is not there, and a folder', () => {
    expect(() => readWorkflowFile('/no/such.yaml')).toThrow(
      "/no/such.yaml:1:1: the file '/no/such.yaml' cannot be read: there is no such file",
    );
    expect(() => readWorkflowFile(folder)).toThrow('cannot be read: it is a folder');
  });
});

describe('keys and values', () => {
  test.each<[string, string, string[]]>([
    [
      'nothing',
      '{}',
      [
        "flow.yaml:1:1: the key 'tool' is missing: expected text of 1 to 255 characters",
        "flow.yaml:1:1: the key 'tasks' is missing: expected a map of names and tasks",
      ],
    ],
    ['no tasks', `${HEAD}tasks: {}\n`, ['flow.yaml:3:8: the workflow has no tasks']],
    [
      'slips',
      `tol: x\ntool: x\ncluster: c\nmax_atempts: 3\nmax_attempts: 3\ncompute_resources: {}\n${TASK}`,
      [
        "flow.yaml:1:1: unknown key 'tol' here; did you mean 'tool'?",
        "flow.yaml:4:1: unknown key 'max_atempts' here; known are $schema, tool, name, args, description, attributes, cluster, limit, priority, include, defaults, templates, tasks",
        "flow.yaml:5:1: unknown key 'max_attempts' here; it belongs under 'defaults'",
        "flow.yaml:6:1: unknown key 'compute_resources' here; it belongs under 'defaults'",
      ],
    ],
    [
      'other cases and punctuation',
      `${HEAD}defaults: {maxAttempts: 3}\n${TASK}`,
      ["flow.yaml:3:12: unknown key 'maxAttempts' in 'defaults'; did you mean 'max_attempts'?"],
    ],
    [
      'names of other systems',
      `${HEAD}tasks: {a: {command: b}, b: {command: c, depends_on: a, retries: 3}}\n`,
      [
        "flow.yaml:3:42: unknown key 'depends_on' in 'tasks.b'; did you mean 'needs'?",
        "flow.yaml:3:57: unknown key 'retries' in 'tasks.b'; did you mean 'max_attempts'?",
      ],
    ],
    [
      'wrong types',
      `tool: 5\nname: [a]\nargs:\nattributes: {a: {}}\ncluster: true\nlimit: 0\npriority: 2000\ntemplates: [a]\ntasks: b\n`,
      [
        'flow.yaml:1:7: expected text of 1 to 255 characters, found 5; put it in quotes',
        'flow.yaml:2:7: expected text of 1 to 255 characters, found a list',
        'flow.yaml:3:1: expected text, a number, true or false; text has at most 2048 characters, found nothing',
        'flow.yaml:4:17: expected text of at most 255 characters, a number, true or false, found an empty map',
        'flow.yaml:5:10: expected text of 1 to 255 characters, found true; put it in quotes',
        'flow.yaml:6:8: expected a whole number from 1 to 2147483647, found 0',
        'flow.yaml:7:11: expected a whole number from -1000 to 1000, found 2000',
        'flow.yaml:8:12: expected a map of names and templates, found a list',
        'flow.yaml:9:8: expected a map of names and tasks, found "b"',
      ],
    ],
    [
      'a command that is a map for YAML',
      `${HEAD}tasks: {a: {command: {b}}}\n`,
      ['flow.yaml:3:22: expected a command: text, in quotes when it begins with a brace, found a map'],
    ],
    [
      'names',
      `${HEAD}tasks: {7up: {command: b}, "a b": {command: b}}\n`,
      [
        'flow.yaml:3:9: expected a name of letters, digits, _, - and ., beginning with a letter, found "7up"',
        'flow.yaml:3:28: expected a name of letters, digits, _, - and ., beginning with a letter, found "a b"',
      ],
    ],
    [
      'a task that is text, one that is nothing',
      `${HEAD}tasks:\n  a: echo\n  b:\n`,
      [
        `flow.yaml:4:6: expected a map: 'template' or 'command', args, matrix, needs, …, found "echo"`,
        "flow.yaml:5:3: expected a map: 'template' or 'command', args, matrix, needs, …, found nothing",
      ],
    ],
    [
      'attempts',
      `${HEAD}defaults: {max_attempts: three}\ntasks: {a: {command: b, max_attempts: 0}, b: {command: b, max_attempts: 1.5}}\n`,
      [
        'flow.yaml:3:26: expected a whole number from 1 to 1000000, found "three"',
        'flow.yaml:4:39: expected a whole number from 1 to 1000000, found 0',
        'flow.yaml:4:73: expected a whole number from 1 to 1000000, found 1.5',
      ],
    ],
    [
      'no cluster anywhere, told once',
      'tool: x\ntasks: {a: {command: b}, b: {command: b}}\n',
      ["flow.yaml:2:9: task 'a' has no cluster; write 'cluster: multiprocess' at the top of the file, or give --cluster"],
    ],
    [
      'several at once, in the order of the lines',
      `${HEAD}nmae: x\ntasks:\n  a: {command: "{b}", needs: c}\n  b: {comand: x}\n  long: {command: x, cluster: c, max_attempts: 0, needs: [b, lng], matrix: {x: []}}\n`,
      [
        "flow.yaml:3:1: unknown key 'nmae' here; did you mean 'name'?",
        "flow.yaml:5:3: the placeholder {b} of the command has no value; give it one under 'args', or several under 'matrix'",
        "flow.yaml:6:7: unknown key 'comand' in 'tasks.b'; did you mean 'command'?",
        'flow.yaml:7:48: expected a whole number from 1 to 1000000, found 0',
        "flow.yaml:7:80: the argument 'x' has no values, so there would be no task; list some",
      ],
    ],
    [
      'a wrong value beside a wrong need',
      `${HEAD}tasks:\n  prepare: {command: a}\n  fit: {command: b, resources: {memory: 2 parsecs}, needs: prepar}\n`,
      [
        `flow.yaml:5:41: expected ${MEMORY}, found "2 parsecs"`,
        "flow.yaml:5:60: there is no task 'prepar'; did you mean 'prepare'?",
      ],
    ],
  ])('%s', (_, text, expected) => expect(problemsOf(text)).toEqual(expected));

  test('a refusal shows twenty problems and counts the rest', () => {
    const file = written(`${HEAD}tasks:\n${Array.from({ length: 30 }, (_, i) => `  t${i}: {comand: x}\n`).join('')}`);
    let error: WorkflowFileError | undefined;
    try {
      readWorkflowFile(file);
    } catch (thrown) {
      error = thrown as WorkflowFileError;
    }
    expect(error).toMatchObject({ code: 'MALFORMED' });
    expect(error!.problems).toHaveLength(30);
    const lines = error!.message.split('\n');
    expect(lines).toHaveLength(21);
    expect(lines[20]).toBe('and 10 other problems');
  });
});

describe('resources', () => {
  /** The value under `resources` of a task, which begins at line 3, column 36. */
  test.each<[string, string, string | undefined]>([
    ['cores', '1', undefined],
    ['cores', '0', 'a whole number from 1 to 100000, found 0'],
    ['cores', '-1', 'a whole number from 1 to 100000, found -1'],
    ['cores', '1.5', 'a whole number from 1 to 100000, found 1.5'],
    ['cores', '100001', 'a whole number from 1 to 100000, found 100001'],
    ['cores', 'two', 'a whole number from 1 to 100000, found "two"'],
    ['cores', '.inf', 'a whole number from 1 to 100000, found Infinity'],
    ['memory', '256M', undefined],
    ['memory', '0.5', undefined],
    ['memory', '50844672B', undefined],
    ['memory', '0', `${MEMORY}, found 0`],
    ['memory', '-1G', `${MEMORY}, found "-1G"`],
    ['memory', '2 parsecs', `${MEMORY}, found "2 parsecs"`],
    ['memory', '3X', `${MEMORY}, found "3X"`],
    ['memory', '1e300', `${MEMORY}, found 1e+300`],
    ['memory', '2000T', `${MEMORY}, found "2000T"`],
    ['memory', '[1]', `${MEMORY}, found a list`],
    ['memory', '.nan', `${MEMORY}, found NaN`],
    ['runtime', '1.5h', undefined],
    ['runtime', '10:00:00', undefined],
    ['runtime', '-5', `${RUNTIME}, found -5`],
    ['runtime', '10:61:00', `${RUNTIME}, found "10:61:00"`],
    ['runtime', '1y', `${RUNTIME}, found "1y"`],
    ['runtime', '99999999h', `${RUNTIME}, found "99999999h"`],
    ['runtime', 'true', `${RUNTIME}, found true`],
    ['queue', '5', 'text of 1 to 255 characters, found 5; put it in quotes'],
  ])('%s: %s', (name, value, expected) => {
    const text = `${HEAD}tasks: {a: {command: b, resources: {${name}: ${value}}}}\n`;
    expect(problemsOf(text)).toEqual(expected === undefined ? [] : [`flow.yaml:3:${39 + name.length}: expected ${expected}`]);
  });

  test('misspelt ones, those of a cluster, scales and fallback queues', () => {
    const text =
      `${HEAD}defaults:\n  resources: {memry: 1G, slurm: {memry: 1G, cores: 0}}\n` +
      `  scales: {memory: -1, runtime: [1h, 2x], cores: [], runtme: 1}\n  fallback_queues: long.q\n${TASK}`;
    expect(problemsOf(text)).toEqual([
      "flow.yaml:4:15: unknown key 'memry' in 'defaults.resources'; did you mean 'memory'?",
      "flow.yaml:4:34: unknown key 'memry' in 'defaults.resources.slurm'; did you mean 'memory'?",
      'flow.yaml:4:52: expected a whole number from 1 to 100000, found 0',
      'flow.yaml:5:20: expected a factor from 0 to 1000 (0.5 is half as much again), or a list of the values of the following attempts, found -1',
      `flow.yaml:5:38: expected ${RUNTIME}, found "2x"`,
      'flow.yaml:5:50: expected a factor from 0 to 1000 (0.5 is half as much again), or a list of the values of the following attempts, found an empty list',
      "flow.yaml:5:54: unknown key 'runtme' in 'defaults.scales'; did you mean 'runtime'?",
      'flow.yaml:6:20: expected a list of queues, found "long.q"',
    ]);
  });
});

describe('templates and arguments', () => {
  test.each<[string, string, string[]]>([
    [
      'no command',
      'templates: {t: {limit: 1}}\ntasks: {t: {}}\n',
      ["flow.yaml:3:13: the key 'command' is missing: expected a command: text, in quotes when it begins with a brace"],
    ],
    [
      'a lone brace',
      'templates: {t: {command: "a {b"}}\ntasks: {t: {}}\n',
      [`flow.yaml:3:26: the command template "a {b" has a single '{' at character 3; write '{{' for a brace`],
    ],
    [
      'an argument that is no placeholder',
      'templates: {t: {command: "a {year}", task_args: [yaer]}}\ntasks: {t: {args: {year: 1}}}\n',
      ["flow.yaml:3:50: the command has no placeholder {yaer}; did you mean 'year'?"],
    ],
    [
      'an argument of two kinds',
      'templates: {t: {command: "a {b}", task_args: [b], op_args: [b]}}\ntasks: {t: {args: {b: 1}}}\n',
      ["flow.yaml:3:61: 'b' stands under task_args already; an argument is of one kind"],
    ],
    [
      'a placeholder of no kind',
      'templates: {t: {command: "a {b} {c}", node_args: [b]}}\ntasks: {t: {args: {b: 1, c: 1}}}\n',
      ['flow.yaml:3:39: the placeholder {c} of the command stands neither here nor under task_args or op_args'],
    ],
    [
      'an unknown template',
      'templates: {fit: {command: a}}\ntasks: {a: {template: fti}, b: {}}\n',
      [
        "flow.yaml:4:23: there is no template 'fti'; did you mean 'fit'?",
        "flow.yaml:4:29: task 'b' has neither a template nor a command",
      ],
    ],
    [
      'a template and a command',
      'templates: {t: {command: a}}\ntasks: {a: {template: t, command: b}, t: {command: b}}\n',
      [
        "flow.yaml:4:26: task 'a' has a template and a command; take one away",
        "flow.yaml:4:43: there is a template 't' too; take this command away to use it, or rename one of the two",
      ],
    ],
    [
      'values: too few, too many, twice',
      'tasks: {a: {command: "a {year} {sex}", args: {yaer: 1, sex: 2}, matrix: {sex: [1]}}}\n',
      [
        "flow.yaml:3:9: the placeholder {year} of the command has no value; give it one under 'args', or several under 'matrix'",
        "flow.yaml:3:47: the command has no placeholder {yaer}; did you mean 'year'?",
        "flow.yaml:3:56: 'sex' has a value here and values in the matrix; take one of the two away",
      ],
    ],
    [
      'a value that is nothing, one that is a list',
      'tasks: {a: {command: "a {b} {c}", args: {b: , c: [1]}}}\n',
      [
        'flow.yaml:3:42: expected text, a number, true or false; text has at most 2048 characters, found nothing',
        'flow.yaml:3:50: expected text, a number, true or false; text has at most 2048 characters, found a list',
      ],
    ],
    [
      'names of tasks',
      'tasks: {a: {command: b, name: 3a}, b: {command: b, name: "a {c}"}, c: {command: "{d}", args: {d: 1}, name: "x/{d}"}}\n',
      [
        'flow.yaml:3:31: the name must not be empty, start with a digit, or hold a slash, backslash, quote or blank',
        'flow.yaml:3:58: the task has no argument {c}; there is no argument',
        'flow.yaml:3:108: the name must not be empty, start with a digit, or hold a slash, backslash, quote or blank',
      ],
    ],
    [
      'the same node arguments in two tasks',
      'templates: {t: {command: "{a} {b}", task_args: [b]}}\ntasks:\n  one: {template: t, args: {a: 1, b: 2}}\n  two: {template: t, args: {b: 3}, matrix: {a: [2, 1]}}\n',
      [
        "flow.yaml:6:3: 'two_a-1' and 'one' of template 't' have the same node arguments (a 1); tasks of a template must differ in one",
      ],
    ],
    [
      'a matrix over what is no node argument',
      'templates: {t: {command: "{a} {b}", op_args: [b]}}\ntasks:\n  t: {args: {a: 1}, matrix: {b: [2, 1]}}\n',
      [
        "flow.yaml:5:3: 't_b-1' and 't_b-2' of template 't' have the same node arguments (a 1); tasks of a template must differ in one",
      ],
    ],
    [
      'a command beyond the column',
      `tasks: {a: {command: ${'x'.repeat(65_534)}yz}}\n`,
      [
        'flow.yaml:3:22: expected a command: text, in quotes when it begins with a brace, found "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."',
      ],
    ],
    [
      'a command that values make too long',
      `tasks: {a: {command: "${'{a}'.repeat(40)}", args: {a: ${'x'.repeat(2_000)}}}}\n`,
      ["flow.yaml:3:9: task 'a': the command has 80000 bytes, 65535 is the limit"],
    ],
  ])('%s', (_, text, expected) => expect(problemsOf(HEAD + text)).toEqual(expected));
});

describe('a matrix', () => {
  const task = (matrix: string): string => `${HEAD}tasks: {a: {command: "{x}", matrix: ${matrix}}}\n`;

  test.each<[string, string]>([
    ['{}', '3:29: the matrix has no arguments; give it some, or take it away for a single task'],
    ['[]', '3:37: the matrix is empty, so there would be no task; list some maps'],
    ['[{}]', '3:38: the matrix has no arguments; give it some, or take it away for a single task'],
    ['{x: []}', "3:41: the argument 'x' has no values, so there would be no task; list some"],
    ['{x: 3}', '3:41: expected a list of values, or a range such as {from: 1990, to: 2020}, found 3'],
    ['{x: [1, 2, 01, 1]}', `3:52: the value "1" of 'x' stands here a second time`],
    ['{x: [1, [2]]}', '3:45: expected text, a number, true or false; text has at most 2048 characters, found a list'],
    ['{x: {from: 2, to: 1}}', "3:41: the range of 'x' is empty: 2 is above 1"],
    ['{x: {from: 1, to: 9, step: 0}}', '3:64: expected a whole number from 1 to 1000000000, found 0'],
    ['{x: {from: a, to: 9}}', '3:48: expected a whole number from -1000000000 to 1000000000, found "a"'],
    ['{x: {from: 1, till: 9}}', "3:51: unknown key 'till' in 'tasks.a.matrix.x'; known are from, to, step"],
    [
      '{x: {from: 1, to: 1000001}}',
      '3:29: the matrix makes 1000001 tasks, and at most 1000000 fit one workflow; split it into several, by --args',
    ],
    ['all', '3:37: expected a map of arguments with lists of values, or a list of maps, found "all"'],
    ['[{x: 1}, {x: 1}]', '3:46: the same values stand in map 1 of the matrix already'],
    ['[{x: 1}, {}]', "3:46: the argument 'x' is missing here; the first map has x"],
    ['[{x: 1}, {x: 2, z: 3}]', "3:53: the argument 'z' is not in the first map; it has x"],
  ])('%s', (matrix, expected) => {
    expect(problemsOf(task(matrix))).toContain(`flow.yaml:${expected}`);
  });

  test('that explodes with others', () => {
    const text = `${HEAD}tasks:\n  a: {command: "{x}", matrix: {x: {from: 1, to: 600000}}}\n  b: {command: "{x}", matrix: {x: {from: 1, to: 600000}}}\n`;
    expect(problemsOf(text)).toEqual([
      'flow.yaml:5:23: with this matrix the file makes 1200000 tasks, and at most 1000000 fit one workflow; split it into several, by --args',
    ]);
  });
});

describe('needs', () => {
  const A = '  a: {command: "{l} {y}", matrix: {l: [1, 2], y: [1, 2]}}\n';
  test.each<[string, string, string[]]>([
    [
      'an unknown task',
      `  prepare: {command: a}\n  b: {command: b, needs: [prepar, fit]}\n`,
      [
        "flow.yaml:5:27: there is no task 'prepar'; did you mean 'prepare'?",
        "flow.yaml:5:35: there is no task 'fit'; there are prepare, b",
      ],
    ],
    [
      'wrong types',
      '  a: {command: a}\n  b: {command: b, needs: [a, 3]}\n  c: {command: c, needs: {tusk: a}}\n  d: {command: d, needs: {task: a, match: some}}\n',
      [
        "flow.yaml:5:30: expected the name of a task, or a map with 'task' and 'match', found 3",
        "flow.yaml:6:19: the key 'task' is missing: expected a name of letters, digits, _, - and ., beginning with a letter",
        "flow.yaml:6:27: unknown key 'tusk' in 'tasks.c.needs'; did you mean 'task'?",
        `flow.yaml:7:43: expected 'same', 'all', or a list of argument names, found "some"`,
      ],
    ],
    [
      'twice, and itself',
      '  a: {command: a}\n  b: {command: b, needs: [a, {task: a, match: all}, b]}\n',
      ["flow.yaml:5:37: 'a' is needed here a second time", "flow.yaml:5:53: 'b' waits for itself"],
    ],
    [
      'a circle',
      '  a: {command: a, needs: c}\n  b: {command: b, needs: [d, a]}\n  c: {command: c, needs: {task: b}}\n  d: {command: d}\n  e: {command: e, needs: a}\n',
      ["flow.yaml:4:26: tasks wait for each other in a circle: 'a' waits for 'c' waits for 'b' waits for 'a'"],
    ],
    [
      'a value that the other does not have',
      `${A}  b: {command: "{l}", matrix: {l: [1, 2, 3]}, needs: [a]}\n`,
      ["flow.yaml:5:55: no task of 'a' has l 3, which 'b' has; take the values away, or write {task: …, match: all}"],
    ],
    [
      'arguments that they do not share',
      `${A}  b: {command: "{l}", matrix: {l: [1]}, needs: {task: a, match: [y]}}\n  c: {command: c, needs: {task: a, match: [l]}}\n`,
      [
        "flow.yaml:5:55: 'y' is no argument of the matrices of both 'b' and 'a'; they share l",
        "flow.yaml:6:33: 'l' is no argument of the matrices of both 'c' and 'a'; they share none",
      ],
    ],
    [
      'edges beyond all measure',
      '  a: {command: "{x}", matrix: {x: {from: 1, to: 3000}}}\n  b: {command: "{x}", matrix: {x: {from: 1, to: 3000}}, needs: {task: a, match: all}}\n',
      [
        "flow.yaml:5:71: 'b' waiting for 'a' makes 9000000 edges, and at most 5000000 are allowed in a workflow; put one task between the two that waits for all of 'a'",
      ],
    ],
  ])('%s', (_, text, expected) => expect(problemsOf(`${HEAD}tasks:\n${text}`)).toEqual(expected));
});

describe('includes', () => {
  const flow = (include: string): string => `${HEAD}include: ${include}\n${TASK}`;

  test.each<[string, Files, string[]]>([
    [
      'files that are missing, folders',
      { 'flow.yaml': flow('[no.yaml, sub]'), 'sub/a.yaml': '' },
      [
        "flow.yaml:3:11: the included file 'no.yaml' does not exist",
        "flow.yaml:3:20: the file 'sub' cannot be read: it is a folder",
      ],
    ],
    [
      'relative to the including file',
      { 'flow.yaml': flow('sub/a.yaml'), 'sub/a.yaml': 'include: gone.yaml\n' },
      ["sub/a.yaml:1:10: the included file 'sub/gone.yaml' does not exist"],
    ],
    [
      'a loop',
      { 'flow.yaml': flow('sub/b.yaml'), 'sub/b.yaml': 'include: c.yaml\n', 'sub/c.yaml': 'include: [../sub/b.yaml]\n' },
      ['sub/c.yaml:1:11: the file includes itself: b.yaml includes c.yaml includes b.yaml'],
    ],
    ['itself', { 'flow.yaml': flow('flow.yaml') }, ['flow.yaml:3:10: the file includes itself: flow.yaml includes flow.yaml']],
    [
      'a file without any section',
      { 'flow.yaml': flow('a.yaml'), 'a.yaml': 'resources: {}\n' },
      [
        'a.yaml:1:1: expected a map with one of tool_resources, tool_scales, task_template_resources, task_template_scales, found none of them',
      ],
    ],
    [
      'wrong values',
      {
        'flow.yaml': flow('[a.yaml]'),
        'a.yaml':
          'tool_resources:\n  dummy: {memory: lots, odd: {x: 1}}\n  slurm: [1]\ntask_template_scales: {a: {dummy: {runtime: -1}}}\n',
      },
      [
        `a.yaml:2:19: expected ${MEMORY}, found "lots"`,
        'a.yaml:3:10: expected a map of resources: cores, memory, runtime, queue, …, found a list',
        'a.yaml:4:45: expected a factor from 0 to 1000 (0.5 is half as much again), or a list of the values of the following attempts, found -1',
      ],
    ],
    [
      'wrong values below the tool',
      {
        'flow.yaml': flow('[a.yaml]'),
        'a.yaml': 'tool_resources:\n  spec:\n    dummy: {cores: 0}\n',
      },
      ['a.yaml:3:20: expected a whole number from 1 to 100000, found 0'],
    ],
    [
      'a tab in it',
      { 'flow.yaml': flow('a.yaml'), 'a.yaml': 'tool_resources:\n\tdummy: {}\n' },
      ['a.yaml:2:1: a tab cannot indent; use blanks'],
    ],
    [
      'too many',
      { 'flow.yaml': flow(`[${Array(101).fill('b.yaml').join(', ')}]`), 'b.yaml': 'tool_scales:\n' },
      ['flow.yaml:3:811: more than 100 files are included'],
    ],
  ])('%s', (_, files, expected) => expect(problemsOf(files)).toEqual(expected));
});
