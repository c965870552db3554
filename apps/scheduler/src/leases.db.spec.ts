/** Several schedulers over one database, each with a bus, a state machine and a clock of its own, as processes would be. */
import { queueTasks } from '@jobmon/contracts';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { Bench } from '../test/bench';

describeOnDatabases('schedulers that share runs', (database) => {
  let benches: Bench[] = [];
  const open = async (): Promise<Bench> => {
    const bench = await Bench.open(database());
    benches.push(bench);
    return bench;
  };
  const insert = (wanted: WorkflowToInsert): Promise<InsertedWorkflow> =>
    insertWorkflow(database(), { user: 'ada', run_status: 'B', workflow_status: 'Q', ...wanted });
  const write = (sql: string): Promise<void> =>
    database().write({ label: 'test' }, function* () {
      yield { sql };
    });
  /** It is killed or frozen, and its deadline has just passed. */
  const expire = (bench: Bench): Promise<void> =>
    write(`UPDATE scheduler SET expires_date = ${database().dialect.now} WHERE instance = '${bench.scheduler.instance}'`);
  /** How many leases each of them holds. */
  const held = async (...of: readonly Bench[]): Promise<number[]> => {
    const rows = await database().read<{ holder: string | null }>('SELECT scheduler_instance AS holder FROM workflow_run_lease');
    return of.map(({ scheduler }) => rows.filter(({ holder }) => holder === scheduler.instance).length);
  };
  /** All of them, second by second. */
  const seconds = async (count: number, ...of: readonly Bench[]): Promise<void> => {
    for (let second = 0; second < count; second += 1) for (const bench of of) await bench.seconds(1);
  };
  const attemptsOf = async ({ workflow_id }: InsertedWorkflow): Promise<number> => {
    const rows = await database().read(
      'SELECT ti.id FROM task_instance AS ti JOIN workflow_run AS wr ON wr.id = ti.workflow_run_id WHERE wr.workflow_id = ?',
      [workflow_id],
    );
    return rows.length;
  };

  afterEach(async () => {
    for (const bench of benches) await bench.close();
    benches = [];
    await write("UPDATE workflow_run SET status = 'E' WHERE status <> 'D'");
    await write('DELETE FROM workflow_run_lease');
    await write('DELETE FROM scheduler');
  });

  it('give a new one its share without a restart, and the runs go on to their ends, each task queued once', async () => {
    const workflows: InsertedWorkflow[] = [];
    for (let made = 0; made < 5; made += 1) {
      workflows.push(await insert({ tasks: 4, upstreams: (at) => (at < 2 ? [] : [at - 2]) }));
    }
    const [first, second] = [await open(), await open()];
    await seconds(1, first);
    expect(await held(first, second)).toEqual([5, 0]);
    await seconds(12, second, first);
    expect(await held(first, second)).toEqual([3, 2]);
    for (let round = 0; round < 50 && (await held(first, second)).join() !== '0,0'; round += 1) {
      await first.work(() => 'D');
      await seconds(6, first, second);
    }
    for (const workflow of workflows) {
      expect(await first.runStatus(workflow)).toBe('D');
      expect(await attemptsOf(workflow)).toBe(4);
    }
  });

  it('share twenty runs anew as others come, at a cost by looks and not by leases', async () => {
    const workflows: InsertedWorkflow[] = [];
    for (let made = 0; made < 20; made += 1) workflows.push(await insert({ tasks: 1 }));
    const first = await open();
    await seconds(1, first);
    expect(await held(first)).toEqual([20]);
    const second = await open();
    await seconds(14, second, first);
    expect(await held(first, second)).toEqual([10, 10]);
    const third = await open();
    await seconds(14, third, first, second);
    const shares = await held(first, second, third);
    expect([Math.max(...shares), shares.reduce((sum, share) => sum + share)]).toEqual([7, 20]);
    // Each was queued once, whoever held it.
    for (const workflow of workflows) expect(await attemptsOf(workflow)).toBe(1);
    const { statements } = database().counts;
    await seconds(30, first, second, third);
    // A look a second of each, the shares every 5 s, a look at each run every 5 s, and a beat.
    expect(database().counts.statements - statements).toBeLessThanOrEqual(3 * (30 + 6 + 12) + 20 * 6);
    expect(await held(first, second, third)).toEqual(shares);
  });

  it('keep what they hold as long as the shares are even', async () => {
    const [first, second] = [await open(), await open()];
    await insert({ tasks: 1 });
    await insert({ tasks: 1 });
    await seconds(1, second, first);
    await seconds(12, first, second);
    expect(await held(first, second)).toEqual([1, 1]);
    const before = await database().read('SELECT workflow_run_id, scheduler_instance, fence FROM workflow_run_lease ORDER BY 1');
    await seconds(30, first, second);
    expect(await database().read('SELECT workflow_run_id, scheduler_instance, fence FROM workflow_run_lease ORDER BY 1')).toEqual(
      before,
    );
  });

  it('take over what a killed one held, in the middle, with no task lost or queued twice (race 23)', async () => {
    const workflow = await insert({ tasks: 20, upstreams: (at) => (at < 10 ? [] : [at - 10]) });
    const [killed, other] = [await open(), await open()];
    await seconds(1, killed, other);
    await killed.work(() => 'D', 4);
    expect(await held(killed, other)).toEqual([1, 0]);
    await seconds(3, other);
    expect(await held(killed, other)).toEqual([1, 0]);
    await expire(killed);
    expect(await other.workToEnd(workflow)).toBe('D');
    expect([await attemptsOf(workflow), killed.started.length + other.started.length]).toEqual([20, 20]);
  });

  it('give all back at their stop, so that others need not wait for a deadline', async () => {
    await insert({ tasks: 2 });
    const [leaving, other] = [await open(), await open()];
    await seconds(1, leaving, other);
    await leaving.scheduler.stop();
    await seconds(1, other);
    expect(await held(leaving, other)).toEqual([0, 1]);
    expect(await database().read('SELECT instance FROM scheduler')).toEqual([{ instance: other.scheduler.instance }]);
  });

  it('are not held up by one that was frozen with a request on its way and thaws: it changes nothing and lets the run go (race 21)', async () => {
    const workflow = await insert({ tasks: 20, upstreams: (at) => (at < 10 ? [] : [at - 10]) });
    const [frozen, other] = [await open(), await open()];
    await seconds(1, frozen);
    await frozen.work(() => 'D');
    // It has seen that ten tasks are ready, and stands still with the request for them.
    let thaw = (): void => undefined;
    const thawed = new Promise<void>((resolve) => (thaw = resolve));
    const answers: unknown[] = [];
    const { request } = frozen.messenger;
    frozen.messenger.request = async function (operation, requests, options) {
      if (operation.name !== queueTasks.name) return request.call(frozen.messenger, operation, requests, options) as never;
      await thawed;
      const outcomes = await request.call(frozen.messenger, operation, requests, options);
      answers.push(...outcomes);
      return outcomes as never;
    };
    frozen.now += 6_000;
    await frozen.scheduler.look();
    expect(await frozen.taskStatuses(workflow)).toBe('D'.repeat(10) + 'G'.repeat(10));

    await expire(frozen);
    await seconds(2, other);
    expect(await held(frozen, other)).toEqual([0, 1]);
    const before = await attemptsOf(workflow);
    thaw();
    await frozen.scheduler.quiet();
    expect(answers).toMatchObject([{ ok: { is_lease_lost: true } }]);
    expect(await attemptsOf(workflow)).toBe(before);
    // It goes on to live, and asks for nothing more of a run that it has let go.
    await seconds(10, frozen, other);
    expect(answers).toHaveLength(1);
    expect(await other.workToEnd(workflow)).toBe('D');
    expect(await attemptsOf(workflow)).toBe(20);
  });

  it('that was away takes part again: it gets a run that comes, and walks it', async () => {
    const [away, other] = [await open(), await open()];
    const first = await insert({ tasks: 1 });
    await seconds(1, away);
    await expire(away);
    await seconds(2, other);
    expect(await held(away, other)).toEqual([0, 1]);
    const second = await insert({ tasks: 1 });
    await seconds(2, away);
    expect(await held(away, other)).toEqual([1, 1]);
    await seconds(5, away, other);
    for (const workflow of [first, second]) expect(await away.taskStatuses(workflow)).toBe('Q');
  });
});
