/** What ties the log lines of one call together, in this process and in those that it asks. */
import type { MessageContext } from '@jobmon/messaging';
import type { FastifyRequest } from 'fastify';

/** W3C Trace Context, version 00 and what later ones keep of it: version, trace id, parent id, flags. */
const TRACE_PARENT = /^(?!ff)[\da-f]{2}-(?!0{32})([\da-f]{32})-(?!0{16})[\da-f]{16}-[\da-f]{2}(?:-|$)/;

/** The request's id, and the trace of the caller where the header `traceparent` tells one; a header that is none is not heeded. */
export function originOf(request: FastifyRequest): MessageContext {
  const { traceparent } = request.headers;
  const trace_id = typeof traceparent === 'string' ? TRACE_PARENT.exec(traceparent)?.[1] : undefined;
  return trace_id === undefined ? { request_id: request.id } : { request_id: request.id, trace_id };
}
