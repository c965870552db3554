/** Leases on both databases: who gets which runs, and what a former holder's writes do. */
import { resumeWorkflow, type Lease, type ReplyOf, type leaseWorkflowRuns } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import mysql from 'mysql2/promise';
import { execute, replies } from '../test/started-machine';
import { letters, startOperator, tasksAt } from '../test/started-operator';

const SECONDS = 60;
const idsOf = (reply: ReplyOf<typeof leaseWorkflowRuns> | undefined): number[] => (reply?.leases ?? []).map(([id]) => id);
const runsOf = (made: readonly InsertedWorkflow[]): number[] => made.map(({ workflow_run_id }) => workflow_run_id);

describeOnDatabases('leases of server runs', (database, kind) => {
  const start = () => startOperator(database());
  const insert = (count: number, more: WorkflowToInsert = {}): Promise<InsertedWorkflow[]> =>
    Promise.all(Array.from({ length: count }, () => insertWorkflow(database(), more))).then((made) =>
      made.sort((a, b) => a.workflow_run_id - b.workflow_run_id),
    );
  const take = async (scheduler_instance: string, more: { runs_max?: number; is_start?: boolean } = {}) => {
    const asked = { scheduler_instance, seconds: SECONDS, runs_max: 1_000, is_start: false, ...more };
    return replies([await start().machine.leaseWorkflowRuns(asked)])[0]!;
  };
  const renew = async (scheduler_instance: string, seconds = SECONDS) =>
    replies([await start().machine.renewScheduler({ scheduler_instance, seconds })]);
  const release = async (scheduler_instance: string, leases: Lease[], is_leaving = false) =>
    replies([await start().machine.releaseWorkflowRuns({ scheduler_instance, leases, is_leaving })])[0]!.released;
  /** Its deadline has just passed. */
  const expire = (scheduler_instance: string) =>
    execute(database(), `UPDATE scheduler SET expires_date = ${database().dialect.now} WHERE instance = ?`, [scheduler_instance]);
  const leases = () =>
    database().read<{ id: number; holder: string | null; fence: number }>(
      'SELECT workflow_run_id AS id, scheduler_instance AS holder, fence FROM workflow_run_lease ORDER BY workflow_run_id',
    );

  afterEach(async () => {
    await execute(database(), "UPDATE workflow_run SET status = 'E' WHERE status <> 'D'");
    for (const table of ['workflow_run_lease', 'scheduler', 'workflow_command'])
      await execute(database(), `DELETE FROM ${table}`);
  });

  test('a scheduler alone takes all live server runs, by priority and then by age, and never twice', async () => {
    const made = await insert(3);
    await insert(1, { driver: 'client' });
    await insert(1, { run_status: 'E', workflow_status: 'F' });
    await execute(database(), 'UPDATE workflow SET priority = 5 WHERE id = ?', [made[2]!.workflow_id]);
    expect(idsOf(await take('a', { runs_max: 1 }))).toEqual([made[2]!.workflow_run_id]);
    expect((await take('a')).leases).toEqual([
      [made[0]!.workflow_run_id, 1],
      [made[1]!.workflow_run_id, 1],
    ]);
    expect(await take('a')).toEqual({ leases: [] });
    expect((await leases()).map(({ holder, fence }) => [holder, fence])).toEqual([
      ['a', 1],
      ['a', 1],
      ['a', 1],
    ]);
  });

  test('what a holder keeps by its deadline nobody takes; from the deadline on others do, under a higher number', async () => {
    const [made] = await insert(1);
    await take('a');
    expect(await take('b')).toEqual({ leases: [] });
    await expire('a');
    expect((await take('b')).leases).toEqual([[made!.workflow_run_id, 2]]);
    // It lives again, but the run is somebody else's.
    await renew('a');
    expect(await take('a')).toEqual({ leases: [] });
    expect(await leases()).toEqual([{ id: made!.workflow_run_id, holder: 'b', fence: 2 }]);
  });

  test('a renewal moves one row, and with it the deadline of all leases', async () => {
    await insert(20);
    await take('a');
    await expire('a');
    const before = { ...database().counts };
    await renew('a');
    const { statements, transactions } = database().counts;
    expect([statements - before.statements, transactions - before.transactions]).toEqual([1, 1]);
    expect(await take('b')).toEqual({ leases: [] });
    const alive = await database().read(`SELECT instance FROM scheduler WHERE expires_date > ${database().dialect.now}`);
    expect(alive).toHaveLength(2);
  });

  test('each of three schedulers takes its share of what is free, however they ask at one time, and no run goes to two', async () => {
    const made = await insert(10);
    for (const name of ['a', 'b', 'c']) await renew(name);
    const answers = await Promise.all(['a', 'b', 'c'].map((name) => take(name)));
    // Who asked at the same moment may have met rows that another one was taking.
    for (const name of ['a', 'b', 'c']) answers.push(await take(name));
    expect(answers.flatMap(idsOf).sort((x, y) => x - y)).toEqual(runsOf(made));
    const held = (await leases()).map(({ holder }) => holder);
    for (const name of ['a', 'b', 'c']) expect(held.filter((holder) => holder === name).length).toBeLessThanOrEqual(4);
  });

  test('what is given back is free at once under a new number; what is no longer held is left alone', async () => {
    const [first, second] = await insert(2);
    const taken = (await take('a')).leases;
    expect(await release('a', [[first!.workflow_run_id, 7]])).toBe(0);
    expect(await release('b', taken)).toBe(0);
    expect(await release('a', [taken[0]!])).toBe(1);
    expect((await take('b')).leases).toEqual([[first!.workflow_run_id, 3]]);
    expect(await release('a', [taken[0]!])).toBe(0);
    expect(await release('a', [], true)).toBe(1);
    expect((await take('b')).leases).toEqual([[second!.workflow_run_id, 3]]);
    expect(await database().read('SELECT instance FROM scheduler')).toEqual([{ instance: 'b' }]);
  });

  test('who starts under a name takes at once what was leased under it; rows of those long gone are removed', async () => {
    const [made] = await insert(1);
    await take('local');
    await execute(database(), "INSERT INTO scheduler (instance, expires_date) VALUES ('gone', '2020-01-01 00:00:00')");
    expect((await take('local', { is_start: true })).leases).toEqual([[made!.workflow_run_id, 3]]);
    expect(await database().read('SELECT instance FROM scheduler')).toEqual([{ instance: 'local' }]);
  });

  test('a command that waits makes the newest run of its workflow one to be leased, although it has ended', async () => {
    const [, newest] = [await insert(1), ...(await insert(1, { run_status: 'T', workflow_status: 'H' }))];
    await execute(
      database(),
      'INSERT INTO workflow_command (workflow_id, operation, request, after_array_id, after_task_id, tasks, attempts, started_date, moved_date) ' +
        `VALUES (${newest!.workflow_id}, 'workflow.resume', '{}', 0, 0, 0, 0, '2020-01-01 00:00:00', '2020-01-01 00:00:00')`,
    );
    expect(idsOf(await take('a'))).toContain(newest!.workflow_run_id);
  });

  if (kind.name === 'mariadb') {
    test('a transaction that is stuck with one lease keeps that one back and no other', async () => {
      const [stuck, free] = runsOf(await insert(2));
      await take('a');
      await expire('a');
      const other = await mysql.createConnection({ uri: database().url.replace(/^mariadb:/, 'mysql:') });
      try {
        await other.beginTransaction();
        await other.query('SELECT * FROM workflow_run_lease WHERE workflow_run_id = ? FOR UPDATE', [stuck]);
        expect(idsOf(await take('b'))).toEqual([free]);
        await other.rollback();
        expect(idsOf(await take('b'))).toEqual([stuck]);
      } finally {
        await other.end();
      }
    });
  }

  describe('a former holder', () => {
    /** A run whose lease has gone on from number 1 to number 2. */
    const lost = async (more: WorkflowToInsert = {}): Promise<InsertedWorkflow> => {
      const made = await insertWorkflow(database(), more);
      await take('old');
      await expire('old');
      expect(idsOf(await take('new'))).toContain(made.workflow_run_id);
      return made;
    };
    const stand = async ({ workflow_id, workflow_run_id }: InsertedWorkflow) => [
      await letters(database(), workflow_id),
      await tasksAt(database(), workflow_id),
      await database().read('SELECT heartbeat_date FROM workflow_run WHERE id = ?', [workflow_run_id]),
      await database().read('SELECT COUNT(*) AS n FROM task_instance WHERE workflow_run_id = ?', [workflow_run_id]),
      await database().read('SELECT * FROM workflow_command WHERE workflow_id = ?', [workflow_id]),
    ];
    type Write = (made: InsertedWorkflow, fence: number | undefined) => Promise<unknown>;
    const waits = async (made: InsertedWorkflow): Promise<void> => {
      const asked = {
        workflow_id: made.workflow_id,
        user: 'ada',
        reason: '',
        client_version: '',
        mode: 'hot',
        resources: [],
      } as const;
      await start().operator.resume(resumeWorkflow.request.parse(asked));
      await execute(database(), "UPDATE workflow_command SET moved_date = '2020-01-01 00:00:00'");
    };
    const nothing = async (): Promise<void> => undefined;
    const writes: readonly [string, WorkflowToInsert, Write, (made: InsertedWorkflow) => Promise<void>][] = [
      [
        'task.queue',
        { tasks: 2 },
        async ({ workflow_run_id, task_ids }, fence) =>
          replies([await start().machine.queueTasks({ workflow_run_id, fence, task_ids: [...task_ids] })])[0],
        nothing,
      ],
      [
        'workflow_run.move to R',
        { run_status: 'B', workflow_status: 'Q' },
        async ({ workflow_run_id }, fence) =>
          replies([await start().machine.moveWorkflowRun({ workflow_run_id, fence, to: 'R' })])[0],
        nothing,
      ],
      [
        'workflow_run.move to D',
        { task_status: 'D' },
        async ({ workflow_run_id }, fence) =>
          replies([await start().machine.moveWorkflowRun({ workflow_run_id, fence, to: 'D' })])[0],
        nothing,
      ],
      [
        'workflow_run.settle',
        { run_status: 'C', instance_status: 'Q', task_status: 'Q', tasks: 2 },
        ({ workflow_run_id }, fence) => start().operator.settle(workflow_run_id, { fence: fence ?? 0 }),
        nothing,
      ],
      [
        'the end that settling makes',
        { run_status: 'H', task_status: 'F' },
        ({ workflow_run_id }, fence) => start().operator.settle(workflow_run_id, { fence: fence ?? 0 }),
        nothing,
      ],
      [
        'workflow.continue_command',
        { run_status: 'H', instance_status: 'R', task_status: 'R' },
        ({ workflow_id, workflow_run_id }, fence) => start().wide.continueCommand(workflow_id, [workflow_run_id, fence ?? 0]),
        async (made) => {
          await waits(made);
          await execute(database(), "UPDATE task_instance SET status = 'E' WHERE workflow_run_id = ?", [made.workflow_run_id]);
          await execute(database(), "UPDATE task SET status = 'F' WHERE workflow_id = ?", [made.workflow_id]);
          await execute(database(), "UPDATE workflow_run SET status = 'T' WHERE id = ?", [made.workflow_run_id]);
          await execute(database(), "UPDATE workflow SET status = 'H' WHERE id = ?", [made.workflow_id]);
        },
      ],
    ];

    test.each(writes)(
      'changes nothing by %s, with its number or without one; the holder does',
      async (_, more, write, prepare) => {
        const made = await lost(more);
        await prepare(made);
        const before = await stand(made);
        for (const fence of [1, undefined]) {
          expect(await write(made, fence)).toMatchObject({ is_lease_lost: true });
          expect(await stand(made)).toEqual(before);
        }
        expect(await write(made, 2)).not.toMatchObject({ is_lease_lost: true });
        expect(await stand(made)).not.toEqual(before);
      },
    );

    test('is answered with what stands', async () => {
      const made = await lost({ tasks: 2, task_status: (at) => (at === 0 ? 'D' : 'G') });
      const { workflow_run_id, task_ids } = made;
      const queue = { workflow_run_id, fence: 1, task_ids: [...task_ids] };
      expect(replies([await start().machine.queueTasks(queue)])[0]).toEqual({
        statuses: [
          [task_ids[0], 'D'],
          [task_ids[1], 'G'],
        ],
        held_back: [],
        is_lease_lost: true,
      });
      const move = { workflow_run_id, fence: 1, to: 'E' } as const;
      expect(replies([await start().machine.moveWorkflowRun(move)])[0]).toEqual({
        workflow_run_id,
        status: 'R',
        is_lease_lost: true,
      });
    });

    test('moves no deadline by its beat, in one message with runs that it still holds', async () => {
      const overdue = { deadline_seconds: -60 } as const;
      const made = await lost(overdue);
      const [kept] = await insert(1, overdue);
      const reply = await start().machine.beatWorkflowRuns({
        leases: [
          [made.workflow_run_id, 1],
          [kept!.workflow_run_id, 0],
        ],
      });
      expect(replies([reply])[0]?.statuses.map(([, status]) => status)).toEqual(['R', 'R']);
      expect(await overdueOf(database(), [made, kept!])).toEqual([true, false]);
    });

    test('does not keep people from what they ask: a cancel asks for no lease', async () => {
      const made = await lost({ instance_status: 'Q', task_status: 'Q' });
      const { operator } = start();
      await operator.stop({ workflow_id: made.workflow_id, user: 'ada', reason: '' }, 'cancel');
      expect(await letters(database(), made.workflow_id)).toEqual(['H', 'T']);
    });
  });
});

async function overdueOf(database: Database, made: readonly InsertedWorkflow[]): Promise<boolean[]> {
  const rows = await database.read<{ overdue: number }>(
    `SELECT heartbeat_date <= ${database.dialect.now} AS overdue FROM workflow_run WHERE id IN (${runsOf(made).join(',')}) ORDER BY id`,
  );
  return rows.map(({ overdue }) => Number(overdue) === 1);
}
