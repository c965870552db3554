/** `jobmon-server reaper once`: one pass of the reaper by hand, or what it would do and why. */
import { JobmonError, type ErrorCode } from '@jobmon/contracts';
import { openDatabase, schemaStatus, type Database } from '@jobmon/entities';
import { openNatsMessenger } from '@jobmon/messaging';
import type { Failure, Look } from '@jobmon/reaper';
import { createLogger, loadConfig, parseDatabaseUrl } from '@jobmon/runtime';
import { Option, type Command } from 'commander';

interface OnceFlags {
  readonly dryRun?: boolean;
  readonly db?: string;
  readonly output: 'text' | 'json';
}

export function addReaperCommands(server: Command): void {
  const reaper = server.command('reaper').description('What went silent: agents, client runs, commands that were cut off.');
  reaper
    .command('once')
    .description(
      'One pass of the reaper, beside any that run. Ends what is past its deadline, by way of the state machine; needs the bus, unless it is a dry run.',
    )
    .option('--dry-run', 'only say what would be ended, and why')
    .option('--db <url>', 'instead of the setting db.url')
    .addOption(new Option('-o, --output <format>', 'how it is printed').choices(['text', 'json']).default('text'))
    .addHelpText('after', '\nExample:\n  jobmon-server reaper once --dry-run')
    .action(once);
}

async function once({ dryRun = false, db, output }: OnceFlags): Promise<void> {
  const { config } = loadConfig({ env: process.env, overrides: { db: { url: db } }, flags: { 'db.url': '--db' } });
  const { url } = config.db;
  if (!dryRun && parseDatabaseUrl(url).kind === 'sqlite') {
    const cure = 'start it, or look with --dry-run';
    throw new JobmonError('CONFLICT', `db.url names a SQLite file: the house that has it open does this by itself; ${cure}`);
  }
  const { is_fit, verdict } = await schemaStatus(url);
  if (!is_fit) throw new JobmonError('CONFLICT', verdict);
  const log = createLogger({ service: 'jobmon-server', level: 'silent' });
  const database = await openDatabase({ url, log, migrates: false, connections_max: 2 });
  try {
    // Loaded when it is wanted: it brings Nest with it.
    const reaper = await import('@jobmon/reaper');
    const looks = await reaper.look({ database, config });
    const done = dryRun ? null : await carryOut(database, config, reaper);
    if (output === 'json') process.stdout.write(`${JSON.stringify({ dry_run: dryRun, ...done, rules: looks })}\n`);
    else process.stdout.write(textOf(looks, done));
    if (done !== null && done.failed.length > 0) throw explained(done.failed);
  } finally {
    await database.close();
  }
}

type Config = ReturnType<typeof loadConfig>['config'];

/** What a pass came to. */
interface Done {
  readonly attempts_ended: number;
  /** What is past its deadline still: it is spared, or waits for something, or could not be ended. */
  readonly left: number;
  /** What could not be ended, with the reason. */
  readonly failed: readonly { readonly of: string; readonly id: number; readonly code: ErrorCode; readonly reason: string }[];
}

async function carryOut(
  database: Database,
  config: Config,
  { ALL, look, readServed, reap }: typeof import('@jobmon/reaper'),
): Promise<Done> {
  const log = createLogger({ service: 'jobmon-server', level: 'silent' });
  const messenger = await openNatsMessenger({ log, name: 'jobmon-server', ...config.nats });
  try {
    const { lease_seconds } = config.agent;
    const served = await readServed(database);
    const failures: Failure[] = [];
    const onFailure = (failure: Failure): void => void failures.push(failure);
    const context = { config, log, messenger, database, onFailure };
    const attempts_ended = await reap(context, { ...served, lease_seconds, of: ALL }).catch((error: unknown) => {
      // A pass that stops at one of them has told of it.
      if (failures.length === 0) throw error;
      return 0;
    });
    const left = (await look({ database, config })).reduce((sum, { found }) => sum + found.length, 0);
    const failed = failures.map(({ of, id, error }) => ({ of, id, code: error.code, reason: error.message }));
    return { attempts_ended, left, failed };
  } finally {
    await messenger.drain();
  }
}

/** Cause and cure of the first failure, which is as a rule that of all. */
function explained(failed: Done['failed']): JobmonError {
  const [{ of, id, code, reason }] = failed as [Done['failed'][number]];
  const cures: Partial<Record<ErrorCode, string>> = {
    FORBIDDEN:
      "nats.user lacks the right: name the reaper's account by JOBMON__NATS__USER and JOBMON__NATS__PASSWORD (docs/bus.md)",
    UNAVAILABLE: 'start a state machine, or wait until one is ready, and try again',
  };
  const others = failed.length === 1 ? '' : ` and ${failed.length - 1} more`;
  return new JobmonError(code, `${of} ${id}${others} could not be ended: ${reason}; ${cures[code] ?? 'try again'}`);
}

function textOf(looks: readonly Look[], done: Done | null): string {
  const lines = looks.flatMap(({ rule, spared, found }) => [
    ...(found.length > 0 && spared !== null ? [`${rule}: none is ended, since ${spared}`] : []),
    ...found.map(({ of, id, why }) => `${spared === null ? '' : '  '}${of} ${id}: ${why}`),
  ]);
  if (lines.length === 0) lines.push('Nothing is past its deadline.');
  if (done !== null) lines.push(`Done: attempts ended ${done.attempts_ended}, past a deadline still ${done.left}.`);
  return `${lines.join('\n')}\n`;
}
