/**
 * `npm run develop` on a copy of this checkout, with what docker/compose.yaml gives its container: the house is built and started anew when a source
 * changes, and ends with what started it.
 */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import path from 'node:path';
import { freePort, ROOT, until, UserFolder } from '@jobmon/testkit';
import { parse } from 'yaml';

interface Container {
  readonly command: readonly string[];
  readonly entrypoint: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

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
    const { services } = parse(readFileSync(path.join(ROOT, 'docker/compose.yaml'), 'utf8'), { merge: true }) as {
      services: { develop: Container; client: Container };
    };
    const { develop, client } = services;
    const port = await freePort();
    const [program = '', ...args] = develop.command.map((word) => (word === '8070' ? String(port) : word));
    let said = '';
    child = spawn(program, args, {
      cwd: copy,
      env: { ...user.env, ...develop.environment, HOME: user.path },
      detached: true,
    });
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (data) => (said += String(data)));
    const ended = new Promise<number | null>((resolve) => child!.once('exit', resolve));
    const served = (): number => said.match(new RegExp(`^Jobmon serves at http://\\S+:${port}`, 'gm'))?.length ?? 0;
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

    // Who is in the network of containers calls it by its name there; the command line needs no token and no profile.
    const { host } = new URL(client.environment.JOBMON__HTTP__SERVICE_URL!);
    const asked = (name: string): Promise<unknown> =>
      new Promise((resolve) =>
        get(`http://127.0.0.1:${port}/api/v3/`, { headers: { host: name } }, (answer) => resolve(answer.resume().statusCode)),
      );
    expect([host, await asked(host), await asked('elsewhere:8070')]).toEqual(['develop:8070', 200, 403]);
    const [node = '', ...commandLine] = client.entrypoint;
    const env = {
      ...user.env,
      HOME: user.folder('nobody'),
      XDG_CONFIG_HOME: '',
      JOBMON__HTTP__SERVICE_URL: `http://127.0.0.1:${port}`,
    };
    const listed = spawnSync(node, [...commandLine, 'workflow', 'list', '--output', 'json'], {
      cwd: copy,
      env,
      encoding: 'utf8',
    });
    expect([listed.status, listed.stderr]).toEqual([0, '']);

    process.kill(-child.pid!, 'SIGINT');
    await ended;
    await until('nobody serves', async () => !(await answers()));
  }, 300_000);
});
