/**
 * The four machines, every ordered pair, against tables written by hand from spec/state-machines.md sections 3 to 6. A row
 * is where the entity stands, a column what is asked for: `v` valid, `o` valid and ours (races 26, 27, 30, 32, 43, 45; H→C: a drain made a cancel), `u` untimely, `=` a
 * repeat, `.` not in the table. A new state fails here until it is thought about.
 */
import { machine, verdict, type Machine, type Verdict } from './machine';
import { taskMachine } from './task';
import { taskInstanceMachine } from './task-instance';
import { workflowMachine } from './workflow';
import { LIVE_WORKFLOW_RUN_STATUSES, workflowFollows, workflowRunMachine } from './workflow-run';

const VERDICT: Readonly<Record<string, Verdict>> = { v: 'valid', o: 'valid', u: 'untimely', '=': 'repeat', '.': 'invalid' };

const TASK_INSTANCE = `
      Q I O R T D E Z U W X K F
  Q   = v . . . . . . . . . v o
  I   . = v v . . . . . v . v o
  O   . . = v . . . v v . v v v
  R   . . u = v v v v v . . v .
  T   . . . v = o o v v . . o v
  D   . . . . . = . . u . . . .
  E   . . u . . . = . u . . . .
  Z   . . . . . . . = u . . . .
  U   . . . . . u u u = . . . .
  W   . . . . . . . . . = . . .
  X   . . . . . . v . . . = o .
  K   . . . . . v u u u . . = v
  F   . . . . . . . . . . . . =`;

const TASK = `
      G Q I O R D E A F
  G   = v . . . . . . .
  Q   . = v . . . o . .
  I   . . = v v . v . .
  O   . . . = v . v . .
  R   . . . . = v v . .
  D   . . . . . = . . .
  E   v v . . . . = v v
  A   . v . . . . . = .
  F   . . . . . . . . =`;

const WORKFLOW = `
      G Q I O R D F H A
  G   u v . . . . . . v
  Q   . = v . . . v v .
  I   . . = v . . v o .
  O   . . . = v . v o .
  R   . . . . = v v v .
  D   . . . . . = . . .
  F   v . . . . . = . .
  H   v . . . . . . = .
  A   v . . . . . . . =`;

const WORKFLOW_RUN = `
      G L B I O R D E S C H T A
  G   = v . . . . . . . . . . .
  L   . u v . . . . . . . . . v
  B   . . = v . . . v . v v . .
  I   . . . = v . . v . o o . .
  O   . . . . = v . v . o o . .
  R   . . . . . u v v v v v . .
  D   . . . . . . = . . . . . .
  E   . . . . . . . = . . . . .
  S   . . . . . . . . = . . . .
  C   . . . . . . o . . = . v .
  H   . . . . . . o . . o = v .
  T   . . . . . . . . . . . = .
  A   . . . . . . . . . . . . =`;

/** `[from, to, mark]` for every cell of a table. */
function cells(table: string): [string, string, string][] {
  const [header = '', ...rows] = table.split('\n').filter((line) => line.trim() !== '');
  const columns = header.trim().split(/\s+/);
  return rows.flatMap((row) => {
    const [from = '', ...marks] = row.trim().split(/\s+/);
    return columns.map((to, at): [string, string, string] => [from, to, marks[at] ?? '']);
  });
}

