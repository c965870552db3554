/** Races of spec/state-machines.md section 15 whose rule is seen over HTTP and asks for no change of a status. */
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import { digits } from '../../test/definitions';
import { call, serve, type Json, type Served } from '../../test/serve';

describeOnDatabases('races over HTTP', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)] });
  });
  afterAll(() => served.close());

  const ok = async (method: string, path: string, body?: unknown): Promise<Json> => {
    const { status, json, text } = await call(served, method, `/api/v3${path}`, body);
    expect([status, text]).toEqual([200, text]);
    return json;
  };

  it('P3 race 20: finds lost runs by status and deadline, whatever version made them', async () => {
    const lost: [number, number][] = [];
    for (const server_version of ['3.2.1', '3.6.0', null]) {
      const made = await insertWorkflow(database(), { driver: 'client', run_status: 'R', deadline_seconds: -100 });
      await database().write({ label: 'test' }, function* () {
        const sql = 'UPDATE workflow_run SET jobmon_server_version = ?, jobmon_version = ? WHERE id = ?';
        yield { sql, params: [server_version, server_version, made.workflow_run_id] };
      });
      lost.push([made.workflow_run_id, made.workflow_id]);
    }
    await insertWorkflow(database(), { driver: 'client', run_status: 'R', deadline_seconds: 100 });
    await insertWorkflow(database(), { driver: 'client', run_status: 'D', deadline_seconds: -100 });
    await insertWorkflow(database(), { driver: 'server', run_status: 'R', deadline_seconds: -100 });
    const { workflow_runs } = await ok('GET', '/lost_workflow_run?status=L&status=R&version=3.6.0');
    expect([...workflow_runs].sort()).toEqual([...lost].sort());
    expect((await ok('GET', '/lost_workflow_run?status=H&version=3.6.0')).workflow_runs).toEqual([]);
  });

  it.each(['L', 'B', 'I', 'O', 'R', 'C', 'H'] as const)('E45 race 43: a run in %s counts as live', async (run_status) => {
    const { workflow_id } = await insertWorkflow(database(), { driver: 'client', run_status });
    expect(await ok('GET', `/workflow/${workflow_id}/is_resumable`)).toEqual({
      workflow_is_resumable: false,
      pending_kill_self: 0,
    });
  });

  it('E45 race 26: tells how many attempts are still under the order to stop, over all runs', async () => {
    const { workflow_id, workflow_run_id } = await insertWorkflow(database(), {
      driver: 'client',
      run_status: 'E',
      workflow_status: 'F',
      tasks: 4,
      instance_status: (position) => (position < 3 ? 'K' : 'D'),
      task_status: 'R',
    });
    const run = await database().write({ label: 'test' }, function* () {
      const sql = "INSERT INTO workflow_run (workflow_id, `user`, status) VALUES (?, 'ada', 'T')";
      return (yield { sql, params: [workflow_id] }).insert_id;
    });
    await database().write({ label: 'test' }, function* () {
      const sql = "UPDATE task_instance SET workflow_run_id = ? WHERE workflow_run_id = ? AND status = 'K' AND array_step_id = 0";
      yield { sql, params: [run, workflow_run_id] };
    });
    expect(await ok('GET', `/workflow/${workflow_id}/is_resumable`)).toMatchObject({ pending_kill_self: 3 });
  });

  it('E9 E10 E11 E13 E41 race 52: a binding that died anywhere is taken up by the next start of the script', async () => {
    const { tool } = await ok('POST', '/tool', { name: 'race 52' });
    const { tool_version } = await ok('POST', '/tool_version', { tool_id: tool[0] });
    const { task_template_id } = await ok('POST', '/task_template', {
      tool_version_id: tool_version[0],
      task_template_name: 't',
    });
    const template = await ok('POST', `/task_template/${task_template_id}/add_version`, {
      command_template: 'echo {n}',
      arg_mapping_hash: 7,
      node_args: ['n'],
      task_args: [],
      op_args: [],
    });
    const [version, , , , , args] = template.task_template_version;
    const positions = [0, 1, 2, 3];

    /** One start of the script; it dies before its request with this number. Answers the ids of its tasks, when it came so far. */
    const start = async (dies_at: number): Promise<Record<string, [number, string]> | undefined> => {
      let sent = 0;
      const send = async (...request: Parameters<typeof ok>): Promise<Json> => {
        if (++sent >= dies_at) throw new Error('died');
        return ok(...request);
      };
      const tasks: Record<string, [number, string]> = {};
      try {
        const node_ids: Record<string, number> = {};
        for (const half of [positions.slice(0, 2), positions.slice(2)]) {
          const nodes = half.map((n) => ({
            task_template_version_id: version,
            node_args_hash: digits('race 52', n),
            node_args: { [args.n]: String(n) },
          }));
          Object.assign(node_ids, (await send('POST', '/nodes', { nodes })).nodes);
        }
        const idOf = (n: number): number => node_ids[`${version}:${digits('race 52', n)}`] as number;
        const dag = await send('POST', '/dag', { dag_hash: 5252 });
        if (dag.created_date === null) {
          for (const half of [positions.slice(0, 2), positions.slice(2)]) {
            const edges_to_add = half.map((n) => ({ node_id: idOf(n), upstream_node_ids: [], downstream_node_ids: [] }));
            await send('POST', `/dag/${dag.dag_id}/edges`, { edges_to_add, mark_created: half.includes(3) });
          }
        }
        const workflow = await send('POST', '/workflow', {
          tool_version_id: tool_version[0],
          dag_id: dag.dag_id,
          workflow_args_hash: '52',
          task_hash: '5252',
          description: '',
          name: 'race 52',
          workflow_args: 'race 52',
          max_concurrently_running: 10,
          workflow_attributes: {},
        });
        expect(workflow.status).toBe('G');
        const { workflow_id } = workflow;
        const array = { workflow_id, task_template_version_id: version, max_concurrently_running: 10, name: 't' };
        const { array_id } = await send('POST', '/array', array);
        const resources = await send('POST', '/task/bind_resources', { queue_id: 1, requested_resources: {} });
        for (const half of [positions.slice(0, 2), positions.slice(2)]) {
          const given = half.map((n) => [
            digits('task', n),
            [idOf(n), '0', array_id, resources, `t_${n}`, `echo ${n}`, 3, true, {}, []],
          ]);
          const body = { workflow_id, tasks: Object.fromEntries(given), mark_created: half.includes(3) };
          Object.assign(tasks, (await send('PUT', '/task/bind_tasks_no_args', body)).tasks);
        }
        return tasks;
      } catch (cause) {
        if ((cause as Error).message === 'died') return undefined;
        throw cause;
      }
    };
    const resumable = async (): Promise<boolean[]> => {
      const rows = await database().read<{ id: number }>("SELECT id FROM workflow WHERE workflow_args_hash = '52'");
      const answers = rows.map(({ id }) => ok('GET', `/workflow/${id}/is_resumable`));
      return (await Promise.all(answers)).map(({ workflow_is_resumable }) => workflow_is_resumable);
    };

    for (let dies_at = 1; dies_at <= 8; dies_at++) expect([dies_at, await start(dies_at)]).toEqual([dies_at, undefined]);
    expect(await resumable()).toEqual([false]);
    const bound = await start(99);
    expect(Object.values(bound ?? {}).map(([, status]) => status)).toEqual(['G', 'G', 'G', 'G']);
    expect(await start(99)).toEqual(bound);
    expect(await resumable()).toEqual([true]);
    const counts = await database().read(
      `SELECT (SELECT COUNT(*) FROM task WHERE name LIKE 't_%' AND id IN (${Object.values(bound ?? {})
        .map(([id]) => id)
        .join(',')})) AS tasks,
              (SELECT COUNT(*) FROM node WHERE task_template_version_id = ?) AS nodes,
              (SELECT COUNT(*) FROM edge e JOIN dag d ON d.id = e.dag_id WHERE d.hash = '5252') AS edges`,
      [version],
    );
    expect(counts).toEqual([{ tasks: 4, nodes: 4, edges: 4 }]);
  });
});
