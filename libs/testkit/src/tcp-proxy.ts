/**
 * A wire that breaks when told to: passes bytes between clients and a server (a database, a bus, an api), and cuts, silences or delays them.
 *
 * What is silenced is not lost but late, as on a network that mends: the bytes, and the news that a side has closed, wait in the proxy and
 * in the kernel's buffers. What is cut is told to both sides at once.
 */
import { once } from 'node:events';
import { createConnection, createServer, type Server, type Socket } from 'node:net';

/** `up`: from clients to the server; `down`: from the server to its clients. */
export type Direction = 'up' | 'down';

/** Is told what one connection's sides send, and which of them closes first; its other end follows. */
export interface Listener {
  heard(direction: Direction, data: Buffer | 'end'): void;
}

/** Bytes that are under way in one direction of one connection; beyond them its source is not read. */
const UNDER_WAY_MAX = 16 * 1024 * 1024;

export class TcpProxy {
  private readonly links = new Set<Link>();
  private readonly held = new Set<Direction>();
  private delay_ms = 0;
  private trigger: string | undefined;
  private server: Server | undefined;
  private listening_port = 0;

  private constructor(
    private readonly target: () => string,
    port: number,
    private readonly listen: (() => Listener) | undefined,
  ) {
    this.listening_port = port;
  }

  /**
   * Starts to pass what comes to a port of 127.0.0.1 (0: any free one) on to the host and port of a URL, of any scheme. A function is asked
   * for the URL at each connection: where several answer, it chooses. `listen` makes a listener of each connection.
   */
  static async to(target: string | (() => string), port = 0, listen?: () => Listener): Promise<TcpProxy> {
    const proxy = new TcpProxy(typeof target === 'string' ? () => target : target, port, listen);
    await proxy.mend();
    return proxy;
  }

  /** Stays the same through cuts. */
  get port(): number {
    return this.listening_port;
  }

  /** Connections that clients have open through it. */
  get connections(): number {
    return this.links.size;
  }

  /** The URL, led through this proxy. */
  url(url: string): string {
    const through = new URL(url);
    through.hostname = '127.0.0.1';
    through.port = String(this.port);
    return through.toString();
  }

  /** Ends all connections; new ones are passed on. */
  drop(): void {
    for (const link of this.links) link.destroy();
  }

  /** Ends all connections and refuses new ones until `mend`. */
  async cut(): Promise<void> {
    const { server } = this;
    this.server = undefined;
    if (server === undefined) return;
    const closed = once(server, 'close');
    server.close();
    this.drop();
    await closed;
  }

  /** Passes nothing on in these directions until `mend`, and tells nobody: a network that swallows. New connections are accepted. */
  silence(...directions: readonly Direction[]): void {
    for (const direction of directions) this.held.add(direction);
    for (const link of this.links) link.pass();
  }

  /** From now on everything arrives so much later. */
  delay(ms: number): void {
    this.delay_ms = ms;
  }

  /**
   * The next request that holds this text within one packet is passed on to the server, which reads and runs it; its client is cut off before
   * the answer.
   */
  breakAfter(text: string): void {
    this.trigger = text;
  }

  /** Takes back a cut, a silence and a delay. */
  async mend(): Promise<void> {
    this.held.clear();
    this.delay_ms = 0;
    for (const link of this.links) link.pass();
    if (this.server !== undefined) return;
    this.server = createServer((client) => this.connect(client));
    this.server.listen(this.listening_port, '127.0.0.1');
    await once(this.server, 'listening');
    this.listening_port = (this.server.address() as { port: number }).port;
  }

  /** Ends it for good. */
  async close(): Promise<void> {
    await this.cut();
  }

  private connect(client: Socket): void {
    const { hostname, port } = new URL(this.target());
    const link: Link = new Link(client, createConnection({ host: hostname, port: Number(port || 3306) }), {
      isHeld: (direction) => this.held.has(direction),
      delay_ms: () => this.delay_ms,
      isLast: (data) => {
        if (this.trigger === undefined || !data.includes(this.trigger)) return false;
        this.trigger = undefined;
        return true;
      },
      closed: () => this.links.delete(link),
      listener: this.listen?.(),
    });
    this.links.add(link);
  }
}

interface Rule {
  readonly isHeld: (direction: Direction) => boolean;
  readonly delay_ms: () => number;
  readonly isLast: (data: Buffer) => boolean;
  readonly closed: () => void;
  readonly listener: Listener | undefined;
}

/** One connection: two sockets and what is under way between them. */
class Link {
  private readonly ways: readonly Way[];

  constructor(
    private readonly client: Socket,
    private readonly upstream: Socket,
    rule: Rule,
  ) {
    this.ways = [new Way('up', client, upstream, rule), new Way('down', upstream, client, rule)];
    let open = 2;
    for (const socket of [client, upstream]) {
      socket.on('close', () => {
        open -= 1;
        if (open === 0) rule.closed();
      });
    }
  }

  /** Goes on with what waits, where it may. */
  pass(): void {
    for (const way of this.ways) way.pass();
  }

  destroy(): void {
    this.client.destroy();
    this.upstream.destroy();
  }
}

/** One direction of one connection. */
class Way {
  private readonly queue: { readonly data: Buffer | 'end'; readonly due_ms: number }[] = [];
  private bytes = 0;
  private timer: NodeJS.Timeout | undefined;
  private isBroken = false;

  constructor(
    private readonly direction: Direction,
    private readonly from: Socket,
    private readonly to: Socket,
    private readonly rule: Rule,
  ) {
    from.setNoDelay(true);
    from.on('error', () => undefined);
    from.on('data', (data: Buffer) => this.take(data));
    from.on('close', () => this.take('end'));
    to.on('drain', () => this.pass());
  }

  private take(data: Buffer | 'end'): void {
    if (this.isBroken) return;
    this.rule.listener?.heard(this.direction, data);
    this.queue.push({ data, due_ms: performance.now() + this.rule.delay_ms() });
    if (data !== 'end') this.bytes += data.length;
    if (this.bytes > UNDER_WAY_MAX) this.from.pause();
    this.pass();
  }

  pass(): void {
    clearTimeout(this.timer);
    while (this.queue.length > 0 && !this.rule.isHeld(this.direction) && !this.to.writableNeedDrain) {
      const { data, due_ms } = this.queue[0]!;
      const early_ms = due_ms - performance.now();
      if (early_ms > 0) {
        this.timer = setTimeout(() => this.pass(), early_ms);
        return;
      }
      this.queue.shift();
      if (data === 'end') {
        // What was written before still goes out.
        this.to.destroySoon();
        continue;
      }
      this.bytes -= data.length;
      if (this.bytes <= UNDER_WAY_MAX && this.from.isPaused()) this.from.resume();
      if (this.direction === 'up' && this.rule.isLast(data)) {
        this.isBroken = true;
        // An orderly end after the request: the server reads and runs it, its answer goes nowhere.
        this.to.end(data);
        this.from.destroy();
        return;
      }
      this.to.write(data);
    }
  }
}
