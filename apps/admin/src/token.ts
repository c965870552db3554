/**
 * `jobmon-server token`: tokens made past the api, by whoever may write the database. So the first admin gets in, and one who locked himself
 * out.
 */
import {
  API_TOKEN_SECONDS_DEFAULT,
  API_TOKEN_SECONDS_MAX,
  JobmonError,
  ROLES,
  UserName,
  type ApiTokenView,
  type Role,
} from '@jobmon/contracts';
import { apiTokenColumns, insertApiToken, newTokenText, openDatabase, revokeToken, type Database } from '@jobmon/entities';
import { createLogger, loadConfig } from '@jobmon/runtime';
import { InvalidArgumentError, Option, type Command } from 'commander';

interface CreateFlags {
  readonly user: string;
  readonly role: Role;
  readonly expires: number;
  readonly db?: string;
}

/** Stands in `created_by` and `revoked_by`. */
const BY = 'jobmon-server';

export function addTokenCommands(server: Command): void {
  const token = server.command('token').description('API tokens, made past the api: for the first admin.');
  token
    .command('create')
    .description('Make a token. It is printed once, to standard output, and nobody can see it again.')
    .argument('<name>', 'what it is for, for people', parseName)
    .requiredOption('--user <name>', 'whose it is', parseUser)
    .addOption(new Option('--role <role>', 'what it may do').choices(ROLES).default('admin'))
    .option('--expires <time>', 'how long it is valid, as 12h or 90d', parseValidity, API_TOKEN_SECONDS_DEFAULT)
    .option('--db <url>', 'instead of the setting db.url')
    .addHelpText('after', "\nExample:\n  jobmon-server token create 'first login' --user ada")
    .action(create);
  token
    .command('revoke')
    .description('End a token, within seconds.')
    .argument('<token id>', 'the number that `jobmon token list` shows', parseId)
    .option('--db <url>', 'instead of the setting db.url')
    .addHelpText('after', '\nExample:\n  jobmon-server token revoke 3')
    .action(revoke);
}

async function create(name: string, { user, role, expires, db }: CreateFlags): Promise<void> {
  await onDatabase(db, async (database) => {
    const text = newTokenText();
    const token = { name, user, role, created_by: BY, expires_in_seconds: expires };
    const id = await database.write({ label: 'api_token.create' }, () => insertApiToken(database.dialect, text, token));
    const made = await read(database, id);
    process.stdout.write(`${text}\n`);
    process.stderr.write(`Token ${id} of ${user} (${role}), valid until ${made?.expires_date} UTC. It is not shown again.\n`);
  });
}

async function revoke(id: number, { db }: { db?: string }): Promise<void> {
  await onDatabase(db, async (database) => {
    const found = await read(database, id);
    if (found === undefined) throw new JobmonError('NOT_FOUND', `there is no API token ${id}`);
    await database.write({ label: 'api_token.revoke' }, () => revokeToken(database.dialect, id, BY));
    process.stderr.write(`Token ${id} of ${found.user} is revoked.\n`);
  });
}

async function read(database: Database, id: number): Promise<ApiTokenView | undefined> {
  const columns = apiTokenColumns(database.dialect);
  return (await database.read<ApiTokenView>(`SELECT ${columns} FROM api_token t WHERE t.id = ?`, [id]))[0];
}

async function onDatabase(db: string | undefined, work: (database: Database) => Promise<void>): Promise<void> {
  const { config } = loadConfig({ env: process.env, overrides: { db: { url: db } }, flags: { 'db.url': '--db' } });
  const database = await openDatabase({
    url: config.db.url,
    log: createLogger({ service: 'jobmon-server', level: 'silent' }),
    migrates: false,
  });
  try {
    await work(database);
  } finally {
    await database.close();
  }
}

function parseUser(text: string): string {
  if (!UserName.safeParse(text).success) throw new InvalidArgumentError('It must be 1 to 150 printable characters.');
  return text;
}

function parseName(text: string): string {
  if (text === '' || text.length > 150) throw new InvalidArgumentError('It must be 1 to 150 characters.');
  return text;
}

function parseId(text: string): number {
  if (!/^[1-9]\d{0,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number above 0.');
  return Number(text);
}

function parseValidity(text: string): number {
  const [, number, unit = 's'] = /^(\d{1,9})([smhd]?)$/.exec(text) ?? [];
  const seconds = Number(number) * ({ s: 1, m: 60, h: 3_600, d: 86_400 }[unit || 's'] ?? NaN);
  if (!(seconds >= 60 && seconds <= API_TOKEN_SECONDS_MAX))
    throw new InvalidArgumentError('It must be a time like 12h or 90d, at least a minute.');
  return seconds;
}
