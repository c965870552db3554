/** The lock between processes, and the setting-up that holds it, by real processes. */
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

let folder: string;
beforeEach(() => (folder = mkdtempSync(path.join(tmpdir(), 'jobmon-lock-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface End {
  readonly code: number | NodeJS.Signals;
  readonly said: string;
}

/** Runs Node in the folder and waits for its end; `onSaid` is told all that it has said so far. */
function node(args: readonly string[], onSaid: (said: string) => void = () => undefined): Promise<End> {
  const child = spawn(process.execPath, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => onSaid((said += text)));
  return new Promise((resolve) => child.on('close', (code, signal) => resolve({ code: code ?? signal!, said })));
}

/** Takes the lock, says so in a diary, does something, and gives it back. */
const holding = (what: string): Promise<End> =>
  node([
    '--input-type=module',
    '--eval',
    `import { appendFileSync as write } from 'node:fs';
     import { takeLock } from ${JSON.stringify(path.join(__dirname, 'lock.mjs'))};
     const pause = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
     const giveBack = takeLock('lock', { seconds_max: 60, onWait: (pid) => console.log('waits for ' + pid) });
     write('diary', 'in ' + process.pid + '\\n');
     ${what}
     pause();
     write('diary', 'out ' + process.pid + '\\n');
     giveBack();`,
  ]);
const diary = (): string[] => readFileSync(path.join(folder, 'diary'), 'utf8').trim().split('\n');

/** Every holder went before the next one came. */
function expectInTurns(times: number): void {
  const lines = diary();
  expect(lines).toHaveLength(2 * times);
  for (let at = 0; at < lines.length; at += 2) expect(lines[at + 1]).toBe(lines[at]!.replace('in', 'out'));
}

it('one process at a time holds the lock, and nothing is left of it', async () => {
  const ends = await Promise.all(Array.from({ length: 5 }, () => holding('')));
  expect(ends.map(({ code }) => code)).toEqual([0, 0, 0, 0, 0]);
  expectInTurns(5);
  expect(readdirSync(folder)).toEqual(['diary']);
});

it('a dead holder is inherited by one of those that wait, and so is a dead heir', async () => {
  const killed = 'process.kill(process.pid, "SIGKILL");';
  expect((await holding(killed)).code).toBe('SIGKILL');
  expect((await holding(killed)).code).toBe('SIGKILL');
  expect(diary()).toHaveLength(2);
  rmSync(path.join(folder, 'diary'));
  const ends = await Promise.all(Array.from({ length: 4 }, () => holding('')));
  expect(ends.map(({ code }) => code)).toEqual([0, 0, 0, 0]);
  expectInTurns(4);
  expect(readdirSync(folder)).toEqual(['diary']);
});

it('two that set one checkout up at the same time: one installs, the other says that it waits, both find all there', async () => {
  mkdirSync(path.join(folder, 'tools'));
  for (const file of ['setup.mjs', 'lock.mjs']) cpSync(path.join(__dirname, file), path.join(folder, 'tools', file));
  const write = (file: string, value: unknown): void => writeFileSync(path.join(folder, file), JSON.stringify(value));
  mkdirSync(path.join(folder, 'own'));
  write('own/package.json', { name: 'own', version: '1.0.0' });
  const dependencies = { own: 'file:own' };
  // The installation ends when the other one has said that it waits.
  const postinstall = 'n=0; until [ -e waits ] || [ $n = 800 ]; do sleep 0.05; n=$((n+1)); done';
  write('package.json', { name: 'checkout', version: '1.0.0', dependencies, scripts: { postinstall } });
  write('package-lock.json', {
    name: 'checkout',
    version: '1.0.0',
    lockfileVersion: 3,
    requires: true,
    packages: {
      '': { name: 'checkout', version: '1.0.0', dependencies, hasInstallScript: true },
      own: { version: '1.0.0' },
      'node_modules/own': { resolved: 'own', link: true },
    },
  });
  const waits = /^Process \d+ is setting up this checkout; waiting for it/;
  const setUp = () =>
    node(['tools/setup.mjs'], (said) => {
      if (waits.test(said)) writeFileSync(path.join(folder, 'waits'), '');
    });
  const ends = await Promise.all([setUp(), setUp()]);
  expect(ends.map(({ code }) => code)).toEqual([0, 0]);
  const said = ends.map((end) => end.said);
  expect(said.filter((text) => text.includes('Installing packages'))).toHaveLength(1);
  expect(said.filter((text) => waits.test(text))).toHaveLength(1);
  expect(existsSync(path.join(folder, 'node_modules', 'own', 'package.json'))).toBe(true);
  expect(readdirSync(folder).sort()).toEqual(['node_modules', 'own', 'package-lock.json', 'package.json', 'tools', 'waits']);
});
