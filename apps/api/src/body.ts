/**
 * Bodies: received as bytes under two bounds, then parsed. The bounds hold over all connections together, so that many large
 * bodies at one time cannot exhaust the memory; what comes beyond them is answered with 503 and may be sent again.
 * A type other than JSON is no reason to refuse a body that parses (Python's clients name JSON even where there is no body).
 */
import { JobmonError, type HttpBinding } from '@jobmon/contracts';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { parse as parseWithoutLoss } from 'lossless-json';

/** Largest body of a route that does not say otherwise. */
export const BODY_BYTES_MAX = 1024 * 1024;
/** Largest body that is read without loss: 75 times slower than `JSON.parse`, and nothing else happens meanwhile (design, section 4). */
const LOSSLESS_BYTES_MAX = 2 * 1024 * 1024;
/** Bytes of bodies being received, parsed or worked on at one time: four of the largest. */
const BYTES_MAX = 256 * 1024 * 1024;
/** Bodies being received at one time. */
const COUNT_MAX = 1_024;
/**
 * A small body leaves the account when it is received; a larger one when its answer is made, since its values live that long, even
 * if its caller hung up before and sends it once more (Python's do after 20 s).
 */
const SMALL_BYTES = 64 * 1024;

/** The bound of an operation's bodies in bytes. */
export function bodyBytesMaxOf(http: HttpBinding): number {
  return http.body_bytes_max ?? (http.lossless ? LOSSLESS_BYTES_MAX : BODY_BYTES_MAX);
}

/** What is being received and worked on now. One for each server. */
class Account {
  private bytes = 0;
  private count = 0;

  enter(): void {
    if (this.count >= COUNT_MAX)
      throw new JobmonError('UNAVAILABLE', 'too many requests are being received; send it again later');
    this.count += 1;
  }

  leave(): void {
    this.count -= 1;
  }

  reserve(bytes: number): void {
    if (this.bytes + bytes > BYTES_MAX) {
      throw new JobmonError('UNAVAILABLE', 'too many large requests are being worked on; send it again later');
    }
    this.bytes += bytes;
  }

  release(bytes: number): void {
    this.bytes -= bytes;
  }
}

/** Makes every body arrive as a Buffer (undefined when there is none) in `request.body`. */
export function acceptBodies(server: FastifyInstance): void {
  const account = new Account();
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', (request: FastifyRequest, _payload, done: Received) => receive(request, account, done));
  const held = new WeakMap<FastifyRequest, number>();
  server.addHook('preValidation', (request, _reply, done) => {
    const bytes = request.body instanceof Buffer ? request.body.length : 0;
    // Nobody looks at the body of a GET, and its answer may be a stream without end.
    if (bytes > SMALL_BYTES && request.method === 'GET') account.release(bytes);
    else if (bytes > SMALL_BYTES) held.set(request, bytes);
    done();
  });
  server.addHook('onSend', (request, _reply, _payload, done) => {
    account.release(held.get(request) ?? 0);
    held.delete(request);
    done();
  });
}

type Received = (error: Error | null, body?: Buffer) => void;

function receive(request: FastifyRequest, account: Account, done: Received): void {
  const limit = request.routeOptions.bodyLimit ?? BODY_BYTES_MAX;
  const tooLarge = (): JobmonError =>
    new JobmonError('TOO_LARGE', `the body is larger than the ${limit} bytes that this route takes`);
  const chunks: Buffer[] = [];
  let received = 0;
  let isOver = false;
  const finish: Received = (error, body) => {
    if (isOver) return;
    isOver = true;
    account.leave();
    if (body === undefined || body.length <= SMALL_BYTES) account.release(received);
    done(error, body);
  };
  try {
    if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge();
    account.enter();
  } catch (refused) {
    return done(refused as Error);
  }
  request.raw.on('data', (chunk: Buffer) => {
    if (isOver) return;
    try {
      if (received + chunk.length > limit) throw tooLarge();
      account.reserve(chunk.length);
      received += chunk.length;
      chunks.push(chunk);
    } catch (refused) {
      finish(refused as Error);
    }
  });
  request.raw.on('end', () => finish(null, chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, received)));
  request.raw.on('error', () => finish(new JobmonError('MALFORMED', 'the caller hung up before its body was complete')));
}

/**
 * The value in a body: an empty object when there is none. Read without loss, integers beyond 2^53 are text of digits. Throws
 * MALFORMED when it is not JSON or not an object.
 */
export function objectIn(body: Buffer | undefined, isLossless = false): Record<string, unknown> {
  if (body === undefined || body.length === 0) return {};
  const text = body.toString('utf8');
  let value: unknown;
  try {
    const sound = HIGH_ESCAPE.test(text) ? wellFormed(text) : text;
    value = isLossless && LONG_NUMBER.test(sound) ? parseWithoutLoss(sound, null, LOSSLESS) : JSON.parse(sound);
  } catch (cause) {
    throw new JobmonError('MALFORMED', `the body is not JSON: ${(cause as Error).message.slice(0, 200)}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new JobmonError('MALFORMED', 'the body must be a JSON object');
  }
  return value as Record<string, unknown>;
}

/** No integer of fewer digits is beyond 2^53, so a body without such a run of digits loses nothing. */
const LONG_NUMBER = /[0-9]{16}/;
/** As `JSON.parse` reads, but for integers beyond 2^53: of two equal keys the later one counts. */
const LOSSLESS = {
  parseNumber: (text: string): number | string => {
    const value = Number(text);
    return Number.isSafeInteger(value) || !/^-?[0-9]+$/.test(text) ? value : text;
  },
  onDuplicateKey: ({ newValue }: { newValue: unknown }): unknown => newValue,
};

/** Only an escape can carry half of a surrogate pair, so most bodies are not searched further. */
const HIGH_ESCAPE = /\\u[dD][89a-fA-F]/;
/** One escape of JSON, whatever it is; groups: a high half, the low half that follows it, a low half alone. */
const ESCAPE = /\\(?:u([dD][89abAB][0-9a-fA-F]{2})(\\u[dD][c-fC-F][0-9a-fA-F]{2})?|u([dD][c-fC-F][0-9a-fA-F]{2})|.)/g;

/**
 * Half of a surrogate pair cannot be stored as UTF-8. Python writes one for each byte of output that it could not decode, and
 * a report with such output must not be lost: the halves become U+FFFD.
 */
function wellFormed(text: string): string {
  return text.replace(ESCAPE, (escape, high?: string, low?: string, alone?: string) =>
    (high !== undefined && low === undefined) || alone !== undefined ? '\\ufffd' : escape,
  );
}
