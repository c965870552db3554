/**
 * The closed list of error codes of the house, and the one error class that carries them. A code says which HTTP status the
 * api answers, at which level it deserves to be logged, and whether the same request may succeed when it is sent again.
 * Handlers throw or return a `JobmonError`; only the api turns one into HTTP. Anything else that is thrown is a bug and
 * becomes `INTERNAL`: its cause goes to the log, never to the caller.
 */
export interface ErrorKind {
  /** HTTP status of the answer. Python clients retry 5xx and 423 only, so all that will pass later is 503. */
  readonly http_status: number;
  /** Level of the log line, written once, where the error stops. */
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  /** True when the same request may be accepted later. */
  readonly retryable: boolean;
}

export const ERROR_KINDS = {
  /** The body is not JSON, or a value breaks its schema: missing, of a wrong type, too long. */
  MALFORMED: { http_status: 400, level: 'debug', retryable: false },
  /** A path or query parameter has a wrong type (the Python server answers 422 there). */
  UNPROCESSABLE: { http_status: 422, level: 'debug', retryable: false },
  /** No or a wrong token on a call that needs one. */
  UNAUTHORIZED: { http_status: 401, level: 'info', retryable: false },
  /** The caller may not do this: a foreign Origin, an unknown Host, another user's workflow. */
  FORBIDDEN: { http_status: 403, level: 'info', retryable: false },
  /** An id or a path that does not exist. */
  NOT_FOUND: { http_status: 404, level: 'debug', retryable: false },
  /** The path exists, the method does not. */
  METHOD_NOT_ALLOWED: { http_status: 405, level: 'debug', retryable: false },
  /** The request is well formed but contradicts what is stored: v4 only, v3 answers 200 with the standing status. */
  CONFLICT: { http_status: 409, level: 'info', retryable: false },
  /** The body is larger than the route takes. */
  TOO_LARGE: { http_status: 413, level: 'info', retryable: false },
  /** Too many tries with unknown credentials. Answered with `Retry-After`. */
  TOO_MANY: { http_status: 429, level: 'info', retryable: true },
  /** A queue is full, a lock was not obtained, the database or a service is away. Send it again. */
  UNAVAILABLE: { http_status: 503, level: 'warn', retryable: true },
  /** A defect of ours. */
  INTERNAL: { http_status: 500, level: 'error', retryable: true },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERROR_KINDS;

/** What crosses the bus in place of a reply. `details` is plain JSON for programs (ids, limits, the rule that was broken). */
export interface ErrorBody {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details?: unknown;
}

/** The only error that handlers throw on purpose. `message` names the cause and, where there is one, the cure. */
export class JobmonError extends Error {
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly details?: unknown,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = 'JobmonError';
  }

  get kind(): ErrorKind {
    return ERROR_KINDS[this.code];
  }

  toBody(): ErrorBody {
    return this.details === undefined
      ? { code: this.code, message: this.message }
      : { code: this.code, message: this.message, details: this.details };
  }

  static fromBody(body: ErrorBody): JobmonError {
    return new JobmonError(body.code, body.message, body.details);
  }

  /** Any thrown value as a JobmonError: itself, or `INTERNAL` with the thrown value as its cause. */
  static from(thrown: unknown): JobmonError {
    if (thrown instanceof JobmonError) return thrown;
    return new JobmonError('INTERNAL', 'internal error', undefined, { cause: thrown });
  }
}
