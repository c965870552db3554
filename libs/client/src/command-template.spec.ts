import { fillCommandTemplate, parseCommandTemplate } from './command-template';

test.each<[string, string[], string]>([
  ['echo {a} {b}', ['a', 'b'], 'echo <a> <b>'],
  ['{a}', ['a'], '<a>'],
  ['{a}{a}-{b}', ['a', 'a', 'b'], '<a><a>-<b>'],
  ["awk '{{ print $1 }}' {file}", ['file'], "awk '{ print $1 }' <file>"],
  ['{{{a}}}', ['a'], '{<a>}'],
  ['{{a}}', [], '{a}'],
  ['no placeholders', [], 'no placeholders'],
  ['', [], ''],
  ['lines\n{a}\n"quotes" 😀 {b}', ['a', 'b'], 'lines\n<a>\n"quotes" 😀 <b>'],
])('%j', (command, names, filled) => {
  const template = parseCommandTemplate(command);
  expect(template.names).toEqual(names);
  expect(fillCommandTemplate(template, (name) => `<${name}>`)).toBe(filled);
});

test.each([
  ['echo {a', "a single '{' at character 6"],
  ['echo a}', "a single '}' at character 7"],
  ['echo {}', "a placeholder '{}' that is no name"],
  ['echo {0}', "'{0}' that is no name"],
  ['echo {a:>3}', "'{a:>3}' that is no name"],
  ['echo ${HOME }', 'that is no name'],
  ['}{', "a single '}' at character 1"],
])('%j is refused: %s', (command, rule) => {
  expect(() => parseCommandTemplate(command)).toThrow(rule);
});

test('a value with braces stays as it is', () => {
  expect(fillCommandTemplate(parseCommandTemplate('echo {a}'), () => '{b} }}')).toBe('echo {b} }}');
});
