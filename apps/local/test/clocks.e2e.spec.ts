/**
 * Services whose names and clocks do not agree: two of each with one instance id, one with a clock five minutes ahead, the other five minutes
 * behind, each in another time zone, an agent that is behind too, on a database in a third time zone. The database's clock, in UTC, is
 * the only one: nothing ends early, nothing ends late, and every date is right.
 */
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Tool } from '@jobmon/client';
import { openDatabase, type Database } from '@jobmon/entities';
import { buildHouse, describeApart, freePort, MariadbProcess, NatsProcess, Services, until, UserFolder } from '@jobmon/testkit';
import { pino } from 'pino';
import { AgentProcess } from './agent-process';

const TOKEN = 'token-of-the-clocks';
const APART_S = 300;
/** A busy machine must not make an agent silent for two thirds of it, which is when it kills its commands. */
const LEASE_S = 9;
/** Less than the clocks are apart, enough for a slow machine, and more than any date is ahead: a run's next report, 93 s. */
const SLACK_S = 150;

describeApart('services that do not agree', () => {
  let user: UserFolder;
  let server: MariadbProcess;
  let nats: NatsProcess;
  let services: Services;
  let database: Database;
  let agent: AgentProcess;
  let port: number;
  /** UTC, by the database, before anything was written. */
  let begun: string;

  const clock = (seconds: number): NodeJS.ProcessEnv => ({
    TZ: seconds > 0 ? 'Asia/Kolkata' : 'America/St_Johns',
    NODE_OPTIONS: `--require ${path.join(user.path, `${seconds}.cjs`)}`,
  });
  const run = async (name: string, commands: readonly string[]): Promise<number> => {
    const tool = new Tool(name, { connection: services.connection(), defaultClusterName: 'multiprocess' });
    const workflow = tool.createWorkflow({ name });
    const template = tool.getTaskTemplate('command', '{command}');
    for (const [position, command] of commands.entries())
      workflow.addTask(template.createTask({ command }, { name: `task_${position}`, maxAttempts: 1 }));
    return (await workflow.submit({ workingDirectory: user.path })).workflowRunId!;
  };
  const statusOf = async (id: number): Promise<string> =>
    (await database.read<{ status: string }>('SELECT status FROM workflow_run WHERE id = ?', [id]))[0]!.status;
  const attemptsOf = async (id: number): Promise<{ status: string; n: number }[]> =>
    database.read('SELECT status, COUNT(*) AS n FROM task_instance WHERE workflow_run_id = ? GROUP BY status', [id]);
  const done = (id: number): Promise<void> =>
    until(`run ${id} is done`, async () => !['G', 'B', 'I', 'O', 'R'].includes(await statusOf(id)), 120_000);

  beforeAll(async () => {
    buildHouse();
    user = new UserFolder();
    for (const seconds of [APART_S, -APART_S]) {
      const shift = `const now = Date.now; Date.now = () => now() + ${seconds * 1_000}; const D = Date;
        globalThis.Date = class extends D { constructor(...args) { super(...(args.length === 0 ? [D.now()] : args)); } };`;
      writeFileSync(path.join(user.path, `${seconds}.cjs`), shift);
    }
    [server, nats] = await Promise.all([MariadbProcess.start('--default-time-zone=+09:00'), NatsProcess.start()]);
    database = await openDatabase({ url: server.url, log: pino({ level: 'silent' }) });
    begun = (await database.read<{ now: string }>('SELECT UTC_TIMESTAMP() AS now'))[0]!.now;
    port = await freePort();
    services = new Services({
      folder: user.folder('services'),
      database_url: server.url,
      nats_url: nats.url,
      token: TOKEN,
      env: { JOBMON__SERVICE__INSTANCE_ID: 'twin', JOBMON__AGENT__LEASE_SECONDS: String(LEASE_S) },
    });
    services.begin('api', { ...clock(APART_S), JOBMON__HTTP__PORT: String(port) });
    for (const seconds of [APART_S, -APART_S])
      for (const name of ['state-machine', 'scheduler', 'reaper'] as const) services.begin(name, clock(seconds));
    await Promise.all(services.processes.map((one) => one.ready()));
    agent = AgentProcess.begin({ user, port, token: TOKEN }, 'agent', ['--cores', '4'], {
      env: { ...clock(-APART_S), JOBMON__AGENT__LEASE_SECONDS: String(LEASE_S) },
    });
    await agent.joined();
  }, 120_000);
  afterAll(async () => {
    await agent?.end('SIGKILL');
    await services?.stop('SIGKILL');
    await database?.close();
    await Promise.all([server?.remove(), nats?.remove()]);
    await user?.remove();
  }, 120_000);

  it('two services of one instance id share the work, and the rows tell them apart', async () => {
    const runs = await Promise.all(['one', 'two', 'three'].map((name) => run(name, ['echo 1', 'echo 2', 'echo 3'])));
    await Promise.all(runs.map(done));
    for (const id of runs) expect([await statusOf(id), await attemptsOf(id)]).toEqual(['D', [{ status: 'D', n: 3 }]]);
    const named = await database.read<{ service: string; instance: string }>(
      `SELECT service, instance FROM service_instance WHERE service = 'reaper' UNION ALL SELECT 'scheduler', instance FROM scheduler
        ORDER BY service, instance`,
    );
    const twin = expect.stringMatching(/^twin\/[0-9a-f]{8}$/);
    expect(named.map(({ service, instance }) => [service, instance])).toEqual([
      ['reaper', twin],
      ['reaper', twin],
      ['scheduler', twin],
      ['scheduler', twin],
    ]);
    expect(new Set(named.map(({ instance }) => instance)).size).toBe(4);
  }, 120_000);

  it('clocks apart by five minutes: no deadline comes early, and none comes late', async () => {
    // Longer than the lease: a reaper five minutes ahead would have given it to another.
    const long = await run('long', [`sleep ${LEASE_S + 2}`]);
    const file = path.join(user.path, 'started');
    const lost = await run('lost', [`touch ${file}; sleep 600`]);
    await done(long);
    expect([await statusOf(long), await attemptsOf(long)]).toEqual(['D', [{ status: 'D', n: 1 }]]);
    await until('the other one has started', () => existsSync(file), 60_000);
    // By the database's clock it is lost a lease after the last word of its agent; to one that is behind it would be five minutes later.
    await agent.end('SIGKILL');
    const since = performance.now();
    await done(lost);
    const waited_s = (performance.now() - since) / 1_000;
    expect([await statusOf(lost), await attemptsOf(lost)]).toEqual(['E', [{ status: expect.any(String), n: 1 }]]);
    expect([waited_s > LEASE_S / 2, waited_s < SLACK_S]).toEqual([true, true]);
  }, 240_000);

  it('a database in another time zone holds UTC in every date', async () => {
    const columns = await database.read<{ tab: string; col: string }>(
      `SELECT TABLE_NAME AS tab, COLUMN_NAME AS col FROM information_schema.COLUMNS
        WHERE TABLE_SCHEMA = DATABASE() AND DATA_TYPE IN ('datetime', 'timestamp')`,
    );
    expect(columns.length).toBeGreaterThan(20);
    const wrong: unknown[] = [];
    let filled = 0;
    for (const { tab, col } of columns) {
      const [row] = await database.read<{ n: number; early: number | null; late: number | null }>(
        `SELECT COUNT(\`${col}\`) AS n, TIMESTAMPDIFF(SECOND, ?, MIN(\`${col}\`)) AS early,
                TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), MAX(\`${col}\`)) AS late FROM \`${tab}\``,
        [begun],
      );
      if (row!.n === 0) continue;
      filled += 1;
      if (row!.early! < -SLACK_S || row!.late! > SLACK_S) wrong.push({ tab, col, ...row });
    }
    expect(wrong).toEqual([]);
    expect(filled).toBeGreaterThan(10);
  }, 60_000);
});
