/**
 * All state machines are away for longer than the deadlines of those who report to them, while clients, workers and agents live and go on
 * reporting. When one is there again nobody who lives is judged by a silence that was the server's, and what is truly dead ends.
 */
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Tool } from '@jobmon/client';
import { CLIENT_RETRY_SECONDS } from '@jobmon/contracts';
import { CLIENTS_HEARD, type Database } from '@jobmon/entities';
import {
  describeApart,
  execute,
  freePort,
  insertWorkflow,
  SystemApart,
  until,
  type Services,
  type UserFolder,
} from '@jobmon/testkit';
import { AgentProcess } from './agent-process';

const TOKEN = 'token-of-the-absence';
const LEASE_S = 9;
/** Of runs and of workers: passed many times while the state machines are away. */
const DEADLINE_S = 4;
/** Of the client that dies: it must not pass before the state machines are away, which they are once a deadline of a worker has passed. */
const DEAD_DEADLINE_S = 3 * DEADLINE_S;
/**
 * All deadlines have passed for so long when a state machine comes back, also that after which a silent attempt is given up; so has the last sign that
 * clients were heard, and with it what somebody asked while it stood: nothing waits longer on the bus.
 */
const PAST_S = 16;
/** So much of the time that clients and workers have to ask again (CLIENT_RETRY_SECONDS) is waited for; the rest is taken from a date. */
const SPARED_S = 15;
const SLACK_S = 40;
/** Of a worker that was refused. */
const QUIET_MS = 8_000;

