/** What a pass costs when much is stored: nothing more than when little is. */
import { CLIENTS_HEARD, openDatabase, type Database } from '@jobmon/entities';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import { pino } from 'pino';
import { look } from './reap';

const log = pino({ level: 'silent' });
const config = { agent: { lease_seconds: 60 } };
/** Times that each table is doubled. */
const DOUBLINGS = 12;
/** Ended a month ago. */
const LONG_AGO_SECONDS = 30 * 86_400;

describeOnDatabases('a pass over many stored rows', (database) => {
  let one: Database;
  beforeAll(async () => {
    // One connection, so that the server's account of it is the account of the pass.
    one = await openDatabase({ url: database().url, log, connections_max: 1 });
    const { now, nowPlusSeconds } = database().dialect;
    const made = await insertWorkflow(database(), {
      driver: 'client',
      run_status: 'E',
      workflow_status: 'F',
      deadline_seconds: -LONG_AGO_SECONDS,
    });
    await database().change(
      `UPDATE workflow SET status_date = ${nowPlusSeconds} WHERE id = ?`,
      -LONG_AGO_SECONDS,
      made.workflow_id,
    );
    await database().change(
      'INSERT INTO agent (hostname, `user`, any_user, clusters, state_directory, process_id, version, registered_date, lease_until_date, ended_date) ' +
        `VALUES ('host', 'ada', 0, '[]', '/', 1, '', ${now}, ${nowPlusSeconds}, ${now})`,
      -LONG_AGO_SECONDS,
    );
    // Agents and clients could be heard all day, so that who is silent is judged whenever it began.
    for (const service of ['api', CLIENTS_HEARD])
      await database().change(
        `INSERT INTO service_instance (service, instance, started_date, expires_date) VALUES ('${service}', 'a', ${nowPlusSeconds}, ${nowPlusSeconds})`,
        -86_400,
        86_400,
      );
    const columns = {
      workflow_run:
        'workflow_id, `user`, jobmon_version, jobmon_server_version, status, created_date, status_date, heartbeat_date, driver',
      workflow:
        'tool_version_id, dag_id, workflow_args_hash, task_hash, name, workflow_args, max_concurrently_running, status, created_date, status_date',
      agent:
        '`hostname`, `user`, any_user, clusters, state_directory, process_id, version, registered_date, lease_until_date, ended_date',
    };
    for (const [table, list] of Object.entries(columns)) {
      for (let i = 0; i < DOUBLINGS; i += 1)
        // Each run is of another workflow, as far as indexes are concerned.
        await database().change(
          `INSERT INTO ${table} (${list}) SELECT ${list.replace('workflow_id,', 'workflow_id + id,')} FROM ${table}`,
        );
      await database().change(`ANALYZE ${database().dialect.name === 'sqlite' ? '' : 'TABLE '}${table}`);
    }
  }, 120_000);
  afterAll(() => one?.close());

  it('finds lost runs, silent agents, what was cut off and what was left behind by indexes, and reads none of what has ended', async () => {
    const [stored] = await one.read<{ n: number }>('SELECT COUNT(*) AS n FROM workflow_run');
    expect(stored!.n).toBe(2 ** DOUBLINGS);
    const lost = await insertWorkflow(database(), { driver: 'client', deadline_seconds: -5 });
    const { statements } = one.counts;
    const asked: [string, readonly (string | number)[]][] = [];
    const watched: Pick<Database, 'dialect' | 'read'> = {
      dialect: one.dialect,
      read: (sql, params = []) => {
        asked.push([sql, params as (string | number)[]]);
        return one.read(sql, params);
      },
    };
    const readBefore = await rowsRead(one);
    const found = await look({ database: watched as Database, config }, ['pass', 'hour']);
    const readAfter = await rowsRead(one);
    expect(found.flatMap((each) => each.found.map(({ of, id }) => [of, id]))).toEqual([['workflow_run', lost.workflow_run_id]]);
    // One statement a rule, and two that ask since when the api has been there, and since when it could hand on what clients say.
    expect(asked).toHaveLength(found.length + 2);
    if (one.dialect.name === 'mariadb') {
      expect(one.counts.statements - statements).toBe(asked.length + 2);
      expect(readAfter - readBefore).toBeLessThan(400);
      return;
    }
    for (const [sql, params] of asked) {
      const plan = await one.read<{ detail: string }>(`EXPLAIN QUERY PLAN ${sql}`, params);
      const scanned = plan.filter(({ detail }) => /^SCAN/.test(detail) && !/workflow_command|service_instance/.test(detail));
      expect(scanned.map(({ detail }) => detail)).toEqual([]);
    }
  }, 60_000);
});

/** Rows that the connection has read, by the server's own account, beside those of the account itself. SQLite keeps none. */
async function rowsRead(one: Database): Promise<number> {
  if (one.dialect.name === 'sqlite') return 0;
  const rows = await one.read<{ Variable_name: string; Value: string }>("SHOW SESSION STATUS LIKE 'Handler_read%'");
  return rows.reduce((sum, { Value }) => sum + Number(Value), 0);
}
