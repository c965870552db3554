import { databases, LoginProvider, until, type TestDatabase } from '@jobmon/testkit';
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT, type JWK, type KeyLike } from 'jose';
import { callAs } from '../test/bearer';
import { authOf, serve, type Answered, type Served } from '../test/serve';
import { roleOf } from './provider';

const AUDIENCE = 'https://jobmon.example.org/api';
const PATH = '/api/v4/whoami';

interface Key {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: KeyLike;
  readonly jwk: JWK;
}

async function makeKey(kid: string, alg = 'ES256'): Promise<Key> {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, jwk: { ...(await exportJWK(privateKey)), kid, alg, use: 'sig' } };
}

// The database has no part in what is shown here; the table of operations is run on both.
describe('tokens of a provider', () => {
  let database: TestDatabase;
  let provider: LoginProvider;
  let served: Served;
  let known: Key;
  let next: Key;

  const settings = (): Parameters<typeof LoginProvider.start>[0] => ({
    keys: [known.jwk],
    audience: AUDIENCE,
    roles: { ada: ['staff'] },
  });
  const serveIssuer = (issuer: string, changes = {}): Promise<Served> =>
    serve(database, {
      auth: { issuer, audience: AUDIENCE, roles: ['staff=operator', 'heads=admin', 'staff of all=reader'], ...changes },
    });

  beforeAll(async () => {
    [database, known, next] = await Promise.all([databases()[0]!.open(), makeKey('first'), makeKey('second')]);
    provider = await LoginProvider.start(settings());
    served = await serveIssuer(provider.issuer);
  });
  afterAll(async () => {
    await served.close();
    await provider.kill();
    await database.drop();
  });

  interface Claims {
    readonly iss?: string;
    readonly sub?: string;
    readonly aud?: string | string[];
    readonly roles?: unknown;
    readonly exp?: number | null;
    readonly nbf?: number;
    readonly typ?: string;
  }
  const seconds = (after: number): number => Math.floor(Date.now() / 1_000) + after;
  const sign = (key: Key, { exp = seconds(60), typ = 'at+jwt', ...claims }: Claims = {}, header = {}): Promise<string> => {
    const payload = { iss: provider.issuer, sub: 'ada', aud: AUDIENCE, roles: ['staff'], ...claims };
    const token = new SignJWT({ ...payload, ...(exp === null ? {} : { exp }) });
    return token.setProtectedHeader({ alg: key.alg, kid: key.kid, typ, ...header }).sign(key.privateKey);
  };
  const show = (token: string, to = served): Promise<Answered> => callAs(to, token, 'GET', PATH);

  it('are believed when the provider signed them for us', async () => {
    const exp = seconds(60);
    expect((await show(await sign(known, { exp }))).json).toEqual({
      user: 'ada',
      role: 'operator',
      credential: 'provider',
      expires_date: new Date(exp * 1_000).toISOString().slice(0, 19).replace('T', ' '),
    });
    expect((await show(await sign(known, { aud: ['another', AUDIENCE], typ: 'JWT' }))).status).toBe(200);
    // Clocks differ a little.
    expect((await show(await sign(known, { exp: seconds(-10), nbf: seconds(10) }))).status).toBe(200);
  });

  it('tell the one who may not come in why', async () => {
    const none = await show(await sign(known, { roles: [] }));
    expect([none.status, none.json.error.message]).toEqual([403, expect.stringContaining('ada is known and has no role here')]);
    const expired = await show(await sign(known, { exp: seconds(-60) }));
    expect([expired.status, expired.json.error.message]).toEqual([401, expect.stringContaining('has expired')]);
    const of_another = await show(await sign(known, { aud: 'another' }));
    expect([of_another.status, of_another.json.error.message]).toEqual([401, expect.stringContaining(AUDIENCE)]);
  });

  it.each<[string, (forged: Key) => Promise<string> | string]>([
    ['that have expired', () => sign(known, { exp: seconds(-60) })],
    ['that never expire', () => sign(known, { exp: null })],
    ['that are not valid yet', () => sign(known, { nbf: seconds(60) })],
    ['for another audience', () => sign(known, { aud: 'another' })],
    ['for the client, where the audience is another', () => sign(known, { aud: 'jobmon' })],
    ['of another issuer', () => sign(known, { iss: 'https://evil.example.org' })],
    ['of an issuer that begins alike', () => sign(known, { iss: `${provider.issuer}0` })],
    ['signed by a key that nobody knows', (forged) => sign(forged)],
    ['signed by a key that says it is the known one', (forged) => sign({ ...forged, kid: known.kid })],
    ['that bring their key along', (forged) => sign(forged, {}, { jwk: { ...forged.jwk, d: undefined } })],
    [
      'without a signature',
      () => new UnsecuredJWT({ iss: provider.issuer, sub: 'ada', aud: AUDIENCE, roles: ['staff'] }).encode(),
    ],
    ['that were changed', async () => changed(await sign(known, { roles: ['staff'] }), { roles: ['heads'] })],
    ['of nobody', () => sign(known, { sub: '' })],
    ['of a name that hides', () => sign(known, { sub: 'ada\u202e' })],
    ['of another kind', () => sign(known, { typ: 'logout+jwt' })],
    ['that are none', () => 'a.b.c'],
  ])('are refused: those %s', async (_, make) => {
    const { status, json } = await show(await make(await makeKey('unknown')));
    expect([status, json.error.code]).toEqual([401, 'UNAUTHORIZED']);
  });

  it('of a shared secret are refused, also of the public key as the secret', async () => {
    const { d: _, ...open } = known.jwk;
    for (const secret of ['secret', JSON.stringify(open), AUDIENCE]) {
      const token = new SignJWT({ iss: provider.issuer, sub: 'ada', aud: AUDIENCE, roles: ['heads'], exp: seconds(60) });
      const signed = await token.setProtectedHeader({ alg: 'HS256', kid: known.kid }).sign(Buffer.from(secret));
      expect((await show(signed)).status).toBe(401);
    }
    const listed = await makeKey('listed', 'ES384');
    // An algorithm that is good in itself and not on the list.
    expect((await show(await sign(listed))).status).toBe(401);
  });

  it('go on while the provider changes its keys, and while it is away', async () => {
    const [old_token, new_token] = [await sign(known), await sign(next)];
    expect([(await show(old_token)).status, (await show(new_token)).status]).toEqual([200, 401]);
    await provider.change({ keys: [next.jwk, known.jwk] });
    await until('the new key is known', async () => (await show(new_token)).status === 200);
    expect((await show(old_token)).status).toBe(200);

    await provider.kill();
    expect([(await show(old_token)).status, (await show(new_token)).status]).toEqual([200, 200]);
    const third = await makeKey('third');
    const third_token = await sign(third);
    // It may be a new one, and nobody can be asked.
    await until('it is known that the provider is away', async () => (await show(third_token)).status === 503);
    expect((await show(third_token)).json.error).toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(/provider .* can not be asked for its keys .*API tokens work meanwhile/),
    });
    expect(served.lines.filter(({ msg }) => /login provider can not be asked: the keys/.test(String(msg)))).toHaveLength(1);

    provider = await LoginProvider.start({ ...settings(), port: provider.port, keys: [third.jwk] });
    await until('the third key is known', async () => (await show(third_token)).status === 200);
    // What the provider has withdrawn is not believed any longer.
    expect((await show(old_token)).status).toBe(401);
    known = third;
  });

  it('are answered 503 by a server whose provider was never there, until it comes', async () => {
    const { issuer, port } = provider;
    await provider.kill();
    const late = await serveIssuer(issuer);
    const token = await sign(known);
    expect([(await show(token, late)).status, (await show('a.b.c', late)).status]).toEqual([503, 401]);
    expect((await callAs(late, undefined, 'GET', '/api/v4/login')).json).toEqual({
      is_on: true,
      provider: { issuer, client_id: 'jobmon', audience: AUDIENCE, scopes: ['openid', 'profile', 'offline_access'] },
    });
    provider = await LoginProvider.start({ ...settings(), port });
    await until('the provider is found', async () => (await show(token, late)).status === 200);
    await late.close();
  });

  it('make no flood at the provider', async () => {
    const asked = jest.spyOn(globalThis, 'fetch');
    try {
      const tokens = await Promise.all(Array.from({ length: 30 }, async (_, at) => sign(await makeKey(`forged ${at}`))));
      const began = performance.now();
      for (const token of tokens) expect((await show(token)).status).toBe(401);
      // Two requests a fetch, a fetch in two seconds.
      expect(asked.mock.calls.length).toBeLessThanOrEqual(2 * (1 + Math.ceil((performance.now() - began) / 2_000)));
    } finally {
      asked.mockRestore();
    }
  });
});

