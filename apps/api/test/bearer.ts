/** Credentials of specs with login on: API tokens as rows, made past the api, and requests that show one. */
import { insertApiToken, newTokenText, type Database, type NewApiToken } from '@jobmon/entities';
import { call, type Answered, type Served } from './serve';

const DAY_SECONDS = 86_400;

/** A token's text. `ada` is an operator for a day when nothing else is said. */
export async function tokenOf(database: Database, changes: Partial<NewApiToken> = {}): Promise<string> {
  const text = newTokenText();
  const token = { name: 'spec', user: 'ada', role: 'operator', created_by: 'spec', expires_in_seconds: DAY_SECONDS, ...changes };
  await database.write({ label: 'test.token' }, () => insertApiToken(database.dialect, text, token as NewApiToken));
  return text;
}

/** A request that shows `token`, or nothing. */
export function callAs(
  served: Served,
  token: string | undefined,
  method: string,
  path: string,
  body?: unknown,
): Promise<Answered> {
  return call(served, method, path, body, token === undefined ? {} : { authorization: `Bearer ${token}` });
}
