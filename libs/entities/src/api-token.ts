/**
 * API tokens at rest. What is stored is the SHA-256 of a token, found by a unique key. A slow hash for passwords would protect
 * nothing here: a token is 256 random bits, so nobody finds it by trying, however fast he can hash; and each request would pay for it. A
 * look-up by hash tells nothing by its time either: who does not know the token can't choose the bytes that are compared.
 */
import { createHash, randomBytes } from 'node:crypto';
import { API_TOKEN_PREFIX, type Role } from '@jobmon/contracts';
import { Entity, Index } from 'typeorm';
import { BigId, DateTime, Varchar } from './columns';
import type { Dialect, Procedure } from './database';

/** Ours. One API token; rows stay when a token has ended, as the record of who had which. */
@Entity('api_token')
@Index('uc_api_token_hash', ['hash'], { unique: true })
@Index('ix_api_token_user', ['user'])
export class ApiToken {
  @BigId() id: number;
  /** SHA-256 of the token's text, hexadecimal. */
  @Varchar(64) hash: string;
  /** What it is for. */
  @Varchar(150) name: string;
  /** Whose it is: what is done with it is done by him. */
  @Varchar(150) user: string;
  @Varchar(16) role: Role;
  @DateTime() created_date: string;
  @Varchar(150) created_by: string;
  @DateTime() expires_date: string;
  /** To the minute, so that not every request writes. */
  @DateTime({ nullable: true }) last_used_date: string | null;
  @DateTime({ nullable: true }) revoked_date: string | null;
  @Varchar(150, { nullable: true }) revoked_by: string | null;
}

/** What a token is stored and found by. */
export function hashOfToken(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

export interface NewApiToken {
  readonly name: string;
  readonly user: string;
  readonly role: Role;
  readonly created_by: string;
  readonly expires_in_seconds: number;
  /** It expires then at the latest, as a column of dates holds it; null for no such bound. */
  readonly ends_by?: string | null;
}

/** A token's text. Whoever is given it is the only one who ever knows it. */
export function newTokenText(): string {
  return API_TOKEN_PREFIX + randomBytes(32).toString('base64url');
}

/** Stores the token `text`; answers its id. */
export function* insertApiToken(dialect: Dialect, text: string, token: NewApiToken): Procedure<number> {
  const { ends_by = null } = token;
  const { insert_id } = yield {
    sql: `INSERT INTO api_token (hash, name, user, role, created_date, created_by, expires_date)
          VALUES (?, ?, ?, ?, ${dialect.now}, ?, CASE WHEN ? < ${dialect.nowPlusSeconds} THEN ? ELSE ${dialect.nowPlusSeconds} END)`,
    params: [
      ...[hashOfToken(text), token.name, token.user, token.role, token.created_by],
      ...[ends_by, token.expires_in_seconds, ends_by, token.expires_in_seconds],
    ],
  };
  return insert_id;
}

/** Ends a token that has not been revoked yet; one that has keeps who did it and when. */
export function* revokeToken(dialect: Dialect, api_token_id: number, revoked_by: string): Procedure<void> {
  yield {
    sql: `UPDATE api_token SET revoked_date = ${dialect.now}, revoked_by = ? WHERE id = ? AND revoked_date IS NULL`,
    params: [revoked_by, api_token_id],
  };
}

/** The columns of `ApiTokenView`, `state` by the database's clock, of rows `t`. */
export function apiTokenColumns(dialect: Dialect): string {
  return `t.id AS api_token_id, t.name AS name, t.user AS user, t.role AS role, t.created_date AS created_date, t.created_by AS created_by,
          t.expires_date AS expires_date, t.last_used_date AS last_used_date, t.revoked_date AS revoked_date, t.revoked_by AS revoked_by,
          CASE WHEN t.revoked_date IS NOT NULL THEN 'revoked' WHEN t.expires_date <= ${dialect.now} THEN 'expired' ELSE 'valid' END AS state`;
}
