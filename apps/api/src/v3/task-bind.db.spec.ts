/** Tasks as the Python protocol binds them: made once, reset when they stand, with their arguments and attributes. */
import { resetTasks } from '@jobmon/contracts';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { digits } from '../../test/definitions';
import { call, serve, type Answered, type Served } from '../../test/serve';

/** Position of a field in a task of the wire. */
const AT = {
  node_id: 0,
  hash: 1,
  array_id: 2,
  resources: 3,
  name: 4,
  command: 5,
  max: 6,
  reset: 7,
  scales: 8,
  queues: 9,
} as const;

describeOnDatabases('binding tasks by the Python protocol', (database) => {
  let served: Served;
  /** Nodes that no workflow of these tests has tasks of. */
  let nodes: readonly number[];
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)] });
    nodes = (await insertWorkflow(database(), { tasks: 1_000 })).node_ids;
  });
  afterAll(() => served.close());

  const put = (path: string, body: unknown) => call(served, 'PUT', `/api/v3/task/${path}?client_jobmon_version=3.6.0`, body);
  const bind = (workflow: { workflow_id: number }, tasks: unknown, mark_created = true) =>
    put('bind_tasks_no_args', { workflow_id: workflow.workflow_id, tasks, mark_created });
  const write = (sql: string, ...params: (string | number | null)[]) => database().change(sql, ...params);
  /** A workflow of a client, with the run that is over unless it is said otherwise. */
  const newWorkflow = async (wanted: WorkflowToInsert = {}): Promise<InsertedWorkflow> => {
    const made = await insertWorkflow(database(), { driver: 'client', run_status: 'E', workflow_status: 'F', ...wanted });
    await write('UPDATE workflow SET created_date = NULL WHERE id = ?', made.workflow_id);
    return made;
  };
  type Change = Partial<Record<keyof typeof AT, unknown>>;
  /** A task of the wire on the node at a position. */
  const task = (workflow: InsertedWorkflow, position: number, change: Change = {}): unknown[] => {
    const made: unknown[] = [
      nodes[position],
      digits('args', 'x'),
      workflow.array_id,
      workflow.task_resources_id,
      `one_${position}`,
      `echo ${position}`,
      3,
      true,
      { memory: 0.5, runtime: 0.5 },
      [],
    ];
    for (const [field, value] of Object.entries(change)) made[AT[field as keyof typeof AT]] = value;
    return made;
  };
  const tasks = (workflow: InsertedWorkflow, count: number, change: (position: number) => Change = () => ({})) =>
    Object.fromEntries(
      Array.from({ length: count }, (_, position) => [digits('hash', position), task(workflow, position, change(position))]),
    );
  /** The tasks that a workflow has by now, sent again. */
  const again = (workflow: InsertedWorkflow, change: (position: number) => Change = () => ({})) =>
    Object.fromEntries(
      workflow.node_ids.map((node_id, position) => [
        digits('hash', position),
        task(workflow, position, { node_id, hash: '0', ...change(position) }),
      ]),
    );
  const ids = (answered: Answered): number[] =>
    Object.values(answered.json.tasks as Record<string, [number, string]>).map(([id]) => id);
  const statuses = (answered: Answered): string =>
    Object.values(answered.json.tasks as Record<string, [number, string]>)
      .map(([, status]) => status)
      .join('');
  const countOf = async (workflow: InsertedWorkflow): Promise<Record<string, number>> => {
    const rows = await database().read<{ status: string; n: number }>(
      `SELECT status, SUM(n) AS n FROM task_status_count WHERE workflow_id = ? AND array_id = ? GROUP BY status`,
      [workflow.workflow_id, workflow.array_id],
    );
    return Object.fromEntries(rows.map(({ status, n }) => [status, Number(n)]));
  };
  const createdDate = async (workflow: InsertedWorkflow): Promise<unknown> =>
    (await database().read('SELECT created_date FROM workflow WHERE id = ?', [workflow.workflow_id]))[0]?.created_date;

  it('E13 keeps every value exactly, answers by hash, and marks the workflow with the last tasks only', async () => {
    const workflow = await newWorkflow({ tasks: 0 });
    const command = `printf 'a\\n"b"\t\\\\ \u{1F600}\nü'`;
    const odd = task(workflow, 0, {
      command,
      name: 'naïve-\u{1F40D}',
      scales: { memory: [1, 2.5], runtime: 'grow', cores: 0 },
      queues: ['long.q', `it's`],
      max: '7',
    });
    const none = task(workflow, 1, { scales: null, queues: null, reset: false, command: 'y'.repeat(65_535), hash: '0' });
    const [one, two] = ['9'.repeat(78), '1'];
    const first = await bind(workflow, { [one]: odd, [two]: none }, false);
    expect([first.status, first.json]).toEqual([
      200,
      { tasks: { [one]: [expect.any(Number), 'G'], [two]: [expect.any(Number), 'G'] } },
    ]);
    expect(await createdDate(workflow)).toBeNull();
    const rows = await database().read(
      `SELECT id, workflow_id, node_id, task_args_hash, array_id, task_resources_id, name, command, num_attempts, max_attempts,
              resource_scales, fallback_queues, status, status_date FROM task WHERE workflow_id = ? ORDER BY id`,
      [workflow.workflow_id],
    );
    const { workflow_id, array_id, task_resources_id } = workflow;
    const same = { workflow_id, array_id, task_resources_id, num_attempts: 0, status: 'G', status_date: expect.any(String) };
    const expected = [
      {
        ...same,
        id: first.json.tasks[one][0],
        node_id: nodes[0],
        task_args_hash: digits('args', 'x'),
        name: 'naïve-\u{1F40D}',
        command,
        max_attempts: 7,
        resource_scales: '{"memory":[1,2.5],"runtime":"grow","cores":0}',
        fallback_queues: `["long.q","it's"]`,
      },
      {
        ...same,
        id: first.json.tasks[two][0],
        node_id: nodes[1],
        task_args_hash: '0',
        name: 'one_1',
        command: none[AT.command],
        max_attempts: 3,
        resource_scales: '{}',
        fallback_queues: '[]',
      },
    ];
    expect(rows).toEqual(expected.sort((a, b) => a.id - b.id));
    expect((await bind(workflow, {}, true)).json).toEqual({ tasks: {} });
    expect(await createdDate(workflow)).toEqual(expect.any(String));
  });

  it('E13 makes each task once when many callers bind the same at one time, and counts it once', async () => {
    const workflow = await newWorkflow({ tasks: 0 });
    const body = tasks(workflow, 60);
    const answers = await Promise.all(Array.from({ length: 6 }, () => bind(workflow, body)));
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect([answers[0]!.status, statuses(answers[0]!)]).toEqual([200, 'G'.repeat(60)]);
    expect(new Set(ids(answers[0]!)).size).toBe(60);
    const rows = await database().read('SELECT id FROM task WHERE workflow_id = ?', [workflow.workflow_id]);
    expect(rows).toHaveLength(60);
    expect(await countOf(workflow)).toEqual({ G: 60 });
  });

  it('E13 takes two hashes of one task for one task', async () => {
    const workflow = await newWorkflow({ tasks: 0 });
    const answered = await bind(workflow, { 1: task(workflow, 0), 2: task(workflow, 0), 3: task(workflow, 1) });
    expect(answered.json.tasks[1]).toEqual(answered.json.tasks[2]);
    expect(new Set(ids(answered)).size).toBe(2);
    expect(await countOf(workflow)).toEqual({ G: 2 });
  });

  it('E13 shares nodes with other workflows, but no task', async () => {
    const [one, other] = [await newWorkflow({ tasks: 0 }), await newWorkflow({ tasks: 0 })];
    const [first, second] = [await bind(one, tasks(one, 3)), await bind(other, tasks(other, 3))];
    expect(new Set([...ids(first), ...ids(second)]).size).toBe(6);
  });

  /** Status of each task before, and after a cold and a hot bind; each has an attempt that ended, but for those that are active. */
  const STANDING = 'GQIORDAF';
  const instanceOf = (position: number) => (['E', 'Q', 'I', 'O', 'R', 'D', 'Z', 'E'] as const)[position]!;
  it.each([
    ['cold, running ones too', true, 'GGGGGDGG'],
    ['hot, but running ones', false, 'GGGGRDGG'],
  ])('E13 resets what stands and is not D: %s', async (_, reset, after) => {
    const workflow = await newWorkflow({
      tasks: STANDING.length,
      task_status: (position) => STANDING[position] as 'G',
      instance_status: instanceOf,
    });
    const before = await database().read('SELECT * FROM task WHERE workflow_id = ? ORDER BY id', [workflow.workflow_id]);
    const body = again(workflow, (position) => ({
      reset,
      name: `new_${position}`,
      command: `echo new ${position}`,
      max: 9,
      scales: { cores: 1 },
      queues: ['other.q'],
    }));
    const answered = await bind(workflow, body);
    expect([answered.status, statuses(answered)]).toEqual([200, after]);
    expect(ids(answered)).toEqual(workflow.task_ids);
    const rows = await database().read('SELECT * FROM task WHERE workflow_id = ? ORDER BY id', [workflow.workflow_id]);
    const expected = before.map((row, position) =>
      after[position] !== 'G'
        ? row
        : {
            ...row,
            status: 'G',
            num_attempts: 0,
            name: `new_${position}`,
            command: `echo new ${position}`,
            max_attempts: 9,
            current_task_instance_id: 0,
            status_date: expect.any(String),
          },
    );
    expect(rows).toEqual(expected);
    expect((await bind(workflow, body)).text).toBe(answered.text);
  });

  it('E13 stamps the date of a reset, so that the next sync tells of it (race 47)', async () => {
    const workflow = await newWorkflow({ tasks: 2, task_status: 'F' });
    await write(`UPDATE task SET status_date = '2020-01-01 00:00:00' WHERE workflow_id = ?`, workflow.workflow_id);
    const path = `/api/v3/workflow/${workflow.workflow_id}/task_status_updates`;
    const { time } = (await call(served, 'POST', path, {})).json;
    expect((await call(served, 'POST', path, { last_sync: time })).json.tasks_by_status).toEqual({});
    await bind(workflow, again(workflow));
    expect((await call(served, 'POST', path, { last_sync: time })).json.tasks_by_status).toEqual({ G: workflow.task_ids });
  });

  it('E13 asks for resets in pieces of 1,000', async () => {
    const workflow = await newWorkflow({ tasks: 1_001, task_status: 'F' });
    const pieces: number[] = [];
    const alone = await serve(database());
    // In the place of the state machine: notes what is asked of it, and says that every task is ready.
    alone.messenger.handle(resetTasks, (requests) =>
      Promise.resolve(
        requests.map(({ task_ids }) => {
          pieces.push(task_ids.length);
          return { ok: { statuses: task_ids.map((id): [number, string] => [id, 'G']) } };
        }),
      ),
    );
    const body = { workflow_id: workflow.workflow_id, tasks: again(workflow), mark_created: true };
    const answered = await call(alone, 'PUT', '/api/v3/task/bind_tasks_no_args', body).finally(() => alone.close());
    expect([answered.status, pieces]).toEqual([200, [1_000, 1]]);
  });

  it('E13 finds tasks of older programs, of twins the first, and makes none beside them', async () => {
    const workflow = await newWorkflow({ tasks: 3, task_status: 'F' });
    await write('UPDATE task SET identity = NULL WHERE workflow_id = ?', workflow.workflow_id);
    await write(
      `INSERT INTO task (workflow_id, node_id, task_args_hash, array_id, name, command, task_resources_id, num_attempts, max_attempts, status)
       SELECT workflow_id, node_id, task_args_hash, array_id, name, command, task_resources_id, 0, 3, 'G' FROM task WHERE id = ?`,
      workflow.task_ids[1]!,
    );
    const body = { ...again(workflow), [digits('fresh')]: task(workflow, 0) };
    const answered = await bind(workflow, body);
    expect(ids(answered).slice(0, 3)).toEqual(workflow.task_ids);
    expect(statuses(answered)).toBe('GGGG');
    expect((await bind(workflow, body)).text).toBe(answered.text);
    expect(await database().read('SELECT id FROM task WHERE workflow_id = ?', [workflow.workflow_id])).toHaveLength(5);
  });

  it('E13 resets nothing while a run of the workflow is live: a repeat that comes late takes no task from it', async () => {
    const workflow = await newWorkflow({ tasks: 3, instance_status: 'R', task_status: 'R', run_status: 'R' });
    const answered = await bind(workflow, {
      ...again(workflow, () => ({ command: 'late' })),
      [digits('new')]: task(workflow, 0),
    });
    expect([answered.status, statuses(answered)]).toEqual([200, 'RRRG']);
    const rows = await database().read(`SELECT id FROM task WHERE workflow_id = ? AND command = 'late'`, [workflow.workflow_id]);
    expect(rows).toEqual([]);
  });

  it('E13 changes nothing on a run that the server drives', async () => {
    const workflow = await newWorkflow({ tasks: 3, task_status: 'F', run_status: 'R', driver: 'server' });
    const before = await database().read('SELECT * FROM task WHERE workflow_id = ?', [workflow.workflow_id]);
    const answered = await bind(
      workflow,
      again(workflow, () => ({ command: 'other' })),
    );
    expect([answered.status, statuses(answered)]).toEqual([200, 'FFF']);
    expect((await bind(workflow, tasks(workflow, 1))).status).toBe(400);
    expect(await database().read('SELECT * FROM task WHERE workflow_id = ?', [workflow.workflow_id])).toEqual(before);
  });

  it('E13 refuses what it cannot store and ids that are not there, and writes nothing then', async () => {
    const [workflow, other] = [await newWorkflow({ tasks: 0 }), await newWorkflow({ tasks: 1 })];
    const status = async (change: Change): Promise<number> =>
      (await bind(workflow, { 1: task(workflow, 0), 2: task(workflow, 1, change) })).status;
    for (const change of [
      { node_id: 2_000_000_000 },
      { array_id: 2_000_000_000 },
      { array_id: other.array_id },
      { resources: 2_000_000_000 },
    ]) {
      expect([change, await status(change)]).toEqual([change, 404]);
    }
    for (const change of [
      { node_id: 0 },
      { node_id: 'x' },
      { hash: 12 },
      { hash: 'abc' },
      { hash: '1'.repeat(79) },
      { name: 'x'.repeat(256) },
      { name: 'a\0b' },
      { command: null },
      { command: 'a\0b' },
      { command: 'ü'.repeat(32_768) },
      { max: -1 },
      { max: 1.5 },
      { max: 2_147_483_648 },
      { reset: 'yes' },
      { scales: [] },
      { scales: { memory: null } },
      { scales: { memory: 'x'.repeat(1_000) } },
      { queues: {} },
      { queues: [7] },
      { queues: Array.from({ length: 200 }, () => 'long.q') },
    ] as Change[]) {
      expect([change, await status(change)]).toEqual([change, 400]);
    }
    const good = { workflow_id: workflow.workflow_id, tasks: { 1: task(workflow, 0) }, mark_created: true };
    for (const [change, code] of [
      [{ workflow_id: 2_000_000_000 }, 404],
      [{ workflow_id: null }, 400],
      [{ tasks: [] }, 400],
      [{ tasks: undefined }, 400],
      [{ tasks: { x: task(workflow, 0) } }, 400],
      [{ tasks: { 1: task(workflow, 0).slice(0, 9) } }, 400],
      [{ tasks: { 1: [...task(workflow, 0), 1] } }, 400],
      [{ tasks: { 1: null } }, 400],
      [{ mark_created: undefined }, 400],
      [{ mark_created: 1 }, 400],
    ] as const) {
      expect([change, (await put('bind_tasks_no_args', { ...good, ...change })).status]).toEqual([change, code]);
    }
    expect(await database().read('SELECT id FROM task WHERE workflow_id = ?', [workflow.workflow_id])).toEqual([]);
    expect([await createdDate(workflow), await countOf(workflow)]).toEqual([null, {}]);
  });

  it('E13 takes 500 tasks with commands of 64 KB in one body', async () => {
    const workflow = await newWorkflow({ tasks: 0 });
    const body = JSON.stringify({
      workflow_id: workflow.workflow_id,
      tasks: tasks(workflow, 500, () => ({ command: 'y'.repeat(65_000) })),
      mark_created: true,
    });
    expect(body.length).toBeGreaterThan(32_000_000);
    const answered = await put('bind_tasks_no_args', body);
    expect([answered.status, statuses(answered)]).toEqual([200, 'G'.repeat(500)]);
    const rows = await database().read('SELECT SUM(LENGTH(command)) AS bytes FROM task WHERE workflow_id = ?', [
      workflow.workflow_id,
    ]);
    expect(Number(rows[0]!.bytes)).toBe(500 * 65_000);
  }, 60_000);

  /** Statements of a bind, whether of 500 or of 1,000 tasks. A change here is a change of speed. */
  const COUNTS = { fresh: { statements: 13, transactions: 2 }, repeated: { statements: 18, transactions: 4 } };

  it.each([500, 1_000])('E13 binds %i tasks with a known number of statements', async (count) => {
    const workflow = await newWorkflow({ tasks: 0 });
    const body = tasks(workflow, count);
    const cost = async (): Promise<{ statements: number; transactions: number }> => {
      const { statements, transactions } = { ...database().counts };
      const started = performance.now();
      expect((await bind(workflow, body)).status).toBe(200);
      if (process.env.JOBMON_TEST_RATES) {
        console.log(`${database().dialect.name}, ${count} tasks: ${Math.round(performance.now() - started)} ms`);
      }
      const { counts } = database();
      return { statements: counts.statements - statements, transactions: counts.transactions - transactions };
    };
    expect({ fresh: await cost(), repeated: await cost() }).toEqual(COUNTS);
  });

  const newArg = async (): Promise<number> => write('INSERT INTO arg (name) VALUES (?)', `arg ${Math.random()}`);

  it('E14 stores arguments once and keeps what stands', async () => {
    const { task_ids } = await newWorkflow({ tasks: 2 });
    const [one, two] = [await newArg(), await newArg()];
    const value = `"\\'\u{1F680}\n `;
    const bound = await put('bind_task_args', {
      task_args: [
        [task_ids[0], one, value],
        [String(task_ids[1]), one, 'x'.repeat(2_048)],
        [task_ids[0], two, ''],
      ],
    });
    expect([bound.status, bound.json]).toEqual([200, {}]);
    expect((await put('bind_task_args', { task_args: [[task_ids[0], one, 'other']] })).json).toEqual({});
    const rows = await database().read(
      'SELECT task_id, arg_id, val FROM task_arg WHERE arg_id IN (?, ?) ORDER BY task_id, arg_id',
      [one, two],
    );
    expect(rows).toEqual([
      { task_id: task_ids[0], arg_id: one, val: value },
      { task_id: task_ids[0], arg_id: two, val: '' },
      { task_id: task_ids[1], arg_id: one, val: 'x'.repeat(2_048) },
    ]);
    expect((await put('bind_task_args', { task_args: [] })).json).toEqual({});
  });

  it('E14 refuses what it cannot store and ids that are not there, and writes nothing then', async () => {
    const { task_ids } = await newWorkflow({ tasks: 1 });
    const arg = await newArg();
    const good = [task_ids[0], arg, 'x'];
    for (const [entry, code] of [
      [[2_000_000_000, arg, 'x'], 404],
      [[task_ids[0], 2_000_000_000, 'x'], 404],
      [[task_ids[0], arg, 'x'.repeat(2_049)], 400],
      [[task_ids[0], arg], 400],
      [[task_ids[0], arg, null], 400],
      [[task_ids[0], arg, 'a\0b'], 400],
      [['x', arg, 'x'], 400],
      [null, 400],
    ] as const) {
      expect([entry, (await put('bind_task_args', { task_args: [good, entry] })).status]).toEqual([entry, code]);
    }
    for (const body of [{}, { task_args: {} }, { task_args: 'x' }]) expect((await put('bind_task_args', body)).status).toBe(400);
    expect(await database().read('SELECT * FROM task_arg WHERE arg_id = ?', [arg])).toEqual([]);
  });

  const attributesOf = async (task_id: number): Promise<Record<string, unknown>> => {
    const rows = await database().read<{ name: string; value: string | null }>(
      `SELECT tt.name AS name, ta.value AS value FROM task_attribute ta
         JOIN task_attribute_type tt ON tt.id = ta.task_attribute_type_id WHERE ta.task_id = ?`,
      [task_id],
    );
    return Object.fromEntries(rows.map(({ name, value }) => [name, value]));
  };

  it('E15 stores attributes, null for one that is only declared, and takes later values', async () => {
    const { task_ids } = await newWorkflow({ tasks: 3 });
    const [one, two, bare] = task_ids as [number, number, number];
    const first = await put('bind_task_attributes', {
      task_attributes: {
        [one]: { k: 'val', n: null, wide: 'ü'.repeat(255) },
        [two]: { k: 'other', 'odd name \u{1F535}': '' },
        [bare]: {},
      },
    });
    expect([first.status, first.json]).toEqual([200, {}]);
    expect(await attributesOf(one)).toEqual({ k: 'val', n: null, wide: 'ü'.repeat(255) });
    expect(await attributesOf(two)).toEqual({ k: 'other', 'odd name \u{1F535}': '' });
    expect(await attributesOf(bare)).toEqual({});
    await put('bind_task_attributes', { task_attributes: { [one]: { k: null, n: '7' } } });
    expect(await attributesOf(one)).toEqual({ k: null, n: '7', wide: 'ü'.repeat(255) });
    expect((await put('bind_task_attributes', { task_attributes: {} })).json).toEqual({});
  });

  it('E15 takes the attributes of one task by POST, its id among them', async () => {
    const { task_ids } = await newWorkflow({ tasks: 1 });
    const post = (body: unknown) => call(served, 'POST', '/api/v3/task/bind_task_attributes?client_jobmon_version=3.6.0', body);
    const first = await post({ k: 'v', m: null, number: 1.5, task_id: task_ids[0], server_structlog_context: { a: 'b' } });
    expect([first.status, first.json]).toEqual([200, {}]);
    expect(await attributesOf(task_ids[0]!)).toEqual({ k: 'v', m: null, number: '1.5' });
    await post({ k: 'w', task_id: String(task_ids[0]) });
    expect(await attributesOf(task_ids[0]!)).toEqual({ k: 'w', m: null, number: '1.5' });
    expect((await post({ k: 'v', task_id: 2_000_000_000 })).status).toBe(404);
    for (const body of [{ k: 'v' }, { task_id: task_ids[0], k: {} }, { task_id: task_ids[0], ['x'.repeat(256)]: 'v' }, []]) {
      expect((await post(body)).status).toBe(400);
    }
  });

  it('E15 makes a name once when many tasks bring it at one time', async () => {
    const { task_ids } = await newWorkflow({ tasks: 12 });
    const name = `at one time ${Math.random()}`;
    const answers = await Promise.all(
      task_ids.map((id) => put('bind_task_attributes', { task_attributes: { [id]: { [name]: String(id) } } })),
    );
    expect(answers.map(({ status }) => status)).toEqual(task_ids.map(() => 200));
    expect(await database().read('SELECT name FROM task_attribute_type WHERE name = ?', [name])).toHaveLength(1);
    for (const id of task_ids) expect(await attributesOf(id)).toEqual({ [name]: String(id) });
  });

  it('E15 refuses what it cannot store and ids that are not there, and writes nothing then', async () => {
    const { task_ids } = await newWorkflow({ tasks: 1 });
    const good = { [task_ids[0]!]: { k: 'v' } };
    for (const [change, code] of [
      [{ 2000000000: { k: 'v' } }, 404],
      [{ 9999999999: { k: 'v' } }, 404],
      [{ 0: { k: 'v' } }, 404],
      [{ x: { k: 'v' } }, 400],
      [{ 1: { k: 'x'.repeat(256) } }, 400],
      [{ 1: { ['x'.repeat(256)]: 'v' } }, 400],
      [{ 1: { '': 'v' } }, 400],
      [{ 1: { k: ['v'] } }, 400],
      [{ 1: { k: 'a\0b' } }, 400],
      [{ 1: { 'a\0b': 'v' } }, 400],
      [{ 1: null }, 400],
      [{ 1: 'k' }, 400],
    ] as const) {
      const body = { task_attributes: { ...good, ...change } };
      expect([change, (await put('bind_task_attributes', body)).status]).toEqual([change, code]);
    }
    for (const body of [{}, { task_attributes: [] }, { task_attributes: null }]) {
      expect((await put('bind_task_attributes', body)).status).toBe(400);
    }
    expect(await attributesOf(task_ids[0]!)).toEqual({});
  });
});
