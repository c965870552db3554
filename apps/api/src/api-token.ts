/** API tokens as their users and administrators handle them, and how the login stands. */
import {
  apiTokenRevoked,
  isSufficient,
  JobmonError,
  type ApiTokenView,
  type createApiToken,
  type getLogin,
  type listApiTokens,
  type revokeApiToken,
  type ReplyOf,
  type RequestOf,
  type WhoAmI,
} from '@jobmon/contracts';
import { apiTokenColumns, insertApiToken, newTokenText, revokeToken, type Database, type SqlValue } from '@jobmon/entities';
import { checkText } from './column-limit';
import type { Call, Room } from './context';
import { audienceOf } from './provider';

const LISTED_MAX = 1_000;

export function findLogin({ config: { auth } }: Room): ReplyOf<typeof getLogin> {
  if (auth?.mode !== 'on') return { is_on: false, provider: null };
  const { issuer, client_id, scopes } = auth;
  const provider = issuer === undefined ? null : { issuer, client_id, audience: audienceOf(auth), scopes: [...scopes] };
  return { is_on: true, provider };
}

export function describeCaller(_room: Room, _request: unknown, { principal }: Call): WhoAmI {
  if (principal === undefined) return { user: null, role: null, credential: 'none', expires_date: null };
  const { user, role, credential, expires_date } = principal;
  return { user, role, credential, expires_date };
}

/** @throws JobmonError FORBIDDEN for a role or a user that is not the caller's to give, CONFLICT when login is off. */
export async function makeApiToken(
  { database, log }: Room,
  request: RequestOf<typeof createApiToken>,
  call: Call,
): Promise<ReplyOf<typeof createApiToken>> {
  const { principal } = call;
  if (principal === undefined) {
    throw new JobmonError(
      'CONFLICT',
      'login is off (auth.mode): the token of the server is all that is needed, and there are no others',
    );
  }
  const { name, role = principal.role, for_user: user = principal.user } = request;
  checkText('name', name);
  if (!isSufficient(principal.role, role)) {
    throw new JobmonError('FORBIDDEN', `${principal.user} is ${principal.role} and can't make a token that is ${role}`);
  }
  if (user !== principal.user && principal.role !== 'admin') {
    throw new JobmonError('FORBIDDEN', `only an admin makes tokens for others: ${principal.user} can't make one for ${user}`);
  }
  const text = newTokenText();
  const { dialect } = database;
  const { expires_in_seconds } = request;
  const ends_by = await endOfMaker(database, call);
  const token = { name, user, role, created_by: principal.user, expires_in_seconds, ends_by };
  const id = await database.write({ label: 'api_token.create' }, () => insertApiToken(dialect, text, token));
  log.info({ api_token_id: id, user, role, created_by: principal.user }, 'an API token was made');
  return { api_token: (await readTokens(database, 't.id = ?', [id]))[0] as ApiTokenView, token: text };
}

/** A token ends no later than the one that asks for it. An admin's may. */
async function endOfMaker(database: Database, { principal }: Call): Promise<string | null> {
  if (principal?.api_token_id == null || principal.role === 'admin') return null;
  const sql = 'SELECT expires_date FROM api_token WHERE id = ?';
  const [row] = await database.read<{ expires_date: string }>(sql, [principal.api_token_id]);
  return row?.expires_date ?? null;
}

/** None while login is off. */
export async function findApiTokens(
  { database }: Room,
  { of_user }: RequestOf<typeof listApiTokens>,
  call: Call,
): Promise<ReplyOf<typeof listApiTokens>> {
  if (call.principal === undefined) return { api_tokens: [] };
  const { user, role } = call.principal;
  if (role !== 'admin' && of_user !== undefined && of_user !== user) {
    throw new JobmonError('FORBIDDEN', `only an admin sees the tokens of others: ${user} can't list those of ${of_user}`);
  }
  const whose = role === 'admin' ? of_user : user;
  const api_tokens = await (whose === undefined
    ? readTokens(database, '1 = 1', [])
    : readTokens(database, 't.user = ?', [whose]));
  return { api_tokens };
}

/** @throws JobmonError NOT_FOUND when there is none, or none of the caller's. */
export async function endApiToken(
  { database, log, messenger }: Room,
  { api_token_id }: RequestOf<typeof revokeApiToken>,
  call: Call,
): Promise<ReplyOf<typeof revokeApiToken>> {
  const { user = '', role = 'reader' } = call.principal ?? {};
  const [found] = await readTokens(database, 't.id = ?', [api_token_id]);
  if (found === undefined || (role !== 'admin' && found.user !== user)) {
    throw new JobmonError(
      'NOT_FOUND',
      `there is no API token ${api_token_id} of yours: \`jobmon token list\` shows those there are`,
    );
  }
  await database.write({ label: 'api_token.revoke' }, () => revokeToken(database.dialect, api_token_id, user));
  messenger.publish(apiTokenRevoked, { api_token_id });
  if (found.revoked_date === null) log.info({ api_token_id, of_user: found.user, revoked_by: user }, 'an API token was revoked');
  return { api_token: (await readTokens(database, 't.id = ?', [api_token_id]))[0] as ApiTokenView };
}

async function readTokens(database: Database, where: string, params: readonly SqlValue[]): Promise<ApiTokenView[]> {
  return database.read<ApiTokenView>(
    `SELECT ${apiTokenColumns(database.dialect)} FROM api_token t WHERE ${where} ORDER BY t.id DESC LIMIT ${LISTED_MAX}`,
    params,
  );
}
