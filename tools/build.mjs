/**
 * `npm run build`: one bundle for each process, `dist/apps/<app>/main.js`, startable with plain `node` from this checkout.
 *
 * Every folder of `apps/` that has `src/main.ts` is a process; a file `src/<name>-worker.ts` beside it is a thread of it and becomes a
 * bundle beside its own. Our own libs are bundled in (`@jobmon/<name>` is resolved by
 * the table of tsconfig.base.json); packages from npm stay outside and are found in `node_modules`. Types are not checked
 * here (`npm run types` does that). Each file is put in place by rename, so builds that run at the same time and processes
 * that start meanwhile see whole files only. When no source changed since the last build nothing is done.
 */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { setUp } from './setup.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const DIST = path.join(ROOT, 'dist');
const STAMP = path.join(DIST, '.sources');

/** Processes that people start by name: their bundle is a program by itself. */
const PROGRAMS = new Set(['cli', 'admin']);

/** Names of the apps that are processes. */
function processes() {
  return readdirSync(path.join(ROOT, 'apps')).filter((app) => existsSync(path.join(ROOT, 'apps', app, 'src', 'main.ts')));
}

/** Path, size and time of every file that a bundle is made from, as one hash. Reads no file's content: about 10 ms. */
function sourcesHash() {
  const hash = createHash('sha256');
  const add = (file) => {
    const stat = statSync(file, { throwIfNoEntry: false });
    hash.update(`${file}\0${stat?.size}\0${stat?.mtimeMs}\n`);
  };
  for (const folder of ['apps', 'libs']) {
    for (const entry of readdirSync(path.join(ROOT, folder), { recursive: true, withFileTypes: true })) {
      if (entry.isFile() && !entry.name.endsWith('.spec.ts')) add(path.join(entry.parentPath ?? entry.path, entry.name));
    }
  }
  for (const file of ['package.json', 'tsconfig.base.json', 'tools/build.mjs']) add(path.join(ROOT, file));
  return hash.digest('hex');
}

const outputOf = (app) => path.join(DIST, 'apps', app, 'main.js');

/** The sources that bundles are made from, below `apps/<app>/src`. */
function entriesOf(app) {
  return readdirSync(path.join(ROOT, 'apps', app, 'src')).filter((file) => file === 'main.ts' || file.endsWith('-worker.ts'));
}

async function bundle(esbuild, app) {
  const outfile = outputOf(app);
  const { outputFiles } = await esbuild.build({
    absWorkingDir: ROOT,
    entryPoints: entriesOf(app).map((file) => path.join('apps', app, 'src', file)),
    outdir: path.dirname(outfile),
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    packages: 'external',
    tsconfig: 'tsconfig.base.json',
    sourcemap: 'linked',
    keepNames: true,
    legalComments: 'none',
    logLevel: 'warning',
    banner: PROGRAMS.has(app) ? { js: '#!/usr/bin/env node' } : {},
  });
  mkdirSync(path.dirname(outfile), { recursive: true });
  // The map first: whoever finds the bundle finds its map too.
  for (const file of [...outputFiles].sort((a, b) => Number(b.path.endsWith('.map')) - Number(a.path.endsWith('.map')))) {
    const partial = `${file.path}.${process.pid}.partial`;
    writeFileSync(partial, file.contents);
    if (PROGRAMS.has(app) && file.path === outfile) chmodSync(partial, 0o755);
    renameSync(partial, file.path);
  }
}

/** `npx jobmon` looks for a checkout's own programs where those of other packages are linked; npm does not link them there. */
function linkPrograms() {
  const { bin } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
  const folder = path.join(ROOT, 'node_modules', '.bin');
  mkdirSync(folder, { recursive: true });
  for (const [name, file] of Object.entries(bin)) {
    const link = path.join(folder, name);
    const target = path.relative(folder, path.join(ROOT, file));
    const isLink = lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink() === true;
    if (isLink && readlinkSync(link) === target) continue;
    symlinkSync(target, `${link}.${process.pid}`);
    renameSync(`${link}.${process.pid}`, link);
  }
}

/** Builds what changed. Answers the names of the processes that were built; throws when one of them could not be. */
export async function build() {
  const apps = processes();
  linkPrograms();
  const hash = sourcesHash();
  const isCurrent = existsSync(STAMP) && readFileSync(STAMP, 'utf8') === hash && apps.every((app) => existsSync(outputOf(app)));
  if (isCurrent) return [];
  const esbuild = createRequire(import.meta.url)('esbuild');
  const results = await Promise.allSettled(apps.map((app) => bundle(esbuild, app)));
  const failed = apps.filter((_, index) => results[index].status === 'rejected');
  if (failed.length > 0) throw new Error(`could not build ${failed.join(', ')}; the messages above say why`);
  writeFileSync(STAMP, hash);
  return apps;
}

if (process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    setUp();
    const built = await build();
    console.log(
      built.length === 0
        ? 'Nothing changed since the last build.'
        : `Built ${built.map((app) => `dist/apps/${app}/main.js`).join(', ')}.`,
    );
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
