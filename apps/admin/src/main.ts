/**
 * `jobmon-server`: what an administrator types, beside a database that services use. Data goes to standard output, everything
 * else to standard error; a failure is one sentence with its cause and, where there is one, its cure.
 */
import 'reflect-metadata';
import { run } from './program';

// As the first process of a container it has no signal's default. What it was at is safe to be cut off, as by kill -9.
for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
] as const)
  process.once(signal, () => process.exit(128 + number));

void run(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
