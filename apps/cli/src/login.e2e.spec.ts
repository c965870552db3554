/** `jobmon login`, `whoami`, `token` and `logout` as they are typed, at a house with login on and a real provider. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Connection, findServer, loginToken, type StoredLogin } from '@jobmon/client';
import { whoAmI } from '@jobmon/contracts';
import { loadHouseConfig, startHouse, type House } from '@jobmon/local';
import { agreeInBrowser, LoginProvider, until } from '@jobmon/testkit';
import { exportJWK, generateKeyPair } from 'jose';
import { pino } from 'pino';
import type { Finished } from '../test/house-process';
import { typed } from '../test/typed';

let folder: string;
let house: House;
let provider: LoginProvider;
const before = { ...process.env };

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'jobmon-login-'));
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  provider = await LoginProvider.start({
    keys: [{ ...(await exportJWK(privateKey)), kid: 'one', alg: 'ES256', use: 'sig' }],
    audience: 'https://jobmon.example.org/api',
    roles: { ada: ['operator'], root: ['admin'] },
  });
  const env = {
    HOME: folder,
    JOBMON__AUTH__MODE: 'on',
    JOBMON__AUTH__ISSUER: provider.issuer,
    JOBMON__AUTH__AUDIENCE: 'https://jobmon.example.org/api',
  };
  const { config } = loadHouseConfig({ db: `sqlite:${path.join(folder, 'jobmon.sqlite')}` }, env);
  house = await startHouse({ config, log: pino({ level: 'silent' }), port: 0, without: ['agent', 'scheduler'] });
  Object.assign(process.env, { HOME: folder, XDG_CONFIG_HOME: folder, JOBMON__HTTP__SERVICE_URL: house.url });
  delete process.env.JOBMON__HTTP__TOKEN;
});
afterAll(async () => {
  process.env = before;
  await house.stop();
  await provider.kill();
  rmSync(folder, { recursive: true, force: true });
});

const file = (): string => path.join(folder, 'jobmon', 'logins.json');
const logins = (): Record<string, StoredLogin> => JSON.parse(readFileSync(file(), 'utf8')) as Record<string, StoredLogin>;
const stored = (): StoredLogin => logins()[house.url] as StoredLogin;
const store = (change: Partial<StoredLogin>): void =>
  writeFileSync(file(), JSON.stringify({ [house.url]: { ...stored(), ...change } }), { mode: 0o600 });
const ask = async () => new Connection(await findServer()).send(whoAmI, {});

/** A command whose standard error is read while it runs: it says where a person must go. */
function begin(...args: string[]): { finished: Promise<Finished>; page: () => Promise<string> } {
  let seen = '';
  const finished = typed(...args);
  const write = process.stderr.write;
  process.stderr.write = ((chunk: string) => {
    seen += chunk;
    return write.call(process.stderr, chunk);
  }) as typeof process.stderr.write;
  const page = async (): Promise<string> => {
    await until('it says where to go', () => /\n {2}http\S+\n/.test(seen));
    return /\n {2}(http\S+)\n/.exec(seen)![1]!;
  };
  return { finished, page };
}

async function loginAs(account: string): Promise<Finished> {
  await provider.change({ account });
  const { finished, page } = begin('login');
  await agreeInBrowser(await page());
  return finished;
}

it('tells who is not logged in what to do', async () => {
  for (const args of [['whoami'], ['workflow', 'list'], ['token', 'list'], ['workflow', 'pause', '1']]) {
    const { code, stdout, stderr } = await typed(...args);
    expect([args, code, stdout, stderr]).toEqual([args, 4, '', expect.stringMatching(/^Error: .*`jobmon login`.*\n$/)]);
  }
  expect(await typed('logout')).toMatchObject({ code: 0, stderr: `There is no login at ${house.url}.\n` });
});

it('logs in by a code in any browser', async () => {
  const { code, stdout, stderr } = await loginAs('ada');
  expect([code, stdout, stderr]).toEqual([0, '', expect.stringContaining(`Logged in at ${house.url} as ada (operator).`)]);
  expect(stderr).toMatch(/type the code [A-Z]{4}-[A-Z]{4}, or open/);
  expect([statSync(file()).mode & 0o777, statSync(path.dirname(file())).mode & 0o777]).toEqual([0o600, 0o700]);
  for (const secret of [stored().token, stored().refresh_token!]) expect(stderr).not.toContain(secret);
  const who = JSON.parse((await typed('whoami', '-o', 'json')).stdout) as object;
  expect(who).toMatchObject({ server: house.url, user: 'ada', role: 'operator', credential: 'provider' });
  expect((await typed('workflow', 'list', '-o', 'json')).code).toBe(0);
  expect(await typed('--server', `${house.url}/`, 'whoami')).toMatchObject({ code: 0, stdout: expect.stringContaining('ada') });
});

