/**
 * A container without an engine: an image's mounted root, read-only but for a /tmp in memory, as user 1000 with no capabilities and no way
 * to get any, its program PID 1 of a namespace of its own. The network is this machine's.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { find, install } from '../server.mjs';

/** What is done as root in new namespaces before the program begins: $1 the root, $2 the folder to begin in, then the program. */
const ENTER = `
set -e
root=$1 folder=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro,nosuid,nodev "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
for device in null zero full random urandom; do
  : > "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+sys_chroot,+setuid,+setgid \\
  chroot --userspec=1000:1000 --groups= "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$folder" "$@"
`;

export class Container {
  /**
   * Starts `command` (default: the image's entry point and \`args\`) in the image of `row`, with the image's environment and `env` over it, in
   * `folder` of the image. All output is appended to the file `log`.
   */
  constructor(row, { command = row.entrypoint, args = [], env = {}, folder = '/opt/jobmon', log }) {
    if (!find('unshare') || !find('setpriv')) install('unshare', 'util-linux');
    const output = openSync(log, 'a');
    this.name = row.process;
    this.log = log;
    this.child = spawn(
      'unshare',
      [
        '--mount',
        '--pid',
        '--ipc',
        '--uts',
        '--fork',
        '--kill-child',
        'sh',
        '-c',
        ENTER,
        'enter',
        row.root,
        folder,
        ...command,
        ...args,
      ],
      {
        env: {
          ...Object.fromEntries(row.env.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)])),
          ...env,
        },
        stdio: ['ignore', output, output],
        detached: true,
      },
    );
    closeSync(output);
    this.ended = once(this.child, 'exit').then(([code, signal]) => (this.end = code ?? signal));
  }

  /** The process that is PID 1 inside, by its number outside; undefined when it has ended. */
  get pid() {
    try {
      const children = readFileSync(`/proc/${this.child.pid}/task/${this.child.pid}/children`, 'utf8').trim();
      return children === '' ? undefined : Number(children.split(' ')[0]);
    } catch {
      return undefined;
    }
  }

  /** Sends PID 1 a signal, as an engine does on \`stop\`; answers `{code, ms}` of its end. Kills it after `patience_ms`. */
  async stop(signal = 'SIGTERM', patience_ms = 30_000) {
    const began = Date.now();
    if (this.pid !== undefined) process.kill(this.pid, signal);
    const timer = setTimeout(() => this.child.kill('SIGKILL'), patience_ms);
    await this.ended;
    clearTimeout(timer);
    return { code: this.end, ms: Date.now() - began };
  }

  /** Processes in this container that have ended and that nobody has waited for. */
  zombies() {
    const own = this.pid === undefined ? undefined : readlinkSync(`/proc/${this.pid}/ns/pid`);
    return readdirSync('/proc').filter((name) => {
      if (!/^\d+$/.test(name)) return false;
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        return /^\) Z /.test(stat.slice(stat.lastIndexOf(')'))) && readlinkSync(`/proc/${name}/ns/pid`) === own;
      } catch {
        return false; // It is gone, or a zombie of another's.
      }
    });
  }
}

/** Runs a program in an image to its end; answers `{code, text}`, with all that it wrote. */
export async function runToEnd(row, options) {
  const from = sizeOfLog(options.log);
  const container = new Container(row, options);
  const code = await container.ended;
  return { code, text: readFileSync(options.log, 'utf8').slice(from) };
}

function sizeOfLog(log) {
  try {
    return readFileSync(log, 'utf8').length;
  } catch {
    return 0;
  }
}
