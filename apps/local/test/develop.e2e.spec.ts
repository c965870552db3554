/** `npm run develop` on a copy of this checkout: the house is built and started anew when a source changes, and ends with what started it. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort, ROOT, until, UserFolder } from '@jobmon/testkit';

describe('npm run develop', () => {
  let user: UserFolder;
  let child: ChildProcess | undefined;
  beforeAll(() => {
    user = new UserFolder();
  });
  afterAll(async () => {
    if (child?.pid !== undefined && child.exitCode === null && child.signalCode === null) process.kill(-child.pid, 'SIGKILL');
    await user.remove();
  });

  it('starts the house anew when a source changes, and ends it on Ctrl-C', async () => {
    const copy = path.join(user.path, 'checkout');
    const files = execFileSync('git', ['ls-files', 'apps', 'libs', 'tools', 'package.json', 'package-lock.json', 'tsconfig*'], {
      cwd: ROOT,
    });
    for (const file of String(files)
      .split('\n')
      .filter((name) => name !== '')) {
      mkdirSync(path.dirname(path.join(copy, file)), { recursive: true });
      cpSync(path.join(ROOT, file), path.join(copy, file));
    }
    // Packages are those of this checkout, and nothing may install or remove any there.
    symlinkSync(path.join(ROOT, 'node_modules'), path.join(copy, 'node_modules'));
    writeFileSync(path.join(copy, 'tools', 'setup.mjs'), 'export function setUp() {}\n');
    const port = await freePort();
    let said = '';
    child = spawn('npm', ['run', '--silent', 'develop', '--', '--port', String(port)], {
      cwd: copy,
      env: user.env,
      detached: true,
    });
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (data) => (said += String(data)));
    const ended = new Promise<number | null>((resolve) => child!.once('exit', resolve));
    const served = (): number => said.match(new RegExp(`^Jobmon serves at http://127\\.0\\.0\\.1:${port}`, 'gm'))?.length ?? 0;
    const answers = async (): Promise<boolean> =>
      fetch(`http://127.0.0.1:${port}/health/live`).then(
        ({ ok }) => ok,
        () => false,
      );
    await until('it serves', () => served() === 1 || child!.exitCode !== null, 120_000).catch(() => undefined);
    expect([served(), said]).toEqual([1, expect.any(String)]);

    const source = path.join(copy, 'apps', 'local', 'src', 'main.ts');
    writeFileSync(source, `${readFileSync(source, 'utf8')}\nconsole.log('changed just now');\n`);
    await until('it serves again, with the change', () => served() === 2 && said.includes('changed just now'), 120_000);
    expect(await answers()).toBe(true);
    process.kill(-child.pid!, 'SIGINT');
    await ended;
    await until('nobody serves', async () => !(await answers()));
  }, 300_000);
});
