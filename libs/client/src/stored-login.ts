/**
 * Logins of this user at servers: what a provider gave, kept in a file that only he may read, and made new when it ends. Providers take a
 * refresh token once, and may end the whole login when it comes twice; so programs of one user that run at one time take turns by a lock file.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { JobmonError } from '@jobmon/contracts';
import { tokenRequest, type Tokens } from './openid';
import { profilePath } from './profile-path';
import type { TokenSource } from './send';

type Environment = Readonly<Record<string, string | undefined>>;

/** What is kept of a login. */
export interface StoredLogin extends Tokens {
  readonly issuer: string;
  readonly client_id: string;
  readonly token_endpoint: string;
  readonly revocation_endpoint: string | null;
}

/** A token is made new when less than this is left of it. */
const LEFT_MS_MIN = 30_000;
/** Another program of the same user is waited for so long, and a lock older than that was left behind by one that died. */
const LOCK_MS_MAX = 20_000;
const LOCK_LOOK_MS = 50;

const fileOf = (env: Environment): string => path.join(path.dirname(profilePath(env)), 'logins.json');

/** One server under one name, however its address is written. */
const keyOf = (url: string): string => url.replace(/\/+$/, '').toLowerCase();

function readLogins(env: Environment): Record<string, StoredLogin> {
  const file = fileOf(env);
  let text: string;
  try {
    if (process.getuid !== undefined && (statSync(file).mode & 0o077) !== 0) {
      throw new JobmonError(
        'FORBIDDEN',
        `the file of logins ${file} is open to other users and is not used: remove it, and log in again`,
      );
    }
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof JobmonError) throw error;
    return {};
  }
  try {
    return JSON.parse(text) as Record<string, StoredLogin>;
  } catch (cause) {
    throw new JobmonError('MALFORMED', `the file of logins ${file} is damaged: remove it, and log in again`, undefined, {
      cause,
    });
  }
}

/** The login at a server, if there is one. */
export function storedLogin(url: string, env: Environment = process.env): StoredLogin | undefined {
  return readLogins(env)[keyOf(url)];
}

/** Keeps a login, or with undefined forgets it. The file is whole at every moment: mode 0600 in a folder of mode 0700. */
export function storeLogin(url: string, login: StoredLogin | undefined, env: Environment = process.env): void {
  const file = fileOf(env);
  const { [keyOf(url)]: _, ...others } = readLogins(env);
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  chmodSync(path.dirname(file), 0o700);
  const partial = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`;
  const logins = login === undefined ? others : { ...others, [keyOf(url)]: login };
  writeFileSync(partial, `${JSON.stringify(logins, undefined, 2)}\n`, { mode: 0o600, flag: 'wx' });
  renameSync(partial, file);
}

/** The token of the login at a server, for a `Connection`; undefined when there is none. */
export function loginToken(url: string, env: Environment = process.env): TokenSource | undefined {
  if (storedLogin(url, env) === undefined) return undefined;
  return async (refused) => {
    const login = storedLogin(url, env);
    return login === undefined || isGood(login, refused) ? login?.token : refreshed(url, refused, env);
  };
}

function isGood({ token, expires_at }: StoredLogin, refused: string | undefined): boolean {
  return token !== refused && expires_at - Date.now() > LEFT_MS_MIN;
}

async function refreshed(url: string, refused: string | undefined, env: Environment): Promise<string> {
  return locked(`${fileOf(env)}.lock`, async () => {
    // Another program may have made it new meanwhile.
    const login = storedLogin(url, env);
    if (login === undefined) throw ended(url);
    if (isGood(login, refused)) return login.token;
    if (login.refresh_token === null) throw ended(url);
    const { issuer, client_id, token_endpoint, revocation_endpoint } = login;
    try {
      const form = { grant_type: 'refresh_token', refresh_token: login.refresh_token, client_id };
      const answer = await tokenRequest(token_endpoint, form);
      if ('error' in answer) throw ended(url, answer.error);
      const tokens = { ...answer, refresh_token: answer.refresh_token ?? login.refresh_token };
      storeLogin(url, { ...tokens, issuer, client_id, token_endpoint, revocation_endpoint }, env);
      return tokens.token;
    } catch (thrown) {
      // A provider that is away: what is left of the token is used to its end.
      const isAway = thrown instanceof JobmonError && thrown.code === 'UNAVAILABLE';
      if (isAway && login.token !== refused && login.expires_at > Date.now()) return login.token;
      throw thrown;
    }
  });
}

function ended(url: string, why?: string): JobmonError {
  const cause = why === undefined ? '' : ` (${why})`;
  return new JobmonError('UNAUTHORIZED', `the login at ${url} has ended${cause}: run \`jobmon login\``);
}

/** Runs `work` while no other process does under the same file. */
async function locked<T>(file: string, work: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + LOCK_MS_MAX;
  while (!lock(file)) {
    if (Date.now() > deadline)
      throw new JobmonError('UNAVAILABLE', `another program holds ${file} for too long: remove it if there is none`);
    await pause(LOCK_LOOK_MS);
  }
  try {
    return await work();
  } finally {
    rmSync(file, { force: true });
  }
}

function lock(file: string): boolean {
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  try {
    if (Date.now() - statSync(file).mtimeMs > LOCK_MS_MAX) rmSync(file, { force: true });
  } catch {
    // It is gone: the next look takes it.
  }
  return false;
}
