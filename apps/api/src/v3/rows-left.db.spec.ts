/**
 * The rows that a run of the Python protocol leaves. The recorded conversations are played again, and what then stands in the
 * tables is compared with what the Python server leaves for the same traffic: spec/data-model.md sections 2 and 8 tell which columns
 * and how many rows, spec/state-machines.md sections 3 to 6 and 9 which dates are set by whom, the recorded bodies the values.
 * Where our rows are meant to be others, the line says so.
 */
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases } from '@jobmon/testkit';
import { Mapping, recordedTraffic, SESSIONS } from '../../test/replay';
import { call, serve, type Json, type Served } from '../../test/serve';

/** Tasks of each session when all went well. */
const TASKS_DONE = ['one_1 D 1/3 set', 'one_2 D 1/3 set', 'one_3 D 1/3 set', 'two_1 D 1/2 set', 'two_2 D 1/2 set'];
/** The first array's attempts on multiprocess, which takes them in batches. */
const STAGE_ONE = [
  'one_1 run 1 1/0 D 1_0 localhost "1 x\\n" 0 set set set',
  'one_2 run 1 1/1 D 1_1 localhost "2 x\\n" 0 set set set',
  'one_3 run 1 1/2 D 1_2 localhost "3 x\\n" 0 set set set',
];

/** What a run on multiprocess leaves when all went well, by a client of this version. */
const doneInBatches = (version: string): Record<string, string[]> => ({
  workflow: ['D set set'],
  runs: [`D root ${version} set set set`],
  tasks: TASKS_DONE,
  instances: [
    ...STAGE_ONE,
    'two_1 run 1 1/0 D 2_0 localhost "1\\n" 0 set set set',
    'two_2 run 1 1/1 D 2_1 localhost "2\\n" 0 set set set',
  ],
});

