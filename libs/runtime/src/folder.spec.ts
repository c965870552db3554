import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeFolder } from './folder';

describe('makeFolder', () => {
  const root = mkdtempSync(join(tmpdir(), 'jobmon-folder-'));
  afterAll(() => rmSync(root, { recursive: true }));

  it("makes what is missing, the user's alone, and is content with what is there", () => {
    makeFolder(join(root, 'a', 'b'));
    makeFolder(join(root, 'a', 'b'));
    expect(['a', 'a/b'].map((name) => statSync(join(root, name)).mode & 0o777)).toEqual([0o700, 0o700]);
  });

  it('refuses below a file, and returns where a file system says ENOENT to a new folder', () => {
    writeFileSync(join(root, 'file'), '');
    expect(() => makeFolder(join(root, 'file', 'a', 'b'))).toThrow('ENOTDIR');
    expect(() => makeFolder('/proc/nobody/here')).toThrow('ENOENT');
  });
});
