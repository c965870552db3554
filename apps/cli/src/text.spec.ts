import { bytesText, columnsOf, cut, cutMiddle, durationText, padded, grouped, oneLine, wrapped } from './text';

test.each([
  ['abc', 3],
  ['é', 1],
  ['e\u0301', 1],
  ['数据', 4],
  ['😀', 2],
  ['', 0],
])('%j takes %d columns', (text, columns) => expect(columnsOf(text)).toBe(columns));

test.each([
  ['abcdef', 6, 'abcdef'],
  ['abcdef', 4, 'abc…'],
  ['数据处理', 5, '数据…'],
  ['数据处理', 4, '数…'],
  ['abc', 1, '…'],
  ['abc', 0, ''],
])('cut %j to %d', (text, columns, shown) => expect(cut(text, columns)).toBe(shown));

test.each([
  ['/a/b/c', 6, '/a/b/c'],
  ['/home/ada/fit/run.py', 12, '/ho…t/run.py'],
  ['数据处理数据处理', 9, '数…据处理'],
])('cut the middle of %j to %d', (text, columns, shown) => expect(cutMiddle(text, columns)).toBe(shown));

test('padded fills up to the columns, whatever the characters', () => {
  expect(padded('数', 4)).toBe('数  ');
  expect(padded('7', 3, 'right')).toBe('  7');
});

test.each([
  ['\u202eevil', '\\u202eevil'],
  ['\ud800', '\\ud800'],
  ['a\u200bb', 'a\\u200bb'],
])('%j is shown as %j', (text, shown) => expect(oneLine(text)).toBe(shown));

test('prose is broken at blanks', () => {
  expect(wrapped('- one two three', 9, '  ')).toEqual(['- one two', '  three']);
  expect(wrapped('averyveryverylongword b', 5)).toEqual(['averyveryverylongword', 'b']);
  expect(wrapped('', 5)).toEqual(['']);
});

test('figures for people', () => {
  expect([grouped(0), grouped(999), grouped(1_000), grouped(1_234_567)]).toEqual(['0', '999', '1,000', '1,234,567']);
  expect([0.4, 59, 60, 3_599, 3_600, 90_000].map(durationText)).toEqual([
    '0 s',
    '59 s',
    '1 min 0 s',
    '59 min 59 s',
    '1 h 0 min',
    '1 d 1 h',
  ]);
  expect([0, 1_023, 1_536, 3 * 2 ** 30, 64 * 2 ** 30].map(bytesText)).toEqual(['0 B', '1023 B', '1.5 KiB', '3.0 GiB', '64 GiB']);
});
