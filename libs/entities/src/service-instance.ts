/** Signs of life of services, and the rule which programs may work on the schema. */
import { Entity } from 'typeorm';
import { DateTime, IntKey, Varchar, VarcharKey } from './columns';
import type { Database, Procedure } from './database';

/** Ours. One process of a service, and since when it has been there without a break. */
@Entity('service_instance')
export class ServiceInstance {
  /** A folder of `apps/`, or `CLIENTS_HEARD`. */
  @VarcharKey(32) service: string;
  @VarcharKey(150) instance: string;
  /** When it came, or came back after its sign of life had expired. */
  @DateTime() started_date: string;
  /** From here on it counts as away. */
  @DateTime() expires_date: string;
}

/** Ours. One row: what a program must know to work on this schema. */
@Entity('schema_rule')
export class SchemaRule {
  @IntKey() id: number;
  /** Name of the migration. */
  @Varchar(150) needs_migration: string;
  /** The first release that knows it. */
  @Varchar(50) oldest_release: string;
}

/**
 * The `service` of signs that an api leaves when a client's beat would be taken: by itself, the bus, a state machine and the database.
 */
export const CLIENTS_HEARD = 'client-runs';

/** Rows of processes that have been away for so long go with the next sign of anybody. */
const FORGOTTEN_SECONDS = 86_400;

export interface Sign {
  readonly service: string;
  readonly instance: string;
  /** Until the next sign must have come. */
  readonly seconds: number;
}

/**
 * Leaves a sign of life, or renews it. One whose sign had expired was away (stopped, cut off from the database, or it was the database that was
 * away) and begins anew. Two statements and one short transaction.
 */
export function signOfLife(database: Database, { service, instance, seconds }: Sign): Promise<void> {
  const { dialect } = database;
  const [started, expires] = [dialect.inserted('started_date'), dialect.inserted('expires_date')];
  return database.write({ label: 'service_instance.sign' }, function* (): Procedure<void> {
    yield {
      sql:
        'INSERT INTO service_instance (service, instance, started_date, expires_date) ' +
        `VALUES (?, ?, ${dialect.now}, ${dialect.nowPlusSeconds}) ` +
        dialect.onDuplicate(
          ['service', 'instance'],
          `started_date = CASE WHEN service_instance.expires_date < ${dialect.now} THEN ${started} ELSE service_instance.started_date END, ` +
            `expires_date = ${expires}`,
        ),
      params: [service, instance, seconds],
    };
    yield {
      sql: `DELETE FROM service_instance WHERE service = ? AND expires_date < ${dialect.nowPlusSeconds}`,
      params: [service, -FORGOTTEN_SECONDS],
    };
  });
}

/** Takes a sign of life back: the process leaves on purpose, at this moment. Until now it was there, so its row stays. */
export function signOff(database: Database, { service, instance }: Omit<Sign, 'seconds'>): Promise<void> {
  const { dialect } = database;
  return database.write({ label: 'service_instance.sign_off' }, function* (): Procedure<void> {
    yield {
      sql: `UPDATE service_instance SET expires_date = ${dialect.now} WHERE service = ? AND instance = ? AND expires_date > ${dialect.now}`,
      params: [service, instance],
    };
  });
}

/**
 * For how many seconds a service has been there without a break, by the database's clock: some process of it at each moment from then until
 * now, not always the same one. 0 when none is there now. Costs by the processes of a day.
 */
export async function servedSeconds(database: Database, service: string): Promise<number> {
  const { dialect } = database;
  const age = (column: string): string =>
    dialect.name === 'sqlite'
      ? `CAST(strftime('%s', ${dialect.now}) - strftime('%s', ${column}) AS INTEGER)`
      : `TIMESTAMPDIFF(SECOND, ${column}, ${dialect.now})`;
  const rows = await database.read<{ started: number; expired: number }>(
    `SELECT ${age('started_date')} AS started, ${age('expires_date')} AS expired FROM service_instance WHERE service = ? ORDER BY expires_date DESC`,
    [service],
  );
  // From now backwards: what came earlier and was there until here or longer goes further back.
  let since = 0;
  for (const { started, expired } of rows) {
    if (expired > since) break;
    since = Math.max(since, started);
  }
  return since;
}

/** Whether this process is the one of its service that works while the others wait: of those that are there the one that has been for longest. */
export async function isEldest(database: Database, { service, instance }: Omit<Sign, 'seconds'>): Promise<boolean> {
  const [eldest] = await database.read<{ instance: string }>(
    `SELECT instance FROM service_instance WHERE service = ? AND expires_date > ${database.dialect.now} ORDER BY started_date, instance LIMIT 1`,
    [service],
  );
  return eldest === undefined || eldest.instance === instance;
}
