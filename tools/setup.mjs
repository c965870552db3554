/**
 * Makes this checkout able to build, start and test itself: checks what the machine must have and installs the packages of
 * `package-lock.json` into `node_modules`. Uses nothing but Node itself, since nothing is installed yet when it runs.
 *
 * `npm ci` runs only when `node_modules` is missing or was made from another lock file or for another Node: a stamp inside
 * the folder says what it was made from, and is written last, so an interrupted installation is done again. What a person
 * installed by hand after the lock file changed is taken as it is. Two that start at one time would remove each other's files: one
 * installs, the other waits for it.
 * better-sqlite3 is compiled where its prebuilt file can't be fetched (about a minute); node-gyp is pointed at the headers
 * beside the running Node, so that it needs no download either.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { takeLock } from './lock.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const STAMP = path.join(ROOT, 'node_modules', '.jobmon-setup');
/** Not in `node_modules`, which an installation begins by removing. */
const LOCK = path.join(ROOT, '.jobmon-setup.lock');
/** An installation of another process is waited for this long: it compiles, and the registry may be slow. */
const WAIT_SECONDS_MAX = 1_200;
const NODE_MINIMUM = [20, 11];

/** What compiling better-sqlite3 needs, and the Debian package that has it. */
const COMPILER_TOOLS = { python3: 'python3', make: 'make', 'g++': 'g++' };

/** A machine that lacks something: one sentence with the cure. */
export class SetupError extends Error {}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const isEnough = major > NODE_MINIMUM[0] || (major === NODE_MINIMUM[0] && minor >= NODE_MINIMUM[1]);
  if (isEnough) return;
  throw new SetupError(
    `Jobmon needs Node ${NODE_MINIMUM.join('.')} or newer, this is ${process.versions.node}. Node 20 can be had from https://nodejs.org; on Debian 13: apt-get install nodejs npm`,
  );
}

const isOnPath = (program) =>
  (process.env.PATH ?? '').split(path.delimiter).some((folder) => folder !== '' && existsSync(path.join(folder, program)));

/** Debian packages that are missing for compiling; empty when all is there. */
function missingPackages() {
  return Object.entries(COMPILER_TOOLS).flatMap(([program, debian]) => (isOnPath(program) ? [] : [debian]));
}

/** The folder that has `include/node/node.h` for the running Node, or undefined. */
function headersFolder() {
  for (const binary of [process.execPath, realpathSync(process.execPath)]) {
    const folder = path.dirname(path.dirname(binary));
    if (existsSync(path.join(folder, 'include', 'node', 'node.h'))) return folder;
  }
  return undefined;
}

/** What `node_modules` depends on: the lock file, and the Node that its compiled parts were made for. */
function wantedStamp() {
  const lock = createHash('sha256')
    .update(readFileSync(path.join(ROOT, 'package-lock.json')))
    .digest('hex');
  return `${lock} ${process.platform}-${process.arch} abi-${process.versions.modules}\n`;
}

/** How to run npm: the npm that started this script, else the one on the PATH. */
function npmCommand() {
  const started = process.env.npm_execpath;
  if (started !== undefined && started.endsWith('.js') && existsSync(started)) return [process.execPath, [started]];
  if (isOnPath('npm')) return ['npm', []];
  throw new SetupError('npm was not found. It comes with Node from https://nodejs.org; on Debian: apt-get install npm');
}

function install() {
  const missing = missingPackages();
  const cure = `apt-get install ${missing.join(' ')}`;
  if (missing.length > 0)
    console.error(`Not found: ${missing.join(', ')}. SQLite's driver may have to be compiled; if that fails: ${cure}`);
  const headers = headersFolder();
  const [command, leading] = npmCommand();
  console.log('Installing packages into node_modules (once; one to three minutes).');
  const { status, signal, error } = spawnSync(command, [...leading, 'ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: ROOT,
    stdio: 'inherit',
    // Development packages are needed to build, whatever the caller's NODE_ENV says.
    env: { ...process.env, NODE_ENV: '', ...(headers === undefined ? {} : { npm_config_nodedir: headers }) },
  });
  if (error === undefined && status === 0) return;
  if (signal !== null) throw new SetupError(`The installation was interrupted (${signal}); start it again.`);
  if (missing.length > 0) throw new SetupError(`The packages could not be installed. Missing on this machine: ${cure}`);
  throw new SetupError(
    headers === undefined
      ? "The packages could not be installed; npm's messages above say why. Node's headers (include/node/node.h) were not found beside the running Node: on Debian, apt-get install libnode-dev"
      : "The packages could not be installed; npm's messages above say why (a package registry that can't be reached is the usual cause).",
  );
}

/**
 * Whether a person has installed by hand since the lock file changed (`npm install <package>` writes both files at its
 * end), with a Node of the same binary interface as this one. Two seconds are what file times may differ by.
 */
function isInstalledByHand(wanted) {
  const installed = path.join(ROOT, 'node_modules', '.package-lock.json');
  if (!existsSync(installed)) return false;
  if (statSync(installed).mtimeMs < statSync(path.join(ROOT, 'package-lock.json')).mtimeMs - 2_000) return false;
  return !existsSync(STAMP) || readFileSync(STAMP, 'utf8').split(' ').slice(1).join(' ') === wanted.split(' ').slice(1).join(' ');
}

/** Leaves the checkout ready to build, or throws a SetupError. Takes a few milliseconds when there is nothing to do. */
export function setUp() {
  checkNode();
  const wanted = wantedStamp();
  const isReady = () => existsSync(STAMP) && readFileSync(STAMP, 'utf8') === wanted;
  if (isReady()) return;
  const giveBack = takeLock(LOCK, {
    seconds_max: WAIT_SECONDS_MAX,
    onWait: (pid) => console.log(`Process ${pid} is setting up this checkout; waiting for it.`),
  });
  try {
    if (isReady()) return;
    if (!isInstalledByHand(wanted)) install();
    writeFileSync(STAMP, wanted);
  } finally {
    giveBack();
  }
}

if (process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    setUp();
  } catch (error) {
    console.error(error instanceof SetupError ? error.message : error);
    process.exitCode = 1;
  }
}
