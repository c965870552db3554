/**
 * Proves that the import table of `eslint.config.mjs` bites: two wrong imports are planted, one between libraries and one of a
 * package that the layer must not see, and lint must refuse both. Without nx's project graph the rule would pass everything.
 */
import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(__dirname, '..');
const PLANTED = [
  {
    file: 'libs/contracts/src/planted-wrong-import.ts',
    code: "export { openDatabase } from '@jobmon/entities';\n",
    complaint: /planted-wrong-import\.ts[\s\S]*layer:contracts/,
  },
  {
    file: 'apps/agent/src/planted-wrong-import.ts',
    code: "export { DataSource } from 'typeorm';\n",
    complaint: /planted-wrong-import\.ts[\s\S]*typeorm/,
  },
];

describe('the import table', () => {
  afterEach(() => PLANTED.forEach(({ file }) => rmSync(join(ROOT, file), { force: true })));

  it('refuses a wrong layer and a fenced package', () => {
    PLANTED.forEach(({ file, code }) => writeFileSync(join(ROOT, file), code));
    const done = spawnSync(
      process.execPath,
      [
        'node_modules/nx/dist/bin/nx.js',
        'run-many',
        '-t',
        'lint',
        '-p',
        'contracts,agent',
        '--skipNxCache',
        '--outputStyle=stream',
      ],
      { cwd: ROOT, encoding: 'utf8', env: { ...process.env, NX_DAEMON: 'false' } },
    );
    const said = done.stdout + done.stderr;
    expect(done.status).not.toBe(0);
    PLANTED.forEach(({ complaint }) => expect(said).toMatch(complaint));
  }, 120_000);
});