test.each<[string, Record<string, unknown>, object, string | null]>([
  ['a text', { roles: 'staff' }, {}, 'operator'],
  ['words', { roles: 'a staff b' }, {}, 'operator'],
  ['the strongest of a list', { roles: ['all', 'staff', 'heads'] }, {}, 'admin'],
  ['nothing', {}, {}, null],
  ['nothing, with a default', {}, { default_role: 'reader' }, 'reader'],
  ['a weaker one than the default', { roles: ['all'] }, { default_role: 'operator' }, 'reader'],
  ['an object', { roles: { staff: true } }, {}, null],
  ['a claim in a claim', { realm: { roles: ['staff'] } }, { role_claim: 'realm.roles' }, 'operator'],
  ['a claim whose name has dots', { 'https://x.org/roles': ['staff'] }, { role_claim: 'https://x.org/roles' }, 'operator'],
  ['a name of every object', {}, { role_claim: 'constructor.name' }, null],
])('roles are read from %s', (_, claims, changes, role) => {
  const settings = authOf({ issuer: 'https://x.org', roles: ['staff=operator', 'heads=admin', 'all=reader'], ...changes });
  expect(roleOf(claims, settings)).toBe(role);
});

/** A token with other claims and its old signature. */
function changed(token: string, claims: object): string {
  const [header, payload = '', signature] = token.split('.');
  const value = { ...(JSON.parse(Buffer.from(payload, 'base64url').toString()) as object), ...claims };
  return [header, Buffer.from(JSON.stringify(value)).toString('base64url'), signature].join('.');
}
