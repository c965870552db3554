import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { findServer, profilePath, removeProfile, writeProfile, type Profile } from './profile';
import { isServerUnreachable } from './send';

let folder: string;
let env: { XDG_CONFIG_HOME: string };

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'jobmon-profile-'));
  env = { XDG_CONFIG_HOME: folder };
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

const server = { url: 'http://127.0.0.1:8070', token: 'secret' };
const rewrite = (change: Partial<Profile>): void => {
  const standing = JSON.parse(readFileSync(profilePath(env), 'utf8')) as Profile;
  writeFileSync(profilePath(env), JSON.stringify({ ...standing, ...change }));
};

/** The pid of a process that has ended. */
const endedPid = (): number => spawnSync(process.execPath, ['-e', '']).pid;

test('a house that runs is found, by its own user only', async () => {
  mkdirSync(path.join(folder, 'jobmon'), { mode: 0o755 });
  writeProfile(server, env);
  expect(await findServer({ env })).toEqual(server);
  expect(statSync(profilePath(env)).mode & 0o777).toBe(0o600);
  expect(statSync(path.dirname(profilePath(env))).mode & 0o777).toBe(0o700);
  expect(readdirSync(path.dirname(profilePath(env)))).toEqual(['profile.json']);
});

test('settings of the environment win over the profile', async () => {
  writeProfile(server, env);
  const set = { ...env, JOBMON__HTTP__SERVICE_URL: 'http://other:1' };
  expect(await findServer({ env: set })).toEqual({ url: 'http://other:1' });
  expect(await findServer({ env: { ...set, JOBMON__HTTP__TOKEN: 't' } })).toEqual({ url: 'http://other:1', token: 't' });
});

test('no profile: the cure is named, and it counts as no server', async () => {
  const error = await findServer({ env }).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ message: expect.stringContaining('jobmon serve') });
  expect(isServerUnreachable(error)).toBe(true);
});

test.each<[string, () => Partial<Profile>]>([
  ['its process has ended', () => ({ pid: endedPid() })],
  ['its pid was given to another process', () => ({ process_start: '1' })],
  ['nobody answers, where the start time is not known', () => ({ process_start: null, url: 'http://127.0.0.1:1' })],
])('a profile left behind is recognised: %s', async (_, change) => {
  writeProfile(server, env);
  rewrite(change());
  await expect(findServer({ env })).rejects.toThrow(/is gone: start it again with `jobmon serve`$/);
});

test('a house that was killed is gone although its parent has not looked', async () => {
  // The shell becomes a `sleep`, which never waits for children; only then is its child killed.
  const parent = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const pid = Number(
      await new Promise<string>((resolve) => parent.stdout.once('data', (data: Buffer) => resolve(String(data)))),
    );
    const fieldsOf = (id: number): string[] => readFileSync(`/proc/${id}/stat`, 'latin1').split(' ');
    const reached = async (state: () => boolean): Promise<void> => {
      const until = Date.now() + 10_000;
      while (!state() && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 5));
      expect(state()).toBe(true);
    };
    await reached(() => fieldsOf(parent.pid!)[1] === '(sleep)');
    process.kill(pid, 'SIGKILL');
    await reached(() => fieldsOf(pid)[2] === 'Z');
    writeProfile(server, env);
    rewrite({ pid, process_start: fieldsOf(pid)[21] });
    await expect(findServer({ env })).rejects.toThrow('is gone');
  } finally {
    parent.kill();
  }
});

test('a profile that others may read is refused with the reason', async () => {
  writeProfile(server, env);
  chmodSync(profilePath(env), 0o640);
  await expect(findServer({ env })).rejects.toMatchObject({
    code: 'FORBIDDEN',
    message: expect.stringContaining('open to other users'),
  });
});

test('a profile of another owner is refused with the reason', async () => {
  writeProfile(server, env);
  const getuid = jest.spyOn(process, 'getuid' as never).mockReturnValue(4_000_000_000 as never);
  try {
    await expect(findServer({ env })).rejects.toMatchObject({ message: expect.stringContaining('another user') });
  } finally {
    getuid.mockRestore();
  }
});

test.each(['', '{', '[]', '{"url": 1}', 'null'])('a damaged profile is refused: %j', async (text) => {
  writeProfile(server, env);
  writeFileSync(profilePath(env), text);
  await expect(findServer({ env })).rejects.toMatchObject({ code: 'MALFORMED', message: expect.stringContaining('damaged') });
});

describe('a configuration file', () => {
  const configured = (text: string): NodeJS.ProcessEnv => {
    const file = path.join(folder, 'config.yaml');
    writeFileSync(file, text);
    return { ...env, JOBMON__CONFIG_FILE: file, HOST: 'there', SECRET: 's' };
  };

  test('goes before the profile and behind the environment; variables are put in', async () => {
    writeProfile(server, env);
    const found = configured('http: {service_url: "http://${HOST}:$PORT", token: $SECRET}');
    expect(await findServer({ env: found })).toEqual({ url: 'http://there:$PORT', token: 's' });
    expect(await findServer({ env: { ...found, JOBMON__HTTP__SERVICE_URL: 'http://env' } })).toEqual({ url: 'http://env' });
    for (const text of ['', 'db: {url: x}', 'http: {port: 1}', 'http:']) {
      expect((await findServer({ env: configured(text) })).url).toBe(server.url);
    }
  });

  test.each([
    ['http: {service_url: [1]}', 'something else than text'],
    ['http: {', 'is no YAML'],
  ])('with %j is refused', async (text, sentence) => {
    await expect(findServer({ env: configured(text) })).rejects.toMatchObject({
      code: 'MALFORMED',
      message: expect.stringContaining(sentence),
    });
  });

  test('that is not there is refused', async () => {
    await expect(findServer({ env: { ...env, JOBMON__CONFIG_FILE: '/nowhere/x.yaml' } })).rejects.toThrow(
      'cannot be read (ENOENT)',
    );
  });
});

test('a house removes its own profile and leaves that of another', async () => {
  const own = writeProfile(server, env);
  const other = writeProfile({ ...server, token: 'other' }, env);
  removeProfile(own, env);
  expect((await findServer({ env })).token).toBe('other');
  removeProfile(other, env);
  removeProfile(other, env);
  await expect(findServer({ env })).rejects.toThrow('no Jobmon server is known');
});
