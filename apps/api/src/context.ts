/** What the api is started with, and what a handler is told about the call it answers. */
import type { Operation, ReplyOf, RequestOf } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import type { MessageContext, Messenger, Sender } from '@jobmon/messaging';
import type { Health } from '@jobmon/messaging/service';
import type { Config, Logger } from '@jobmon/runtime';
import type { Principal } from './principal';

export interface ApiContext {
  readonly config: {
    readonly http: Pick<Config['http'], 'allowed_hosts' | 'allowed_origins'> & {
      readonly host?: string;
      readonly proxies?: Config['http']['proxies'];
    };
    /** Login. Off when absent. */
    readonly auth?: Config['auth'];
    readonly agent: Pick<Config['agent'], 'lease_seconds'>;
  };
  readonly log: Logger;
  readonly messenger: Messenger;
  readonly database: Database;
  /**
   * With login off every call of `/api/v4` that is no GET must carry it as `Authorization: Bearer <token>`, and it must be given. With login
   * on it is the credential of an admin, the house's own; absent where nobody shall have one.
   */
  readonly token?: string;
  /** Whose the token is with login on. */
  readonly user?: string;
  /** Of the process, where it has more to say than the api. */
  readonly health?: Health;
  /** Once aborted, each answer ends its connection, so that its client's next one goes to an api that stays. Never when absent. */
  readonly stopping?: AbortSignal;
}

/** What every handler of the api is given: the api's context and the way to the other services. */
export interface Room extends ApiContext {
  readonly sender: Sender;
}

/** One call over HTTP, as handlers see it. */
export interface Call {
  /** What is told with each message that this call sends. */
  readonly context: MessageContext;
  /** Who asks; undefined when login is off, and for operations that need no credential. */
  readonly principal: Principal | undefined;
  /** Aborted when the caller hangs up or the server closes. Made when it is first asked for: most calls never wait. */
  signal(): AbortSignal;
  /** Once the connection is done with the answer: whether all of it was handed to the network. To be asked before answering. */
  answered(): Promise<boolean>;
}

/** Notes that `handler` answers `operation`. */
export type Register = <O extends Operation>(
  operation: O,
  handler: (room: Room, request: RequestOf<O>, call: Call) => Promise<ReplyOf<O>> | ReplyOf<O> | AsyncIterable<ReplyOf<O>>,
) => void;
