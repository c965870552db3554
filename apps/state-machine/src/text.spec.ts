import fc from 'fast-check';
import { tailOf, wellFormed } from './text';

describe('tailOf', () => {
  test('keeps a text of up to 10,000 characters whole, NUL, quotes and newlines included', () => {
    const text = `\u0000"'\\\n${'x'.repeat(9_995)}`;
    expect(tailOf(text)).toBe(text);
    expect(tailOf('')).toBe('');
  });

  test('keeps the last 10,000 characters, and counts a surrogate pair as one', () => {
    expect(tailOf(`ab${'y'.repeat(10_000)}`)).toBe('y'.repeat(10_000));
    expect(tailOf('😀'.repeat(10_001))).toBe('😀'.repeat(10_000));
    expect(tailOf(`😀${'y'.repeat(9_999)}`)).toBe(`😀${'y'.repeat(9_999)}`);
    expect(tailOf(`😀${'y'.repeat(10_000)}`)).toBe('y'.repeat(10_000));
  });

  test('is a well-formed end of the text that fits a TEXT column, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 50 }), fc.integer({ min: 0, max: 12_000 }), (unit, times) => {
        const text = unit.repeat(Math.ceil(times / Math.max(1, unit.length)));
        const tail = tailOf(text);
        expect(Buffer.byteLength(tail)).toBeLessThanOrEqual(65_535);
        expect([...tail].length).toBe(Math.min(10_000, [...text].length));
        expect(wellFormed(text).endsWith(tail)).toBe(true);
      }),
      { numRuns: 100 },
    );
  });

  test('replaces half a pair, which no UTF-8 column can hold', () => {
    expect(tailOf('a\ud83d')).toBe('a\ufffd');
    expect(tailOf('\ude00b')).toBe('\ufffdb');
  });
});
