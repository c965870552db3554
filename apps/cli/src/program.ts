/** The program: its commands, their help, and what a call of it comes to. */
import { VERSION } from '@jobmon/contracts';
import { Command, CommanderError } from 'commander';
import { addAgentCommands } from './agent';
import { exitCodeOf, Interrupted, sentenceOf } from './failure';
import { addLoginCommands } from './login';
import { printOne } from './print';
import { addServiceLogCommand } from './log';
import { addRunCommand } from './run';
import { addServeCommand } from './serve';
import { addSettings } from './settings';
import { addTaskCommands } from './task';
import { addTokenCommands } from './token';
import { addWorkflowCommands } from './workflow';

const WIDTH_MAX = 100;

export function program(): Command {
  // Subcommands take these settings over when they are made.
  const jobmon = new Command('jobmon').exitOverride().showSuggestionAfterError().version(`jobmon ${VERSION}`);
  jobmon.configureHelp({ helpWidth: Math.min(process.stdout.columns || 80, WIDTH_MAX), showGlobalOptions: false });
  jobmon.configureOutput({
    outputError: (text, write) =>
      write(text.replace(/^error: (command-argument value)?/, (_, value) => (value ? 'Error: the value' : 'Error: '))),
  });
  jobmon.description('Run workflows, look at them and steer them, and start a server on this machine.');
  addSettings(jobmon);
  jobmon.addHelpText(
    'after',
    `
These options stand anywhere on the line. Data goes to standard output, the rest
to standard error.

Exit codes: 0 done, 1 error, 2 wrong usage, 3 not found, 4 not allowed,
5 no server, 6 the workflow did not end DONE, 7 timed out, 130 left with Ctrl-C.

Examples:
  jobmon serve                      start a server for yourself
  jobmon run flow.yaml              run the workflow that a file describes
  jobmon workflow list              what ran and what runs
  jobmon workflow watch 7           follow one to its end
  jobmon workflow errors 7 --group  what went wrong, alike errors together
  jobmon task why 12                why a task does not run
  jobmon task log 12 --follow       what a task's command prints
  jobmon log --workflow 7           what the services said of it
  jobmon workflow retry 7           run the failed tasks again
  jobmon workflow show 7 -o json    for programs

The server is found by itself when you started it on this machine; else give
--server or --profile, or set JOBMON__HTTP__SERVICE_URL (and JOBMON__HTTP__TOKEN).`,
  );
  addServeCommand(jobmon);
  addRunCommand(jobmon);
  addWorkflowCommands(jobmon);
  addTaskCommands(jobmon);
  addAgentCommands(jobmon);
  addServiceLogCommand(jobmon);
  addLoginCommands(jobmon);
  addTokenCommands(jobmon);
  jobmon
    .command('version')
    .description('The version of this program.')
    .addHelpText('after', '\nExample:\n  jobmon version -o json')
    .action(() =>
      printOne({ version: VERSION }, { version: (row) => row.version }, () => process.stdout.write(`jobmon ${VERSION}\n`)),
    );
  return jobmon;
}

/** Runs one call with its arguments. Sets the process' exit code, and writes what went wrong to standard error. */
export async function run(args: readonly string[]): Promise<void> {
  try {
    await program().parseAsync(args, { from: 'user' });
  } catch (error) {
    // Commander has told its own errors already; help and version are none.
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : 2;
      return;
    }
    process.stderr.write(error instanceof Interrupted ? `${error.message}\n` : `Error: ${sentenceOf(error)}\n`);
    process.exitCode = exitCodeOf(error);
  }
}
