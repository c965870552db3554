/**
 * How a client speaks to the api: one call of an operation over HTTP, or the stream of one. Method, path, query and body all
 * derive from the operation's value. Calls are repeated after 5xx answers, lost connections and time-outs, a bounded number
 * of times: creations find what they made before, and a repeated transition answers the status that stands. An answer of
 * 4xx ends the call at once.
 *
 * A server that is several apis is given by the addresses of several. One of them is asked as long as it answers. A call that reached nobody
 * goes to the next at once; one that has no answer, or 502, 503 or 504, has failed, and the next call goes there.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ERROR_KINDS,
  JobmonError,
  type ErrorCode,
  type HttpBinding,
  type Operation,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import type { z } from 'zod';
import { serverSentData } from './server-sent-data';

/** Tries of one call, the first included; with the waits below they spread over about 20 s. */
const TRIES_MAX = 10;
/** Wait before the second try; doubles with each try. */
const BACK_OFF_FIRST_MS = 100;
const BACK_OFF_MAX_MS = 5_000;
/** Time for one try. The api answers 503 to whatever took 15 s, so that what is left over is the wire. */
const TIMEOUT_MS = 30_000;
/** A stream without a byte for this long is broken: the api sends a comment every 15 s. */
const STREAM_SILENCE_MS_MAX = 45_000;

type OptionalKeys<T> = { [K in keyof T]-?: object extends Pick<T, K> ? K : never }[keyof T];

/** What a caller gives: the operation's request, where fields with a default may be left out. */
export type CallOf<O extends Operation> = Omit<RequestOf<O>, OptionalKeys<z.input<O['request']>> & keyof RequestOf<O>> &
  Partial<Pick<RequestOf<O>, OptionalKeys<z.input<O['request']>> & keyof RequestOf<O>>>;

export interface SendOptions {
  /** Ends the call, the waits between its tries included; the call then throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Time for one try in milliseconds; 30 s when absent. A long poll gives more than it asks the server to wait. */
  readonly timeout_ms?: number;
  /** Tries in all; 10 when absent. 1 for whoever would rather decide anew than repeat. */
  readonly tries_max?: number;
}

/** A token that is asked for when it is needed; told the one that was refused, it answers another when there is one. */
export type TokenSource = (refused?: string) => Promise<string | undefined>;

export interface ConnectionOptions {
  /** Where the api answers, e.g. `http://127.0.0.1:8070`; several addresses of one server with commas between them. */
  readonly url: string;
  /** Of several addresses the one to begin with; the first when absent, or when it is none of them. */
  readonly first?: string;
  /** Sent as a bearer token with every call of `/api/v4`; a source of it is asked each time, and once more when what it gave is refused. */
  readonly token?: string | TokenSource;
}

