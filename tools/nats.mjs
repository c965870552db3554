// A private NATS for tests and a look around: Debian's package, its own folder, a free port of 127.0.0.1, ended with its caller.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { find, install, run } from './server.mjs';

const START_SECONDS_MAX = 30;

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
  if (!find('nats-server')) install('NATS', 'nats-server');
  mkdirSync(folder, { recursive: true });
  const ports = join(folder, 'ports');
  rmSync(ports, { recursive: true, force: true });
  mkdirSync(ports);
  const file = join(folder, 'nats.conf');
  const store = `jetstream { store_dir: ${JSON.stringify(join(folder, 'store'))} }`;
  const listen = `listen: "127.0.0.1:${port}"\nports_file_dir: ${JSON.stringify(ports)}`;
  // As in helm/jobmon/files/nats/nats.conf: a service that stands still is out of its group once it was sent nothing for 3 s.
  const patience = 'ping_interval: "1s"\nping_max: 2';
  writeFileSync(file, `${listen}\n${store}\n${patience}\n${config}\n`, { mode: 0o600 });
  const log = join(folder, 'server.log');
  const { pid, exitCode, stop } = run(find('nats-server'), ['-c', file], log, 5_000);
  const deadline = Date.now() + START_SECONDS_MAX * 1_000;
  for (;;) {
    if (exitCode() !== undefined) throw new Error(`NATS ended while starting (exit code ${exitCode()}); see ${log}.`);
    const given = port === -1 ? portIn(ports) : port;
    if (given !== undefined && (await answers(given))) {
      return { url: `nats://127.0.0.1:${given}`, port: given, pid, stop };
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
