/** `jobmon-server db`: the schema of the database that the services share. */
import { JobmonError } from '@jobmon/contracts';
import { openDatabase, schemaStatus, type Database, type SchemaStatus } from '@jobmon/entities';
import { createLogger, describeDatabase, loadConfig, parseDatabaseUrl, waitFor } from '@jobmon/runtime';
import { InvalidArgumentError, type Command } from 'commander';

/** Exit code of `db status` when the services of this release can't work on the schema. */
const EXIT_NOT_FIT = 1;
/** How long `--wait` waits when it names no time. */
const WAIT_SECONDS = 300;
const WAIT_SECONDS_MAX = 86_400;

const SILENT = createLogger({ service: 'jobmon-server', level: 'silent' });
const say = (sentence: string): void => void process.stderr.write(`${sentence}\n`);

export function addDatabaseCommands(server: Command): void {
  const db = server.command('db').description('The schema of the database that the services share.');
  db.command('migrate')
    .description('Bring the schema to this release. Services may run meanwhile; a second call waits for the first one.')
    .option('--db <url>', 'instead of the setting db.url')
    .option('--wait [seconds]', `wait for a database that is not there yet, ${WAIT_SECONDS} s when no time is named`, waitSeconds)
    .addHelpText('after', '\nExample:\n  JOBMON__DB__URL=mariadb://migrate:…@db/jobmon jobmon-server db migrate --wait 600')
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

function waitSeconds(text: string): number {
  const seconds = Number(text);
  if (Number.isInteger(seconds) && seconds >= 1 && seconds <= WAIT_SECONDS_MAX) return seconds;
  throw new InvalidArgumentError(`It must be a whole number of seconds from 1 to ${WAIT_SECONDS_MAX}.`);
}

async function migrate(flags: { db?: string; wait?: number | true }): Promise<void> {
  const url = addressOf(flags.db);
  let count = 0;
  const open = (): Promise<Database> =>
    openDatabase({
      url,
      log: SILENT,
      onMigration: (name, number, of) => {
        count = number;
        say(`Migrating ${describeDatabase(parseDatabaseUrl(url))}: ${name} (${number} of ${of})`);
      },
    });
  const database =
    flags.wait === undefined ? await open() : await whenThere(open, flags.wait === true ? WAIT_SECONDS : flags.wait);
  await database.close();
  const after = await schemaStatus(url);
  say(`${count === 0 ? 'Nothing was missing' : 'Migrated'}: the schema has version ${after.version}.`);
}

/**
 * Tries again as services do, for what waiting can help: no server, no such database, a password that is refused. Each cause is told once.
 *
 * @throws JobmonError UNAVAILABLE with the last cause when the time is over; what waiting can't help at once.
 */
async function whenThere(open: () => Promise<Database>, seconds: number): Promise<Database> {
  const signal = AbortSignal.timeout(seconds * 1_000);
  let told = '';
  const onTry = (failure: JobmonError | null): void => {
    if (failure === null || failure.message === told) return;
    told = failure.message;
    say(`Waiting for the database, for at most ${seconds} s: ${told}.`);
  };
  try {
    return await waitFor(
      { name: 'database', open, checks: {}, close: (database) => database.close() },
      { log: SILENT, signal, onTry },
    );
  } catch (error) {
    if (!signal.aborted || error instanceof JobmonError) throw error;
    throw new JobmonError('UNAVAILABLE', `the database did not come within ${seconds} s: ${told}`, undefined, { cause: error });
  }
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
