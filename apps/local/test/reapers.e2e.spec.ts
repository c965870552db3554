/**
 * Two reapers beside the other services as processes of their own, of which the working one is killed again and again: whatever stands in a
 * state that is not final and has lost its owner comes to the end that docs/deadlines.md promises, not before its deadline and not
 * long after it, once. Triggers of the database write down each change of a status; the services know nothing of them.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { Tool } from '@jobmon/client';
import type { Database } from '@jobmon/entities';
import {
  describeApart,
  execute,
  freePort,
  insertWorkflow,
  SystemApart,
  until,
  witnessStatuses,
  type InsertedWorkflow,
  type ServiceProcess,
  type Services,
  type UserFolder,
} from '@jobmon/testkit';
import { AgentProcess } from './agent-process';

const TOKEN = 'token-of-the-reapers';
/** Of an agent. A reaper looks every third of it, and its sign of life lasts for two looks and a second. */
const LEASE_S = 9;
/** From the death of the working reaper to the first look of the next one. */
const TAKEOVER_S = 2 * (LEASE_S / 3) + 1 + LEASE_S / 3;
/** What ends, ends so soon after its deadline: a reaper dies on it at most twice, and the machine is slow. */
const BOUND_S = 2 * TAKEOVER_S + 10;
/** Of workers; what they launched is old after twice as long. */
const WORKER_S = 4;
const KILLS = 4;
const EACH = 2;
/** Between the first deadline and the last one, so that each reaper finds some. */
const SPREAD_S = 16;
const FIRST_S = 8;
const DAY_S = 86_400;

/** How far a client gets before it dies, and what its run and workflow come to. */
const DEATHS = {
  L: ['L', 'A A'],
  B: ['B', 'E F'],
  I: ['I', 'E F'],
  O: ['O', 'E F'],
  R: ['R', 'E F'],
  C: ['R', 'T H'],
  H: ['R', 'T H'],
} as const;
type Death = keyof typeof DEATHS;
/** The steps of a client from its link on. */
const STEPS = ['B', 'I', 'O', 'R'] as const;

/** A run whose client is dead, with an attempt in each of Q, I, O and R where it had got so far. */
interface Lost {
  readonly death: Death;
  readonly made: InsertedWorkflow;
  readonly run_id: number;
  readonly attempt_ids: readonly number[];
  /** Of its client, in milliseconds of the epoch. */
  readonly deadline: number;
}

