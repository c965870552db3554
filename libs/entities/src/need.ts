/** The database as a need of a process that is one service: it never migrates, it waits until somebody did. */
import { JobmonError } from '@jobmon/contracts';
import { metrics, parseDatabaseUrl, type Config, type Logger, type Need } from '@jobmon/runtime';
import type { Database } from './database';
import { openDatabase, requireSchema } from './data-source';
import { measured } from './measured';

/** A schema changes seldom: between two looks at it. */
const SCHEMA_MS = 60_000;

/**
 * Opens the database by `db.url`. The checks are `database`, whether it answers, and `migrations`, whether its schema is one that this
 * program works on.
 *
 * @throws JobmonError MALFORMED for a SQLite file: several processes can't share its one writer.
 */
export function databaseNeed(config: Pick<Config, 'db'>, log: Logger): Need<Database> {
  const { url, connections_max } = config.db;
  if (parseDatabaseUrl(url).kind === 'sqlite') {
    throw new JobmonError(
      'MALFORMED',
      'db.url names a SQLite file, which serves the house in one process only: set JOBMON__DB__URL to mariadb://USER:PASSWORD@HOST:PORT/DATABASE, or start `jobmon serve`',
    );
  }
  let isAway = false;
  /** When the schema was looked at last, on the process' own clock. */
  let asked_ms = Number.NEGATIVE_INFINITY;
  return {
    name: 'database',
    open: async () => measured(await openDatabase({ url, log, connections_max, migrates: false })),
    checks: {
      database: async (database) => {
        const wasAway = isAway;
        isAway = true;
        await database.read('SELECT 1 AS one');
        isAway = false;
        if (wasAway) metrics.reconnects.inc({ to: 'database' });
      },
      migrations: async (database) => {
        if (performance.now() - asked_ms < SCHEMA_MS) return;
        await requireSchema(database);
        asked_ms = performance.now();
      },
    },
    close: (database) => database.close(),
  };
}
