/** What instances used, to the digit, over HTTP. */
import type { SqlValue } from '@jobmon/entities';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow } from '@jobmon/testkit';
import { call, serve, type Served } from '../../test/serve';

const PATH = '/api/v3/task_template_resource_usage';
const NOTHING = {
  min_mem: null,
  max_mem: null,
  mean_mem: null,
  min_runtime: 0,
  max_runtime: 0,
  mean_runtime: 0,
  median_mem: null,
  median_runtime: 0,
  ci_mem: null,
  ci_runtime: null,
};
const NO_MORE = {
  mem_percentiles: null,
  runtime_percentiles: null,
  mem_utilization: null,
  runtime_utilization: null,
  result_viz: null,
  sampled: false,
};

describeOnDatabases('resource usage', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database());
  });
  afterAll(() => served.close());

  const run = (sql: string, params: SqlValue[] = []): Promise<number> => database().change(sql, ...params);

  /** Instances that ended, with what they used; each of a task of its own. */
  async function used(rows: readonly (readonly [status: string, wallclock: string | null, maxrss: string | null])[]) {
    const made = await insertWorkflow(database(), {
      tasks: rows.length,
      task_status: 'D',
      instance_status: (position) => rows[position]![0] as 'D',
    });
    for (const [position, [, wallclock, maxrss]] of rows.entries()) {
      const id = made.task_instance_ids[position]!;
      await run('UPDATE task_instance SET wallclock = ?, maxrss = ? WHERE id = ?', [wallclock, maxrss, id]);
    }
    return made;
  }

  /** Another instance of a task, in the same run. */
  const retry = (made: InsertedWorkflow, position: number, status: string, wallclock: string): Promise<number> =>
    run(
      `INSERT INTO task_instance (workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, status, wallclock)
       VALUES (?, ?, ?, ?, 2, ?, ?, ?)`,
      [made.workflow_run_id, made.array_id, made.task_ids[position]!, made.task_resources_id, position, status, wallclock],
    );

  async function usage(body: Record<string, unknown>) {
    const answered = await call(served, 'POST', PATH, body);
    expect(answered.status).toBe(200);
    return answered.json;
  }

  it('L3 C15 answers the statistics of the specification, with the interval and the points', async () => {
    const made = await used([
      ['D', '12', '300'],
      ['D', '10', '450'],
      ['D', '20', '600'],
    ]);
    await run('UPDATE task_resources SET requested_resources = ? WHERE id = ?', [
      '{"memory": 2, "runtime": 40}',
      made.task_resources_id,
    ]);
    await run(`UPDATE task SET status_date = '2025-01-31 12:35:10' WHERE workflow_id = ?`, [made.workflow_id]);
    const statistics = {
      num_tasks: 3,
      min_runtime: 10,
      max_runtime: 20,
      mean_runtime: 14,
      median_runtime: 12,
      ci_mem: [77.38, 822.62],
      ci_runtime: [0.86, 27.14],
    };
    const point = (position: number, r: number, m: number) => ({
      r,
      m,
      node_id: made.node_ids[position],
      task_id: made.task_ids[position],
      task_name: `task_${position}`,
      requested_resources: '{"memory": 2, "runtime": 40}',
      attempt_number_of_instance: 1,
      status: 'D',
      task_status_date: '2025-01-31T12:35:10',
      task_command: `echo ${position}`,
      task_num_attempts: 1,
      task_max_attempts: 3,
    });
    const body = { task_template_version_id: made.task_template_version_id, ci: '0.95', viz: true };
    expect(await usage(body)).toEqual({
      ...statistics,
      min_mem: 300,
      max_mem: 600,
      mean_mem: 450,
      median_mem: 450,
      num_task_instances: 3,
      mem_percentiles: { p50: 450, p90: 570, p95: 585, p99: 597 },
      runtime_percentiles: { p50: 12, p90: 18.4, p95: expect.closeTo(19.2), p99: 19.84 },
      mem_utilization: 450 / 2 ** 31,
      runtime_utilization: expect.closeTo(0.35),
      result_viz: [point(0, 12, 300), point(1, 10, 450), point(2, 20, 600)],
      sampled: false,
      formatted_stats: { ...statistics, min_mem: '300B', max_mem: '600B', mean_mem: '450.0B', median_mem: '450.0B' },
    });
    const sample = await usage({ ...body, max_points: 2 });
    expect(sample.result_viz).toEqual([point(0, 12, 300), point(1, 10, 450)]);
    expect(sample).toMatchObject({ sampled: true, num_tasks: 3, mean_mem: 450 });
  });

  it('L3 C15 counts nothing as 0 where the version has tasks, and as null where it was never used', async () => {
    const waiting = await insertWorkflow(database(), { tasks: 2, instance_status: 'R' });
    const none = { ...NOTHING, num_tasks: 0 };
    expect(await usage({ task_template_version_id: waiting.task_template_version_id })).toEqual({
      ...none,
      ...NO_MORE,
      num_task_instances: 0,
      formatted_stats: none,
    });
    const empty = await insertWorkflow(database(), { tasks: 0 });
    const never = { ...NOTHING, num_tasks: null };
    expect(await usage({ task_template_version_id: empty.task_template_version_id })).toEqual({
      ...never,
      ...NO_MORE,
      num_task_instances: null,
      formatted_stats: never,
    });
  });

  it('L3 C15 leaves out zeros, texts without a number and instances that were stopped', async () => {
    const made = await used([
      ['Z', '0', '-5'],
      ['X', null, null],
      ['U', '2.5', '0'],
      ['F', '7.9', 'none'],
      ['E', '', ''],
      ['K', '100', '100'],
      ['W', '100', '100'],
    ]);
    const statistics = {
      ...NOTHING,
      num_tasks: 5,
      min_mem: 0,
      max_mem: 0,
      mean_mem: 0,
      median_mem: 0,
      min_runtime: 2,
      max_runtime: 7,
      mean_runtime: expect.closeTo(5.2),
      median_runtime: expect.closeTo(5.2),
    };
    const json = await usage({ task_template_version_id: made.task_template_version_id, workflows: [], ci: null, viz: false });
    expect(json).toMatchObject({
      ...statistics,
      num_task_instances: 5,
      mem_percentiles: null,
      formatted_stats: { ...statistics, min_mem: '0B', max_mem: '0B', mean_mem: '0.0B', median_mem: '0.0B' },
    });
  });

  it('L3 C15 numbers the instances of a task among those selected', async () => {
    const made = await used([
      ['E', '1', null],
      ['K', '2', null],
    ]);
    await retry(made, 0, 'D', '3');
    await retry(made, 1, 'D', '4');
    const { result_viz } = await usage({ task_template_version_id: made.task_template_version_id, viz: true });
    const told = result_viz.map((point: Record<string, unknown>) => [
      point.task_name,
      point.r,
      point.attempt_number_of_instance,
      point.status,
      point.m,
    ]);
    expect(told).toEqual([
      ['task_0', 1, 1, 'E', null],
      ['task_0', 3, 2, 'D', null],
      ['task_1', 4, 1, 'D', null],
    ]);
  });

  it('L3 C15 selects by workflow and by node arguments: AND over names, OR over values', async () => {
    const made = await used([
      ['D', '1', null],
      ['D', '2', null],
      ['D', '4', null],
    ]);
    const version = made.task_template_version_id;
    const arg = async (name: string): Promise<number> => run('INSERT INTO arg (name) VALUES (?)', [`${name}_${version}`]);
    const [place, year] = [await arg('place'), await arg('year')];
    for (const [position, values] of [
      ['7', '1990'],
      ['7', '1995'],
      ['8', '1990'],
    ].entries()) {
      for (const [nth, arg_id] of [place, year].entries())
        await run('INSERT INTO node_arg (node_id, arg_id, val) VALUES (?, ?, ?)', [
          made.node_ids[position]!,
          arg_id,
          values[nth]!,
        ]);
    }
    const sum = async (more: Record<string, unknown>): Promise<unknown> => {
      const { num_tasks, mean_runtime } = await usage({ task_template_version_id: version, ...more });
      return num_tasks * mean_runtime;
    };
    expect(await sum({})).toBe(7);
    expect(await sum({ workflows: [made.workflow_id] })).toBe(7);
    expect(await sum({ workflows: [made.workflow_id + 1] })).toBe(0);
    expect(await sum({ node_args: { [`place_${version}`]: ['7'] } })).toBe(3);
    expect(await sum({ node_args: { [`place_${version}`]: [7, '9'], [`year_${version}`]: ['1990', '1991'] } })).toBe(1);
    expect(await sum({ node_args: { [`year_${version}`]: ['1990'] } })).toBe(5);
    expect(await sum({ node_args: { [`place_${version}`]: [] } })).toBe(0);
    expect(await sum({ node_args: { nobody_uses_this: ['7'] } })).toBe(0);
    expect(await sum({ node_args: {} })).toBe(7);
  });

  it.each([
    ['no version', {}],
    ['a bare value of an argument', { task_template_version_id: 1, node_args: { x: '7' } }],
    ['a confidence of 1', { task_template_version_id: 1, ci: '1' }],
    ['a confidence that is no number', { task_template_version_id: 1, ci: 'high' }],
    ['workflows that are no list', { task_template_version_id: 1, workflows: 7 }],
    ['no point at all', { task_template_version_id: 1, max_points: 0 }],
  ])('L3 C15 refuses %s', async (_, body) => {
    expect((await call(served, 'POST', PATH, body)).status).toBe(400);
  });

  it('L3 C15 does not know an unknown version', async () => {
    const answered = await call(served, 'POST', PATH, { task_template_version_id: 2_000_000_000 });
    expect(answered.status).toBe(404);
    expect(answered.json.detail).toBe('there is no task template version 2000000000');
  });
});
