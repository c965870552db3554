/** An agent that knows two apis, both processes: one stands still for longer than the agent's lease, then the other one is killed. Its command goes on. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Tool } from '@jobmon/client';
import { buildHouse, describeApart, NatsProcess, ROOT, Services, until, UserFolder, type TestDatabase } from '@jobmon/testkit';

const TOKEN = 'token-of-several-apis';
const LEASE_SECONDS = 9;
/** The machine may be busy. */
const WAIT_MS_MAX = 90_000;

describeApart('an agent of several apis', (mariadb) => {
  let user: UserFolder;
  let nats: NatsProcess;
  let database: TestDatabase;
  let services: Services;
  let agent: ChildProcess;

  beforeAll(async () => {
    buildHouse();
    user = new UserFolder();
    [nats, database] = await Promise.all([NatsProcess.start(), mariadb.open()]);
    services = new Services({
      folder: user.folder('services'),
      database_url: database.url,
      nats_url: nats.url,
      token: TOKEN,
      env: { JOBMON__AGENT__LEASE_SECONDS: String(LEASE_SECONDS) },
    });
    await services.start({ api: 2, 'state-machine': 1, scheduler: 1, reaper: 1 });
    const said = openSync(path.join(user.path, 'agent.log'), 'a');
    const main = path.join(ROOT, 'dist', 'apps', 'agent', 'main.js');
    const urls = services.alive('api').map(({ url }) => url!);
    const env = { ...user.env, JOBMON__HTTP__SERVICE_URL: urls.join(', '), JOBMON__HTTP__TOKEN: TOKEN };
    agent = spawn(process.execPath, [main], { cwd: user.path, env, stdio: ['ignore', said, said] });
    closeSync(said);
  }, 120_000);
  afterAll(async () => {
    if (agent !== undefined && agent.exitCode === null) {
      agent.kill('SIGKILL');
      await once(agent, 'exit');
    }
    await services?.stop('SIGKILL');
    await database?.drop();
    await nats?.remove();
    await user?.remove();
  }, 120_000);

  const rows = <Row>(sql: string): Promise<Row[]> => database.read<Row>(sql, []);
  /** Seconds for which the agent's lease lasts on, by the database's clock; below 0 when it has run out. */
  const leaseLeft = async (): Promise<number> => {
    const [row] = await rows<{ n: number }>(
      'SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), MAX(lease_until_date)) AS n FROM agent',
    );
    return Number(row!.n);
  };

  it('keeps its lease and its command while one stands still and while one is gone', async () => {
    const [first, second] = services.alive('api') as [(typeof services.processes)[0], (typeof services.processes)[0]];
    const tool = new Tool('apis', { connection: services.connection(second), defaultClusterName: 'multiprocess' });
    const workflow = tool.createWorkflow({ name: 'apis' });
    const folder = user.folder('work');
    const command = 'echo x >>{folder}/started; while ! [ -e {folder}/go ]; do sleep 0.2; done';
    const template = tool.getTaskTemplate('waits', command);
    workflow.addTask(template.createTask({ folder }, { maxAttempts: 1 }));
    const run = await workflow.submit({ workingDirectory: folder });
    const started = path.join(folder, 'started');
    await until('the command runs', () => existsSync(started), WAIT_MS_MAX);

    first.freeze();
    const frozen = performance.now();
    let least = Infinity;
    while (performance.now() - frozen < (LEASE_SECONDS + 2) * 1_000) {
      least = Math.min(least, await leaseLeft());
      await pause(250);
    }
    const log = (): string => readFileSync(path.join(user.path, 'agent.log'), 'utf8');
    expect([least > 0, log().match(/the agent ends its commands/g)]).toEqual([true, null]);
    first.thaw();
    await first.ready();

    await second.end('SIGKILL');
    await until('the lease is renewed at the first again', async () => (await leaseLeft()) >= LEASE_SECONDS - 1, WAIT_MS_MAX);
    writeFileSync(path.join(folder, 'go'), '');
    await until(
      'the run has ended',
      async () => (await rows<{ status: string }>('SELECT status FROM workflow_run')).every(({ status }) => status === 'D'),
      WAIT_MS_MAX,
    );
    expect(run.workflowRunId).not.toBeNull();
    expect(readFileSync(started, 'utf8')).toBe('x\n');
    expect(await rows('SELECT status FROM task_instance')).toEqual([{ status: 'D' }]);
    expect(log()).not.toMatch(/the agent ends its commands/);
  }, 300_000);
});
