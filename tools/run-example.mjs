/**
 * `node tools/run-example.mjs FILE.ts [arguments]`: runs a TypeScript program that uses this checkout's SDK, without a build
 * step and without checking its types (`npm run types` does that). The file is bundled into a module in the cache folder of
 * `node_modules` and imported in this process.
 */
import { mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const [file, ...rest] = process.argv.slice(2);
if (file === undefined) {
  console.error('usage: node tools/run-example.mjs FILE.ts [arguments], e.g. examples/first-workflow.ts');
  process.exit(2);
}
const folder = path.join(ROOT, 'node_modules', '.cache', 'jobmon-examples');
const outfile = path.join(folder, `${path.basename(file, '.ts')}-${process.pid}.mjs`);
mkdirSync(folder, { recursive: true });
try {
  await build({
    entryPoints: [file],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    tsconfig: path.join(ROOT, 'tsconfig.base.json'),
    sourcemap: 'inline',
    logLevel: 'warning',
  });
  process.setSourceMapsEnabled(true);
  process.argv = [process.execPath, file, ...rest];
  await import(pathToFileURL(outfile).href);
} catch (error) {
  // An error with a sentence for people is told as one; anything else keeps its trace.
  console.error(error instanceof Error && error.name === 'JobmonError' ? `Error: ${error.message}` : error);
  process.exitCode = 1;
} finally {
  rmSync(outfile, { force: true });
}