/** What a socket says when a request has reached nobody; with the first one nobody listens at an address that answers. */
const REFUSED = 'ECONNREFUSED';
const REACHED_NOBODY: readonly unknown[] = [REFUSED, 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'];

const unreachable = new WeakSet<JobmonError>();

/** A JobmonError that came about on this side of the wire: nobody to ask, no answer, or one that is not the house's. */
export function serverUnreachable(message: string, cause?: unknown): JobmonError {
  const error = new JobmonError('UNAVAILABLE', message, undefined, { cause });
  unreachable.add(error);
  return error;
}

/** Whether a call failed because no Jobmon server was to be had, rather than by an answer. */
export function isServerUnreachable(error: unknown): boolean {
  return error instanceof JobmonError && unreachable.has(error);
}

/**
 * The way to one server. Holds no socket of its own (Node keeps connections alive between calls) and needs no closing.
 */
export class Connection {
  readonly #urls: readonly string[];
  /** The one that is asked. */
  #at = 0;
  /** Addresses that nobody listens at, or that can't reach what is behind them, since any of them answered. */
  readonly #away = new Set<string>();
  readonly #token: string | TokenSource | undefined;

  /** Throws JobmonError MALFORMED when an address is not one of http or https. */
  constructor({ url, token, first }: ConnectionOptions) {
    this.#urls = [...new Set(url.split(',').map((one) => addressIn(one.trim())))];
    this.#at = Math.max(0, first === undefined ? 0 : this.#urls.indexOf(first));
    this.#token = token;
  }

  /** The address that the next call goes to. */
  get url(): string {
    return this.#urls[this.#at]!;
  }

  /** How many addresses the server has. */
  get addresses(): number {
    return this.#urls.length;
  }

  /**
   * Calls an operation and answers its reply. Throws JobmonError with the server's code and message; UNAVAILABLE when
   * nothing answered in the last try. Not for operations whose reply has a wire form of its own (the Python protocol).
   */
  async send<O extends Operation>(operation: O, request: CallOf<O>, options: SendOptions = {}): Promise<ReplyOf<O>> {
    const http = bindingOf(operation);
    if (http.toWire !== undefined || http.stream) throw new TypeError(`${operation.name} has no plain reply`);
    const { target, body } = addressed(http, request as Record<string, unknown>);
    const tries_max = options.tries_max ?? TRIES_MAX;
    for (let tried = 1; ; tried++) {
      const attempt = linkedTo(options.signal, options.timeout_ms ?? TIMEOUT_MS);
      const asked = { url: this.url };
      try {
        const response = await this.#fetch(http, target, body, attempt.signal, asked);
        return this.#understood(operation, await response.text(), asked.url);
      } catch (thrown) {
        const error = this.#failure(thrown, options.signal, asked.url);
        if (!error.kind.retryable || tried >= tries_max) throw error;
      } finally {
        attempt.release();
      }
      await backOff(tried, options.signal);
    }
  }

  /**
   * Follows a streaming operation until an event with `is_final` true. A broken stream is opened again, with back-off, at
   * most `tries_max` times (10 when absent, 0 for whoever does that alone) without an event in between; then JobmonError UNAVAILABLE.
   */
  async *stream<O extends Operation>(
    operation: O,
    request: CallOf<O>,
    options: Pick<SendOptions, 'signal' | 'tries_max'> = {},
  ): AsyncGenerator<ReplyOf<O>, void, void> {
    const http = bindingOf(operation);
    const { target } = addressed(http, request as Record<string, unknown>);
    for (let tried = 1; ; tried++) {
      let failed = new JobmonError('UNAVAILABLE', `the stream from ${this.url} ended early`);
      const attempt = linkedTo(options.signal, TIMEOUT_MS);
      const asked = { url: this.url };
      try {
        const response = await this.#fetch(http, target, undefined, attempt.signal, asked);
        attempt.stopTimer();
        for await (const data of serverSentData(response, STREAM_SILENCE_MS_MAX)) {
          const reply = this.#understood(operation, data, asked.url);
          tried = 0;
          yield reply;
          if ((reply as { is_final?: boolean }).is_final === true) return;
        }
      } catch (thrown) {
        failed = this.#failure(thrown, options.signal, asked.url);
        if (!failed.kind.retryable) throw failed;
      } finally {
        attempt.release();
      }
      if (tried >= (options.tries_max ?? TRIES_MAX)) throw failed;
      await backOff(Math.max(tried, 1), options.signal);
    }
  }

  /** One try, told of in `asked`. Answers only a 2xx response; anything else is thrown as the JobmonError that the answer carries. */
  async #fetch(
    http: HttpBinding,
    target: string,
    body: string | undefined,
    signal: AbortSignal,
    asked: { url: string },
  ): Promise<Response> {
    for (let tried = 1; ; tried += 1) {
      asked.url = this.url;
      try {
        return await this.#ask(http, asked.url + target, body, signal);
      } catch (thrown) {
        const code = socketCode(thrown);
        if (tried >= this.#urls.length || !REACHED_NOBODY.includes(code)) throw thrown;
        if (code === REFUSED) this.#away.add(asked.url);
        this.#leave(asked.url);
      }
    }
  }

  async #ask(http: HttpBinding, url: string, body: string | undefined, signal: AbortSignal): Promise<Response> {
    const headers: Record<string, string> = { accept: http.stream ? 'text/event-stream' : 'application/json' };
    if (body !== undefined) headers['content-type'] = 'application/json';
    const ask = (token: string | undefined): Promise<Response> => {
      if (token !== undefined) headers.authorization = `Bearer ${token}`;
      return fetch(url, { method: http.method, headers, body, signal, redirect: 'error' });
    };
    const source = http.path.startsWith('/api/v4/') ? this.#token : undefined;
    const token = typeof source === 'function' ? await source() : source;
    let response = await ask(token);
    if (response.status === 401 && typeof source === 'function') {
      const other = await source(token);
      if (other !== undefined && other !== token) {
        await response.arrayBuffer();
        response = await ask(other);
      }
    }
    if (response.status < 500) this.#away.clear();
    if (!response.ok) throw errorOf(response.status, await response.text());
    return response;
  }

  #understood<O extends Operation>(operation: O, text: string, url: string): ReplyOf<O> {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw serverUnreachable(`${url} does not answer like a Jobmon server; check the address`, cause);
    }
    const parsed = operation.reply.safeParse(value);
    if (parsed.success) return parsed.data as ReplyOf<O>;
    const message = `the answer of ${operation.name} is not what this client expects; client and server must have the same version`;
    throw new JobmonError('CONFLICT', message, parsed.error.issues.slice(0, 5));
  }

  /** What a try at this address failed by. When it is no word about the server as a whole, since other addresses may answer, it says so. */
  #failure(thrown: unknown, signal: AbortSignal | undefined, url: string): JobmonError {
    if (signal?.aborted) throw signal.reason;
    const error = thrown instanceof JobmonError ? thrown : serverUnreachable(`no answer from ${url} (${rootOf(thrown)})`, thrown);
    if (this.#urls.length === 1 || error.code !== 'UNAVAILABLE') return error;
    const isAway = socketCode(thrown) === REFUSED || !isServerUnreachable(error);
    if (isAway) this.#away.add(url);
    this.#leave(url);
    if (!isAway || this.#away.size === this.#urls.length) return error;
    return serverUnreachable(`${error.message} (${url}); the next call goes to ${this.url}`);
  }

  /** To the next address, unless another call has gone there already. */
  #leave(url: string): void {
    if (this.url === url) this.#at = (this.#at + 1) % this.#urls.length;
  }
}

