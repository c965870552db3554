/**
 * The services as processes of their own, two of each, on a MariaDB and a NATS: they wait for what is not there yet, run workflows of
 * both protocols, lose nothing when any of them is killed, and end in order.
 *
 * One of each two has a clock that is ten minutes ahead and another time zone, and both have the same instance id: the database's
 * clock is the only one, and no id that a person gives has to be unique. NATS has accounts, one for each service.
 */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Writable } from 'node:stream';
import { promisify } from 'node:util';
import { openDatabase, type Database } from '@jobmon/entities';
import { BUS_SERVICES, natsAccounts } from '@jobmon/messaging';
import {
  buildHouse,
  describeApart,
  insertWorkflow,
  NatsProcess,
  ROOT,
  Services,
  TcpProxy,
  until,
  UserFolder,
  type DatabaseKind,
  type InsertedWorkflow,
  type ServiceProcess,
  freePort,
} from '@jobmon/testkit';
import { pino } from 'pino';
import { runDemonstration } from '../src/demonstration';
import { AgentProcess } from './agent-process';
import { brokenRules, readWitness, submitWitnessed } from './witnessed-workflow';

const TOKEN = 'token-of-the-services-apart';
const passwordOf = (service: string): string => `of ${service}`;
const STOP_MS_MAX = 20_000;
const SILENT = pino({ level: 'silent' });

