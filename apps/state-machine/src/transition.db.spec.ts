/** What must hold when many write at once and things go wrong in the middle, on both databases, and what each transition costs. */
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow } from '@jobmon/testkit';
import { interposed, losingCommits, waitingAt } from '../test/interposed';
import {
  countTasks,
  errorsOf,
  execute,
  expectTruth,
  historyOf,
  insertAgent,
  replies,
  standing,
  startMachine,
  rooms,
} from '../test/started-machine';
import type { StateMachine } from './state-machine';
import type { Report } from './task-instance';

const done = (task_instance_id: number, more: object = {}): Report => ({
  name: 'log_done',
  request: { task_instance_id, ...more },
});
const failed = (task_instance_id: number): Report => ({
  name: 'log_error_worker_node',
  request: { task_instance_id, error_state: 'E', error_description: 'it broke' },
});

describeOnDatabases('many at once', (database, kind) => {
  const running = (tasks: number, more: object = {}): Promise<InsertedWorkflow> =>
    insertWorkflow(database(), { driver: 'client', tasks, instance_status: 'R', task_status: 'R', ...more });

  test('50 writers, every fifth transaction rolled back, every report sent three times: each counts once', async () => {
    const made = await running(100);
    const before = await countTasks(database(), made.workflow_id);
    let transactions = 0;
    const breaking = interposed(database(), (statement, result) => {
      if (!statement.sql.startsWith('INSERT INTO task_instance_history')) return result;
      transactions += 1;
      if (transactions % 5 === 0) throw new Error('rolled back by the test');
      return result;
    });
    const writers = Array.from({ length: 50 }, (_, at) => startMachine(breaking, `writer ${at % 3}`).machine);
    const sendUntilHeard = async (machine: StateMachine, id: number): Promise<string | null> => {
      for (let tries = 0; tries < 20; tries += 1) {
        const [outcome] = await machine.report([id % 2 === 0 ? done(id) : failed(id)]);
        if (outcome && 'ok' in outcome) return outcome.ok.status;
      }
      return 'never heard';
    };
    // Each writer reports six instances one after the other; each instance is reported by three writers.
    const answers = await Promise.all(
      writers.map(async (machine, at) => {
        const heard: (string | null)[] = [];
        for (let step = 0; step < 6; step += 1) {
          heard.push(await sendUntilHeard(machine, made.task_instance_ids[(2 * at + step) % 100]!));
        }
        return heard;
      }),
    );
    expect(new Set(answers.flat())).toEqual(new Set(['D', 'E']));
    for (const row of await standing(database(), made.task_instance_ids)) {
      expect([row.id, row.status, row.task_status]).toEqual([row.id, row.id % 2 === 0 ? 'D' : 'E', row.id % 2 === 0 ? 'D' : 'G']);
      expect(await errorsOf(database(), row.id)).toHaveLength(row.id % 2);
    }
    expect(transactions).toBeGreaterThan(100);
    await expectTruth(database(), made.workflow_id, before);
  });

  test.each([
    ['as another program would, the status alone', "status = 'G', num_attempts = 0"],
    ['with the fence cleared', "status = 'G', num_attempts = 0, current_task_instance_id = 0"],
  ])('a reset beside a stream of reports, %s, leaves no current instance D with its task G', async (_, set) => {
    const made = await running(120);
    const machines = ['one', 'two'].map((name) => startMachine(database(), name).machine);
    const outcomes = await Promise.all(
      made.task_instance_ids.flatMap((id, at) => [
        machines[at % 2]!.report([done(id)]),
        // D is kept by every reset (spec/state-machines.md section 11).
        execute(database(), `UPDATE task SET ${set} WHERE id = ? AND status <> 'D'`, [made.task_ids[at]!]),
      ]),
    );
    expect(outcomes).toHaveLength(240);
    const rows = await standing(database(), made.task_instance_ids);
    for (const row of rows) {
      const isCurrent = row.current_task_instance_id === row.id;
      const pair = `${row.status}/${row.task_status}`;
      expect(isCurrent ? ['D/D', 'R/G'] : ['D/G']).toContain(pair);
    }
  });

  if (kind.name === 'mariadb') {
    test('a deadlock is run again and nobody notices', async () => {
      const made = await running(1);
      const [id] = made.task_instance_ids as [number];
      const retries = database().counts.retries;
      const { machine } = startMachine(database());
      // Takes the two rows in the wrong order, with time between them for the report to take the first of its own.
      const wrongWayRound = database().write({ label: 'test' }, function* () {
        yield { sql: 'SELECT id FROM task_instance WHERE id = ? FOR UPDATE', params: [id] };
        yield { sql: 'SELECT SLEEP(0.5)' };
        yield { sql: 'SELECT id FROM task WHERE id = ? FOR UPDATE', params: [made.task_ids[0]!] };
      });
      await waitFor(async () => {
        const [row] = await database().read<{ n: number }>(
          'SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST WHERE INFO LIKE ?',
          ['SELECT SLEEP(0.5)%'],
        );
        return Number(row?.n) > 0;
      });
      const [answer] = await Promise.all([machine.report([done(id)]), wrongWayRound]);
      expect(replies(answer)).toEqual([{ status: 'D' }]);
      expect(database().counts.retries).toBeGreaterThan(retries);
      expect(await historyOf(database(), id)).toEqual(['D']);
    });

    test('a lock that is held longer than the lock time-out is waited for again', async () => {
      const made = await running(1);
      const [id] = made.task_instance_ids as [number];
      const retries = database().counts.retries;
      const { machine } = startMachine(database());
      const holder = database().write({ label: 'test' }, function* () {
        yield { sql: 'SELECT id FROM task WHERE id = ? FOR UPDATE', params: [made.task_ids[0]!] };
        yield { sql: 'SELECT SLEEP(3.6)' };
      });
      await waitFor(async () => {
        const [row] = await database().read<{ n: number }>(
          'SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST WHERE INFO LIKE ?',
          ['SELECT SLEEP(3.6)%'],
        );
        return Number(row?.n) > 0;
      });
      const [answer] = await Promise.all([machine.report([done(id)]), holder]);
      expect(replies(answer)).toEqual([{ status: 'D' }]);
      expect(database().counts.retries).toBeGreaterThan(retries);
    });
  }

  test('a lost answer to COMMIT: the repeat finds what the first did, and has no second effect', async () => {
    const user = 'lost';
    const made = await insertWorkflow(database(), { user, tasks: 3 });
    const before = await countTasks(database(), made.workflow_id);
    const agent_id = await insertAgent(database(), { user });
    const lossy = () => startMachine(losingCommits(database(), 1)).machine;
    const request = { workflow_run_id: made.workflow_run_id, task_ids: [...made.task_ids] };
    const [queued] = replies([await lossy().queueTasks(request)]);
    expect(queued?.statuses.map(([, status]) => status)).toEqual(['Q', 'Q', 'Q']);
    const [leased] = replies([await lossy().leaseTaskInstances({ agent_id, wanted: rooms({ sequential: 2 }) })]);
    expect(leased?.task_instance_ids).toHaveLength(2);
    const [first, second] = leased!.task_instance_ids as [number, number];
    const report = (task_instance_id: number, status: 'D' | 'E'): Report => ({
      name: 'report_attempt',
      request: { agent_id, report: { task_instance_id, status, error_description: 'why' } },
    });
    const answers = replies(await lossy().report([report(first, 'D'), report(second, 'E')]));
    expect(answers.map(({ status }) => status)).toEqual(['D', 'E']);
    expect(await historyOf(database(), first)).toEqual(['Q', 'I', 'R', 'D']);
    expect(await errorsOf(database(), second)).toEqual(['why']);
    const [count] = await database().read<{ n: number }>('SELECT COUNT(*) AS n FROM task_instance WHERE workflow_run_id = ?', [
      made.workflow_run_id,
    ]);
    expect(Number(count?.n)).toBe(3);
    await expectTruth(database(), made.workflow_id, before);
  });

  test('lanes do not wait for each other: a stuck request of one holds up no other', async () => {
    const made = await running(1);
    const server = await insertWorkflow(database(), { task_status: 'D' });
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    const { machine } = startMachine(waitingAt(database(), 'task.queue', gate));
    const stuck = machine.queueTasks({ workflow_run_id: server.workflow_run_id, task_ids: [...server.task_ids] });
    expect(replies(await machine.report([done(made.task_instance_ids[0]!)]))).toEqual([{ status: 'D' }]);
    expect(replies([await machine.moveWorkflowRun({ workflow_run_id: server.workflow_run_id, to: 'D' })])).toMatchObject([
      { status: 'D' },
    ]);
    open();
    expect(replies([await stuck])).toMatchObject([{ statuses: [[server.task_ids[0], 'D']] }]);
  });

  test('a guard that misses under the lock is logged, rolled back, and each request is done again alone', async () => {
    const made = await running(8);
    const before = await countTasks(database(), made.workflow_id);
    let misses = 1;
    const lying = interposed(database(), (statement, result) => {
      if (misses === 0 || !/UPDATE .*task SET|UPDATE .*task FORCE/.test(statement.sql)) return result;
      misses -= 1;
      return { ...result, affected: result.affected - 1 };
    });
    const { machine, lines } = startMachine(lying);
    expect(replies(await machine.report(made.task_instance_ids.map((id) => done(id))))).toEqual(Array(8).fill({ status: 'D' }));
    expect(misses).toBe(0);
    expect(lines.filter(({ level }) => level === 'error')).toMatchObject([{ message: 'a guard missed under the lock' }]);
    await expectTruth(database(), made.workflow_id, before);
  });
});

