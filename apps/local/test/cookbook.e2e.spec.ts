/** Every example of the cookbook, as its reader runs it: a house, the command that stands in `examples/README.md`, and what it prints. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { buildHouse, HouseProcess, PythonSite, pythonPrograms, ROOT, UserFolder, type PythonEnd } from '@jobmon/testkit';

jest.setTimeout(120_000);

const EXAMPLES = path.join(ROOT, 'examples');
const python = pythonPrograms();

interface Said {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

describe('the cookbook', () => {
  let user: UserFolder;
  let house: HouseProcess;
  let folder: string;
  let ofPython: Promise<PythonEnd> | undefined;
  const page = readFileSync(path.join(EXAMPLES, 'README.md'), 'utf8');

  beforeAll(async () => {
    buildHouse();
    user = new UserFolder({ JOBMON__AGENT__CORES: '8' });
    folder = user.folder('work');
    house = await HouseProcess.start(user);
    // It takes as long as all others together, most of it waiting: it runs beside them.
    if (!('missing' in python)) {
      const site = new PythonSite(user, 'python', python.folder, house.url!);
      ofPython = site.run('python', [path.join(EXAMPLES, 'from_python.py')]);
    }
  });
  afterAll(async () => {
    await house?.end('SIGTERM');
    await user.remove();
  });

  function run(...args: string[]): Promise<Said> {
    const child = spawn(process.execPath, args, { cwd: folder, env: user.env, stdio: ['ignore', 'pipe', 'pipe'] });
    const said = { stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (said.stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said.stderr += text));
    return new Promise((resolve) => child.on('close', (code) => resolve({ code, ...said })));
  }
  const example = (name: string, ...args: string[]): Promise<Said> =>
    run(path.join(ROOT, 'tools', 'run-example.mjs'), path.join(EXAMPLES, name), ...args);
  const jobmon = (...args: string[]): Promise<Said> => run(path.join(ROOT, 'dist', 'apps', 'cli', 'main.js'), ...args);
  const read = (file: string): string => readFileSync(path.join(folder, file), 'utf8');
  /** What the page says that a program prints, where the number of the workflow is another one each time. */
  const told = (text: string): string => text.trim().replace(/workflow \d+/g, 'workflow N');

  test('names every example, and nothing else', () => {
    const files = readdirSync(EXAMPLES).filter((name) => /\.(ts|yaml|py)$/.test(name));
    expect(files.filter((name) => !page.includes(`examples/${name}`))).toEqual([]);
    const named = [...page.matchAll(/examples\/([\w.-]+\.(?:ts|yaml|py))/g)].map(([, name]) => name as string);
    expect(named.filter((name) => !existsSync(path.join(EXAMPLES, name)))).toEqual([]);
  });

  test('map and reduce over locations and years', async () => {
    const said = await example('map-reduce.ts');
    expect(said).toMatchObject({ code: 0 });
    expect(told(said.stdout)).toBe('workflow N is DONE: 13 of 13 tasks done\nkenya,62\nnorway,63\nperu,61');
    expect(read('map-reduce/peru-2010.csv')).toBe('peru,2010,63\n');
    expect(page.replace(/workflow \d+/g, 'workflow N')).toContain(told(said.stdout));
  });

  test('a sweep of simulations whose memory is scaled', async () => {
    const said = await example('simulation-sweep.ts');
    expect(said).toMatchObject({ code: 0 });
    const lines = said.stdout.trim().split('\n');
    expect(lines[0]).toMatch(/^workflow \d+ is DONE: 4 of 4 tasks done$/);
    for (const seed of [1, 2]) {
      const small = `^simulate_population-1000_seed-${seed}: passed at attempt 1 with 64 MiB, of which it used \\d+$`;
      expect(lines).toContainEqual(expect.stringMatching(new RegExp(small)));
      const large = `^simulate_population-80000000_seed-${seed}: passed at attempt 2 with 192 MiB, of which it used (\\d+)$`;
      const [, used] = new RegExp(large, 'm').exec(said.stdout) ?? [];
      expect(Number(used)).toBeGreaterThan(64);
    }
  });

  test('a nightly pipeline that is started again, and does again only what was not done', async () => {
    const first = await example('nightly-pipeline.ts', '2026-11-22');
    expect(told(first.stdout)).toMatch(
      /^workflow N is FAILED: 4 of 5 tasks done\ndone before this start: 0\npublish_page-index.txt failed: the command ended with exit status 1$/,
    );
    expect(first.code).toBe(1);
    writeFileSync(path.join(folder, 'nightly-2026-11-22', 'site-is-up'), '');
    const second = await example('nightly-pipeline.ts', '2026-11-22');
    expect(told(second.stdout)).toBe('workflow N is DONE: 5 of 5 tasks done\ndone before this start: 4');
    expect(second.code).toBe(0);
    expect(read('nightly-2026-11-22/index.txt')).toBe('BIRTHS OF 2026-11-22\nDEATHS OF 2026-11-22\n');
    // Each was fetched and cleaned once.
    expect(read('nightly-2026-11-22/diary').trim().split('\n').sort()).toEqual([
      'cleaned births',
      'cleaned deaths',
      'fetched births',
      'fetched deaths',
    ]);
    const third = await example('nightly-pipeline.ts', '2026-11-22');
    expect([third.code, third.stdout]).toEqual([0, expect.stringMatching(/workflow \d+ .*done/i)]);
  });

  test('a workflow from a YAML file', async () => {
    const said = await jobmon('run', path.join(EXAMPLES, 'sales.yaml'));
    expect(said).toMatchObject({ code: 0 });
    expect(read('report.txt')).toBe('alma 1206\nberta 1506\n');
  });

  test('a branch that fails, and what to do then', async () => {
    const said = await example('failing-branch.ts');
    expect(said.code).toBe(1);
    expect(told(said.stdout)).toMatch(
      /^workflow N is FAILED: 2 of 4 tasks done\ncount_region-south failed 2 times: the command ended/,
    );
    expect(read('failing-branch/north.txt')).toBe('north: 3 answers\n');
    const id = /workflow (\d+)/.exec(said.stdout)![1] as string;
    for (const line of said.stdout.split('\n').filter((text) => text.includes('npx jobmon'))) {
      expect(page).toContain(line.trim().replace(/ \d+ /, ' 7 ').replace(/ +#.*/, ''));
    }
    const errors = await jobmon('workflow', 'errors', id, '-o', 'json');
    expect([errors.code, errors.stdout]).toEqual([0, expect.stringContaining('south.csv')]);
    writeFileSync(path.join(folder, 'failing-branch', 'south.csv'), 'yes\n');
    const retried = await jobmon('workflow', 'retry', id, '--watch');
    expect(retried).toMatchObject({ code: 0 });
    expect(read('failing-branch/south.txt')).toBe('south: 1 answers\n');
    expect(user.rows('SELECT name FROM task WHERE workflow_id = ? AND status <> ?', id, 'D')).toEqual([]);
  });

  if ('missing' in python) {
    const title = `from Python: ${python.missing}`;
    if (process.env.CI === 'true') {
      test(title, () => {
        throw new Error(`${python.missing} In CI this test must run.`);
      });
    } else test.skip(title, () => undefined); // reason: it is the title
  } else {
    test('a workflow of the published Python client', async () => {
      const said = (await ofPython) as PythonEnd;
      expect(said).toMatchObject({ code: 0 });
      expect(told(said.stdout)).toContain('workflow N ended with D');
      expect(readFileSync(path.join(user.path, 'python', 'from-python', 'word.txt'), 'utf8')).toBe('a\nb\nc\n');
    });
  }
});
