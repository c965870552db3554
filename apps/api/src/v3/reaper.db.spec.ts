/** What a reaper asks for, over HTTP on both databases: runs found by their deadline, ended each by its rule, workflows mended. */
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { call, serve, type Answered, type Served } from '../../test/serve';

describeOnDatabases('reaping', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)] });
  });
  afterAll(() => served.close());

  const get = (path: string): Promise<Answered> => call(served, 'GET', `/api/v3/${path}`, undefined, {});
  const put = (path: string, body: unknown = {}): Promise<Answered> => call(served, 'PUT', `/api/v3/${path}`, body, {});
  const overdue = (more: WorkflowToInsert = {}) =>
    insertWorkflow(database(), { driver: 'client', deadline_seconds: -5, ...more });
  const write = (sql: string) =>
    database().write({ label: 'test' }, function* () {
      yield { sql };
    });
  const one = async (sql: string) => Object.values((await database().read(sql))[0]!)[0];
  const reap = ({ workflow_run_id }: InsertedWorkflow) => put(`workflow_run/${workflow_run_id}/reap`);
  const stands = async (made: InsertedWorkflow) =>
    `${await one(`SELECT status FROM workflow_run WHERE id = ${made.workflow_run_id}`)} ` +
    `${await one(`SELECT status FROM workflow WHERE id = ${made.workflow_id}`)}`;
  const attempts = async ({ workflow_run_id }: InsertedWorkflow) =>
    (
      await database().read<{ status: string }>(
        `SELECT status FROM task_instance WHERE workflow_run_id = ${workflow_run_id} ORDER BY id`,
      )
    )
      .map(({ status }) => status)
      .join('');

  it('P3 finds overdue client runs by status alone, longest overdue first, whatever the version (race 20)', async () => {
    const made = [
      await overdue({ run_status: 'C', deadline_seconds: -50 }),
      await overdue({ run_status: 'H', deadline_seconds: -500 }),
    ];
    await overdue({ run_status: 'R' });
    await overdue({ run_status: 'C', deadline_seconds: 60 });
    await overdue({ run_status: 'C', driver: 'server' });
    const elder = await overdue({ run_status: 'C', deadline_seconds: -5_000 });
    await write(`UPDATE workflow_run SET driver = NULL, jobmon_server_version = '0.1' WHERE id = ${elder.workflow_run_id}`);
    const { status, json } = await get('lost_workflow_run?status=C&status=H&version=3.6.0');
    const pair = ({ workflow_run_id, workflow_id }: InsertedWorkflow) => [workflow_run_id, workflow_id];
    expect([status, json]).toEqual([200, { workflow_runs: [elder, made[1]!, made[0]!].map(pair) }]);
    expect((await get('lost_workflow_run?status=H&version=x')).json).toEqual({ workflow_runs: [pair(made[1]!)] });
    expect((await get('lost_workflow_run?status=nonsense&version=x')).json).toEqual({ workflow_runs: [] });
    expect((await get('lost_workflow_run?status=H')).status).toBe(422);
    expect((await get('lost_workflow_run?version=x')).status).toBe(422);
    await Promise.all([elder, ...made].map(reap));
  });

  it.each([
    ['L', 'G', 'A', 'A A'],
    ['B', 'Q', 'E', 'E F'],
    ['I', 'I', 'E', 'E F'],
    ['O', 'O', 'E', 'E F'],
    ['R', 'R', 'E', 'E F'],
    ['C', 'R', 'T', 'T H'],
    ['H', 'R', 'T', 'T H'],
    ['C', 'Q', 'T', 'T H'],
    ['E', 'F', 'E', 'E F'],
    ['T', 'H', 'T', 'T H'],
    ['D', 'D', 'D', 'D D'],
  ] as const)(
    'P4 an overdue run in %s (workflow in %s) answers %s: %s (races 42, 43)',
    async (run_status, workflow_status, answer, after) => {
      const made = await overdue({ run_status, workflow_status });
      await write(`UPDATE workflow_run SET status_date = '2020-01-01 00:00:00' WHERE id = ${made.workflow_run_id}`);
      const answers = await Promise.all(Array.from({ length: 4 }, () => reap(made)));
      expect(new Set(answers.map(({ status, text }) => `${status} ${text}`))).toEqual(new Set([`200 {"status":"${answer}"}`]));
      expect(await stands(made)).toBe(after);
      const isNew = String(await one(`SELECT status_date FROM workflow_run WHERE id = ${made.workflow_run_id}`)) > '2021';
      expect(isNew).toBe(run_status !== answer);
    },
  );

  it.each(['L', 'B', 'I', 'O', 'R'] as const)('P4 leaves a run in %s whose client was heard of (race 42)', async (run_status) => {
    const made = await overdue({ run_status, deadline_seconds: -5 });
    const body = { status: run_status, next_report_increment: 93.0 };
    const path = `/api/v3/workflow_run/${made.workflow_run_id}/log_heartbeat`;
    expect((await call(served, 'POST', path, body, {})).json).toEqual({ status: run_status });
    expect((await reap(made)).json).toEqual({ status: '' });
    expect(await stands(made)).toBe(`${run_status} R`);
  });

  it('P4 answers nothing for an unknown run, and what stands for one that the server drives', async () => {
    expect((await put('workflow_run/2000000000/reap')).json).toEqual({ status: '' });
    const server = await overdue({ driver: 'server' });
    expect([(await reap(server)).json, await stands(server)]).toEqual([{ status: 'R' }, 'R R']);
    expect((await put('workflow_run/x/reap')).status).toBe(422);
  });

  it.each([
    ['C', 'FFKKKKDK', 5],
    ['H', 'FFKRKKDK', 4],
  ] as const)(
    'P4 settles the attempts of a run in %s and waits for those under the order to stop (races 26, 30, 44)',
    async (run_status, settled, kill_self_remaining) => {
      const made = await overdue({
        run_status,
        tasks: 8,
        instance_status: (at) => ([...'QIORTXDK'] as 'Q'[])[at]!,
        task_status: (at) => ([...'QIORROOR'] as 'Q'[])[at]!,
      });
      await write(
        `UPDATE task_instance SET report_by_date = '2038-01-01 00:00:00' WHERE workflow_run_id = ${made.workflow_run_id}`,
      );
      for (let times = 0; times < 2; times += 1) {
        const { status, json } = await reap(made);
        expect([status, json]).toEqual([200, { status: run_status, kill_self_remaining }]);
        expect([await stands(made), await attempts(made)]).toEqual([`${run_status} R`, settled]);
      }
      // Their workers were never heard of again: past their own deadlines they end, and with the last one the run.
      await write(
        `UPDATE task_instance SET report_by_date = '2020-01-01 00:00:00' WHERE status = 'K' AND workflow_run_id = ${made.workflow_run_id}`,
      );
      expect((await reap(made)).json).toEqual({ status: 'T' });
      expect([await stands(made), await attempts(made)]).toEqual(['T H', settled.replaceAll('K', 'F')]);
    },
  );

  it('P4 settles 2,300 attempts in pieces', async () => {
    const made = await overdue({ run_status: 'C', tasks: 2_300, instance_status: 'I', task_status: 'I' });
    expect((await reap(made)).json).toEqual({ status: 'T' });
    expect(await attempts(made)).toBe('F'.repeat(2_300));
  }, 60_000);

  it('P4 lets a run be done whose tasks all are, although it was told to stop (race 45)', async () => {
    const made = await overdue({ run_status: 'C', tasks: 3, task_status: 'D', instance_status: 'D' });
    expect((await reap(made)).json).toEqual({ status: 'D' });
    expect(await stands(made)).toBe('D D');
  });

  it('P4 leaves the workflow to another run that is live', async () => {
    const made = await overdue();
    await write(
      `INSERT INTO workflow_run (workflow_id, status, heartbeat_date) VALUES (${made.workflow_id}, 'R', '2038-01-01 00:00:00')`,
    );
    expect((await reap(made)).json).toEqual({ status: 'E' });
    expect(await stands(made)).toBe('E R');
  });

  it('P1 mends failed workflows whose tasks are all done, up to the highest id (race 50)', async () => {
    const failed = (more: WorkflowToInsert) => overdue({ run_status: 'E', workflow_status: 'F', tasks: 3, ...more });
    const done = await failed({ task_status: 'D' });
    const undone = await failed({ task_status: (at) => (at === 2 ? 'F' : 'D') });
    const held = await failed({ task_status: 'D', run_status: 'R' });
    const halted = await failed({ task_status: 'D', workflow_status: 'H' });
    const empty = await failed({ tasks: 0 });
    // Ids far beyond the number of rows.
    const sparse = await failed({ task_status: 'D' });
    const far = sparse.workflow_id + 5_000;
    for (const sql of [
      'UPDATE workflow SET id = ? WHERE id = ?',
      'UPDATE task SET workflow_id = ? WHERE workflow_id = ?',
      'UPDATE workflow_run SET workflow_id = ? WHERE workflow_id = ?',
    ]) {
      await database().write({ label: 'test' }, function* () {
        yield { sql, params: [far, sparse.workflow_id] };
      });
    }
    let cursor = 0;
    let fixed = 0;
    for (let asked = 0; asked < 200; asked += 1) {
      const { status, json } = await put(`workflow/${cursor}/fix_status_inconsistency`, { increase_step: 100 });
      expect([status, json]).toEqual([200, { wfid: expect.any(Number), fixed: expect.any(Number) }]);
      if (json.wfid !== 0) expect(json.wfid).toBe(cursor + 100);
      cursor = json.wfid;
      fixed += json.fixed;
      if (cursor === 0) break;
    }
    expect([cursor, fixed]).toEqual([0, 2]);
    expect(await one(`SELECT status FROM workflow WHERE id = ${far}`)).toBe('D');
    expect(await Promise.all([done, undone, held, halted, empty].map(stands))).toEqual(['E D', 'E F', 'R F', 'E H', 'E F']);
    const again = await put('workflow/0/fix_status_inconsistency', { increase_step: 1_000_000 });
    expect(again.json).toEqual({ wfid: 0, fixed: 0 });
    expect((await put('workflow/0/fix_status_inconsistency')).status).toBe(400);
    expect((await put('workflow/x/fix_status_inconsistency', { increase_step: 100 })).status).toBe(422);
  });

  it('P2 names a workflow for a notification', async () => {
    const made = await overdue({ name: 'codem' });
    const args = await one(`SELECT workflow_args FROM workflow WHERE id = ${made.workflow_id}`);
    expect((await get(`workflow/${made.workflow_id}/workflow_name_and_args`)).json).toEqual({
      workflow_name: 'codem',
      workflow_args: args,
    });
    const unknown = await get('workflow/2000000000/workflow_name_and_args');
    expect([unknown.status, unknown.json]).toEqual([200, { workflow_name: null, workflow_args: null }]);
    expect((await get('workflow/x/workflow_name_and_args')).status).toBe(422);
  });
});