describeOnDatabases('one poison among 500', (database, kind) => {
  test('only it gets the error, within a bounded number of statements', async () => {
    const made = await insertWorkflow(database(), { driver: 'client', tasks: 500, instance_status: 'R', task_status: 'R' });
    await execute(
      database(),
      kind.name === 'sqlite'
        ? "CREATE TRIGGER poison BEFORE UPDATE ON task_instance WHEN NEW.nodename = 'poison' BEGIN SELECT RAISE(ABORT, 'poison'); END"
        : "CREATE TRIGGER poison BEFORE UPDATE ON task_instance FOR EACH ROW IF NEW.nodename = 'poison' THEN " +
            "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'poison'; END IF",
    );
    const before = await countTasks(database(), made.workflow_id);
    const { machine } = startMachine(database());
    const start = { ...database().counts };
    const outcomes = await machine.report(
      made.task_instance_ids.map((id, at) => done(id, { nodename: at === 321 ? 'poison' : 'n1' })),
    );
    const wrong = outcomes.flatMap((outcome, at) => ('error' in outcome ? [[at, outcome.error.code]] : []));
    expect(wrong).toEqual([[321, 'INTERNAL']]);
    expect(outcomes.filter((outcome) => 'ok' in outcome)).toHaveLength(499);
    // Ten batches that fail at their fourth statement, nine halves that succeed with seven.
    expect(database().counts.statements - start.statements).toBeLessThanOrEqual(10 * 6 + 9 * 9);
    expect(await standing(database(), [made.task_instance_ids[321]!])).toMatchObject([{ status: 'R', task_status: 'R' }]);
    await expectTruth(database(), made.workflow_id, before);
  });
});

