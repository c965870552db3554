// `npm run check`: format, lint, types, tests, in that order; stops at the first that fails. CI runs the same.
import { spawnSync } from 'node:child_process';
import { setUp } from './setup.mjs';

await setUp();
const steps = [
  ['format', ['node_modules/prettier/bin/prettier.cjs', '--check', '.']],
  ['lint', ['node_modules/nx/dist/bin/nx.js', 'run-many', '-t', 'lint', '--outputStyle=stream']],
  ['types', ['node_modules/typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.json']],
  ...(process.argv.includes('--without-tests') ? [] : [['tests', ['tools/test.mjs']]]),
];
for (const [name, args] of steps) {
  const started = Date.now();
  const env = { ...process.env, NX_DAEMON: 'false', NX_NO_CLOUD: 'true' };
  const done = spawnSync(process.execPath, args, { stdio: 'inherit', env });
  if (done.status !== 0) {
    console.error(`${name}: failed`);
    process.exit(done.status ?? 1);
  }
  console.log(`${name}: good (${((Date.now() - started) / 1000).toFixed(0)} s)`);
}
