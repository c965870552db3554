/** A scheduler beside a real state machine, for tests: a bus and a clock of its own, and an agent that answers for the commands. */
import { leaseTaskInstances, reportAttempt, type Assignment, type AttemptReport, type TaskStatus } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { inProcessMessenger, replyOf, send, type Messenger } from '@jobmon/messaging';
import { stateMachineModule } from '@jobmon/state-machine';
import type { InsertedWorkflow } from '@jobmon/testkit';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { pino } from 'pino';
import { Scheduler } from '../src/scheduler';

const log = pino({ level: 'silent' });
/** So long that no deadline passes by itself in a test that is slow. */
const LEASE_SECONDS = 300;

/** An agent of the user ada, alive for an hour. */
function insertAgent(database: Database): Promise<number> {
  const { now, nowPlusSeconds } = database.dialect;
  return database.write({ label: 'test.agent' }, function* () {
    const inserted = yield {
      sql:
        'INSERT INTO agent (hostname, `user`, any_user, clusters, state_directory, process_id, version, registered_date, ' +
        `lease_until_date) VALUES ('host', 'ada', 0, '["sequential"]', '/', 1, '', ${now}, ${nowPlusSeconds})`,
      params: [3_600],
    };
    return inserted.insert_id;
  });
}

export class Bench {
  now = 0;
  readonly scheduler: Scheduler;
  /** Task ids in the order of their leases. */
  readonly started: number[] = [];
  liveMost = 0;

  private constructor(
    readonly database: Database,
    readonly messenger: Messenger,
    private readonly app: INestApplicationContext,
    private readonly agent_id: number,
  ) {
    this.scheduler = this.another();
  }

  static async open(database: Database): Promise<Bench> {
    const messenger = inProcessMessenger({ log });
    const app = await NestFactory.createApplicationContext(stateMachineModule({ log, messenger, database }), { logger: false });
    return new Bench(database, messenger, app, await insertAgent(database));
  }

  another(): Scheduler {
    const { messenger, database } = this;
    return new Scheduler(
      { config: { scheduler: { reconcile_seconds: 5, lease_seconds: LEASE_SECONDS } }, log, messenger, database },
      () => this.now,
    );
  }

  async close(): Promise<void> {
    await this.scheduler.stop();
    await this.app.close();
  }

  /** The clock goes on by these seconds, with a look after each. */
  async seconds(count: number, scheduler = this.scheduler): Promise<void> {
    for (let second = 0; second < count; second += 1) {
      this.now += 1_000;
      await scheduler.look();
      await scheduler.quiet();
    }
  }

  /** The agent takes at most this many attempts and ends each as told; answers how many it had. */
  async work(ending: (taskId: number) => AttemptReport['status'], wanted = 1_000): Promise<number> {
    const { task_instance_ids: ids } = await send(this.messenger, leaseTaskInstances, {
      agent_id: this.agent_id,
      wanted: { sequential: { slots: wanted, cores: wanted, memory_gib: wanted } },
    });
    if (ids.length === 0) return 0;
    const tasks = await this.database.read<Pick<Assignment, 'task_instance_id' | 'task_id'>>(
      `SELECT id AS task_instance_id, task_id FROM task_instance WHERE id IN (${ids.join(',')}) ORDER BY id`,
    );
    const live = await this.database.read<{ n: number }>(
      "SELECT COUNT(*) AS n FROM task_instance WHERE status IN ('Q', 'I', 'R')",
    );
    this.liveMost = Math.max(this.liveMost, Number(live[0]?.n));
    this.started.push(...tasks.map(({ task_id }) => task_id));
    const report = (status: AttemptReport['status'], task_instance_id: number) => ({
      agent_id: this.agent_id,
      report: { task_instance_id, status },
    });
    const outcomes = await this.messenger.request(
      reportAttempt,
      tasks.map(({ task_id, task_instance_id }) => report(ending(task_id), task_instance_id)),
    );
    for (const outcome of outcomes) replyOf(outcome);
    return ids.length;
  }

  /** Works until the run has ended; every round gives the scheduler `step` seconds. Throws when it does not end. */
  async workToEnd(
    workflow: InsertedWorkflow,
    ending: (taskId: number) => AttemptReport['status'] = () => 'D',
    step = 6,
  ): Promise<string> {
    for (let round = 0; round < 100; round += 1) {
      await this.seconds(step);
      const status = await this.runStatus(workflow);
      if (status !== 'R') return status;
      await this.work(ending);
    }
    throw new Error(`workflow run ${workflow.workflow_run_id} did not end within 100 rounds`);
  }

  async runStatus(workflow: InsertedWorkflow): Promise<string> {
    const rows = await this.database.read<{ status: string }>('SELECT status FROM workflow_run WHERE id = ?', [
      workflow.workflow_run_id,
    ]);
    return rows[0]!.status;
  }

  async taskStatuses(workflow: InsertedWorkflow): Promise<string> {
    const rows = await this.database.read<{ status: TaskStatus }>('SELECT status FROM task WHERE workflow_id = ? ORDER BY id', [
      workflow.workflow_id,
    ]);
    return rows.map(({ status }) => status).join('');
  }
}
