/** What the search for workflows at F with nothing left to do reads: counts, not tasks. Rows are counted by MariaDB's own account. */
import { openDatabase, type Database } from '@jobmon/entities';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import { pino } from 'pino';
import { execute } from '../test/started-machine';
import { fixInconsistent } from './inconsistency';

describeOnDatabases('workflows at F', (database) => {
  let one: Database;
  beforeAll(async () => {
    one = await openDatabase({ url: database().url, log: pino({ level: 'silent' }), connections_max: 1 });
  });
  afterAll(() => one?.close());

  /** 0 on SQLite, which keeps no account. */
  async function rowsRead(): Promise<number> {
    if (one.dialect.name === 'sqlite') return 0;
    const rows = await one.read<{ Value: string }>("SHOW SESSION STATUS LIKE 'Handler_read%'");
    return rows.reduce((sum, { Value }) => sum + Number(Value), 0);
  }

  test('one that lacks the last of five thousand tasks costs no look at them, and is mended when that is done', async () => {
    const tasks = 5_000;
    const made = await insertWorkflow(database(), {
      run_status: 'E',
      workflow_status: 'F',
      tasks,
      task_status: (at) => (at === tasks - 1 ? 'F' : 'D'),
    });
    await execute(
      database(),
      'INSERT INTO task_status_count (workflow_id, array_id, status, writer, n) ' +
        "SELECT workflow_id, array_id, status, 'test', COUNT(*) FROM task WHERE workflow_id = ? GROUP BY workflow_id, array_id, status",
      [made.workflow_id],
    );
    const cursor = { workflow_id: made.workflow_id - 1, increase_step: 10 };
    const before = await rowsRead();
    expect((await fixInconsistent(one, cursor)).fixed).toBe(0);
    expect((await rowsRead()) - before).toBeLessThan(200);
    await execute(database(), "UPDATE task SET status = 'D' WHERE id = ?", [made.task_ids[tasks - 1]!]);
    await execute(database(), "UPDATE task_status_count SET n = 0 WHERE workflow_id = ? AND status = 'F'", [made.workflow_id]);
    expect((await fixInconsistent(one, cursor)).fixed).toBe(1);
    expect(await one.read('SELECT status FROM workflow WHERE id = ?', [made.workflow_id])).toEqual([{ status: 'D' }]);
  });

  test('where nothing is counted the tasks tell', async () => {
    const made = await insertWorkflow(database(), { run_status: 'E', workflow_status: 'F', tasks: 2, task_status: () => 'D' });
    const undone = await insertWorkflow(database(), { run_status: 'E', workflow_status: 'F', tasks: 2, task_status: () => 'F' });
    expect(await fixInconsistent(one, { workflow_id: made.workflow_id - 1, increase_step: 10 })).toEqual({ wfid: 0, fixed: 1 });
    const ids = [made.workflow_id, undone.workflow_id];
    expect(await one.read('SELECT status FROM workflow WHERE id IN (?, ?) ORDER BY id', ids)).toEqual([
      { status: 'D' },
      { status: 'F' },
    ]);
  });
});
