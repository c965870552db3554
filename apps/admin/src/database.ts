/** `jobmon-server db`: the schema of the database that the services share. */
import { openDatabase, schemaStatus, type SchemaStatus } from '@jobmon/entities';
import { createLogger, describeDatabase, loadConfig, parseDatabaseUrl } from '@jobmon/runtime';
import type { Command } from 'commander';

/** Exit code of `db status` when the services of this release can't work on the schema. */
const EXIT_NOT_FIT = 1;

export function addDatabaseCommands(server: Command): void {
  const db = server.command('db').description('The schema of the database that the services share.');
  db.command('migrate')
    .description('Bring the schema to this release. Services may run meanwhile; a second call waits for the first one.')
    .option('--db <url>', 'instead of the setting db.url')
    .addHelpText('after', '\nExample:\n  JOBMON__DB__URL=mariadb://migrate:…@db/jobmon jobmon-server db migrate')
    .action(migrate);
  db.command('status')
    .description('What the schema is, and whether services of this release work on it. Exit code 0 when they do, else 1.')
    .option('--db <url>', 'instead of the setting db.url')
    .option('-o, --output <format>', 'text or json', 'text')
    .addHelpText('after', '\nExample:\n  jobmon-server db status -o json')
    .action(status);
}

const addressOf = (db: string | undefined): string =>
  loadConfig({ env: process.env, overrides: { db: { url: db } }, flags: { 'db.url': '--db' } }).config.db.url;

async function migrate(flags: { db?: string }): Promise<void> {
  const url = addressOf(flags.db);
  const log = createLogger({ service: 'jobmon-server', level: 'silent' });
  const say = (sentence: string): void => void process.stderr.write(`${sentence}\n`);
  let count = 0;
  const database = await openDatabase({
    url,
    log,
    onMigration: (name, number, of) => {
      count = number;
      say(`Migrating ${describeDatabase(parseDatabaseUrl(url))}: ${name} (${number} of ${of})`);
    },
  });
  await database.close();
  const after = await schemaStatus(url);
  say(`${count === 0 ? 'Nothing was missing' : 'Migrated'}: the schema has version ${after.version}.`);
}

async function status(flags: { db?: string; output: string }): Promise<void> {
  const url = addressOf(flags.db);
  const found = await schemaStatus(url);
  const database = describeDatabase(parseDatabaseUrl(url));
  process.stdout.write(flags.output === 'json' ? `${JSON.stringify({ database, ...found })}\n` : textOf(database, found));
  if (!found.is_fit) process.exitCode = EXIT_NOT_FIT;
}

function textOf(database: string, { version, version_known, pending, verdict }: SchemaStatus): string {
  const rows: [string, string][] = [
    ['database', database],
    ['schema', `version ${version}; this release knows ${version_known}`],
    ['pending', pending.length === 0 ? 'nothing' : pending.join(', ')],
    ['verdict', verdict],
  ];
  return rows.map(([name, value]) => `${name.padEnd(10)}${value}\n`).join('');
}
