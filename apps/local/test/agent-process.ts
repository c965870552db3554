/** Agents as a person starts them, `jobmon agent`, on this machine or on one that only looks like another: its own name and its own network. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, connect, type Server } from 'node:net';
import path from 'node:path';
import { HouseProcess, ROOT, until, type UserFolder } from '@jobmon/testkit';

export const CLI = path.join(ROOT, 'dist', 'apps', 'cli', 'main.js');

/** A namespace of user, network and host name, in which the caller keeps its name and may change these. */
const UNSHARE = ['--user', '--map-current-user', '--keep-caps', '--net', '--uts', '--mount'];

/** Why this machine can't make such namespaces, or null. */
export function whyNoNamespaces(): string | null {
  const script = 'hostname probe && ip link set lo up && mount -t tmpfs none /mnt';
  const tried = spawnSync('unshare', [...UNSHARE, 'sh', '-c', script], { encoding: 'utf8' });
  if (tried.error !== undefined) return tried.error.message;
  return tried.status === 0 ? null : tried.stderr.trim();
}

/** Passes connections to a UNIX socket on to a port of this machine: such sockets are files, and networks share them. */
export function relayTo(port: number, socket: string): Promise<Server> {
  const server = createServer((from) => {
    const to = connect(port, '127.0.0.1');
    from.pipe(to).pipe(from);
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  return new Promise((resolve) => server.listen(socket, () => resolve(server)));
}

/** The other end of the relay, inside of the other network: `node -e RELAY PORT SOCKET`. */
const RELAY = `
const net = require('node:net');
const [port, socket] = process.argv.slice(1);
net.createServer((from) => {
  const to = net.connect(socket);
  from.pipe(to).pipe(from);
  for (const [one, other] of [[from, to], [to, from]]) one.on('error', () => other.destroy()).on('close', () => other.destroy());
}).listen(Number(port), '127.0.0.1');
`;

export interface AgentPlace {
  readonly user: UserFolder;
  readonly port: number;
  readonly token: string;
}

export class AgentProcess extends HouseProcess {
  private constructor(
    readonly name: string,
    user: UserFolder,
    args: readonly string[],
    options: ConstructorParameters<typeof HouseProcess>[2],
  ) {
    super(user, args, options);
  }

  /**
   * Starts an agent. With `socket` it runs on a host of its own called `name`, whose network has nothing but the relay; `hides` is a
   * folder that this host does not see.
   */
  static begin(
    { user, port, token }: AgentPlace,
    name: string,
    args: readonly string[],
    { socket, hides, env = {} }: { readonly socket?: string; readonly hides?: string; readonly env?: NodeJS.ProcessEnv } = {},
  ): AgentProcess {
    const steps = [
      `hostname ${name}`,
      'ip link set lo up',
      ...(hides === undefined ? [] : [`mount -t tmpfs none '${hides}'`]),
      `{ '${process.execPath}' -e "$RELAY" ${port} '${socket}' & }`,
      'exec "$@"',
    ];
    const wrap =
      socket === undefined
        ? undefined
        : `exec unshare ${UNSHARE.join(' ')} sh -c '${steps.join(' && ').replaceAll("'", `'\\''`)}' sh "$@"`;
    return new AgentProcess(name, user, ['agent', ...args], {
      program: [CLI],
      ...(wrap === undefined ? {} : { wrap }),
      env: {
        JOBMON__HTTP__SERVICE_URL: `http://127.0.0.1:${port}`,
        JOBMON__HTTP__TOKEN: token,
        JOBMON__LOG__FILE: logFile(user, name),
        RELAY,
        ...env,
      },
    });
  }

  /** Its log so far. */
  get log(): string {
    try {
      return readFileSync(logFile(this.user, this.name), 'utf8');
    } catch {
      return '';
    }
  }

  /** The number that the server gave it last. */
  get agent_id(): number {
    return Number(/"agent_id":(\d+),"adopted"[^\n]*\n(?![^]*"adopted")/.exec(this.log)?.[1]);
  }

  async joined(): Promise<this> {
    await until(`agent ${this.name} has joined`, () => this.hasEnded || this.agent_id > 0);
    if (this.hasEnded) throw new Error(`agent ${this.name} has ended: ${this.stderr}`);
    return this;
  }
}

const logFile = (user: UserFolder, name: string): string => path.join(user.path, `${name}.log`);
