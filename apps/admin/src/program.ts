/** The program `jobmon-server`: its commands, their help, and what a call of it comes to. */
import { JobmonError, VERSION } from '@jobmon/contracts';
import { hidePasswords } from '@jobmon/runtime';
import { Command, CommanderError } from 'commander';
import { addDatabaseCommands } from './database';
import { addOrphansCommand } from './orphans';
import { addPersonEventCommand } from './person-event';
import { addPreflightCommand } from './preflight';
import { addReaperCommands } from './reaper';
import { addTokenCommands } from './token';

export function program(): Command {
  const server = new Command('jobmon-server').exitOverride().showSuggestionAfterError().version(`jobmon-server ${VERSION}`);
  server.description('Look after the services of Jobmon and their database.');
  server.configureHelp({ showGlobalOptions: false });
  server.addHelpText(
    'after',
    `
Settings come from the environment (JOBMON__DB__URL) and the file that JOBMON__CONFIG_FILE names, as for the services.

Exit codes: 0 done, 1 error, 2 wrong usage.

Examples:
  jobmon-server db status      what the schema is, and what is missing
  jobmon-server db migrate     bring the schema to this release
  jobmon-server preflight      what an installation on Kubernetes would miss
  jobmon-server orphans        objects on Kubernetes that no release names`,
  );
  addDatabaseCommands(server);
  addTokenCommands(server);
  addPersonEventCommand(server);
  addReaperCommands(server);
  addPreflightCommand(server);
  addOrphansCommand(server);
  return server;
}

/** Runs one call with its arguments and answers the exit code; what went wrong stands on standard error then. */
export async function run(args: readonly string[]): Promise<number> {
  try {
    await program().parseAsync(args, { from: 'user' });
    return typeof process.exitCode === 'number' ? process.exitCode : 0;
  } catch (error) {
    // Commander has told its own errors already; help and version are none.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    const { message, stack } = error as Error;
    const told = process.env.JOBMON_DEBUG === '1' || !(error instanceof JobmonError) ? (stack ?? message) : message;
    process.stderr.write(`Error: ${hidePasswords(told)}\n`);
    return 1;
  }
}
