/** Tasks as command line and screens read them: the whole JSON, over HTTP. */
import type { SqlValue } from '@jobmon/entities';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow } from '@jobmon/testkit';
import { call, serve, type Json, type Served } from '../../test/serve';

const UNKNOWN = 2_000_000_000;

describeOnDatabases('tasks as people read them', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database());
  });
  afterAll(() => served.close());

  const run = (sql: string, params: SqlValue[] = []): Promise<number> => database().change(sql, ...params);
  async function ask(method: string, path: string, body?: unknown): Promise<Json> {
    const answered = await call(served, method, `/api/v3${path}`, body);
    expect([answered.status, answered.json]).toEqual([200, answered.json]);
    return answered.json;
  }
  const status = async (method: string, path: string, body?: unknown): Promise<number> =>
    (await call(served, method, `/api/v3${path}`, body)).status;
  const setInstance = (id: number, columns: Record<string, SqlValue>): Promise<number> =>
    run(
      `UPDATE task_instance SET ${Object.keys(columns)
        .map((column) => `${column} = ?`)
        .join(', ')} WHERE id = ?`,
      [...Object.values(columns), id],
    );
  const addInstance = (made: InsertedWorkflow, position: number, letter: string): Promise<number> =>
    run(
      `INSERT INTO task_instance (workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, status)
       VALUES (?, ?, ?, 0, 2, ?, ?)`,
      [made.workflow_run_id, made.array_id, made.task_ids[position]!, position, letter],
    );
  const addError = (task_instance_id: number, time: string, description: string): Promise<number> =>
    run('INSERT INTO task_instance_error_log (task_instance_id, error_time, description) VALUES (?, ?, ?)', [
      task_instance_id,
      time,
      description,
    ]);

  describe('C1', () => {
    let made: InsertedWorkflow;
    let array: string;
    let again: number;
    const row = (position: number, id: number, out: string, err: string) => ({
      TASK_ID: made.task_ids[position],
      TASK_NAME: `task_${position}`,
      ARRAY_NAME: array,
      TASK_INSTANCE_ID: id,
      OUTPUT_PATH: out,
      ERROR_PATH: err,
    });
    beforeAll(async () => {
      made = await insertWorkflow(database(), { tasks: 3, instance_status: 'E' });
      await setInstance(made.task_instance_ids[0]!, { stdout: '/logs/a.o', stderr: '/logs/a.e' });
      again = await addInstance(made, 0, 'D');
      const [found] = await database().read<{ name: string }>('SELECT name FROM array WHERE id = ?', [made.array_id]);
      array = found!.name;
    });

    it('C1 answers a row for each instance, the newest first', async () => {
      const [first, second, third] = made.task_instance_ids;
      expect(await ask('GET', `/array/${made.workflow_id}/get_array_tasks?array_name=`)).toEqual({
        array_tasks: [
          row(0, again, '', ''),
          row(2, third!, '', ''),
          row(1, second!, '', ''),
          row(0, first!, '/logs/a.o', '/logs/a.e'),
        ],
      });
    });

    it('C1 shows the instances of tasks that older programs left without an array', async () => {
      const old = await insertWorkflow(database(), { tasks: 2, instance_status: 'D' });
      await run('UPDATE task SET array_id = NULL WHERE id = ?', [old.task_ids[1]!]);
      const shown = async (query: string): Promise<unknown[]> => {
        const { array_tasks } = await ask('GET', `/array/${old.workflow_id}/get_array_tasks?${query}`);
        return array_tasks.map((row: Json) => [row.TASK_INSTANCE_ID, row.ARRAY_NAME === '']);
      };
      const [kept, stray] = old.task_instance_ids;
      expect(await shown('array_name=')).toEqual([
        [stray, true],
        [kept, false],
      ]);
      expect(await shown('array_name=&limit=1')).toEqual([[stray, true]]);
      expect(await shown('array_name=&job_name=task_1')).toEqual([[stray, true]]);
      expect(await shown('array_name=another')).toEqual([]);
    });

    it('C1 filters by array and by task, and takes the newest of a limit', async () => {
      const base = `/array/${made.workflow_id}/get_array_tasks`;
      const ids = async (query: string): Promise<number[]> =>
        (await ask('GET', `${base}?${query}`)).array_tasks.map((found: { TASK_INSTANCE_ID: number }) => found.TASK_INSTANCE_ID);
      expect(await ids(`array_name=${array}&limit=2`)).toEqual([again, made.task_instance_ids[2]]);
      expect(await ids('array_name=&job_name=task_0&limit=0')).toEqual([again, made.task_instance_ids[0]]);
      expect(await ids('array_name=&job_name=&limit=1')).toEqual([again]);
      expect(await ids('array_name=other')).toEqual([]);
      expect(await ids('array_name=&job_name=task')).toEqual([]);
      expect(await status('GET', base)).toBe(422);
      expect(await status('GET', `${base}?array_name=&limit=-1`)).toBe(422);
      expect(await status('GET', `/array/${UNKNOWN}/get_array_tasks?array_name=`)).toBe(404);
    });
  });

  describe('C2', () => {
    it('C2 answers every instance with each of its errors, as a frame string', async () => {
      const made = await insertWorkflow(database(), {
        tasks: 2,
        task_status: (at) => (at === 0 ? 'D' : 'R'),
        instance_status: 'E',
      });
      const [first, second] = made.task_instance_ids;
      await setInstance(first!, { distributor_id: '4711', usage_str: '{"wallclock": 3}', stdout: '/a.o', stderr: '/a.e' });
      await addError(first!, '2025-01-31 12:35:10', 'exit code 1');
      await addError(first!, '2025-01-31 12:35:11', 'and again');
      const again = await addInstance(made, 0, 'D');
      const [one, two] = made.task_ids;
      const { task_instance_status } = await ask('GET', `/task_status?task_ids=${two}&task_ids=${one}&task_ids=${one}`);
      expect(task_instance_status).toBe(
        JSON.stringify({
          TASK_ID: { 0: one, 1: one, 2: one, 3: two },
          task_status: { 0: 'D', 1: 'D', 2: 'D', 3: 'R' },
          TASK_INSTANCE_ID: { 0: first, 1: first, 2: again, 3: second },
          DISTRIBUTOR_ID: { 0: '4711', 1: '4711', 2: null, 3: null },
          STATUS: { 0: 'ERROR', 1: 'ERROR', 2: 'DONE', 3: 'ERROR' },
          RESOURCE_USAGE: { 0: '{"wallclock": 3}', 1: '{"wallclock": 3}', 2: null, 3: null },
          STDOUT: { 0: '/a.o', 1: '/a.o', 2: null, 3: null },
          STDERR: { 0: '/a.e', 1: '/a.e', 2: null, 3: null },
          ERROR_TRACE: { 0: 'exit code 1', 1: 'and again', 2: null, 3: null },
        }),
      );
    });

    it.each([
      ['PENDING', ['QUEUED', 'INSTANTIATED', 'LAUNCHED']],
      ['RUNNING', ['RUNNING', 'TRIAGING']],
      ['DONE', ['DONE']],
      ['FATAL', ['ERROR', 'ERROR_FATAL', 'KILL_SELF', 'UNKNOWN_ERROR', 'NO_DISTRIBUTOR_ID', 'NO_HEARTBEAT', 'RESOURCE_ERROR']],
    ])('C2 finds under %s the instances in %j', async (word, labels) => {
      const letters = ['Q', 'I', 'O', 'R', 'T', 'D', 'E', 'F', 'K', 'U', 'W', 'X', 'Z'] as const;
      const made = await insertWorkflow(database(), { tasks: letters.length, instance_status: (at) => letters[at]! });
      const ids = made.task_ids.map((id) => `task_ids=${id}`).join('&');
      const { STATUS } = JSON.parse((await ask('GET', `/task_status?${ids}&status=${word}`)).task_instance_status);
      expect(Object.values(STATUS)).toEqual(labels);
    });

    it('C2 takes the words of its filter in any case, and an empty one for none', async () => {
      const made = await insertWorkflow(database(), { instance_status: 'E' });
      const rows = async (query: string): Promise<number> => {
        const answered = await ask('GET', `/task_status?task_ids=${made.task_ids[0]}&${query}`);
        return Object.keys((JSON.parse(answered.task_instance_status) as Json).TASK_ID).length;
      };
      expect([await rows('status=fatal'), await rows('status=Running'), await rows('status=')]).toEqual([1, 0, 1]);
    });

    it('C2 refuses an unknown word and an empty list, and knows no instance of an unknown task', async () => {
      expect(await status('GET', '/task_status?task_ids=1&status=BUSY')).toBe(400);
      expect(await status('GET', '/task_status?task_ids=1&status=constructor')).toBe(400);
      expect(await status('GET', '/task_status?task_ids=')).toBe(400);
      expect(await status('GET', '/task_status')).toBe(422);
      expect(await status('GET', '/task_status?task_ids=one')).toBe(422);
      const { task_instance_status } = await ask('GET', `/task_status?task_ids=${UNKNOWN}`);
      expect(JSON.parse(task_instance_status)).toEqual({
        TASK_ID: {},
        task_status: {},
        TASK_INSTANCE_ID: {},
        DISTRIBUTOR_ID: {},
        STATUS: {},
        RESOURCE_USAGE: {},
        STDOUT: {},
        STDERR: {},
        ERROR_TRACE: {},
      });
    });
  });

  describe('graphs', () => {
    /** 0 → 1 → 3, 0 → 2 → 3 → 4; 5 alone. */
    const UPSTREAMS = [[], [0], [0], [1, 2], [3], []];
    let made: InsertedWorkflow;
    let other: InsertedWorkflow;
    const id = (position: number): number => made.task_ids[position]!;
    beforeAll(async () => {
      const letters = ['D', 'D', 'F', 'G', 'G', 'G'] as const;
      made = await insertWorkflow(database(), {
        tasks: 6,
        upstreams: (position) => UPSTREAMS[position]!,
        task_status: (position) => letters[position]!,
      });
      other = await insertWorkflow(database(), { tasks: 1 });
    });

    it('C3 answers all descendants with the tasks themselves, or those in some statuses', async () => {
      expect(await ask('POST', '/task/subdag', { task_ids: [id(2)], task_status: [] })).toEqual({
        workflow_id: made.workflow_id,
        sub_task: { [id(2)]: ['F', 'task_2'], [id(3)]: ['G', 'task_3'], [id(4)]: ['G', 'task_4'] },
      });
      expect(await ask('POST', '/task/subdag', { task_ids: [id(1), id(2), UNKNOWN], task_status: ['D', 'F'] })).toEqual({
        workflow_id: made.workflow_id,
        sub_task: { [id(1)]: ['D', 'task_1'], [id(2)]: ['F', 'task_2'] },
      });
      expect(await ask('POST', '/task/subdag', { task_ids: [id(5)], task_status: null })).toEqual({
        workflow_id: made.workflow_id,
        sub_task: { [id(5)]: ['G', 'task_5'] },
      });
    });

    it('C3 knows nothing of unknown tasks, and refuses none and those of several workflows', async () => {
      expect(await ask('POST', '/task/subdag', { task_ids: [UNKNOWN] })).toEqual({ workflow_id: null, sub_task: {} });
      expect(await status('POST', '/task/subdag', { task_ids: [] })).toBe(400);
      expect(await status('POST', '/task/subdag', {})).toBe(400);
      expect(await status('POST', '/task/subdag', { task_ids: [id(0), other.task_ids[0]] })).toBe(400);
    });

    it('C3 C6 answer a task that another program left without node or workflow', async () => {
      const { workflow_id, task_ids } = await insertWorkflow(database(), { tasks: 2 });
      const [nodeless, lost] = task_ids as [number, number];
      await run('UPDATE task SET node_id = NULL WHERE id = ?', [nodeless]);
      await run('UPDATE task SET workflow_id = NULL WHERE id = ?', [lost]);
      expect(await ask('POST', '/task/subdag', { task_ids: [nodeless] })).toEqual({
        workflow_id,
        sub_task: { [nodeless]: ['G', 'task_0'] },
      });
      expect(await ask('POST', '/task/subdag', { task_ids: [lost] })).toEqual({
        workflow_id: null,
        sub_task: { [lost]: ['G', 'task_1'] },
      });
      expect(await ask('PUT', '/tasks_recursive/up', { task_ids: [nodeless] })).toEqual({ task_ids: [nodeless] });
      expect(await ask('PUT', '/tasks_recursive/down', { task_ids: [lost] })).toEqual({ task_ids: [lost] });
    });

    it('C5 answers direct neighbours, each in a list of one', async () => {
      expect(await ask('GET', `/task_dependencies/${id(3)}`)).toEqual({
        up: [[{ id: id(1), status: 'D', name: 'task_1' }], [{ id: id(2), status: 'F', name: 'task_2' }]],
        down: [[{ id: id(4), status: 'G', name: 'task_4' }]],
      });
      expect(await ask('GET', `/task_dependencies/${id(5)}`)).toEqual({ up: [], down: [] });
      expect(await status('GET', `/task_dependencies/${UNKNOWN}`)).toBe(404);
      expect(await status('GET', '/task_dependencies/one')).toBe(422);
    });

    it('C5 shows tasks of its own workflow where another shares the graph', async () => {
      const twin = await insertWorkflow(database(), { tasks: 1 });
      await run('UPDATE workflow SET dag_id = ? WHERE id = ?', [made.dag_id, twin.workflow_id]);
      await run('UPDATE task SET node_id = ? WHERE id = ?', [made.node_ids[4]!, twin.task_ids[0]!]);
      expect(await ask('GET', `/task_dependencies/${id(3)}`)).toMatchObject({ down: [[{ id: id(4) }]] });
      expect(await ask('GET', `/task_dependencies/${twin.task_ids[0]}`)).toEqual({ up: [], down: [] });
    });

    it('C6 answers all ancestors or all descendants, ascending', async () => {
      expect(await ask('PUT', '/tasks_recursive/up', { task_ids: [id(3)] })).toEqual({
        task_ids: [id(0), id(1), id(2), id(3)],
      });
      expect(await ask('PUT', '/tasks_recursive/down', { task_ids: [id(5), id(1)] })).toEqual({
        task_ids: [id(1), id(3), id(4), id(5)],
      });
    });

    it('C6 refuses another direction, unknown tasks and those of several workflows', async () => {
      expect(await status('PUT', '/tasks_recursive/sideways', { task_ids: [id(0)] })).toBe(400);
      expect(await status('PUT', '/tasks_recursive/up', { task_ids: [UNKNOWN] })).toBe(400);
      expect(await status('PUT', '/tasks_recursive/up', { task_ids: [] })).toBe(400);
      expect(await status('PUT', '/tasks_recursive/up', { task_ids: [id(0), other.task_ids[0]] })).toBe(400);
      expect(await status('PUT', '/tasks_recursive/up', { task_ids: id(0) })).toBe(400);
    });

    it('C6 refuses more tasks than the command line takes, C3 answers them', async () => {
      const chain = await insertWorkflow(database(), { tasks: 10_001, upstreams: (at) => (at === 0 ? [] : [at - 1]) });
      const [first, second] = chain.task_ids;
      expect((await ask('PUT', '/tasks_recursive/down', { task_ids: [second] })).task_ids).toEqual(chain.task_ids.slice(1));
      expect(await status('PUT', '/tasks_recursive/down', { task_ids: [first] })).toBe(400);
      const { sub_task } = await ask('POST', '/task/subdag', { task_ids: [first] });
      expect(Object.keys(sub_task)).toHaveLength(10_001);
    }, 60_000);
  });

  describe('one task', () => {
    const BARE = {
      ti_stdout: null,
      ti_stderr: null,
      ti_stdout_log: null,
      ti_stderr_log: null,
      ti_distributor_id: null,
      ti_nodename: null,
      ti_error_log_description: null,
      ti_wallclock: null,
      ti_maxrss: null,
      ti_resources: null,
      ti_submit_date: null,
      ti_status_date: null,
      ti_queue_name: null,
      ti_errors: [],
    };

    it('C9 answers each instance once, with all its errors, and those without resources too', async () => {
      const made = await insertWorkflow(database(), { tasks: 1, instance_status: 'E' });
      const [first] = made.task_instance_ids;
      await setInstance(first!, {
        stdout: '/logs/x.o',
        stderr: '/logs/x.e',
        stdout_log: 'last lines',
        stderr_log: 'Traceback',
        distributor_id: '4711',
        nodename: 'node-17',
        wallclock: '12.0',
        maxrss: '50844672',
        submitted_date: '2025-01-31 12:34:56',
        status_date: '2025-01-31 12:35:10',
      });
      await addError(first!, '2025-01-31 12:35:10', 'exit code 1');
      await addError(first!, '2025-01-31 12:35:12', 'exit code 2');
      const again = await addInstance(made, 0, 'O');
      expect(await ask('GET', `/task/get_ti_details_viz/${made.task_ids[0]}`)).toEqual({
        taskinstances: [
          {
            ti_id: first,
            ti_status: 'ERROR',
            ti_stdout: '/logs/x.o',
            ti_stderr: '/logs/x.e',
            ti_stdout_log: 'last lines',
            ti_stderr_log: 'Traceback',
            ti_distributor_id: '4711',
            ti_nodename: 'node-17',
            ti_error_log_description: 'exit code 2',
            ti_wallclock: 12,
            ti_maxrss: 50844672,
            ti_resources: '{"cores": 1}',
            ti_submit_date: '2025-01-31T12:34:56',
            ti_status_date: '2025-01-31T12:35:10',
            ti_queue_name: 'null.q',
            ti_errors: [
              { time: '2025-01-31T12:35:10', description: 'exit code 1' },
              { time: '2025-01-31T12:35:12', description: 'exit code 2' },
            ],
            ti_workflow_run_id: made.workflow_run_id,
            ti_attempt: 1,
          },
          {
            ...BARE,
            ti_id: again,
            ti_status: 'LAUNCHED',
            ti_workflow_run_id: made.workflow_run_id,
            ti_attempt: 2,
          },
        ],
      });
    });

    it('C9 answers no instance of a task that was never queued, and does not know an unknown one', async () => {
      const made = await insertWorkflow(database(), { tasks: 1 });
      expect(await ask('GET', `/task/get_ti_details_viz/${made.task_ids[0]}`)).toEqual({ taskinstances: [] });
      expect(await status('GET', `/task/get_ti_details_viz/${UNKNOWN}`)).toBe(404);
    });

    it('C10 answers the task in a list of one, with template, arguments, attributes and resources', async () => {
      const made = await insertWorkflow(database(), { tasks: 1, task_status: 'F', instance_status: 'F' });
      const [task_id] = made.task_ids;
      await run(`UPDATE task SET status_date = '2025-01-31 12:35:10' WHERE id = ?`, [task_id!]);
      const place = await run('INSERT INTO arg (name) VALUES (?)', [`place_${task_id}`]);
      const year = await run('INSERT INTO arg (name) VALUES (?)', [`year_${task_id}`]);
      const kind = await run('INSERT INTO task_attribute_type (name) VALUES (?)', [`kind_${task_id}`]);
      await run('INSERT INTO node_arg (node_id, arg_id, val) VALUES (?, ?, ?)', [made.node_ids[0]!, place, '7']);
      await run('INSERT INTO task_arg (task_id, arg_id, val) VALUES (?, ?, ?)', [task_id!, year, '1990']);
      await run('INSERT INTO task_attribute (task_id, task_attribute_type_id, value) VALUES (?, ?, ?)', [task_id!, kind, 'big']);
      const [template] = await database().read<{ name: string }>('SELECT name FROM task_template WHERE id = ?', [
        made.task_template_id,
      ]);
      expect(await ask('GET', `/task/get_task_details_viz/${task_id}`)).toEqual({
        task_details: [
          {
            task_status: 'F',
            workflow_id: made.workflow_id,
            task_name: 'task_0',
            task_command: 'echo 0',
            task_status_date: '2025-01-31T12:35:10',
            task_template_id: made.task_template_id,
            task_template_name: template!.name,
            task_template_version_id: made.task_template_version_id,
            num_attempts: 1,
            max_attempts: 3,
            node_args: { [`place_${task_id}`]: '7' },
            task_args: { [`year_${task_id}`]: '1990' },
            task_attributes: { [`kind_${task_id}`]: 'big' },
            requested_resources: '{"cores": 1}',
          },
        ],
      });
      expect(await status('GET', `/task/get_task_details_viz/${UNKNOWN}`)).toBe(404);
    });
  });
});
