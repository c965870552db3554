/**
 * People's tokens: JWTs of the OpenID provider that the settings name. A token is believed when one of the provider's keys signed it by an
 * algorithm of the allow-list, for us (`aud`), in its name (`iss`), and when it has not ended; the clocks may differ a little.
 *
 * The keys are fetched when they are first needed, again when a token names one that is not among them (the provider changed its keys), and
 * from time to time. A provider that is away changes nothing while its keys are known; without any the answer is 503, never 401: nobody
 * knows whether the token is good.
 */
import { JobmonError, LOGIN_PROVIDER_AWAY, ROLES, UserName, type Role } from '@jobmon/contracts';
import type { Config, Logger } from '@jobmon/runtime';
import {
  createLocalJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  errors,
  jwtVerify,
  type JSONWebKeySet,
  type JWTPayload,
} from 'jose';
import { LoginRefusal } from './principal';

/** Between two fetches, so that forged tokens with keys of their own make no flood of them. */
const FETCH_GAP_MS = 2_000;
/** Keys older than this are fetched anew, behind the back of the request that finds them so. */
const KEYS_MS_MAX = 600_000;
const FETCH_MS_MAX = 5_000;
const ANSWER_CHARS_MAX = 262_144;
/** What the `typ` of an access or ID token may be; others (a logout token) are signed by the same keys for other ends. */
const TYPES: readonly (string | undefined)[] = [undefined, 'JWT', 'at+jwt', 'application/at+jwt'];

type Settings = Config['auth'];

/** Whom a token is of. */
export interface Person {
  readonly user: string;
  readonly role: Role;
  /** Milliseconds since 1970. */
  readonly expires_at: number;
}

/** The provider of these settings; undefined when they name none. */
export function providerOf(settings: Settings, log: Logger): Provider | undefined {
  return settings.issuer === undefined ? undefined : new Provider(settings, settings.issuer, log);
}

export class Provider {
  private keys: ReturnType<typeof createLocalJWKSet> | undefined;
  private fetched_at = -Infinity;
  private tried_at = -Infinity;
  private fetching: Promise<void> | undefined;
  /** Why the last fetch failed; null when it did not. */
  private trouble: string | null = null;

  constructor(
    private readonly settings: Settings,
    private readonly issuer: string,
    private readonly log: Logger,
  ) {}

  /**
   * Whom a token is of.
   *
   * @throws JobmonError UNAUTHORIZED when it is not to be believed, FORBIDDEN when its person has no role here, UNAVAILABLE when that can't
   *   be found out because the provider is away.
   */
  async personOf(token: string): Promise<Person> {
    this.refuseForeign(token);
    if (this.keys === undefined) await this.fetchKeys();
    else if (performance.now() - this.fetched_at > KEYS_MS_MAX) void this.fetchKeys();
    if (this.keys === undefined) throw this.away();
    try {
      return this.person(await this.verified(token, this.keys));
    } catch (thrown) {
      if (!(thrown instanceof errors.JWKSNoMatchingKey)) throw refused(thrown, this.settings);
    }
    await this.fetchKeys();
    try {
      return this.person(await this.verified(token, this.keys));
    } catch (thrown) {
      if (thrown instanceof errors.JWKSNoMatchingKey && this.trouble !== null) throw this.away();
      throw refused(thrown, this.settings);
    }
  }

  /** What can be told without a key, so that no fetch is made for a token that is of somebody else anyway. */
  private refuseForeign(token: string): void {
    try {
      const { alg, typ } = decodeProtectedHeader(token);
      const algorithms: readonly string[] = this.settings.algorithms;
      if (alg === undefined || !algorithms.includes(alg) || !TYPES.includes(typ)) {
        throw new errors.JOSEAlgNotAllowed('of another kind');
      }
      if (decodeJwt(token).iss !== this.issuer) throw new errors.JWTInvalid('of another issuer');
    } catch (thrown) {
      throw refused(thrown, this.settings);
    }
  }

  private async verified(token: string, keys: ReturnType<typeof createLocalJWKSet>): Promise<JWTPayload> {
    const { algorithms, clock_tolerance_seconds } = this.settings;
    const { payload } = await jwtVerify(token, keys, {
      algorithms: [...algorithms],
      issuer: this.issuer,
      audience: audienceOf(this.settings),
      clockTolerance: clock_tolerance_seconds,
      requiredClaims: ['exp'],
    });
    return payload;
  }

  private person(payload: JWTPayload): Person {
    const { user_claim } = this.settings;
    const user = UserName.safeParse(claimOf(payload, user_claim));
    if (!user.success) {
      throw new LoginRefusal(
        'foreign',
        'UNAUTHORIZED',
        `the token of the provider names nobody: its claim '${user_claim}' (auth.user_claim) is missing or no name of up to 150 characters`,
      );
    }
    const role = roleOf(payload, this.settings);
    if (role === null) {
      const cure = `an administrator gives a role by the claim '${this.settings.role_claim}' of the provider (auth.role_claim, auth.roles)`;
      throw new LoginRefusal('no_role', 'FORBIDDEN', `${user.data} is known and has no role here: ${cure}`);
    }
    return { user: user.data, role, expires_at: (payload.exp as number) * 1_000 };
  }