describeApart('the services apart', (mariadb) => {
  let place: Awaited<ReturnType<DatabaseKind['place']>>;
  let user: UserFolder;
  let nats: NatsProcess;
  /** Between the services and their database. */
  let wire: TcpProxy;
  let services: Services;
  let agent: AgentProcess;
  let database: Database;
  /** Of the first api, which the agent asks. */
  let port: number;

  /** The first has the api's fixed port, the second one a strange clock. */
  const beginPair = (name: Parameters<Services['begin']>[0]): void => {
    const same = { JOBMON__SERVICE__INSTANCE_ID: `${name}-of-a-pair` };
    const shift = path.join(user.path, 'shift.cjs');
    services.begin(name, { ...same, JOBMON__HTTP__PORT: String(port) });
    services.begin(name, { ...same, TZ: 'Asia/Kolkata', NODE_OPTIONS: `--require ${shift}` });
  };
  const post = async (api: string, route: string, body: unknown): Promise<{ status: number; json: unknown }> => {
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${api}/api/v3${route}`, { method: 'POST', headers, body: JSON.stringify(body) });
    return { status: answer.status, json: await answer.json() };
  };
  const apis = (): string[] => services.alive('api').map((api) => api.url!);
  const statuses = async (made: InsertedWorkflow): Promise<string> => {
    const sql = 'SELECT status, COUNT(*) AS n FROM task_instance WHERE workflow_run_id = ? GROUP BY status ORDER BY status';
    const rows = await database.read<{ status: string; n: number }>(sql, [made.workflow_run_id]);
    return rows.map(({ status, n }) => `${n} ${status}`).join(', ');
  };

  beforeAll(async () => {
    buildHouse();
    user = new UserFolder();
    const ahead = `const now = Date.now; Date.now = () => now() + 600_000; const D = Date;
      globalThis.Date = class extends D { constructor(...args) { super(...(args.length === 0 ? [D.now()] : args)); } };`;
    writeFileSync(path.join(user.path, 'shift.cjs'), ahead);
    place = await mariadb.place();
    // Each service has no more rights than it needs: what it lacks would show.
    nats = await NatsProcess.start(
      natsAccounts(Object.fromEntries(BUS_SERVICES.map((name) => [name, passwordOf(name)])) as never),
    );
    await nats.kill();
    wire = await TcpProxy.to(place.url);
    await wire.cut();
    port = await freePort();
    services = new Services({
      folder: user.folder('services'),
      database_url: wire.url(place.url),
      nats_url: nats.url,
      nats_password: passwordOf,
      token: TOKEN,
    });
  }, 120_000);
  afterAll(async () => {
    await agent?.end('SIGKILL');
    await services?.stop('SIGKILL');
    await database?.close();
    await wire?.close();
    await nats?.remove();
    await user?.remove();
    await place?.remove();
  }, 120_000);

  it('start in any order, wait for bus, database and schema, and say what is missing', async () => {
    for (const name of ['scheduler', 'api', 'reaper', 'log-sink', 'state-machine'] as const) beginPair(name);
    const all = services.processes;
    await Promise.all(all.map((one) => one.said(/waits for the bus: NATS at .* does not answer: start nats-server/, 60_000)));
    await Promise.all(all.map((one) => one.said(/waits for the database: .* start it, or correct host and port/, 60_000)));
    const missing = await all[0]!.readiness();
    expect(missing).toEqual({
      status: 503,
      details: expect.objectContaining({
        service: { status: 'down', cause: 'it waits for what it needs' },
        bus: { status: 'down', cause: expect.stringMatching(/does not answer/) },
        database: { status: 'down', cause: expect.stringMatching(/no database server answers/) },
        migrations: { status: 'down', cause: 'it needs the database first' },
        event_loop: { status: 'up' },
      }),
    });
    expect((await fetch(`${all[0]!.service_url}/health/live`)).status).toBe(200);

    await Promise.all([nats.startAgain(), wire.mend()]);
    await Promise.all(
      all.map((one) => one.said(/waits for the database: the schema of .* run jobmon-server db migrate/, 60_000)),
    );
    expect((await all[0]!.readiness())?.details).toMatchObject({
      database: { status: 'up' },
      migrations: { status: 'down', cause: expect.stringMatching(/run jobmon-server db migrate/) },
    });
    const admin = path.join(ROOT, 'dist', 'apps', 'admin', 'main.js');
    const migrated = await promisify(execFile)(process.execPath, [admin, 'db', 'migrate', '--db', place.url]);
    expect(migrated.stderr).toMatch(/\nMigrated: the schema has version \d+\.\n$/);
    await Promise.all(all.map((one) => one.ready()));
    database = await openDatabase({ url: place.url, log: SILENT });

    // Once for each state, however often it was tried.
    for (const { instance, lines } of all) {
      const told = lines.filter(({ message }) => /^waits for the bus/.test(message)).length;
      expect([instance, told]).toEqual([instance, 1]);
    }
  }, 180_000);

  it('runs the six tasks of the demonstration with an agent at one api and the SDK at the other', async () => {
    agent = AgentProcess.begin({ user, port, token: TOKEN }, 'agent', ['--cores', '4'], {
      env: { JOBMON__AGENT__LEASE_SECONDS: '60' },
    });
    await agent.joined();
    const out = new Writable({ write: (_chunk, _encoding, done) => done() }) as unknown as NodeJS.WriteStream;
    const other = services.alive('api')[1]!.url!;
    const options = { url: other, token: TOKEN, working_directory: user.folder('six'), database: place.url, log: '-' };
    expect(await runDemonstration(options, out)).toMatchObject({ all_done: true });
  }, 120_000);

  it('serves a Python client: its requests go to the apis in turn', async () => {
    const made = await insertWorkflow(database, { tasks: 3, driver: 'client', workflow_status: 'R' });
    const { array_id, task_ids, task_resources_id, workflow_run_id } = made;
    let turn = 0;
    const ask = async (route: string, body: unknown): Promise<unknown> => {
      const urls = apis();
      turn += 1;
      const { status, json } = await post(urls[turn % urls.length]!, route, body);
      expect([route, status]).toEqual([route, 200]);
      return json;
    };
    await ask(`/array/${array_id}/queue_task_batch`, { task_ids, task_resources_id, workflow_run_id });
    const queued = await database.read<{ id: number }>('SELECT id FROM task_instance WHERE workflow_run_id = ?', [
      workflow_run_id,
    ]);
    const ids = queued.map(({ id }) => id);
    expect(ids).toHaveLength(3);
    await ask('/task_instance/instantiate_task_instances', { task_instance_ids: ids });
    await ask(`/array/${array_id}/transition_to_launched`, { batch_number: 1, next_report_increment: 90 });
    await ask(`/array/${array_id}/log_distributor_id`, Object.fromEntries(ids.map((id) => [id, `job-${id}`])));
    for (const id of ids)
      await ask(`/task_instance/${id}/log_running`, { process_group_id: 1, next_report_increment: 90, nodename: 'n' });
    await ask('/task_instance/log_report_by/batch', { next_report_increment: 90, task_instance_ids: ids });
    expect(await ask(`/task_instance/${ids[0]}/log_done`, { stdout_log: 'fine' })).toEqual({ status: 'D' });
    expect(await ask(`/task_instance/${ids[0]}/log_done`, { stdout_log: 'again' })).toEqual({ status: 'D' });
    await ask(`/task_instance/${ids[1]}/log_done`, {});
    await ask(`/task_instance/${ids[2]}/log_error_worker_node`, { error_state: 'E', error_description: 'it broke' });
    expect(await statuses(made)).toBe('2 D, 1 E');
  }, 60_000);

  it('loses nothing when each of them is killed in the middle, and NATS with its store', async () => {
    const TASKS = 80;
    const run = await submitWitnessed(user, services.connection(services.alive('api')[1]), {
      tasks: TASKS,
      width: 10,
      seconds: (position) => (position % 5 === 0 ? 0.6 : 0.1),
    });
    const starts = (): number => readWitness(user).filter((line) => line.what === 'start').length;
    const kills = ['state-machine', 'scheduler', 'reaper', 'log-sink', 'api'] as const;
    for (const [index, name] of kills.entries()) {
      const enough = Math.floor(((index + 1) * TASKS) / (kills.length + 2));
      await until(`${enough} commands have started`, () => starts() >= enough, 120_000);
      // The first one: of the api it is the agent's.
      const victim = services.alive(name)[0]!;
      expect(await victim.end('SIGKILL')).toBe('SIGKILL');
      services.begin(name, name === 'api' ? { JOBMON__HTTP__PORT: String(port) } : {});
    }
    await nats.kill();
    nats.forgetAll();
    await nats.startAgain();
    const status = async (): Promise<string> =>
      (await database.read<{ status: string }>('SELECT status FROM workflow_run WHERE id = ?', [run.workflowRunId]))[0]!.status;
    await until('the run has ended', async () => !['B', 'I', 'O', 'R'].includes(await status()), 180_000);
    expect(await status()).toBe('D');
    expect(brokenRules(readWitness(user), [], TASKS)).toEqual([]);
    const attempts = await database.read<{ n: number }>('SELECT COUNT(*) AS n FROM task_instance WHERE workflow_run_id = ?', [
      run.workflowRunId,
    ]);
    expect(attempts[0]!.n).toBe(TASKS);
    // Those that were not killed found the new NATS by themselves.
    await Promise.all(services.processes.filter((one) => !one.hasEnded).map((one) => one.ready()));
  }, 300_000);

  it('live on while the database is away, say so once, and are ready when it is back', async () => {
    const all = services.processes.filter((one) => !one.hasEnded);
    await wire.cut();
    const away = async (one: ServiceProcess): Promise<string | undefined> => (await one.readiness())?.details.database?.cause;
    try {
      await until('all say that it is away', async () =>
        (await Promise.all(all.map(away))).every((cause) => cause !== undefined && /the database is away/.test(cause)),
      );
    } finally {
      await wire.mend();
    }
    await Promise.all(all.map((one) => one.ready()));
    expect(all.map((one) => one.hasEnded)).toEqual(all.map(() => false));
    for (const { instance, lines } of all) {
      const told = lines.flatMap(({ part, message }) => (part === 'database' && /^not ready/.test(message) ? [message] : []));
      expect([instance, told]).toEqual([instance, [...new Set(told)]]);
      expect(told.length).toBeGreaterThan(0);
    }
  }, 120_000);

  describe('SIGTERM under load', () => {
    const CALLS = 300;
    const CALLERS = 15;

    /** Reports the ends of all instances to these apis, many at one time, and `middle` in the middle. What became of each call. */
    const load = async (
      urls: readonly string[],
      middle: () => void,
    ): Promise<{ made: InsertedWorkflow; answers: Map<number, number> }> => {
      const made = await insertWorkflow(database, {
        tasks: CALLS,
        driver: 'client',
        task_status: 'R',
        instance_status: 'R',
        workflow_status: 'R',
      });
      /** HTTP status by instance; 0: no answer, as when nobody listens any more. */
      const answers = new Map<number, number>();
      const waiting = [...made.task_instance_ids];
      const caller = async (number: number): Promise<void> => {
        for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) {
          const url = urls[number % urls.length]!;
          const status = await post(url, `/task_instance/${id}/log_done`, {}).then(
            (answer) => answer.status,
            () => 0,
          );
          answers.set(id, status);
          if (answers.size === CALLS / 3) middle();
        }
      };
      await Promise.all(Array.from({ length: CALLERS }, (_, number) => caller(number)));
      return { made, answers };
    };

    /** Sends SIGTERM and answers the exit code and whether it came in time. */
    const stop = async (one: ServiceProcess): Promise<[number | NodeJS.Signals, boolean]> => {
      const since = performance.now();
      const code = await one.end('SIGTERM');
      return [code, performance.now() - since < STOP_MS_MAX];
    };

    it('of a state machine is noticed by nobody: every call is answered and done', async () => {
      const victim = services.alive('state-machine')[0]!;
      let stopped: ReturnType<typeof stop> | undefined;
      const { made, answers } = await load(apis(), () => (stopped = stop(victim)));
      expect(await stopped).toEqual([0, true]);
      expect(new Set(answers.values())).toEqual(new Set([200]));
      expect(await statuses(made)).toBe(`${CALLS} D`);
      await victim.said(/^stopped$/);
    }, 120_000);

    it('of an api: what it accepted is answered and done, and the other api does not notice', async () => {
      const [victim, other] = services.alive('api') as [ServiceProcess, ServiceProcess];
      const url = other.url!;
      let stopped: ReturnType<typeof stop> | undefined;
      const { made, answers } = await load([victim.url!, url], () => (stopped = stop(victim)));
      expect(await stopped).toEqual([0, true]);
      const unheard = [...answers].filter(([, status]) => status !== 200);
      // Refused or never taken: whoever was not answered sends it again, and finds whatever stands.
      expect(unheard.filter(([, status]) => status !== 0 && status !== 503)).toEqual([]);
      for (const [id] of unheard) expect(await post(url, `/task_instance/${id}/log_done`, {})).toMatchObject({ status: 200 });
      expect(await statuses(made)).toBe(`${CALLS} D`);
    }, 120_000);

    it('of all that are left ends each in order, also when neither database nor bus is there', async () => {
      await agent.end('SIGKILL');
      const left = services.processes.filter((one) => !one.hasEnded);
      expect(left.length).toBeGreaterThan(7);
      const metrics = services.alive('state-machine')[0]!;
      expect(await metrics.metric('jobmon_transitions_total', { to: 'D' })).toBeGreaterThan(0);
      const [some, others] = [left.filter((_, index) => index % 2 === 0), left.filter((_, index) => index % 2 === 1)];
      expect(await Promise.all(some.map(stop))).toEqual(some.map(() => [0, true]));
      await Promise.all([wire.cut(), nats.kill()]);
      expect(await Promise.all(others.map(stop))).toEqual(others.map(() => [0, true]));
      await Promise.all([wire.mend(), nats.startAgain()]);
      for (const { instance, lines } of left) {
        const defects = lines.filter(({ level }) => level === 'fatal' || level === 'none').map(({ message }) => message);
        expect([instance, defects]).toEqual([instance, []]);
      }
    }, 120_000);
  });

  describe('what waiting can not help', () => {
    const ends = async (name: Parameters<Services['begin']>[0], env: NodeJS.ProcessEnv, args: string[] = []): Promise<string> => {
      const one = services.begin(name, env, args);
      expect(await one.ended).toBe(1);
      const { level, message } = one.lines.at(-1)!;
      expect(level).toBe('fatal');
      return message;
    };

    it('ends the process with one sentence of cause and cure', async () => {
      const sentences = await Promise.all([
        ends('state-machine', { JOBMON__DB__URL: 'sqlite:/tmp/x.sqlite' }),
        ends('api', { JOBMON__HTTP__TOKEN: '' }),
        ends('api', { JOBMON__HTTP__HOST: '0.0.0.0' }),
        ends('reaper', { JOBMON__SERVICE__PORT: String(new URL(nats.url).port) }),
        ends('scheduler', { JOBMON__SERVICE__INSTANCE_ID: 'a b' }),
        ends('api', {}, ['--prot', '1']),
      ]);
      expect(sentences).toEqual([
        expect.stringMatching(/db\.url names a SQLite file.*set JOBMON__DB__URL/),
        expect.stringMatching(/needs a token.*set JOBMON__HTTP__TOKEN/),
        expect.stringMatching(/whoever can reach 0\.0\.0\.0 .*--open/),
        expect.stringMatching(/port \d+ of 127\.0\.0\.1 is in use: give this process another by JOBMON__SERVICE__PORT/),
        expect.stringMatching(/service\.instance_id .*must be 1 to 40 letters/),
        expect.stringMatching(/wrong command line .*--host, --port, --open/),
      ]);
    }, 60_000);

    it('is a schema of another program; a wrong password is waited for, since it can be mended', async () => {
      const wrong = new URL(place.url);
      wrong.password = 'not-this-one';
      const waiting = services.begin('state-machine', { JOBMON__DB__URL: wrong.toString() });
      await waiting.said(/waits for the database: .* refuses user 'jobmon' with this password: correct the password/);
      expect(waiting.text).not.toContain('not-this-one');
      // While it waits it ends in order all the same.
      expect(await waiting.end('SIGTERM')).toBe(0);

      const foreign = await mariadb.place();
      try {
        const made = await openDatabase({ url: foreign.url, log: SILENT });
        await made.write({ label: 'test' }, function* () {
          yield { sql: `INSERT INTO migrations (timestamp, name) VALUES (1, 'Invoices1600000000000')` };
          yield { sql: `UPDATE schema_rule SET needs_migration = 'Invoices1600000000000'` };
        });
        await made.close();
        expect(await ends('state-machine', { JOBMON__DB__URL: foreign.url })).toMatch(
          /schema of .* is newer than this program knows/,
        );
      } finally {
        await foreign.remove();
      }
    }, 60_000);

    it('left no secret in any log', () => {
      for (const { log_file } of services.processes) expect(readFileSync(log_file, 'utf8')).not.toContain(TOKEN);
    });
  });
});
