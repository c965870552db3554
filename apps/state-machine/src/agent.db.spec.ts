/** Leases and the end of silent agents, on both databases. */
import { describeOnDatabases, insertWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
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

/** Every test has users of its own, so that no test's agent takes another's instances. */
let users = 0;
const newUser = (): string => `user_${(users += 1)}`;

describeOnDatabases('task_instance.lease', (database) => {
  const queued = (user: string, tasks: number, more: WorkflowToInsert = {}) =>
    insertWorkflow(database(), { user, tasks, instance_status: 'Q', ...more });

  test('gives an agent the instances of its user, oldest first, no more than wanted', async () => {
    const user = newUser();
    const made = await queued(user, 5);
    await queued(newUser(), 2);
    const agent_id = await insertAgent(database(), { user });
    const before = await countTasks(database(), made.workflow_id);
    const { machine } = startMachine(database());
    const [first] = replies([await machine.leaseTaskInstances({ agent_id, wanted: rooms({ sequential: 3, multiprocess: 9 }) })]);
    expect(first?.task_instance_ids).toEqual(made.task_instance_ids.slice(0, 3));
    const [second] = replies([await machine.leaseTaskInstances({ agent_id, wanted: rooms({ sequential: 9 }) })]);
    expect(second?.task_instance_ids).toEqual(made.task_instance_ids.slice(3));
    const [third] = replies([await machine.leaseTaskInstances({ agent_id, wanted: rooms({ sequential: 9 }) })]);
    expect(third?.task_instance_ids).toEqual([]);
    for (const row of await standing(database(), made.task_instance_ids)) {
      expect(row).toMatchObject({ status: 'I', task_status: 'I', agent_id });
    }
    expect(await historyOf(database(), made.task_instance_ids[0]!)).toEqual(['I']);
    await expectTruth(database(), made.workflow_id, before);
  });

  test('takes turns between runs, and between leases goes on where it stopped', async () => {
    const user = newUser();
    const [big, small] = [await queued(user, 20), await queued(user, 3)];
    const agent_id = await insertAgent(database(), { user });
    const { machine } = startMachine(database());
    const [first] = replies([await machine.leaseTaskInstances({ agent_id, wanted: rooms({ sequential: 4 }) })]);
    const ofSmall = first!.task_instance_ids.filter((id) => small.task_instance_ids.includes(id));
    expect(first?.task_instance_ids).toHaveLength(4);
    expect(ofSmall).toHaveLength(2);
    const seen: string[] = [];
    for (let turn = 0; turn < 2; turn += 1) {
      const [one] = replies([await machine.leaseTaskInstances({ agent_id, wanted: rooms({ sequential: 1 }) })]);
      seen.push(big.task_instance_ids.includes(one!.task_instance_ids[0]!) ? 'big' : 'small');
    }
    expect(seen.sort()).toEqual(['big', 'small']);
  });

  test('lets a run that was given little go ahead of one that was given twenty', async () => {
    const user = newUser();
    const old = await queued(user, 30, {
      instance_status: (at) => (at < 20 ? 'D' : 'Q'),
      task_status: (at) => (at < 20 ? 'D' : 'Q'),
    });
    await queued(user, 30, {
      instance_status: (at) => (at < 19 ? 'D' : 'Q'),
      task_status: (at) => (at < 19 ? 'D' : 'Q'),
    });
    const agent_id = await insertAgent(database(), { user });
    const { machine } = startMachine(database());
    const ofOld: number[] = [];
    for (const slots of [8, 2]) {
      const [leased] = replies([await machine.leaseTaskInstances({ agent_id, wanted: rooms({ sequential: slots }) })]);
      ofOld.push(leased!.task_instance_ids.filter((id) => old.task_instance_ids.includes(id)).length);
    }
    // Seven of eight are of the young one; then it has been given twenty, and they take turns.
    expect(ofOld).toEqual([1, 1]);
  });

  test('tells whose its attempts are: a report of a small run does not wait behind all those of a large one', async () => {
    const user = newUser();
    const [large, small] = [await queued(user, 700), await queued(user, 1)];
    const agent_id = await insertAgent(database(), { user });
    const { machine } = startMachine(database());
    for (let lease = 0; lease < 2; lease += 1) await machine.leaseTaskInstances({ agent_id, wanted: rooms({ sequential: 500 }) });
    const ended: number[] = [];
    const ids = [...large.task_instance_ids, ...small.task_instance_ids];
    await Promise.all(
      ids.map(async (task_instance_id) => {
        const report = { task_instance_id, status: 'D' as const, exit_code: 0 };
        replies(await machine.report([{ name: 'report_attempt', request: { agent_id, report } }]));
        ended.push(task_instance_id);
      }),
    );
    expect(ended).toHaveLength(701);
    // In the first of two batches, though it was sent last.
    expect(ended.indexOf(small.task_instance_ids[0]!)).toBeLessThan(500);
  });

  test('looks at the cluster, the driver and the state of the run; an any-user agent serves everybody', async () => {
    const user = newUser();
    const multiprocess = await queued(user, 2, { cluster: 'multiprocess' });
    await queued(user, 2, { driver: 'client' });
    await queued(user, 2, { run_status: 'O', workflow_status: 'O' });
    const agent_id = await insertAgent(database(), { user });
    const { machine } = startMachine(database());
    expect(await machine.leaseTaskInstances({ agent_id, wanted: rooms({ sequential: 9 }) })).toEqual({
      ok: { task_instance_ids: [] },
    });
    expect(await machine.leaseTaskInstances({ agent_id, wanted: rooms({ multiprocess: 0 }) })).toEqual({
      ok: { task_instance_ids: [] },
    });
    const anyone = await insertAgent(database(), { user: newUser(), any_user: true });
    const [reply] = replies([await machine.leaseTaskInstances({ agent_id: anyone, wanted: rooms({ multiprocess: 500 }) })]);
    expect(reply?.task_instance_ids).toEqual(expect.arrayContaining([...multiprocess.task_instance_ids]));
  });

  test('twenty agents at once, at two machines, get every instance once', async () => {
    const user = newUser();
    const made = await queued(user, 150);
    const agents = await Promise.all(Array.from({ length: 20 }, () => insertAgent(database(), { user })));
    const machines = [startMachine(database(), 'one').machine, startMachine(database(), 'two').machine];
    const leased: number[] = [];
    for (let round = 0; round < 10 && leased.length < 150; round += 1) {
      const answers = await Promise.all(
        agents.map((agent_id, at) => machines[at % 2]!.leaseTaskInstances({ agent_id, wanted: rooms({ sequential: 2 }) })),
      );
      for (const { task_instance_ids } of replies(answers)) leased.push(...task_instance_ids);
    }
    expect(leased.sort((a, b) => a - b)).toEqual([...made.task_instance_ids]);
  });

  test('an unknown agent is NOT_FOUND; a silent or ended one gets nothing', async () => {
    const user = newUser();
    await queued(user, 1);
    const silent = await insertAgent(database(), { user, lease_seconds: -5 });
    const ended = await insertAgent(database(), { user });
    await execute(database(), `UPDATE agent SET ended_date = ${database().dialect.now} WHERE id = ?`, [ended]);
    const { machine } = startMachine(database());
    expect(await machine.leaseTaskInstances({ agent_id: 2_000_000_000, wanted: rooms({ sequential: 1 }) })).toMatchObject({
      error: { code: 'NOT_FOUND' },
    });
    for (const agent_id of [silent, ended]) {
      expect(await machine.leaseTaskInstances({ agent_id, wanted: rooms({ sequential: 1 }) })).toEqual({
        ok: { task_instance_ids: [] },
      });
    }
  });

  test('an instance that its task no longer waits for is closed, not given away', async () => {
    const user = newUser();
    const made = await queued(user, 2);
    const agent_id = await insertAgent(database(), { user });
    const [reset, wanted] = made.task_instance_ids as [number, number];
    await execute(database(), "UPDATE task SET status = 'G', current_task_instance_id = 0 WHERE id = ?", [made.task_ids[0]!]);
    const { machine } = startMachine(database());
    const [reply] = replies([await machine.leaseTaskInstances({ agent_id, wanted: rooms({ sequential: 9 }) })]);
    expect(reply?.task_instance_ids).toEqual([wanted]);
    expect(await standing(database(), [reset])).toMatchObject([{ status: 'F', task_status: 'G' }]);
  });
});

describeOnDatabases('agent.expire', (database) => {
  test('ends every live attempt of a silent agent with the retry rule and a reason, and closes the agent', async () => {
    const agent_id = await insertAgent(database(), { lease_seconds: -5 });
    const letters = ['I', 'O', 'R', 'T', 'X', 'K', 'D'] as const;
    const follows = { I: 'I', O: 'O', R: 'R', T: 'R', X: 'O', K: 'R', D: 'D' } as const;
    const made = await insertWorkflow(database(), {
      tasks: letters.length,
      instance_status: (position) => letters[position]!,
      task_status: (position) => follows[letters[position]!],
      agent_id,
    });
    const other = await insertWorkflow(database(), {
      instance_status: 'R',
      task_status: 'R',
      agent_id: await insertAgent(database()),
    });
    const before = await countTasks(database(), made.workflow_id);
    const { machine } = startMachine(database());
    expect(await machine.expireAgent({ agent_id })).toEqual({ ok: { ended: 6, remaining: false } });
    const rows = await standing(database(), made.task_instance_ids);
    expect(rows.map((row) => [row.status, row.task_status])).toEqual([
      ['W', 'G'],
      ['U', 'G'],
      ['U', 'G'],
      ['U', 'G'],
      ['E', 'G'],
      ['F', 'F'],
      ['D', 'D'],
    ]);
    expect(await errorsOf(database(), made.task_instance_ids[2]!)).toEqual([expect.stringContaining('no sign of life')]);
    expect(await standing(database(), other.task_instance_ids)).toMatchObject([{ status: 'R' }]);
    const [agent] = await database().read<{ ended: number }>('SELECT ended_date IS NOT NULL AS ended FROM agent WHERE id = ?', [
      agent_id,
    ]);
    expect(Number(agent?.ended)).toBe(1);
    expect(await machine.expireAgent({ agent_id })).toEqual({ ok: { ended: 0, remaining: false } });
    await expectTruth(database(), made.workflow_id, before);
  });

  test('ends attempts although another program has moved their tasks, which stay there (race 24)', async () => {
    const agent_id = await insertAgent(database(), { lease_seconds: -5 });
    const letters = ['I', 'R', 'T', 'K'] as const;
    const made = await insertWorkflow(database(), {
      tasks: letters.length,
      instance_status: (position) => letters[position]!,
      task_status: 'G',
      agent_id,
    });
    const { machine } = startMachine(database());
    expect(await machine.expireAgent({ agent_id })).toEqual({ ok: { ended: 4, remaining: false } });
    const rows = await standing(database(), made.task_instance_ids);
    expect(rows.map((row) => row.status + row.task_status)).toEqual(['FG', 'FG', 'FG', 'FG']);
  });

  test('an agent whose lease has not passed keeps everything', async () => {
    const agent_id = await insertAgent(database(), { lease_seconds: 30 });
    const made = await insertWorkflow(database(), { instance_status: 'R', task_status: 'R', agent_id });
    const { machine } = startMachine(database());
    expect(await machine.expireAgent({ agent_id })).toEqual({ ok: { ended: 0, remaining: false } });
    expect(await standing(database(), made.task_instance_ids)).toMatchObject([{ status: 'R' }]);
    expect(await machine.expireAgent({ agent_id: 2_000_000_000 })).toMatchObject({ error: { code: 'NOT_FOUND' } });
  });

  test('goes in pieces of 1,000', async () => {
    const agent_id = await insertAgent(database(), { lease_seconds: -5 });
    const made = await insertWorkflow(database(), {
      tasks: 1_001,
      instance_status: 'R',
      task_status: 'R',
      agent_id,
      max_attempts: 1,
    });
    const { machine } = startMachine(database());
    expect(await machine.expireAgent({ agent_id })).toEqual({ ok: { ended: 1_000, remaining: true } });
    expect(await machine.expireAgent({ agent_id })).toEqual({ ok: { ended: 1, remaining: false } });
    expect([...(await countTasks(database(), made.workflow_id))]).toEqual([['F', 1_001]]);
  });
});
