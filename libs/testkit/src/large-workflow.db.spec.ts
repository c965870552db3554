/** The large workflow is what it says. */
import { describeOnDatabases } from './database';
import { seedLargeWorkflow } from './large-workflow';

describeOnDatabases('a large workflow', (database) => {
  it('has its tasks, edges, instances and errors', async () => {
    const made = await seedLargeWorkflow(database(), 5_995, 10);
    const one = async (sql: string): Promise<number> => {
      const [row] = await database().read<{ n: number | string }>(sql, [made.workflow_id]);
      return Number(row!.n);
    };
    expect(await one('SELECT COUNT(*) AS n FROM task WHERE workflow_id = ?')).toBe(6_000);
    const failed = Math.ceil((6_000 - 3) / 95);
    const unlucky = Math.ceil((6_000 - 3) / 19);
    expect(await one(`SELECT COUNT(*) AS n FROM task WHERE status = 'F' AND workflow_id = ?`)).toBe(failed);
    expect(made.counts).toEqual({ failed_tasks: failed, errors: unlucky + failed });
    expect(await one('SELECT COUNT(*) AS n FROM task_instance ti JOIN task t ON t.id = ti.task_id WHERE t.workflow_id = ?')).toBe(
      6_000 + unlucky,
    );
    expect(await one('SELECT SUM(n) AS n FROM task_status_count WHERE workflow_id = ?')).toBe(6_000);
    expect(await one('SELECT COUNT(*) AS n FROM edge e JOIN workflow w ON w.dag_id = e.dag_id WHERE w.id = ?')).toBe(6_000);
    expect(
      await one(
        `SELECT COUNT(*) AS n FROM edge e JOIN workflow w ON w.dag_id = e.dag_id WHERE e.upstream_node_ids IS NULL AND w.id = ?`,
      ),
    ).toBe(600);
    expect(made.task_ids).toHaveLength(10);
    const [edge] = await database().read<{ up: unknown; down: unknown }>(
      `SELECT e.upstream_node_ids AS up, e.downstream_node_ids AS down FROM task t JOIN edge e ON e.node_id = t.node_id WHERE t.id = ?`,
      [made.task_ids[1]!],
    );
    const nodes = await database().read<{ node_id: number }>('SELECT node_id FROM task WHERE id IN (?, ?) ORDER BY id', [
      made.task_ids[0]!,
      made.task_ids[2]!,
    ]);
    const list = (value: unknown): unknown => (typeof value === 'string' ? JSON.parse(value) : value);
    expect([list(edge!.up), list(edge!.down)]).toEqual(nodes.map(({ node_id }) => [node_id]));
    const [error] = await database().read<{ n: number | string }>(
      'SELECT COUNT(*) AS n FROM task_instance_error_log WHERE task_instance_id = ?',
      [made.failed.task_instance_id],
    );
    expect(Number(error!.n)).toBe(1);
  }, 60_000);
});
