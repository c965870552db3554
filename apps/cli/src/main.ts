/**
 * `jobmon`: what a person types. Data goes to standard output, everything else to standard error; a failure is one sentence
 * with its cause and, where there is one, its cure.
 */
import { run } from './program';

/** Whoever read our output has had enough (`jobmon … | head`): no failure, and nothing left to do. */
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    if (stream === process.stdout) process.stderr.write(`Error: standard output cannot be written: ${error.message}\n`);
    process.exit(1);
  });
}

void run(process.argv.slice(2));
