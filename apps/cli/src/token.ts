/** `jobmon token`: API tokens, which agents and programs show in place of a person's login. */
import { createApiToken, listApiTokens, revokeApiToken, ROLES, type ApiTokenView, type Role } from '@jobmon/contracts';
import { Option, type Command } from 'commander';
import { isForPrograms, tell } from './settings';
import { printList, printRecord, recordOf, type Column, type Fields } from './print';
import { ask, parseId, parseSeconds } from './server';

const FIELDS: Fields<ApiTokenView> = {
  api_token_id: (row) => row.api_token_id,
  name: (row) => row.name,
  user: (row) => row.user,
  role: (row) => row.role,
  state: (row) => row.state,
  created_date: (row) => row.created_date,
  created_by: (row) => row.created_by,
  expires_date: (row) => row.expires_date,
  last_used_date: (row) => row.last_used_date,
  revoked_date: (row) => row.revoked_date,
  revoked_by: (row) => row.revoked_by,
};
const COLUMNS: readonly Column<ApiTokenView>[] = [
  { title: 'ID', of: (row) => row.api_token_id, align: 'right' },
  { title: 'STATE', of: (row) => row.state.toUpperCase() },
  { title: 'USER', of: (row) => row.user },
  { title: 'ROLE', of: (row) => row.role },
  { title: 'EXPIRES', of: (row) => row.expires_date },
  { title: 'LAST USED', of: (row) => row.last_used_date },
  { title: 'NAME', of: (row) => row.name, isFlexible: true },
];

interface CreateFlags {
  readonly role?: Role;
  readonly expires?: number;
  readonly user?: string;
}

export function addTokenCommands(jobmon: Command): void {
  const token = jobmon.command('token').description('API tokens: what agents and programs show in place of a login.');
  token
    .command('create')
    .description('Make a token. It is printed once, to standard output, and nobody can see it again.')
    .argument('<name>', 'what it is for, for people')
    .addOption(new Option('--role <role>', 'at most your own, which it is when absent').choices(ROLES))
    .option('--expires <time>', 'how long it is valid, as 12h or 90d; 90d when absent', parseSeconds)
    .option('--user <name>', "whose it is; another's than yours needs an admin")
    .addHelpText(
      'after',
      "\nExamples:\n  jobmon token create 'agent on node7'\n  jobmon token create ci --role reader --expires 30d",
    )
    .action(create);
  token
    .command('list')
    .description('Your tokens, or for an admin everybody’s: never their texts.')
    .option('--user <name>', "whose; another's than yours needs an admin")
    .addHelpText('after', '\nExample:\n  jobmon token list')
    .action(list);
  token
    .command('revoke')
    .description('End a token at once.')
    .argument('<token id>', 'the number that `jobmon token list` shows', parseId)
    .addHelpText('after', '\nExample:\n  jobmon token revoke 3')
    .action(revoke);
}

async function create(name: string, { role, expires, user }: CreateFlags): Promise<void> {
  const { api_token, token } = await ask(createApiToken, {
    name,
    ...(role === undefined ? {} : { role }),
    ...(user === undefined ? {} : { for_user: user }),
    ...(expires === undefined ? {} : { expires_in_seconds: Math.round(expires) }),
  });
  if (isForPrograms()) return printRecord({ ...recordOf(api_token, FIELDS), token });
  process.stdout.write(`${token}\n`);
  tell(`Token ${api_token.api_token_id} of ${api_token.user} (${api_token.role}), valid until ${api_token.expires_date} UTC.`);
  tell('Keep it now: it is not shown again. Programs find it in JOBMON__HTTP__TOKEN.');
}

async function list({ user }: { user?: string }): Promise<void> {
  const { api_tokens } = await ask(listApiTokens, user === undefined ? {} : { of_user: user });
  printList(api_tokens, FIELDS, COLUMNS);
}

async function revoke(api_token_id: number): Promise<void> {
  const { api_token } = await ask(revokeApiToken, { api_token_id });
  tell(`Token ${api_token_id} of ${api_token.user} is revoked.`);
}
