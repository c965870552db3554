// `npm run bench -- NAME [arguments]`: bundles bench/NAME/*.ts and runs its main file with plain node; without a name, lists what there is.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startMariadb } from './mariadb.mjs';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const names = readdirSync(join(ROOT, 'bench')).filter((name) => existsSync(join(ROOT, 'bench', name, 'main.ts')));
const [name, ...args] = process.argv.slice(2);

if (name === undefined || !names.includes(name)) {
  console.log(`Benchmarks: ${names.join(', ')}. Start one with: npm run bench -- ${names[0]}`);
  process.exit(name === undefined ? 0 : 1);
}

if (args.includes('--help') || args.includes('-h')) {
  // What each is for and takes is told once, at the head of its main file.
  const [head] = /\/\*\*[^]*?\*\//.exec(readFileSync(join(ROOT, 'bench', name, 'main.ts'), 'utf8')) ?? [''];
  console.log(head.replace(/^\/\*\*\n?|\s*\*\/$/g, '').replace(/^ \* ?/gm, ''));
  process.exit(0);
}

// Bundled inside the checkout, so that packages are found in its node_modules.
const out = join(ROOT, 'dist', 'bench', name);
await createRequire(import.meta.url)('esbuild').build({
  absWorkingDir: ROOT,
  entryPoints: readdirSync(join(ROOT, 'bench', name))
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join('bench', name, file)),
  outdir: out,
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  packages: 'external',
  tsconfig: 'tsconfig.base.json',
  sourcemap: 'linked',
  keepNames: true,
  logLevel: 'warning',
});

const folder = mkdtempSync(join(tmpdir(), 'jobmon-bench-mariadb-'));
const env = { ...process.env };
let mariadb;
if (!env.JOBMON_TEST_MARIADB_URL) {
  try {
    mariadb = await startMariadb(folder);
    env.JOBMON_TEST_MARIADB_URL = mariadb.url;
  } catch (error) {
    console.log(`MariaDB: ${error.message}`);
  }
}
const flags = process.execArgv;
const bench = spawn(process.execPath, [...flags, '--enable-source-maps', join(out, 'main.js'), ...args], {
  cwd: ROOT,
  env,
  stdio: 'inherit',
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => bench.kill(signal));
const code = await new Promise((done) => bench.on('exit', (exit) => done(exit ?? 1)));
await mariadb?.stop();
rmSync(folder, { recursive: true, force: true });
// Reports are checked in, and everything that is checked in is formatted.
const results = join(ROOT, 'bench', 'results');
if (existsSync(results))
  spawnSync(process.execPath, [join(ROOT, 'node_modules/prettier/bin/prettier.cjs'), '--log-level=warn', '--write', results]);
process.exit(code);
