/** What a lease reads: what it gives, not what waits. On both databases; rows are counted by MariaDB's own account. */
import type { ClusterRoom } from '@jobmon/contracts';
import type { Procedure } from '@jobmon/entities';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow } from '@jobmon/testkit';
import { execute, insertAgent, rooms } from '../test/started-machine';
import { lease } from './agent';

describeOnDatabases('a lease among much that waits', (database) => {
  interface Given {
    readonly ids: readonly number[];
    readonly rows_read: number;
  }

  /** A lease with the index entries and rows that its connection read for it; 0 on SQLite, which keeps no account. */
  function take(agent_id: number, slots: Readonly<Record<string, number>>): Promise<Given> {
    return takeInto(agent_id, rooms(slots));
  }

  function takeInto(agent_id: number, wanted: Record<string, ClusterRoom>): Promise<Given> {
    const { dialect } = database();
    return database().write({ label: 'test.lease' }, function* (): Procedure<Given> {
      const before = yield* rowsRead();
      const { reply } = yield* lease(dialect, 'test', { agent_id, wanted }, { run_id: 0, head_starts: 0 }, new Set());
      return { ids: reply.task_instance_ids, rows_read: (yield* rowsRead()) - before };
    });
  }

  function* rowsRead(): Procedure<number> {
    if (database().dialect.name === 'sqlite') return 0;
    const { rows } = yield { sql: "SHOW SESSION STATUS LIKE 'Handler_read%'", params: [] };
    return (rows as { Value: string }[]).reduce((sum, { Value }) => sum + Number(Value), 0);
  }

  /** Makes a task's attempt ask for something of its own, on a cluster by name. */
  async function ask(made: InsertedWorkflow, at: number, cluster: string): Promise<void> {
    const id = await execute(
      database(),
      'INSERT INTO task_resources (queue_id, task_resources_type_id, requested_resources) ' +
        'SELECT (SELECT q.id FROM queue AS q JOIN cluster AS c ON c.id = q.cluster_id WHERE c.name = ? ORDER BY q.id LIMIT 1), ' +
        'task_resources_type_id, ? FROM task_resources WHERE id = ?',
      [cluster, JSON.stringify({ at }), made.task_resources_id],
    );
    await execute(database(), 'UPDATE task_instance SET task_resources_id = ? WHERE id = ?', [id, made.task_instance_ids[at]!]);
  }

  test('what waits for another cluster is not read, and one behind ten thousand of them is given', async () => {
    const user = 'behind';
    const made = await insertWorkflow(database(), { user, tasks: 10_000, instance_status: 'Q' });
    const agent_id = await insertAgent(database(), { user });
    const none = await take(agent_id, { multiprocess: 5 });
    expect(none.ids).toEqual([]);
    await ask(made, 9_999, 'multiprocess');
    const one = await take(agent_id, { multiprocess: 5 });
    expect(one.ids).toEqual([made.task_instance_ids[9_999]]);
    const five = await take(agent_id, { sequential: 5 });
    expect(five.ids).toEqual(made.task_instance_ids.slice(0, 5));
    if (database().dialect.name === 'sqlite') return;
    expect(none.rows_read).toBeGreaterThan(0);
    expect(Math.max(none.rows_read, one.rows_read, five.rows_read)).toBeLessThan(300);
  }, 60_000);

  test('an agent with a thousand slots and few free cores reads what those could start', async () => {
    const user = 'cores';
    for (let run = 0; run < 3; run++) await insertWorkflow(database(), { user, tasks: 600, instance_status: 'Q' });
    const agent_id = await insertAgent(database(), { user });
    const given = await takeInto(agent_id, { sequential: { slots: 1_000, cores: 2, memory_gib: 1_000 } });
    expect(given.ids).toHaveLength(2);
    if (database().dialect.name !== 'sqlite') expect(given.rows_read).toBeLessThan(300);
  });

  test('what is left to a larger agent hides nothing behind it, and is not read', async () => {
    const user = 'larger';
    const made = await insertWorkflow(database(), { user, tasks: 5_000, instance_status: 'Q' });
    await execute(database(), 'UPDATE task_resources SET requested_resources = ? WHERE id = ?', [
      '{"cores": 16}',
      made.task_resources_id,
    ]);
    await ask(made, 4_000, 'sequential');
    const agent_id = await insertAgent(database(), { user, cores: 2 });
    await insertAgent(database(), { user, cores: 32 });
    const given = await takeInto(agent_id, { sequential: { slots: 8, cores: 2, memory_gib: 64 } });
    expect(given.ids).toEqual([made.task_instance_ids[4_000]]);
    if (database().dialect.name !== 'sqlite') expect(given.rows_read).toBeLessThan(300);
  });

  test('runs whose attempts wait for another cluster hide no run behind them', async () => {
    const user = 'hidden';
    for (let run = 0; run < 20; run++) await insertWorkflow(database(), { user, tasks: 1, instance_status: 'Q' });
    const last = await insertWorkflow(database(), { user, tasks: 2, instance_status: 'Q' });
    await ask(last, 1, 'multiprocess');
    const agent_id = await insertAgent(database(), { user });
    expect((await take(agent_id, { multiprocess: 5 })).ids).toEqual([last.task_instance_ids[1]]);
  });

  test('a run in which each attempt asks for something of its own is served in its order, from each cluster', async () => {
    const user = 'kinds';
    const made = await insertWorkflow(database(), { user, tasks: 50, instance_status: 'Q' });
    for (let at = 0; at < 50; at++) await ask(made, at, at % 2 === 0 ? 'sequential' : 'multiprocess');
    const agent_id = await insertAgent(database(), { user });
    const odd = made.task_instance_ids.filter((_, at) => at % 2 === 1);
    expect((await take(agent_id, { multiprocess: 20 })).ids).toEqual(odd.slice(0, 20));
    const even = made.task_instance_ids.filter((_, at) => at % 2 === 0);
    expect((await take(agent_id, { sequential: 100 })).ids).toEqual(even);
    expect((await take(agent_id, { multiprocess: 100 })).ids).toEqual(odd.slice(20));
  });
});
