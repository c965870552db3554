/**
 * What the api needs to serve, when nobody beside it says: the database with its schema, and the state machine behind the bus. A
 * process that is the api alone brings checks of its own.
 */
import { ID_MAX, leaseTaskInstances } from '@jobmon/contracts';
import { Health } from '@jobmon/messaging/service';
import type { ApiContext } from './context';

/** Longest wait for the state machine's answer. */
const ANSWER_MS_MAX = 3_000;

export function healthOf({ database, messenger, log }: ApiContext): Health {
  let isMigrated = false;
  return new Health(log, {
    database: async () => void (await database.read('SELECT 1 AS one')),
    /** Asked until it is so, then never again: migrations are not undone under a running server. */
    migrations: async () => {
      if (isMigrated) return;
      if (await database.dataSource.showMigrations()) throw new Error('migrations wait to be run');
      isMigrated = true;
    },
    /** Asks the state machine for no work at all in the name of nobody: any answer but silence proves the way there and back. */
    bus: async () => {
      const nothing = { agent_id: ID_MAX, wanted: {} };
      const [outcome] = await messenger.request(leaseTaskInstances, [nothing], { timeout_ms: ANSWER_MS_MAX });
      if (outcome !== undefined && 'error' in outcome && outcome.error.code === 'UNAVAILABLE')
        throw new Error(outcome.error.message);
    },
  });
}
