import type { SqlValue } from '@jobmon/entities';
import { describeOnDatabases } from './database';
import { insertWorkflow, type InsertedWorkflow } from './factories';
import { highestOverlaps, startTimes } from './history-replay';

/** An attempt's time in Q and after it, in milliseconds of one second, in the order of writing. */
type Told = readonly [instance: number, from: string | null, to: string, ms: number];

describeOnDatabases('the replay of history', (database) => {
  const write = (rows: readonly Told[], made: InsertedWorkflow): Promise<void> =>
    database().write({ label: 'test' }, function* () {
      for (const [nth, from, to, ms] of rows) {
        const id = made.task_instance_ids[nth]!;
        const params: SqlValue[] = [
          id,
          rows.filter((row) => row[0] === nth).findIndex((row) => row[3] === ms) + 1,
          from,
          to,
          ms * 1_000,
        ];
        yield {
          sql: `INSERT INTO task_instance_history (task_instance_id, sequence, from_status, to_status, date, microsecond, actor, reason)
                VALUES (?, ?, ?, ?, '2026-01-31 12:00:00', ?, 'S', 1)`,
          params,
        };
      }
    });

  it('finds the highest overlap inside one second, and lets an end at the same moment make room', async () => {
    const made = await insertWorkflow(database(), { tasks: 4, instance_status: 'D' });
    const other = await insertWorkflow(database(), { tasks: 1, instance_status: 'D' });
    await write(
      [
        [0, null, 'Q', 100],
        [1, null, 'Q', 100],
        [0, 'Q', 'R', 150],
        [0, 'R', 'D', 200],
        [2, null, 'Q', 200],
        [3, null, 'Q', 300],
        [2, 'Q', 'R', 350],
        [1, 'Q', 'D', 400],
        [2, 'R', 'D', 400],
        [3, 'Q', 'D', 400],
      ],
      made,
    );
    await write([[0, null, 'Q', 900]], other);
    const { workflows, arrays } = await highestOverlaps(database());
    expect(workflows.get(made.workflow_id)).toEqual({ most: 3, at: '2026-01-31 12:00:00.300000' });
    expect(arrays.get(made.array_id)).toEqual(workflows.get(made.workflow_id));
    expect(workflows.get(other.workflow_id)?.most).toBe(1);
    expect((await highestOverlaps(database(), ['R'])).workflows.get(made.workflow_id)?.most).toBe(1);
    const starts = await startTimes(database(), made.workflow_id);
    expect([...starts]).toEqual([
      ['task_0', Date.UTC(2026, 0, 31, 12) + 150],
      ['task_2', Date.UTC(2026, 0, 31, 12) + 350],
    ]);
  });
});
