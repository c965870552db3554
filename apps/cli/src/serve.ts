/** `jobmon serve`: the whole house in this process. It is loaded only here, so that other commands start quickly. */
import { InvalidArgumentError, type Command } from 'commander';

/** Parts that can be left out, to be run elsewhere. */
const PARTS = ['agent', 'scheduler', 'reaper'] as const;
type Part = (typeof PARTS)[number];

export interface ServeFlags {
  port?: number;
  host?: string;
  db?: string;
  without?: Part[];
  open?: boolean;
}

export function addServeCommand(jobmon: Command): void {
  jobmon
    .command('serve')
    .description('Start a server for yourself on this machine; stop it with Ctrl-C.')
    .option('--port <number>', 'port to listen on; 8070, or another one when that is taken', parsePort)
    .option('--host <address>', 'address to listen on; others than this machine need --open')
    .option('--db <url>', 'sqlite:FILE, mysql://… or mariadb://…; a file in your data folder when absent')
    .option('--without <parts>', `leave out, with commas between them: ${PARTS.join(', ')}`, parseParts)
    .option('--open', 'let everybody who can reach the address use it, without a login')
    .addHelpText(
      'after',
      '\nExamples:\n  jobmon serve\n  jobmon serve --port 9000 --db sqlite:/data/jobmon.sqlite\n  jobmon serve --without agent',
    )
    .action(async (flags: ServeFlags) => {
      const { serve } = await import('@jobmon/local');
      process.exitCode = await serve(flags);
    });
}

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 65_536;
  if (port > 65_535) throw new InvalidArgumentError('It must be a whole number from 0 to 65535.');
  return port;
}

function parseParts(text: string): Part[] {
  return text.split(',').map((part) => {
    const known = PARTS.find((name) => name === part.trim());
    if (known === undefined) throw new InvalidArgumentError(`'${part}' is none of ${PARTS.join(', ')}.`);
    return known;
  });
}