  /** Fetches the keys, once for everybody who asks meanwhile, and not again within the gap. Never throws. */
  private fetchKeys(): Promise<void> {
    if (this.fetching === undefined && performance.now() - this.tried_at >= FETCH_GAP_MS) {
      this.fetching = this.fetchAll().finally(() => {
        this.tried_at = performance.now();
        this.fetching = undefined;
      });
    }
    return this.fetching ?? Promise.resolve();
  }

  private async fetchAll(): Promise<void> {
    try {
      const found = await fetchJson(`${this.issuer.replace(/\/$/, '')}/.well-known/openid-configuration`);
      const { issuer, jwks_uri } = found as { issuer?: unknown; jwks_uri?: unknown };
      if (issuer !== this.issuer) throw new Error(`it calls itself ${String(issuer).slice(0, 200)}`);
      this.keys = createLocalJWKSet((await fetchJson(String(jwks_uri))) as JSONWebKeySet);
      this.fetched_at = performance.now();
      if (this.trouble !== null) this.log.info({ issuer }, 'the login provider answers again');
      this.trouble = null;
    } catch (thrown) {
      const cause = (thrown as { cause?: unknown }).cause;
      const trouble = ((cause instanceof Error && cause.message) || (thrown as Error).message).slice(0, 300);
      const goes_on = this.keys === undefined ? 'people can not log in' : 'the keys that are known go on';
      if (this.trouble === null)
        this.log.warn({ issuer: this.issuer, trouble }, `the login provider can not be asked: ${goes_on}`);
      this.trouble = trouble;
    }
  }

  private away(): JobmonError {
    return new LoginRefusal(
      'provider_away',
      'UNAVAILABLE',
      `the login provider ${this.issuer} can not be asked for its keys (${this.trouble ?? 'it was asked a moment ago'}); API tokens work meanwhile`,
      { rule: LOGIN_PROVIDER_AWAY },
    );
  }
}

/** Whom the provider's tokens must be for. */
export function audienceOf({ audience, client_id }: Settings): string {
  return audience ?? client_id;
}

/** The strongest of the roles that the claim's values give, else the default; null for none. */
export function roleOf(payload: JWTPayload, settings: Pick<Settings, 'role_claim' | 'roles' | 'default_role'>): Role | null {
  const claim = claimOf(payload, settings.role_claim);
  const values: unknown[] = typeof claim === 'string' ? claim.split(' ') : Array.isArray(claim) ? claim : [];
  const strongest = [...ROLES]
    .reverse()
    .find((role) => values.some((value) => settings.roles.includes(`${String(value)}=${role}`)));
  if (strongest !== undefined) return strongest;
  return settings.default_role === 'none' ? null : settings.default_role;
}

/** A claim by its name, or by the way to it: `realm_access.roles`. */
function claimOf(payload: JWTPayload, name: string): unknown {
  if (Object.hasOwn(payload, name)) return payload[name];
  return name.split('.').reduce<unknown>((at, key) => {
    return typeof at === 'object' && at !== null && Object.hasOwn(at, key) ? (at as Record<string, unknown>)[key] : undefined;
  }, payload);
}

/** Why a token is not believed, in words; what we threw ourselves stays. */
function refused(thrown: unknown, settings: Settings): JobmonError {
  if (thrown instanceof JobmonError) return thrown;
  const again = 'log in again (`jobmon login`)';
  if (thrown instanceof errors.JWTExpired) return new LoginRefusal('expired', 'UNAUTHORIZED', `the login has expired: ${again}`);
  if (thrown instanceof errors.JWTClaimValidationFailed) {
    const wrong = thrown.claim === 'aud' ? `it is not for '${audienceOf(settings)}'` : `its claim '${thrown.claim}' is wrong`;
    return new LoginRefusal('foreign', 'UNAUTHORIZED', `the token of the provider is refused: ${wrong}`);
  }
  if (thrown instanceof errors.JOSEError || thrown instanceof TypeError) {
    return new LoginRefusal('unknown', 'UNAUTHORIZED', `the token is not one that ${settings.issuer} signed: ${again}`);
  }
  return JobmonError.from(thrown);
}

async function fetchJson(url: string): Promise<unknown> {
  const response = await fetch(url, {
    redirect: 'error',
    headers: { accept: 'application/json' },
    signal: AbortSignal.timeout(FETCH_MS_MAX),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  if (text.length > ANSWER_CHARS_MAX) throw new Error(`${url} answers more than ${ANSWER_CHARS_MAX} characters`);
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null) throw new Error(`${url} answers no JSON object`);
  return value;
}
