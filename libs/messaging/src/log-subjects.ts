/** Names of the stream of log records on NATS, apart from the client that uses them. */

export const LOG_STREAM = 'jobmon-log';
/** What senders publish to; nothing else of the bus begins so. */
export const LOG_SUBJECT = 'jobmon.v1.log';
export const LOG_CONSUMER = 'log-sink';
