/** Requests as sites send them: a connection of its own for each (Python's client keeps none), timed, many at one time. */
import { request as httpRequest, type Agent } from 'node:http';

export interface Sent {
  readonly status: number;
  readonly ms: number;
  readonly text: string;
}

/** What a phase's requests were answered with. */
export class Tally {
  readonly times: number[] = [];
  readonly failures = new Map<string, number>();

  add(what: string, sent: Sent): void {
    this.times.push(sent.ms);
    if (sent.status !== 200) this.fail(`${what}: ${sent.status} ${sent.text.slice(0, 120)}`);
  }

  fail(reason: string): void {
    this.failures.set(reason, (this.failures.get(reason) ?? 0) + 1);
  }

  get failed(): number {
    return [...this.failures.values()].reduce((sum, n) => sum + n, 0);
  }

  /** Milliseconds that this part of the answers took at most. */
  within(part: number): number {
    const sorted = [...this.times].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
  }
}

export class Caller {
  readonly port: number;

  constructor(
    url: string,
    readonly tally: Tally,
  ) {
    this.port = Number(new URL(url).port);
  }

  /** The answer's value, whatever its status; it is told to the tally. */
  async json<Value>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
    agent: Agent | false = false,
  ): Promise<Value> {
    const sent = await this.send(method, path, body, headers, agent);
    this.tally.add(`${method} ${path.replace(/\d+/g, 'N')}`, sent);
    try {
      return JSON.parse(sent.text) as Value;
    } catch {
      return {} as Value;
    }
  }

  send(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
    agent: Agent | false = false,
  ): Promise<Sent> {
    const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
    const length = text === undefined ? 0 : Buffer.byteLength(text);
    const began = performance.now();
    return new Promise((resolve) => {
      const fail = (error: Error): void => resolve({ status: 0, ms: performance.now() - began, text: error.message });
      const sent = httpRequest(
        {
          host: '127.0.0.1',
          port: this.port,
          method,
          path: `/api/v3${path}`,
          agent,
          headers: { 'content-type': 'application/json', 'content-length': length, 'accept-encoding': 'identity', ...headers },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', fail);
          response.on('end', () =>
            resolve({
              status: response.statusCode ?? 0,
              ms: performance.now() - began,
              text: Buffer.concat(chunks).toString('utf8'),
            }),
          );
        },
      );
      sent.on('error', fail);
      sent.end(text);
    });
  }
}

/** So many at one time, each the next as soon as it has ended, until `next` answers undefined. */
export async function inParallel(lanes: number, next: (lane: number) => Promise<void> | undefined): Promise<void> {
  await Promise.all(
    Array.from({ length: lanes }, async (_, lane) => {
      for (let running = next(lane); running !== undefined; running = next(lane)) await running;
    }),
  );
}
