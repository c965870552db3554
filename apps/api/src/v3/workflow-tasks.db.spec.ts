/** What a swarm reads of a workflow's tasks, and what a resume asks of them. */
import { valueOf } from '@jobmon/entities';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { call, serve, type Answered, type Served } from '../../test/serve';

const DATE = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/;
/** A clock that stands still would hide what these tests look for, so dates are given as seconds back from now. */
const secondsOf = (date: string): number => Date.parse(`${date.replace(' ', 'T')}Z`) / 1_000;

describeOnDatabases('tasks as a swarm reads them', (database) => {
  let served: Served;
  /** Two stages and a last task: four, three and one; F, G, and G. */
  let own: InsertedWorkflow;
  const STATUSES = 'DFRAGGGG';
  beforeAll(async () => {
    served = await serve(database());
    own = await insertWorkflow(database(), {
      driver: 'client',
      tasks: 8,
      task_status: (position) => STATUSES[position] as 'G',
      max_concurrently_running: 70,
      array_max_concurrently_running: 7,
      upstreams: (position) => (position === 7 ? [4, 5, 6] : position > 3 ? [0, 1, 2, 3] : []),
    });
  });
  afterAll(() => served.close());

  const get = (path: string) => call(served, 'GET', `/api/v3${path}`);
  const sync = ({ workflow_id }: { workflow_id: number }, body: unknown = {}) =>
    call(served, 'POST', `/api/v3/workflow/${workflow_id}/task_status_updates?client_jobmon_version=3.6.0`, body);
  const write = (sql: string, ...params: (string | number | null)[]) => database().change(sql, ...params);
  const now = async (back = 0): Promise<string> =>
    String((await database().read(`SELECT ${database().dialect.nowPlusSeconds} AS time`, [-back]))[0]!.time);
  const byStatus = (workflow: InsertedWorkflow, statuses: string): Record<string, number[]> => {
    const tasks: Record<string, number[]> = {};
    workflow.task_ids.forEach((id, at) => (tasks[statuses[at] as string] ??= []).push(id));
    return tasks;
  };
  const sorted = (answered: Answered): Record<string, number[]> =>
    Object.fromEntries(
      Object.entries(answered.json.tasks_by_status as Record<string, number[]>).map(([status, ids]) => [
        status,
        [...ids].sort((a, b) => a - b),
      ]),
    );

  it('E49 answers every task, and a time that lies ten seconds back', async () => {
    const before = secondsOf(await now(10));
    const { status, json } = await sync(own);
    expect([status, json]).toEqual([200, { tasks_by_status: byStatus(own, STATUSES), time: expect.stringMatching(DATE) }]);
    expect(secondsOf(json.time)).toBeGreaterThanOrEqual(before);
    expect(secondsOf(json.time)).toBeLessThanOrEqual(secondsOf(await now(10)));
  });

  it('E49 answers what was written since the cursor, and a status that was committed late (race 48)', async () => {
    const workflow = await insertWorkflow(database(), { driver: 'client', tasks: 3, task_status: 'G' });
    await write(`UPDATE task SET status_date = '2020-01-01 00:00:00' WHERE workflow_id = ?`, workflow.workflow_id);
    const { time } = (await sync(workflow)).json;
    expect((await sync(workflow, { last_sync: time })).json.tasks_by_status).toEqual({});
    // Stamped before the answer was given, committed behind it.
    await write(`UPDATE task SET status = 'D', status_date = ? WHERE id = ?`, await now(4), workflow.task_ids[1]!);
    await write(`UPDATE task SET status = 'R', status_date = ? WHERE id = ?`, time, workflow.task_ids[2]!);
    expect(sorted(await sync(workflow, { last_sync: time }))).toEqual({ D: [workflow.task_ids[1]], R: [workflow.task_ids[2]] });
    const future = await now(-3_600);
    expect((await sync(workflow, { last_sync: future })).json.tasks_by_status).toEqual({});
  });

  it('E49 answers everything for a cursor that it cannot read', async () => {
    const good = await now();
    const [date, clock] = good.split(' ');
    await write(`UPDATE task SET status_date = '2020-01-01 00:00:00' WHERE workflow_id = ?`, own.workflow_id);
    for (const last_sync of [good, `${date}T${clock}`, `${good}.25`]) {
      expect([last_sync, sorted(await sync(own, { last_sync }))]).toEqual([last_sync, {}]);
    }
    for (const last_sync of [
      '',
      'never',
      '2026-13-01 00:00:00',
      '2026-02-31 00:00:00',
      '2026-01-01',
      7,
      null,
      {},
      [],
      true,
      `${good}'; --`,
    ]) {
      expect([last_sync, sorted(await sync(own, { last_sync }))]).toEqual([last_sync, byStatus(own, STATUSES)]);
    }
  });

  it('E49 answers tasks without an array and without a date, which older programs may have left', async () => {
    const workflow = await insertWorkflow(database(), { driver: 'client', tasks: 3, task_status: 'F' });
    await write('UPDATE task SET array_id = NULL WHERE id = ?', workflow.task_ids[0]!);
    await write('UPDATE task SET status_date = NULL WHERE id = ?', workflow.task_ids[1]!);
    expect(sorted(await sync(workflow))).toEqual({ F: workflow.task_ids });
  });

  it('E49 answers a workflow without tasks, and does not know one that is not there', async () => {
    const bare = await insertWorkflow(database(), { tasks: 0 });
    expect((await sync(bare)).json.tasks_by_status).toEqual({});
    expect((await sync({ workflow_id: 2_000_000_000 })).status).toBe(404);
    expect((await call(served, 'POST', '/api/v3/workflow/x/task_status_updates', {})).status).toBe(422);
  });

  describe('of many tasks', () => {
    /** 100,000 where rates are asked for; the pages are the same with fewer. */
    const COUNT = process.env.JOBMON_TEST_RATES ? 100_000 : 20_000;
    /** Pages of 5,000 rows, and a few statements around them: the same cost whatever else is stored. */
    const STATEMENTS_MAX = 5 + COUNT / 2_000;
    let large: InsertedWorkflow;
    beforeAll(async () => {
      large = await insertWorkflow(database(), {
        driver: 'client',
        tasks: COUNT,
        task_status: (position) => (position % 10 === 0 ? 'G' : 'D'),
        upstreams: (position) => (position === 0 ? [] : [Math.floor((position - 1) / 3)]),
      });
    }, 240_000);

    const measured = async (label: string, ask: () => Promise<Answered>): Promise<Answered> => {
      const { statements, rows_read } = { ...database().counts };
      const started = performance.now();
      const answered = await ask();
      const cost = { statements: database().counts.statements - statements, rows_read: database().counts.rows_read - rows_read };
      if (process.env.JOBMON_TEST_RATES) {
        console.log(`${database().dialect.name} ${label}: ${Math.round(performance.now() - started)} ms ${JSON.stringify(cost)}`);
      }
      expect(cost.statements).toBeLessThanOrEqual(STATEMENTS_MAX);
      return answered;
    };
    const counted = ({ json }: Answered): Record<string, number> =>
      Object.fromEntries(
        Object.entries(json.tasks_by_status as Record<string, number[]>).map(([s, ids]) => [s, new Set(ids).size]),
      );

    it('E49 answers all of them in pages, once each', async () => {
      expect(counted(await measured('E49 full', () => sync(large)))).toEqual({ G: COUNT / 10, D: COUNT - COUNT / 10 });
      const since = await measured('E49 all since', () => sync(large, { last_sync: '2000-01-01 00:00:00' }));
      expect(counted(since)).toEqual({ G: COUNT / 10, D: COUNT - COUNT / 10 });
    }, 60_000);

    it('E49 answers all of one second in pages, once each', async () => {
      const date = await now();
      await write('UPDATE task SET status_date = ? WHERE workflow_id = ?', date, large.workflow_id);
      const answered = await measured('E49 one second', () => sync(large, { last_sync: date }));
      expect(counted(answered)).toEqual({ G: COUNT / 10, D: COUNT - COUNT / 10 });
    }, 120_000);

    it('E51 passes by those that are done, a full page at a time', async () => {
      const seen: number[] = [];
      for (let page = 0, max = 0; page < 2; page++) {
        const { json } = await measured('E51 page', () =>
          get(`/workflow/get_tasks/${large.workflow_id}?max_task_id=${max}&chunk_size=500`),
        );
        const ids = Object.keys(json.tasks).map(Number);
        expect(ids).toHaveLength(500);
        seen.push(...ids);
        max = ids.at(-1)!;
      }
      expect(seen).toEqual(large.task_ids.filter((_, position) => position % 10 === 0).slice(0, 1_000));
      const rest = await measured('E51 behind all', () =>
        get(`/workflow/get_tasks/${large.workflow_id}?max_task_id=${large.task_ids[COUNT - 10]}&chunk_size=500`),
      );
      expect(rest.json).toEqual({ tasks: {} });
    }, 60_000);

    it('E55 reads the whole graph in pages', async () => {
      const { json } = await measured('E55', () => get(`/workflow/${large.workflow_id}/task_template_dag`));
      expect(json.tt_dag).toEqual([{ name: json.tt_dag[0].name, downstream_task_template_id: json.tt_dag[0].name }]);
    }, 60_000);
  });

  it('E50 answers graph and limit, and nothing for a workflow that is not there', async () => {
    const { status, json } = await get(`/workflow/${own.workflow_id}/fetch_workflow_metadata`);
    expect([status, json]).toEqual([200, { workflow: [own.workflow_id, own.dag_id, 70] }]);
    expect((await get('/workflow/2000000000/fetch_workflow_metadata')).json).toEqual({ workflow: [] });
  });

  const page = (workflow: { workflow_id: number }, max_task_id: number | string, chunk_size: number | string) =>
    get(`/workflow/get_tasks/${workflow.workflow_id}?max_task_id=${max_task_id}&chunk_size=${chunk_size}`);

  it('E51 answers tasks by position, without those that are done', async () => {
    const { status, json } = await page(own, 0, 500);
    const expected = own.task_ids.flatMap((id, at) =>
      STATUSES[at] === 'D' ? [] : [[id, [own.array_id, STATUSES[at], 3, '{}', '[]', `{'cores': 1}`, 'sequential', 'null.q', 7]]],
    );
    expect([status, json]).toEqual([200, { tasks: Object.fromEntries(expected) }]);
  });

  it('E51 pages by id, and answers repeats for a cursor in between', async () => {
    const left = own.task_ids.filter((_, at) => STATUSES[at] !== 'D');
    const idsOf = async (max: number, size: number): Promise<number[]> =>
      Object.keys((await page(own, max, size)).json.tasks).map(Number);
    expect(await idsOf(0, 3)).toEqual(left.slice(0, 3));
    expect(await idsOf(left[2]!, 3)).toEqual(left.slice(3, 6));
    expect(await idsOf(left[5]!, 3)).toEqual(left.slice(6));
    expect(await idsOf(left[1]!, 500)).toEqual(left.slice(2));
    expect((await page(own, left.at(-1)!, 500)).json).toEqual({ tasks: {} });
  });

  it('E51 pages over many arrays and passes by none of their tasks', async () => {
    const workflow = await insertWorkflow(database(), {
      driver: 'client',
      tasks: 12,
      task_status: (p) => (p % 5 === 0 ? 'D' : 'F'),
    });
    const other = await insertWorkflow(database(), { driver: 'client', tasks: 0 });
    const array_id = await write(
      `INSERT INTO \`array\` (name, task_template_version_id, workflow_id, max_concurrently_running) VALUES ('b', ?, ?, 9)`,
      other.task_template_version_id,
      workflow.workflow_id,
    );
    for (const id of workflow.task_ids.filter((_, at) => at % 2))
      await write('UPDATE task SET array_id = ? WHERE id = ?', array_id, id);
    const left = workflow.task_ids.filter((_, at) => at % 5 !== 0);
    for (const size of [1, 2, 5, 100]) {
      const seen: number[] = [];
      for (let max = 0; ;) {
        const ids = Object.keys((await page(workflow, max, size)).json.tasks).map(Number);
        seen.push(...ids);
        if (ids.length < size) break;
        max = ids.at(-1)!;
      }
      expect([size, seen]).toEqual([size, left]);
    }
  });

  it.each([
    ['{"memory":0.5,"runtime":[1,2]}', '["long.q"]', '{"memory": 1, "ok": true, "no": false, "none": null}'],
    [`{'memory': 0.5, 'runtime': 'grow'}`, `["it's", 'x']`, `{"text": "it's \\"quoted\\"\\n\\u0007 \\ud83d\\udc0d"}`],
    [null, null, '{}'],
    ['{"a": {"b": [true, null]}}', '[]', '{"nested": [{"deep": [null]}]}'],
  ])('E51 sends %j, %j, %j as Python literals', async (scales, queues, requested) => {
    const workflow = await insertWorkflow(database(), { driver: 'client' });
    await write(
      'UPDATE task SET resource_scales = ?, fallback_queues = ? WHERE workflow_id = ?',
      scales,
      queues,
      workflow.workflow_id,
    );
    await write('UPDATE task_resources SET requested_resources = ? WHERE id = ?', requested, workflow.task_resources_id);
    const sent = (await page(workflow, 0, 500)).json.tasks[workflow.task_ids[0]!].slice(3, 6) as string[];
    expect(sent.map(valueOf)).toEqual([valueOf(scales ?? '{}'), valueOf(queues ?? '[]'), valueOf(requested)]);
    expect(sent.join(' ')).not.toMatch(/\b(true|false|null)\b/);
  });

  it('E51 sends what is no literal as it is stored', async () => {
    const workflow = await insertWorkflow(database(), { driver: 'client' });
    await write(`UPDATE task SET resource_scales = 'rm -rf' WHERE workflow_id = ?`, workflow.workflow_id);
    expect((await page(workflow, 0, 500)).json.tasks[workflow.task_ids[0]!][3]).toBe('rm -rf');
  });

  it('E51 wants both numbers, and does not know a workflow that is not there', async () => {
    const path = `/workflow/get_tasks/${own.workflow_id}`;
    const missing = await get(path);
    expect([missing.status, missing.json.detail.map(({ loc }: { loc: string[] }) => loc)]).toEqual([
      422,
      [
        ['query', 'max_task_id'],
        ['query', 'chunk_size'],
      ],
    ]);
    for (const [max, size] of [
      ['x', 500],
      [0, 'x'],
      [0, 0],
      [0, -1],
      [1.5, 500],
      [0, 100_001],
      ['99999999999', 500],
    ] as const) {
      expect([max, size, (await page(own, max, size)).status]).toEqual([max, size, 422]);
    }
    expect((await page({ workflow_id: 2_000_000_000 }, 0, 500)).status).toBe(404);
  });

  it('E52 answers the nine labels', async () => {
    const { status, json } = await get('/workflow_status/available_status');
    expect([status, json]).toEqual([
      200,
      {
        available_statuses: [
          'ABORTED',
          'DONE',
          'FAILED',
          'REGISTERING',
          'HALTED',
          'INSTANTIATING',
          'LAUNCHED',
          'QUEUED',
          'RUNNING',
        ],
      },
    ]);
  });

  it('E55 answers each edge between templates once, a leaf with null, and a workflow that is not there with nothing', async () => {
    const { workflow_id, dag_id, node_ids, tool_version_id, task_template_version_id } = own;
    const name = `a second template ${database().dialect.name}`;
    const template_id = await write('INSERT INTO task_template (tool_version_id, name) VALUES (?, ?)', tool_version_id, name);
    const version = await write(
      `INSERT INTO task_template_version (task_template_id, command_template, arg_mapping_hash) VALUES (?, 'x', '1')`,
      template_id,
    );
    for (const node_id of node_ids.slice(4)) {
      await write('UPDATE node SET task_template_version_id = ? WHERE id = ?', version, node_id);
    }
    // The last stage waits inside its own template; elder rows hold their lists as text of a text.
    const rows = await database().read<{ node_id: number; down: string }>(
      'SELECT node_id, downstream_node_ids AS down FROM edge WHERE dag_id = ?',
      [dag_id],
    );
    const [first] = await database().read<{ name: string }>(
      'SELECT tt.name AS name FROM task_template tt JOIN task_template_version v ON v.task_template_id = tt.id WHERE v.id = ?',
      [task_template_version_id],
    );
    const expected = {
      tt_dag: [
        { name: first!.name, downstream_task_template_id: name },
        { name, downstream_task_template_id: name },
      ],
    };
    const answered = await get(`/workflow/${workflow_id}/task_template_dag`);
    expect([answered.status, answered.json]).toEqual([200, expected]);
    for (const { node_id, down } of rows) {
      const text = typeof down === 'string' ? down : JSON.stringify(down);
      await write(
        'UPDATE edge SET downstream_node_ids = ? WHERE dag_id = ? AND node_id = ?',
        JSON.stringify(text),
        dag_id,
        node_id,
      );
    }
    expect((await get(`/workflow/${workflow_id}/task_template_dag`)).json).toEqual(expected);
    for (const [at, form] of [null, 'null', '[]'].entries()) {
      await write('UPDATE edge SET downstream_node_ids = ? WHERE dag_id = ? AND node_id = ?', form, dag_id, node_ids[4 + at]!);
    }
    expect((await get(`/workflow/${workflow_id}/task_template_dag`)).json).toEqual({
      tt_dag: [expected.tt_dag[0], { name, downstream_task_template_id: null }],
    });
    expect((await get('/workflow/2000000000/task_template_dag')).json).toEqual({ tt_dag: [] });
  });

  const increase = ({ workflow_id }: { workflow_id: number }, body: unknown = {}) =>
    call(served, 'POST', `/api/v3/workflow/${workflow_id}/increase_resources`, body);
  interface Asked {
    task_resources_id: number;
    queue_id: number;
    type: string;
    requested: string;
    status: string;
    status_date: string;
  }
  const asked = (workflow: InsertedWorkflow): Promise<Asked[]> =>
    database().read<Asked>(
      `SELECT t.task_resources_id AS task_resources_id, r.queue_id AS queue_id, r.task_resources_type_id AS type,
              r.requested_resources AS requested, t.status AS status, t.status_date AS status_date
         FROM task t JOIN task_resources r ON r.id = t.task_resources_id WHERE t.workflow_id = ? ORDER BY t.id`,
      [workflow.workflow_id],
    );
  /** A workflow whose run is over, its tasks F after an attempt that ended Z, each with resources of 1 GiB and 10 s. */
  const failed = async (tasks: number, wanted: WorkflowToInsert = {}): Promise<InsertedWorkflow> => {
    const workflow = await insertWorkflow(database(), {
      driver: 'client',
      run_status: 'E',
      workflow_status: 'F',
      task_status: 'F',
      instance_status: 'Z',
      tasks,
      ...wanted,
    });
    await write(
      `UPDATE task SET resource_scales = '{"memory": 0.5, "runtime": 0.5}', status_date = '2020-01-01 00:00:00' WHERE workflow_id = ?`,
      workflow.workflow_id,
    );
    await write(
      `UPDATE task_resources SET requested_resources = '{"cores": 1, "memory": 1, "runtime": 10}' WHERE id = ?`,
      workflow.task_resources_id,
    );
    return workflow;
  };

  it('E53 gives tasks that share resources one larger row, however often it is asked (race 49)', async () => {
    const workflow = await failed(3);
    const before = await asked(workflow);
    const first = await increase(workflow);
    expect([first.status, first.json]).toEqual([200, { updated_task_count: 3, updated_task_ids: workflow.task_ids }]);
    const after = await asked(workflow);
    expect(after.map(({ requested }) => JSON.parse(requested))).toEqual(Array(3).fill({ cores: 1, memory: 2, runtime: 15 }));
    expect(new Set(after.map(({ task_resources_id }) => task_resources_id)).size).toBe(1);
    expect(after[0]).toMatchObject({ type: 'A', queue_id: workflow.queue_id, status: 'F', status_date: before[0]!.status_date });
    const answers = await Promise.all(Array.from({ length: 4 }, () => increase(workflow)));
    expect(answers.map(({ text }) => text)).toEqual(Array(4).fill(first.text));
    expect(await asked(workflow)).toEqual(after);
    const [row] = await database().read(
      'SELECT task_resources_type_id AS type, requested_resources AS requested FROM task_resources WHERE id = ?',
      [workflow.task_resources_id],
    );
    expect(row).toEqual({ type: 'O', requested: '{"cores": 1, "memory": 1, "runtime": 10}' });
  });

  it('E53 scales what the last attempt failed with, so each failure asks for more', async () => {
    const workflow = await failed(1);
    await increase(workflow);
    const [{ task_resources_id } = { task_resources_id: 0 }] = await asked(workflow);
    await write(
      `INSERT INTO task_instance (workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, status)
       VALUES (?, ?, ?, ?, 2, 0, 'Z')`,
      workflow.workflow_run_id,
      workflow.array_id,
      workflow.task_ids[0]!,
      task_resources_id,
    );
    await increase(workflow);
    expect((await asked(workflow)).map(({ requested }) => JSON.parse(requested))).toEqual([{ cores: 1, memory: 3, runtime: 23 }]);
  });

  it('E53 takes only tasks in E or F whose latest attempt is Z, and whose rule makes something larger', async () => {
    const statuses = ['F', 'E', 'G', 'A', 'D', 'F', 'F', 'F', 'F', 'F'] as const;
    const workflow = await failed(statuses.length, { task_status: (position) => statuses[position]! });
    const rule = (position: number, scales: string | null, attempts = 1) =>
      write('UPDATE task SET resource_scales = ?, num_attempts = ? WHERE id = ?', scales, attempts, workflow.task_ids[position]!);
    await write(
      `INSERT INTO task_instance (workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, status)
       VALUES (?, ?, ?, ?, 2, 0, 'E')`,
      workflow.workflow_run_id,
      workflow.array_id,
      workflow.task_ids[5]!,
      workflow.task_resources_id,
    );
    await rule(6, `{'memory': [4, 8], 'runtime': 'grow'}`, 2);
    await rule(7, `{'memory': [4, 8]}`, 5);
    await rule(8, '{"runtime": "grow", "gpus": 1, "cores": 0}');
    await rule(9, 'not a rule');
    const { json } = await increase(workflow);
    const grown = [0, 1, 6, 7];
    expect(json).toEqual({ updated_task_count: 4, updated_task_ids: grown.map((at) => workflow.task_ids[at]) });
    const after = await asked(workflow);
    const memories = after.map(({ requested }) => (JSON.parse(requested) as { memory: number }).memory);
    expect(memories).toEqual([2, 2, 1, 1, 1, 1, 8, 8, 1, 1]);
    expect(after.map(({ status }) => status)).toEqual(statuses);
    expect(
      after.filter((_, at) => !grown.includes(at)).every((row) => row.task_resources_id === workflow.task_resources_id),
    ).toBe(true);
  });

  it('E53 changes nothing on a run that the server drives, and does not know a workflow that is not there', async () => {
    const workflow = await failed(2, { driver: 'server', run_status: 'R' });
    const before = await asked(workflow);
    const answered = await increase(workflow);
    expect([answered.status, answered.json]).toEqual([200, { updated_task_count: 0, updated_task_ids: [] }]);
    expect(await asked(workflow)).toEqual(before);
    expect((await increase({ workflow_id: 2_000_000_000 })).status).toBe(404);
    expect((await increase(await failed(0))).json).toEqual({ updated_task_count: 0, updated_task_ids: [] });
  });

  it('E53 increases 6,000 tasks in pages and pieces', async () => {
    const workflow = await failed(6_000);
    const { statements } = { ...database().counts };
    expect((await increase(workflow)).json.updated_task_ids).toEqual(workflow.task_ids);
    expect(database().counts.statements - statements).toBeLessThanOrEqual(60);
    expect(new Set((await asked(workflow)).map(({ requested }) => requested)).size).toBe(1);
  }, 60_000);
});
