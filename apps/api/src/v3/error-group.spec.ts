/** Which errors are one, and what names a group. */
import { ErrorGroups, scoreOf, type ErrorGroup, type ErrorText } from './error-group';

function groupErrors(errors: readonly ErrorText[]): ErrorGroup[] {
  const groups = new ErrorGroups();
  for (const error of errors) groups.add(error);
  return groups.sorted();
}
const at = (text: string, host: string | null = null): ErrorText => ({ text, host });
/** Positions of the members of each group. */
const members = (errors: readonly ErrorText[]): number[][] => groupErrors(errors).map((group) => group.members);

function traceback(last: string, name = 'fit', file = '/share/code/model.py', line = 12): string {
  return `warming up\nTraceback (most recent call last):\n  File "${file}", line ${line}, in ${name}\n    run()\n${last}\n`;
}

describe('groups of errors', () => {
  it.each([
    ['numbers', "KeyError: 'location 7'", "KeyError: 'location 12345'"],
    ['decimals and exponents', 'ValueError: 1.5e-7 is too small', 'ValueError: -3.25 is too small'],
    ['paths', 'FileNotFoundError: no /share/a/b_1.csv here', 'FileNotFoundError: no /mnt/other/c.csv here'],
    ['hex', 'RuntimeError: object at 0x7f3a failed', 'RuntimeError: object at 0x55aa01 failed'],
    ['hashes', 'RuntimeError: block deadbeef01 is gone', 'RuntimeError: block 0123456789abcdef is gone'],
    [
      'ids',
      'RuntimeError: job 1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed is gone',
      'RuntimeError: job 9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d is gone',
    ],
    ['dates', 'RuntimeError: stale since 2025-01-31T12:00:01Z', 'RuntimeError: stale since 2024-12-01'],
    ['hosts', 'ConnectionError: node17.cluster.example refused', 'ConnectionError: web3.other.example refused'],
  ])('C17 do not differ by %s', (_, a, b) => {
    expect(members([at(traceback(a)), at(traceback(b))])).toEqual([[0, 1]]);
  });

  it('C17 do not differ by the name of the host they happened on', () => {
    expect(members([at('cannot write on alpha', 'alpha'), at('cannot write on omega', 'omega')])).toEqual([[0, 1]]);
    expect(members([at('cannot write on alpha'), at('cannot write on omega')])).toEqual([[0], [1]]);
  });

  it('C17 do not differ by the line and the folder of a frame, and do by its function', () => {
    const last = 'ValueError: bad';
    expect(
      members([
        at(traceback(last)),
        at(traceback(last, 'fit', '/home/ada/model.py', 99)),
        at(traceback(last, 'predict_everything_there_is')),
      ]),
    ).toEqual([[0, 1], [2]]);
  });

  it('C17 do not differ by what was written before the traceback, and do by class and message', () => {
    const errors = ['KeyError: 1', 'ValueError: 1', 'KeyError: the location has no data'].map((last) => at(traceback(last)));
    expect(members([...errors, at(`much\noutput\n${traceback('KeyError: 2')}`)])).toEqual([[0, 3], [1], [2]]);
  });

  it('C17 join when four fifths of their shingles are the same, and not when less', () => {
    const words = Array.from({ length: 24 }, (_, n) => `word${'abcdefghijklmnopqrstuvwxyz'[n]}`);
    const changed = (...positions: number[]): string =>
      words.map((word, n) => (positions.includes(n) ? 'other' : word)).join(' ');
    expect(members([at(changed()), at(changed(23)), at(changed(5, 12, 19))])).toEqual([[0, 1], [2]]);
  });

  it('C17 have the class as it stands, with its modules', () => {
    const [group] = groupErrors([at('Exception in thread "main"\njava.io.IOException: full\n\tat a.B.c(B.java:7)')]);
    expect(group!.exception_class).toBe('java.io.IOException');
    expect(groupErrors([at('exit code 1')])[0]!.exception_class).toBeNull();
    expect(groupErrors([at('')])).toEqual([
      { cluster_id: expect.stringMatching(/^[0-9a-f]{16}$/), exception_class: null, members: [0] },
    ]);
  });

  it('C17 come by size, of two the older first', () => {
    const [a, b, c] = ['AError: one', 'BError: two', 'CError: three'].map((text) => at(text));
    expect(members([a!, b!, c!, b!, c!])).toEqual([[1, 3], [2, 4], [0]]);
  });

  it('C17 keep their name when more errors come, and its score is theirs alone', () => {
    const old = [at('AError: one'), at('BError: two')];
    const before = groupErrors(old);
    const after = groupErrors([...old, ...Array.from({ length: 5 }, (_, n) => at(`BError: two ${n}`))]);
    const ids = (groups: typeof before): string[] => groups.map(({ cluster_id }) => cluster_id).sort();
    expect(ids(after)).toEqual(expect.arrayContaining(ids(before)));
    const scores = before.map(({ cluster_id }) => scoreOf(cluster_id));
    expect(new Set(scores).size).toBe(2);
    expect(scores.every((score) => score >= 0 && score < 1)).toBe(true);
  });

  it('C17 cost time in proportion to the errors, whatever they say', () => {
    const hostile = Array.from({ length: 3_000 }, (_, n) =>
      at(`AError: ${'w'.repeat(n % 50)} ${'/x'.repeat(400)} ${'a.'.repeat(300)}${n}x`),
    );
    const began = performance.now();
    groupErrors(hostile);
    expect(performance.now() - began).toBeLessThan(5_000);
  });
});
