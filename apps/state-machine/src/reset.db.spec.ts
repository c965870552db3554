/** Resets on both databases: tasks made ready, attempts settled, nothing under a live run. */
import type { TaskInstanceStatus, TaskStatus } from '@jobmon/contracts';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import { countTasks, errorsOf, expectTruth, historyOf, standing, startMachine } from '../test/started-machine';
import { WorkflowWide } from './workflow-wide';

/** An instance's status, its task's, and where a cold and a hot reset leave both. */
const CASES: readonly (readonly [TaskInstanceStatus, TaskStatus, cold: string, hot: string])[] = [
  ['Q', 'Q', 'F G', 'F G'],
  ['I', 'I', 'F G', 'F G'],
  ['O', 'O', 'K G', 'K G'],
  ['R', 'R', 'K G', 'R R'],
  ['T', 'R', 'K G', 'K G'],
  ['X', 'O', 'K G', 'K G'],
  ['K', 'R', 'K G', 'K G'],
  ['E', 'F', 'E G', 'E G'],
  ['E', 'G', 'E G', 'E G'],
  ['Z', 'A', 'Z G', 'Z G'],
  ['D', 'D', 'D D', 'D D'],
];

describeOnDatabases('task.reset', (database) => {
  const wide = (writer = 'test') => new WorkflowWide({ ...context(), writer });
  const context = () => {
    const { messenger } = startMachine(database());
    return { messenger, database: database(), log: { warn() {}, error() {}, info() {} } as never };
  };
  const insert = (run_status: 'E' | 'R') =>
    insertWorkflow(database(), {
      tasks: CASES.length,
      driver: 'client',
      run_status,
      workflow_status: run_status === 'E' ? 'F' : 'R',
      instance_status: (at) => CASES[at]![0],
      task_status: (at) => CASES[at]![1],
    });

  test.each([
    ['a cold one, R too', true, 2],
    ['a hot one, but R', false, 3],
  ])(
    'E13 settles the attempts of earlier runs before new ones, %s (races 26, 28, 30, 46)',
    async (_, reset_if_running, column) => {
      const made = await insert('E');
      const before = await countTasks(database(), made.workflow_id);
      const request = { workflow_id: made.workflow_id, task_ids: [...made.task_ids].reverse(), reset_if_running };
      const { statuses } = await wide().resetTasks(request);
      const rows = await standing(database(), made.task_instance_ids);
      expect(rows.map((row) => `${row.status} ${row.task_status}`)).toEqual(CASES.map((each) => each[column]));
      expect(statuses).toEqual(made.task_ids.map((id, at) => [id, CASES[at]![column]!.slice(2)]));
      for (const row of rows) {
        const isReset = row.task_status === 'G';
        expect([row.num_attempts, row.current_task_instance_id]).toEqual(isReset ? [0, 0] : [1, row.id]);
      }
      expect(await historyOf(database(), made.task_instance_ids[2]!)).toEqual(['K']);
      expect(await errorsOf(database(), made.task_instance_ids[0]!)).toEqual([
        'The task was reset for a new run of its workflow, while this attempt was in Q.',
      ]);
      await expectTruth(database(), made.workflow_id, before);

      expect(await wide().resetTasks(request)).toEqual({ statuses });
      expect(await errorsOf(database(), made.task_instance_ids[0]!)).toHaveLength(1);
      await expectTruth(database(), made.workflow_id, before);
    },
  );

  test('E13 resets nothing under a live run of the server, answers what stands, and leaves other workflows out', async () => {
    const made = await insert('R');
    await database().write({ label: 'test' }, function* () {
      yield { sql: "UPDATE workflow_run SET driver = 'server' WHERE id = ?", params: [made.workflow_run_id] };
    });
    const other = await insert('E');
    const { statuses } = await wide().resetTasks({
      workflow_id: made.workflow_id,
      task_ids: [...made.task_ids, other.task_ids[0]!],
      reset_if_running: true,
    });
    expect(statuses).toEqual(made.task_ids.map((id, at) => [id, CASES[at]![1]]));
    expect((await standing(database(), made.task_instance_ids)).map((row) => row.status)).toEqual(
      CASES.map(([letter]) => letter),
    );
    await expect(wide().resetTasks({ workflow_id: 2_000_000_000, task_ids: [1], reset_if_running: true })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });

  test('E13 leaves tasks on their way to a live run of a client, and resets the others', async () => {
    const made = await insert('R');
    const request = { workflow_id: made.workflow_id, task_ids: [...made.task_ids], reset_if_running: true };
    const { statuses } = await wide().resetTasks(request);
    const left = ['Q', 'I', 'O', 'R', 'A', 'D'];
    expect(statuses.map(([, status]) => status)).toEqual(CASES.map(([, status]) => (left.includes(status) ? status : 'G')));
    const rows = await standing(database(), made.task_instance_ids);
    expect(rows.map(({ status }) => status)).toEqual(
      CASES.map((each) => (left.includes(each[1]) ? each[0] : each[2]!.slice(0, 1))),
    );
  });

  test('E13 from eight clients at once resets each task once', async () => {
    const made = await insertWorkflow(database(), {
      tasks: 300,
      driver: 'client',
      run_status: 'E',
      workflow_status: 'F',
      instance_status: 'R',
      task_status: 'R',
    });
    const before = await countTasks(database(), made.workflow_id);
    const machines = [wide('one'), wide('two')];
    await Promise.all(
      Array.from({ length: 8 }, (_, at) =>
        machines[at % 2]!.resetTasks({ workflow_id: made.workflow_id, task_ids: [...made.task_ids], reset_if_running: true }),
      ),
    );
    const rows = await standing(database(), made.task_instance_ids);
    expect(new Set(rows.map((row) => `${row.status} ${row.task_status} ${row.history_sequence}`))).toEqual(new Set(['K G 1']));
    await expectTruth(database(), made.workflow_id, before);
  });
});
