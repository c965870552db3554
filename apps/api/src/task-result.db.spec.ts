/** What a client asks before and after a run: binding again, statuses, errors, usage, versions of tools. */
import type { SqlValue } from '@jobmon/entities';
import { describeOnDatabases, execute, insertWorkflow } from '@jobmon/testkit';
import { makeTemplate, makeWorkflow, ok, SEQUENTIAL, taskRequest, workflowRequest, type Template } from '../test/definitions';
import { call, serve, type Served } from '../test/serve';

describeOnDatabases('results and definitions that stand', (database) => {
  let served: Served;
  let template: Template;
  beforeAll(async () => {
    served = await serve(database());
    template = await makeTemplate(served, 'results');
  });
  afterAll(() => served.close());

  const run = (sql: string, params: SqlValue[] = []): Promise<number> => execute(database(), sql, params);
  const insertRun = (workflow_id: number, status: string, driver: string | null): Promise<number> =>
    run(`INSERT INTO workflow_run (workflow_id, status, driver, user) VALUES (?, ?, ?, 'x')`, [workflow_id, status, driver]);

  it('pages through statuses', async () => {
    const { workflow_id, task_ids } = await insertWorkflow(database(), { tasks: 5, task_status: (at) => (at < 2 ? 'D' : 'F') });
    const path = `/api/v4/workflows/${workflow_id}/task_statuses`;
    const first = await ok(served, 'GET', `${path}?limit=3`);
    expect(first).toEqual({ statuses: task_ids.slice(0, 3).map((id, at) => [id, at < 2 ? 'D' : 'F']), next: task_ids[2] });
    const rest = await ok(served, 'GET', `${path}?limit=3&after=${first.next}`);
    expect(rest).toEqual({ statuses: task_ids.slice(3).map((id) => [id, 'F']), next: null });
    expect((await call(served, 'GET', '/api/v4/workflows/2000000000/task_statuses')).status).toBe(404);
  });

  it('tells the errors of failed tasks, oldest first, and of no others', async () => {
    const { workflow_id, task_ids, task_instance_ids } = await insertWorkflow(database(), {
      tasks: 3,
      task_status: (at) => (at === 0 ? 'D' : 'F'),
      instance_status: () => 'E',
    });
    for (const [at, text] of [
      [0, 'of a task that is done'],
      [1, 'first'],
      [1, 'second'],
    ] as const) {
      await run('INSERT INTO task_instance_error_log (task_instance_id, error_time, description) VALUES (?, NULL, ?)', [
        task_instance_ids[at]!,
        text,
      ]);
    }
    const reply = await ok(served, 'GET', `/api/v4/workflows/${workflow_id}/errors`);
    const error = (description: string) => ({ task_instance_id: task_instance_ids[1], error_time: null, description });
    expect(reply.tasks.map(({ task_id, errors }: { task_id: number; errors: unknown }) => [task_id, errors])).toEqual([
      [task_ids[1], [error('first'), error('second')]],
      [task_ids[2], []],
    ]);
  });

  it('describes tasks anew that are bound again, but not those that are done, nor while the server drives', async () => {
    const { workflow_id, task_ids } = await makeWorkflow(served, template, 'again', 2);
    const anew = { name: 'other', command: 'other command', max_attempts: 7 };
    const resources = [
      { cluster: 'multiprocess', requested: { cores: 2 }, resource_scales: { cores: [3] }, fallback_queues: [] },
    ];
    const bind = () =>
      ok(served, 'POST', `/api/v4/workflows/${workflow_id}/tasks`, {
        resources,
        tasks: [0, 1].map((position) => taskRequest(template, position, anew)),
      });
    const standing = () =>
      database().read(
        `SELECT t.name, t.command, t.max_attempts, t.resource_scales AS scales, tr.requested_resources AS requested
           FROM task t LEFT JOIN task_resources tr ON tr.id = t.task_resources_id WHERE t.workflow_id = ? ORDER BY t.id`,
        [workflow_id],
      );
    const before = await standing();
    const live = await insertRun(workflow_id, 'R', 'server');
    await bind();
    expect(await standing()).toEqual(before);

    await run(`UPDATE workflow_run SET status = 'E' WHERE id = ?`, [live]);
    await run(`UPDATE task SET status = 'D' WHERE id = ?`, [task_ids[0]!]);
    await run(`UPDATE task SET status = 'F' WHERE id = ?`, [task_ids[1]!]);
    await bind();
    expect(await standing()).toEqual([before[0], { ...anew, scales: '{"cores":[3]}', requested: '{"cores":2}' }]);

    // A client's run: what it said stays, what it left open is filled in.
    const client = await insertRun(workflow_id, 'R', null);
    await run(`UPDATE task SET status = 'G', name = 'kept', task_resources_id = NULL WHERE id = ?`, [task_ids[1]!]);
    await bind();
    expect((await standing())[1]).toMatchObject({ name: 'kept', requested: '{"cores":2}' });
    await run(`UPDATE workflow_run SET status = 'E' WHERE id = ?`, [client]);
  });

  it('limits the tasks of a template, and changes the limit when it is bound again', async () => {
    const { workflow_id } = await ok(served, 'POST', '/api/v4/workflows', workflowRequest(template, 'limited'));
    const bind = (body: object) =>
      ok(served, 'POST', `/api/v4/workflows/${workflow_id}/tasks`, {
        resources: [SEQUENTIAL],
        tasks: [taskRequest(template, 0)],
        ...body,
      });
    const limit = async () =>
      (
        await database().read<{ most: number }>('SELECT max_concurrently_running AS most FROM array WHERE workflow_id = ?', [
          workflow_id,
        ])
      )[0]!.most;
    await bind({ limits: [[template.task_template_version_id, 4]] });
    expect(await limit()).toBe(4);
    await bind({ limits: [[template.task_template_version_id, 9]] });
    expect(await limit()).toBe(9);
    await bind({});
    expect(await limit()).toBe(9);
  });

  it('refuses a workflow that has had a run when it must be new, and writes nothing', async () => {
    const request = workflowRequest(template, 'twin', { must_be_new: true });
    const { workflow_id } = await ok(served, 'POST', '/api/v4/workflows', request);
    expect((await ok(served, 'POST', '/api/v4/workflows', request)).workflow_id).toBe(workflow_id);
    await insertRun(workflow_id, 'E', 'server');
    const refused = await call(served, 'POST', '/api/v4/workflows', { ...request, description: 'changed' });
    expect(refused.status).toBe(409);
    expect(refused.json.error.details).toEqual({ rule: 'workflow_exists', workflow_id, status: 'G' });
    const [row] = await database().read('SELECT description FROM workflow WHERE id = ?', [workflow_id]);
    expect(row).toEqual({ description: '' });
    expect((await ok(served, 'POST', '/api/v4/workflows', { ...request, must_be_new: false })).workflow_id).toBe(workflow_id);
  });

  it('makes and lists versions of a tool', async () => {
    const { tool_id, tool_version_id } = await ok(served, 'POST', '/api/v4/tools', { name: 'versions' });
    const made = await ok(served, 'POST', `/api/v4/tools/${tool_id}/versions`, {});
    expect(await ok(served, 'GET', `/api/v4/tools/${tool_id}/versions`)).toEqual({
      tool_version_ids: [tool_version_id, made.tool_version_id],
    });
    expect((await ok(served, 'POST', '/api/v4/tools', { name: 'versions' })).tool_version_id).toBe(made.tool_version_id);
    expect((await call(served, 'GET', '/api/v4/tools/2000000000/versions')).status).toBe(404);
    expect((await call(served, 'POST', '/api/v4/tools/2000000000/versions', {})).status).toBe(404);
  });

  it('tells what the tasks of a template used', async () => {
    const made = await insertWorkflow(database(), { tasks: 2, task_status: 'D', instance_status: () => 'D' });
    for (const [at, id] of made.task_instance_ids.entries()) {
      await run('UPDATE task_instance SET wallclock = ?, maxrss = ? WHERE id = ?', [
        String(10 * (at + 1)),
        String(300 * (at + 1)),
        id,
      ]);
    }
    const [version] = await database().read<{ id: number }>(
      'SELECT task_template_version_id AS id FROM array WHERE workflow_id = ?',
      [made.workflow_id],
    );
    const path = `/api/v4/task_template_versions/${version!.id}/usage`;
    const usage = await ok(served, 'POST', path, { workflow_ids: [made.workflow_id], confidence: 0.9 });
    expect(usage).toMatchObject({ attempts: 2, is_sampled: false });
    expect(usage.memory).toMatchObject({ min: 300, max: 600, mean: 450, median: 450 });
    expect(usage.runtime).toMatchObject({ min: 10, max: 20, mean: 15, p95: 19.5 });
    expect(usage.runtime.interval).toHaveLength(2);
    expect(await ok(served, 'POST', path, { node_args: { nobody: ['x'] } })).toMatchObject({
      attempts: 0,
      memory: null,
      runtime: null,
    });
    expect((await call(served, 'POST', '/api/v4/task_template_versions/2000000000/usage', {})).status).toBe(404);
  });
});
