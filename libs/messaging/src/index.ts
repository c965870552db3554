/** How the rooms of the house speak to each other: one interface, its transports, and what turns single calls into batches. */
export * from './coalescer';
export * from './in-process';
export * from './log-stream';
export * from './messenger';
export * from './nats-facts';
export * from './open-nats';
export * from './rights';
export * from './sender';
