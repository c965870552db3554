// What the tools of servers share: finding a program, installing its Debian package, ending a server with its caller.
import { spawn, spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';

/** The path of a program, or undefined. Debian keeps servers in sbin, which is not on everybody's PATH. */
export function find(program) {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/local/sbin'];
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

/** Installs Debian's package of a server when that is possible without asking; throws a sentence with the cure when not. */
export function install(server, debian) {
  const aptGet = find('apt-get');
  const cure = `Install it with: sudo apt-get install ${debian}`;
  if (!aptGet || process.getuid?.() !== 0) throw new Error(`${server} is not installed. ${cure}`);
  console.log(`${server} is not installed: installing the Debian package ${debian}`);
  const options = { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } };
  spawnSync(aptGet, ['update', '-qq'], options);
  const done = spawnSync(aptGet, ['install', '-y', '-qq', '--no-install-recommends', debian], options);
  if (done.status !== 0)
    throw new Error(`${server} could not be installed (${String(done.stderr).trim().split('\n').at(-1)}). ${cure}`);
}

/**
 * Runs a server that appends what it says to `log`, until its caller ends. Answers `{pid, exitCode(), stop()}`: `exitCode()` is undefined while it runs,
 * `stop()` sends SIGTERM, and SIGKILL after `patience_ms`.
 */
export function run(program, args, log, patience_ms) {
  const output = openSync(log, 'a');
  const server = spawn(program, args, { stdio: ['ignore', output, output] });
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
      setTimeout(() => server.kill('SIGKILL'), patience_ms).unref();
    });
  return { pid: server.pid, exitCode: () => ended, stop };
}

/**
 * A port of 127.0.0.1 for what is started a while later. Below those that the kernel gives to connections that go out (from 32768 on): such a
 * one would take it meanwhile.
 */
export async function freePort() {
  for (;;) {
    const port = randomInt(20_000, 30_000);
    const server = createServer();
    const isFree = await new Promise((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}
