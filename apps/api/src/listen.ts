/** Who may reach the api, and by which token, as long as nobody logs in: the rules of the house in one process and of the api alone. */
import { JobmonError } from '@jobmon/contracts';
import type { Config } from '@jobmon/runtime';

/**
 * Refuses to listen where others can reach the server unless that was asked for: who reaches the api can run commands as this user.
 *
 * @throws JobmonError FORBIDDEN
 */
export function refuseStrangers({ http, auth }: Pick<Config, 'http' | 'auth'>): void {
  const isOwn = http.host === 'localhost' || http.host === '::1' || /^127(\.\d{1,3}){3}$/.test(http.host);
  if (isOwn || http.open || auth.mode === 'on') return;
  throw new JobmonError(
    'FORBIDDEN',
    `whoever can reach ${http.host} could run commands as this user, since there is no login: leave --host away to serve this machine alone, turn login on (JOBMON__AUTH__MODE=on), or add --open if that is what you want`,
  );
}

/**
 * The token that was given, or undefined. Short ones can be tried out.
 *
 * @throws JobmonError MALFORMED
 */
export function givenToken({ http }: Pick<Config, 'http'>): string | undefined {
  if (http.token === undefined || /^[\w.~+/=-]{16,}$/.test(http.token)) return http.token;
  throw new JobmonError(
    'MALFORMED',
    'the token (JOBMON__HTTP__TOKEN) must be 16 characters or more, letters, digits or any of . _ ~ + / = -: `openssl rand -hex 24` makes one',
  );
}
