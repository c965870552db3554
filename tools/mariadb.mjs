// A private MariaDB for tests and benchmarks: Debian's package, its own data folder, a free port of 127.0.0.1, ended with its caller.
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { find, freePort, install, run } from './server.mjs';

const START_SECONDS_MAX = 60;

/**
 * Starts a server in `folder` (made if missing) and answers `{url, port, password, pid, stop()}`. The user of the URL may create
 * and drop databases and users. A server that was killed is started again at its old address by its port and password.
 * `args` are more of the server's own.
 */
export async function startMariadb(folder, { port = undefined, password = randomBytes(12).toString('hex'), args = [] } = {}) {
  if (!find('mariadbd')) install('MariaDB', 'mariadb-server');
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
  const { pid, exitCode, stop } = run(
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
      ...args,
    ],
    log,
    10_000,
  );

  const ping = find('mariadb-admin');
  const deadline = Date.now() + START_SECONDS_MAX * 1000;
  for (;;) {
    if (exitCode() !== undefined) throw new Error(`MariaDB ended while starting (exit code ${exitCode()}); see ${log}.`);
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
  return { url: `mariadb://jobmon:${password}@127.0.0.1:${port}`, port, password, pid, stop };
}
