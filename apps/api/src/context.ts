/** What the api is started with, and what a handler is told about the call it answers. */
import type { Database } from '@jobmon/entities';
import type { Messenger, Sender } from '@jobmon/messaging';
import type { Config, Logger } from '@jobmon/runtime';

export interface ApiContext {
  readonly config: {
    readonly http: Pick<Config['http'], 'allowed_hosts' | 'allowed_origins'>;
    readonly agent: Pick<Config['agent'], 'lease_seconds'>;
  };
  readonly log: Logger;
  readonly messenger: Messenger;
  readonly database: Database;
  /** Every call of `/api/v4` that is no GET must carry it as `Authorization: Bearer <token>`. Not empty. */
  readonly token: string;
}

/** What every handler of the api is given: the api's context and the way to the other services. */
export interface Room extends ApiContext {
  readonly sender: Sender;
}

/** Nest's name for the context. */
export const API_CONTEXT = Symbol('api context');

/** One call over HTTP, as handlers see it. */
export interface Call {
  readonly request_id: string;
  /** Aborted when the caller hangs up or the server closes. Made when it is first asked for: most calls never wait. */
  signal(): AbortSignal;
  /** Once the connection is done with the answer: whether all of it was handed to the network. To be asked before answering. */
  answered(): Promise<boolean>;
}
