/** Task templates as command line and screens read them: the whole JSON, over HTTP. Statistics and errors have specs of their own. */
import type { TaskStatus } from '@jobmon/contracts';
import type { SqlValue } from '@jobmon/entities';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { call, serve, type Json, type Served } from '../../test/serve';
import { versionsIn } from './task-template-view';

const UNKNOWN = 2_000_000_000;

describeOnDatabases('task templates as people read them', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database());
  });
  afterAll(() => served.close());

  const run = (sql: string, params: SqlValue[] = []): Promise<number> => database().change(sql, ...params);
  async function get(path: string): Promise<Json> {
    const answered = await call(served, 'GET', `/api/v3${path}`);
    expect([answered.status, answered.json]).toEqual([200, answered.json]);
    return answered.json;
  }
  const status = async (path: string): Promise<number> => (await call(served, 'GET', `/api/v3${path}`)).status;

  /** A workflow with a template for each entry. */
  async function withTemplates(...wanted: WorkflowToInsert[]): Promise<InsertedWorkflow[]> {
    const parts: InsertedWorkflow[] = [];
    for (const part of wanted) parts.push(await insertWorkflow(database(), part));
    const { workflow_id, workflow_run_id } = parts[0]!;
    for (const { array_id } of parts.slice(1)) {
      await run('UPDATE array SET workflow_id = ? WHERE id = ?', [workflow_id, array_id]);
      await run('UPDATE task SET workflow_id = ? WHERE array_id = ?', [workflow_id, array_id]);
      await run('UPDATE task_instance SET workflow_run_id = ? WHERE array_id = ?', [workflow_run_id, array_id]);
    }
    return parts;
  }
  async function nameOf({ task_template_id }: InsertedWorkflow): Promise<string> {
    const [row] = await database().read<{ name: string }>('SELECT name FROM task_template WHERE id = ?', [task_template_id]);
    return row!.name;
  }
  /** Resources of the first cluster's queue, or of another. */
  const addResources = (text: string, queue_id: number): Promise<number> =>
    run(`INSERT INTO task_resources (queue_id, task_resources_type_id, requested_resources) VALUES (?, 'O', ?)`, [
      queue_id,
      text,
    ]);

  it('C11 answers the version that the workflow uses, the newest when it uses two', async () => {
    const [one] = await withTemplates({ tasks: 2 });
    const path = (workflow_id: number, task_template_id: number): string =>
      `/get_task_template_details?workflow_id=${workflow_id}&task_template_id=${task_template_id}`;
    const details = {
      task_template_id: one!.task_template_id,
      task_template_name: await nameOf(one!),
      task_template_version_id: one!.task_template_version_id,
    };
    expect(await get(path(one!.workflow_id, one!.task_template_id))).toEqual(details);
    const newer = await run(
      `INSERT INTO task_template_version (task_template_id, command_template, arg_mapping_hash) VALUES (?, 'newer', '1')`,
      [one!.task_template_id],
    );
    const array_id = await run(
      `INSERT INTO array (name, task_template_version_id, workflow_id, max_concurrently_running) VALUES ('newer', ?, ?, 1)`,
      [newer, one!.workflow_id],
    );
    expect(await get(path(one!.workflow_id, one!.task_template_id))).toEqual(details);
    await run('UPDATE task SET array_id = ? WHERE id = ?', [array_id, one!.task_ids[1]!]);
    expect(await get(path(one!.workflow_id, one!.task_template_id))).toEqual({ ...details, task_template_version_id: newer });
    expect(await status(path(one!.workflow_id, UNKNOWN))).toBe(404);
    expect(await status(path(UNKNOWN, one!.task_template_id))).toBe(404);
    expect(await status(path(0, one!.task_template_id))).toBe(422);
    expect(await status('/get_task_template_details?workflow_id=1')).toBe(422);
  });

  it('C12 answers the version of a task, those of a workflow, or none', async () => {
    const [one, two] = await withTemplates({ tasks: 1 }, { tasks: 1 });
    const first = { id: one!.task_template_version_id, name: await nameOf(one!) };
    const second = { id: two!.task_template_version_id, name: await nameOf(two!) };
    const ask = (query: string): Promise<Json> => get(`/get_task_template_version${query}`);
    expect(await ask(`?workflow_id=${one!.workflow_id}`)).toEqual({ task_template_version_ids: [first, second] });
    expect(await ask(`?task_id=${two!.task_ids[0]}&workflow_id=${one!.workflow_id}`)).toEqual({
      task_template_version_ids: [second],
    });
    for (const query of ['', `?task_id=${UNKNOWN}`, `?workflow_id=${UNKNOWN}`])
      expect(await ask(query)).toEqual({ task_template_version_ids: [] });
  });

  it.each([
    [['(12,13)'], [12, 13]],
    [['(12, )'], [12]],
    [['[13, 12]'], [12, 13]],
    [['12,13'], [12, 13]],
    [
      ['12', '(13,)', '12'],
      [12, 13],
    ],
    [['()'], []],
  ])('C13 C14 read %j as versions', (texts, versions) => {
    expect(versionsIn(texts)).toEqual(versions);
  });

  it.each([['(12'], ['12)'], ['(a,b)'], [''], ['12,'], ['(12,,13)'], ['0'], ['(12;13)'], ['99999999999'], ['((12))'], ['[12)']])(
    'C13 C14 refuse %j',
    async (text) => {
      const query = `?task_template_version_ids=${encodeURIComponent(text)}`;
      expect(await status(`/get_requested_cores${query}`)).toBe(400);
      expect(await status(`/get_most_popular_queue${query}`)).toBe(400);
    },
  );

  it('C13 C14 refuse to answer about nothing', async () => {
    expect(await status('/get_requested_cores')).toBe(400);
    expect(await status('/get_most_popular_queue')).toBe(400);
  });

  it('C13 reads cores, then num_cores, then takes 1; the mean is over tasks', async () => {
    const [one, two] = await withTemplates({ tasks: 4 }, { tasks: 1 });
    const texts = ['{"cores": 4, "num_cores": 9}', '{"num_cores": 2}', `{'cores': 4}`, 'null'];
    for (const [position, text] of texts.entries()) {
      const id = await addResources(text, one!.queue_id);
      await run('UPDATE task SET task_resources_id = ? WHERE id = ?', [id, one!.task_ids[position]!]);
    }
    const never = await insertWorkflow(database(), { tasks: 0 });
    const ids = [two!, one!, never].map((part) => part.task_template_version_id);
    expect(await get(`/get_requested_cores?task_template_version_ids=(${ids.join(',')})`)).toEqual({
      core_info: [
        { id: one!.task_template_version_id, min: 1, max: 4, avg: 3 },
        { id: two!.task_template_version_id, min: 1, max: 1, avg: 1 },
      ],
    });
    expect(await get(`/get_requested_cores?task_template_version_ids=${UNKNOWN}`)).toEqual({ core_info: [] });
  });

  it('C14 answers the queue of most instances, the first met of two, and leaves out what never ran', async () => {
    const [one, two, three] = await withTemplates(
      { tasks: 3, instance_status: 'D' },
      { tasks: 2, instance_status: 'D' },
      { tasks: 2 },
    );
    const long = await run(`INSERT INTO queue (name, cluster_id, parameters) VALUES (?, 2, '{}')`, [`long_${one!.workflow_id}`]);
    const resources = await addResources('{}', long);
    const move = (id: number): Promise<number> =>
      run('UPDATE task_instance SET task_resources_id = ? WHERE id = ?', [resources, id]);
    await move(one!.task_instance_ids[1]!);
    await move(one!.task_instance_ids[2]!);
    await move(two!.task_instance_ids[1]!);
    const ids = [one!, two!, three!].map((part) => `task_template_version_ids=${part.task_template_version_id}`);
    expect(await get(`/get_most_popular_queue?${ids.join('&')}`)).toEqual({
      queue_info: [
        { id: one!.task_template_version_id, queue: `long_${one!.workflow_id}`, queue_id: long },
        { id: two!.task_template_version_id, queue: 'null.q', queue_id: two!.queue_id },
      ],
    });
  });

  it('C16 answers a bar for each template, whose labels add up to its tasks', async () => {
    const letters: TaskStatus[] = ['G', 'Q', 'I', 'O', 'R', 'D', 'F', 'E', 'A'];
    const [one, two] = await withTemplates(
      { tasks: 9, task_status: (at) => letters[at]!, array_max_concurrently_running: 5 },
      { tasks: 2, task_status: 'D' },
    );
    for (const [position, attempts] of [1, 3].entries())
      await run('UPDATE task SET num_attempts = ? WHERE id = ?', [attempts, two!.task_ids[position]!]);
    const json = await get(`/workflow_tt_status_viz/${one!.workflow_id}`);
    expect(json).toEqual({
      [one!.task_template_id]: {
        id: one!.task_template_id,
        name: await nameOf(one!),
        tasks: 9,
        PENDING: 5,
        SCHEDULED: 1,
        RUNNING: 1,
        DONE: 1,
        FATAL: 1,
        MAXC: 5,
        num_attempts_min: 0,
        num_attempts_max: 0,
        num_attempts_avg: 0,
        task_template_version_id: one!.task_template_version_id,
      },
      [two!.task_template_id]: {
        id: two!.task_template_id,
        name: await nameOf(two!),
        tasks: 2,
        PENDING: 0,
        SCHEDULED: 0,
        RUNNING: 0,
        DONE: 2,
        FATAL: 0,
        MAXC: 2_147_483_647,
        num_attempts_min: 1,
        num_attempts_max: 3,
        num_attempts_avg: 2,
        task_template_version_id: two!.task_template_version_id,
      },
    });
  });

  it('C11 C12 C16 know the templates of a workflow without arrays by its nodes', async () => {
    const [old] = await withTemplates({ tasks: 2, task_status: 'R' });
    const { workflow_id, task_template_id, task_template_version_id } = old!;
    await run('UPDATE task SET array_id = NULL WHERE workflow_id = ?', [workflow_id]);
    await run('DELETE FROM array WHERE workflow_id = ?', [workflow_id]);
    const name = await nameOf(old!);
    expect(await get(`/workflow_tt_status_viz/${workflow_id}`)).toMatchObject({
      [task_template_id]: { name, tasks: 2, RUNNING: 2, MAXC: 'NA', task_template_version_id },
    });
    expect(await get(`/get_task_template_version?workflow_id=${workflow_id}`)).toEqual({
      task_template_version_ids: [{ id: task_template_version_id, name }],
    });
    expect(await get(`/get_task_template_details?workflow_id=${workflow_id}&task_template_id=${task_template_id}`)).toEqual({
      task_template_id,
      task_template_name: name,
      task_template_version_id,
    });
  });

  it('C11 C12 C16 know the tasks without an array beside those that have one', async () => {
    const [mixed] = await withTemplates({ tasks: 3, task_status: (position) => ['D', 'R', 'F'][position] as 'D' });
    const { workflow_id, task_template_id, task_template_version_id, task_ids } = mixed!;
    await run('UPDATE task SET array_id = NULL WHERE id = ?', [task_ids[1]!]);
    const name = await nameOf(mixed!);
    expect(await get(`/workflow_tt_status_viz/${workflow_id}`)).toMatchObject({
      [task_template_id]: { name, tasks: 3, RUNNING: 1, DONE: 1, FATAL: 1, task_template_version_id },
    });
    expect(await get(`/get_task_template_version?workflow_id=${workflow_id}`)).toEqual({
      task_template_version_ids: [{ id: task_template_version_id, name }],
    });
  });

  it('C16 answers nothing for a workflow without tasks, and does not know an unknown one', async () => {
    const empty = await insertWorkflow(database(), { tasks: 0 });
    expect(await get(`/workflow_tt_status_viz/${empty.workflow_id}`)).toEqual({});
    expect(await status(`/workflow_tt_status_viz/${UNKNOWN}`)).toBe(404);
    expect(await status('/workflow_tt_status_viz/one')).toBe(422);
  });
});
