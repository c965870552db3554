/**
 * An agent in a process of its own: `node dist/apps/agent/main.js`. Settings come from the environment and the configuration
 * file, the server from `JOBMON__HTTP__SERVICE_URL` or the client profile of this user. `jobmon agent` is the same with options.
 */
import { findServer } from '@jobmon/client';
import { JobmonError } from '@jobmon/contracts';
import { runAgent } from './run';

runAgent({}, findServer).then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${error instanceof JobmonError ? error.message : (error as Error).stack}\n`);
    process.exit(1);
  },
);