/** Throws JobmonError MALFORMED. */
function addressIn(text: string): string {
  let parsed: URL;
  try {
    parsed = new URL(text);
  } catch {
    throw new JobmonError('MALFORMED', `the server address '${text}' is not a URL; give one like http://127.0.0.1:8070`);
  }
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') {
    throw new JobmonError('MALFORMED', `the server address '${text}' must begin with http:// or https://`);
  }
  return text.replace(/\/+$/, '');
}

/** The code of the system's error below what fetch threw. */
function socketCode(thrown: unknown): unknown {
  let at = thrown as { readonly code?: unknown; readonly cause?: unknown } | null | undefined;
  for (let depth = 0; depth < 5 && typeof at === 'object' && at !== null && !(at instanceof JobmonError); depth += 1) {
    if (typeof at.code === 'string' && at.code.startsWith('E')) return at.code;
    at = at.cause as typeof at;
  }
  return undefined;
}

/** A signal that ends one try: when its time is over, or with the caller's own signal. `release` lets go of both. */
function linkedTo(signal: AbortSignal | undefined, timeout_ms: number) {
  const controller = new AbortController();
  const pass = (): void => controller.abort(signal?.reason);
  const timer = setTimeout(() => controller.abort(new Error(`no answer within ${timeout_ms / 1000} s`)), timeout_ms);
  const stopTimer = (): void => clearTimeout(timer);
  const release = (): void => {
    stopTimer();
    signal?.removeEventListener('abort', pass);
  };
  if (signal?.aborted) pass();
  else signal?.addEventListener('abort', pass, { once: true });
  return { signal: controller.signal, stopTimer, release };
}

function bindingOf(operation: Operation): HttpBinding {
  if (operation.http === undefined) throw new TypeError(`${operation.name} cannot be reached over HTTP`);
  return operation.http;
}

/** Fills the path's parameters; the remaining fields become the query of a GET and the body of everything else. */
function addressed(http: HttpBinding, request: Record<string, unknown>): { target: string; body: string | undefined } {
  const rest = { ...request };
  const path = http.path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = rest[name];
    if (value === undefined) throw new JobmonError('MALFORMED', `'${name}' is missing`);
    delete rest[name];
    return encodeURIComponent(String(value));
  });
  if (http.method !== 'GET') return { target: path, body: JSON.stringify(rest) };
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(rest)) {
    for (const one of Array.isArray(value) ? value : [value])
      if (one !== undefined && one !== null) query.append(name, String(one));
  }
  return { target: query.size > 0 ? `${path}?${query.toString()}` : path, body: undefined };
}

/**
 * The error that an answer carries: `{code, message, details?}`, bare or under `error`. An answer without one (a proxy's
 * page) is given the code that fits its status.
 */
function errorOf(status: number, text: string): JobmonError {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  const inner = isRecord(body) && isRecord(body.error) ? body.error : body;
  if (isRecord(inner) && typeof inner.code === 'string' && inner.code in ERROR_KINDS && typeof inner.message === 'string') {
    return new JobmonError(inner.code as ErrorCode, inner.message, inner.details);
  }
  const codes = Object.entries(ERROR_KINDS) as [ErrorCode, { http_status: number }][];
  const exact = codes.find(([, kind]) => kind.http_status === status)?.[0];
  return new JobmonError(exact ?? (status >= 500 ? 'UNAVAILABLE' : 'MALFORMED'), `the server answered ${status}`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** The innermost cause in a few words: fetch wraps `connect ECONNREFUSED …` in `fetch failed`. */
function rootOf(thrown: unknown): string {
  let at = thrown;
  for (let depth = 0; depth < 5 && at instanceof Error && at.cause !== undefined; depth++) at = at.cause;
  if (!(at instanceof Error)) return String(at);
  return at.message || String((at as { code?: string }).code ?? at.name);
}

/** Waits between two tries: doubled each time, with the half of it left to chance so that clients do not march in step. */
async function backOff(tried: number, signal: AbortSignal | undefined): Promise<void> {
  const ms = Math.min(BACK_OFF_MAX_MS, BACK_OFF_FIRST_MS * 2 ** (tried - 1));
  try {
    await sleep(ms / 2 + (Math.random() * ms) / 2, undefined, { signal });
  } catch (aborted) {
    throw signal?.reason ?? aborted;
  }
}
