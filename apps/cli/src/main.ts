/**
 * `jobmon`: what a person types. Data goes to standard output, everything else to standard error; a failure is one sentence
 * with its cause and, where there is one, its cure. Exit codes: 0 done, 1 error, 2 wrong usage, 3 not found, 4 not allowed,
 * 5 no server, 6 the workflow did not end DONE, 7 timed out.
 */
import { VERSION } from '@jobmon/contracts';
import { Command, CommanderError } from 'commander';
import { addAgentCommands } from './agent';
import { exitCodeOf, sentenceOf } from './failure';
import { output, printRecord } from './print';
import { addServeCommand } from './serve';
import { addTaskCommands } from './task';
import { addWorkflowCommands } from './workflow';

function program(): Command {
  // Subcommands take these settings over when they are made.
  const jobmon = new Command('jobmon').exitOverride().showSuggestionAfterError().version(`jobmon ${VERSION}`);
  jobmon.configureHelp({ helpWidth: Math.min(process.stdout.columns ?? 80, 100) });
  jobmon.configureOutput({
    outputError: (text, write) =>
      write(text.replace(/^error: (command-argument value)?/, (_, value) => (value ? 'Error: the value' : 'Error: '))),
  });
  jobmon.description('Look at workflows, and start a server on this machine.');
  jobmon.addHelpText(
    'after',
    `
Examples:
  jobmon serve                      start a server for yourself
  jobmon workflow list              what ran and what runs
  jobmon workflow watch 7           follow one to its end
  jobmon task list 7 --status FATAL
  jobmon task log 12                what a task's command printed
  jobmon workflow show 7 -o json    for programs

The server is found by itself when you started it on this machine; else set
JOBMON__HTTP__SERVICE_URL (and JOBMON__HTTP__TOKEN).`,
  );
  addServeCommand(jobmon);
  addWorkflowCommands(jobmon);
  addTaskCommands(jobmon);
  addAgentCommands(jobmon);
  jobmon
    .command('version')
    .description('The version of this program.')
    .addOption(output())
    .addHelpText('after', '\nExample:\n  jobmon version -o json')
    .action(({ output: shape }: { output: 'table' | 'json' }) => {
      if (shape === 'json') printRecord({ version: VERSION });
      else process.stdout.write(`jobmon ${VERSION}\n`);
    });
  return jobmon;
}

/** Whoever read our output has had enough (`jobmon … | head`): no failure, and nothing left to do. */
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
}

program()
  .parseAsync()
  .catch((error: unknown) => {
    // Commander has told its own errors already; help and version are none.
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : 2;
      return;
    }
    process.stderr.write(`Error: ${sentenceOf(error)}\n`);
    process.exitCode = exitCodeOf(error);
  });
