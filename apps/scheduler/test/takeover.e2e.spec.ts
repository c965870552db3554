/**
 * Schedulers as processes that are killed and frozen in the middle of a run, over a NATS of their own and a database on MariaDB. The test
 * is the agent: it leases attempts over the bus and reports each as done, so it knows what was given to it twice.
 *
 * `JOBMON_TAKEOVER_TASKS=10000` makes it a measurement (`bench/results/leases.md`).
 */
import path from 'node:path';
import { leaseTaskInstances, reportAttempt } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { openNatsMessenger, replyOf, send, type Messenger } from '@jobmon/messaging';
import {
  describeApart,
  insertWorkflow,
  ROOT,
  SystemApart,
  until,
  type InsertedWorkflow,
  type NatsProcess,
  type ServiceProcess,
  type Services,
  type TestDatabase,
} from '@jobmon/testkit';
import { pino } from 'pino';
import { RenewalThread } from '../src/renewal-thread';

const log = pino({ level: 'silent' });
const TASKS = Number(process.env['JOBMON_TAKEOVER_TASKS'] ?? 400);
/** Tasks that are ready at one time; each has one upstream, in the tier before. */
const TIER = Math.ceil(TASKS / 20);
/** Far more than a lease and its replacement take: a busy machine is no defect. */
const RECOVERY_MS_MAX = 60_000;

describeApart('schedulers that are killed and frozen', (mariadb) => {
  let system: SystemApart;
  let nats: NatsProcess;
  let database: TestDatabase;
  let services: Services;
  let messenger: Messenger;

  beforeAll(async () => {
    system = await SystemApart.open(mariadb);
    ({ nats, database } = system);
    services = system.services({ token: 'a'.repeat(32) });
    // One that is killed, one that is frozen, one that is left: the run is over before another one would be ready on a busy machine.
    await services.start({ 'state-machine': 1, scheduler: 3 });
    messenger = await openNatsMessenger({ log, name: 'test', url: nats.url });
    system.alsoEnd(() => messenger.drain());
  }, 120_000);
  afterAll(() => system?.remove(), 120_000);

  /** The process that holds the run. */
  const holderOf = async ({ workflow_run_id }: InsertedWorkflow): Promise<ServiceProcess | undefined> => {
    const [row] = await database.read<{ holder: string | null }>(
      'SELECT scheduler_instance AS holder FROM workflow_run_lease WHERE workflow_run_id = ?',
      [workflow_run_id],
    );
    return services.processes.find(({ instance }) => row?.holder?.startsWith(`${instance}/`) === true);
  };
  const numberOf = async (sql: string, ...params: number[]): Promise<number> =>
    Number((await database.read<{ n: number | null }>(sql, params))[0]?.n ?? 0);
  const doneOf = ({ workflow_id }: InsertedWorkflow): Promise<number> =>
    numberOf("SELECT COUNT(*) AS n FROM task WHERE workflow_id = ? AND status = 'D'", workflow_id);
  const lastInstance = ({ workflow_run_id }: InsertedWorkflow): Promise<number> =>
    numberOf('SELECT MAX(id) AS n FROM task_instance WHERE workflow_run_id = ?', workflow_run_id);

  /** Milliseconds from the blow to the first task that another scheduler has queued. */
  const recovery = async (workflow: InsertedWorkflow, victim: ServiceProcess): Promise<number> => {
    const began = performance.now();
    await until('another scheduler has the run', async () => (await holderOf(workflow)) !== victim, RECOVERY_MS_MAX);
    const last = await lastInstance(workflow);
    await until('it has queued a task', async () => (await lastInstance(workflow)) > last, RECOVERY_MS_MAX);
    return Math.round(performance.now() - began);
  };

  it(`queue the next of ${TASKS} tasks soon, and lose and double none`, async () => {
    const agent = await Agent.join(database, messenger);
    const workflow = await insertWorkflow(database, {
      user: 'ada',
      run_status: 'G',
      workflow_status: 'Q',
      tasks: TASKS,
      upstreams: (at) => (at < TIER ? [] : [at - TIER]),
    });
    // Live only now: schedulers are there already, and would walk a part of the graph.
    await database.change("UPDATE workflow_run SET status = 'B' WHERE id = ?", workflow.workflow_run_id);
    const recoveries: number[] = [];
    const strike = async (share: number, blow: (victim: ServiceProcess) => void): Promise<ServiceProcess> => {
      await until(`${share} of all tasks are done`, async () => (await doneOf(workflow)) >= TASKS * share, 180_000);
      const victim = (await holderOf(workflow))!;
      blow(victim);
      recoveries.push(await recovery(workflow, victim));
      return victim;
    };
    const status = async (): Promise<string> => {
      const [run] = await database.read<{ status: string }>('SELECT status FROM workflow_run WHERE id = ?', [
        workflow.workflow_run_id,
      ]);
      return run!.status;
    };
    const strikeTwice = async (): Promise<[ServiceProcess, ServiceProcess]> => {
      const killed = await strike(0.2, (victim) => victim.kill('SIGKILL'));
      const frozen = await strike(0.5, (victim) => victim.freeze());
      frozen.thaw();
      await until('the run has ended', async () => (await status()) !== 'R', 180_000);
      return [killed, frozen];
    };
    const working = agent.work(() => recoveries.length === 2);
    const [killed, frozen] = await strikeTwice()
      .catch((error: Error) => {
        throw new Error(`${error.message}; what troubled the agent last: ${String(agent.trouble)}`);
      })
      .finally(() => agent.leave());
    await working;
    const attempts = await numberOf(
      'SELECT COUNT(*) AS n FROM task_instance WHERE workflow_run_id = ?',
      workflow.workflow_run_id,
    );
    const lost = TASKS - (await doneOf(workflow));
    const doubled = agent.started.size - new Set(agent.started.values()).size;
    console.log(
      `takeover: ${TASKS} tasks; the next one was queued ${recoveries[0]} ms after kill -9 and ${recoveries[1]} ms after SIGSTOP of ` +
        `their scheduler; lost ${lost}, doubled ${doubled}, ${attempts} attempts`,
    );
    expect(await status()).toBe('D');
    expect({ lost, doubled, attempts }).toEqual({ lost: 0, doubled: 0, attempts: TASKS });
    expect(killed).not.toBe(frozen);
    // It lives, and counts among the living again.
    await frozen.ready();
    const alive = `SELECT COUNT(*) AS n FROM scheduler WHERE instance LIKE '${frozen.instance}/%' AND expires_date > UTC_TIMESTAMP()`;
    await until('the one that was frozen renews', async () => (await numberOf(alive)) === 1, RECOVERY_MS_MAX);
    const renewals = (): Promise<number> => frozen.metric('jobmon_leases_total', { what: 'renewed' });
    const renewed = await renewals();
    await until('the renewals of its thread are counted', async () => (await renewals()) > renewed, RECOVERY_MS_MAX);
    // A clean stop gives all back at once.
    expect(await frozen.end('SIGTERM')).toBe(0);
    expect(await numberOf(`SELECT COUNT(*) AS n FROM scheduler WHERE instance LIKE '${frozen.instance}/%'`)).toBe(0);
  }, 600_000);

  it('a main loop that hangs loses its leases: the thread renews for 5 s, for at most 8 s from the last report, and then no more', async () => {
    const terms = { scheduler_instance: 'hangs', lease_seconds: 6 };
    const worker = path.join(ROOT, 'dist', 'apps', 'scheduler', 'renewal-worker.js');
    const thread = new RenewalThread(log, worker, { terms, nats: { url: nats.url }, log: { level: 'silent' } });
    const seconds = (of: string): Promise<number> => numberOf(`SELECT ${of} AS n FROM scheduler WHERE instance = 'hangs'`);
    const clock = 'TIMESTAMPDIFF(SECOND, "2026-01-01", UTC_TIMESTAMP())';
    const deadline = 'TIMESTAMPDIFF(SECOND, "2026-01-01", expires_date)';
    try {
      thread.report();
      await until(
        'the thread has renewed',
        async () => {
          thread.report();
          return (await seconds(clock)) > 0;
        },
        60_000,
      );
      const before = await seconds(clock);
      thread.report();
      // This thread hangs: no timer, no promise, no message.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 8_000);
      const after = await seconds(deadline);
      expect(after).toBeGreaterThan(before + 6);
      // Whole seconds, and the report may have reached the thread a moment after the look at the clock.
      expect(after).toBeLessThanOrEqual(before + 10);
      thread.report();
      await until('it renews again', async () => (await seconds(deadline)) > after, 60_000);
    } finally {
      await thread.stop();
    }
  }, 180_000);
});

