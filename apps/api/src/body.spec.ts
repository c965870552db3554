import type { JobmonError } from '@jobmon/contracts';
import { objectIn } from './body';

/** What a body reads as, without loss and as usual. */
function check(text: string, withoutLoss: unknown, asUsual: unknown = withoutLoss): void {
  expect(objectIn(Buffer.from(text), true)).toEqual(withoutLoss);
  expect(objectIn(Buffer.from(text))).toEqual(asUsual);
}

const HASH = '115792089237316195423570985008687907853269984665640564039457584007913129639935';

describe('objectIn', () => {
  it('E9 E33 E41 reads integers beyond 2^53 as their digits, every other number as a number', () => {
    check(`{"hash": ${HASH}}`, { hash: HASH }, { hash: Number(HASH) });
    check('{"hash": 9007199254740993}', { hash: '9007199254740993' }, { hash: 9007199254740992 });
    check('{"hash": 9007199254740991}', { hash: 9007199254740991 });
    check('{"hash": -9007199254740993}', { hash: '-9007199254740993' }, { hash: -9007199254740992 });
    check(`{"a": 1, "b": 2.5, "c": 1e3, "d": 0.12345678901234567, "e": [true, null, "x"], "f": "${HASH}"}`, {
      a: 1,
      b: 2.5,
      c: 1000,
      d: 0.12345678901234567,
      e: [true, null, 'x'],
      f: HASH,
    });
  });

  it('reads both ways alike: the later of two keys, a key that is a prototype, halves of a pair, no body', () => {
    const long = `"n": "${HASH}"`;
    check(`{"a": {"b": 1}, "a": 2, ${long}}`, { a: 2, n: HASH });
    expect(Object.hasOwn(objectIn(Buffer.from(`{"__proto__": {"a": 1}, ${long}}`), true), '__proto__')).toBe(true);
    check(`{"a": "\\ud800 \\ud83d\\ude00", ${long}}`, { a: '\ufffd 😀', n: HASH });
    expect([objectIn(undefined, true), objectIn(Buffer.alloc(0), true)]).toEqual([{}, {}]);
  });

  it.each([
    `[${HASH}]`,
    HASH,
    `{"a": ${HASH}`,
    `{"a": 0${HASH}}`,
    `{"a": ${HASH}} {}`,
    `{"a": NaN, "n": ${HASH}}`,
    `{"n": ${HASH}, "a": ${'['.repeat(500_000)}}`,
    `{"n": ${HASH}, "a": ${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}}`,
  ])('refuses what is no JSON object, however it is read', (text) => {
    for (const isLossless of [true, false]) {
      let thrown: unknown;
      try {
        objectIn(Buffer.from(text), isLossless);
      } catch (error) {
        thrown = error;
      }
      // A depth that one of the two ways bears is no reason to refuse it.
      if (thrown !== undefined || !text.endsWith('}}')) expect((thrown as JobmonError).code).toBe('MALFORMED');
    }
  });
});
