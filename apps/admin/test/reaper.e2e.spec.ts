/**
 * Reapers as processes of their own beside a state machine and an api that comes late: an agent that nobody could hear keeps what it holds, one
 * that is silent while it could be heard loses it, and a reaper that is killed is replaced by the one that waited.
 */
import { BUS_SERVICES, natsAccounts } from '@jobmon/messaging';
import {
  describeApart,
  insertWorkflow,
  SystemApart,
  until,
  type NatsProcess,
  type Services,
  type TestDatabase,
} from '@jobmon/testkit';
import { typed } from './typed';

const LEASE_SECONDS = 3;
const passwordOf = (service: string): string => `of ${service}`;
/** Each service has an account that may do what it needs, and nobody else may do anything. */
const ACCOUNTS = natsAccounts(Object.fromEntries(BUS_SERVICES.map((name) => [name, passwordOf(name)])) as never);

describeApart('reapers apart', (mariadb) => {
  let system: SystemApart;
  let nats: NatsProcess;
  let services: Services;
  let database: TestDatabase;
  beforeAll(async () => {
    system = await SystemApart.open(mariadb, ACCOUNTS);
    ({ nats, database } = system);
    services = system.services({
      nats_password: passwordOf,
      token: 'token-of-reapers-apart',
      env: { JOBMON__AGENT__LEASE_SECONDS: String(LEASE_SECONDS) },
    });
    await services.start({ 'state-machine': 1, reaper: 2 });
  }, 120_000);
  afterAll(() => system?.remove(), 120_000);

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
  /** By the reaper's account, unless another one is named; `null`: by none. */
  const onceAs = (user: string | null, ...flags: string[]) => {
    const settings = {
      JOBMON__NATS__URL: nats.url,
      JOBMON__AGENT__LEASE_SECONDS: String(LEASE_SECONDS),
      ...(user !== null && { JOBMON__NATS__USER: user, JOBMON__NATS__PASSWORD: passwordOf(user) }),
    };
    Object.assign(process.env, settings);
    return typed('reaper', 'once', '--db', database.url, ...flags).finally(() => {
      for (const name of Object.keys(settings)) delete process.env[name];
    });
  };
  const once = (...flags: string[]) => onceAs('reaper', ...flags);

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

  it('says what is wrong and what to do when the bus does not let it, or nobody takes what it asks', async () => {
    const agent = await silentAgent();
    const { workflow_run_id } = await insertWorkflow(database, { driver: 'client', deadline_seconds: -1 });
    // To look needs no bus.
    expect((await onceAs(null, '--dry-run')).out).toMatch(new RegExp(`^agent ${agent}: .*\nworkflow_run ${workflow_run_id}: `));
    const stranger = await onceAs(null);
    expect([stranger.code, stranger.err]).toEqual([
      1,
      `Error: NATS at ${nats.url} refuses the credentials: see to nats.user and nats.password, nats.token or nats.credentials_file\n`,
    ]);
    const other = await onceAs('scheduler');
    expect([other.code, other.out, other.err]).toEqual([
      1,
      expect.stringMatching(/\nDone: attempts ended 0, past a deadline still 2\.\n$/),
      expect.stringMatching(
        new RegExp(
          `^Error: agent ${agent} and 1 more could not be ended: this process may not ask for agent.expire: .*; ` +
            "nats.user lacks the right: name the reaper's account by JOBMON__NATS__USER and JOBMON__NATS__PASSWORD",
        ),
      ),
    ]);
    const told = JSON.parse((await onceAs('scheduler', '-o', 'json')).out) as { failed: { id: number; code: string }[] };
    expect(told.failed).toEqual([
      { of: 'agent', id: agent, code: 'FORBIDDEN', reason: expect.stringMatching(/agent\.expire/) },
      { of: 'workflow_run', id: workflow_run_id, code: 'FORBIDDEN', reason: expect.stringMatching(/workflow_run\.reap/) },
    ]);
    expect(await endedAt(agent)).toBeNull();
    await Promise.all(services.alive('state-machine').map((one) => one.end()));
    const unheard = await once();
    expect([unheard.code, unheard.err]).toEqual([
      1,
      `Error: agent ${agent} could not be ended: nobody answers agent.expire; start a state machine, or wait until one is ready, and try again\n`,
    ]);
    await services.start({ 'state-machine': 1 });
    const done = await insertWorkflow(database, {
      driver: 'client',
      run_status: 'E',
      workflow_status: 'F',
      task_status: 'D',
      instance_status: 'D',
    });
    expect(await once()).toMatchObject({ code: 0, err: '', out: expect.stringMatching(/still 0\.\n$/) });
    const sql = 'SELECT status FROM workflow WHERE id = ?';
    expect(await database.read(sql, [done.workflow_id])).toEqual([{ status: 'D' }]);
  }, 120_000);
});
