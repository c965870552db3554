/**
 * What clients were answered, read off the wires between them and the apis: the status of each answer, how long each request waited for
 * it, and requests that ended without one. HTTP/1.1 without pipelining, as all clients here speak it.
 */
import type { Direction, Listener } from './tcp-proxy';

/** Addresses that answer late by design. */
const LONG_POLL = /^POST \/api\/v4\/agents\/\d+\/(lease|orders)\b/;
/** Ids in an address, which say nothing in a report. */
const NUMBERS = /\d{2,}|(?<=\/)\d(?=\/|$)/g;

export interface Wait {
  /** Method and address. */
  readonly request: string;
  /** From its first byte to the first byte of its answer. */
  readonly seconds: number;
}

export class Answers {
  /** By status; `none` for a request that the server's side ended without an answer. */
  readonly counts = new Map<string, number>();
  /** Clients and requests behind answers of 4xx and 5xx and behind those without one, with how often. */
  readonly refused = new Map<string, number>();
  /** Of all requests but long polls. */
  longest: Wait = { request: '', seconds: 0 };

  /** A listener for one connection of a client. */
  of(client: string): Listener {
    let request: { readonly line: string; readonly at_ms: number } | undefined;
    let isGone = false;
    /** Something was answered, or the client hung up: what the server's side does from then on is no failed try. */
    let isServed = false;
    const answered = (status: string): void => {
      const line = request?.line ?? 'a connection';
      const seconds = request === undefined ? 0 : (performance.now() - request.at_ms) / 1_000;
      request = undefined;
      isServed = true;
      this.counts.set(status, (this.counts.get(status) ?? 0) + 1);
      if (!/^[23]/.test(status)) {
        const what = `${status} ${client}: ${line.replace(NUMBERS, 'N').slice(0, 120)}`;
        this.refused.set(what, (this.refused.get(what) ?? 0) + 1);
      }
      if (seconds > this.longest.seconds && !LONG_POLL.test(line)) this.longest = { request: `${client}: ${line}`, seconds };
    };
    const heard = (direction: Direction, data: Buffer | 'end'): void => {
      if (data === 'end') {
        if (direction === 'down') isGone = true;
        // A client that hangs up wants no answer; a server that is gone, or was never there, gave none.
        if (isGone && (request !== undefined || !isServed)) answered('none');
        isServed = true;
        request = undefined;
      } else if (direction === 'up') {
        const [line] = request === undefined ? data.toString('latin1', 0, 500).split(' HTTP/1.1') : [];
        if (line !== undefined) request = { line, at_ms: performance.now() };
      } else {
        const [, status] = /^HTTP\/1\.1 ([2-5]\d\d)/.exec(data.toString('latin1', 0, 20)) ?? [];
        if (request !== undefined && status !== undefined) answered(status);
      }
    };
    return { heard };
  }
}
