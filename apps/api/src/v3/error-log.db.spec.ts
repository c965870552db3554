/** Errors of a template, one by one and in groups: the whole JSON, over HTTP. */
import type { SqlValue } from '@jobmon/entities';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow } from '@jobmon/testkit';
import { call, serve, type Json, type Served } from '../../test/serve';

const UNKNOWN = 2_000_000_000;

describeOnDatabases('errors of a template', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database());
  });
  afterAll(() => served.close());

  const run = (sql: string, params: SqlValue[] = []): Promise<number> => database().change(sql, ...params);
  async function get(path: string): Promise<Json> {
    const answered = await call(served, 'GET', `/api/v3/tt_error_log_viz/${path}`);
    expect([answered.status, answered.json]).toEqual([200, answered.json]);
    return answered.json;
  }
  const status = async (path: string): Promise<number> => (await call(served, 'GET', `/api/v3/tt_error_log_viz/${path}`)).status;
  const addError = (task_instance_id: number, second: number, description: string): Promise<number> =>
    run('INSERT INTO task_instance_error_log (task_instance_id, error_time, description) VALUES (?, ?, ?)', [
      task_instance_id,
      `2025-01-31 12:00:0${second}`,
      description,
    ]);
  const setLog = (task_instance_id: number, stderr_log: string | null, nodename: string): Promise<number> =>
    run('UPDATE task_instance SET stderr_log = ?, nodename = ? WHERE id = ?', [stderr_log, nodename, task_instance_id]);
  /** What tells of groups only. */
  const GROUP_KEYS = Object.fromEntries(
    [
      'error_score',
      'group_instance_count',
      'task_instance_ids',
      'task_ids',
      'sample_error',
      'first_error_time',
      'last_error_time',
      'cluster_id',
      'exception_class',
      'sample_task_instance_id',
      'hosts',
    ].map((key) => [key, null]),
  );

  describe('of three tasks', () => {
    let made: InsertedWorkflow;
    let path: string;
    /** By age. */
    let errors: number[];
    const item = (nth: number, position: number, error: string, log: string | null) => ({
      ...GROUP_KEYS,
      task_id: made.task_ids[position],
      task_instance_id: made.task_instance_ids[position],
      task_instance_err_id: errors[nth],
      error_time: `2025-01-31T12:00:0${nth}`,
      error,
      task_instance_stderr_log: log,
      workflow_run_id: made.workflow_run_id,
      workflow_id: made.workflow_id,
    });
    beforeAll(async () => {
      made = await insertWorkflow(database(), { tasks: 4, task_status: 'F', instance_status: 'E' });
      path = `${made.workflow_id}/${made.task_template_id}`;
      const [first, second, third] = made.task_instance_ids;
      // Not in the order of the tasks: a page is cut by the errors' own order.
      errors = [await addError(third!, 0, 'KeyError: 7'), await addError(first!, 1, 'KeyError: 8')];
      errors.push(await addError(second!, 2, 'lost'), await addError(first!, 3, 'KeyError: 9'));
      await setLog(second!, 'Traceback\nMemoryError: no more than 7 GB', 'node-2');
      await setLog(first!, '', 'node-1');
      await setLog(third!, null, 'node-3');
    });

    it('C17 answers every error by its age, a missing log as the text None', async () => {
      expect(await get(path)).toEqual({
        error_logs: [
          item(0, 2, 'KeyError: 7', 'None'),
          item(1, 0, 'KeyError: 8', ''),
          item(2, 1, 'lost', 'Traceback\nMemoryError: no more than 7 GB'),
          item(3, 0, 'KeyError: 9', ''),
        ],
        total_count: 4,
        page: 1,
        page_size: 10,
      });
      expect(await get(`${path}?page=2&page_size=3&just_recent_errors=false`)).toEqual({
        error_logs: [item(3, 0, 'KeyError: 9', '')],
        total_count: 4,
        page: 2,
        page_size: 3,
      });
      expect(await get(`${path}?page=9`)).toEqual({ error_logs: [], total_count: 4, page: 9, page_size: 10 });
    });

    it('C17 groups alike errors, the largest group first', async () => {
      const groups = await get(`${path}?cluster_errors=true`);
      const [first, second] = groups.error_logs;
      const group = {
        task_id: null,
        task_instance_id: null,
        task_instance_err_id: null,
        error_time: null,
        error: null,
        task_instance_stderr_log: null,
        workflow_run_id: made.workflow_run_id,
        workflow_id: made.workflow_id,
        error_score: expect.any(Number),
        cluster_id: expect.stringMatching(/^[0-9a-f]{16}$/),
      };
      const [one, two, three] = made.task_instance_ids;
      expect(groups).toEqual({
        error_logs: [
          {
            ...group,
            group_instance_count: 3,
            task_instance_ids: [three, one],
            task_ids: [made.task_ids[2], made.task_ids[0]],
            sample_error: 'KeyError: 7',
            first_error_time: '2025-01-31T12:00:00',
            last_error_time: '2025-01-31T12:00:03',
            exception_class: 'KeyError',
            sample_task_instance_id: three,
            hosts: ['node-1', 'node-3'],
          },
          {
            ...group,
            group_instance_count: 1,
            task_instance_ids: [two],
            task_ids: [made.task_ids[1]],
            sample_error: 'Traceback\nMemoryError: no more than 7 GB',
            first_error_time: '2025-01-31T12:00:02',
            last_error_time: '2025-01-31T12:00:02',
            exception_class: 'MemoryError',
            sample_task_instance_id: two,
            hosts: ['node-2'],
          },
        ],
        total_count: 2,
        page: 1,
        page_size: 10,
      });
      expect(first.error_score).not.toBe(second.error_score);
      expect(await get(`${path}?cluster_errors=TRUE&page=2&page_size=1`)).toEqual({
        error_logs: [second],
        total_count: 2,
        page: 2,
        page_size: 1,
      });
    });

    it('C18 answers the errors of one instance, a missing log as null', async () => {
      const third = made.task_instance_ids[2]!;
      expect(await get(`${path}/${third}`)).toEqual({
        error_logs: [item(0, 2, 'KeyError: 7', null)],
        total_count: 1,
        page: 1,
        page_size: 10,
      });
      expect(await get(`${path}/${made.task_instance_ids[3]}`)).toMatchObject({ error_logs: [], total_count: 0 });
      expect(await get(`${path}/${made.task_instance_ids[0]}?page=2&page_size=1`)).toEqual({
        error_logs: [item(3, 0, 'KeyError: 9', '')],
        total_count: 2,
        page: 2,
        page_size: 1,
      });
    });

    it('C17 C18 refuse what is no page and no flag, and do not know unknown ids', async () => {
      for (const query of ['page=0', 'page_size=0', 'page_size=1001', 'page=x', 'cluster_errors=maybe'])
        expect(await status(`${path}?${query}`)).toBe(422);
      expect(await status(`${UNKNOWN}/${made.task_template_id}`)).toBe(404);
      expect(await status(`${made.workflow_id}/${UNKNOWN}`)).toBe(404);
      expect(await status(`${path}/${UNKNOWN}`)).toBe(404);
      expect(await status(`${UNKNOWN}/${made.task_template_id}/${made.task_instance_ids[0]}`)).toBe(404);
    });

    it('C17 has no errors of a template that the workflow does not use', async () => {
      const other = await insertWorkflow(database(), { tasks: 1 });
      const nothing = { error_logs: [], total_count: 0, page: 1, page_size: 10 };
      expect(await get(`${made.workflow_id}/${other.task_template_id}`)).toEqual(nothing);
      expect(await get(`${made.workflow_id}/${other.task_template_id}?cluster_errors=true`)).toEqual(nothing);
    });
  });

  it('C17 answers the errors of tasks that older programs left without an array', async () => {
    const old = await insertWorkflow(database(), { tasks: 3, instance_status: 'E' });
    const errors: number[] = [];
    for (const id of old.task_instance_ids) errors.push(await addError(id, 1, 'exit code 1'));
    const path = `${old.workflow_id}/${old.task_template_id}`;
    const shown = async (): Promise<number[]> => (await get(path)).error_logs.map((item: Json) => item.task_instance_err_id);
    await run('UPDATE task SET array_id = NULL WHERE id = ?', [old.task_ids[1]!]);
    expect(await shown()).toEqual(errors);
    await run('UPDATE task SET array_id = NULL WHERE workflow_id = ?', [old.workflow_id]);
    await run('DELETE FROM array WHERE workflow_id = ?', [old.workflow_id]);
    expect(await shown()).toEqual(errors);
    expect((await get(`${path}?cluster_errors=true`)).error_logs).toMatchObject([{ task_ids: old.task_ids }]);
  });

  it('C17 takes the first and the last time of a group from those errors that have one', async () => {
    const { workflow_id, task_template_id, task_instance_ids } = await insertWorkflow(database(), {
      tasks: 4,
      instance_status: 'E',
    });
    const errors: number[] = [];
    for (const [at, id] of task_instance_ids.entries()) errors.push(await addError(id, at, 'exit code 1'));
    await run('UPDATE task_instance_error_log SET error_time = NULL WHERE id IN (?, ?)', [errors[0]!, errors[3]!]);
    expect((await get(`${workflow_id}/${task_template_id}?cluster_errors=true`)).error_logs).toMatchObject([
      { group_instance_count: 4, first_error_time: '2025-01-31T12:00:01', last_error_time: '2025-01-31T12:00:02' },
    ]);
  });

  it('C17 answers of the latest run the newest error of each task, in groups too', async () => {
    const made = await insertWorkflow(database(), { tasks: 3, task_status: 'F', instance_status: 'E' });
    const path = `${made.workflow_id}/${made.task_template_id}`;
    const [first, second, third] = made.task_instance_ids;
    await addError(first!, 0, 'of the run before');
    const later = await run(`INSERT INTO workflow_run (workflow_id, status) VALUES (?, 'R')`, [made.workflow_id]);
    for (const id of [second!, third!]) await run('UPDATE task_instance SET workflow_run_id = ? WHERE id = ?', [later, id]);
    await addError(second!, 1, 'older of two');
    const newest = await addError(second!, 2, 'newer of two');
    const other = await addError(third!, 1, 'newer of two');
    const { error_logs, total_count } = await get(`${path}?just_recent_errors=true`);
    expect(error_logs.map((error: Json) => error.task_instance_err_id)).toEqual([newest, other]);
    expect(total_count).toBe(2);
    const groups = await get(`${path}?just_recent_errors=true&cluster_errors=true&page=1&page_size=1`);
    expect(groups).toMatchObject({
      error_logs: [{ group_instance_count: 2, task_instance_ids: [second, third], workflow_run_id: later }],
      total_count: 1,
    });
  });
});
