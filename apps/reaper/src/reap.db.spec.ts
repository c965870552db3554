import type { TaskInstanceStatus } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { inProcessMessenger, type Messenger } from '@jobmon/messaging';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { pino } from 'pino';
import { Reaper } from './module';
import { reap } from './reap';

const log = pino({ level: 'silent' });

/** An agent whose lease ends so many seconds from now. */
function insertAgent(database: Database, lease_seconds: number): Promise<number> {
  const { now, nowPlusSeconds } = database.dialect;
  return database.write({ label: 'test.agent' }, function* () {
    const inserted = yield {
      sql:
        'INSERT INTO agent (hostname, `user`, any_user, clusters, state_directory, process_id, version, registered_date, ' +
        `lease_until_date) VALUES ('host', 'ada', 0, '["sequential"]', '/', 1, '', ${now}, ${nowPlusSeconds})`,
      params: [lease_seconds],
    };
    return inserted.insert_id;
  });
}

describeOnDatabases('a pass of the reaper', (database) => {
  let app: INestApplicationContext;
  let messenger: Messenger;
  const pass = (): Promise<number> =>
    reap(
      { config: { agent: { lease_seconds: 15 } }, log, messenger, database: database() },
      { served_seconds: 15, clients_served_seconds: 15, lease_seconds: 15, of: ['pass'] },
    );
  const isEnded = async (agentId: number): Promise<boolean> => {
    const rows = await database().read<{ ended_date: string | null }>('SELECT ended_date FROM agent WHERE id = ?', [agentId]);
    return rows[0]!.ended_date !== null;
  };
  const held = (agent_id: number, tasks: number, status: TaskInstanceStatus = 'R') =>
    insertWorkflow(database(), {
      tasks,
      agent_id,
      instance_status: status,
      task_status: status === 'R' ? 'R' : 'I',
      max_attempts: 2,
    });
  const taskStatuses = async (workflowId: number): Promise<string> => {
    const rows = await database().read<{ status: string; n: number }>(
      'SELECT status, COUNT(*) AS n FROM task WHERE workflow_id = ? GROUP BY status ORDER BY status',
      [workflowId],
    );
    return rows.map(({ status, n }) => `${n} ${status}`).join(', ');
  };

  beforeEach(async () => {
    messenger = inProcessMessenger({ log });
    const machine = stateMachineModule({ log, messenger, database: database() });
    app = await NestFactory.createApplicationContext(machine, { logger: false });
  });
  afterEach(() => app.close());

  it('ends all that a silent agent held, in pieces, each with its retry rule, and closes the agent', async () => {
    const agent = await insertAgent(database(), -1);
    const { workflow_id } = await held(agent, 2_300);
    expect(await pass()).toBe(2_300);
    expect(await taskStatuses(workflow_id)).toBe('2300 G');
    expect(await isEnded(agent)).toBe(true);
    expect(await pass()).toBe(0);
  }, 60_000);

  it('leaves an agent alone whose lease has not passed', async () => {
    const agent = await insertAgent(database(), 60);
    const { workflow_id } = await held(agent, 3);
    expect(await pass()).toBe(0);
    expect(await taskStatuses(workflow_id)).toBe('3 R');
    expect(await isEnded(agent)).toBe(false);
  });

  it('finds again what an earlier pass could not finish', async () => {
    const agent = await insertAgent(database(), -1);
    const { workflow_id } = await held(agent, 1_200, 'I');
    const { request } = messenger;
    let calls = 0;
    messenger.request = (operation, requests, options) => {
      calls += 1;
      if (calls === 2) throw new Error('the process ends here');
      return request.call(messenger, operation, requests, options) as never;
    };
    expect(await pass()).toBe(1_000);
    expect(await isEnded(agent)).toBe(false);
    expect(await pass()).toBe(200);
    expect(await taskStatuses(workflow_id)).toBe('1200 G');
    expect(await isEnded(agent)).toBe(true);
  }, 60_000);

  it('does the same when two passes run at once', async () => {
    const agent = await insertAgent(database(), -1);
    const { workflow_id } = await held(agent, 50);
    const counts = await Promise.all([pass(), pass()]);
    expect(counts[0]! + counts[1]!).toBe(50);
    expect(await taskStatuses(workflow_id)).toBe('50 G');
  });
});

/** One that asks nothing but `read`, and has a lease of three seconds. */
function reaperOver(read: (sql: string) => Promise<never[]>, clock: () => number): Reaper {
  const database = { dialect: { now: 'now' }, read } as unknown as Database;
  return new Reaper({ config: { agent: { lease_seconds: 3 } }, log, messenger: inProcessMessenger({ log }), database }, clock);
}

it('gives agents a whole lease again when it was away itself', async () => {
  let passes = 0;
  let now = 0;
  // A database in which every look for silent agents is counted, and nobody is found.
  const read = async (sql: string): Promise<never[]> => ((passes += Number(sql.includes('FROM agent'))), []);
  jest.useFakeTimers();
  const reaper = reaperOver(read, () => now);
  const letPass = async (ms: number): Promise<number> => {
    const before = passes;
    for (let at = 0; at < ms; at += 100) {
      now += 100;
      await jest.advanceTimersByTimeAsync(100);
    }
    return passes - before;
  };
  try {
    reaper.onApplicationBootstrap();
    expect(await letPass(2_900)).toBe(0);
    expect(await letPass(3_200)).toBe(4);
    now += 60_000; // The machine sleeps: its clock goes on, its timers do not.
    expect(await letPass(3_700)).toBe(0);
    expect(await letPass(2_500)).toBeGreaterThanOrEqual(2);
  } finally {
    await reaper.beforeApplicationShutdown();
    jest.useRealTimers();
  }
});

it('spares agents for a whole lease after its database was away: it could not hear them either', async () => {
  let looksForAgents = 0;
  let isAway = false;
  const read = async (sql: string): Promise<never[]> => {
    if (isAway) throw new Error('connection refused');
    looksForAgents += Number(sql.includes('FROM agent'));
    return [];
  };
  jest.useFakeTimers();
  const reaper = reaperOver(read, () => performance.now());
  try {
    reaper.onApplicationBootstrap();
    await jest.advanceTimersByTimeAsync(5_500);
    expect(looksForAgents).toBe(3);
    isAway = true;
    await jest.advanceTimersByTimeAsync(2_000);
    isAway = false;
    await jest.advanceTimersByTimeAsync(2_000);
    expect(looksForAgents).toBe(3);
    await jest.advanceTimersByTimeAsync(2_000);
    expect(looksForAgents).toBeGreaterThan(3);
  } finally {
    await reaper.beforeApplicationShutdown();
    jest.useRealTimers();
  }
});

it('race 54: goes on when its database or the state machine was away for longer than any try lasts', async () => {
  let looks = 0;
  let isAway = true;
  const read = async (): Promise<never[]> => {
    looks += 1;
    if (isAway) throw new Error('connection refused');
    return [];
  };
  jest.useFakeTimers();
  const reaper = reaperOver(read, () => performance.now());
  try {
    reaper.onApplicationBootstrap();
    await jest.advanceTimersByTimeAsync(3_600_000);
    expect(looks).toBeGreaterThan(3_000);
    isAway = false;
    const before = looks;
    await jest.advanceTimersByTimeAsync(10_000);
    expect(looks).toBeGreaterThanOrEqual(before + 9);
  } finally {
    await reaper.beforeApplicationShutdown();
    jest.useRealTimers();
  }
});