describeOnDatabases('what a transition costs', (database, kind) => {
  /** `[statements, transactions, rows read, rows written]`; MariaDB counts an upsert that finds its row twice. */
  const cost = async (work: () => Promise<unknown>): Promise<number[]> => {
    const before = { ...database().counts };
    await work();
    const { statements, transactions, rows_read, rows_written } = database().counts;
    return [
      statements - before.statements,
      transactions - before.transactions,
      rows_read - before.rows_read,
      rows_written - before.rows_written,
    ];
  };
  const COSTS: Record<string, Record<'sqlite' | 'mariadb', number[]>> = {
    'one log_done': { sqlite: [7, 1, 3, 5], mariadb: [7, 1, 3, 5] },
    'log_done of 64': { sqlite: [7, 1, 192, 194], mariadb: [7, 1, 192, 196] },
    'queue of 500': { sqlite: [13, 1, 1504, 1502], mariadb: [13, 1, 1504, 1502] },
    'lease of 100': { sqlite: [12, 1, 403, 302], mariadb: [12, 1, 403, 303] },
    'one heartbeat': { sqlite: [4, 1, 3, 1], mariadb: [4, 1, 3, 1] },
  };

  test('statements and rows are those of the table', async () => {
    const { machine } = startMachine(database());
    const running = await insertWorkflow(database(), { driver: 'client', tasks: 66, instance_status: 'R', task_status: 'R' });
    const ready = await insertWorkflow(database(), { tasks: 500, user: 'cost' });
    const agent_id = await insertAgent(database(), { user: 'cost' });
    const [first, second, ...rest] = running.task_instance_ids as [number, number, ...number[]];
    const beat: Report = { name: 'log_report_by', request: { task_instance_id: second, next_report_increment: 279 } };
    const measured: Record<string, number[]> = {
      'one log_done': await cost(() => machine.report([done(first, { stdout_log: 'x', nodename: 'n' })])),
      'log_done of 64': await cost(() => machine.report(rest.map((id) => done(id, { stdout_log: 'x', nodename: 'n' })))),
      'queue of 500': await cost(() =>
        machine.queueTasks({ workflow_run_id: ready.workflow_run_id, task_ids: [...ready.task_ids] }),
      ),
      'lease of 100': await cost(() => machine.leaseTaskInstances({ agent_id, wanted: rooms({ sequential: 100 }) })),
      'one heartbeat': await cost(() => machine.report([beat])),
    };
    expect(measured).toEqual(Object.fromEntries(Object.entries(COSTS).map(([name, costs]) => [name, costs[kind.name]])));
  });
});

/** Waits until a condition of the database holds, at most 10 s. */
async function waitFor(isSo: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await isSo())) if (Date.now() > deadline) throw new Error('it never came to that');
}
