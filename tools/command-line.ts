/**
 * The page of the command line: every command with its help, as the program itself prints it, so that neither can say something else than
 * the other.
 */
import type { Command } from 'commander';
import { program } from '../apps/cli/src/program';

/** Columns of the page's help texts, whatever terminal it is made in. */
const COLUMNS = 100;

/** `docs/command-line.md`, whole. */
export function commandLinePage(): string {
  const jobmon = program();
  const groups = jobmon.commands.filter(isListed).map((command) => sectionOf(command, ['jobmon']));
  return `# The command line

Generated from the help of \`jobmon\` by \`npm run docs\`; a test fails when it is stale. From a checkout the program is \`npx jobmon\`.

${block(helpOf(jobmon, ['jobmon']))}
## What it prints

- Data goes to standard output, everything else (hints, progress, errors) to standard error. \`--quiet\` leaves hints and progress out.
- \`-o table\` is for people: it fits the terminal, and what is too long ends with \`…\`. \`-o json\`, \`jsonl\` and \`csv\` are for programs:
  a command has one shape of record in all three, its names are those of the database in snake_case, statuses are words, dates are
  UTC. A list is an array of records, one thing is one record. In CSV a value that is no text or number is JSON.
- \`workflow watch\` draws in its place where standard output and standard error are a terminal, and writes lines elsewhere.
  \`NO_COLOR=1\`, \`--no-color\` and \`TERM=dumb\` do without colours, the last without drawing too.
- A failure is one sentence with cause and cure; \`JOBMON_DEBUG=1\` shows where it came from.

${groups.join('\n')}`;
}

function isListed(command: Command): boolean {
  return command.name() !== 'help';
}

function sectionOf(command: Command, parents: readonly string[]): string {
  const path = [...parents, command.name()];
  const title = `${'#'.repeat(Math.min(path.length, 4))} \`${path.join(' ')}\`\n\n`;
  const own = `${title}${block(helpOf(command, parents))}`;
  return [own, ...command.commands.filter(isListed).map((child) => sectionOf(child, path))].join('\n');
}

function helpOf(command: Command, parents: readonly string[]): string {
  let text = '';
  const write = (part: string): void => void (text += part);
  command.configureHelp({ ...command.configureHelp(), helpWidth: COLUMNS });
  command.configureOutput({ ...command.configureOutput(), writeOut: write, writeErr: write, getOutHelpWidth: () => COLUMNS });
  command.outputHelp();
  return parents.length === 0 ? text : text.trimEnd();
}

function block(text: string): string {
  return `\`\`\`text\n${text.trimEnd()}\n\`\`\`\n`;
}
