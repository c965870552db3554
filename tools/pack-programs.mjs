/**
 * `npm run pack [-- FOLDER]`: the packages `@jobmon/client`, `@jobmon/cli` and `@jobmon/server` with their tarballs in FOLDER, `dist/package` when
 * absent. Prints the tarballs' paths.
 *
 * `@jobmon/cli` is `jobmon`, for those who use a server that stands elsewhere: no database, no bus, nothing to compile. `@jobmon/server` is
 * all services, `jobmon-server`, and the house in one process; beside it `jobmon serve` works.
 */
import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { builtinModules, createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { packClient, tarballOf } from './pack.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
/** What `@jobmon/server` starts, each by `node node_modules/@jobmon/server/dist/apps/NAME/main.js`. */
const SERVICES = ['api', 'state-machine', 'scheduler', 'log-sink', 'reaper', 'admin'];
/** Threads of services, bundles beside them. */
const THREADS = { scheduler: ['renewal-worker'] };

const root = () => JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));

/** The house is a package of its own to the command line: what people type is quick to install, and says what it lacks. */
const houseElsewhere = {
  name: 'house-elsewhere',
  setup(build) {
    build.onResolve({ filter: /^@jobmon\/local$/ }, () => ({ path: 'house', namespace: 'house' }));
    build.onLoad({ filter: /.*/, namespace: 'house' }, () => ({
      contents: `try {
        module.exports = require('@jobmon/server/local');
      } catch (error) {
        if (error.code !== 'MODULE_NOT_FOUND' || !error.message.includes('@jobmon/server/local')) throw error;
        throw new Error('a server is a package of its own: npm install @jobmon/server@${root().version}, beside @jobmon/cli');
      }`,
      resolveDir: ROOT,
    }));
  },
};

/** Bundles sources into `out`; answers the names of the packages that stay outside. */
async function bundle(entryPoints, out, { plugins = [], isProgram = false } = {}) {
  const { metafile } = await createRequire(import.meta.url)('esbuild').build({
    absWorkingDir: ROOT,
    entryPoints,
    outdir: out,
    bundle: true,
    metafile: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    packages: 'external',
    tsconfig: 'tsconfig.base.json',
    keepNames: true,
    legalComments: 'none',
    logLevel: 'warning',
    plugins,
    banner: isProgram ? { js: '#!/usr/bin/env node' } : {},
  });
  if (isProgram) chmodSync(path.join(out, 'main.js'), 0o755);
  const outside = Object.values(metafile.outputs).flatMap(({ imports }) => imports.filter(({ external }) => external));
  const names = outside.map(({ path: name }) =>
    name
      .split('/')
      .slice(0, name.startsWith('@') ? 2 : 1)
      .join('/'),
  );
  return [...new Set(names)].filter((name) => !name.startsWith('node:') && !builtinModules.includes(name)).sort();
}

function finish(home, folder, manifest, page) {
  const { version, license, engines } = root();
  writeFileSync(
    path.join(home, 'package.json'),
    `${JSON.stringify({ ...manifest, version, license, engines, type: 'commonjs' }, undefined, 2)}\n`,
  );
  cpSync(path.join(ROOT, 'LICENSE'), path.join(home, 'LICENSE'));
  cpSync(path.join(ROOT, 'docs', page), path.join(home, 'README.md'));
  return tarballOf(home, folder);
}

function emptyFolder(folder, name) {
  const home = path.join(folder, name);
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  return home;
}

/** Makes `@jobmon/cli`; answers its tarball's path. */
export async function packCli(folder) {
  const home = emptyFolder(folder, 'cli');
  const { version, dependencies } = root();
  const names = await bundle(['apps/cli/src/main.ts'], path.join(home, 'dist'), { plugins: [houseElsewhere], isProgram: true });
  const needed = names.filter((name) => name !== '@jobmon/server');
  const manifest = {
    name: '@jobmon/cli',
    description: 'jobmon: run workflows of thousands to millions of batch tasks, look at them and steer them.',
    bin: { jobmon: 'dist/main.js' },
    files: ['dist'],
    dependencies: Object.fromEntries(needed.map((name) => [name, versionOf(dependencies, name)])),
    peerDependencies: { '@jobmon/server': version },
    peerDependenciesMeta: { '@jobmon/server': { optional: true } },
  };
  return finish(home, folder, manifest, 'command-line.md');
}

function versionOf(dependencies, name) {
  if (dependencies[name] === undefined) throw new Error(`${name} is imported and is no dependency in package.json`);
  return dependencies[name];
}

/** Makes `@jobmon/server`; answers its tarball's path. */
export async function packServer(folder) {
  const home = emptyFolder(folder, 'server');
  for (const name of SERVICES) {
    const sources = ['main', ...(THREADS[name] ?? [])].map((file) => `apps/${name}/src/${file}.ts`);
    await bundle(sources, path.join(home, 'dist/apps', name), { isProgram: name === 'admin' });
  }
  await bundle(['apps/local/src/index.ts'], path.join(home, 'dist/local'));
  const manifest = {
    name: '@jobmon/server',
    description: 'The services of Jobmon, jobmon-server, and the whole of it in one process over SQLite.',
    bin: { 'jobmon-server': 'dist/apps/admin/main.js' },
    exports: { './local': './dist/local/index.js', './package.json': './package.json' },
    files: ['dist'],
    // All of them: drivers are loaded by name, where no bundler sees it.
    dependencies: root().dependencies,
  };
  return finish(home, folder, manifest, 'services.md');
}

if (process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    const folder = path.resolve(process.argv[2] ?? path.join(ROOT, 'dist', 'package'));
    mkdirSync(folder, { recursive: true });
    for (const pack of [packClient, packCli, packServer]) console.log(await pack(folder));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
