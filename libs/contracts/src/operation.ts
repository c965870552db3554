/**
 * An operation is one value: its name, the service that owns it, the schemas of request and reply, and how HTTP reaches it.
 * The route, the bus subject, the OpenAPI document, the SDK call and the metrics label all derive from that value. This
 * file declares the shape only; the operations themselves stand in the file of their noun.
 */
import type { z } from 'zod';
import type { Role } from './access';

/** The services that can own an operation (a folder in `apps/` each). */
export type Service = 'api' | 'state-machine' | 'scheduler' | 'agent' | 'reaper' | 'log-sink';

/** How HTTP reaches an operation. */
export interface HttpBinding {
  readonly method: 'GET' | 'POST' | 'PUT';
  /** Path with parameters in braces, e.g. `/api/v4/workflows/{workflow_id}`. Path, query and body fill one request object. */
  readonly path: string;
  /** Largest accepted body in bytes; 1 MiB when absent, 2 MiB when the body is read without loss. */
  readonly body_bytes_max?: number;
  /** The answer is a stream of server-sent events, each a value of the reply schema. */
  readonly stream?: true;
  /**
   * The reply as the Python protocol wants it on the wire, when that is not the reply object itself
   * (positional arrays, bare values).
   */
  readonly toWire?: (reply: never) => unknown;
  /** Schema of what `toWire` makes, for the OpenAPI document; given with it and only with it. */
  readonly wire?: z.ZodType;
  /**
   * The body may hold integers beyond 2^53, which `JSON.parse` would round: they reach the request's schema as text of digits (every
   * other number as a number). Such a body is read 75 times slower and is therefore bound to 2 MiB (design, section 4).
   */
  readonly lossless?: true;
}

export interface Operation<Request extends z.ZodType = z.ZodType, Reply extends z.ZodType = z.ZodType> {
  /** `noun.verb`, the noun spelt as in the ERD: `task_instance.log_done`. */
  readonly name: string;
  readonly owner: Service;
  /** Its number in spec/http-api-execution.md (E, S, L) or spec/http-api-inspection.md (C, P), for operations of the Python protocol. */
  readonly protocol?: string;
  /** One line for the OpenAPI document. */
  readonly summary: string;
  readonly request: Request;
  readonly reply: Reply;
  /** Absent: internal, reached over the bus only. */
  readonly http?: HttpBinding;
  /**
   * Calls of operations with the same batch key are coalesced by the sender: while one message is in flight, whatever
   * arrives waits and goes as the next message. Absent: each call is a message of its own.
   */
  readonly batch?: string;
  /** Who may call it when login is on, where that does not follow from its route; see `accessOf`. */
  readonly role?: Role | 'anyone';
}

export type RequestOf<O extends Operation> = z.output<O['request']>;
export type ReplyOf<O extends Operation> = z.output<O['reply']>;

/** Declares an operation; only gives the literal its type. */
export function operation<Request extends z.ZodType, Reply extends z.ZodType>(
  value: Operation<Request, Reply>,
): Operation<Request, Reply> {
  return value;
}

/** The bus subject of an operation: `jobmon.v1.<owner>.<noun>.<verb>` (design, section 3). */
export function subjectOf(op: Operation): string {
  return `jobmon.v1.${op.owner}.${op.name}`;
}

/** A hint that something happened. Losing one costs time, never truth: whoever listens also looks on a clock. */
export interface Event<Payload extends z.ZodType = z.ZodType> {
  /** `noun.past_participle`: `task.changed`. */
  readonly name: string;
  readonly payload: Payload;
}

export type PayloadOf<E extends Event> = z.output<E['payload']>;

export function event<Payload extends z.ZodType>(value: Event<Payload>): Event<Payload> {
  return value;
}

/** The bus subject of an event: `jobmon.v1.event.<noun>.<past participle>`. */
export function subjectOfEvent(ev: Event): string {
  return `jobmon.v1.event.${ev.name}`;
}

/** Largest message on the bus in bytes (design, section 3: nothing above 512 KiB crosses it; NATS' max_payload is 1 MiB). */
export const MESSAGE_BYTES_MAX = 512 * 1024;
