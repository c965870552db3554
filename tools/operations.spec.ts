import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PYTHON_OPERATIONS } from '@jobmon/contracts';
import { numbersOf, operationsPage, testsIn } from './operations';

const ROOT = join(__dirname, '..');

describe('docs/operations.md', () => {
  const page = operationsPage(ROOT);

  it('is what contracts and specs say; when this fails, run: npm run docs', () => {
    expect(readFileSync(join(ROOT, 'docs/operations.md'), 'utf8')).toBe(page);
  });

  it('has a row for every route, and a test of its own for every number', () => {
    for (const { http, protocol, name } of PYTHON_OPERATIONS) {
      if (http !== undefined)
        expect(page).toContain(`| [${protocol}](#${protocol?.toLowerCase()}) | ${http.method} | \`${http.path}\` |`);
      else expect(page).not.toContain(`\`${name}\``);
    }
    expect(page.match(/^### \w+$/gm)).toHaveLength(98);
    expect(page).not.toContain('No test of its own');
  });
});

describe('numbersOf', () => {
  it.each([
    ['E36 finds the tool', ['E36']],
    ['E9 E10 E11 race 52: a binding', ['E9', 'E10', 'E11']],
    ['E9, E10 and E11: a binding', ['E9', 'E10', 'E11']],
    ['E2 to E5 move batches', ['E2', 'E3', 'E4', 'E5']],
    ['C15 is L3', ['L3']],
    ['C7: the newest attempt', ['L2']],
    ['Every run of E59', []],
    ['E 59', []],
    ['S3', ['S3']],
  ])('reads %s', (title, numbers) => expect(numbersOf(title)).toEqual(numbers));
});

describe('testsIn', () => {
  it('finds tests however they are declared, and takes the numbers of what they stand in', () => {
    const text = `
      describe('E1 arrays', () => {
        it('are made once', () => undefined);
        it.each([['a', () => it]])('E6 %s', () => undefined);
      });
      describeOnDatabases('others', () => { test(\`E7 \${name}\`, () => undefined); it('S3', () => undefined); expect('E8 is none'); });
    `;
    expect(testsIn(text, 'x.spec.ts').map(({ title, numbers }) => [title, numbers])).toEqual([
      ['are made once', ['E1']],
      ['E6 %s', ['E6']],
      ['E7 ${name}', ['E7']],
      ['S3', ['S3']],
    ]);
  });
});
