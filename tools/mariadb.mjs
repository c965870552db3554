// A private MariaDB for tests and benchmarks: Debian's package, its own data folder, a free port of 127.0.0.1, ended with its caller.
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';

const START_SECONDS_MAX = 60;

/** The path of a program, or undefined. Debian keeps servers in sbin, which is not on everybody's PATH. */
function find(program) {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/local/sbin'];
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

/** Installs Debian's package when that is possible without asking; throws a sentence with the cure when not. */
function install() {
  const isRoot = process.getuid?.() === 0;
  const aptGet = find('apt-get');
  const cure = 'Install it with: sudo apt-get install mariadb-server';
  if (!aptGet || !isRoot) throw new Error(`MariaDB is not installed. ${cure}`);
  console.log('MariaDB is not installed: installing the Debian package mariadb-server');
  const options = { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } };
  spawnSync(aptGet, ['update', '-qq'], options);
  const done = spawnSync(aptGet, ['install', '-y', '-qq', '--no-install-recommends', 'mariadb-server'], options);
  if (done.status !== 0)
    throw new Error(`MariaDB could not be installed (${String(done.stderr).trim().split('\n').at(-1)}). ${cure}`);
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/**
 * Starts a server in `folder` (made if missing) and answers `{url, port, password, pid, stop()}`. The user of the URL may create
 * and drop databases and users. A server that was killed is started again at its old address by its port and password.
 */
export async function startMariadb(folder, { port = undefined, password = randomBytes(12).toString('hex') } = {}) {
  if (!find('mariadbd')) install();
  mkdirSync(folder, { recursive: true });
  const user = process.getuid?.() === 0 ? 'root' : userInfo().username;
  const data = join(folder, 'data');
  const log = join(folder, 'server.log');
  if (!existsSync(data)) {
    const made = spawnSync(
      find('mariadb-install-db'),
      ['--no-defaults', `--user=${user}`, `--datadir=${data}`, '--auth-root-authentication-method=normal', '--skip-test-db'],
      { encoding: 'utf8' },
    );
    if (made.status !== 0) throw new Error(`MariaDB's data folder could not be made: ${made.stderr.trim().split('\n').at(-1)}`);
  }
  const init = join(folder, 'init.sql');
  writeFileSync(
    init,
    `CREATE OR REPLACE USER 'jobmon'@'%' IDENTIFIED BY '${password}';\nGRANT ALL ON *.* TO 'jobmon'@'%' WITH GRANT OPTION;\n`,
    { mode: 0o600 },
  );
  chmodSync(folder, 0o755);
  port ??= await freePort();
  const output = openSync(log, 'a');
  const server = spawn(
    find('mariadbd'),
    [
      '--no-defaults',
      `--user=${user}`,
      `--datadir=${data}`,
      `--port=${port}`,
      '--bind-address=127.0.0.1',
      '--skip-name-resolve',
      `--socket=${join(folder, 'socket')}`,
      `--pid-file=${join(folder, 'pid')}`,
      `--init-file=${init}`,
      '--innodb-buffer-pool-size=256M',
      '--max-connections=500',
    ],
    { stdio: ['ignore', output, output] },
  );
  let ended;
  server.on('exit', (code) => (ended = code ?? -1));
  const onExit = () => server.kill('SIGKILL');
  process.on('exit', onExit);
  const stop = () =>
    new Promise((resolve) => {
      process.off('exit', onExit);
      if (ended !== undefined) return resolve();
      server.on('exit', resolve);
      server.kill('SIGTERM');
      setTimeout(() => server.kill('SIGKILL'), 10_000).unref();
    });

  const ping = find('mariadb-admin');
  const deadline = Date.now() + START_SECONDS_MAX * 1000;
  for (;;) {
    if (ended !== undefined) throw new Error(`MariaDB ended while starting (exit code ${ended}); see ${log}.`);
    const asked = spawnSync(ping, ['--no-defaults', '-h127.0.0.1', `-P${port}`, '-ujobmon', `-p${password}`, 'ping'], {
      stdio: 'ignore',
    });
    if (asked.status === 0) break;
    if (Date.now() > deadline) {
      await stop();
      throw new Error(`MariaDB did not answer within ${START_SECONDS_MAX} s; see ${log}.`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  rmSync(init);
  return { url: `mariadb://jobmon:${password}@127.0.0.1:${port}`, port, password, pid: server.pid, stop };
}
