/**
 * `npm run pack:client [-- FOLDER]`: makes the package `@jobmon/client` and its tarball in FOLDER, `dist/package` when absent.
 *
 * The package is the sources of libs/client with those of libs/contracts, a module for each file, so that bundlers take what is
 * used and leave the rest: once as ES modules, once as CommonJS, with declarations beside both. It depends on nothing but the packages that
 * these sources import, at the versions of this checkout. Prints the path of the tarball.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const LIBS = ['client', 'contracts'];
/** Packages that the sources import. */
const DEPENDENCIES = ['yaml', 'zod'];

/** The sources of one lib, relative to libs/, without tests. */
function sourcesOf(lib) {
  return readdirSync(path.join(ROOT, 'libs', lib, 'src'), { recursive: true })
    .map((file) => path.join(lib, 'src', String(file)))
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.spec.ts'));
}

/** Where a source stands in the package: `client/src/task.ts` is `client/task`. */
const placeOf = (source) => source.replace('/src/', '/').replace(/(\.d)?\.ts$/, '');

/** Node finds ES modules by their whole file names, and knows no table of ours. */
function withWholeNames(text, source) {
  const here = path.dirname(placeOf(source));
  return text.replace(/(\bfrom\s*|\bimport\s*\(?\s*)(['"])(\.[^'"]*|@jobmon\/[^'"]*)\2/g, (_, before, quote, name) => {
    if (!name.startsWith('.') && !LIBS.includes(name.slice('@jobmon/'.length))) {
      throw new Error(`libs/${source} imports ${name}, which is no part of the package`);
    }
    const place = name.startsWith('.') ? path.join(here, name) : path.join(name.slice('@jobmon/'.length), 'index');
    const isFolder = existsSync(path.join(ROOT, 'libs', place.replace('/', '/src/'), 'index.ts'));
    const to = path.relative(here, isFolder ? path.join(place, 'index') : place);
    return `${before}${quote}${to.startsWith('.') ? to : `./${to}`}.js${quote}`;
  });
}

/** Declarations of all sources by their place. Throws with the compiler's messages. */
function declarations(sources) {
  const out = mkdtempSync(path.join(tmpdir(), 'jobmon-types-'));
  try {
    const config = path.join(out, 'tsconfig.json');
    const compilerOptions = {
      declaration: true,
      // `npm run types` checks; here they are only written down.
      noCheck: true,
      emitDeclarationOnly: true,
      noEmit: false,
      rootDir: path.join(ROOT, 'libs'),
      outDir: out,
      types: ['node'],
      typeRoots: [path.join(ROOT, 'node_modules', '@types')],
    };
    const files = sources.map((source) => path.join(ROOT, 'libs', source));
    writeFileSync(config, JSON.stringify({ extends: path.join(ROOT, 'tsconfig.base.json'), compilerOptions, files }));
    const tsc = spawnSync(process.execPath, [path.join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', config], {
      encoding: 'utf8',
    });
    if (tsc.status !== 0) throw new Error(`the declarations could not be made:\n${tsc.stdout}`);
    return new Map(
      sources.map((source) => [
        placeOf(source),
        withWholeNames(readFileSync(path.join(out, source.replace(/\.ts$/, '.d.ts')), 'utf8'), source),
      ]),
    );
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

function manifest() {
  const { version, license, engines, dependencies } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
  const entrance = (lib) => ({
    import: { types: `./esm/${lib}/index.d.ts`, default: `./esm/${lib}/index.js` },
    require: { types: `./cjs/${lib}/index.d.ts`, default: `./cjs/${lib}/index.js` },
  });
  return {
    name: '@jobmon/client',
    version,
    description: 'Build workflows of thousands to millions of batch tasks, and let a Jobmon server run them.',
    license,
    engines,
    sideEffects: false,
    type: 'commonjs',
    main: './cjs/client/index.js',
    module: './esm/client/index.js',
    types: './cjs/client/index.d.ts',
    exports: { '.': entrance('client'), './contracts': entrance('contracts'), './package.json': './package.json' },
    files: ['cjs', 'esm'],
    dependencies: Object.fromEntries(DEPENDENCIES.map((name) => [name, dependencies[name]])),
  };
}

/** Makes the package and its tarball; answers the tarball's path. */
export async function packClient(folder) {
  const esbuild = createRequire(import.meta.url)('esbuild');
  const sources = LIBS.flatMap(sourcesOf);
  const types = declarations(sources);
  const home = path.join(folder, 'client');
  rmSync(home, { recursive: true, force: true });
  for (const [kind, type] of [
    ['esm', 'module'],
    ['cjs', 'commonjs'],
  ]) {
    for (const source of sources) {
      const place = path.join(home, kind, placeOf(source));
      mkdirSync(path.dirname(place), { recursive: true });
      const text = withWholeNames(readFileSync(path.join(ROOT, 'libs', source), 'utf8'), source);
      const { code } = await esbuild.transform(text, { loader: 'ts', format: kind, target: 'node20', platform: 'node' });
      writeFileSync(`${place}.js`, code);
      writeFileSync(`${place}.d.ts`, types.get(placeOf(source)));
    }
    writeFileSync(path.join(home, kind, 'package.json'), JSON.stringify({ type, sideEffects: false }));
  }
  writeFileSync(path.join(home, 'package.json'), `${JSON.stringify(manifest(), undefined, 2)}\n`);
  cpSync(path.join(ROOT, 'LICENSE'), path.join(home, 'LICENSE'));
  cpSync(path.join(ROOT, 'docs', 'sdk.md'), path.join(home, 'README.md'));
  return tarballOf(home, folder);
}

/** Packs the package in `home` as it is; answers the path of its tarball in `folder`. */
export function tarballOf(home, folder) {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', folder];
  const packed = spawnSync('npm', args, { cwd: home, encoding: 'utf8' });
  if (packed.status !== 0) throw new Error(`npm pack failed: ${packed.stderr}`);
  return path.join(folder, JSON.parse(packed.stdout)[0].filename.replace('@', '').replace('/', '-'));
}

if (process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    const folder = path.resolve(process.argv[2] ?? path.join(ROOT, 'dist', 'package'));
    mkdirSync(folder, { recursive: true });
    console.log(await packClient(folder));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
