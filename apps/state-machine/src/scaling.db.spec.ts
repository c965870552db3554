/** An attempt that ends for its resources, and what the next one asks for, on both databases. */
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { execute, historyOf, insertAgent, replies, rooms, startMachine } from '../test/started-machine';

interface Asked {
  readonly task_id: number;
  readonly requested: unknown;
  readonly type: string;
  readonly queue: string;
}

describeOnDatabases('resources of the next attempt', (database) => {
  const setUp = async (
    more: WorkflowToInsert = {},
    requested = '{"cores":1,"memory":2,"runtime":60}',
    scales: string | null = null,
  ) => {
    const made = await insertWorkflow(database(), more);
    await execute(database(), 'UPDATE task_resources SET requested_resources = ? WHERE id = ?', [
      requested,
      made.task_resources_id,
    ]);
    await execute(database(), 'UPDATE task SET resource_scales = ? WHERE workflow_id = ?', [scales, made.workflow_id]);
    return { made, ...startMachine(database()) };
  };
  /** What each attempt asks for, oldest first. */
  const asked = async (made: InsertedWorkflow): Promise<Asked[]> => {
    const rows = await database().read<{ task_id: number; text: string; type: string; queue: string }>(
      `SELECT ti.task_id, tr.requested_resources AS text, tr.task_resources_type_id AS type, q.name AS queue FROM task_instance ti
         JOIN task_resources tr ON tr.id = ti.task_resources_id JOIN queue q ON q.id = tr.queue_id
        WHERE ti.workflow_run_id = ? ORDER BY ti.id`,
      [made.workflow_run_id],
    );
    return rows.map(({ text, ...row }) => ({ ...row, requested: JSON.parse(text) as unknown }));
  };

  test('Z, A, larger, Z again, larger still, E: as large again; the task keeps its own request for a reset', async () => {
    const { made, machine } = await setUp({ max_attempts: 4 }, undefined, '{"memory": 0.5, "runtime": [100, 500]}');
    const agent_id = await insertAgent(database());
    const { workflow_run_id } = made;
    const task_ids = [...made.task_ids];
    const attempt = async (status: 'Z' | 'E') => {
      expect(replies([await machine.queueTasks({ workflow_run_id, task_ids })])[0]?.statuses).toEqual([[task_ids[0], 'Q']]);
      const [lease] = replies([await machine.leaseTaskInstances({ agent_id, wanted: rooms({ sequential: 1 }) })]);
      const [task_instance_id] = lease!.task_instance_ids as [number];
      const report = {
        task_instance_id,
        status,
        exit_code: 130,
        error_description: 'too much',
        max_rss_bytes: 2 ** 31,
        cpu_seconds: 1.5,
      };
      await machine.report([{ name: 'report_attempt', request: { agent_id, report } }]);
      expect(await historyOf(database(), task_instance_id)).toEqual(['Q', 'I', 'R', status]);
      const [task] = await database().read<{ status: string }>('SELECT status FROM task WHERE id = ?', [task_ids[0]!]);
      return task?.status;
    };
    expect([await attempt('Z'), await attempt('Z'), await attempt('E'), await attempt('Z')]).toEqual(['A', 'A', 'G', 'F']);
    const of = (memory: number, runtime: number) => ({ cores: 1, memory, runtime });
    expect(await asked(made)).toMatchObject([
      { type: 'O', requested: of(2, 60) },
      { type: 'A', requested: of(3, 100) },
      { type: 'A', requested: of(4.5, 500) },
      { type: 'A', requested: of(4.5, 500) },
    ]);
    const [usage] = await database().read('SELECT maxrss, cpu FROM task_instance WHERE task_id = ? LIMIT 1', [task_ids[0]!]);
    expect(usage).toEqual({ maxrss: String(2 ** 31), cpu: '1.5' });
    const [task] = await database().read('SELECT task_resources_id FROM task WHERE id = ?', [task_ids[0]!]);
    expect(task).toEqual({ task_resources_id: made.task_resources_id });
    await execute(database(), "UPDATE task SET status = 'G', num_attempts = 0, current_task_instance_id = 0 WHERE id = ?", [
      task_ids[0]!,
    ]);
    await machine.queueTasks({ workflow_run_id, task_ids });
    expect((await asked(made)).at(-1)).toMatchObject({ type: 'O', requested: of(2, 60) });
  });

  test('many tasks at once: one row for all that grow alike, beside those that do not grow, in a few statements', async () => {
    const isShort = (position: number): boolean => position % 2 === 0;
    const { made, machine } = await setUp({
      tasks: 40,
      task_status: (position) => (isShort(position) ? 'A' : 'G'),
      instance_status: (position) => (isShort(position) ? 'Z' : 'E'),
    });
    const { workflow_run_id } = made;
    const task_ids = [...made.task_ids];
    const { statements } = database().counts;
    await machine.queueTasks({ workflow_run_id, task_ids });
    expect(database().counts.statements - statements).toBeLessThanOrEqual(13 + 7);
    const next = (await asked(made)).slice(40);
    expect(next).toHaveLength(40);
    for (const { task_id, ...row } of next) {
      const memory = isShort(task_ids.indexOf(task_id)) ? 3 : 2;
      expect(row).toMatchObject({ requested: { memory }, type: memory === 3 ? 'A' : 'O' });
    }
    const rows = await database().read('SELECT DISTINCT task_resources_id FROM task_instance WHERE workflow_run_id = ?', [
      workflow_run_id,
    ]);
    expect(rows).toHaveLength(2);
  });

  test('a request that outgrows its queue goes to a fallback queue of its cluster, or is cut to the last', async () => {
    const { made, machine } = await setUp({ tasks: 2, task_status: 'A', instance_status: 'Z' }, undefined, '{"memory": 1}');
    const [{ cluster_id }] = (await database().read('SELECT cluster_id FROM queue WHERE id = ?', [made.queue_id])) as [
      { cluster_id: number },
    ];
    const queue = (name: string, parameters: string) =>
      execute(database(), 'INSERT INTO queue (name, cluster_id, parameters) VALUES (?, ?, ?)', [name, cluster_id, parameters]);
    const small = await queue(`small.${made.workflow_id}`, '{"memory": (1, 3)}');
    const [middle, large] = [`middle.${made.workflow_id}`, `large.${made.workflow_id}`];
    await queue(middle, '{"memory": [1, 3.5]}');
    await queue(large, '{"memory": [1, 8]}');
    await execute(database(), 'UPDATE task_resources SET queue_id = ? WHERE id = ?', [small, made.task_resources_id]);
    const fallback = (id: number, text: string) =>
      execute(database(), 'UPDATE task SET fallback_queues = ? WHERE id = ?', [text, id]);
    await fallback(made.task_ids[0]!, `['no-such.q', '${middle}', '${large}']`);
    await fallback(made.task_ids[1]!, JSON.stringify([middle]));
    await machine.queueTasks({ workflow_run_id: made.workflow_run_id, task_ids: [...made.task_ids] });
    const next = (await asked(made)).slice(2).sort((a, b) => a.task_id - b.task_id);
    expect(next).toEqual([
      { task_id: made.task_ids[0], requested: { cores: 1, memory: 4, runtime: 60 }, type: 'A', queue: large },
      { task_id: made.task_ids[1], requested: { cores: 1, memory: 3.5, runtime: 60 }, type: 'A', queue: middle },
    ]);
  });

  test.each([
    [
      "Python's notation",
      "{'memory': 2, 'runtime': 60}",
      "{'memory': 0.5, 'runtime': <function f at 0x1>}",
      { memory: 3, runtime: 90 },
    ],
    ['a request that nobody can read', 'no request', '{"memory": 1}', null],
  ])('%s', async (_, requested, scales, larger) => {
    const { made, machine } = await setUp({ task_status: 'A', instance_status: 'Z' }, requested, scales);
    await machine.queueTasks({ workflow_run_id: made.workflow_run_id, task_ids: [...made.task_ids] });
    const rows = await database().read<{ text: string }>(
      `SELECT tr.requested_resources AS text FROM task_instance ti JOIN task_resources tr ON tr.id = ti.task_resources_id
        WHERE ti.workflow_run_id = ? ORDER BY ti.id`,
      [made.workflow_run_id],
    );
    expect(rows).toHaveLength(2);
    if (larger === null) expect(rows[1]?.text).toBe(requested);
    else expect(JSON.parse(rows[1]?.text ?? '')).toEqual(larger);
  });
});
