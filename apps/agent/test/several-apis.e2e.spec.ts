/**
 * An agent of two apis, all of them processes. It knows both: one stands still for longer than the agent's lease, then the other one is killed, and its
 * command goes on. It knows one address before both, as Kubernetes has it: one stands still, and the agent goes on at the other one.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Tool } from '@jobmon/client';
import {
  describeApart,
  ROOT,
  SystemApart,
  TcpProxy,
  until,
  type Services,
  type TestDatabase,
  type UserFolder,
} from '@jobmon/testkit';

const TOKEN = 'token-of-several-apis';
const LEASE_SECONDS = 9;
/** The machine may be busy. */
const WAIT_MS_MAX = 90_000;

describeApart('an agent of several apis', (mariadb) => {
  let system: SystemApart;
  let user: UserFolder;
  let database: TestDatabase;
  let services: Services;
  let agent: ChildProcess | undefined;
  /** The one address before both apis, and which of them new connections come to. */
  let service: TcpProxy;
  let chosen: string;

  beforeAll(async () => {
    system = await SystemApart.open(mariadb);
    ({ user, database } = system);
    service = await TcpProxy.to(() => chosen);
    system.alsoEnd(() => service.close());
    services = system.services({
      token: TOKEN,
      env: {
        JOBMON__AGENT__LEASE_SECONDS: String(LEASE_SECONDS),
        JOBMON__HTTP__ALLOWED_HOSTS: `127.0.0.1:${service.port}`,
      },
    });
    await services.start({ api: 2, 'state-machine': 1, scheduler: 1, reaper: 1 });
  }, 120_000);
  afterEach(endAgent, 30_000);
  afterAll(() => system?.remove(), 120_000);

  function startAgent(url: string): void {
    const said = openSync(path.join(user.path, 'agent.log'), 'a');
    const main = path.join(ROOT, 'dist', 'apps', 'agent', 'main.js');
    const env = { ...user.env, JOBMON__HTTP__SERVICE_URL: url, JOBMON__HTTP__TOKEN: TOKEN };
    agent = spawn(process.execPath, [main], { cwd: user.path, env, stdio: ['ignore', said, said] });
    closeSync(said);
  }
  async function endAgent(): Promise<void> {
    if (agent?.exitCode !== null || agent.signalCode !== null) return;
    agent.kill('SIGKILL');
    await once(agent, 'exit');
  }

  const rows = <Row>(sql: string): Promise<Row[]> => database.read<Row>(sql, []);
  /** Seconds for which the agent's lease lasts on, by the database's clock; below 0 when it has run out. */
  const leaseLeft = async (): Promise<number> => {
    const [row] = await rows<{ n: number }>(
      'SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), MAX(lease_until_date)) AS n FROM agent',
    );
    return Number(row!.n);
  };

  it('behind one address goes on at the other one within seconds, with what it has to report and with new work', async () => {
    const [first, second] = services.alive('api') as [(typeof services.processes)[0], (typeof services.processes)[0]];
    chosen = first.url!;
    try {
      startAgent(service.url(chosen));
      const tool = new Tool('address', { connection: services.connection(second), defaultClusterName: 'multiprocess' });
      const workflow = tool.createWorkflow({ name: 'address' });
      const folder = user.folder('address');
      const waiting = tool.getTaskTemplate('waits', 'echo x >>{folder}/begun; while ! [ -e {folder}/go ]; do sleep 0.2; done');
      const task = waiting.createTask({ folder }, { maxAttempts: 1 });
      const next = tool
        .getTaskTemplate('next', 'touch {folder}/next')
        .createTask({ folder }, { maxAttempts: 1, upstreams: [task] });
      workflow.addTask(task);
      workflow.addTask(next);
      await workflow.submit({ workingDirectory: folder });
      await until('the command runs', () => existsSync(path.join(folder, 'begun')), WAIT_MS_MAX);

      first.freeze();
      chosen = second.url!;
      const frozen = performance.now();
      writeFileSync(path.join(folder, 'go'), '');
      await until('the next one has run', () => existsSync(path.join(folder, 'next')), WAIT_MS_MAX);
      // 8 s without an answer, and some for the machine; a poll alone would have waited for 28 s.
      expect(performance.now() - frozen).toBeLessThan(25_000);
      expect(readFileSync(path.join(folder, 'begun'), 'utf8')).toBe('x\n');
    } finally {
      first.thaw();
      await endAgent();
    }
    await first.ready();
  }, 300_000);

  it('keeps its lease and its command while one stands still and while one is gone', async () => {
    const [first, second] = services.alive('api') as [(typeof services.processes)[0], (typeof services.processes)[0]];
    startAgent(`${first.url}, ${second.url}`);
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
    expect(await rows('SELECT DISTINCT status FROM task_instance')).toEqual([{ status: 'D' }]);
    expect(log()).not.toMatch(/the agent ends its commands/);
  }, 300_000);
});