/** Does everything that it is given at once. */
class Agent {
  /** Tasks by the attempts that were given to it. */
  readonly started = new Map<number, number>();
  /** What went wrong last, if anything did. */
  trouble: unknown = null;
  private isLeaving = false;

  private constructor(
    private readonly database: Database,
    private readonly messenger: Messenger,
    private readonly agent_id: number,
  ) {}

  static async join(database: TestDatabase, messenger: Messenger): Promise<Agent> {
    const { now } = database.dialect;
    const id = await database.change(
      'INSERT INTO agent (hostname, `user`, any_user, clusters, state_directory, process_id, version, registered_date, lease_until_date) ' +
        `VALUES ('host', 'ada', 0, '["sequential"]', '/', 1, '', ${now}, DATE_ADD(${now}, INTERVAL 1 DAY))`,
    );
    return new Agent(database, messenger, id);
  }

  /** Until it leaves. While something is to be seen first (`isHurried` says no), it does a quarter of a tier at a time. */
  async work(isHurried: () => boolean): Promise<void> {
    while (!this.isLeaving) {
      const most = isHurried() ? 1_000 : Math.max(1, Math.ceil(TIER / 4));
      const done = await this.workOnce(Math.min(most, 500)).catch((error: unknown) => {
        this.trouble = error;
        return 0;
      });
      if (done === 0 || !isHurried()) await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  leave(): void {
    this.isLeaving = true;
  }

  /** What it holds it reads from the database: an answer that came too late must not leave an attempt with nobody. */
  private async workOnce(slots: number): Promise<number> {
    const wanted = { sequential: { slots, cores: slots, memory_gib: slots } };
    await send(this.messenger, leaseTaskInstances, { agent_id: this.agent_id, wanted });
    const held = await this.database.read<{ id: number; task_id: number }>(
      "SELECT id, task_id FROM task_instance WHERE agent_id = ? AND status IN ('I', 'R') ORDER BY id LIMIT 500",
      [this.agent_id],
    );
    for (const { id, task_id } of held) this.started.set(id, task_id);
    const reports = held.map(({ id: task_instance_id }) => ({
      agent_id: this.agent_id,
      report: { task_instance_id, status: 'D' as const },
    }));
    if (held.length > 0) for (const outcome of await this.messenger.request(reportAttempt, reports)) replyOf(outcome);
    return held.length;
  }
}
