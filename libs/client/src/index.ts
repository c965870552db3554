/** The TypeScript SDK: build a workflow, submit it, follow it; and the HTTP connection that command line and agent share. */
export { Connection, isServerUnreachable, type CallOf, type ConnectionOptions, type SendOptions } from './send';
export { findServer, profilePath, removeProfile, writeProfile, type Profile, type Server } from './profile';