describe.each([
  ['task_instance', taskInstanceMachine, TASK_INSTANCE],
  ['task', taskMachine, TASK],
  ['workflow', workflowMachine, WORKFLOW],
  ['workflow_run', workflowRunMachine, WORKFLOW_RUN],
] as [string, Machine<string>, string][])('the machine of %s', (name, table, literal) => {
  test('says of every ordered pair what the spec says', () => {
    const expected = cells(literal);
    const letters = Object.keys(table.states);
    expect(new Set(expected.map(([from]) => from))).toEqual(new Set(letters));
    expect(expected).toHaveLength(letters.length ** 2);
    const wrong = expected
      // A same-state pair that the spec calls untimely is one of its two words for "changes nothing".
      .map(([from, to, mark]) => ({ pair: `${from}→${to}`, wanted: VERDICT[mark], got: verdict(table, from, to) }))
      .filter(
        ({ pair, wanted, got }) => wanted !== got && !(wanted === 'untimely' && got === 'repeat' && pair in table.untimely),
      );
    expect(wrong).toEqual([]);
  });

  test('is named as its table, begins at its initial state and leaves no final state on its own', () => {
    expect(table.name).toBe(name);
    expect(Object.keys(table.states)).toContain(table.initial);
    for (const letter of table.final) expect(Object.keys(table.states)).toContain(letter);
    // Workflows leave F, H and A when a new run links; inside one attempt or one run nothing leaves a final state.
    if (name === 'workflow') return;
    const leaving = Object.keys(table.valid).filter((pair) => table.final.has(pair.split('→')[0] ?? ''));
    expect(leaving).toEqual([]);
  });

  test('gives every pair its reason, and fits the seed tables', () => {
    for (const reason of [...Object.values(table.valid), ...Object.values(table.untimely)])
      expect(reason.length).toBeGreaterThan(3);
    for (const { label, meaning } of Object.values(table.states)) {
      expect(label).toMatch(/^[A-Z_]+$/);
      expect(meaning.length).toBeLessThanOrEqual(150);
    }
  });
});

test('the counts of the spec: 25 valid and 12 untimely pairs of an instance, ours apart', () => {
  const marks = cells(TASK_INSTANCE).map(([, , mark]) => mark);
  expect(marks.filter((mark) => mark === 'v')).toHaveLength(25);
  // The twelfth, E→E, is a repeat here.
  expect(marks.filter((mark) => mark === 'u')).toHaveLength(11);
  expect(cells(TASK).filter(([, , mark]) => mark === 'v')).toHaveLength(14);
  expect(cells(WORKFLOW).filter(([, , mark]) => mark === 'v')).toHaveLength(15);
  expect(cells(WORKFLOW_RUN).filter(([, , mark]) => mark === 'v')).toHaveLength(18);
});

test('the workflow can follow its run on every valid way of the run', () => {
  // From B on, each step of a run is a step that the workflow may take from where the run had put it.
  for (const pair of Object.keys(workflowRunMachine.valid)) {
    const [from, to] = pair.split('→') as [keyof typeof workflowFollows, keyof typeof workflowFollows];
    const stood = workflowFollows[from];
    const goes = workflowFollows[to];
    if (stood === undefined || goes === undefined) continue;
    expect([pair, verdict(workflowMachine, stood, goes)]).toEqual([pair, 'valid']);
  }
});

test('a run is live or final, never both, and a row that is only registered is neither', () => {
  const states = Object.keys(workflowRunMachine.states);
  for (const letter of states) {
    const isLive = (LIVE_WORKFLOW_RUN_STATUSES as readonly string[]).includes(letter);
    const isFinal = (workflowRunMachine.final as ReadonlySet<string>).has(letter);
    expect([letter, isLive, isFinal]).toEqual([letter, letter === 'G' ? false : !isFinal, isFinal]);
  }
});

describe('machine()', () => {
  const states = { A: { label: 'A', meaning: 'a' }, B: { label: 'B', meaning: 'b' } };

  test.each([
    ['an unknown state', { 'A→C': 'no' }, {}],
    ['three states', { 'A→B→A': 'no' }, {}],
    ['no arrow', { AB: 'no' }, {}],
    ['a pair that is valid and untimely', { 'A→B': 'yes' }, { 'A→B': 'no' }],
  ] as [string, Record<string, string>, Record<string, string>][])('refuses %s', (_, valid, untimely) => {
    expect(() => machine({ name: 'm', states, initial: 'A', final: ['B'], valid, untimely })).toThrow(/machine m/);
  });
});
