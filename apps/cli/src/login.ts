/** `jobmon login`, `logout`, `whoami`: who this user is at a server. */
import { getLogin, whoAmI, type WhoAmI } from '@jobmon/contracts';
import {
  Connection,
  discover,
  JobmonError,
  loginByBrowser,
  loginByCode,
  revokeLogin,
  storedLogin,
  storeLogin,
  type Tokens,
} from '@jobmon/client';
import type { Command } from 'commander';
import { Interrupted } from './failure';
import { printFields, printOne, type Fields } from './print';
import { ask, findApi } from './server';
import { tell } from './settings';

const FIELDS: Fields<WhoAmI & { server: string }> = {
  server: (row) => row.server,
  user: (row) => row.user,
  role: (row) => row.role,
  credential: (row) => row.credential,
  expires_date: (row) => row.expires_date,
};
const CREDENTIAL_WORDS: Readonly<Record<WhoAmI['credential'], string>> = {
  api_token: 'an API token',
  provider: 'a login',
  house: "the server's own token",
  none: 'none: login is off',
};

export function addLoginCommands(jobmon: Command): void {
  jobmon
    .command('login')
    .description('Log in at the server as yourself, with any browser.')
    .option('--browser', 'with a browser on this machine, in place of a code to type in any')
    .addHelpText(
      'after',
      `
The login is kept in logins.json beside the client profile, which only you may read, and made new by
itself as long as the provider allows. Agents and programs show an API token: jobmon token create.

Examples:
  jobmon login
  jobmon --server https://jobmon.example.org login --browser`,
    )
    .action(login);
  jobmon
    .command('logout')
    .description('Forget the login at the server, and end it at its provider.')
    .addHelpText('after', '\nExample:\n  jobmon logout')
    .action(logout);
  jobmon
    .command('whoami')
    .description('Who you are to the server, and what you may do.')
    .addHelpText('after', '\nExample:\n  jobmon whoami -o json')
    .action(whoami);
}

async function login({ browser = false }: { browser?: boolean }): Promise<void> {
  const { url } = await findApi();
  const { is_on, provider } = await ask(getLogin, {});
  if (!is_on) return tell(`There is no login at ${url}: nothing is to be done.`);
  if (provider === null) {
    throw new JobmonError(
      'CONFLICT',
      `the server at ${url} knows API tokens only: ask its administrator for one, and set JOBMON__HTTP__TOKEN to it`,
    );
  }
  const document = await discover(provider.issuer);
  const interrupt = new AbortController();
  const stop = (): void => interrupt.abort(new Interrupted('Nobody was logged in.'));
  process.once('SIGINT', stop);
  let tokens: Tokens;
  try {
    const hasCodes = document.device_authorization_endpoint !== undefined;
    tokens =
      browser || !hasCodes
        ? await loginByBrowser(
            provider,
            document,
            (page) => say(`Open this page in a browser on this machine:\n  ${page}`),
            interrupt.signal,
          )
        : await loginByCode(provider, document, showCode, interrupt.signal);
  } catch (thrown) {
    throw interrupt.signal.aborted ? interrupt.signal.reason : thrown;
  } finally {
    process.off('SIGINT', stop);
  }
  // Only what the server takes is kept.
  const who = await new Connection({ url, token: tokens.token }).send(whoAmI, {});
  const { issuer, client_id } = provider;
  const { token_endpoint, revocation_endpoint = null } = document;
  storeLogin(url, { ...tokens, issuer, client_id, token_endpoint, revocation_endpoint });
  tell(`Logged in at ${url} as ${who.user} (${who.role}).`);
  if (process.env.JOBMON__HTTP__TOKEN) tell('JOBMON__HTTP__TOKEN is set and goes before this login.');
}

function showCode({ url, code, whole_url }: { url: string; code: string; whole_url: string | null }): void {
  say(`Open ${url} in any browser and type the code ${code}${whole_url === null ? '' : `, or open\n  ${whole_url}`}`);
}

/** Without it nobody can go on, so that `--quiet` does not silence it. */
function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

async function logout(): Promise<void> {
  const { url } = await findApi();
  const stored = storedLogin(url);
  if (stored === undefined) return tell(`There is no login at ${url}.`);
  storeLogin(url, undefined);
  if (stored.revocation_endpoint !== null && stored.refresh_token !== null) {
    await revokeLogin(stored.revocation_endpoint, stored.client_id, stored.refresh_token);
  }
  tell(`Logged out at ${url}.`);
}

async function whoami(): Promise<void> {
  const { url } = await findApi();
  const who = { ...(await ask(whoAmI, {})), server: url };
  printOne(who, FIELDS, () =>
    printFields([
      ['server', who.server],
      ['user', who.user ?? '-'],
      ['role', who.role ?? '-'],
      ['known by', CREDENTIAL_WORDS[who.credential]],
      ['until', who.expires_date ?? '-'],
    ]),
  );
}
