/**
 * Whether a failed call proves that the server is away for everybody. A server that is away gives no attempts to others, and when it is
 * back it gives every agent a whole lease before it gives up what one held; so the agent's own lease runs on from that moment.
 *
 * A refused connection is such a proof (the machine answers, and nobody listens), and an answer of 502, 503 or 504 (whoever stands in the
 * server's place can't reach it, or it can't reach its database). A call without an answer is none: the network may be cut between
 * this machine and a server that goes on (docs/decisions/lease-of-a-server-that-is-away.md). A login provider that is away is none either.
 * Of several apis all must have given such a proof since one of them answered: till then the connection throws something else.
 */
import { isServerUnreachable } from '@jobmon/client';
import { JobmonError, LOGIN_PROVIDER_AWAY } from '@jobmon/contracts';

/** Causes are nested: a JobmonError wraps what fetch threw, which wraps the socket's error. */
const DEPTH_MAX = 6;

export function isServerAway(thrown: unknown): boolean {
  if (thrown instanceof JobmonError && thrown.code === 'UNAVAILABLE' && !isServerUnreachable(thrown)) {
    return (thrown.details as { rule?: unknown } | undefined)?.rule !== LOGIN_PROVIDER_AWAY;
  }
  let at = thrown as { readonly code?: unknown; readonly cause?: unknown } | null | undefined;
  for (let depth = 0; depth < DEPTH_MAX && typeof at === 'object' && at !== null; depth += 1) {
    if (at.code === 'ECONNREFUSED') return true;
    at = at.cause as typeof at;
  }
  return false;
}