describeApart('the absence of all state machines', (mariadb) => {
  let user: UserFolder;
  let system: SystemApart;
  let services: Services;
  let database: Database;
  const agents: AgentProcess[] = [];
  /** What living ones do every half second. */
  const beats: (() => Promise<unknown>)[] = [];
  /** HTTP statuses that they were answered. */
  const answered = new Set<number>();
  let isEnded = false;
  let beating: Promise<void> = Promise.resolve();

  /** Answers undefined when it was not 200: who lives asks again. */
  const ask = async <T>(method: 'POST' | 'PUT', route: string, body: unknown): Promise<T | undefined> => {
    const headers = { 'content-type': 'application/json' };
    const url = `${services.alive('api')[0]!.url}/api/v3${route}`;
    const answer = await fetch(url, { method, headers, body: JSON.stringify(body) });
    answered.add(answer.status);
    const text = await answer.text();
    return answer.status === 200 ? (JSON.parse(text) as T) : undefined;
  };
  const rows = <T>(sql: string, params: readonly (string | number)[] = []): Promise<T[]> => database.read<T>(sql, params);
  const statusOf = async (table: 'workflow_run' | 'task_instance', id: number): Promise<string> =>
    (await rows<{ status: string }>(`SELECT status FROM ${table} WHERE id = ?`, [id]))[0]!.status;
  const beat = (run_id: number, next_report_increment: number) => () =>
    ask('POST', `/workflow_run/${run_id}/log_heartbeat`, { status: 'R', next_report_increment });
  const report = (id: number) => () => ask('POST', `/task_instance/${id}/log_report_by`, { next_report_increment: DEADLINE_S });

  /** Until the end, each half second; after a refusal it is quiet for a while. */
  const speaking = async (speak: () => Promise<unknown>): Promise<void> => {
    while (!isEnded) {
      const isHeard = (await speak()) !== undefined;
      await new Promise((resolve) => setTimeout(resolve, isHeard ? 500 : QUIET_MS));
    }
  };

  /** A client that runs, with so many attempts whose workers run. */
  const client = async (tasks: number, deadline_s: number): Promise<{ run_id: number; attempt_ids: number[] }> => {
    const made = await insertWorkflow(database, { tasks, driver: 'client', run_status: 'E', workflow_status: 'F' });
    const { workflow_id, array_id, task_ids, task_resources_id } = made;
    const increment = { next_report_increment: deadline_s };
    const link = { workflow_id, user: 'ada', jobmon_version: '3.6.0', ...increment };
    const run_id = (await ask<{ workflow_run_id: number }>('POST', '/workflow_run', link))!.workflow_run_id;
    for (const status of ['B', 'I', 'O', 'R'])
      expect(await ask('PUT', `/workflow_run/${run_id}/update_status`, { status })).toEqual({ status });
    await ask('POST', `/array/${array_id}/queue_task_batch`, { task_ids, task_resources_id, workflow_run_id: run_id });
    const found = await rows<{ id: number }>('SELECT id FROM task_instance WHERE workflow_run_id = ? ORDER BY id', [run_id]);
    const attempt_ids = found.map(({ id }) => id);
    await ask('POST', '/task_instance/instantiate_task_instances', { task_instance_ids: attempt_ids });
    await ask('POST', `/array/${array_id}/transition_to_launched`, { ...increment, batch_number: 1 });
    for (const id of attempt_ids)
      await ask('POST', `/task_instance/${id}/log_running`, { ...increment, process_group_id: 1, nodename: 'n' });
    await beat(run_id, deadline_s)();
    return { run_id, attempt_ids };
  };

  beforeAll(async () => {
    system = await SystemApart.open(mariadb);
    ({ user, database } = system);
    const port = await freePort();
    services = system.services({
      token: TOKEN,
      env: {
        JOBMON__AGENT__LEASE_SECONDS: String(LEASE_S),
        JOBMON__HEARTBEAT__TASK_INSTANCE_INTERVAL: '1',
        JOBMON__HEARTBEAT__REPORT_BY_BUFFER: String(DEADLINE_S),
      },
    });
    services.begin('api', { JOBMON__HTTP__PORT: String(port) });
    await services.start({ 'state-machine': 2, scheduler: 1, reaper: 2 });
    for (const name of ['one', 'two']) {
      const env = {
        JOBMON__AGENT__LEASE_SECONDS: String(LEASE_S),
        JOBMON__AGENT__STATE_DIRECTORY: user.folder(`state-${name}`),
      };
      const agent = AgentProcess.begin({ user, port, token: TOKEN }, name, ['--cores', '1'], { env });
      system.alsoEnd(() => agent.end('SIGKILL'));
      agents.push(await agent.joined());
    }
    await system.clientsAreHeard();
  }, 180_000);
  afterAll(async () => {
    isEnded = true;
    await beating.catch(() => undefined);
    await system?.remove();
  }, 120_000);

  it('is nobody else’s death: who lives goes on when one is there again, and who is dead ends', async () => {
    // Two commands of the server, one on each agent; they end when the test says so.
    const tool = new Tool('absence', { connection: services.connection(), defaultClusterName: 'multiprocess' });
    const workflow = tool.createWorkflow({ name: 'on two agents' });
    const template = tool.getTaskTemplate('command', '{command}');
    const end = path.join(user.path, 'end');
    const started = [0, 1].map((at) => path.join(user.path, `started-${at}`));
    for (const file of started) {
      const command = `touch ${file}; while [ ! -e ${end} ]; do sleep 0.2; done`;
      workflow.addTask(template.createTask({ command }, { name: path.basename(file), maxAttempts: 1 }));
    }
    const { workflowRunId: agents_run } = (await workflow.submit({ workingDirectory: user.path })) as { workflowRunId: number };
    await until('both commands run', () => started.every((file) => existsSync(file)), 60_000);

    const alive = await client(3, DEADLINE_S);
    const [steady, doubted, dead_worker] = alive.attempt_ids as [number, number, number];
    beats.push(beat(alive.run_id, DEADLINE_S));
    // As a client does: it asks after its workers, before any of them gets to speak.
    beats.push(() => ask('POST', `/workflow_run/${alive.run_id}/set_status_for_triaging`, {}));
    beats.push(report(steady));
    beating = Promise.all(
      beats.map(async (one) => {
        while (!isEnded) {
          await one();
          await new Promise((resolve) => setTimeout(resolve, 500));
        }
      }),
    ).then(() => undefined);
    // A rejection is thrown where it is waited for.
    beating.catch(() => undefined);
    const dead = await client(1, DEAD_DEADLINE_S);
    // One worker was not heard of for a moment, was asked after, and would speak again: from now on nobody hears it.
    await until('it is asked after', async () => (await statusOf('task_instance', doubted)) === 'T', 60_000);
    await Promise.all(services.alive('state-machine').map((one) => one.end('SIGKILL')));
    expect(await statusOf('task_instance', doubted)).toBe('T');
    // As a worker does, it asks again at pauses: others are quicker to speak when somebody hears.
    beating = Promise.all([beating, speaking(report(doubted))]).then(() => undefined);
    beating.catch(() => undefined);
    const [killed, other] = agents as [AgentProcess, AgentProcess];
    await killed.end('SIGKILL');

    // Away until every deadline has passed, and the apis' last word that clients could be heard as well.
    const [ids, attempts] = [
      [alive.run_id, dead.run_id],
      [steady, doubted, dead_worker],
    ];
    await until(
      'all deadlines have passed',
      async () => {
        const [row] = await rows<{ n: number }>(
          `SELECT (SELECT COUNT(*) FROM workflow_run WHERE id IN (${ids.join(',')}) AND heartbeat_date > UTC_TIMESTAMP() - INTERVAL ${PAST_S} SECOND) ` +
            `+ (SELECT COUNT(*) FROM task_instance WHERE id IN (${attempts.join(',')}) AND report_by_date > UTC_TIMESTAMP() - INTERVAL ${PAST_S} SECOND) ` +
            `+ (SELECT COUNT(*) FROM service_instance WHERE service = ? AND expires_date > UTC_TIMESTAMP() - INTERVAL ${PAST_S} SECOND) AS n`,
          [CLIENTS_HEARD],
        );
        return Number(row!.n) === 0;
      },
      120_000,
    );
    expect([...answered].sort()).toEqual([200, 503]);
    expect(await statusOf('workflow_run', dead.run_id)).toBe('R');

    const since = performance.now();
    await services.begin('state-machine').ready();
    const agentOf = 'SELECT id, agent_id, status FROM task_instance WHERE workflow_run_id = ?';
    const held = await rows<{ id: number; agent_id: number; status: string }>(agentOf, [agents_run]);
    const [lost, kept] = [killed, other].map(({ agent_id }) => held.find((one) => one.agent_id === agent_id)!) as [
      (typeof held)[0],
      (typeof held)[0],
    ];
    await until('the dead agent’s attempt ends', async () => (await statusOf('task_instance', lost.id)) === 'U', SLACK_S * 1_000);
    expect(await statusOf('task_instance', kept.id)).toBe('R');
    // Living workers are heard again at once, also the one that was asked after before.
    await until('both are R', async () => {
      const now = await Promise.all([steady, doubted].map((id) => statusOf('task_instance', id)));
      expect(now.join('')).toMatch(/^[RT]{2}$/);
      return now.join('') === 'RR';
    });
    // A client asks again after up to two minutes, so a dead one is told from it then.
    await until('some of that time has passed', () => performance.now() - since >= SPARED_S * 1_000);
    expect(await statusOf('workflow_run', dead.run_id)).toBe('R');
    expect(await statusOf('task_instance', dead_worker)).not.toBe('U');
    const aged = `UPDATE service_instance SET started_date = started_date - INTERVAL ${CLIENT_RETRY_SECONDS} SECOND WHERE service = ?`;
    await execute(database, aged, [CLIENTS_HEARD]);
    const ended = async (): Promise<boolean> => (await statusOf('workflow_run', dead.run_id)) === 'E';
    await until('the dead client’s run ends', ended, SLACK_S * 1_000);
    await until('the dead worker is given up', async () => (await statusOf('task_instance', dead_worker)) === 'U', 60_000);
    isEnded = true;
    await beating;

    expect(await statusOf('workflow_run', alive.run_id)).toBe('R');
    expect(await Promise.all([steady, doubted].map((id) => statusOf('task_instance', id)))).toEqual(['R', 'R']);
    writeFileSync(end, '');
    await until('the living agent’s attempt is done', async () => (await statusOf('task_instance', kept.id)) === 'D', 60_000);
    await until('the server’s run has ended', async () => (await statusOf('workflow_run', agents_run)) === 'E', 60_000);
    const doubles = await rows(
      'SELECT task_instance_id, from_status, to_status, COUNT(*) AS n FROM task_instance_history ' +
        "WHERE to_status IN ('D', 'U', 'E', 'F', 'W') GROUP BY 1, 2, 3 HAVING n > 1",
    );
    expect(doubles).toEqual([]);
  }, 480_000);
});
