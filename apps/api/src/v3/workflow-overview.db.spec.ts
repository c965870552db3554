/** C26 over HTTP: the list of workflows with its filters, pages and counts. */
import { describeOnDatabases, insertWorkflow, runSql, type InsertedWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { call, serve, type Json, type Served } from '../../test/serve';

describeOnDatabases('the list of workflows', (database) => {
  let served: Served;
  const get = (query: string) => call(served, 'GET', `/api/v3/workflow_overview_viz?${query}`, undefined, {});
  const sql = (...statements: string[]) => runSql(database().url, statements);
  const ids = async (query: string): Promise<number[]> => {
    const answered = await get(query);
    if (answered.status !== 200) throw new Error(answered.text);
    return answered.json.workflows.map((workflow: Json) => workflow.wf_id);
  };
  const make = (wanted: WorkflowToInsert) => insertWorkflow(database(), wanted);
  const toolOf = async ({ tool_id }: InsertedWorkflow): Promise<string> => {
    const [row] = await database().read<{ name: string }>('SELECT name FROM tool WHERE id = ?', [tool_id]);
    return row?.name ?? '';
  };

  beforeAll(async () => {
    served = await serve(database());
  });
  afterAll(() => served.close());
  beforeEach(() => sql('DELETE FROM workflow_attribute', 'DELETE FROM workflow_run', 'DELETE FROM task', 'DELETE FROM workflow'));

  it('C26 shows each workflow with its counts, its tool, its runs and who started the latest', async () => {
    const made = await make({
      tasks: 5,
      task_status: (position) => ['G', 'O', 'R', 'D', 'F'][position] as 'G',
      workflow_status: 'F',
      user: 'first',
      name: 'codem',
    });
    await sql(
      `UPDATE workflow SET created_date = '2025-01-31 12:00:00', status_date = '2025-01-31 12:40:00', workflow_args = 'v1'`,
      `INSERT INTO workflow_run (workflow_id, \`user\`, status) VALUES (${made.workflow_id}, 'second', 'E')`,
    );
    const answered = await get('limit=10');
    expect(answered.status).toBe(200);
    expect(answered.json).toEqual({
      workflows: [
        {
          wf_id: made.workflow_id,
          wf_name: 'codem',
          wf_submitted_date: '2025-01-31T12:00:00',
          wf_status_date: '2025-01-31T12:40:00',
          wf_args: 'v1',
          wfr_count: 2,
          wf_status: 'FAILED',
          wf_tool: await toolOf(made),
          PENDING: 1,
          SCHEDULED: 1,
          RUNNING: 1,
          DONE: 1,
          FATAL: 1,
          tasks: 5,
          progress: 0.2,
          wf_user: 'second',
        },
      ],
      next: null,
    });
  });

  it('C26 tells what another program changed a moment ago', async () => {
    const made = await make({ tasks: 2 });
    const look = async () => {
      const [workflow] = (await get('')).json.workflows;
      return [workflow.wf_status, workflow.PENDING, workflow.DONE];
    };
    expect(await look()).toEqual(['RUNNING', 2, 0]);
    await sql(`UPDATE task SET status = 'D' WHERE id = ${made.task_ids[1]}`, `UPDATE workflow SET status = 'H'`);
    expect(await look()).toEqual(['HALTED', 1, 1]);
  });

  it('C26 lists the newest first, page by page, each once', async () => {
    const made: number[] = [];
    for (let n = 0; n < 5; n += 1) made.push((await make({})).workflow_id);
    const newest = [...made].reverse();
    expect(await ids('')).toEqual(newest);
    const first = await get('limit=2');
    expect(first.json.workflows.map((workflow: Json) => workflow.wf_id)).toEqual(newest.slice(0, 2));
    expect(first.json.next).toBe(newest[1]);
    const second = await get(`limit=2&cursor=${first.json.next}`);
    expect(second.json.workflows.map((workflow: Json) => workflow.wf_id)).toEqual(newest.slice(2, 4));
    const third = await get(`limit=2&cursor=${second.json.next}`);
    expect(third.json.workflows.map((workflow: Json) => workflow.wf_id)).toEqual(newest.slice(4));
    expect(third.json.next).toBeNull();
  });

  it('C26 sorts by name or by a date either way, page by page', async () => {
    const [a, b, c] = [await make({ name: 'm' }), await make({ name: 'z' }), await make({ name: 'b' })];
    const [A, B, C] = [a.workflow_id, b.workflow_id, c.workflow_id];
    for (const [at, id] of [B, C, A].entries()) {
      await sql(`UPDATE workflow SET created_date = '2025-01-0${at + 1} 00:00:00', status_date = NULL WHERE id = ${id}`);
    }
    expect(await ids('sort=wf_name&order=asc')).toEqual([C, A, B]);
    expect(await ids('sort=wf_name')).toEqual([B, A, C]);
    expect(await ids('sort=wf_submitted_date')).toEqual([A, C, B]);
    expect(await ids('sort=wf_status_date&order=ASC')).toEqual([A, B, C]);
    expect(await ids('order=asc&limit=2')).toEqual([A, B]);
    expect(await ids(`order=asc&limit=2&cursor=${B}`)).toEqual([C]);
    const { json } = await get('sort=wf_name&limit=2');
    expect(json.next).toBe(2);
    expect(await ids(`sort=wf_name&limit=2&cursor=${json.next}`)).toEqual([C]);
  });

  it('C26 filters by user, tool and status: one, a comma list, a repeated key', async () => {
    const [a, b, c] = [
      await make({ user: 'ann', workflow_status: 'D' }),
      await make({ user: 'bob', workflow_status: 'F' }),
      await make({ user: 'cy', workflow_status: 'R' }),
    ];
    const [A, B, C] = [a.workflow_id, b.workflow_id, c.workflow_id];
    expect(await ids('user=bob')).toEqual([B]);
    expect(await ids('user=ann,cy')).toEqual([C, A]);
    expect(await ids('user=ann&user=bob')).toEqual([B, A]);
    expect(await ids('user=nobody')).toEqual([]);
    expect(await ids(`tool=${await toolOf(b)}`)).toEqual([B]);
    expect(await ids(`tool=${await toolOf(a)},${await toolOf(b)}`)).toEqual([B, A]);
    expect(await ids('status=D')).toEqual([A]);
    expect(await ids('status=F,R')).toEqual([C, B]);
    expect(await ids('status=f,r')).toEqual([C, B]);
    expect(await ids('status%21=d')).toEqual([C, B]);
    expect(await ids('status=F,R&user=cy')).toEqual([C]);
    expect(await ids('user=&tool=&status=')).toEqual([C, B, A]);
  });

  it('C26 filters by what a workflow is not, with the mark written plainly or percent-encoded', async () => {
    const [a, b, c] = [
      await make({ user: 'ann', workflow_status: 'D' }),
      await make({ user: 'bob', workflow_status: 'F' }),
      await make({ user: 'cy', workflow_status: 'R' }),
    ];
    const [A, B, C] = [a.workflow_id, b.workflow_id, c.workflow_id];
    // Resumed by another user: it is a workflow of both.
    await sql(`INSERT INTO workflow_run (workflow_id, \`user\`, status) VALUES (${A}, 'bob', 'E')`);
    expect(await ids('user!=bob')).toEqual([C]);
    expect(await ids('user%21=ann')).toEqual([C, B]);
    expect(await ids('user%21=ann&user%21=cy')).toEqual([B]);
    expect(await ids(`tool%21=${await toolOf(a)}&tool%21=${await toolOf(c)}`)).toEqual([B]);
    expect(await ids('status!=D')).toEqual([C, B]);
    expect(await ids('status%21=D&status%21=R')).toEqual([B]);
    expect(await ids('user%21=&status%21=')).toEqual([C, B, A]);
    await sql('UPDATE workflow SET tool_version_id = NULL');
    expect(await ids('tool%21=anything')).toEqual([C, B, A]);
  });

  it('C26 filters by name, arguments, id and day, whole and exact', async () => {
    const [a, b] = [await make({ name: 'fit%' }), await make({ name: 'fitting' })];
    const [A, B] = [a.workflow_id, b.workflow_id];
    await sql(
      `UPDATE workflow SET created_date = '2025-01-31 00:00:00', workflow_args = 'x=1' WHERE id = ${A}`,
      `UPDATE workflow SET created_date = '2025-02-01 23:59:59' WHERE id = ${B}`,
    );
    expect(await ids('wf_name=fit%25')).toEqual([A]);
    expect(await ids('wf_name=fit')).toEqual([]);
    expect(await ids('wf_args=x%3D1')).toEqual([A]);
    expect(await ids(`wf_id=${B}`)).toEqual([B]);
    expect(await ids('wf_id=&wf_name=&wf_args=&date_submitted=&date_submitted_end=')).toEqual([B, A]);
    expect(await ids('date_submitted=2025-01-31')).toEqual([B, A]);
    expect(await ids('date_submitted=2025-02-01')).toEqual([B]);
    expect(await ids('date_submitted=2025-01-01&date_submitted_end=2025-01-31')).toEqual([A]);
    expect(await ids('date_submitted_end=2025-02-02')).toEqual([B, A]);
    expect(await ids('date_submitted_end=2025-01-30')).toEqual([]);
  });

  it('C26 searches a part of name or arguments, capitals or not', async () => {
    const [a, b, c] = [await make({ name: 'Fit 100% of it' }), await make({ name: 'other' }), await make({ name: 'none' })];
    const [A, B] = [a.workflow_id, b.workflow_id];
    await sql(
      `UPDATE workflow SET workflow_args = 'release=FIT_9' WHERE id = ${B}`,
      `UPDATE workflow SET name = NULL, workflow_args = NULL WHERE id = ${c.workflow_id}`,
    );
    expect(await ids('search=fit')).toEqual([B, A]);
    expect(await ids('search=100%25%20OF')).toEqual([A]);
    expect(await ids('search=t_9')).toEqual([B]);
    expect(await ids('search=f_t')).toEqual([]);
    expect((await ids('search=')).length).toBe(3);
  });

  it('C26 matches name and value of an attribute on the same attribute', async () => {
    const [a, b] = [(await make({})).workflow_id, (await make({})).workflow_id];
    await sql(
      "INSERT INTO workflow_attribute_type (name) VALUES ('colour'), ('size')",
      `INSERT INTO workflow_attribute (workflow_id, workflow_attribute_type_id, value)
         SELECT ${a}, id, CASE name WHEN 'colour' THEN 'blue' ELSE 'large' END FROM workflow_attribute_type WHERE name IN ('colour', 'size')`,
      `INSERT INTO workflow_attribute (workflow_id, workflow_attribute_type_id, value)
         SELECT ${b}, id, CASE name WHEN 'colour' THEN 'large' ELSE 'blue' END FROM workflow_attribute_type WHERE name IN ('colour', 'size')`,
    );
    expect(await ids('wf_attribute_key=colour&wf_attribute_value=blue')).toEqual([a]);
    expect(await ids('wf_attribute_key=colour')).toEqual([b, a]);
    expect(await ids('wf_attribute_value=blue')).toEqual([b, a]);
    expect(await ids('wf_attribute_key=shape')).toEqual([]);
  });

  it('C26 leaves out what runs on the dummy cluster, has no run or no task, unless it is asked for', async () => {
    const real = (await make({})).workflow_id;
    const dummy = (await make({ cluster: 'dummy', tasks: 3 })).workflow_id;
    const unrun = (await make({})).workflow_id;
    const empty = (await make({})).workflow_id;
    const mixed = await make({ cluster: 'dummy', tasks: 3 });
    const unbound = (await make({ cluster: 'dummy' })).workflow_id;
    await sql(
      `DELETE FROM workflow_run WHERE workflow_id = ${unrun}`,
      `DELETE FROM task WHERE workflow_id = ${empty}`,
      `UPDATE task SET task_resources_id = (SELECT * FROM (SELECT task_resources_id FROM task WHERE workflow_id = ${real}) AS other)
        WHERE id = ${mixed.task_ids[1]}`,
      `UPDATE task SET task_resources_id = NULL WHERE workflow_id = ${unbound}`,
    );
    expect(await ids('')).toEqual([unbound, mixed.workflow_id, real]);
    expect(await ids('limit=2')).toEqual([unbound, mixed.workflow_id]);
    expect(await ids('include_dummy=true')).toEqual([unbound, mixed.workflow_id, empty, unrun, dummy, real]);
  });

  it('C26 shows a workflow without name, dates and tool', async () => {
    await make({});
    await sql(
      'UPDATE workflow SET name = NULL, created_date = NULL, status_date = NULL, tool_version_id = NULL, workflow_args = NULL',
    );
    expect((await get('')).json.workflows[0]).toMatchObject({
      wf_name: '',
      wf_submitted_date: null,
      wf_status_date: null,
      wf_args: null,
      wf_tool: null,
    });
  });

  it.each([
    'limit=0',
    'limit=1001',
    'cursor=x',
    'wf_id=seven',
    'date_submitted=yesterday',
    'date_submitted_end=2025-13-01',
    'date_submitted=2025-02-30',
    'sort=wf_args',
    'order=up',
  ])('C26 refuses %s with 422', async (query) => {
    expect((await get(query)).status).toBe(422);
  });
});
