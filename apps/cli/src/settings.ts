/** The options that every command takes, wherever on the line they stand, and what follows from them and from the environment. */
import { Connection } from '@jobmon/client';
import { InvalidArgumentError, Option, type Command } from 'commander';

/** What a command prints: a table for people, records for programs. */
export const SHAPES = ['table', 'json', 'jsonl', 'csv'] as const;
export type Shape = (typeof SHAPES)[number];

interface Settings {
  readonly output: Shape;
  readonly quiet: boolean;
  /** False: no colours, whatever the terminal. */
  readonly color: boolean;
  readonly server?: string;
  readonly token?: string;
  readonly profile?: string;
}

/** As they stand on the line of this call; defaults before it was read. */
export let settings: Settings = { output: 'table', quiet: false, color: true };

/** Adds the options to the program; before a command's action they are read. */
export function addSettings(jobmon: Command): void {
  jobmon
    .addOption(
      new Option('-o, --output <shape>', 'table for people; json, jsonl (a record a line) or csv for programs')
        .choices(SHAPES)
        .default('table'),
    )
    .option('-q, --quiet', 'nothing but data and errors: no hints, no progress', false)
    .option('--no-color', 'no colours; the same as NO_COLOR=1')
    .option('--server <url>', 'where the server answers, in place of JOBMON__HTTP__SERVICE_URL and the profile', parseAddresses)
    .option('--token <token>', "the server's token, in place of JOBMON__HTTP__TOKEN; others on this machine can see it here")
    .option('--profile <name or file>', 'another client profile than `profile`: NAME.json beside it, or a file')
    .hook('preAction', (_, command) => {
      settings = jobmon.opts();
      // A command that declares one of these options itself is given what stood on the line.
      for (const [name, value] of Object.entries(settings)) {
        if (command !== jobmon && command.getOptionValue(name) !== undefined) command.setOptionValue(name, value);
      }
    });
}

/** Refused as wrong usage (exit code 2) before anything is asked, as every other argument that makes no sense. */
function parseAddresses(text: string): string {
  try {
    new Connection({ url: text });
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
  return text;
}

/** Whether records for programs are asked for. */
export function isForPrograms(): boolean {
  return settings.output !== 'table';
}

/** Whether a stream takes colours: a terminal that nobody asked to do without (https://no-color.org). */
export function hasColours(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY === true && settings.color && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
}

/** Whether a stream shows more than ASCII, as the locale tells. */
export function hasUnicode(env: NodeJS.ProcessEnv = process.env): boolean {
  const locale = env.LC_ALL || env.LC_CTYPE || env.LANG || '';
  return env.TERM !== 'dumb' && /utf-?8/i.test(locale);
}

/** Columns where the width is not known: a pipe, a file. */
const COLUMNS_DEFAULT = 80;

/** Columns of a stream. Some terminals say 0 for "not known". */
export function widthOf(stream: NodeJS.WriteStream): number {
  const set = Number(process.env.COLUMNS);
  return stream.columns || (set > 0 ? set : COLUMNS_DEFAULT);
}

/** Tells a person something that is no data: on standard error, one line, unless `--quiet`. */
export function tell(text: string): void {
  if (!settings.quiet) process.stderr.write(`${text}\n`);
}
