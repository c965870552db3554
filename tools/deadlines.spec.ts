import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deadlinesPage, OTHERS, STATES } from './deadlines';

const ROOT = join(__dirname, '..');

describe('docs/deadlines.md', () => {
  it('is what the table says, and every test that it names is there; when this fails, run: npm run docs', () => {
    expect(readFileSync(join(ROOT, 'docs/deadlines.md'), 'utf8')).toBe(deadlinesPage(ROOT));
  });

  it.each(STATES.map(([machine, rows]) => [machine.name, machine, rows] as const))(
    'has an owner, a deadline, a rule and a test for each state of %s that is not final (race 17)',
    (name, machine, rows) => {
      const open = Object.keys(machine.states).filter((letter) => !machine.final.has(letter));
      const drivers = name === 'task_instance' ? ['client', 'server'] : [undefined];
      for (const of of drivers) {
        const told = rows.filter((row) => of === undefined || row.of === of).flatMap(({ states }) => states.split(' '));
        expect([...new Set(told)].sort()).toEqual([...open].sort());
      }
      for (const row of rows) expect([row.owner, row.deadline, row.rule, ...row.tests].every((text) => text !== '')).toBe(true);
      for (const { tests } of [...rows, ...OTHERS]) expect(tests.length).toBeGreaterThan(0);
    },
  );
});
