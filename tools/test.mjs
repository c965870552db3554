// `npm test`: installs what is missing, brings a private MariaDB and NATS, runs every spec, and ends with `N passed, N failed, N skipped`.
//
// Arguments go to Jest: `npm test -- libs/contracts`. Addresses in JOBMON_TEST_MARIADB_URL and JOBMON_TEST_NATS_URL are used instead of private
// servers. Where one can't be had its tests are skipped and say why; with CI=true that is a failure.
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startMariadb } from './mariadb.mjs';
import { startNats } from './nats.mjs';
import { find, install } from './server.mjs';
import { setUp, SetupError } from './setup.mjs';

const isCi = process.env.CI === 'true';
/** Bytes that a whole run of the tests may leave in temporary files at one time. */
const FREE_BYTES_MIN = 4 * 1024 ** 3;
/** How long Jest may take to end once its results are written. */
const LEFT_OPEN_MS_MAX = 60_000;

/**
 * In memory where there is room: every transaction waits for the disk, and the tests make some hundred thousand of them. What they
 * prove is what survives a killed process, for which it makes no difference.
 */
function placeOfFiles() {
  try {
    const { bavail, bsize } = statfsSync('/dev/shm');
    accessSync('/dev/shm', constants.W_OK);
    return bavail * bsize >= FREE_BYTES_MIN ? '/dev/shm' : tmpdir();
  } catch {
    return tmpdir();
  }
}

try {
  setUp();
} catch (error) {
  console.error(error instanceof SetupError ? error.message : error);
  console.log('0 passed, 1 failed, 0 skipped');
  process.exit(1);
}

const env = { ...process.env };
env.TMPDIR ??= placeOfFiles();
const folder = mkdtempSync(join(env.TMPDIR, 'jobmon-test-'));
const results = join(folder, 'results.json');
env.JOBMON_TEST_TEMPLATES = join(folder, 'templates');
let mariadb;
if (!env.JOBMON_TEST_MARIADB_URL) {
  try {
    mariadb = await startMariadb(join(folder, 'mariadb'));
    env.JOBMON_TEST_MARIADB_URL = mariadb.url;
    console.log(`MariaDB: private server on port ${mariadb.port}`);
  } catch (error) {
    env.JOBMON_TEST_MARIADB_SKIP = error.message;
    console.log(`MariaDB: ${error.message}${isCi ? '' : ' Its tests are skipped.'}`);
  }
}
let nats;
if (!env.JOBMON_TEST_NATS_URL) {
  try {
    nats = await startNats(join(folder, 'nats'));
    env.JOBMON_TEST_NATS_URL = nats.url;
    console.log(`NATS: private server on port ${nats.port}`);
  } catch (error) {
    env.JOBMON_TEST_NATS_SKIP = error.message;
    console.log(`NATS: ${error.message}${isCi ? '' : ' Its tests are skipped.'}`);
  }
}
// The one program that checks docker/compose.yaml without an engine; its tests are skipped where it can't be had.
if (isCi && !find('docker-compose')) {
  try {
    install('docker-compose', 'docker-compose');
  } catch (error) {
    console.log(`docker-compose: ${error.message}`);
  }
}

const jest = spawn(
  process.execPath,
  ['node_modules/jest/bin/jest.js', '--json', `--outputFile=${results}`, '--testLocationInResults', ...process.argv.slice(2)],
  { stdio: 'inherit', env },
);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => jest.kill(signal));
// Jest says that something was left open and waits for it without end. A person sees it and presses Ctrl-C; in CI it is a failure.
let endedAt;
const leftOpen = setInterval(() => {
  endedAt ??= existsSync(results) ? Date.now() : undefined;
  if (!isCi || endedAt === undefined || Date.now() - endedAt < LEFT_OPEN_MS_MAX) return;
  console.log('A test left a process, a socket or a timer behind: Jest has its results and does not end. It is stopped.');
  jest.kill('SIGKILL');
}, 1000);
const code = await new Promise((resolve) => jest.on('exit', (exit) => resolve(exit ?? 1)));
clearInterval(leftOpen);
await mariadb?.stop();
await nats?.stop();

let summary = { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0, numRuntimeErrorTestSuites: 0, testResults: [] };
try {
  summary = JSON.parse(readFileSync(results, 'utf8'));
} catch {
  summary.numFailedTests = 1;
}
rmSync(folder, { recursive: true, force: true });

const skipped = summary.testResults.flatMap((file) => file.assertionResults.filter((test) => test.status === 'pending'));
for (const reason of new Set(skipped.map((test) => test.fullName))) console.log(`skipped: ${reason}`);
// Said again beside the result: in a long log nobody sees the first line.
const missing = { MariaDB: env.JOBMON_TEST_MARIADB_SKIP, NATS: env.JOBMON_TEST_NATS_SKIP };
for (const [server, why] of Object.entries(missing)) if (why !== undefined) console.log(`${server}: ${why}`);
// A file that does not load has no tests to count; it counts as one that failed.
const failed = summary.numFailedTests + summary.numRuntimeErrorTestSuites;
const isRed = code !== 0 || failed > 0 || (isCi && Object.values(missing).some((why) => why !== undefined));
console.log(`${summary.numPassedTests} passed, ${failed === 0 && isRed ? 1 : failed} failed, ${summary.numPendingTests} skipped`);
process.exitCode = isRed ? 1 : 0;
