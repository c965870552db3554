import { describeOnDatabases } from '@jobmon/testkit';
import {
  digits,
  makeTemplate,
  makeWorkflow,
  ok,
  SEQUENTIAL,
  taskRequest,
  workflowRequest,
  type Template,
} from '../test/definitions';
import { call, serve, type Served } from '../test/serve';

describeOnDatabases('binding tasks', (database) => {
  let served: Served;
  let template: Template;
  beforeAll(async () => {
    served = await serve(database());
    template = await makeTemplate(served, 'binding');
  });
  afterAll(() => served.close());

  let made = 0;
  const newWorkflow = async (): Promise<number> => {
    made += 1;
    return (await ok(served, 'POST', '/api/v4/workflows', workflowRequest(template, `binding ${made}`))).workflow_id as number;
  };
  const bind = (workflow_id: number, tasks: unknown[], resources: unknown[] = [SEQUENTIAL]) =>
    call(served, 'POST', `/api/v4/workflows/${workflow_id}/tasks`, { resources, tasks });
  const countTasks = async (workflow_id: number): Promise<number> =>
    Number((await database().read<{ n: number }>('SELECT COUNT(*) AS n FROM task WHERE workflow_id = ?', [workflow_id]))[0]!.n);

  it('keeps every value exactly, and answers the same ids to a repeat', async () => {
    const workflow_id = await newWorkflow();
    const command = `printf 'a\\n"b"\t\\\\ \u{1F600}\nü'`;
    const odd = taskRequest(template, 1, {
      command,
      node_args: { n: `"\\'\u{1F680}\n ` },
      attributes: { colour: 'blue \u{1F535}' },
      name: 'naïve-\u{1F40D}',
    });
    const long = taskRequest(template, 2, { command: 'x'.repeat(65_535) });
    const first = await bind(workflow_id, [odd, long]);
    expect(first.status).toBe(200);
    expect((await bind(workflow_id, [odd, long])).json).toEqual(first.json);
    expect((await bind(workflow_id, [long, odd])).json.tasks).toEqual([...first.json.tasks].reverse());
    const rows = await database().read(
      `SELECT t.id AS task_id, t.node_id AS node_id, t.name, t.command, t.status, t.num_attempts, t.max_attempts, na.val AS n, ta.val AS t, at.value AS colour
         FROM task t JOIN node_arg na ON na.node_id = t.node_id JOIN task_arg ta ON ta.task_id = t.id
         LEFT JOIN task_attribute at ON at.task_id = t.id WHERE t.workflow_id = ? ORDER BY t.id`,
      [workflow_id],
    );
    const same = { status: 'G', num_attempts: 0, max_attempts: 3, t: 'x' };
    expect(rows).toEqual([
      {
        ...same,
        task_id: first.json.tasks[0][0],
        node_id: first.json.tasks[0][1],
        name: odd.name,
        command,
        n: `"\\'\u{1F680}\n `,
        colour: 'blue \u{1F535}',
      },
      {
        ...same,
        task_id: first.json.tasks[1][0],
        node_id: first.json.tasks[1][1],
        name: 'echo_2',
        command: long.command,
        n: '2',
        colour: null,
      },
    ]);
    expect((await ok(served, 'GET', `/api/v4/workflows/${workflow_id}`)).tasks).toEqual({ G: 2 });
  });

  it('makes each task once when many callers bind the same at one time', async () => {
    const workflow_id = await newWorkflow();
    const tasks = Array.from({ length: 50 }, (_, position) => taskRequest(template, 1_000 + position));
    const answers = await Promise.all(Array.from({ length: 8 }, () => bind(workflow_id, tasks)));
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect(await countTasks(workflow_id)).toBe(50);
    expect((await ok(served, 'GET', `/api/v4/workflows/${workflow_id}`)).tasks).toEqual({ G: 50 });
  });

  it('shares nodes between workflows and resources between tasks', async () => {
    const [one, other] = [await newWorkflow(), await newWorkflow()];
    const tasks = [taskRequest(template, 1), taskRequest(template, 2, { resources: 1 })];
    const resources = [SEQUENTIAL, { cluster: 'sequential', queue: 'null.q', requested: { cores: 1 } }];
    const first = (await bind(one, tasks, resources)).json.tasks as [number, number][];
    const second = (await bind(other, tasks, resources)).json.tasks as [number, number][];
    expect(second.map(([, node]) => node)).toEqual(first.map(([, node]) => node));
    expect(second.map(([task]) => task)).not.toEqual(first.map(([task]) => task));
    const rows = await database().read('SELECT DISTINCT task_resources_id FROM task WHERE workflow_id IN (?, ?)', [one, other]);
    expect(rows).toHaveLength(1);
  });

  it('keeps how resources grow and where they go then with each task; without a word by half', async () => {
    const workflow_id = await newWorkflow();
    const grown = { ...SEQUENTIAL, resource_scales: { memory: [2, 4], runtime: 1 }, fallback_queues: ['null.q'] };
    const resources = [SEQUENTIAL, grown, { ...SEQUENTIAL, resource_scales: {} }];
    await bind(
      workflow_id,
      resources.map((_, position) => taskRequest(template, position, { resources: position })),
      resources,
    );
    const sql = 'SELECT resource_scales, fallback_queues FROM task WHERE workflow_id = ? ORDER BY id';
    expect(await database().read(sql, [workflow_id])).toEqual([
      { resource_scales: '{"memory":0.5,"runtime":0.5}', fallback_queues: '[]' },
      { resource_scales: '{"memory":[2,4],"runtime":1}', fallback_queues: '["null.q"]' },
      { resource_scales: '{}', fallback_queues: '[]' },
    ]);
  });

  const impossible: Record<string, unknown>[] = [
    ...[0, -1, 1.5, '2', null, 1e9].map((cores) => ({ requested: { cores } })),
    ...[0, -1, '256M', 1e9, true].map((memory) => ({ requested: { memory } })),
    ...[0, -1, '1.5h', '10:00:00', 1e12].map((runtime) => ({ requested: { runtime } })),
    { requested: {}, resource_scales: { memory: -0.5 } },
    { requested: {}, resource_scales: { memory: [] } },
    { requested: {}, resource_scales: { memory: 'grow' } },
    { requested: {}, resource_scales: { runtime: Array.from({ length: 600 }, () => 1) } },
    { requested: {}, fallback_queues: 'null.q' },
  ];
  it.each(impossible.map((asked) => [JSON.stringify(asked).slice(0, 50), asked] as const))(
    'refuses resources that nobody can give: %s',
    async (_, asked) => {
      const workflow_id = await newWorkflow();
      const { status, text } = await bind(workflow_id, [taskRequest(template, 1)], [{ cluster: 'dummy', ...asked }]);
      expect(status).toBe(400);
      expect(text).toMatch(/resources/);
      expect(await countTasks(workflow_id)).toBe(0);
    },
  );

  const refusals: [string, unknown[], unknown[] | undefined, { status: number; rule: string; tasks?: string[] }][] = [
    [
      'the same node arguments twice',
      ['twice', 'twin'].map((name) => ({ position: 7, name })),
      undefined,
      { status: 400, rule: 'node_args_twice', tasks: ['twice', 'twin'] },
    ],
    [
      'an unknown cluster',
      [{ position: 1 }],
      [{ cluster: 'slurmm', requested: {} }],
      { status: 400, rule: 'unknown_cluster', tasks: ['echo_1'] },
    ],
    [
      'an unknown queue',
      [{ position: 1 }],
      [{ cluster: 'dummy', queue: 'long.q', requested: {} }],
      { status: 400, rule: 'unknown_queue', tasks: ['echo_1'] },
    ],
    [
      'an unknown fallback queue',
      [{ position: 1 }],
      [{ cluster: 'dummy', requested: {}, fallback_queues: ['null.q', 'long.q'] }],
      { status: 400, rule: 'unknown_queue', tasks: ['echo_1'] },
    ],
    [
      'an unknown template version',
      [{ position: 1, task_template_version_id: 99_999 }],
      undefined,
      { status: 404, rule: 'unknown_template_version', tasks: ['echo_1'] },
    ],
    [
      'a misspelt argument',
      [{ position: 1, node_args: { m: '1' } }],
      undefined,
      { status: 400, rule: 'unknown_argument', tasks: ['echo_1'] },
    ],
    [
      'an argument without a value',
      [{ position: 1, task_args: {} }],
      undefined,
      { status: 400, rule: 'missing_argument', tasks: ['echo_1'] },
    ],
    [
      'a position without resources',
      [{ position: 1, resources: 1 }],
      undefined,
      { status: 400, rule: 'unknown_resources', tasks: ['echo_1'] },
    ],
    [
      'a command that is too long',
      [{ position: 1, command: 'ü'.repeat(32_768) }],
      undefined,
      { status: 400, rule: 'column_limit', tasks: ['echo_1'] },
    ],
    [
      'a command with NUL',
      [{ position: 1, command: 'a\0b' }],
      undefined,
      { status: 400, rule: 'column_limit', tasks: ['echo_1'] },
    ],
    [
      'resources nested too deeply',
      [{ position: 1 }],
      [{ cluster: 'dummy', requested: nested(40) }],
      { status: 400, rule: 'depth' },
    ],
    [
      'resources that are too long',
      [{ position: 1 }],
      [{ cluster: 'dummy', requested: { a: 'x'.repeat(70_000) } }],
      { status: 400, rule: 'column_limit' },
    ],
  ];
  it.each(refusals)('refuses %s before anything is written', async (_, changes, resources, expected) => {
    const workflow_id = await newWorkflow();
    const good = taskRequest(template, 0);
    const bad = (changes as { position: number }[]).map(({ position, ...change }) => taskRequest(template, position, change));
    const { status, json } = await bind(workflow_id, resources === undefined ? [good, ...bad] : bad, resources);
    expect({ status, rule: json.error.details.rule, tasks: json.error.details.tasks }).toEqual({ tasks: undefined, ...expected });
    for (const name of expected.tasks ?? []) expect(json.error.message).toContain(name);
    expect(await countTasks(workflow_id)).toBe(0);
  });

  it('refuses other task arguments on a node that the workflow has, and names the task', async () => {
    const workflow_id = await newWorkflow();
    await bind(workflow_id, [taskRequest(template, 1)]);
    const other = taskRequest(template, 1, { task_args: { t: 'y' }, task_args_hash: digits('task', 'y'), name: 'other' });
    const { status, json } = await bind(workflow_id, [taskRequest(template, 2), other]);
    expect({ status, details: json.error.details }).toEqual({
      status: 409,
      details: { rule: 'node_args_twice', tasks: ['other'], count: 1 },
    });
    expect(await countTasks(workflow_id)).toBe(1);
  });

  it('refuses new tasks of a workflow that was submitted, and still answers those it has', async () => {
    const { workflow_id, task_ids } = await makeWorkflow(served, template, `submitted on ${database().dialect.name}`, 2);
    // Nobody answers for the state machine here, so the run is not made; the graph is sealed before that.
    await call(served, 'POST', `/api/v4/workflows/${workflow_id}/submit`, { user: 'me', working_directory: '/' });
    const again = await bind(workflow_id, [taskRequest(template, 1), taskRequest(template, 0)]);
    expect(again.json.tasks.map(([id]: [number]) => id)).toEqual([...task_ids].reverse());
    const late = await bind(workflow_id, [taskRequest(template, 0), taskRequest(template, 9)]);
    expect([late.status, late.json.error.details]).toEqual([409, { rule: 'already_submitted', tasks: ['echo_9'], count: 1 }]);
  });

  it('takes 30 MB of tasks in one body', async () => {
    const workflow_id = await newWorkflow();
    const tasks = Array.from({ length: 600 }, (_, position) =>
      taskRequest(template, 5_000 + position, { command: 'y'.repeat(50_000) }),
    );
    const body = JSON.stringify({ resources: [SEQUENTIAL], tasks });
    expect(body.length).toBeGreaterThan(30_000_000);
    const { status, json } = await call(served, 'POST', `/api/v4/workflows/${workflow_id}/tasks`, body);
    expect([status, json.tasks.length]).toEqual([200, 600]);
  }, 60_000);

  /** Statements for a bind of 1,000 tasks with one node and one task argument each. A change here is a change of speed. */
  const COUNTS = { fresh: { statements: 19, transactions: 2 }, repeated: { statements: 10, transactions: 2 } };

  it('binds 1,000 tasks with a known number of statements', async () => {
    const workflow_id = await newWorkflow();
    const tasks = Array.from({ length: 1_000 }, (_, position) => taskRequest(template, 20_000 + position));
    const cost = async (): Promise<{ statements: number; transactions: number }> => {
      const { statements, transactions } = { ...database().counts };
      const started = performance.now();
      expect((await bind(workflow_id, tasks, [{ cluster: 'multiprocess', requested: { cores: workflow_id } }])).status).toBe(200);
      if (process.env.JOBMON_TEST_RATES) console.log(`${database().dialect.name}: ${Math.round(performance.now() - started)} ms`);
      const { counts } = database();
      return { statements: counts.statements - statements, transactions: counts.transactions - transactions };
    };
    expect({ fresh: await cost(), repeated: await cost() }).toEqual(COUNTS);
  });
});

function nested(depth: number): unknown {
  let value: Record<string, unknown> = {};
  for (let level = 0; level < depth; level++) value = { a: value };
  return value;
}
