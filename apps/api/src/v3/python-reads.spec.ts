/** What this house writes in Python's notation, Python reads, and the other way round: any value, with Python itself where it is there. */
import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { literalOf, valueOf } from '@jobmon/entities';

const RUNS = 500;
const hasPython = spawnSync('python3', ['-c', 'import ast, json']).status === 0;

/** Values as JSON carries them: no -0, and texts with any characters, quotes and separators among them. */
const anyText = fc.string({
  unit: fc.oneof(
    fc.constantFrom(...`'"\\{}[]():, \n\r\t\0`, '\u007f', '\u00a0', '\u00ad', '\u2028', '\ufeff', '\u{1F40D}', '\u{E0001}'),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
  ),
});
const anyValue = fc
  .letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.constantFrom(null, true, false),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.integer(),
      anyText,
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(anyText, tie('value'), { maxKeys: 4 }),
    ),
  }))
  .value.map((value) => JSON.parse(JSON.stringify(value)) as unknown);

describe("any value in Python's notation", () => {
  it('E51 E53 is read back as it was', () => {
    fc.assert(
      fc.property(anyValue, (value) => {
        expect(valueOf(literalOf(value))).toEqual(value);
      }),
      { numRuns: RUNS },
    );
  });

  it('E51 E53 holds nothing of JSON that Python does not know', () => {
    expect(literalOf([true, false, null, "it's", 'a "b"', `'"`])).toBe(`[True, False, None, "it's", 'a "b"', '\\'"']`);
  });

  (hasPython ? it : it.skip)('E51 E53 is what Python writes and reads', () => {
    const values = fc.sample(anyValue, RUNS);
    const script = `
import ast, json, sys
answers = []
for value, literal in json.load(sys.stdin):
    value = json.loads(value)
    answers.append([ast.literal_eval(literal) == value, repr(value)])
json.dump(answers, sys.stdout)
`;
    const input = JSON.stringify(values.map((value) => [JSON.stringify(value), literalOf(value)]));
    const { stdout, stderr } = spawnSync('python3', ['-c', script], { input, encoding: 'utf8', maxBuffer: 1e9 });
    expect(stderr).toBe('');
    const answers = JSON.parse(stdout) as [boolean, string][];
    expect(answers).toHaveLength(RUNS);
    answers.forEach(([isSame, written], at) => {
      expect([literalOf(values[at]), isSame]).toEqual([literalOf(values[at]), true]);
      expect(valueOf(written)).toEqual(values[at]);
    });
  });
});
