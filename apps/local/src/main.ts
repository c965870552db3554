/** The house alone: `node dist/apps/local/main.js`, with the settings of `jobmon serve` and those of the demonstration. */
import 'reflect-metadata';
import { parseArgs } from 'node:util';
import { JobmonError } from '@jobmon/contracts';
import type { HousePart } from './house';
import { serve, type ServeFlags } from './serve';

const USAGE = `Usage: node dist/apps/local/main.js [--port N] [--host ADDRESS] [--open] [--db URL]
         [--without agent,scheduler,reaper] [--demonstration [--exit]]

  --port N          port to listen on; 8070, or another one when that is taken
  --host ADDRESS    address to listen on; others than this machine's own need --open
  --open            let everybody who can reach the address use it, without a login
  --db URL          sqlite:FILE, mysql://... or mariadb://...; a file in your data folder when absent
  --without PARTS   leave parts out, with commas between them: agent, scheduler, reaper
  --demonstration   run a small workflow once the house answers
  --exit            stop when the demonstration has ended; exit code 0 only if every task is DONE
`;

const PARTS: readonly HousePart[] = ['agent', 'scheduler', 'reaper'];

function flagsOf(args: readonly string[]): ServeFlags {
  const { values } = parseArgs({
    args: [...args],
    options: {
      port: { type: 'string' },
      host: { type: 'string' },
      open: { type: 'boolean' },
      db: { type: 'string' },
      without: { type: 'string' },
      demonstration: { type: 'boolean' },
      exit: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values.help === true) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  const { port, without, help: _, ...rest } = values;
  if (port !== undefined && !(/^\d{1,5}$/.test(port) && Number(port) <= 65_535)) {
    throw new JobmonError('MALFORMED', `--port must be a whole number from 0 to 65535, not '${port}'`);
  }
  const parts = without === undefined ? [] : partsOf(without);
  if (values.exit === true && values.demonstration !== true) throw new JobmonError('MALFORMED', '--exit needs --demonstration');
  if (values.demonstration === true && (parts.includes('agent') || parts.includes('scheduler'))) {
    throw new JobmonError('MALFORMED', 'the demonstration needs the agent and the scheduler: leave --without away');
  }
  return {
    ...rest,
    ...(port === undefined ? {} : { port: Number(port) }),
    ...(without === undefined ? {} : { without: parts }),
  };
}

function partsOf(text: string): HousePart[] {
  return text.split(',').map((name) => {
    const part = PARTS.find((known) => known === name.trim());
    if (part === undefined) throw new JobmonError('MALFORMED', `--without knows ${PARTS.join(', ')}, not '${name}'`);
    return part;
  });
}

async function main(): Promise<number> {
  let flags: ServeFlags;
  try {
    flags = flagsOf(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`Error: ${(error as Error).message}\n\n${USAGE}`);
    return 2;
  }
  return serve(flags);
}

void main().then((code) => {
  process.exitCode = code;
});
