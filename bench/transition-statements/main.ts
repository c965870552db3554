/**
 * What each statement of the state machine costs, in rows a second, inside its real transaction: 500 reports, 1,000 queued tasks, 500
 * leased and 1,000 expired attempts, on SQLite and on MariaDB, in a table of 100,000 tasks and their instances. The figures beside
 * the statements come from here.
 */
import type { Database, Procedure } from '@jobmon/entities';
import { databases, insertWorkflow } from '@jobmon/testkit';
import { expire, lease } from '../../apps/state-machine/src/agent';
import { queue } from '../../apps/state-machine/src/task';
import { applyReports, type Report } from '../../apps/state-machine/src/task-instance';

const ROUNDS = 20;
const TASKS_BESIDE = 100_000;

/** Milliseconds of each statement of a kind of transaction in its fastest round, by a shortened text. */
type Times = Map<string, number>;

function shortened(sql: string): string {
  const table = /STRAIGHT_JOIN (\w+)/.exec(sql) ?? /(?:INTO|UPDATE|FROM) (\w+)/.exec(sql);
  return `${sql.split(' ', 1)[0]} ${table?.[1] ?? ''}${sql.includes('given') ? ' from JSON' : ''}${sql.endsWith('FOR UPDATE') ? ', locking' : ''}`;
}

async function timed<T>(database: Database, times: Times, procedure: () => Procedure<T>): Promise<T> {
  const note = (name: string, since: number): void => {
    const ms = performance.now() - since;
    times.set(name, Math.min(times.get(name) ?? ms, ms));
  };
  const started = performance.now();
  const answer = await database.write({ label: 'bench' }, function* () {
    const inner = procedure();
    let step = inner.next();
    while (!step.done) {
      const { sql } = step.value;
      const before = performance.now();
      const result = yield step.value;
      note(shortened(sql), before);
      step = inner.next(result);
    }
    return step.value;
  });
  note('whole transaction', started);
  return answer;
}

function print(kind: string, what: string, rows: number, times: Times): void {
  console.log(`\n${kind}: ${what}, fastest of ${ROUNDS}`);
  for (const [statement, ms] of [...times].sort((a, b) => b[1] - a[1])) {
    console.log(
      `  ${statement.padEnd(48)} ${Math.round((rows / ms) * 1000)
        .toLocaleString('en')
        .padStart(12)} rows/s`,
    );
  }
}

async function agentOf(database: Database, lease_seconds: number): Promise<number> {
  const { now, nowPlusSeconds } = database.dialect;
  return database.write({ label: 'bench' }, function* () {
    const inserted = yield {
      sql:
        'INSERT INTO agent (hostname, `user`, any_user, clusters, state_directory, process_id, version, registered_date, lease_until_date) ' +
        `VALUES ('n', 'bench', 0, '[]', '/', 1, '1', ${now}, ${nowPlusSeconds})`,
      params: [lease_seconds],
    };
    return inserted.insert_id;
  });
}

async function main(): Promise<void> {
  for (const kind of databases()) {
    const database = await kind.open();
    const { dialect } = database;
    try {
      await insertWorkflow(database, { tasks: TASKS_BESIDE, instance_status: 'D', task_status: 'D' });
      const all = { reports: new Map(), queue: new Map(), lease: new Map(), expire: new Map() } as Record<string, Times>;
      for (let round = 0; round < ROUNDS; round += 1) {
        const running = await insertWorkflow(database, { driver: 'client', tasks: 500, instance_status: 'R', task_status: 'R' });
        const reports = running.task_instance_ids.map((id): Report => ({
          name: 'log_done',
          request: { task_instance_id: id, stdout_log: `${'x'.repeat(200)}${id}`, stderr_log: '', nodename: 'node1' },
        }));
        await timed(database, all.reports!, () => applyReports(dialect, 'bench', reports));
        const ready = await insertWorkflow(database, { tasks: 1_000, user: 'bench' });
        const request = { workflow_run_id: ready.workflow_run_id, task_ids: [...ready.task_ids] };
        await timed(database, all.queue!, () => queue(dialect, 'bench', request));
        const agent_id = await agentOf(database, 60);
        const wanted = { sequential: { slots: 500, cores: 500, memory_gib: 500 } };
        await timed(database, all.lease!, () =>
          lease(dialect, 'bench', { agent_id, wanted }, { run_id: 0, head_starts: 0 }, new Set()),
        );
        const silent = await agentOf(database, -5);
        await insertWorkflow(database, { tasks: 1_000, instance_status: 'R', task_status: 'R', agent_id: silent });
        await timed(database, all.expire!, () => expire(dialect, 'bench', { agent_id: silent }));
      }
      print(kind.name, '500 log_done', 500, all.reports!);
      print(kind.name, '1,000 tasks queued', 1_000, all.queue!);
      print(kind.name, '500 leased', 500, all.lease!);
      print(kind.name, '1,000 expired', 1_000, all.expire!);
    } finally {
      await database.drop();
    }
  }
}

void main();
