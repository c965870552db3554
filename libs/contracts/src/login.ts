/** How somebody logs in, and who he is then. */
import { z } from 'zod';
import { Role } from './access';
import { DateText } from './id';
import { operation } from './operation';

/** What a program needs to know before it can log somebody in: whether it must, and with which provider. Asks for no credential. */
export const getLogin = operation({
  name: 'login.get',
  owner: 'api',
  summary: 'Whether login is on, and which provider logs people in.',
  http: { method: 'GET', path: '/api/v4/login' },
  role: 'anyone',
  request: z.object({}),
  reply: z.object({
    is_on: z.boolean(),
    /** The OpenID provider of people; null when there are API tokens only. */
    provider: z
      .object({
        /** Its discovery document stands at `<issuer>/.well-known/openid-configuration`. */
        issuer: z.string(),
        /** Of the public client (no secret) that the command line is. */
        client_id: z.string(),
        /** Whom its tokens must be for. */
        audience: z.string(),
        scopes: z.array(z.string()),
      })
      .nullable(),
  }),
});

/** `rule` in the details of a 503 that says that the provider is away, not the server: it is no sign that the server gives nothing to others. */
export const LOGIN_PROVIDER_AWAY = 'login_provider_away';

/** How a caller was known: by an API token, by a token of the provider, by the token of the house, or not at all (login is off). */
export const Credential = z.enum(['api_token', 'provider', 'house', 'none']);

export const whoAmI = operation({
  name: 'login.whoami',
  owner: 'api',
  summary: 'Who the caller is to the server, and what he may do.',
  http: { method: 'GET', path: '/api/v4/whoami' },
  request: z.object({}),
  reply: z.object({
    /** Null when login is off. */
    user: z.string().nullable(),
    role: Role.nullable(),
    credential: Credential,
    /** When the credential ends; null when it does not by itself. */
    expires_date: DateText.nullable(),
  }),
});
export type WhoAmI = z.output<(typeof whoAmI)['reply']>;
