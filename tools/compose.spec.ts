/** docker/compose: the settings of a machine, good and bad, and what docker/compose.yaml promises. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';

const ROOT = join(__dirname, '..');
const DOCKER = join(ROOT, 'docker');
const KEYS = ['WEB_SERVICE_PORT', 'EXTERNAL_DB_PORT', 'LOCAL_PATH', 'LOCAL_PATH_READ_ONLY', 'JOBMON_INI'];

interface Compose {
  readonly services: Record<
    string,
    { image: string; ports?: string[]; user?: string; environment?: Record<string, string>; networks?: string[] }
  >;
}

let folder: string;
beforeAll(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'jobmon-compose-')));
  // Stands in the place of Docker's: says what it was given.
  const program = join(folder, 'docker-compose');
  writeFileSync(
    program,
    '#!/bin/sh\necho "$WEB_SERVICE_PORT $EXTERNAL_DB_PORT $LOCAL_PATH $LOCAL_PATH_INSIDE $LOCAL_PATH_READ_ONLY $*"\n',
  );
  writeFileSync(join(folder, 'docker'), '#!/bin/sh\nexit 1\n');
  for (const name of ['docker-compose', 'docker']) chmodSync(join(folder, name), 0o755);
  mkdirSync(join(folder, 'files'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function compose(ini: string | undefined, env: NodeJS.ProcessEnv = {}, path = `${folder}:/usr/bin:/bin`) {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([key]) => !KEYS.includes(key)));
  const file = join(folder, 'jobmon.ini');
  if (ini !== undefined) writeFileSync(file, ini);
  const given = ini === undefined ? {} : { JOBMON_INI: file };
  const options = { encoding: 'utf8', env: { ...clean, HOME: folder, ...given, ...env, PATH: path } } as const;
  const { status, stdout, stderr } = spawnSync(join(DOCKER, 'compose'), ['config'], options);
  return { status, out: stdout.trim(), err: stderr.trim() };
}

describe('docker/compose', () => {
  it('gives the example what no file gives', () => {
    const work = join(realpathSync(DOCKER), 'work');
    const { status, out } = compose(readFileSync(join(DOCKER, 'jobmon.ini.example'), 'utf8').replace('./work', work));
    expect([status, out]).toEqual([0, expect.stringContaining(`3000 3306 ${work} ${work} true -p jobmon -f `)]);
    expect(existsSync(work)).toBe(true);
  });

  it('takes each key in the forms that people write', () => {
    const ini = `[jobmon]\r\n# a remark\nWEB_SERVICE_PORT = 8080\nEXTERNAL_DB_PORT=127.0.0.1:13306\nLOCAL_PATH="~/files"\nLOCAL_PATH_READ_ONLY=false`;
    expect(compose(ini).out).toMatch(`8080 13306 ${folder}/files ${folder}/files false`);
    expect(compose('LOCAL_PATH=~\n').out).toMatch(` ${folder} ${folder} true`);
    expect(compose('LOCAL_PATH=~/.\n').out).toMatch(` ${folder} ${folder} true`);
    expect(compose('WEB_SERVICE_PORT=1\n', { WEB_SERVICE_PORT: '2' }).out).toMatch(/^2 /);
  });

  it.each([
    ['WEB_SERVICE_PORT=abc', /WEB_SERVICE_PORT=abc must be a port from 1 to 65535/],
    ['WEB_SERVICE_PORT=65536', /must be a port/],
    ['WEB_SERVICE_PORT=0', /must be a port/],
    ['WEB_SERVICE_PORT=0.0.0.0:3000', /or localhost:PORT/],
    ['EXTERNAL_DB_PORT=3000', /are both 3000/],
    ['LOCAL_PATH=/', /would hide/],
    ['LOCAL_PATH=/usr', /would hide/],
    ['LOCAL_PATH=/no/such/folder', /is no folder of this machine/],
    ['LOCAL_PATH_READ_ONLY=perhaps', /must be true or false/],
    ['WEB_PORT=1', /line 1: 'WEB_PORT' is no setting; there are WEB_SERVICE_PORT/],
    ['port 1', /is no KEY=VALUE/],
  ])('refuses %s', (line, sentence) => {
    const { status, out, err } = compose(`${line}\n`);
    expect([status, out]).toEqual([2, '']);
    expect(err).toMatch(sentence);
  });

  it('says what to install where there is no Docker', () => {
    const bare = join(folder, 'bare');
    mkdirSync(bare);
    const tools = ['sh', 'dirname', 'sed', 'mkdir'].map((tool) => `ln -s "$(command -v ${tool})" ${bare}/${tool}`).join(' && ');
    expect(spawnSync('sh', ['-c', tools]).status).toBe(0);
    expect(compose('', { LOCAL_PATH: folder }, bare).err).toMatch(/install Docker/);
  });
});

describe('docker/compose.yaml', () => {
  const text = readFileSync(join(DOCKER, 'compose.yaml'), 'utf8');
  const { services } = parse(text, { merge: true }) as Compose;

  it('has every process, images of this version and none called latest', () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    const own = Object.entries(services).filter(([, { image }]) => image.includes('JOBMON_IMAGES'));
    expect(own.map(([name]) => name).sort()).toEqual(
      ['agent', 'api', 'log-sink', 'migration', 'reaper', 'scheduler', 'settings', 'state-machine'].sort(),
    );
    for (const [, { image }] of own)
      expect(image).toMatch(new RegExp(`:\\$\\{JOBMON_VERSION:-${version.replaceAll('.', '\\.')}\\}$`));
    for (const { image } of Object.values(services)) expect(image).not.toMatch(/latest|^[^:]+$/);
  });

  it('joins those who talk to one another by a network, and the agent to the api alone', () => {
    const networksOf = (name: string): string[] => services[name]?.networks ?? ['default'];
    const reached = (from: string): string[] =>
      Object.keys(services).filter((to) => to !== from && networksOf(from).some((network) => networksOf(to).includes(network)));
    expect(reached('agent')).toEqual(['api']);
    for (const name of ['api', 'state-machine', 'scheduler', 'log-sink', 'reaper'])
      expect(reached(name)).toEqual(expect.arrayContaining(['database', 'bus']));
    expect(reached('migration')).toContain('database');
  });

  it('is reachable from this machine only, and holds no secret', () => {
    const ports = Object.values(services).flatMap(({ ports = [] }) => ports);
    // The service, the database for SQL programs, and the developers' house.
    expect(ports).toHaveLength(3);
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/);
    for (const { environment = {} } of Object.values(services)) {
      expect(Object.keys(environment).filter((key) => /TOKEN|DB__URL|_PASSWORD$/.test(key))).toEqual(
        ['MARIADB_RANDOM_ROOT_PASSWORD'].filter((key) => key in environment),
      );
    }
  });
});

/** Docker's own program, which needs no engine to check a file. `npm test` installs it where CI asks for everything. */
const real = ['/usr/bin/docker-compose', '/usr/local/bin/docker-compose'].some((file) => existsSync(file));
(real ? describe : describe.skip)('docker-compose itself (skipped where it is not installed)', () => {
  type Port = string | { readonly host_ip: string; readonly published: string | number; readonly target: number };
  interface Whole {
    readonly services: Record<string, { readonly ports?: readonly Port[]; readonly volumes?: readonly unknown[] }>;
  }
  const PATH = '/usr/bin:/bin:/usr/local/bin';
  const clean = Object.fromEntries(Object.entries(process.env).filter(([key]) => !KEYS.includes(key)));
  const call = (program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
    spawnSync(program, [...args, 'config'], { encoding: 'utf8', env: { ...clean, HOME: folder, ...env, PATH } });
  const portsOf = (whole: Whole, name: string): string[] =>
    (whole.services[name]?.ports ?? []).map((port) =>
      typeof port === 'string' ? port.replace('/tcp', '') : `${port.host_ip}:${port.published}:${port.target}`,
    );
  /** A place with the files of `docker` and no settings, as a machine has it after the clone. */
  const place = (): string => {
    const at = mkdtempSync(join(folder, 'machine-'));
    for (const file of ['compose', 'compose.yaml', 'jobmon.ini.example']) copyFileSync(join(DOCKER, file), join(at, file));
    return at;
  };

  it('is content with the example, and makes of it what it makes of no file', () => {
    const at = place();
    const without = call(join(at, 'compose'), []);
    expect([without.status, without.stderr]).toEqual([0, expect.not.stringMatching(/error/i)]);
    copyFileSync(join(at, 'jobmon.ini.example'), join(at, 'jobmon.ini'));
    expect(call(join(at, 'compose'), []).stdout).toBe(without.stdout);
    const whole = parse(without.stdout) as Whole;
    expect(portsOf(whole, 'api')).toEqual(['127.0.0.1:3000:8070']);
    expect(portsOf(whole, 'database')).toEqual(['127.0.0.1:3306:3306']);
    const work = join(at, 'work');
    expect(whole.services.agent?.volumes).toContainEqual(
      expect.objectContaining({ source: work, target: work, read_only: true }),
    );
  });

  it('is told what jobmon.ini says', () => {
    const at = place();
    mkdirSync(join(at, 'files'));
    const ini = 'WEB_SERVICE_PORT=localhost:8080\nEXTERNAL_DB_PORT=13306\nLOCAL_PATH=./files\nLOCAL_PATH_READ_ONLY=false\n';
    writeFileSync(join(at, 'jobmon.ini'), ini);
    const { status, stdout } = call(join(at, 'compose'), []);
    expect(status).toBe(0);
    const whole = parse(stdout) as Whole;
    expect([portsOf(whole, 'api'), portsOf(whole, 'database')]).toEqual([['127.0.0.1:8080:8070'], ['127.0.0.1:13306:3306']]);
    expect(whole.services.agent?.volumes).toContainEqual(expect.objectContaining({ source: join(at, 'files') }));
    expect(stdout).not.toMatch(/read_only: true\n *source: .*files/);
  });

  it('has a house for developers and its command line, both of this checkout, where the profile dev asks for them', () => {
    const file = ['-f', join(DOCKER, 'compose.yaml')];
    const { status, stdout } = call('docker-compose', [...file, '--profile', 'dev']);
    expect(status).toBe(0);
    const whole = parse(stdout) as Whole & { readonly services: Record<string, { readonly profiles?: readonly string[] }> };
    const behind = Object.entries(whole.services).filter(([, { profiles = [] }]) => profiles.includes('dev'));
    expect(behind.map(([name]) => name).sort()).toEqual(['client', 'develop']);
    expect([portsOf(whole, 'develop'), portsOf(whole, 'client')]).toEqual([['127.0.0.1:8070:8070'], []]);
    const mounted = (name: string): string => JSON.stringify(whole.services[name]?.volumes);
    for (const name of ['client', 'develop']) expect(mounted(name)).toContain(ROOT);
    expect(['client', 'develop'].map((name) => /:ro"|"read_only":true/.test(mounted(name)))).toEqual([true, false]);
  });

  it.each([
    ['WEB_SERVICE_PORT', 'abc', /api.*ports|invalid/i],
    ['LOCAL_PATH_READ_ONLY', 'perhaps', /perhaps/],
  ])('refuses %s=%s where somebody goes past docker/compose', (key, value, complaint) => {
    const file = ['-f', join(DOCKER, 'compose.yaml')];
    const { status, stderr } = call('docker-compose', file, { [key]: value });
    expect([status === 0, stderr]).toEqual([false, expect.stringMatching(complaint)]);
  });
});

describe('docker/first-settings.mjs', () => {
  const make = (at: string) => spawnSync(process.execPath, [join(DOCKER, 'first-settings.mjs'), at], { encoding: 'utf8' });

  it('makes settings that fit together, once, and keeps the database from the agent', () => {
    const at = join(folder, 'volumes');
    expect(make(at).status).toBe(0);
    const read = (file: string): string => readFileSync(join(at, file), 'utf8');
    const of = (name: string) => parse(read(`${name}/jobmon.yaml`)) as { db: { url: string }; http: { token: string } };
    const accounts = read('database/accounts.sql');
    expect(accounts).not.toMatch(/@[A-Z]+_PASSWORD@'/);
    for (const name of ['services', 'migration']) expect(accounts).toContain(`'${new URL(of(name).db.url).password}'`);
    expect(of('agent').http.token).toBe(of('services').http.token);
    expect(read('agent/jobmon.yaml')).not.toMatch(/mariadb/);
    const before = statSync(join(at, 'database/accounts.sql')).mtimeMs;
    expect(make(at).status).toBe(0);
    expect(statSync(join(at, 'database/accounts.sql')).mtimeMs).toBe(before);
    rmSync(join(at, 'agent'), { recursive: true });
    expect(make(at)).toMatchObject({ status: 1, stderr: expect.stringMatching(/down -v removes all/) });
  });
});
