/**
 * Calls of the Python protocol at an api whose state machine is another process: what it sends to the bus and what not, and what its callers are
 * told, and when, while the state machine stands still or is away. Bytes are counted on the wire, time by the clock of the caller.
 */
import { randomInt } from 'node:crypto';
import {
  describeApart,
  insertWorkflow,
  SystemApart,
  TcpProxy,
  until,
  type InsertedWorkflow,
  type ServiceProcess,
  type Services,
  type TestDatabase,
} from '@jobmon/testkit';

/** Clients cut at 20 s; the news that nobody answered must reach them before. */
const ANSWER_MS_MAX = 15_000;
const BIND_BYTES_MIN = 32 * 1024 * 1024;
const COMMAND = 'y'.repeat(65_000);
const TASKS = Math.ceil(BIND_BYTES_MIN / COMMAND.length);

describeApart('calls of the Python protocol', (mariadb) => {
  let system: SystemApart;
  /** Between the services and NATS. */
  let database: TestDatabase;
  let services: Services;
  let api: ServiceProcess;
  let machine: ServiceProcess;
  /** What crossed the wire in both directions. */
  const bus = { bytes: 0, commands: 0 };

  beforeAll(async () => {
    system = await SystemApart.open(mariadb);
    const { nats } = system;
    database = system.database;
    const wire = await TcpProxy.to(nats.url, 0, () => ({
      heard: (_direction, data) => {
        if (data === 'end') return;
        bus.bytes += data.length;
        if (data.includes(COMMAND.slice(0, 100))) bus.commands += 1;
      },
    }));
    system.alsoEnd(() => wire.close());
    services = system.services({ token: 'token-of-calls-apart', nats_url: wire.url(nats.url) });
    await services.start({ api: 1, 'state-machine': 1 });
    [api, machine] = [services.alive('api')[0]!, services.alive('state-machine')[0]!];
  }, 120_000);
  afterAll(() => system?.remove(), 120_000);

  const ask = async (method: 'POST' | 'PUT', route: string, body: unknown): Promise<{ status: number; json: unknown }> => {
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${api.url}/api/v3${route}`, { method, headers, body: JSON.stringify(body) });
    return { status: answer.status, json: await answer.json() };
  };
  const statuses = async (made: InsertedWorkflow): Promise<string[]> => {
    const sql = 'SELECT status FROM task_instance WHERE workflow_run_id = ? ORDER BY id';
    return (await database.read<{ status: string }>(sql, [made.workflow_run_id])).map(({ status }) => status);
  };

  it('of 32 MiB of commands go through HTTP, and the bus hears of them by numbers alone', async () => {
    const { node_ids } = await insertWorkflow(database, { tasks: TASKS });
    const made = await insertWorkflow(database, { tasks: 0, driver: 'client', run_status: 'E', workflow_status: 'F' });
    const { workflow_id, array_id, task_resources_id } = made;
    const tasks = Object.fromEntries(
      node_ids.map((node, position) => [
        String(position + 1),
        [node, String(randomInt(1e9)), array_id, task_resources_id, `task_${position}`, COMMAND, 3, true, {}, []],
      ]),
    );
    const body = { workflow_id, tasks, mark_created: true };
    expect(JSON.stringify(body).length).toBeGreaterThan(BIND_BYTES_MIN);
    const bind = async (): Promise<string> => {
      const { status, json } = await ask('PUT', '/task/bind_tasks_no_args', body);
      expect(status).toBe(200);
      return Object.values((json as { tasks: Record<string, [number, string]> }).tasks)
        .map(([, letter]) => letter)
        .join('');
    };
    const before = bus.bytes;
    expect(before).toBeGreaterThan(0);
    expect(await bind()).toBe('G'.repeat(TASKS));
    const kept = 'SELECT COUNT(*) AS n, SUM(LENGTH(command)) AS bytes FROM task WHERE workflow_id = ?';
    const [row] = await database.read<{ n: number; bytes: number }>(kept, [workflow_id]);
    expect([Number(row!.n), Number(row!.bytes)]).toEqual([TASKS, TASKS * COMMAND.length]);
    // Sent again where the tasks have failed: the state machine is asked to reset them, by their ids.
    await database.change("UPDATE task SET status = 'F' WHERE workflow_id = ?", workflow_id);
    const transitions = bus.bytes;
    expect(await bind()).toBe('G'.repeat(TASKS));
    expect(bus.bytes - transitions).toBeGreaterThan(TASKS * 2);
    expect(bus.bytes - before).toBeLessThan(256 * 1024);
    expect(bus.commands).toBe(0);
  }, 60_000);

  describe('that need the state machine', () => {
    let made: InsertedWorkflow;
    beforeAll(async () => {
      const all = { driver: 'client', task_status: 'R', instance_status: 'R', workflow_status: 'R' } as const;
      made = await insertWorkflow(database, { tasks: 40, deadline_seconds: 3_600, ...all });
    });

    /** Asks many things at one time: calls that go in messages of many, and calls that go alone. What was answered, and how late the last. */
    const askAll = async (ids: readonly number[]): Promise<{ answered: Set<number>; slowest_ms: number }> => {
      const run = `/workflow_run/${made.workflow_run_id}`;
      const calls: [method: 'POST' | 'PUT', route: string, body: unknown][] = [
        ...ids.map((id) => ['POST', `/task_instance/${id}/log_done`, {}] as (typeof calls)[0]),
        ['POST', `${run}/log_heartbeat`, { status: 'R', next_report_increment: 3_600 }],
        ['PUT', `${run}/update_status`, { status: 'R' }],
        ['POST', '/task_instance/log_report_by/batch', { next_report_increment: 3_600, task_instance_ids: ids }],
        ['POST', '/task_instance/instantiate_task_instances', { task_instance_ids: ids }],
        ['POST', `/array/${made.array_id}/transition_to_launched`, { batch_number: 1, next_report_increment: 3_600 }],
        ['POST', `${run}/set_status_for_triaging`, {}],
      ];
      const answered = new Set<number>();
      let slowest_ms = 0;
      await Promise.all(
        calls.map(async ([method, route, body]) => {
          const since = performance.now();
          const { status } = await ask(method, route, body);
          answered.add(status);
          slowest_ms = Math.max(slowest_ms, performance.now() - since);
        }),
      );
      return { answered, slowest_ms };
    };
    const refused = async (from: number): Promise<void> => {
      const { answered, slowest_ms } = await askAll(made.task_instance_ids.slice(from, from + 10));
      expect([...answered]).toEqual([503]);
      expect(slowest_ms).toBeLessThan(ANSWER_MS_MAX);
    };

    it('are 503 within 15 s while it stands still, and done when it goes on', async () => {
      expect([...(await askAll(made.task_instance_ids.slice(0, 10))).answered]).toEqual([200]);
      machine.freeze();
      // At once it is still a member of the bus and is sent everything; after some seconds NATS has left it.
      await refused(10);
      await refused(10);
      machine.thaw();
      const again = async (): Promise<boolean> => (await askAll(made.task_instance_ids.slice(10, 20))).answered.has(503);
      await until('it answers again', async () => !(await again()));
      expect(await statuses(made)).toEqual(made.task_instance_ids.map((_, index) => (index < 20 ? 'D' : 'R')));
    }, 120_000);

    it('are 503 within 15 s while it is away, and done by the next one', async () => {
      await machine.end('SIGKILL');
      await refused(20);
      machine = await services.begin('state-machine').ready();
      expect([...(await askAll(made.task_instance_ids.slice(20, 40))).answered]).toEqual([200]);
      expect(await statuses(made)).toEqual(made.task_instance_ids.map(() => 'D'));
    }, 120_000);
  });
});
