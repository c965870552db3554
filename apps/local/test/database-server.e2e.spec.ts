/**
 * The services on a database server that closes what rests, and on one that takes no writes for a while because another is to become the
 * primary: on a MariaDB of this file's own, by an account that may do no more than a service needs. Nobody is told that he is wrong,
 * and what was accepted is done.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { openDatabase, type Database } from '@jobmon/entities';
import {
  buildHouse,
  describeApart,
  freePort,
  insertWorkflow,
  MariadbProcess,
  NatsProcess,
  Services,
  until,
  UserFolder,
} from '@jobmon/testkit';
import { pino } from 'pino';
import { AgentProcess } from './agent-process';
import { brokenRules, readWitness, submitWitnessed } from './witnessed-workflow';

const TOKEN = 'token-of-the-database-server';
const REQUESTS = 1_000;
const CALLERS = 10;

describeApart('services and their database server', () => {
  let user: UserFolder;
  let server: MariadbProcess;
  let nats: NatsProcess;
  let services: Services;
  let database: Database;
  let agent: AgentProcess | undefined;
  let port: number;

  beforeAll(async () => {
    buildHouse();
    user = new UserFolder();
    [server, nats, port] = await Promise.all([MariadbProcess.start(), NatsProcess.start(), freePort()]);
    // Without READ_ONLY ADMIN, which every account with all rights on the server has.
    await server.run(
      "CREATE USER 'service'@'%' IDENTIFIED BY 'word'",
      "GRANT ALL ON jobmon.* TO 'service'@'%'",
      'SET GLOBAL wait_timeout = 2',
    );
    const place = { folder: user.folder('services'), nats_url: nats.url, token: TOKEN };
    services = new Services({ ...place, database_url: server.url.replace(/\/\/.*@/, '//service:word@') });
    await services.migrate();
    services.begin('api', { JOBMON__HTTP__PORT: String(port) });
    await services.start({ 'state-machine': 1, scheduler: 1, reaper: 1, 'log-sink': 1 });
    await Promise.all(services.processes.map((one) => one.ready()));
    database = await openDatabase({ url: server.url, log: pino({ level: 'silent' }), connections_max: 3 });
  }, 120_000);
  afterAll(async () => {
    await agent?.end('SIGKILL');
    await services?.stop('SIGKILL');
    await database?.close();
    await nats?.remove();
    await server?.remove();
    await user?.remove();
  }, 120_000);

  const ask = async (method: 'GET' | 'POST', route: string, body?: unknown): Promise<number> => {
    const answer = await fetch(`http://127.0.0.1:${port}/api/v3${route}`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    await answer.arrayBuffer();
    return answer.status;
  };
  const running = (tasks: number): ReturnType<typeof insertWorkflow> => {
    const all = { driver: 'client', task_status: 'R', instance_status: 'R', workflow_status: 'R' } as const;
    return insertWorkflow(database, { tasks, deadline_seconds: 3_600, ...all });
  };
  /** Takes one after the other from the list, some callers at one time. */
  const inTurn = async <T>(list: readonly T[], act: (one: T) => Promise<void>): Promise<void> => {
    const waiting = [...list];
    const caller = async (): Promise<void> => {
      for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) await act(one);
    };
    await Promise.all(Array.from({ length: CALLERS }, caller));
  };
  const statusesOf = (table: 'task_instance' | 'workflow_run', column: string, id: number): Promise<string[]> =>
    database
      .read<{ status: string }>(`SELECT DISTINCT status FROM ${table} WHERE ${column} = ?`, [id])
      .then((rows) => rows.map(({ status }) => status));

  /** What the processes have logged about the database as warnings and above, oldest first. */
  const complaints = (): string[] =>
    services.processes
      .flatMap(({ instance, lines }) => lines.map((line) => ({ instance, line })))
      .filter(
        ({ line }) => ['warn', 'error', 'fatal', 'none'].includes(line.level) && /database|batch/.test(JSON.stringify(line)),
      )
      .sort((a, b) => String(a.line.time).localeCompare(String(b.line.time)))
      .map(({ instance, line }) => `${instance}: ${line.message}`);

  it('that closes what rests for 2 s: 1,000 requests with pauses between them, and no error', async () => {
    const made = await running(REQUESTS / 5);
    /** Statements of each process that did not end well, of one look each: what ends well goes on meanwhile. */
    const failed = (): Promise<number[]> =>
      Promise.all(
        services.processes.map(async (one) => {
          const text = await (await fetch(`${one.service_url}/metrics`)).text();
          return text
            .split('\n')
            .filter((line) => line.startsWith('jobmon_database_seconds_count{') && !line.includes('code="OK"'))
            .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
        }),
      );
    const before = await failed();
    const complained = complaints().length;
    const answered: number[] = [];
    // As long as it rests, a moment less and a moment more; the first burst has opened all connections that the pools may have.
    for (const gap_ms of [0, 1_900, 1_990, 2_010, 3_000]) {
      await pause(gap_ms);
      const from = answered.length / 5;
      await inTurn(made.task_instance_ids.slice(from, from + REQUESTS / 25), async (id) => {
        answered.push(
          await ask('GET', `/workflow/${made.workflow_id}/get_max_concurrently_running`),
          await ask('POST', `/task_instance/${id}/log_report_by`, { next_report_increment: 3_600 }),
          await ask('POST', `/task_instance/${id}/log_running`, {
            next_report_increment: 3_600,
            process_group_id: 1,
            nodename: 'n',
          }),
          await ask('POST', `/task_instance/${id}/log_done`, {}),
          await ask('GET', `/array/${made.array_id}/get_array_max_concurrently_running`),
        );
      });
    }
    expect(answered).toHaveLength(REQUESTS);
    expect([...new Set(answered)]).toEqual([200]);
    expect(await statusesOf('task_instance', 'workflow_run_id', made.workflow_run_id)).toEqual(['D']);
    expect(await failed()).toEqual(before);
    expect(complaints().slice(complained)).toEqual([]);
  }, 90_000);

  it('that takes no writes for a while (1290): nobody is told that he is wrong, and all that was accepted is done', async () => {
    agent = AgentProcess.begin({ user, port, token: TOKEN }, 'agent', ['--cores', '4']);
    await agent.joined();
    const TASKS = 60;
    const run = await submitWitnessed(user, services.connection(), { tasks: TASKS, width: 6, seconds: () => 0.3 });
    const starts = (): number => readWitness(user).filter(({ what }) => what === 'start').length;
    await until('commands run', () => starts() >= 6);

    const made = await running(400);
    /** HTTP statuses by how often they were answered. */
    const answered = new Map<number, number>();
    const accepted: number[] = [];
    const told = (status: number): number => answered.get(status) ?? 0;
    let isStopped = false;
    const calls = inTurn(made.task_instance_ids, async (id) => {
      for (;;) {
        const status = await ask('POST', `/task_instance/${id}/log_done`, {});
        answered.set(status, told(status) + 1);
        if (status === 200) accepted.push(id);
        if (status !== 503) break;
        await pause(200);
      }
      if (accepted.length >= 100 && !isStopped) {
        isStopped = true;
        await server.run('SET GLOBAL read_only = 1');
      }
    });
    try {
      // Longer than a write is patient: some are told to come again.
      await until('callers were told to come again', () => told(503) >= CALLERS - 1, 60_000);
      const [one] = services.alive('state-machine');
      await one!.said(/^a batch was given up: the database is away$/);
      expect(one!.text).toMatch(/takes no writes \(read_only\): wait for its fail-over, or name the primary/);
      // Whoever reads is served all the same, so no process is taken out of service.
      expect(await ask('GET', `/workflow/${made.workflow_id}/get_max_concurrently_running`)).toBe(200);
      const ready = services.processes.map(async ({ service_url }) => (await fetch(`${service_url}/health/ready`)).status);
      expect([...new Set(await Promise.all(ready))]).toEqual([200]);
      const before = accepted.map(String).join(',');
      const stand = `SELECT COUNT(*) AS n FROM task_instance WHERE status = 'D' AND id IN (${before})`;
      expect(Number((await database.read<{ n: number }>(stand))[0]!.n)).toBe(accepted.length);
    } finally {
      await server.run('SET GLOBAL read_only = 0');
    }
    await calls;
    expect([...answered.keys()].sort()).toEqual([200, 503]);
    expect(told(200)).toBe(400);
    expect(await statusesOf('task_instance', 'workflow_run_id', made.workflow_run_id)).toEqual(['D']);
    // The run that the server drives goes on by itself, and each command runs once.
    const runEnded = async (): Promise<boolean> => (await statusesOf('workflow_run', 'id', run.workflowRunId!))[0] === 'D';
    await until('the run has ended', runEnded, 120_000);
    expect(brokenRules(readWitness(user), [], TASKS)).toEqual([]);
    expect(starts()).toBe(TASKS);
    await Promise.all(services.processes.map((one) => one.ready()));
    expect(services.processes.filter(({ hasEnded }) => hasEnded)).toEqual([]);
  }, 240_000);
});
