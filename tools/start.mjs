/**
 * `npm start`: sets up what is missing, builds what changed, and starts the house with its demonstration in this very
 * process, so that signals and the exit code need no passing on. Whatever stands behind `--` goes to the house:
 * `npm start -- --exit` stops when the demonstration has ended.
 */
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { setUp } from './setup.mjs';

const main = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', 'dist', 'apps', 'local', 'main.js');
try {
  setUp();
  // esbuild is installed by now; before the set-up this import would fail.
  const { build } = await import('./build.mjs');
  await build();
  process.argv = [process.execPath, main, '--demonstration', ...process.argv.slice(2)];
  createRequire(import.meta.url)(main);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
