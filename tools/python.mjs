/**
 * Python environments for tests: a folder made from a lock file with exact versions and hashes, kept in `node_modules/.cache` under
 * the hash of what it was made from, so that it is made once. Nothing is asked of the machine but a Python from 3.9 to 3.12; where
 * that is missing and may be installed (root on Debian), it is.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { takeLock } from './lock.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const CACHE = path.join(ROOT, 'node_modules', '.cache');
/** What the locked packages have binary files for. */
const VERSIONS = ['3.9', '3.10', '3.11', '3.12'];
const CURE = `Install Python ${VERSIONS[0]} to ${VERSIONS.at(-1)} with: sudo apt-get install python3 python3-venv`;
/** Another test run that makes the same environment is waited for this long. */
const WAIT_SECONDS_MAX = 600;

/** The lock of the published Jobmon clients. */
export const PYTHON_CLIENTS = path.join(ROOT, 'tools', 'python-clients.txt');

/** Environment for Python itself: whatever the caller's variables say about packages is left out. */
function cleanEnv() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(PYTHON|VIRTUAL_ENV)/.test(name)));
}

function run(program, args) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8', env: cleanEnv() });
  return { isGood: error === undefined && status === 0, stdout: stdout ?? '', stderr: (stderr ?? '').trim() };
}

/** The first interpreter on the PATH that fits: its path and its full version, or undefined. */
function findPython() {
  for (const name of ['python3', ...VERSIONS.toReversed().map((version) => `python${version}`)]) {
    const asked = run(name, ['-c', 'import sys; print(sys.executable, "%d.%d.%d" % sys.version_info[:3])']);
    const [executable, version] = asked.stdout.trim().split(' ');
    if (asked.isGood && VERSIONS.includes(version.split('.').slice(0, 2).join('.'))) return { executable, version };
  }
  return undefined;
}

/** Installs Debian's packages when that is possible without asking; throws a sentence with the cure when not. */
async function installPackages(reason, packages) {
  const isRoot = process.getuid?.() === 0;
  const isDebian = ['/usr/bin/apt-get', '/bin/apt-get'].some((file) => existsSync(file));
  if (!isRoot || !isDebian) throw new Error(`${reason} ${CURE}`);
  console.log(`${reason} Installing the Debian packages ${packages.join(' ')}`);
  const options = { encoding: 'utf8', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } };
  mkdirSync(CACHE, { recursive: true });
  // Specs that run at one time may need it at one time, and apt refuses the second.
  const done = await alone(path.join(CACHE, 'python-packages.lock'), () => {
    spawnSync('apt-get', ['update', '-qq'], options);
    return spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], options);
  });
  if (done.status !== 0) throw new Error(`${reason} ${packages.join(' ')} could not be installed. ${CURE}`);
}

/** Makes an empty environment in `folder`. Debian keeps the part of Python that brings pip along in a package of its own. */
async function makeEmpty(python, folder) {
  const make = (...flags) => run(python.executable, ['-m', 'venv', ...flags, folder]);
  if (make().isGood) return;
  rmSync(folder, { recursive: true, force: true });
  await installPackages('Python cannot make environments here.', ['python3-venv']);
  const made = make();
  if (!made.isGood) throw new Error(`Python's environment could not be made: ${made.stderr.split('\n').at(-1)}`);
}

/** Runs `make` while this process alone holds the lock. */
async function alone(lock, make) {
  const giveBack = takeLock(lock, { seconds_max: WAIT_SECONDS_MAX });
  try {
    return await make();
  } finally {
    giveBack();
  }
}

/**
 * The folder of programs (`python`, `jobmon`, ...) of the environment that `lockFile` describes; made when it is not there, in about
 * half a minute. Throws a sentence with the cure when it can't be had.
 */
export async function pythonEnvironment(lockFile = PYTHON_CLIENTS) {
  let python = findPython();
  if (python === undefined) {
    await installPackages(`No Python from ${VERSIONS[0]} to ${VERSIONS.at(-1)} was found.`, ['python3', 'python3-venv']);
    python = findPython();
    if (python === undefined) throw new Error(`Debian's python3 is not one of ${VERSIONS.join(', ')}. ${CURE}`);
  }
  const identity = createHash('sha256').update(`${python.executable} ${python.version}\n`).update(readFileSync(lockFile));
  const folder = path.join(CACHE, `python-${identity.digest('hex').slice(0, 16)}`);
  const stamp = path.join(folder, '.complete');
  const programs = path.join(folder, 'bin');
  if (existsSync(stamp)) return programs;
  mkdirSync(CACHE, { recursive: true });
  return alone(`${folder}.lock`, async () => {
    if (existsSync(stamp)) return programs;
    console.log(`Python ${python.version}: installing ${path.basename(lockFile)} (once; about half a minute)`);
    rmSync(folder, { recursive: true, force: true });
    await makeEmpty(python, folder);
    // The lock names every package, so nothing is resolved; older pips stumble over extras when they do.
    const flags = [
      '--no-deps',
      '--quiet',
      '--disable-pip-version-check',
      '--no-input',
      '--require-hashes',
      '--only-binary',
      ':all:',
    ];
    const installed = run(path.join(programs, 'python'), ['-m', 'pip', 'install', ...flags, '-r', lockFile]);
    if (!installed.isGood) throw new Error(`Python packages could not be installed: ${installed.stderr.split('\n').at(-1)}`);
    writeFileSync(stamp, `${python.version}\n`);
    return programs;
  });
}

if (process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    console.log(await pythonEnvironment(process.argv[2]));
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
