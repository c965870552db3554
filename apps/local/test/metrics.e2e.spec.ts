/**
 * What each service tells Prometheus after work of every kind, a lost bus and a lost database: every series that belongs to it, and none that
 * belongs to another. `docs/services.md` says what each one means.
 */
import { listLogs } from '@jobmon/client';
import {
  describeApart,
  freePort,
  insertWorkflow,
  SERVICES,
  SystemApart,
  TcpProxy,
  until,
  type ServiceName,
  type Services,
  type TestDatabase,
  type UserFolder,
} from '@jobmon/testkit';
import { AgentProcess } from './agent-process';
import { submitWitnessed } from './witnessed-workflow';

const TOKEN = 'token-of-the-metrics';
const REPORTS = 20;
const TASKS = 12;

/** A series, and its value where it must be that one: else more than nothing. */
type Row = readonly [name: string, labels: Readonly<Record<string, string>>, value?: number];

const EVERY: readonly Row[] = [
  ['jobmon_database_seconds_count', { code: 'OK' }],
  ['jobmon_database_seconds_sum', { label: 'read' }],
  ['jobmon_database_seconds_count', { code: 'UNAVAILABLE' }],
  ['jobmon_reconnects_total', { to: 'bus' }],
  ['jobmon_reconnects_total', { to: 'database' }],
  ['jobmon_bus_losses_total', { cause: 'closed' }],
  ['jobmon_log_records_total', { outcome: 'sent' }],
  ['jobmon_need_up', { need: 'bus' }, 1],
  ['jobmon_need_up', { need: 'database' }, 1],
  ['jobmon_need_up', { need: 'migrations' }, 1],
  ['jobmon_need_up', { need: 'event_loop' }, 1],
  ['jobmon_nodejs_eventloop_lag_p50_seconds', {}],
  ['jobmon_nodejs_eventloop_lag_p99_seconds', {}],
  ['jobmon_nodejs_heap_size_used_bytes', {}],
  ['jobmon_nodejs_heap_size_total_bytes', {}],
  ['jobmon_nodejs_heap_space_size_used_bytes', { space: 'old' }],
  ['jobmon_process_resident_memory_bytes', {}],
  ['jobmon_process_cpu_seconds_total', {}],
];

/** Of one service alone. */
const OWN: Readonly<Record<ServiceName, readonly Row[]>> = {
  api: [
    ['jobmon_request_seconds_count', { operation: 'task_instance.log_done', code: 'OK' }, REPORTS + 1],
    ['jobmon_request_seconds_count', { operation: 'workflow_run.log_heartbeat', code: 'NOT_FOUND' }, 1],
    ['jobmon_request_seconds_bucket', { operation: 'task_instance.log_done', le: '+Inf' }, REPORTS + 1],
    ['jobmon_login_refusals_total', { reason: 'unknown' }, 1],
    ['jobmon_batch_items_sum', { queue: 'task_instance.log_done' }, REPORTS + 1],
    ['jobmon_queue_wait_seconds_count', { queue: 'task_instance.log_done' }, REPORTS + 1],
  ],
  'state-machine': [
    ['jobmon_message_seconds_count', { operation: 'task_instance.log_done' }],
    ['jobmon_message_seconds_count', { operation: 'workflow_run.lease' }],
    ['jobmon_batch_items_sum', { queue: 'reports' }],
    ['jobmon_queue_wait_seconds_count', { queue: 'reports' }],
    ['jobmon_database_seconds_count', { label: 'reports', code: 'OK' }],
    ['jobmon_transitions_total', { from: 'none', to: 'Q' }, TASKS],
    ['jobmon_transitions_total', { from: 'R', to: 'D' }, REPORTS + TASKS],
    ['jobmon_refusals_total', { reason: 'repeat' }, 1],
  ],
  scheduler: [
    ['jobmon_leases_total', { what: 'taken' }],
    ['jobmon_leases_total', { what: 'renewed' }],
    ['jobmon_leases_total', { what: 'released' }],
  ],
  'log-sink': [
    ['jobmon_message_seconds_count', { operation: 'log_record.list' }, 1],
    ['jobmon_batch_items_sum', { queue: 'log' }],
    ['jobmon_queue_wait_seconds_count', { queue: 'log' }],
    ['jobmon_log_records_total', { outcome: 'stored' }],
    ['jobmon_need_up', { need: 'log_stream' }, 1],
    ['jobmon_database_seconds_count', { label: 'log_record.store', code: 'OK' }],
  ],
  // It looks into the database and asks the state machine to act: the transitions that come of it are counted there.
  reaper: [['jobmon_reaped_total', { rule: 'lost client runs', outcome: 'ended' }, 1]],
};

