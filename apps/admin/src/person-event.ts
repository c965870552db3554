/**
 * `jobmon-server person-event`: who changed definitions, graphs and agents. What people did to a workflow that runs tells `jobmon workflow
 * history`.
 */
import type { PersonEvent } from '@jobmon/entities';
import { InvalidArgumentError, type Command } from 'commander';
import { columnsOf, onDatabase, parseId, parseUser, withOutput, type Flags } from './listing';

interface ListFlags extends Flags {
  readonly user?: string;
  readonly operation?: string;
  readonly before?: number;
  readonly limit: number;
}

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 10_000;

export function addPersonEventCommand(server: Command): void {
  withOutput(server.command('person-event'))
    .description(
      'Who changed definitions, graphs and agents while login was on, newest first: when, by which operation, of which id.',
    )
    .option('--user <name>', 'only those of this user', parseUser)
    .option('--operation <name>', 'only those by this operation, as `tool.register`')
    .option('--before <id>', 'older than this one: for the next page', parseId)
    .option('-n, --limit <count>', 'at most so many', parseLimit, LIMIT_DEFAULT)
    .addHelpText(
      'after',
      `
Examples:
  jobmon-server person-event --user ada
  jobmon-server person-event --operation agent.drain -n 1000 -o json`,
    )
    .action(list);
}

async function list({ user, operation, before, limit, db, output }: ListFlags): Promise<void> {
  const wanted = Object.entries({ 'user = ?': user, 'operation = ?': operation, 'id < ?': before }).filter(
    (one): one is [string, string | number] => one[1] !== undefined,
  );
  const where = wanted.map(([condition]) => ` AND ${condition}`).join('');
  await onDatabase(db, async (database) => {
    const rows = await database.read<PersonEvent>(
      `SELECT id, date, microsecond, user, operation, subject_id FROM person_event WHERE 1 = 1${where} ORDER BY id DESC LIMIT ${limit}`,
      wanted.map(([, value]) => value),
    );
    process.stdout.write(output === 'json' ? `${JSON.stringify(rows)}\n` : tableOf(rows));
    if (output === 'json') return;
    if (rows.length === 0) process.stderr.write('Nobody is recorded with such a change.\n');
    else if (rows.length === limit) process.stderr.write(`There may be more: --before ${rows.at(-1)!.id}\n`);
  });
}

function tableOf(rows: readonly PersonEvent[]): string {
  return columnsOf(
    ['ID', 'DATE (UTC)', 'OPERATION', 'OF ID', 'USER'],
    rows.map((row) => [String(row.id), row.date, row.operation, String(row.subject_id), row.user]),
  );
}

function parseLimit(text: string): number {
  const limit = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > LIMIT_MAX) throw new InvalidArgumentError(`It must be a whole number from 1 to ${LIMIT_MAX}.`);
  return limit;
}
