/**
 * Compression of long answers, as the Python server does it (spec/http-api-execution.md section 2.3): from 1,000 bytes on, gzip, for
 * callers that accept it. The work is done on another thread.
 */
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { FastifyReply, FastifyRequest } from 'fastify';

/** Shorter answers gain nothing. In UTF-16 units, of which an answer has at most as many as bytes. */
const CHARS_MIN = 1_000;
/** Long answers are lists of ids and names: the first level already makes them a fifth, and the ninth is ten times slower. */
const LEVEL = 1;

const gzipAsync = promisify(gzip);

/** What to send for `text`: its compressed bytes with the headers that say so, or itself. */
export async function compressed(text: string, request: FastifyRequest, reply: FastifyReply): Promise<string | Buffer> {
  if (text.length < CHARS_MIN) return text;
  const vary = reply.getHeader('vary');
  reply.header('vary', vary === undefined ? 'Accept-Encoding' : `${String(vary)}, Accept-Encoding`);
  if (!acceptsGzip(request.headers['accept-encoding'])) return text;
  reply.header('content-encoding', 'gzip');
  return gzipAsync(text, { level: LEVEL });
}

function acceptsGzip(header: string | string[] | undefined): boolean {
  const codings = String(header ?? '')
    .toLowerCase()
    .split(',', 20);
  return codings.some((coding) => /^\s*gzip\s*(;|$)/.test(coding) && !/;\s*q=0(\.0*)?\s*$/.test(coding));
}
