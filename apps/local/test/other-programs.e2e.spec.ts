/**
 * Other programs change rows behind the running server: a status set by SQL, a deadline moved into the past, a run inserted. For each
 * table with a status: the house is asked (so that whatever might be remembered is), the rows are changed by another connection,
 * and the house is asked again. Only the api and the state machine run, so that nobody looks at the rows in between.
 */
import type { Database } from '@jobmon/entities';
import { openDatabase } from '@jobmon/entities';
import {
  buildHouse,
  describeOnDatabaseKinds,
  HouseProcess,
  insertWorkflow,
  UserFolder,
  type DatabaseKind,
  type InsertedWorkflow,
} from '@jobmon/testkit';
import { pino } from 'pino';

describeOnDatabaseKinds('a house whose rows other programs change', (kind) => {
  let user: UserFolder;
  let house: HouseProcess;
  let other: Database;
  let place: Awaited<ReturnType<DatabaseKind['place']>>;
  let made: InsertedWorkflow;

  beforeAll(async () => {
    buildHouse();
    user = new UserFolder();
    place = await kind.place();
    house = await HouseProcess.start(user, ['--port', '0', '--db', place.url, '--without', 'agent,scheduler,reaper']);
    other = await openDatabase({ url: place.url, log: pino({ level: 'silent' }) });
  }, 60_000);
  afterAll(async () => {
    await other.close();
    await house.end('SIGTERM');
    await user.remove();
    await place.remove();
  });
  beforeEach(async () => {
    // A client's run with three running tasks.
    made = await insertWorkflow(other, { tasks: 3, driver: 'client', instance_status: 'R', task_status: 'R' });
  });

  /** A JSON request; answers status and value. */
  async function ask(method: 'GET' | 'POST' | 'PUT', path: string, body?: unknown): Promise<[number, unknown]> {
    const answered = await fetch(`${house.url}/api/${path}`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(method === 'GET' ? {} : { body: JSON.stringify(body ?? {}) }),
    });
    return [answered.status, await answered.json()];
  }
  const value = async (...request: Parameters<typeof ask>): Promise<unknown> => {
    const [status, answer] = await ask(...request);
    expect([request[1], status]).toEqual([request[1], 200]);
    return answer;
  };
  /** One statement of the other program. */
  const change = (sql: string, ...params: (string | number)[]): Promise<number> =>
    other.write({ label: 'another program' }, function* () {
      return (yield { sql, params }).affected;
    });
  const PAST = "'2020-01-01 00:00:00'";

  describe('task', () => {
    it('E49 answers a status that was set without its date', async () => {
      const sync = (): Promise<unknown> => value('POST', `v3/workflow/${made.workflow_id}/task_status_updates`, {});
      expect(await sync()).toMatchObject({ tasks_by_status: { R: made.task_ids } });
      await change("UPDATE task SET status = 'D' WHERE id = ?", made.task_ids[0]!);
      expect(await sync()).toMatchObject({ tasks_by_status: { D: [made.task_ids[0]], R: made.task_ids.slice(1) } });
    });

    it('E2 queues a task that was set to G, and no other', async () => {
      const queue = (): Promise<unknown> =>
        value('POST', `v3/array/${made.array_id}/queue_task_batch`, {
          task_ids: made.task_ids,
          task_resources_id: made.task_resources_id,
          workflow_run_id: made.workflow_run_id,
          cluster_id: 1,
        });
      expect(await queue()).toEqual({ tasks_by_status: { R: made.task_ids } });
      await change("UPDATE task SET status = 'G' WHERE id = ?", made.task_ids[1]!);
      expect(await queue()).toEqual({ tasks_by_status: { Q: [made.task_ids[1]], R: [made.task_ids[0], made.task_ids[2]] } });
    });

    it('E13 resets tasks that were set to F, and leaves one alone that was set to D', async () => {
      await change("UPDATE task SET status = 'F' WHERE workflow_id = ?", made.workflow_id);
      const bind = (): Promise<unknown> =>
        value('PUT', 'v3/task/bind_tasks_no_args', {
          workflow_id: made.workflow_id,
          mark_created: false,
          tasks: Object.fromEntries(
            made.node_ids.map((node_id, at) => [
              String(at),
              [node_id, '0', made.array_id, made.task_resources_id, `task_${at}`, 'true', 3, true, {}, []],
            ]),
          ),
        });
      expect(await bind()).toEqual({ tasks: Object.fromEntries(made.task_ids.map((id, at) => [String(at), [id, 'G']])) });
      await change("UPDATE task SET status = 'D' WHERE id = ?", made.task_ids[2]!);
      expect(await bind()).toMatchObject({ tasks: { 2: [made.task_ids[2], 'D'] } });
    });

    it('C16, C24, C25, C27 and the native view count and show it', async () => {
      const looks = async (): Promise<unknown[]> => [
        await value('GET', `v4/workflows/${made.workflow_id}`),
        await value('GET', `v3/workflow_status_viz?workflow_ids=${made.workflow_id}`),
        await value('GET', `v3/workflow_tt_status_viz/${made.workflow_id}`),
        JSON.parse(
          ((await value('GET', `v3/workflow_status?workflow_id=${made.workflow_id}`)) as { workflows: string }).workflows,
        ),
      ];
      expect(await looks()).toEqual([
        expect.objectContaining({ tasks: { R: 3 } }),
        { [made.workflow_id]: expect.objectContaining({ RUNNING: 3, FATAL: 0 }) },
        { [made.task_template_id]: expect.objectContaining({ RUNNING: 3, FATAL: 0 }) },
        expect.objectContaining({ RUNNING: { 0: '3 (100.0%)' } }),
      ]);
      await change("UPDATE task SET status = 'F' WHERE id = ?", made.task_ids[0]!);
      expect(await looks()).toEqual([
        expect.objectContaining({ tasks: { R: 2, F: 1 } }),
        { [made.workflow_id]: expect.objectContaining({ RUNNING: 2, FATAL: 1 }) },
        { [made.task_template_id]: expect.objectContaining({ RUNNING: 2, FATAL: 1 }) },
        expect.objectContaining({ FATAL: { 0: '1 (33.3%)' } }),
      ]);
      // What lists show from kept counts was mended by the look.
      const { workflows } = (await value('GET', 'v4/workflows?limit=1')) as { workflows: unknown[] };
      expect(workflows).toEqual([expect.objectContaining({ workflow_id: made.workflow_id, tasks: { R: 2, F: 1 } })]);
    });

    it('D of the last task, set by hand, lets the run end as DONE', async () => {
      const end = (): Promise<unknown> => value('PUT', `v3/workflow_run/${made.workflow_run_id}/update_status`, { status: 'D' });
      await change("UPDATE task SET status = 'D' WHERE workflow_id = ?", made.workflow_id);
      await change("UPDATE task_instance SET status = 'D' WHERE workflow_run_id = ?", made.workflow_run_id);
      expect(await end()).toEqual({ status: 'D' });
    });
  });

  describe('task_instance', () => {
    const beat = (id: number): Promise<unknown> =>
      value('POST', `v3/task_instance/${id}/log_report_by`, { next_report_increment: 90 });

    it('E20 passes on an order to stop that was written by hand', async () => {
      const [id] = made.task_instance_ids as [number];
      expect(await beat(id)).toEqual({ status: 'R' });
      await change("UPDATE task_instance SET status = 'K' WHERE id = ?", id);
      expect(await beat(id)).toEqual({ status: 'K' });
    });

    it('E60 tells what left and what came', async () => {
      const sync = (ids: readonly number[]): Promise<unknown> =>
        value('POST', `v3/workflow_run/${made.workflow_run_id}/sync_status`, { task_instance_ids: ids, status: 'R' });
      expect(await sync(made.task_instance_ids)).toMatchObject({ status_updates: {} });
      await change("UPDATE task_instance SET status = 'E' WHERE id = ?", made.task_instance_ids[0]!);
      expect(await sync(made.task_instance_ids)).toMatchObject({ status_updates: { E: [made.task_instance_ids[0]] } });
    });

    it('E61 triages what was made overdue', async () => {
      const triage = (): Promise<unknown> => value('POST', `v3/workflow_run/${made.workflow_run_id}/set_status_for_triaging`);
      await change(
        `UPDATE task_instance SET report_by_date = '2999-01-01 00:00:00' WHERE workflow_run_id = ?`,
        made.workflow_run_id,
      );
      expect(await triage()).toEqual({});
      expect(await beat(made.task_instance_ids[1]!)).toEqual({ status: 'R' });
      await change(`UPDATE task_instance SET report_by_date = ${PAST} WHERE id = ?`, made.task_instance_ids[0]!);
      await triage();
      const rows = await other.read<{ status: string }>(
        'SELECT status FROM task_instance WHERE workflow_run_id = ? ORDER BY id',
        [made.workflow_run_id],
      );
      expect(rows.map(({ status }) => status)).toEqual(['T', 'R', 'R']);
    });

    it('E25 finds an instance that was inserted', async () => {
      const find = (): ReturnType<typeof ask> => ask('GET', `v3/get_array_task_instance_id/${made.array_id}/7/0`);
      expect((await find())[0]).toBe(404);
      await change(
        `INSERT INTO task_instance (workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, status)
         VALUES (?, ?, ?, ?, 7, 0, 'Q')`,
        ...[made.workflow_run_id, made.array_id, made.task_ids[0]!, made.task_resources_id],
      );
      expect(await find()).toEqual([200, { task_instance_id: expect.any(Number) }]);
    });

    it('a report of an attempt that was replaced by an inserted one moves nothing but itself', async () => {
      // A row of another program has no fence: the highest instance is the current one.
      await change('UPDATE task SET current_task_instance_id = NULL WHERE id = ?', made.task_ids[0]!);
      await change(
        `INSERT INTO task_instance (workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, status)
         VALUES (?, ?, ?, ?, 8, 0, 'R')`,
        ...[made.workflow_run_id, made.array_id, made.task_ids[0]!, made.task_resources_id],
      );
      await value('POST', `v3/task_instance/${made.task_instance_ids[0]}/log_done`, {});
      const [task] = await other.read<{ status: string }>('SELECT status FROM task WHERE id = ?', [made.task_ids[0]!]);
      expect(task).toEqual({ status: 'R' });
    });
  });

  describe('workflow_run', () => {
    const beat = (): Promise<unknown> =>
      value('POST', `v3/workflow_run/${made.workflow_run_id}/log_heartbeat`, { status: 'R', next_report_increment: 93 });

    it('E58 tells the swarm what was set', async () => {
      expect(await beat()).toEqual({ status: 'R' });
      await change("UPDATE workflow_run SET status = 'C' WHERE id = ?", made.workflow_run_id);
      expect(await beat()).toEqual({ status: 'C' });
    });

    it('E45 and E56 go by the runs that there are, an inserted one too', async () => {
      const isResumable = (): Promise<unknown> => value('GET', `v3/workflow/${made.workflow_id}/is_resumable`);
      await change("UPDATE task_instance SET status = 'E' WHERE workflow_run_id = ?", made.workflow_run_id);
      await change("UPDATE workflow_run SET status = 'E' WHERE id = ?", made.workflow_run_id);
      await change("UPDATE workflow SET status = 'F' WHERE id = ?", made.workflow_id);
      expect(await isResumable()).toEqual({ workflow_is_resumable: true, pending_kill_self: 0 });
      await change(
        `INSERT INTO workflow_run (workflow_id, status, heartbeat_date) VALUES (?, 'L', '2999-01-01 00:00:00')`,
        made.workflow_id,
      );
      expect(await isResumable()).toEqual({ workflow_is_resumable: false, pending_kill_self: 0 });
      const link = (): Promise<unknown> =>
        value('POST', 'v3/workflow_run', {
          workflow_id: made.workflow_id,
          user: 'ada',
          jobmon_version: '3.6.0',
          next_report_increment: 93,
        });
      expect(await link()).toEqual({ workflow_run_id: null, err_msg: expect.any(String) });
      await change("UPDATE workflow_run SET status = 'A' WHERE workflow_id = ? AND status = 'L'", made.workflow_id);
      expect(await link()).toEqual({ workflow_run_id: expect.any(Number), status: 'L' });
    });

    it('P3 and P4 find a deadline that was moved into the past', async () => {
      const lost = async (): Promise<number[]> => {
        const { workflow_runs } = (await value('GET', 'v3/lost_workflow_run?status=R&version=3.6.0')) as {
          workflow_runs: [number, number][];
        };
        return workflow_runs.map(([run]) => run);
      };
      const reap = (): Promise<unknown> => value('PUT', `v3/workflow_run/${made.workflow_run_id}/reap`);
      expect(await lost()).not.toContain(made.workflow_run_id);
      expect(await reap()).toEqual({ status: '' });
      await change(`UPDATE workflow_run SET heartbeat_date = ${PAST} WHERE id = ?`, made.workflow_run_id);
      expect(await lost()).toContain(made.workflow_run_id);
      expect(await reap()).toMatchObject({ status: 'E' });
    });

    it('a run that was handed to the server takes no more reports of workers', async () => {
      const [id] = made.task_instance_ids as [number];
      await beat();
      await change("UPDATE workflow_run SET driver = 'server' WHERE id = ?", made.workflow_run_id);
      await value('POST', `v3/task_instance/${id}/log_done`, {});
      const [row] = await other.read<{ status: string }>('SELECT status FROM task_instance WHERE id = ?', [id]);
      expect(row).toEqual({ status: 'R' });
    });
  });

  describe('workflow', () => {
    it('E41, C24 and C28 show a status that was set', async () => {
      const [stored] = await other.read<Record<string, string>>('SELECT * FROM workflow WHERE id = ?', [made.workflow_id]);
      const bind = (): Promise<unknown> =>
        value('POST', 'v3/workflow', {
          tool_version_id: made.tool_version_id,
          dag_id: made.dag_id,
          workflow_args_hash: stored!.workflow_args_hash,
          task_hash: stored!.task_hash,
          description: '',
          name: stored!.name,
          workflow_args: stored!.workflow_args,
          max_concurrently_running: 10,
          workflow_attributes: {},
        });
      expect(await bind()).toEqual({ workflow_id: made.workflow_id, status: 'R', newly_created: false });
      await change("UPDATE workflow SET status = 'D' WHERE id = ?", made.workflow_id);
      expect(await bind()).toEqual({ workflow_id: made.workflow_id, status: 'D', newly_created: false });
      expect(await value('GET', `v3/workflow_details_viz/${made.workflow_id}`)).toEqual([
        expect.objectContaining({ wf_status: 'D' }),
      ]);
    });

    it('E47, E6 and E7 answer limits that were set', async () => {
      const limits = async (): Promise<unknown[]> => [
        await value('GET', `v3/workflow/${made.workflow_id}/get_max_concurrently_running`),
        await value('GET', `v3/array/${made.array_id}/get_array_max_concurrently_running`),
        await value('GET', `v3/workflow/${made.workflow_id}/get_array_max_concurrently_running/${made.task_template_version_id}`),
      ];
      expect(await limits()).toEqual(Array(3).fill({ max_concurrently_running: 2_147_483_647 }));
      await change('UPDATE workflow SET max_concurrently_running = 5 WHERE id = ?', made.workflow_id);
      await change('UPDATE array SET max_concurrently_running = 4 WHERE id = ?', made.array_id);
      expect(await limits()).toEqual([5, 4, 4].map((max_concurrently_running) => ({ max_concurrently_running })));
    });
  });

  it('E8 and E12 show a cluster and a queue that were added and changed', async () => {
    expect(await value('GET', 'v3/cluster/slurm')).toEqual({ cluster: null });
    await change("INSERT INTO cluster_type (name) VALUES ('slurm')");
    await change("INSERT INTO cluster (name, cluster_type_id) SELECT 'slurm', id FROM cluster_type WHERE name = 'slurm'");
    const { cluster } = (await value('GET', 'v3/cluster/slurm')) as { cluster: unknown[] };
    expect(cluster.slice(1)).toEqual(['slurm', 'slurm', null]);
    expect(await value('GET', `v3/cluster/${String(cluster[0])}/queue/all.q`)).toEqual({ queue: null });
    await change("INSERT INTO queue (name, cluster_id, parameters) VALUES ('all.q', ?, '{}')", cluster[0] as number);
    expect(await value('GET', `v3/cluster/${String(cluster[0])}/queue/all.q`)).toEqual({
      queue: [expect.any(Number), 'all.q', '{}'],
    });
    await change("UPDATE queue SET parameters = '{\"cores\": (1,8)}' WHERE name = 'all.q'");
    expect(await value('GET', `v3/cluster/${String(cluster[0])}/queue/all.q`)).toEqual({
      queue: [expect.any(Number), 'all.q', '{"cores": (1,8)}'],
    });
  });
});
