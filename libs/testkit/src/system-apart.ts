/** What a story of the services apart stands on: a user's folder, a NATS and a database of its own, and the services on them. */
import { CLIENTS_HEARD, type Database } from '@jobmon/entities';
import type { DatabaseKind, TestDatabase } from './database';
import { execute } from './factories';
import { buildHouse, until, UserFolder } from './house-process';
import { NatsProcess } from './nats-process';
import { Services, type ServicesPlace } from './services';

/** The first sign that clients are heard comes once an api and a state machine have met. */
const HEARD_MS_MAX = 60_000;

export class SystemApart {
  private readonly ends: (() => unknown)[] = [];

  private constructor(
    readonly user: UserFolder,
    readonly nats: NatsProcess,
    readonly database: TestDatabase,
  ) {
    this.alsoEnd(() => this.user.remove());
    this.alsoEnd(() => this.nats.remove());
    this.alsoEnd(() => this.database.drop());
  }

  /** Builds what changed and starts the servers; the database is migrated. `nats_config` is more of the bus' configuration. */
  static async open(mariadb: DatabaseKind, nats_config?: string): Promise<SystemApart> {
    buildHouse();
    const [nats, database] = await Promise.all([NatsProcess.start(nats_config), mariadb.open()]);
    return new SystemApart(new UserFolder(), nats, database);
  }

  /** Services on these servers, none of them started. */
  services(place: Pick<ServicesPlace, 'token'> & Partial<ServicesPlace>): Services {
    const { user, database, nats } = this;
    const services = new Services({ folder: user.folder('services'), database_url: database.url, nats_url: nats.url, ...place });
    this.alsoEnd(() => services.stop('SIGKILL'));
    return services;
  }

  /** Has it ended before everything that there was before it. */
  alsoEnd(end: () => unknown): void {
    this.ends.push(end);
  }

  /** Ends everything, the last first. What can't be ended keeps nothing else from it; the first of their errors is thrown. */
  async remove(): Promise<void> {
    const errors: unknown[] = [];
    for (const end of this.ends.reverse()) {
      try {
        await end();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  /** Waits for the sign by which the state machine judges those that are silent: before it nobody is. */
  clientsAreHeard(): Promise<void> {
    const sql = 'SELECT 1 FROM service_instance WHERE service = ?';
    return until('clients are heard', async () => (await this.database.read(sql, [CLIENTS_HEARD])).length > 0, HEARD_MS_MAX);
  }
}

/**
 * Has triggers of the database write each change of a status into the table `witnessed` (kind: the table, row_id, was, became, at: UTC), of which
 * the services know nothing. On MariaDB.
 */
export async function witnessStatuses(database: Database, tables: readonly string[]): Promise<void> {
  await execute(
    database,
    'CREATE TABLE witnessed (id INT AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(16), row_id INT, was CHAR(1), became CHAR(1), at DATETIME)',
  );
  for (const table of tables)
    await execute(
      database,
      `CREATE TRIGGER witness_${table} AFTER UPDATE ON ${table} FOR EACH ROW INSERT INTO witnessed (kind, row_id, was, became, at) ` +
        `SELECT '${table}', NEW.id, OLD.status, NEW.status, UTC_TIMESTAMP() FROM DUAL WHERE OLD.status <> NEW.status`,
    );
}
