/** A proxy in front of a house that writes down every request and its answer, so that tests can tell what really went over the wire. */
import { Agent, createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { PYTHON_OPERATIONS, type Operation } from '@jobmon/contracts';

/** One request and what became of it. */
export interface Exchange {
  /** Milliseconds since 1970, when it arrived. */
  readonly at: number;
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** Text after the question mark, as sent. */
  readonly query: string;
  /** The body as sent. */
  readonly request: string;
  /** 0 when no answer came: the house was away, or the caller hung up. */
  readonly status: number;
  /** The body as received, decompressed. */
  readonly answer: string;
  /** Protocol number and route, `E36 POST /tool`; method and path as sent when no operation has them. */
  readonly operation: string;
}

interface Route {
  readonly method: string;
  readonly pattern: RegExp;
  readonly label: string;
  readonly parameters: number;
}

/** Static words win over parameters, as in the house's own router. */
const ROUTES: readonly Route[] = PYTHON_OPERATIONS.flatMap((op) => routesOf(op)).sort((a, b) => a.parameters - b.parameters);

function routesOf({ http, protocol }: Operation): Route[] {
  if (http === undefined) return [];
  const pattern = new RegExp(`^${http.path.replaceAll(/\{\w+\}/g, '[^/]+')}$`);
  const label = `${protocol ?? ''} ${http.method} ${http.path.replace('/api/v3', '')}`.trim();
  return [{ method: http.method, pattern, label, parameters: http.path.split('{').length }];
}

function operationOf(method: string, path: string): string {
  return ROUTES.find((route) => route.method === method && route.pattern.test(path))?.label ?? `${method} ${path}`;
}

export class WireRecorder {
  readonly exchanges: Exchange[] = [];
  /** Connections are kept towards the house only: towards the callers the proxy does as the house would. */
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 256 });
  readonly #server: Server;
  /** What to do before an answer of an operation is passed on, by its protocol number. */
  readonly #meetings = new Map<string, () => Promise<void>>();
  /** What to do before a request of an operation is passed on, by its protocol number. */
  readonly #holds = new Map<string, () => Promise<void>>();

  /** Requests so far: the addresses take turns. */
  #turn = 0;

  private constructor(readonly targets: readonly [string, ...string[]]) {
    this.#server = createServer((incoming, outgoing) => void this.#pass(incoming, outgoing));
    this.#server.keepAliveTimeout = 75_000;
  }

  /** Starts on a free port of 127.0.0.1; the addresses are those of the house, or of several apis, which are asked in turn. */
  static async start(...targets: readonly [string, ...string[]]): Promise<WireRecorder> {
    const recorder = new WireRecorder(targets);
    await new Promise<void>((resolve) => recorder.#server.listen(0, '127.0.0.1', resolve));
    return recorder;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Exchanges of one operation, by its protocol number. */
  of(protocol: string): Exchange[] {
    return this.exchanges.filter(({ operation }) => operation.startsWith(`${protocol} `));
  }

  /**
   * Holds the first answers of an operation back until there is one for so many callers, so that what callers do at one time is sure to
   * be done at one time.
   */
  meet(protocol: string, callers: number): void {
    let missing = callers;
    let open = (): void => undefined;
    const all = new Promise<void>((resolve) => (open = resolve));
    this.#meetings.set(protocol, () => {
      missing -= 1;
      if (missing === 0) open();
      return all;
    });
  }

  /**
   * Holds requests of an operation back, all but the first few, before the house hears of them, as a slow network does. Answers what lets
   * them go.
   */
  hold(protocol: string, allBut: number): () => void {
    let passing = allBut;
    let release = (): void => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    this.#holds.set(protocol, async () => {
      passing -= 1;
      if (passing < 0) await released;
    });
    return release;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    this.#agent.destroy();
    await closed;
  }

  async #pass(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const at = Date.now();
    const method = incoming.method ?? 'GET';
    const [path = '', query = ''] = (incoming.url ?? '').split('?', 2);
    const known = { at, method, path, query, operation: operationOf(method, path) };
    let body: Buffer | undefined;
    try {
      body = await collect(incoming);
      await this.#holds.get(known.operation.split(' ')[0]!)?.();
      const answer = await this.#forward(incoming, body);
      const bytes = await collect(answer);
      const text = answer.headers['content-encoding'] === 'gzip' ? gunzipSync(bytes) : bytes;
      this.exchanges.push({ ...known, request: body.toString(), status: answer.statusCode ?? 0, answer: text.toString() });
      await this.#meetings.get(known.operation.split(' ')[0]!)?.();
      outgoing.writeHead(answer.statusCode ?? 502, headersOf(answer)).end(bytes);
    } catch {
      this.exchanges.push({ ...known, request: body?.toString() ?? '', status: 0, answer: '' });
      outgoing.destroy();
    }
  }

  #forward(incoming: IncomingMessage, body: Buffer): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const headers = { ...headersOf(incoming), 'content-length': String(body.length) };
      const forwarded = request(
        new URL(incoming.url ?? '/', this.targets[this.#turn++ % this.targets.length]),
        { method: incoming.method, headers, agent: this.#agent },
        resolve,
      );
      forwarded.on('error', reject);
      forwarded.end(body);
    });
  }
}

/** Headers that speak of the message; those that speak of the connection stay behind. */
function headersOf(message: IncomingMessage): NodeJS.Dict<string | string[]> {
  const { connection: _, 'keep-alive': __, 'transfer-encoding': ___, host: ____, ...rest } = message.headers;
  return rest;
}

async function collect(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** How often each operation was asked, and which answers were not 200; sorted by protocol number. */
export function summaryOf(
  exchanges: readonly Exchange[],
): { operation: string; requests: number; not_200: Record<number, number> }[] {
  const byOperation = new Map<string, { requests: number; not_200: Record<number, number> }>();
  for (const { operation, status } of exchanges) {
    const row = byOperation.get(operation) ?? { requests: 0, not_200: {} };
    row.requests += 1;
    if (status !== 200) row.not_200[status] = (row.not_200[status] ?? 0) + 1;
    byOperation.set(operation, row);
  }
  const numeric = new Intl.Collator('en', { numeric: true });
  return [...byOperation].sort(([a], [b]) => numeric.compare(a, b)).map(([operation, row]) => ({ operation, ...row }));
}
