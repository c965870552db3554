/**
 * `jobmon-server token`: tokens made, listed and ended past the api, by whoever may write the database. So the first admin gets in, and one who
 * locked himself out. A token's text is answered once, by `create`; nothing else knows it.
 */
import {
  API_TOKEN_SECONDS_DEFAULT,
  API_TOKEN_SECONDS_MAX,
  JobmonError,
  ROLES,
  type ApiTokenView,
  type Role,
} from '@jobmon/contracts';
import { apiTokenColumns, insertApiToken, newTokenText, revokeToken, type Database } from '@jobmon/entities';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { columnsOf, onDatabase, parseId, parseUser, withOutput, type Flags } from './listing';

interface CreateFlags extends Flags {
  readonly user: string;
  readonly role: Role;
  readonly expires?: number;
}

/** Rows of one list. */
const LISTED_MAX = 1_000;

/** Stands in `created_by` and `revoked_by`. */
const BY = 'jobmon-server';

export function addTokenCommands(server: Command): void {
  const token = server.command('token').description('API tokens, past the api: for the first admin, and to see who has which.');
  withOutput(token.command('create'))
    .description('Make a token. It is printed once, to standard output, and nobody can see it again.')
    .argument('<name>', 'what it is for, for people', parseName)
    .requiredOption('--user <name>', 'whose it is', parseUser)
    .addOption(new Option('--role <role>', 'what it may do').choices(ROLES).default('admin'))
    .option('--expires <time>', 'how long it is valid, as 12h or 90d; 90d when absent', parseValidity)
    .addHelpText(
      'after',
      `
Examples:
  jobmon-server token create 'first login' --user ada
  jobmon-server token create 'agents of the survey' --user svc-survey --role operator --expires 365d -o json`,
    )
    .action(create);
  withOutput(token.command('list'))
    .description(
      `Tokens, newest first, at most ${LISTED_MAX}: whose, what they may do, until when, last used to the minute. Never their texts.`,
    )
    .option('--user <name>', 'only those of this user', parseUser)
    .addHelpText('after', '\nExamples:\n  jobmon-server token list\n  jobmon-server token list --user ada -o json')
    .action(list);
  withOutput(token.command('revoke'))
    .description('End a token: refused by every api within five seconds. Safe to repeat.')
    .argument('<token id>', 'the number that `jobmon-server token list` shows', parseId)
    .addHelpText('after', '\nExample:\n  jobmon-server token revoke 3')
    .action(revoke);
}

async function create(name: string, { user, role, expires = API_TOKEN_SECONDS_DEFAULT, db, output }: CreateFlags): Promise<void> {
  await onDatabase(db, async (database) => {
    const text = newTokenText();
    const token = { name, user, role, created_by: BY, expires_in_seconds: expires };
    const id = await database.write({ label: 'api_token.create' }, () => insertApiToken(database.dialect, text, token));
    const made = (await read(database, 't.id = ?', [id]))[0] as ApiTokenView;
    process.stdout.write(output === 'json' ? `${JSON.stringify({ ...made, token: text })}\n` : `${text}\n`);
    process.stderr.write(`Token ${id} of ${user} (${role}), valid until ${made.expires_date} UTC. It is not shown again.\n`);
  });
}

async function list({ user, db, output }: Flags & { user?: string }): Promise<void> {
  await onDatabase(db, async (database) => {
    const rows = await (user === undefined ? read(database, '1 = 1', []) : read(database, 't.user = ?', [user]));
    process.stdout.write(output === 'json' ? `${JSON.stringify(rows)}\n` : tableOf(rows));
    if (output === 'text' && rows.length === 0) {
      process.stderr.write(`There are no API tokens${user === undefined ? '' : ` of ${user}`}.\n`);
    }
  });
}

async function revoke(id: number, { db, output }: Flags): Promise<void> {
  await onDatabase(db, async (database) => {
    const [found] = await read(database, 't.id = ?', [id]);
    if (found === undefined) {
      throw new JobmonError('NOT_FOUND', `there is no API token ${id}: \`jobmon-server token list\` shows those there are`);
    }
    await database.write({ label: 'api_token.revoke' }, () => revokeToken(database.dialect, id, BY));
    if (output === 'json') process.stdout.write(`${JSON.stringify((await read(database, 't.id = ?', [id]))[0])}\n`);
    const was = found.revoked_date === null ? 'is revoked' : `was revoked on ${found.revoked_date} UTC by ${found.revoked_by}`;
    process.stderr.write(`Token ${id} of ${found.user} ${was}.\n`);
  });
}

/** What people wrote comes last, and can't move the cursor. */
function tableOf(rows: readonly ApiTokenView[]): string {
  const head = ['ID', 'STATE', 'USER', 'ROLE', 'EXPIRES', 'LAST USED', 'MADE BY', 'NAME'];
  return columnsOf(
    head,
    rows.map((row) => [
      String(row.api_token_id),
      row.state.toUpperCase(),
      row.user,
      row.role,
      row.expires_date,
      row.last_used_date ?? 'never',
      row.created_by,
      row.name.replace(/\p{C}/gu, '?'),
    ]),
  );
}

async function read(database: Database, where: string, params: readonly (string | number)[]): Promise<ApiTokenView[]> {
  const columns = apiTokenColumns(database.dialect);
  return database.read<ApiTokenView>(
    `SELECT ${columns} FROM api_token t WHERE ${where} ORDER BY t.id DESC LIMIT ${LISTED_MAX}`,
    params,
  );
}

function parseName(text: string): string {
  if (text === '' || text.length > 150) throw new InvalidArgumentError('It must be 1 to 150 characters.');
  return text;
}

function parseValidity(text: string): number {
  const [, number, unit = 's'] = /^(\d{1,9})([smhd]?)$/.exec(text) ?? [];
  const seconds = Number(number) * ({ s: 1, m: 60, h: 3_600, d: 86_400 }[unit || 's'] ?? NaN);
  if (!(seconds >= 60 && seconds <= API_TOKEN_SECONDS_MAX))
    throw new InvalidArgumentError('It must be a time like 12h or 90d, at least a minute.');
  return seconds;
}
