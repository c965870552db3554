/**
 * A person logs in at an OpenID provider: by a code that is typed in any browser (device flow), or by a browser on this machine (authorization code with PKCE, answered
 * to a port of this machine). What comes of it is a token for the server. The client is public: it has no secret.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { JobmonError, type getLogin, type ReplyOf } from '@jobmon/contracts';
import { serverUnreachable } from './send';

/** The provider as the server names it. */
export type LoginProviderSettings = NonNullable<ReplyOf<typeof getLogin>['provider']>;

/** What a login gives. */
export interface Tokens {
  /** What the server is shown. */
  readonly token: string;
  readonly refresh_token: string | null;
  /** When the token ends, in milliseconds since 1970. */
  readonly expires_at: number;
}

/** The part of a provider's discovery document that is used. */
export interface ProviderDocument {
  readonly issuer: string;
  readonly authorization_endpoint: string;
  readonly token_endpoint: string;
  readonly device_authorization_endpoint?: string;
  readonly revocation_endpoint?: string;
}

const ANSWER_MS_MAX = 15_000;
/** How long a person has for a browser on this machine. A provider says it of a code. */
const PERSON_MS_MAX = 600_000;
const POLL_SECONDS = 5;
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';

/** @throws JobmonError UNAVAILABLE when the provider can't be asked, CONFLICT when it calls itself otherwise. */
export async function discover(issuer: string): Promise<ProviderDocument> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  const document = (await ask(url)).body as unknown as ProviderDocument;
  if (document.issuer !== issuer || typeof document.token_endpoint !== 'string') {
    throw new JobmonError(
      'CONFLICT',
      `the login provider ${issuer} calls itself ${String(document.issuer)}: its address (auth.issuer) is wrong`,
    );
  }
  return document;
}

/**
 * Logs in by a code. `show` is given where to go and the code to type there.
 *
 * @throws JobmonError FORBIDDEN when the person refused or took too long.
 */
export async function loginByCode(
  provider: LoginProviderSettings,
  document: ProviderDocument,
  show: (where: { readonly url: string; readonly code: string; readonly whole_url: string | null }) => void,
  signal?: AbortSignal,
): Promise<Tokens> {
  const { client_id, scopes } = provider;
  const endpoint = document.device_authorization_endpoint;
  if (endpoint === undefined) throw new JobmonError('CONFLICT', `${provider.issuer} has no device flow: log in with --browser`);
  const { ok, body } = await ask(endpoint, { client_id, scope: scopes.join(' '), ...resourceOf(provider) }, signal);
  if (!ok) throw refusedBy(provider.issuer, body);
  const { device_code, user_code, verification_uri, verification_uri_complete, expires_in, interval } = body as Record<
    string,
    string
  >;
  show({ url: verification_uri!, code: user_code!, whole_url: verification_uri_complete ?? null });
  const deadline = Date.now() + Number(expires_in) * 1_000;
  let wait_ms = Number(interval ?? POLL_SECONDS) * 1_000;
  for (;;) {
    await pause(wait_ms, undefined, { signal });
    const form = { grant_type: DEVICE_GRANT, device_code: device_code!, client_id };
    const answer = await tokenRequest(document.token_endpoint, form, signal).catch((thrown: unknown) => {
      // A provider that is away for a moment is asked again until the code has ended.
      if (JobmonError.from(thrown).code !== 'UNAVAILABLE' || signal?.aborted) throw thrown;
      return { error: 'authorization_pending' };
    });
    if (!('error' in answer)) return answer;
    if (answer.error === 'slow_down') wait_ms += POLL_SECONDS * 1_000;
    else if (answer.error !== 'authorization_pending') throw refusedBy(provider.issuer, answer);
    if (Date.now() > deadline) throw new JobmonError('FORBIDDEN', 'nobody typed the code in time: run `jobmon login` again');
  }
}

