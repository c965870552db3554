/**
 * Login: who asks, by the bearer token of the request. An API token is looked up by its hash, a provider's token is verified, and the token
 * of the house (the embedded server's own, for its agent and for who started it) is an admin's. What a valid API token said is remembered for
 * a few seconds, so that a busy agent does not cost a read each call: a token that was revoked is refused everywhere by then, and at once
 * where the hint of it arrives.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { API_TOKEN_PATTERN, apiTokenRevoked, type Role } from '@jobmon/contracts';
import { hashOfToken, type Procedure } from '@jobmon/entities';
import type { ApiContext } from './context';
import { LoginRefusal, type LoginRefusalReason, type Principal } from './principal';
import { providerOf, type Provider } from './provider';

/** How long the answer of the database about a token stands. */
const REMEMBERED_MS = 5_000;
const REMEMBERED_MAX = 10_000;
/** A token that is in use says so at most this often: the one write of a request in a minute. */
const USED_SECONDS = 60;

interface TokenRow {
  readonly id: number;
  readonly user: string;
  readonly role: Role;
  readonly expires_date: string;
  readonly revoked_date: string | null;
  readonly has_expired: number;
  readonly is_use_old: number;
}

interface Remembered {
  readonly principal: Promise<Principal>;
  readonly until: number;
}

export class Login {
  private readonly remembered = new Map<string, Remembered>();
  private readonly provider: Provider | undefined;
  private readonly house: Buffer | undefined;
  private readonly isRecording = new Set<number>();

  constructor(private readonly context: ApiContext) {
    const { config, log, token } = context;
    this.provider = config.auth === undefined ? undefined : providerOf(config.auth, log);
    this.house = token === undefined ? undefined : sha256(token);
    context.messenger.subscribe(apiTokenRevoked, () => this.remembered.clear());
  }

  /**
   * Who shows this header.
   *
   * @throws JobmonError UNAUTHORIZED when nobody does; FORBIDDEN for a person without a role; UNAVAILABLE when it can't be found out.
   */
  async principalOf(authorization: string | undefined): Promise<Principal> {
    const given = bearerOf(authorization);
    if (given === undefined) {
      throw unauthorized('none', 'this call needs a login: run `jobmon login`, or show an API token (JOBMON__HTTP__TOKEN)');
    }
    if (API_TOKEN_PATTERN.test(given)) return this.apiToken(hashOfToken(given));
    if (this.house !== undefined && timingSafeEqual(sha256(given), this.house)) {
      return { user: this.context.user ?? 'house', role: 'admin', credential: 'house', expires_date: null, api_token_id: null };
    }
    if (this.provider === undefined || given.split('.').length !== 3) throw unknownToken();
    const { expires_at, ...person } = await this.provider.personOf(given);
    return { ...person, credential: 'provider', expires_date: dateText(expires_at), api_token_id: null };
  }

  private apiToken(hash: string): Promise<Principal> {
    const now = performance.now();
    const known = this.remembered.get(hash);
    if (known !== undefined && known.until > now) return known.principal;
    if (this.remembered.size >= REMEMBERED_MAX) this.remembered.clear();
    const principal = this.lookUp(hash);
    this.remembered.set(hash, { principal, until: now + REMEMBERED_MS });
    // What is refused is not remembered: it costs a read each time, and a token that was made this moment is good at once.
    principal.catch(() => this.remembered.delete(hash));
    return principal;
  }

  private async lookUp(hash: string): Promise<Principal> {
    const { database } = this.context;
    const { dialect } = database;
    const [row] = await database.read<TokenRow>(
      `SELECT id, user, role, expires_date, revoked_date, CASE WHEN expires_date <= ${dialect.now} THEN 1 ELSE 0 END AS has_expired,
              CASE WHEN last_used_date IS NULL OR last_used_date < ${dialect.nowPlusSeconds} THEN 1 ELSE 0 END AS is_use_old
         FROM api_token WHERE hash = ?`,
      [-USED_SECONDS, hash],
    );
    if (row === undefined) throw unknownToken();
    const { id, user, role, expires_date } = row;
    if (row.revoked_date !== null)
      throw unauthorized('revoked', `API token ${id} was revoked: make another (\`jobmon token create\`)`);
    if (row.has_expired === 1) {
      throw unauthorized('expired', `API token ${id} has expired on ${expires_date} UTC: make another (\`jobmon token create\`)`);
    }
    if (row.is_use_old === 1) this.recordUse(id);
    return { user, role, credential: 'api_token', expires_date, api_token_id: id };
  }

  /** Behind the back of the request: no call waits for it, and none fails when the database takes no writes. */
  private recordUse(id: number): void {
    if (this.isRecording.has(id)) return;
    this.isRecording.add(id);
    const { database, log } = this.context;
    const { now } = database.dialect;
    database
      .write({ label: 'api_token.use' }, function* (): Procedure<void> {
        yield { sql: `UPDATE api_token SET last_used_date = ${now} WHERE id = ?`, params: [id] };
      })
      .catch((error: unknown) => log.debug({ error, api_token_id: id }, 'the use of a token was not recorded'))
      .finally(() => this.isRecording.delete(id));
  }
}

function unauthorized(reason: LoginRefusalReason, message: string): LoginRefusal {
  return new LoginRefusal(reason, 'UNAUTHORIZED', message);
}

function unknownToken(): LoginRefusal {
  return unauthorized(
    'unknown',
    'the token is none of this server: log in again (`jobmon login`), or show another (JOBMON__HTTP__TOKEN)',
  );
}

/** The credential of an `Authorization` header: what stands behind `Bearer`. */
export function bearerOf(authorization: string | undefined): string | undefined {
  return /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
}

/** Of texts of any length, so that they can be compared in a time that tells nothing of them. */
export function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function dateText(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? '9999-12-31 23:59:59' : date.toISOString().slice(0, 19).replace('T', ' ');
}
