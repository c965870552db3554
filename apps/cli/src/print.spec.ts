import { oneLine, tableOf, type Column } from './print';

interface Row {
  id: number;
  name: string;
  status: string;
}
const columns: Column<Row>[] = [
  { title: 'ID', of: (row) => row.id, align: 'right' },
  { title: 'STATUS', of: (row) => row.status, isStatus: true },
  { title: 'NAME', of: (row) => row.name, isFlexible: true },
];

test('columns are as wide as what is in them', () => {
  const rows = [
    { id: 7, name: 'a', status: 'DONE' },
    { id: 1234, name: 'long name', status: 'RUNNING' },
  ];
  expect(tableOf(columns, rows, 80, false)).toEqual(['  ID  STATUS   NAME', '   7  DONE     a', '1234  RUNNING  long name']);
});

test('a table that is too wide takes the room from its flexible columns', () => {
  const lines = tableOf(columns, [{ id: 1, name: 'x'.repeat(200), status: 'DONE' }], 40, false);
  expect(lines[1]).toBe(`${' 1  DONE    '}${'x'.repeat(27)}…`);
  expect(Math.max(...lines.map((line) => [...line].length))).toBe(40);
});

test('prose stands below its row, broken at blanks, a word longer than a line without its middle, and at most four lines of it', () => {
  const reason: Column<Row> = { title: 'REASON', of: (row) => row.name, isBelow: true };
  const below = (name: string): string[] => tableOf([columns[0]!, reason], [{ id: 1, name, status: '' }], 24, false);
  expect(below('no such place')).toEqual(['ID', ' 1', '    no such place']);
  expect(below('cat: /home/ada/project/data/places.csv: no such file')).toEqual([
    'ID',
    ' 1',
    '    cat:',
    '    /home/…a/places.csv:',
    '    no such file',
  ]);
  expect(below('word '.repeat(100)).slice(2)).toEqual([
    ...Array<string>(3).fill('    word word word word'),
    '    word word word word…',
  ]);
});

test('colours do not count as width and are left out where they are not wanted', () => {
  const rows = [{ id: 1, name: 'a', status: 'DONE' }];
  expect(tableOf(columns, rows, 80, true)[1]).toBe(' 1  \x1b[32mDONE\x1b[0m    a');
  expect(tableOf(columns, rows, 80, false)[1]).toBe(' 1  DONE    a');
});

test.each([
  ['a\nb\tc', 'a\\nb\\tc'],
  ['\x1b[2J', '\\u001b[2J'],
  ['\u0000\u007f\u009b', '\\u0000\\u007f\\u009b'],
  ['plain “text” 😀', 'plain “text” 😀'],
])('%j cannot move the cursor', (text, shown) => {
  expect(oneLine(text)).toBe(shown);
});
