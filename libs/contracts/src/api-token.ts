/** API tokens: what programs and agents show in place of a person's login. Each belongs to a user, has a role, and ends. */
import { z } from 'zod';
import { Role } from './access';
import { DateText, Id, Whole } from './id';
import { event, operation } from './operation';

/** Begins every API token: it can be recognised in a text that should not hold one, and told from a provider's token. */
export const API_TOKEN_PREFIX = 'jobmon_';
/** Behind the prefix: 32 random bytes in base64url. */
export const API_TOKEN_PATTERN = /^jobmon_[\w-]{43}$/;

const DAY_SECONDS = 86_400;
/** Validity of a token that is made without one. */
export const API_TOKEN_SECONDS_DEFAULT = 90 * DAY_SECONDS;
export const API_TOKEN_SECONDS_MAX = 10 * 366 * DAY_SECONDS;

/** A name of a user, as a provider or an administrator gives it. */
export const UserName = z
  .string()
  .min(1)
  .max(150)
  .regex(/^[^\p{C}]+$/u, 'must be printable');

/** A token as lists show it: never its text, which nobody knows but who made it. */
export const ApiTokenView = z.object({
  api_token_id: z.number().int(),
  name: z.string(),
  user: z.string(),
  role: Role,
  created_date: DateText,
  created_by: z.string(),
  expires_date: DateText,
  /** To the minute; null when it was never used. */
  last_used_date: DateText.nullable(),
  revoked_date: DateText.nullable(),
  revoked_by: z.string().nullable(),
  state: z.enum(['valid', 'expired', 'revoked']),
});
export type ApiTokenView = z.output<typeof ApiTokenView>;

/**
 * Makes a token of the caller, or for an admin of anybody. Its role is at most the caller's. A token made with a token ends with it at the
 * latest, so that one that leaked can't be lived on from; an admin's may end later. FORBIDDEN for a role or a user that is not the caller's to give, CONFLICT when login is off.
 */
export const createApiToken = operation({
  name: 'api_token.create',
  owner: 'api',
  summary: 'Make an API token; its text is answered once.',
  http: { method: 'POST', path: '/api/v4/api_tokens' },
  request: z.object({
    /** What it is for, for people. */
    name: z.string().min(1).max(150),
    /** The caller's own role when absent. */
    role: Role.optional(),
    /** Whose it is: the caller's when absent. */
    for_user: UserName.optional(),
    expires_in_seconds: Whole(60, API_TOKEN_SECONDS_MAX).default(API_TOKEN_SECONDS_DEFAULT),
  }),
  reply: z.object({ api_token: ApiTokenView, token: z.string() }),
});

/** The caller's tokens, or for an admin everybody's; newest first, at most 1,000. None when login is off. */
export const listApiTokens = operation({
  name: 'api_token.list',
  owner: 'api',
  summary: 'API tokens, without their texts.',
  http: { method: 'GET', path: '/api/v4/api_tokens' },
  request: z.object({ of_user: z.string().max(150).optional() }),
  reply: z.object({ api_tokens: z.array(ApiTokenView) }),
});

/** Ends a token at once: the caller's own, or for an admin anybody's. Safe to repeat. NOT_FOUND when there is none that is his to revoke. */
export const revokeApiToken = operation({
  name: 'api_token.revoke',
  owner: 'api',
  summary: 'End an API token.',
  http: { method: 'POST', path: '/api/v4/api_tokens/{api_token_id}/revoke' },
  request: z.object({ api_token_id: Id }),
  reply: z.object({ api_token: ApiTokenView }),
});

/** A token has ended before its time. Whoever remembers that it was valid forgets it at once instead of within seconds. */
export const apiTokenRevoked = event({ name: 'api_token.revoked', payload: z.object({ api_token_id: z.number().int() }) });
