/** Why a task does not run: each reason as it stands, over HTTP. */
import type { SqlValue } from '@jobmon/entities';
import { describeOnDatabases, execute, insertWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { ok } from '../test/definitions';
import { call, serve, type Json, type Served } from '../test/serve';

describeOnDatabases('why a task does not run', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database());
  });
  afterAll(() => served.close());

  const run = (sql: string, params: SqlValue[] = []): Promise<number> => execute(database(), sql, params);
  const why = (task_id: number): Promise<Json> => ok(served, 'GET', `/api/v4/tasks/${task_id}/why`);
  const rules = async (task_id: number): Promise<string[]> => (await why(task_id)).reasons.map(({ rule }: Json) => rule);
  const addAgent = (cluster: string, columns: Record<string, SqlValue> = {}): Promise<number> => {
    const given: Record<string, SqlValue> = {
      hostname: 'node1',
      user: 'ada',
      any_user: 0,
      clusters: JSON.stringify([cluster]),
      state_directory: '/tmp/agent',
      process_id: 1,
      version: 'test',
      cores: 4,
      memory_mib: 4096,
      ...columns,
    };
    const { now, nowPlusSeconds } = database().dialect;
    const names = Object.keys(given).map((name) => `\`${name}\``);
    return run(
      `INSERT INTO agent (${names.join(', ')}, registered_date, lease_until_date)
       VALUES (${names.map(() => '?').join(', ')}, ${now}, ${nowPlusSeconds})`,
      [...Object.values(given), 600],
    );
  };

  it.each<[string, WorkflowToInsert, string[]]>([
    ['done', { task_status: 'D' }, ['done']],
    ['failed', { task_status: 'F' }, ['failed']],
    ['running', { task_status: 'R', instance_status: 'R' }, ['running']],
    ['taken', { task_status: 'I', instance_status: 'I' }, ['starting']],
    ['of a run that has ended', { run_status: 'E', workflow_status: 'F' }, ['no_live_run']],
    ['of a run that is drained', { run_status: 'H' }, ['stopping']],
    ['of a run that is cancelled', { run_status: 'C' }, ['stopping']],
    ['of a run that has not begun', { run_status: 'B', workflow_status: 'Q' }, ['run_starting']],
    ['of a client', { driver: 'client' }, ['client_run']],
    ['ready', {}, ['ready']],
    ['of a workflow that may run nothing', { max_concurrently_running: 0 }, ['workflow_limit']],
    ['of a template that may run nothing', { array_max_concurrently_running: 0 }, ['template_limit']],
  ])('a task that is %s', async (_, wanted, expected) => {
    const { task_ids } = await insertWorkflow(database(), wanted);
    expect(await rules(task_ids[0]!)).toEqual(expected);
  });

  it('names the upstreams that failed before those that are not done', async () => {
    const { task_ids } = await insertWorkflow(database(), {
      tasks: 15,
      upstreams: (position) => (position === 14 ? Array.from({ length: 14 }, (_, n) => n) : []),
      task_status: (position) => (position === 0 ? 'D' : position === 1 ? 'F' : 'G'),
    });
    const { reasons } = await why(task_ids[14]!);
    expect(reasons.map(({ rule }: Json) => rule)).toEqual(['upstreams_failed', 'upstreams_not_done']);
    expect(reasons[0].details).toMatchObject({ count: 1, upstreams: 14, tasks: [{ task_id: task_ids[1], name: 'task_1' }] });
    expect([reasons[1].details.count, reasons[1].details.tasks.length]).toEqual([12, 10]);
    expect(await rules(task_ids[2]!)).toEqual(['ready']);
  });

  it('tells who paused it and why, and the limits with how many are on their way', async () => {
    const made = await insertWorkflow(database(), {
      tasks: 3,
      max_concurrently_running: 2,
      task_status: (position) => (position < 2 ? 'R' : 'G'),
      instance_status: (position) => (position < 2 ? 'R' : 'E'),
    });
    await run('UPDATE workflow_run SET is_paused = 1 WHERE id = ?', [made.workflow_run_id]);
    await run(
      `INSERT INTO workflow_event (workflow_id, date, microsecond, user, verb, reason, detail)
       VALUES (?, '2026-01-01 00:00:00', 0, 'eve', 'pause', 'disk full', '{}')`,
      [made.workflow_id],
    );
    const { reasons } = await why(made.task_ids[2]!);
    expect(reasons.map(({ rule }: Json) => rule)).toEqual(['paused', 'workflow_limit']);
    expect(reasons[0].message).toContain('by eve at 2026-01-01 00:00:00 ("disk full")');
    expect(reasons[1].details).toEqual({ attempts: 2, limit: 2 });
  });

  it('tells what a queued attempt waits for: an agent, room, its turn', async () => {
    const cluster = 'multiprocess';
    const made = await insertWorkflow(database(), { tasks: 3, task_status: 'Q', instance_status: 'Q', cluster });
    const task = made.task_ids[2]!;
    const message = async (): Promise<string> => (await why(task)).reasons[0].message;
    expect(await rules(task)).toEqual(['no_agent']);
    expect(await message()).toContain(`no agent of cluster multiprocess is alive`);
    await addAgent(cluster, { user: 'bob' });
    expect(await message()).toContain('are of other users than ada');
    const aside = await addAgent(cluster, { set_aside_date: '2026-01-01 00:00:00', set_aside_reason: 'starts nothing' });
    expect(await message()).toContain(`agent ${aside} on node1 is set aside (starts nothing)`);
    const agent = await addAgent(cluster);
    expect(await rules(task)).toEqual(['queue']);
    expect((await why(task)).reasons[0].details).toEqual({ own: 2, others: 0 });
    expect(await rules(made.task_ids[0]!)).toEqual(['ready']);

    const higher = await insertWorkflow(database(), { tasks: 4, task_status: 'Q', instance_status: 'Q', cluster });
    await run('UPDATE workflow SET priority = 9 WHERE id = ?', [higher.workflow_id]);
    expect((await why(made.task_ids[0]!)).reasons).toMatchObject([{ rule: 'priority', details: { attempts: 4 } }]);
    await run('UPDATE workflow_run SET is_paused = 1 WHERE id = ?', [higher.workflow_run_id]);
    expect(await rules(made.task_ids[0]!)).toEqual(['ready']);

    await run('UPDATE task_resources SET requested_resources = ? WHERE id = ?', [
      '{"cores": 3, "memory": 2}',
      made.task_resources_id,
    ]);
    await run(`UPDATE task_instance SET status = 'R', agent_id = ? WHERE id = ?`, [agent, made.task_instance_ids[0]!]);
    expect((await why(made.task_ids[1]!)).reasons).toMatchObject([{ rule: 'agents_busy', details: { cores: 3, memory_gib: 2 } }]);
    await run('UPDATE task_resources SET requested_resources = ? WHERE id = ?', ['{"cores": 8}', made.task_resources_id]);
    expect((await rules(made.task_ids[1]!))[0]).toBe('larger_than_agents');
  });

  it('a workflow that was never submitted, and a task that is unknown', async () => {
    const { task_ids, workflow_run_id } = await insertWorkflow(database());
    await run('DELETE FROM workflow_run WHERE id = ?', [workflow_run_id]);
    expect(await rules(task_ids[0]!)).toEqual(['not_submitted']);
    expect((await call(served, 'GET', '/api/v4/tasks/2000000000/why')).status).toBe(404);
  });
});
