/**
 * Reapers as processes of their own beside a state machine and an api that comes late: an agent that nobody could hear keeps what it holds, one
 * that is silent while it could be heard loses it, and a reaper that is killed is replaced by the one that waited.
 */
import { openDatabase, type Database } from '@jobmon/entities';
import {
  buildHouse,
  describeApart,
  insertWorkflow,
  NatsProcess,
  Services,
  until,
  UserFolder,
  type DatabaseKind,
} from '@jobmon/testkit';
import { pino } from 'pino';
import { typed } from './typed';

const LEASE_SECONDS = 3;

describeApart('reapers apart', (mariadb) => {
  let place: Awaited<ReturnType<DatabaseKind['place']>>;
  let user: UserFolder;
  let nats: NatsProcess;
  let services: Services;
  let database: Database;
  beforeAll(async () => {
    buildHouse();
    [place, nats, user] = [await mariadb.place(), await NatsProcess.start(), new UserFolder()];
    services = new Services({
      folder: user.folder('services'),
      database_url: place.url,
      nats_url: nats.url,
      token: 'token-of-reapers-apart',
      env: { JOBMON__AGENT__LEASE_SECONDS: String(LEASE_SECONDS) },
    });
    await services.migrate();
    database = await openDatabase({ url: place.url, log: pino({ level: 'silent' }) });
    await services.start({ 'state-machine': 1, reaper: 2 });
  }, 120_000);
  afterAll(async () => {
    await services?.stop('SIGKILL');
    await database?.close();
    await nats?.remove();
    await user?.remove();
    await place?.remove();
  }, 60_000);

  const change = (sql: string, ...params: (string | number)[]) =>
    database.write({ label: 'test' }, function* () {
      return (yield { sql, params }).insert_id;
    });
  const silentAgent = async (): Promise<number> => {
    const { now, nowPlusSeconds } = database.dialect;
    const agent_id = await change(
      'INSERT INTO agent (hostname, `user`, any_user, clusters, state_directory, process_id, version, registered_date, lease_until_date) ' +
        `VALUES ('node7', 'ada', 0, '["sequential"]', '/', 1, '', ${now}, ${nowPlusSeconds})`,
      -1,
    );
    await insertWorkflow(database, { agent_id, instance_status: 'R', task_status: 'R' });
    return agent_id;
  };
  const endedAt = async (id: number): Promise<string | null> =>
    (await database.read<{ ended_date: string | null }>('SELECT ended_date FROM agent WHERE id = ?', [id]))[0]!.ended_date;
  const signs = (service: string) =>
    database.read<{ instance: string; started_date: string; expires_date: string }>(
      `SELECT instance, started_date, expires_date FROM service_instance WHERE service = ? AND expires_date > ${database.dialect.now}
        ORDER BY started_date, instance`,
      [service],
    );
  const once = (...flags: string[]) => {
    process.env['JOBMON__NATS__URL'] = nats.url;
    process.env['JOBMON__AGENT__LEASE_SECONDS'] = String(LEASE_SECONDS);
    return typed('reaper', 'once', '--db', place.url, ...flags).finally(() => {
      delete process.env['JOBMON__NATS__URL'];
      delete process.env['JOBMON__AGENT__LEASE_SECONDS'];
    });
  };

  it('spare an agent while no api could hear it, and end it when one has been there for a whole lease', async () => {
    await until('both leave signs', async () => (await signs('reaper')).length === 2);
    const agent = await silentAgent();
    const [before] = await signs('reaper');
    await until('two passes', async () => (await signs('reaper'))[0]!.expires_date > before!.expires_date);
    expect(await endedAt(agent)).toBeNull();
    expect((await once('--dry-run')).out).toMatch(/silent agents: none is ended, since no api has been there for a whole lease/);

    await services.start({ api: 1 });
    await until('the end of the agent', async () => (await endedAt(agent)) !== null, 60_000);
    const [api] = await signs('api');
    expect(Date.parse((await endedAt(agent))!) - Date.parse(api!.started_date)).toBeGreaterThanOrEqual(LEASE_SECONDS * 1_000);
  }, 120_000);

  it('are replaced: the elder is killed, and the other one ends what is lost, within seconds of its deadline', async () => {
    const eldest = (await signs('reaper'))[0]!.instance;
    const elder = services.alive('reaper').find(({ instance }) => eldest.startsWith(`${instance}/`))!;
    expect(await elder.end('SIGKILL')).toBe('SIGKILL');
    const agent = await silentAgent();
    const lost = await insertWorkflow(database, { driver: 'client', deadline_seconds: -1 });
    const began = Date.now();
    await until('the end of the agent', async () => (await endedAt(agent)) !== null, 60_000);
    const run = () => database.read<{ status: string }>('SELECT status FROM workflow_run WHERE id = ?', [lost.workflow_run_id]);
    await until('the end of the run', async () => (await run())[0]!.status === 'E', 60_000);
    // The sign of the killed one lasts for three seconds, and a pass comes each second.
    expect(Date.now() - began).toBeLessThan(30_000);
  }, 150_000);

  it('are not needed for a pass by hand, over the bus', async () => {
    expect(await services.alive('reaper')[0]!.end()).toBe(0);
    expect(await signs('reaper')).toEqual([]);
    const agent = await silentAgent();
    const { code, out, err } = await once();
    expect([code, err, out]).toEqual([
      0,
      '',
      expect.stringMatching(/its lease ended at .*\nDone: attempts ended 1, past a deadline still 0\.\n$/),
    ]);
    expect(await endedAt(agent)).not.toBeNull();
    expect((await once('--dry-run')).out).toBe('Nothing is past its deadline.\n');
  }, 60_000);
});