it('makes the login new when it ends, once for all who ask', async () => {
  const first = stored();
  store({ expires_at: Date.now() + 1_000 });
  // A provider takes a refresh token once: had each of them sent it, it would have ended the login.
  const tokens = await Promise.all(Array.from({ length: 5 }, () => loginToken(house.url)!()));
  expect(new Set(tokens)).toEqual(new Set([stored().token]));
  expect(stored().token).not.toBe(first.token);
  expect(stored().refresh_token).not.toBe(first.refresh_token);
  expect(await ask()).toMatchObject({ user: 'ada' });
});

it('makes it new when the server refuses it though it should be good', async () => {
  const good = stored().token;
  store({ token: `${good.slice(0, -4)}AAAA` });
  expect(await ask()).toMatchObject({ user: 'ada' });
  expect(stored().token).not.toContain('AAAA');
});

it('uses what is left of it while the provider is away', async () => {
  const { issuer, token_endpoint } = stored();
  store({ token_endpoint: 'http://127.0.0.1:1/token', expires_at: Date.now() + 20_000 });
  expect(await ask()).toMatchObject({ user: 'ada' });
  store({ expires_at: Date.now() - 1 });
  expect(await typed('whoami')).toMatchObject({ code: 5, stderr: expect.stringMatching(/login provider .* does not answer/) });
  store({ issuer, token_endpoint });
  expect(await ask()).toMatchObject({ user: 'ada' });
});

it('says when the login has ended for good', async () => {
  const kept = stored();
  store({ expires_at: 0, refresh_token: 'unknown' });
  expect(await typed('whoami')).toMatchObject({ code: 4, stderr: expect.stringMatching(/has ended .*run `jobmon login`/) });
  store(kept);
});

it('keeps no login that others could have read', async () => {
  chmodSync(file(), 0o644);
  expect(await typed('whoami')).toMatchObject({ code: 4, stderr: expect.stringContaining('open to other users') });
  chmodSync(file(), 0o600);
});

it('makes, lists and revokes API tokens, which go before a login', async () => {
  const made = await typed('token', 'create', 'ci', '--role', 'reader', '--expires', '12h');
  expect([made.code, made.stdout]).toEqual([0, expect.stringMatching(/^jobmon_[\w-]{43}\n$/)]);
  const token = made.stdout.trim();
  const whoami = await typed('--token', token, 'whoami', '-o', 'json');
  expect(JSON.parse(whoami.stdout)).toMatchObject({ user: 'ada', role: 'reader', credential: 'api_token' });
  const [row] = JSON.parse((await typed('token', 'list', '-o', 'json')).stdout) as { api_token_id: number }[];
  expect(row).toMatchObject({ name: 'ci', user: 'ada', role: 'reader', state: 'valid' });
  expect((await typed('token', 'list')).stdout).toMatch(/ID +STATE +USER +ROLE/);
  expect(await typed('--token', token, 'token', 'create', 'x')).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('role'),
  });
  expect(await typed('token', 'create', 'x', '--user', 'eve')).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('admin'),
  });
  expect((await typed('token', 'revoke', String(row!.api_token_id))).code).toBe(0);
  expect(await typed('--token', token, 'whoami')).toMatchObject({ code: 4, stderr: expect.stringContaining('revoked') });
  expect(await typed('token', 'revoke', '999')).toMatchObject({ code: 3 });
});

it('logs out here and at the provider', async () => {
  const { refresh_token, token_endpoint, client_id } = stored();
  expect(await typed('logout')).toMatchObject({ code: 0, stderr: `Logged out at ${house.url}.\n` });
  expect(logins()).toEqual({});
  expect((await typed('whoami')).code).toBe(4);
  const form = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refresh_token!, client_id });
  const answer = await fetch(token_endpoint, { method: 'POST', body: form });
  expect(await answer.json()).toMatchObject({ error: 'invalid_grant' });
});

it('logs in by a browser on this machine', async () => {
  await provider.change({ account: 'root' });
  const { finished, page } = begin('login', '--browser');
  const url = new URL(await page());
  const back = url.searchParams.get('redirect_uri')!;
  expect([url.searchParams.get('code_challenge_method'), new URL(back).hostname]).toEqual(['S256', '127.0.0.1']);
  // Whoever does not know what this login asked with can't answer it.
  expect((await fetch(`${back}?code=forged&state=forged`)).status).toBe(404);
  expect(await agreeInBrowser(url.href)).toMatch(/^200 Done/);
  expect(await finished).toMatchObject({ code: 0, stderr: expect.stringContaining('as root (admin)') });
  expect((await typed('token', 'create', 'of eve', '--user', 'eve', '--role', 'operator')).code).toBe(0);
});

it('keeps nothing of a person who has no role', async () => {
  const kept = stored();
  const { code, stderr } = await loginAs('nobody');
  expect([code, stderr]).toEqual([4, expect.stringContaining('nobody is known and has no role here')]);
  expect(stored()).toEqual(kept);
});

it('knows the house’s own token as that of who started it', async () => {
  expect(await new Connection(house).send(whoAmI, {})).toMatchObject({ role: 'admin', credential: 'house', expires_date: null });
});