describeApart('the metrics of', (mariadb) => {
  let system: SystemApart;
  let user: UserFolder;
  let wires: { bus: TcpProxy; database: TcpProxy };
  let services: Services;
  let database: TestDatabase;

  beforeAll(async () => {
    system = await SystemApart.open(mariadb);
    ({ user, database } = system);
    const { nats } = system;
    const [bus, base, port] = await Promise.all([TcpProxy.to(nats.url), TcpProxy.to(database.url), freePort()]);
    wires = { bus, database: base };
    for (const wire of [bus, base]) system.alsoEnd(() => wire.close());
    services = system.services({ token: TOKEN, database_url: base.url(database.url), nats_url: bus.url(nats.url) });
    services.begin('api', { JOBMON__HTTP__PORT: String(port) });
    await services.start({ 'state-machine': 1, scheduler: 1, reaper: 1, 'log-sink': 1 });
    await Promise.all(services.processes.map((one) => one.ready()));
    const agent = AgentProcess.begin({ user, port, token: TOKEN }, 'agent', ['--cores', '4']);
    system.alsoEnd(() => agent.end('SIGKILL'));
    await agent.joined();
    await work();
    await lose();
  }, 180_000);
  afterAll(() => system?.remove(), 120_000);

  const post = async (path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<number> => {
    const url = `${services.alive('api')[0]!.url}/api/${path}`;
    const all = { 'content-type': 'application/json', ...headers };
    const answer = await fetch(url, { method: 'POST', headers: all, body: JSON.stringify(body) });
    await answer.arrayBuffer();
    return answer.status;
  };

  /** A run of the server's with its commands, reports of Python's workers, and calls that are refused. */
  const work = async (): Promise<void> => {
    const run = await submitWitnessed(user, services.connection(), { tasks: TASKS, width: 4, seconds: () => 0.5 });
    const [scheduler] = services.alive('scheduler');
    await until('the scheduler tells that it holds a run', async () => (await scheduler!.metric('jobmon_leases_held')) === 1);
    const all = { driver: 'client', task_status: 'R', instance_status: 'R', workflow_status: 'R' } as const;
    const { task_instance_ids } = await insertWorkflow(database, { tasks: REPORTS, ...all });
    const done = (id: number): Promise<number> => post(`v3/task_instance/${id}/log_done`, {});
    expect(new Set(await Promise.all(task_instance_ids.map(done)))).toEqual(new Set([200]));
    expect(await done(task_instance_ids[0]!)).toBe(200);
    const heartbeat = { status: 'R', next_report_increment: 90 };
    expect(await post('v3/workflow_run/2000000000/log_heartbeat', heartbeat)).toBe(404);
    expect(await post('v4/workflows/1/pause', {}, { authorization: 'Bearer of-nobody' })).toBe(401);
    const lost = await insertWorkflow(database, { tasks: 1, ...all });
    const past = 'UPDATE workflow_run SET heartbeat_date = UTC_TIMESTAMP() - INTERVAL 1 SECOND WHERE id = ?';
    await database.write({ label: 'silence' }, function* () {
      yield { sql: past, params: [lost.workflow_run_id] };
    });
    const [reaper] = services.alive('reaper');
    await until('the reaper has ended the lost run', async () => (await reaper!.metric('jobmon_reaped_total')) === 1);
    await listLogs({ connection: services.connection(), limit: 1 });
    expect((await run.wait()).status).toBe('DONE');
    await until('the scheduler holds nothing', async () => (await scheduler!.metric('jobmon_leases_held')) === 0);
  };

  /** The bus and then the database go away for a moment, so long that everybody notices. */
  const lose = async (): Promise<void> => {
    const all = services.processes;
    const everybody = (what: string, holds: (one: (typeof all)[0]) => Promise<boolean>): Promise<void> =>
      until(what, async () => (await Promise.all(all.map(holds))).every((does) => does));
    wires.bus.drop();
    await everybody('all have the bus again', async (one) => (await one.metric('jobmon_reconnects_total', { to: 'bus' })) > 0);
    await wires.database.cut();
    await everybody('all say that it is away', async (one) => {
      const cause = (await one.readiness())?.details.database?.cause;
      return cause !== undefined && /the database is away/.test(cause);
    });
    expect(await Promise.all(all.map((one) => one.metric('jobmon_need_up', { need: 'database' })))).toEqual(all.map(() => 0));
    await wires.database.mend();
    await Promise.all(all.map((one) => one.ready()));
  };

  describe.each(SERVICES)('%s', (name) => {
    const rows = [...EVERY, ...OWN[name]].map(([series, labels, value]) => ({ series, labels, value }));
    it.each(rows)('hold $series $labels', async ({ series, labels, value }) => {
      const [one] = services.alive(name);
      if (value !== undefined) expect(await one!.metric(series, labels)).toBe(value);
      // The lag is that of the time since it was read last.
      else await until(`${name} holds it`, async () => (await one!.metric(series, labels)) > 0, 5_000);
    });

    it('hold nothing of what the others do', async () => {
      const [one] = services.alive(name);
      const others = SERVICES.filter((other) => other !== name).flatMap((other) => OWN[other]);
      const held = await Promise.all(others.map(async ([series, labels]) => [series, labels, await one!.metric(series, labels)]));
      expect(held.filter(([, , value]) => value !== 0)).toEqual([]);
    });
  });
});
