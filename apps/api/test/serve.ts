/** An api that listens on a free port of this machine, over a real database and the real bus. For specs. */
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import type { DynamicModule } from '@nestjs/common';
import type { Database } from '@jobmon/entities';
import { inProcessMessenger, type Messenger } from '@jobmon/messaging';
import { loadConfig, type Config, type PartialSettings } from '@jobmon/runtime';
import { pino, type Logger } from 'pino';
import { createApp, type ApiContext } from '../src/module';

export const TOKEN = 'a-token-for-tests';

export interface Served {
  readonly url: string;
  readonly port: number;
  readonly messenger: Messenger;
  /** Lines that the api logged, newest last. */
  readonly lines: Record<string, unknown>[];
  close(): Promise<void>;
}

export interface ServeOptions {
  readonly http?: Partial<ApiContext['config']['http']>;
  readonly lease_seconds?: number;
  /** Settings of login, which is on when there are any. */
  readonly auth?: PartialSettings['auth'];
  /** Other services of the house. They get the same messenger, database and log. */
  readonly modules?: (context: { messenger: Messenger; database: Database; log: Logger }) => DynamicModule[];
}

export async function serve(database: Database, options: ServeOptions = {}): Promise<Served> {
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) });
  const messenger = inProcessMessenger({ log });
  const config = {
    http: { allowed_hosts: [], allowed_origins: [], ...options.http },
    agent: { lease_seconds: options.lease_seconds ?? 60 },
    auth: authOf(options.auth ?? { mode: 'off' }),
  };
  const modules = options.modules?.({ messenger, database, log }) ?? [];
  const app = await createApp({ config, log, messenger, database, token: TOKEN }, modules);
  await app.listen({ port: 0, host: '127.0.0.1' });
  const port = (app.getHttpServer().address() as { port: number }).port;
  const close = async (): Promise<void> => {
    await app.close();
    await messenger.drain();
  };
  return { url: `http://127.0.0.1:${port}`, port, messenger, lines, close };
}

/** Settings of login as a process reads them; one address may show many unknown credentials. */
export function authOf(auth: PartialSettings['auth']): Config['auth'] {
  return loadConfig({ env: {}, overrides: { auth: { mode: 'on', guesses_per_minute: 100_000, ...auth } } }).config.auth;
}

/** An answer's value, looked into freely: what it holds is what a spec asserts. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as above
export type Json = any;

export interface Answered {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body as JSON; undefined when it is none. */
  readonly json: Json;
}

/** One request with everything about it in the caller's hand, Host too (which fetch does not allow). */
export function call(
  served: Served,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = { authorization: `Bearer ${TOKEN}` },
): Promise<Answered> {
  const text = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const sent = httpRequest(
      {
        host: '127.0.0.1',
        port: served.port,
        method,
        path,
        agent: false,
        headers: {
          ...(text === undefined ? {} : { 'content-type': 'application/json' }),
          ...(text === undefined || 'transfer-encoding' in headers ? {} : { 'content-length': Buffer.byteLength(text) }),
          ...headers,
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const answer = Buffer.concat(chunks).toString('utf8');
          let json: unknown;
          try {
            json = JSON.parse(answer);
          } catch {
            json = undefined;
          }
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text: answer, json });
        });
      },
    );
    sent.on('error', reject);
    sent.end(text);
  });
}
