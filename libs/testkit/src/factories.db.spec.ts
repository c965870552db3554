import { describeOnDatabases } from './database';
import { insertWorkflow } from './factories';

describeOnDatabases('insertWorkflow', (database) => {
  it('leaves tasks, edges and current instances as queueing would have', async () => {
    const made = await insertWorkflow(database(), {
      tasks: 3,
      upstreams: (position) => (position === 0 ? [] : [position - 1]),
      instance_status: (position) => (position === 0 ? 'R' : 'Q'),
      task_status: (position) => (position === 0 ? 'R' : 'Q'),
    });
    const tasks = await database().read(
      `SELECT t.id, t.status, t.current_task_instance_id AS current, i.status AS instance_status, i.array_step_id AS step
         FROM task t JOIN task_instance i ON i.task_id = t.id WHERE t.workflow_id = ? ORDER BY t.id`,
      [made.workflow_id],
    );
    expect(tasks).toEqual(
      ['R', 'Q', 'Q'].map((status, i) => ({
        id: made.task_ids[i],
        status,
        current: made.task_instance_ids[i],
        instance_status: status,
        step: i,
      })),
    );
    const [edge] = await database().read<{ up: string; down: string }>(
      'SELECT upstream_node_ids AS up, downstream_node_ids AS down FROM edge WHERE dag_id = ? AND node_id = ?',
      [made.dag_id, made.node_ids[1]!],
    );
    expect([JSON.parse(edge!.up), JSON.parse(edge!.down)]).toEqual([[made.node_ids[0]], [made.node_ids[2]]]);
  });

  it('makes 10,000 tasks within seconds, every workflow with rows of its own', async () => {
    const made = await insertWorkflow(database(), { tasks: 10_000, instance_status: 'Q' });
    expect(new Set(made.task_ids).size).toBe(10_000);
    expect(new Set(made.task_instance_ids).size).toBe(10_000);
  });
});