describeApart('reapers', (mariadb) => {
  let user: UserFolder;
  let system: SystemApart;
  let services: Services;
  let database: Database;
  let agent: AgentProcess;
  const living: { isEnded: boolean; done: Promise<void> } = { isEnded: false, done: Promise.resolve() };

  const ask = async <T>(method: 'POST' | 'PUT', route: string, body: unknown): Promise<T> => {
    const headers = { 'content-type': 'application/json' };
    const url = `${services.alive('api')[0]!.url}/api/v3${route}`;
    const answer = await fetch(url, { method, headers, body: JSON.stringify(body) });
    const text = await answer.text();
    expect([route, answer.status, text]).toEqual([route, 200, expect.any(String)]);
    return JSON.parse(text) as T;
  };
  const rows = <T>(sql: string, params: readonly (string | number)[] = []): Promise<T[]> => database.read<T>(sql, params);
  const lettersOf = async (ids: readonly number[]): Promise<string> =>
    (await rows<{ status: string }>(`SELECT status FROM task_instance WHERE id IN (${ids.join(',')}) ORDER BY id`))
      .map(({ status }) => status)
      .join('');
  const standing = async (run_id: number): Promise<string> => {
    const [row] = await rows<{ run: string; workflow: string }>(
      'SELECT r.status AS run, w.status AS workflow FROM workflow_run AS r JOIN workflow AS w ON w.id = r.workflow_id WHERE r.id = ?',
      [run_id],
    );
    return `${row!.run} ${row!.workflow}`;
  };
  const beat = (run_id: number, status: string, seconds: number): Promise<{ status: string }> =>
    ask('POST', `/workflow_run/${run_id}/log_heartbeat`, { status, next_report_increment: seconds });

  /** A client links a run and takes it as far as `to`; tasks of a running one get into Q, I, O and R. */
  const client = async (to: 'L' | (typeof STEPS)[number], seconds: number): Promise<Omit<Lost, 'death' | 'deadline'>> => {
    const made = await insertWorkflow(database, { tasks: 4, driver: 'client', run_status: 'E', workflow_status: 'F' });
    const { workflow_id, array_id, task_ids, task_resources_id } = made;
    const link = { workflow_id, user: 'ada', jobmon_version: '3.6.0', next_report_increment: seconds };
    const { workflow_run_id: run_id } = await ask<{ workflow_run_id: number }>('POST', '/workflow_run', link);
    if (to === 'L') return { made, run_id, attempt_ids: [] };
    for (const status of STEPS.slice(0, STEPS.indexOf(to) + 1))
      expect(await ask('PUT', `/workflow_run/${run_id}/update_status`, { status })).toEqual({ status });
    const attempt_ids: number[] = [];
    if (to === 'R') {
      const worker = { next_report_increment: WORKER_S };
      // R, O, I and Q, each in a batch of its own.
      for (const [position, task_id] of task_ids.entries()) {
        const queued = { task_ids: [task_id], task_resources_id, workflow_run_id: run_id };
        await ask('POST', `/array/${array_id}/queue_task_batch`, queued);
        const [{ id, array_batch_num: batch_number }] = (await rows<{ id: number; array_batch_num: number }>(
          'SELECT id, array_batch_num FROM task_instance WHERE task_id = ?',
          [task_id],
        )) as [{ id: number; array_batch_num: number }];
        attempt_ids.push(id);
        if (position < 3) await ask('POST', '/task_instance/instantiate_task_instances', { task_instance_ids: [id] });
        if (position < 2) await ask('POST', `/array/${array_id}/transition_to_launched`, { ...worker, batch_number });
        if (position < 1)
          await ask('POST', `/task_instance/${id}/log_running`, { ...worker, process_group_id: 1, nodename: 'n' });
      }
    }
    await beat(run_id, to, seconds);
    return { made, run_id, attempt_ids };
  };

  /** The process whose turn it is, or undefined while that of a dead one lasts. */
  const working = async (): Promise<ServiceProcess | undefined> => {
    const [row] = await rows<{ instance: string }>(
      "SELECT instance FROM service_instance WHERE service = 'reaper' AND expires_date > UTC_TIMESTAMP() ORDER BY started_date, instance LIMIT 1",
    );
    return services.alive('reaper').find(({ instance }) => row?.instance.startsWith(`${instance}/`));
  };

  beforeAll(async () => {
    system = await SystemApart.open(mariadb);
    ({ user, database } = system);
    await witnessStatuses(database, ['workflow', 'workflow_run', 'task_instance']);
    const port = await freePort();
    services = system.services({
      token: TOKEN,
      env: {
        JOBMON__AGENT__LEASE_SECONDS: String(LEASE_S),
        JOBMON__HEARTBEAT__TASK_INSTANCE_INTERVAL: '1',
        JOBMON__HEARTBEAT__REPORT_BY_BUFFER: String(WORKER_S),
      },
    });
    services.begin('api', { JOBMON__HTTP__PORT: String(port) });
    await services.start({ 'state-machine': 1, scheduler: 1, reaper: 2 });
    await system.clientsAreHeard();
    agent = AgentProcess.begin({ user, port, token: TOKEN }, 'agent', ['--cores', '2'], {
      env: { JOBMON__AGENT__LEASE_SECONDS: String(LEASE_S) },
    });
    system.alsoEnd(() => agent.end('SIGKILL'));
    await agent.joined();
  }, 180_000);
  afterAll(async () => {
    living.isEnded = true;
    await living.done.catch(() => undefined);
    await system?.remove();
  }, 120_000);

  it('end what has lost its owner, once and in time, while one after the other is killed', async () => {
    // A workflow of the server whose agent dies in the middle.
    const tool = new Tool('reapers', { connection: services.connection(), defaultClusterName: 'multiprocess' });
    const workflow = tool.createWorkflow({ name: 'of an agent that dies' });
    const template = tool.getTaskTemplate('command', '{command}');
    const started = [0, 1].map((at) => path.join(user.path, `started-${at}`));
    for (const file of started)
      workflow.addTask(
        template.createTask({ command: `touch ${file}; sleep 600` }, { name: path.basename(file), maxAttempts: 1 }),
      );
    const { workflowRunId: agents_run } = (await workflow.submit({ workingDirectory: user.path })) as { workflowRunId: number };
    await until('both commands run', () => started.every((file) => existsSync(file)), 60_000);

    // A client that lives and looks after its dead workers.
    const alive = await client('R', 60);
    living.done = (async () => {
      while (!living.isEnded) {
        await beat(alive.run_id, 'R', 60);
        await ask('POST', `/workflow_run/${alive.run_id}/set_status_for_triaging`, {});
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    })();
    // A rejection is thrown where it is waited for.
    living.done.catch(() => undefined);

    const lost: Lost[] = [];
    const lose = async (death: Death, seconds: number): Promise<void> => {
      const made = await client(DEATHS[death][0], seconds);
      if (death === 'C' || death === 'H')
        await ask('POST', `/workflow/${made.made.workflow_id}/set_resume`, { reset_running_jobs: death === 'C' });
      const [row] = await rows<{ until: string }>('SELECT heartbeat_date AS until FROM workflow_run WHERE id = ?', [made.run_id]);
      lost.push({ ...made, death, deadline: Date.parse(row!.until) });
    };
    const plan = (Object.keys(DEATHS) as Death[]).flatMap((death) => Array.from({ length: EACH }, () => death));
    for (const [at, death] of plan.entries()) await lose(death, FIRST_S + ((at * 5) % plan.length) * (SPREAD_S / plan.length));
    // What nobody has missed for a day, as its dates say; a reaper looks for that when it begins to work.
    const left = await insertWorkflow(database, {
      tasks: 7,
      driver: 'client',
      run_status: 'E',
      workflow_status: 'F',
      deadline_seconds: -2 * DAY_S,
      instance_status: (at) => (['Q', 'I', 'O', 'R', 'T', 'X', 'K'] as const)[at]!,
      task_status: (at) => (['Q', 'I', 'O', 'R', 'R', 'O', 'R'] as const)[at]!,
    });
    const held_by_nobody = await insertWorkflow(database, { driver: 'client', run_status: 'E', workflow_status: 'I' });
    const aged = 'UPDATE workflow SET status_date = UTC_TIMESTAMP() - INTERVAL 2 DAY WHERE id = ?';
    await execute(database, aged, [held_by_nobody.workflow_id]);
    await agent.end('SIGKILL');
    const agent_until = Date.parse(
      (await rows<{ until: string }>('SELECT lease_until_date AS until FROM agent WHERE id = ?', [agent.agent_id]))[0]!.until,
    );

    /** Those whose deadline has passed and that stand, by the database's clock. */
    const overdue = async (): Promise<number[]> =>
      (
        await rows<{ id: number }>(
          "SELECT id FROM workflow_run WHERE status IN ('L','B','I','O','R','C','H') AND driver = 'client' AND heartbeat_date <= UTC_TIMESTAMP()",
        )
      ).map(({ id }) => id);
    for (let kill = 0; kill < KILLS; kill += 1) {
      // Whatever else there is, each reaper that dies has met one.
      await lose('R', 1);
      await until(
        'a run is overdue',
        async () => (await overdue()).length > 0 || (await standing(lost.at(-1)!.run_id)) === 'E F',
      );
      let victim: ServiceProcess | undefined;
      await until('a living reaper has its turn', async () => (victim = await working()) !== undefined, 60_000);
      const met = await overdue();
      expect(await victim!.end('SIGKILL')).toBe('SIGKILL');
      services.begin('reaper');
      await until(
        'another one ends what the dead one had met',
        async () => {
          const now = await overdue();
          return !met.some((id) => now.includes(id) && lost.find(({ run_id }) => run_id === id)!.death !== 'C');
        },
        BOUND_S * 1_000,
      );
    }
    const ended = async (): Promise<boolean> => {
      const open = await Promise.all(lost.map(async ({ run_id, death }) => (await standing(run_id)) !== DEATHS[death][1]));
      return !open.includes(true) && (await standing(agents_run)) === 'E F';
    };
    await until('all have ended', ended, (SPREAD_S + FIRST_S + BOUND_S) * 1_000).catch(async (error: Error) => {
      const found = await Promise.all(lost.map(async ({ run_id, death }) => `${death}: ${await standing(run_id)}`));
      throw new Error(`${error.message}: ${found.join(', ')}; the agent's: ${await standing(agents_run)}`);
    });

    // Each at its promised end by one change, no sooner than its deadline and soon after it.
    const changes = await rows<{ kind: string; row_id: number; was: string; became: string; at: string }>(
      'SELECT kind, row_id, was, became, at FROM witnessed ORDER BY id',
    );
    const changesOf = (kind: string, id: number) => changes.filter((one) => one.kind === kind && one.row_id === id);
    const late: unknown[] = [];
    for (const { death, run_id, made, attempt_ids, deadline } of lost) {
      const [, end] = DEATHS[death];
      const steps = [
        ...STEPS.slice(0, STEPS.indexOf(DEATHS[death][0] as 'B') + 1),
        ...(death === 'C' || death === 'H' ? [death] : []),
      ];
      const runs = changesOf('workflow_run', run_id);
      expect([death, runs.map(({ became }) => became)]).toEqual([death, [...steps, end[0]]]);
      expect([death, changesOf('workflow', made.workflow_id).filter(({ became }) => became === end[2])]).toEqual([
        death,
        [expect.objectContaining({ became: end[2] })],
      ]);
      // A run that is told to stop waits for its killed attempts as well, whose deadlines are earlier or near.
      const waited_s = (Date.parse(runs.at(-1)!.at) - deadline) / 1_000;
      if (!(waited_s >= 0 && waited_s <= BOUND_S)) late.push({ death, waited_s });
      // R, O, I, Q as they were.
      const expected = { C: 'FFFF', H: 'RFFF', R: 'ROIQ' }[death as 'C'];
      if (attempt_ids.length > 0) expect([death, await lettersOf(attempt_ids)]).toEqual([death, expected]);
    }
    expect(late).toEqual([]);

    // The agent's attempts: given up a lease after its last word, not tried again, since each had one attempt.
    const agents = await rows<{ id: number }>('SELECT id FROM task_instance WHERE workflow_run_id = ? ORDER BY id', [agents_run]);
    expect(await lettersOf(agents.map(({ id }) => id))).toBe('UU');
    for (const { id } of agents) {
      const [given_up] = changesOf('task_instance', id).filter(({ became }) => became === 'U');
      const waited_s = (Date.parse(given_up!.at) - agent_until) / 1_000;
      expect([waited_s, waited_s >= 0 && waited_s <= BOUND_S]).toEqual([waited_s, true]);
    }
    // What was left behind for a day.
    expect(await lettersOf(left.task_instance_ids)).toBe('FFFFFFF');
    expect(await standing(left.workflow_run_id)).toBe('E F');
    expect(await standing(held_by_nobody.workflow_run_id)).toBe('E F');
    // The dead workers of a client that lives, who asked after them; neither it nor what nobody has launched was touched.
    await until('its workers were given up', async () => (await lettersOf(alive.attempt_ids)) === 'UEIQ', BOUND_S * 1_000);
    living.isEnded = true;
    await living.done;
    expect(await standing(alive.run_id)).toBe('R R');

    // Each transition is recorded once, one behind the other, as the triggers saw it.
    const ids = [...lost, alive].flatMap(({ attempt_ids }) => attempt_ids);
    ids.push(...left.task_instance_ids, ...agents.map(({ id }) => id));
    const history = await rows<{ id: number; was: string | null; became: string }>(
      `SELECT task_instance_id AS id, from_status AS was, to_status AS became FROM task_instance_history
        WHERE task_instance_id IN (${ids.join(',')}) AND from_status IS NOT NULL ORDER BY task_instance_id, sequence`,
    );
    const seen = await rows<{ row_id: number; was: string; became: string }>(
      "SELECT row_id, was, became FROM witnessed WHERE kind = 'task_instance' ORDER BY row_id, id",
    );
    const pairsOf = (id: number): string[] => history.filter((one) => one.id === id).map(({ was, became }) => `${was}${became}`);
    for (const id of ids) {
      const pairs = pairsOf(id);
      expect([id, new Set(pairs).size]).toEqual([id, pairs.length]);
      // A row of two steps at once is one change to the triggers.
      const last = seen.filter(({ row_id }) => row_id === id).at(-1);
      expect([id, pairs.at(-1)?.[1]]).toEqual([id, last?.became]);
    }
    expect(services.alive('reaper')).toHaveLength(2);
  }, 300_000);
});
