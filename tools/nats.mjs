// A private NATS for tests and a look around: Debian's package, its own folder, a free port of 127.0.0.1, ended with its caller.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';

const START_SECONDS_MAX = 30;

/** The path of a program, or undefined. Debian keeps servers in sbin, which is not on everybody's PATH. */
function find(program) {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/local/sbin'];
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

/** Installs Debian's package when that is possible without asking; throws a sentence with the cure when not. */
function install() {
  const aptGet = find('apt-get');
  const cure = 'Install it with: sudo apt-get install nats-server';
  if (!aptGet || process.getuid?.() !== 0) throw new Error(`NATS is not installed. ${cure}`);
  console.log('NATS is not installed: installing the Debian package nats-server');
  const options = { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } };
  spawnSync(aptGet, ['update', '-qq'], options);
  const done = spawnSync(aptGet, ['install', '-y', '-qq', '--no-install-recommends', 'nats-server'], options);
  if (done.status !== 0)
    throw new Error(`NATS could not be installed (${String(done.stderr).trim().split('\n').at(-1)}). ${cure}`);
}

const answers = (port) =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const say = (isThere) => {
      socket.destroy();
      resolve(isThere);
    };
    socket.once('data', () => say(true));
    socket.once('error', () => say(false));
    socket.setTimeout(1_000, () => say(false));
  });

/**
 * Starts a server with JetStream in `folder` (made if missing) and answers `{url, port, pid, stop()}`. `config` is more of its
 * configuration (accounts, TLS). A server that was killed is started again at its old address by its port.
 */
export async function startNats(folder, { port = -1, config = '' } = {}) {
  if (!find('nats-server')) install();
  mkdirSync(folder, { recursive: true });
  const ports = join(folder, 'ports');
  rmSync(ports, { recursive: true, force: true });
  mkdirSync(ports);
  const file = join(folder, 'nats.conf');
  const store = `jetstream { store_dir: ${JSON.stringify(join(folder, 'store'))} }`;
  const listen = `listen: "127.0.0.1:${port}"\nports_file_dir: ${JSON.stringify(ports)}`;
  writeFileSync(file, `${listen}\n${store}\n${config}\n`, { mode: 0o600 });
  const log = join(folder, 'server.log');
  const output = openSync(log, 'a');
  const server = spawn(find('nats-server'), ['-c', file], { stdio: ['ignore', output, output] });
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
      setTimeout(() => server.kill('SIGKILL'), 5_000).unref();
    });
  const deadline = Date.now() + START_SECONDS_MAX * 1_000;
  for (;;) {
    if (ended !== undefined) throw new Error(`NATS ended while starting (exit code ${ended}); see ${log}.`);
    const given = port === -1 ? portIn(ports) : port;
    if (given !== undefined && (await answers(given))) {
      return { url: `nats://127.0.0.1:${given}`, port: given, pid: server.pid, stop };
    }
    if (Date.now() > deadline) {
      await stop();
      throw new Error(`NATS did not answer within ${START_SECONDS_MAX} s; see ${log}.`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The port that the server took, once it has said so. */
function portIn(folder) {
  const [name] = readdirSync(folder);
  if (name === undefined) return undefined;
  try {
    return Number(new URL(JSON.parse(readFileSync(join(folder, name), 'utf8')).nats[0]).port);
  } catch {
    return undefined; // It is being written.
  }
}
