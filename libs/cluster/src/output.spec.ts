import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeFolder, tailOf } from './output';

describe('a folder for output', () => {
  const own = mkdtempSync(join(tmpdir(), 'jobmon-output-'));
  afterAll(() => rmSync(own, { recursive: true }));

  it('is made with those above it, by several at once, and again', async () => {
    const folder = join(own, 'a', 'b', 'c');
    await Promise.all([1, 2, 3].map(() => makeFolder(folder, own)));
    await makeFolder(folder, own);
    expect(existsSync(folder)).toBe(true);
  });

  it('that cannot be made where the one above is there is refused, and does not hang', async () => {
    await expect(makeFolder('/proc/nowhere/out', own)).rejects.toThrow(/ENOENT.*nowhere/);
  });

  it('is not made in place of a missing working directory', async () => {
    await expect(makeFolder(join(own, 'gone', 'logs'), join(own, 'gone'))).rejects.toThrow("the working directory can't be used");
    expect(existsSync(join(own, 'gone'))).toBe(false);
  });
});

describe('the tail of an output', () => {
  const cases: [string, Buffer, boolean, string][] = [
    ['nothing', Buffer.from(''), false, ''],
    ['all of a short text', Buffer.from('ab\n'), false, 'ab\n'],
    ['10,000 of 10,001 characters', Buffer.from(`b${'a'.repeat(10_000)}`), false, 'a'.repeat(10_000)],
    ['10,000 characters of four bytes each', Buffer.from('🧬'.repeat(10_001)), false, '🧬'.repeat(10_000)],
    ['no half of a character at the cut', Buffer.from('🧬a').subarray(2), true, 'a'],
    ['a continuation byte that is none of the cut', Buffer.from('a\x80', 'latin1'), true, 'a\ufffd'],
    ['bytes that are no UTF-8', Buffer.from([0x61, 0xff, 0xc3, 0x62]), false, 'a\ufffd\ufffdb'],
    ['U+0000 and a byte order mark', Buffer.from('\ufeffa\u0000'), false, '\ufeffa\u0000'],
  ];
  it.each(cases)('%s', (_, bytes, isCut, expected) => {
    expect(tailOf(bytes, isCut)).toBe(expected);
  });
});