describeOnDatabases('the rows of recorded traffic', (database) => {
  let served: Served;
  let workflows: { id: number; name: string }[];

  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)] });
    const mapping = new Mapping();
    for (const recorded of SESSIONS.flatMap(recordedTraffic)) {
      const { path, body } = mapping.request(recorded);
      const answered = await call(served, recorded.method, path, body, { 'content-type': 'application/json' });
      if (recorded.answer !== '') mapping.answer(recorded, answered.json);
    }
    workflows = await database().read('SELECT id, name FROM workflow ORDER BY id');
  }, 120_000);
  afterAll(() => served.close());

  const rows = <Row = Json>(sql: string, ...params: (string | number)[]): Promise<Row[]> => database().read<Row>(sql, params);
  const count = async (sql: string, ...params: number[]): Promise<number> => Number((await rows(sql, ...params))[0].n);
  /** `set` and `-` in place of dates, in the order of the columns. */
  const dates = (row: Json, ...columns: string[]): string =>
    columns
      .map((column) => (row[column] === null ? '-' : /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/.test(row[column]) ? 'set' : 'odd'))
      .join(' ');

  /** A workflow with its runs, tasks and instances, each in a line. */
  async function linesOf(at: number): Promise<Record<string, string[]>> {
    const { id } = workflows[at]!;
    const workflow = await rows('SELECT * FROM workflow WHERE id = ?', id);
    const runs = await rows('SELECT * FROM workflow_run WHERE workflow_id = ? ORDER BY id', id);
    const tasks = await rows('SELECT * FROM task WHERE workflow_id = ? ORDER BY id', id);
    const instances = await rows(
      `SELECT ti.*, t.name AS task_name, wr.id AS run, (SELECT COUNT(*) FROM task_instance_error_log AS e WHERE e.task_instance_id = ti.id) AS errors
         FROM task_instance AS ti JOIN task AS t ON t.id = ti.task_id JOIN workflow_run AS wr ON wr.id = ti.workflow_run_id
        WHERE t.workflow_id = ? ORDER BY ti.id`,
      id,
    );
    return {
      // status; created_date, status_date
      workflow: workflow.map((row) => `${row.status} ${dates(row, 'created_date', 'status_date')}`),
      // status, user, versions; created_date, status_date, heartbeat_date
      runs: runs.map(
        (row) => `${row.status} ${row.user} ${row.jobmon_version} ${dates(row, 'created_date', 'status_date', 'heartbeat_date')}`,
      ),
      // name, status, attempts; status_date
      tasks: tasks.map((row) => `${row.name} ${row.status} ${row.num_attempts}/${row.max_attempts} ${dates(row, 'status_date')}`),
      // task, run, batch/step, status, cluster's id, host, tail of output, error rows; submitted_date, status_date, report_by_date
      instances: instances.map(
        (row) =>
          `${row.task_name} run ${runs.findIndex((run) => run.id === row.run) + 1} ${row.array_batch_num}/${row.array_step_id} ${row.status} ` +
          `${row.distributor_id} ${row.nodename} ${JSON.stringify(row.stdout_log)} ${row.errors} ` +
          dates(row, 'submitted_date', 'status_date', 'report_by_date'),
      ),
    };
  }

  it('a run on sequential', async () => {
    expect(await linesOf(0)).toEqual({
      workflow: ['D set set'],
      runs: ['D root 3.6.0 set set set'],
      tasks: TASKS_DONE,
      // Launched one by one, and ended before the launch is told: such an attempt has no submitted_date (state-machines.md section 9, race 55).
      instances: [
        'one_1 run 1 1/0 D 1 localhost "1 x\\n" 0 - set set',
        'one_2 run 1 1/1 D 2 localhost "2 x\\n" 0 - set set',
        'one_3 run 1 1/2 D 3 localhost "3 x\\n" 0 - set set',
        'two_1 run 1 1/0 D 4 localhost "1\\n" 0 - set set',
        'two_2 run 1 1/1 D 5 localhost "2\\n" 0 - set set',
      ],
    });
  });

  it('a run on multiprocess', async () => {
    expect(await linesOf(1)).toEqual(doneInBatches('3.6.0'));
  });

  it('a run whose task fails until its attempts are used up, and its resume', async () => {
    expect(await linesOf(2)).toEqual({
      workflow: ['F set set'],
      runs: ['E root 3.6.0 set set set', 'E root 3.6.0 set set set'],
      // The resume put the failed task's attempts back to 0 and left the others; two more attempts used them up again.
      tasks: ['one_1 D 1/3 set', 'one_2 D 1/3 set', 'one_3 D 1/3 set', 'two_1 F 2/2 set', 'two_2 D 1/2 set'],
      instances: [
        ...STAGE_ONE,
        'two_1 run 1 1/0 E 2_0 localhost "1\\n" 1 set set set',
        'two_2 run 1 1/1 D 2_1 localhost "2\\n" 0 set set set',
        'two_1 run 1 2/0 E 3_0 localhost "1\\n" 1 set set set',
        'two_1 run 2 3/0 E 1_0 localhost "1\\n" 1 set set set',
        'two_1 run 2 4/0 E 2_0 localhost "1\\n" 1 set set set',
      ],
    });
  });

  it('a run of an older client', async () => {
    expect(await linesOf(3)).toEqual(doneInBatches('3.3.0'));
  });

  it('as many rows of each kind as the graph, the arguments and the attempts make', async () => {
    expect(workflows).toHaveLength(4);
    for (const { id } of workflows) {
      expect(await count('SELECT COUNT(*) AS n FROM task WHERE workflow_id = ?', id)).toBe(5);
      expect(await count('SELECT COUNT(*) AS n FROM array WHERE workflow_id = ?', id)).toBe(2);
      // A row for each node of the graph; the graph is complete.
      const graph = 'FROM workflow AS w JOIN dag AS d ON d.id = w.dag_id JOIN edge AS e ON e.dag_id = d.id WHERE w.id = ?';
      expect(await count(`SELECT COUNT(*) AS n ${graph} AND d.created_date IS NOT NULL`, id)).toBe(5);
      // One task argument each, v of stage_one and code of stage_two, and one node argument, loc.
      const own = 'FROM task AS t WHERE t.workflow_id = ?';
      expect(await count(`SELECT COUNT(*) AS n FROM task_arg WHERE task_id IN (SELECT t.id ${own})`, id)).toBe(5);
      expect(await count(`SELECT COUNT(*) AS n FROM node_arg WHERE node_id IN (SELECT t.node_id ${own})`, id)).toBe(5);
    }
    // One row for each request of resources of each client process: five sessions.
    expect(await count('SELECT COUNT(*) AS n FROM task_resources')).toBe(5);
  });

  it('no usage, which another program fills in, and the error texts as they were sent', async () => {
    const used =
      'usage_str IS NOT NULL OR wallclock IS NOT NULL OR maxrss IS NOT NULL OR maxpss IS NOT NULL OR cpu IS NOT NULL OR io IS NOT NULL';
    expect(await count(`SELECT COUNT(*) AS n FROM task_instance WHERE ${used}`)).toBe(0);
    const errors = await rows('SELECT description, error_time FROM task_instance_error_log ORDER BY id');
    expect(errors.map((row) => `${row.description}|${dates(row, 'error_time')}`)).toEqual(
      Array(4).fill('Got exit_code: 1. Error message was: |set'),
    );
  });
});
