/** The images as they are written down: docker/Dockerfile, PID 1 of the agent, and what `npm run images` refuses. Building is that command's. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(__dirname, '..');
const text = readFileSync(join(ROOT, 'docker/Dockerfile'), 'utf8');
const lines = text
  .replaceAll(/\\\n/g, ' ')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'));

describe('docker/Dockerfile', () => {
  const stages = [...text.matchAll(/^FROM (\S+) AS (\S+)$/gm)].map(([, from = '', name = '']) => ({ from, name }));

  it('has a target for every process, and stages that they are made from', () => {
    const building = ['packages', 'build', 'runtime', 'service'];
    const apps = readdirSync(join(ROOT, 'apps')).filter((app) => existsSync(join(ROOT, 'apps', app, 'src/main.ts')));
    // The house in one process is no service; `jobmon` is in the agent's image; a page is served by the api.
    const processes = apps.filter((app) => !['local', 'cli', 'web'].includes(app));
    expect(
      stages
        .map(({ name }) => name)
        .filter((name) => !building.includes(name))
        .sort(),
    ).toEqual(processes.sort());
  });

  it('begins with a base that the builder names, and with nothing else', () => {
    expect(lines[0]).toBe('ARG BASE');
    const known = new Set(['${BASE}']);
    for (const { from, name } of stages) {
      expect(known).toContain(from);
      known.add(name);
    }
  });

  it('runs as a plain user, adds nothing from elsewhere, and hands no secret to a layer', () => {
    expect(lines.filter((line) => line.startsWith('USER'))).toEqual(['USER 1000:1000']);
    expect(lines.filter((line) => line.startsWith('ADD') || /curl|wget|:latest|apt-get/.test(line))).toEqual([]);
    expect(lines.filter((line) => /^(ENV|ARG).*(TOKEN|PASSWORD|SECRET)/i.test(line))).toEqual([]);
    for (const line of lines.filter((line) => line.includes('npm ci'))) {
      expect(line).toMatch(/--ignore-scripts/);
      expect(line).toMatch(/--mount=type=secret,id=npmrc/);
    }
  });

  it('starts each by its own program, not by a shell', () => {
    for (const line of lines.filter((line) => /^(ENTRYPOINT|CMD|HEALTHCHECK)/.test(line))) {
      expect(line).toMatch(/^(ENTRYPOINT \[|HEALTHCHECK NONE|HEALTHCHECK .* CMD \[)/);
    }
    expect(lines.filter((line) => line.startsWith('ENTRYPOINT'))).toHaveLength(7);
  });
});

describe('agent-init', () => {
  const init = join(ROOT, 'docker/agent-init');

  it('ends as its program does', () => {
    expect(spawnSync(init, ['sh', '-c', 'exit 7']).status).toBe(7);
    expect(spawnSync(init, ['sh', '-c', 'exit 0']).status).toBe(0);
    expect(spawnSync(init, ['/no/such/program']).status).toBe(127);
  });

  it('hands a signal on, waits for what the program does with it, and hands on the second one too', async () => {
    const program =
      "n=0; trap 'n=$((n+1)); echo got $n; [ $n -lt 2 ] || exit 5' TERM; echo ready; for i in $(seq 400); do sleep 0.05; done";
    const child = spawn(init, ['sh', '-c', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (data) => {
      const before = said;
      said += String(data);
      for (const word of ['ready', 'got 1']) if (said.includes(word) && !before.includes(word)) child.kill('SIGTERM');
    });
    const [code] = (await once(child, 'exit')) as [number];
    expect([code, said]).toEqual([5, 'ready\ngot 1\ngot 2\n']);
  }, 30_000);

  it('hands on the signal that the program asks for in its first moment', () => {
    const program = "trap 'exit 5' TERM; kill -s TERM $PPID; for i in $(seq 400); do sleep 0.01; done";
    const ends = Array.from({ length: 50 }, () => spawnSync(init, ['sh', '-c', program], { timeout: 10_000 }).status);
    expect(new Set(ends)).toEqual(new Set([5]));
  }, 60_000);

  const canTry = spawnSync('unshare', ['--pid', '--fork', '--mount-proc', 'true']).status === 0;
  (canTry ? it : it.skip)(
    'as PID 1 waits for those that lost their parents (skipped where no namespace can be made)',
    () => {
      // Ten orphans that end at once; then nobody is left but those who look.
      const program = `for i in 1 2 3 4 5 6 7 8 9 10; do sh -c 'sleep 0.01 &'; done
      for i in $(seq 200); do grep -hs '^State:' /proc/[0-9]*/status | grep -q Z || [ $i -lt 5 ] || exit 0; sleep 0.05; done; exit 9`;
      const done = spawnSync('unshare', ['--pid', '--fork', '--mount-proc', init, 'sh', '-c', program], { encoding: 'utf8' });
      expect([done.status, done.stderr]).toEqual([0, '']);
    },
    60_000,
  );
});

describe('npm run images', () => {
  const images = (...args: string[]) =>
    spawnSync(process.execPath, ['tools/images.mjs', ...args], { cwd: ROOT, encoding: 'utf8' });

  it.each([
    [['--base', 'node:20'], /must be named by its digest/],
    [['--only', 'api,web2'], /no image is called web2; there are api, state-machine/],
    [['--tag', 'latest'], /another image each day/],
    [['--nonsense'], /--nonsense/],
  ])('%j is wrong usage', (args, sentence) => {
    const { status, stdout, stderr } = images(...args);
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(sentence);
  });

  it('tells its options', () =>
    expect(images('--help')).toMatchObject({ status: 0, stdout: expect.stringMatching(/--export FOLDER/) }));
});
