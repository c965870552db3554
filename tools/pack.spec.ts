/** The packages as they are packed: what each holds and what it needs. `npm run pack:try` installs and uses them. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(__dirname, '..');
const root = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly bin?: Record<string, string>;
  readonly dependencies: Record<string, string>;
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'jobmon-pack-'));
  const program = `import('./tools/pack-programs.mjs').then(async ({ packCli, packServer }) => {
    for (const pack of [packCli, packServer]) console.log(await pack(process.argv[1]));
  })`;
  const done = spawnSync(process.execPath, ['-e', program, folder], { cwd: ROOT, encoding: 'utf8' });
  expect([done.status, done.stderr]).toEqual([0, '']);
  for (const file of done.stdout.trim().split('\n')) expect(existsSync(file)).toBe(true);
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const manifest = (name: string): Manifest => JSON.parse(readFileSync(join(folder, name, 'package.json'), 'utf8')) as Manifest;
const filesOf = (name: string): string[] => readdirSync(join(folder, name), { recursive: true }).map(String);

describe('npm run pack', () => {
  it('makes a command line that needs no database, no bus and no compiler', () => {
    const { name, version, bin, dependencies } = manifest('cli');
    expect([name, version, bin]).toEqual(['@jobmon/cli', root.version, { jobmon: 'dist/main.js' }]);
    const heavy = ['typeorm', 'better-sqlite3', 'mysql2', 'nats', 'fastify', '@nestjs/core', '@nestjs/platform-fastify'];
    expect(Object.keys(dependencies).filter((needed) => heavy.includes(needed))).toEqual([]);
    for (const [needed, at] of Object.entries(dependencies)) expect([needed, at]).toEqual([needed, root.dependencies[needed]]);
  });

  it('makes a server of every service, with the thread of the scheduler and the house', () => {
    const { bin, dependencies } = manifest('server');
    expect(bin).toEqual({ 'jobmon-server': 'dist/apps/admin/main.js' });
    expect(dependencies).toEqual(root.dependencies);
    const services = readdirSync(join(ROOT, 'apps')).filter((app) => !['agent', 'cli', 'local', 'web'].includes(app));
    expect(readdirSync(join(folder, 'server/dist/apps')).sort()).toEqual(services.sort());
    const threads = readdirSync(join(ROOT, 'apps'))
      .flatMap((app) => (existsSync(join(ROOT, 'apps', app, 'src')) ? readdirSync(join(ROOT, 'apps', app, 'src')) : []))
      .filter((file) => file.endsWith('-worker.ts'));
    for (const file of threads) expect(filesOf('server').join()).toContain(file.replace(/ts$/, 'js'));
    expect(filesOf('server')).toContain('dist/local/index.js');
  });

  it('packs neither sources nor anything private', () => {
    const odd = ['cli', 'server'].flatMap(filesOf).filter((file) => /\.(ts|map|spec\.js|env|npmrc|sqlite|ini)$/.test(file));
    expect(odd).toEqual([]);
  });

  it("is what the example of a site's package builds on: this release, with files that are there", () => {
    const at = join(ROOT, 'examples/site-preset');
    const { bin, dependencies, files } = JSON.parse(readFileSync(join(at, 'package.json'), 'utf8')) as Manifest & {
      files: string[];
    };
    expect(dependencies).toEqual({ [manifest('cli').name]: `^${root.version}` });
    expect(files.filter((file) => !existsSync(join(at, file)))).toEqual([]);
    expect(files).toEqual(expect.arrayContaining(Object.values(bin!)));
    const program = /import\('@jobmon\/cli\/(.*)'\)/.exec(readFileSync(join(at, Object.values(bin!)[0]!), 'utf8'))?.[1];
    expect(program).toBe(Object.values(manifest('cli').bin!)[0]);
  });
});
