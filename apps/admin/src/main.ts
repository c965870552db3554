/**
 * `jobmon-server`: what an administrator types, beside a database that services use. Data goes to standard output, everything
 * else to standard error; a failure is one sentence with its cause and, where there is one, its cure.
 */
import 'reflect-metadata';
import { run } from './program';

void run(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
