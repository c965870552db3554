/** Python's notation, read and written. */
import { literalOf, valueOf } from './python-literal';

describe("Python's notation", () => {
  it.each([
    ['{"cores": 1, "ok": true, "none": null}', { cores: 1, ok: true, none: null }],
    ["{'memory': 0.5, 'runtime': [1, 2.5e3, -3]}", { memory: 0.5, runtime: [1, 2500, -3] }],
    [
      `{'a': True, 'b': False, 'c': None, 'd': "it's", 'e': 'say \\'hi\\''}`,
      { a: true, b: false, c: null, d: "it's", e: "say 'hi'" },
    ],
    ['{"cores": (1,20), "one": (1,), "same": (1)}', { cores: [1, 20], one: [1], same: 1 }],
    [`['long.q', "all.q",]`, ['long.q', 'all.q']],
    ['{}', {}],
    ['[]', []],
    ['()', []],
    ["{1: 'x', True: 'y'}", { '1': 'x', True: 'y' }],
    [`'a\\n\\x41\\u00fc\\U0001F600\\d'`, 'a\nA\u00fc\u{1F600}\\d'],
    ['{"__proto__": 1}', JSON.parse('{"__proto__": 1}')],
  ])('E35 E51 E53 reads %s', (text, value) => {
    expect(valueOf(text)).toEqual(value);
  });

  it.each(['', 'rm -rf', '{', "{'a' 1}", '[1 2]', "['a'", 'open("x")', "'a' 'b'", '{1}', '('.repeat(40), "'\\Uffffffff'"])(
    'E35 E51 E53 does not take %j for a value',
    (text) => {
      expect(valueOf(text)).toBeUndefined();
    },
  );

  it('E51 writes True, False and None, and reads back what it wrote', () => {
    const value = { a: true, b: [false, null, 0.5], c: { d: `it's "x"\n\u{1F600}` } };
    expect(literalOf(value)).toBe(`{'a': True, 'b': [False, None, 0.5], 'c': {'d': 'it\\'s "x"\\n\u{1F600}'}}`);
    expect(valueOf(literalOf(value))).toEqual(value);
  });
});
