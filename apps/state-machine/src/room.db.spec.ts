/** What an agent is leased by the cores and the memory that it has, on both databases. */
import type { ClusterRoom } from '@jobmon/contracts';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow } from '@jobmon/testkit';
import { execute, insertAgent, replies, startMachine } from '../test/started-machine';

let users = 0;

describeOnDatabases('a lease by room', (database) => {
  let user: string;
  beforeEach(() => {
    user = `room_${(users += 1)}`;
  });
  afterEach(() => execute(database(), `UPDATE agent SET ended_date = ${database().dialect.now}`));

  /** Queued tasks that ask for this, in this order: an object, or the text that the row holds. */
  async function queued(asks: readonly (Record<string, unknown> | string)[]): Promise<InsertedWorkflow> {
    const made = await insertWorkflow(database(), { user, tasks: asks.length, instance_status: 'Q' });
    for (const [at, ask] of asks.entries()) {
      const id = await execute(
        database(),
        'INSERT INTO task_resources (queue_id, task_resources_type_id, requested_resources) ' +
          'SELECT queue_id, task_resources_type_id, ? FROM task_resources WHERE id = ?',
        [typeof ask === 'string' ? ask : JSON.stringify(ask), made.task_resources_id],
      );
      await execute(database(), 'UPDATE task_instance SET task_resources_id = ? WHERE id = ?', [id, made.task_instance_ids[at]!]);
    }
    return made;
  }

  /** Positions of the tasks that a lease gives. */
  async function lease(
    agent_id: number,
    of: readonly InsertedWorkflow[],
    room: Partial<ClusterRoom>,
    failed_tasks: number[] = [],
  ): Promise<string[]> {
    const { machine } = startMachine(database());
    const wanted = { sequential: { slots: 100, cores: 100, memory_gib: 100, ...room } };
    const [reply] = replies([await machine.leaseTaskInstances({ agent_id, wanted, failed_tasks })]);
    return reply!.task_instance_ids.map((id) => {
      const which = of.findIndex(({ task_instance_ids }) => task_instance_ids.includes(id));
      return `${'ab'[which]}${of[which]!.task_instance_ids.indexOf(id)}`;
    });
  }

  test('fits by cores and by memory; the head of a line keeps its place, and other runs fill the room', async () => {
    const agent_id = await insertAgent(database(), { user, cores: 8 });
    const a = await queued([{ cores: 3 }, { cores: 4 }, { cores: 1 }]);
    expect(await lease(agent_id, [a], { cores: 5 })).toEqual(['a0']);
    const b = await queued([{ cores: 1, memory: 2.5 }, { memory: 2 }]);
    expect(await lease(agent_id, [a, b], { cores: 2, memory_gib: 4 })).toEqual(['b0']);
    expect((await lease(agent_id, [a, b], { cores: 6 })).sort()).toEqual(['a1', 'a2', 'b1']);
  });

  test('what asks for more than the agent has runs there alone; with a larger agent it is left to that one', async () => {
    const agent_id = await insertAgent(database(), { user, cores: 2 });
    const a = await queued([{ cores: 16 }, { cores: 1 }]);
    expect(await lease(agent_id, [a], { cores: 1 })).toEqual([]);
    expect(await lease(agent_id, [a], { cores: 2 })).toEqual(['a0']);
    const larger = await insertAgent(database(), { user, cores: 32, memory_gib: 128 });
    const b = await queued([{ memory: 65 }, { cores: 16 }, { cores: 1 }]);
    expect((await lease(agent_id, [a, b], { cores: 2 })).sort()).toEqual(['a1', 'b2']);
    await execute(database(), `UPDATE agent SET drain_date = ${database().dialect.now} WHERE id = ?`, [larger]);
    expect(await lease(agent_id, [a, b], { cores: 2, memory_gib: 64 })).toEqual(['b0']);
  });

  test('text of the Python system and what is no number count as one core', async () => {
    const agent_id = await insertAgent(database(), { user, cores: 8 });
    const a = await queued(["{'cores': 4, 'memory': None}", { cores: 'many', memory: -1 }, { cores: '2' }, '[]']);
    expect(await lease(agent_id, [a], { cores: 4, memory_gib: 0 })).toEqual(['a0', 'a1', 'a2']);
  });

  test('a task that failed at its start here is left to another agent, while there is one', async () => {
    const agent_id = await insertAgent(database(), { user, cores: 8 });
    const a = await queued([{ cores: 1 }, { cores: 1 }]);
    const other = await insertAgent(database(), { user, cores: 1 });
    expect(await lease(agent_id, [a], {}, [a.task_ids[0]!])).toEqual(['a1']);
    await execute(database(), `UPDATE agent SET set_aside_date = ${database().dialect.now} WHERE id = ?`, [other]);
    expect(await lease(agent_id, [a], {}, [a.task_ids[0]!])).toEqual(['a0']);
  });

  test('an agent that drains or is set aside gets nothing', async () => {
    const a = await queued([{ cores: 1 }]);
    for (const column of ['drain_date', 'set_aside_date']) {
      const agent_id = await insertAgent(database(), { user, cores: 8 });
      await execute(database(), `UPDATE agent SET ${column} = ${database().dialect.now} WHERE id = ?`, [agent_id]);
      expect(await lease(agent_id, [a], {})).toEqual([]);
    }
  });

  test('the largest agent is kept for a head that has waited for a minute, others go on', async () => {
    const largest = await insertAgent(database(), { user, cores: 8 });
    const smaller = await insertAgent(database(), { user, cores: 4 });
    const [a, b] = [await queued([{ cores: 4 }]), await queued([{ cores: 1 }, { cores: 1 }])];
    const { nowPlusSeconds } = database().dialect;
    await execute(database(), `UPDATE task_instance SET status_date = ${nowPlusSeconds} WHERE id = ?`, [
      -61,
      a.task_instance_ids[0]!,
    ]);
    expect(await lease(largest, [a, b], { cores: 3 })).toEqual([]);
    expect(await lease(smaller, [a, b], { cores: 3, slots: 1 })).toEqual(['b0']);
    expect(await lease(largest, [a, b], { cores: 4 })).toEqual(['a0']);
  });
});