/** Logs in by a browser on this machine. `show` is given the address to open there. @throws JobmonError as `loginByCode`. */
export async function loginByBrowser(
  provider: LoginProviderSettings,
  document: ProviderDocument,
  show: (url: string) => void,
  signal?: AbortSignal,
): Promise<Tokens> {
  const { client_id, scopes } = provider;
  const verifier = randomBytes(32).toString('base64url');
  const state = randomBytes(16).toString('base64url');
  const server = createServer();
  const answered = new Promise<URLSearchParams>((resolve) => {
    server.on('request', (request, response) => {
      const { pathname, searchParams } = new URL(request.url ?? '/', 'http://127.0.0.1');
      const isAnswer = pathname === '/callback' && searchParams.get('state') === state;
      response.writeHead(isAnswer ? 200 : 404, { 'content-type': 'text/plain; charset=utf-8', connection: 'close' });
      response.end(
        isAnswer ? 'Done: go back to the terminal; this page can be closed.\n' : 'Not the answer that is waited for.\n',
      );
      if (isAnswer) resolve(searchParams);
    });
  });
  try {
    const port = await new Promise<number>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ port: 0, host: '127.0.0.1' }, () => resolve((server.address() as { port: number }).port));
    });
    const redirect_uri = `http://127.0.0.1:${port}/callback`;
    const url = new URL(document.authorization_endpoint);
    const query = {
      response_type: 'code',
      client_id,
      redirect_uri,
      scope: scopes.join(' '),
      state,
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
      ...resourceOf(provider),
    };
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    show(url.href);
    const late = pause(PERSON_MS_MAX, undefined, { signal, ref: false }).then(() => {
      throw new JobmonError('FORBIDDEN', 'nobody logged in in time: run `jobmon login` again');
    });
    const answer = await Promise.race([answered, late]);
    late.catch(() => undefined);
    const code = answer.get('code');
    if (code === null) throw refusedBy(provider.issuer, { error: answer.get('error') ?? 'it gave no code' });
    // An answer that another provider gave must not be redeemed at this one (RFC 9207).
    if (answer.has('iss') && answer.get('iss') !== document.issuer)
      throw refusedBy(provider.issuer, { error: 'it was another one that answered' });
    const form = { grant_type: 'authorization_code', code, redirect_uri, client_id, code_verifier: verifier };
    const tokens = await tokenRequest(document.token_endpoint, form, signal);
    if ('error' in tokens) throw refusedBy(provider.issuer, tokens);
    return tokens;
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

/**
 * Asks the provider for tokens: those, or the error that it names. What the server is shown is the access token, or the ID token where the
 * access token is one that nobody but the provider can read.
 */
export async function tokenRequest(
  endpoint: string,
  form: Readonly<Record<string, string>>,
  signal?: AbortSignal,
): Promise<Tokens | { readonly error: string }> {
  const { ok, body } = await ask(endpoint, form, signal);
  if (!ok) return { error: textIn(body.error) ?? 'it refuses' };
  const token = [textIn(body.access_token), textIn(body.id_token)].find((one) => one?.split('.').length === 3);
  if (token === undefined) return { error: 'it gives no token that another can read' };
  return { token, refresh_token: textIn(body.refresh_token) ?? null, expires_at: endOf(token) };
}

/** Ends a login at the provider, as far as it lets one. Never throws. */
export async function revokeLogin(endpoint: string, client_id: string, refresh_token: string): Promise<void> {
  await ask(endpoint, { token: refresh_token, token_type_hint: 'refresh_token', client_id }).catch(() => undefined);
}

/** `exp` of a token that is not verified here: the server does that. */
function endOf(token: string): number {
  try {
    const { exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { exp?: unknown };
    return typeof exp === 'number' ? exp * 1_000 : 0;
  } catch {
    return 0;
  }
}

/** An audience that is an address is asked for by it (RFC 8707). */
function resourceOf({ audience }: LoginProviderSettings): { resource?: string } {
  return /^https?:\/\//.test(audience) ? { resource: audience } : {};
}

async function ask(
  url: string,
  form?: Readonly<Record<string, string>>,
  signal?: AbortSignal,
): Promise<{ ok: boolean; body: Record<string, unknown> }> {
  const { origin } = new URL(url);
  let response: Response;
  let text: string;
  try {
    const late = AbortSignal.timeout(ANSWER_MS_MAX);
    response = await fetch(url, {
      method: form === undefined ? 'GET' : 'POST',
      headers: { accept: 'application/json' },
      ...(form === undefined ? {} : { body: new URLSearchParams(form) }),
      redirect: 'error',
      signal: signal === undefined ? late : AbortSignal.any([signal, late]),
    });
    text = await response.text();
  } catch {
    if (signal?.aborted) throw signal.reason;
    // Without its cause: a refused connection there is no sign that the Jobmon server is away, by which an agent lets its lease run on.
    throw serverUnreachable(`the login provider at ${origin} does not answer`);
  }
  if (response.status >= 500) throw serverUnreachable(`the login provider at ${origin} answers ${response.status}`);
  try {
    const body: unknown = text === '' ? {} : JSON.parse(text);
    return { ok: response.ok, body: typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {} };
  } catch (cause) {
    throw serverUnreachable(`${url} does not answer like a login provider (status ${response.status})`, cause);
  }
}

function textIn(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function refusedBy(issuer: string, { error, error_description }: { error?: unknown; error_description?: unknown }): JobmonError {
  const why = textIn(error_description) ?? textIn(error) ?? 'it does not say why';
  return new JobmonError('FORBIDDEN', `the login provider ${issuer} refuses: ${why.slice(0, 300)}`);
}
