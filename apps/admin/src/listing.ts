/** What commands that read the database and print rows have in common. */
import { UserName } from '@jobmon/contracts';
import { openDatabase, type Database } from '@jobmon/entities';
import { createLogger, loadConfig } from '@jobmon/runtime';
import { InvalidArgumentError, Option, type Command } from 'commander';

export interface Flags {
  readonly db?: string;
  readonly output: 'text' | 'json';
}

/** Between two columns. */
const GAP = '  ';

export function withOutput(command: Command): Command {
  return command
    .option('--db <url>', 'instead of the setting db.url')
    .addOption(new Option('-o, --output <format>', 'how it is printed').choices(['text', 'json']).default('text'));
}

/** A table for people, a line a row. Empty for no rows. */
export function columnsOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return '';
  const lines = [head, ...rows];
  const widths = head.map((_, at) => Math.max(...lines.map((line) => line[at]!.length)));
  return lines
    .map((line) => line.map((cell, at) => cell.padEnd(widths[at]!)).join(GAP))
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

/** Works on the database of `--db` or of the settings, whose schema stays as it is. */
export async function onDatabase(db: string | undefined, work: (database: Database) => Promise<void>): Promise<void> {
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

export function parseUser(text: string): string {
  if (!UserName.safeParse(text).success) throw new InvalidArgumentError('It must be 1 to 150 printable characters.');
  return text;
}

export function parseId(text: string): number {
  if (!/^[1-9]\d{0,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number above 0.');
  return Number(text);
}
