/** C20, C24, C25, C27 and C28 over HTTP, on small workflows and on one of 100,000 tasks. */
import { describeOnDatabases, insertWorkflow, runSql, type InsertedWorkflow } from '@jobmon/testkit';
import { call, serve, type Json, type Served } from '../../test/serve';

/** The statuses of the nine tasks by position, and what they are called. */
const LETTERS = ['G', 'Q', 'I', 'O', 'R', 'D', 'F', 'E', 'A'] as const;
const LABELS = ['PENDING', 'PENDING', 'PENDING', 'SCHEDULED', 'RUNNING', 'DONE', 'FATAL', 'PENDING', 'PENDING'];
const UNKNOWN = 2_000_000_000;

describeOnDatabases('workflows as command line and screens read them', (database) => {
  let served: Served;
  let nine: InsertedWorkflow;
  const get = (path: string) => call(served, 'GET', `/api/v3${path}`, undefined, {});
  const sql = (...statements: string[]) => runSql(database().url, statements);
  /** The table in a frame string, row by row. */
  const rowsOf = (text: string): Json[] => {
    const frame = JSON.parse(text) as Record<string, Record<string, unknown>>;
    const [first = {}] = Object.values(frame);
    return Object.keys(first).map((at) => Object.fromEntries(Object.entries(frame).map(([name, values]) => [name, values[at]])));
  };

  beforeAll(async () => {
    served = await serve(database());
    nine = await insertWorkflow(database(), {
      tasks: 9,
      task_status: (position) => LETTERS[position] as 'G',
      workflow_status: 'F',
      user: 'nina',
      name: 'nine',
      max_concurrently_running: 50,
      command: (position) => `run ${position}`,
    });
    await sql(
      `UPDATE task SET num_attempts = 3 WHERE id = ${nine.task_ids[6]}`,
      `UPDATE task SET num_attempts = 1 WHERE id = ${nine.task_ids[5]}`,
      `UPDATE task SET status_date = '2025-01-31 12:35:10' WHERE workflow_id = ${nine.workflow_id}`,
      `UPDATE workflow SET created_date = '2025-01-31 12:00:00', status_date = '2025-01-31 12:40:00' WHERE id = ${nine.workflow_id}`,
    );
  });
  afterAll(() => served.close());

  describe('C20', () => {
    it('C20 answers tasks under five labels, the newest first, as a frame string', async () => {
      const answered = await get(`/workflow/${nine.workflow_id}/workflow_tasks?limit=2&client_jobmon_version=3.3.0`);
      expect(answered.status).toBe(200);
      const [first, second] = [nine.task_ids[8], nine.task_ids[7]];
      const names = await database().read<{ name: string }>('SELECT name FROM task WHERE id IN (?, ?) ORDER BY id DESC', [
        first as number,
        second as number,
      ]);
      const [newest, older] = names.map(({ name }) => name);
      expect(answered.json).toEqual({
        workflow_tasks:
          `{"TASK_ID":{"0":${first},"1":${second}},"TASK_NAME":{"0":"${newest}","1":"${older}"},` +
          '"STATUS":{"0":"PENDING","1":"PENDING"},"RETRIES":{"0":0,"1":0}}',
      });
    });

    it('C20 gives all tasks for a limit of 0, each under its label, with its attempts beyond the first', async () => {
      const { json } = await get(`/workflow/${nine.workflow_id}/workflow_tasks?limit=0`);
      const rows = rowsOf(json.workflow_tasks).reverse();
      expect(rows.map((row) => row.TASK_ID)).toEqual(nine.task_ids);
      expect(rows.map((row) => row.STATUS)).toEqual(LABELS);
      expect(rows.map((row) => row.RETRIES)).toEqual([0, 0, 0, 0, 0, 0, 2, 0, 0]);
    });

    it('C20 filters by one label or several, in any case, before the limit', async () => {
      const labels = async (query: string) => {
        const { json } = await get(`/workflow/${nine.workflow_id}/workflow_tasks?${query}`);
        return rowsOf(json.workflow_tasks).map((row) => row.STATUS);
      };
      expect(await labels('limit=0&status=PENDING')).toEqual(Array(5).fill('PENDING'));
      expect(await labels('limit=5&status=done&status=FATAL')).toEqual(['FATAL', 'DONE']);
      expect(await labels('limit=1&status=SCHEDULED')).toEqual(['SCHEDULED']);
    });

    it('C20 gives every column without a row when nothing matches', async () => {
      await sql(`UPDATE task SET status = 'D' WHERE id = ${nine.task_ids[4]}`);
      expect((await get(`/workflow/${nine.workflow_id}/workflow_tasks?limit=5&status=RUNNING`)).json).toEqual({
        workflow_tasks: '{"TASK_ID":{},"TASK_NAME":{},"STATUS":{},"RETRIES":{}}',
      });
      await sql(`UPDATE task SET status = 'R' WHERE id = ${nine.task_ids[4]}`);
    });

    it('C20 refuses an unknown label with 400, a missing or broken limit with 422, an unknown workflow with 404', async () => {
      const of = async (path: string) => (await get(path)).status;
      expect(await of(`/workflow/${nine.workflow_id}/workflow_tasks?limit=5&status=LOST`)).toBe(400);
      expect(await of(`/workflow/${nine.workflow_id}/workflow_tasks`)).toBe(422);
      expect(await of(`/workflow/${nine.workflow_id}/workflow_tasks?limit=-1`)).toBe(422);
      expect(await of(`/workflow/x/workflow_tasks?limit=5`)).toBe(422);
      expect(await of(`/workflow/${UNKNOWN}/workflow_tasks?limit=5`)).toBe(404);
    });
  });

  describe('C24', () => {
    it('C24 tells how far a workflow is, letter by letter as Python prints it', async () => {
      const answered = await get(`/workflow_status?workflow_id=${nine.workflow_id}&user=somebody&limit=5`);
      expect(answered.status).toBe(200);
      expect(answered.json).toEqual({
        workflows:
          `{"WF_ID":{"0":${nine.workflow_id}},"WF_NAME":{"0":"nine"},"WF_STATUS":{"0":"FAILED"},` +
          `"CREATED_DATE":{"0":${Date.UTC(2025, 0, 31, 12)}},"TASKS":{"0":9},"PENDING":{"0":"5 (55.6%)"},` +
          '"SCHEDULED":{"0":"1 (11.1%)"},"RUNNING":{"0":"1 (11.1%)"},"DONE":{"0":"1 (11.1%)"},"FATAL":{"0":"1 (11.1%)"},' +
          '"RETRIES":{"0":2}}',
      });
    });

    it('C24 gives every workflow that is named whatever the limit, the newest first, without name, date or tasks too', async () => {
      const bare = await insertWorkflow(database(), { workflow_status: 'G' });
      await sql(
        `DELETE FROM task WHERE workflow_id = ${bare.workflow_id}`,
        `UPDATE workflow SET name = NULL, created_date = NULL WHERE id = ${bare.workflow_id}`,
      );
      const path = `/workflow_status?workflow_id=${nine.workflow_id}&workflow_id=${bare.workflow_id}&workflow_id=${UNKNOWN}&limit=1`;
      const rows = rowsOf((await get(path)).json.workflows);
      expect(rows.map((row) => row.WF_ID)).toEqual([bare.workflow_id, nine.workflow_id]);
      const none = '0 (0.0%)';
      expect(rows[0]).toEqual({
        WF_ID: bare.workflow_id,
        WF_NAME: '',
        WF_STATUS: 'REGISTERING',
        CREATED_DATE: null,
        TASKS: 0,
        PENDING: none,
        SCHEDULED: none,
        RUNNING: none,
        DONE: none,
        FATAL: none,
        RETRIES: 0,
      });
    });

    it('C24 finds the newest workflows of users, as many as the limit says and five without one', async () => {
      const made: number[] = [];
      for (let n = 0; n < 6; n += 1) {
        const user = n % 2 === 0 ? 'uma' : 'udo';
        made.push((await insertWorkflow(database(), { user })).workflow_id);
      }
      const newest = [...made].reverse();
      const ids = async (query: string) =>
        rowsOf((await get(`/workflow_status?${query}`)).json.workflows).map((row) => row.WF_ID);
      expect(await ids('user=uma&user=udo')).toEqual(newest.slice(0, 5));
      expect(await ids('user=uma&limit=2')).toEqual([made[4], made[2]]);
      expect(await ids('user=udo&limit=100')).toEqual([made[5], made[3], made[1]]);
    });

    it('C24 gives every column but SCHEDULED when there is no workflow', async () => {
      expect((await get('/workflow_status?user=nobody&limit=5')).json).toEqual({
        workflows:
          '{"WF_ID":{},"WF_NAME":{},"WF_STATUS":{},"CREATED_DATE":{},"TASKS":{},"PENDING":{},"RUNNING":{},"DONE":{},"FATAL":{},"RETRIES":{}}',
      });
    });

    it('C24 refuses a request without id and user with 400, an id that is none with 422', async () => {
      expect((await get('/workflow_status')).status).toBe(400);
      expect((await get('/workflow_status?limit=5')).status).toBe(400);
      expect((await get('/workflow_status?workflow_id=all')).status).toBe(422);
    });
  });

  describe('C25', () => {
    it('C25 answers the bars of all workflows asked for, keyed by id, zeros for an unknown one', async () => {
      const answered = await get(`/workflow_status_viz?workflow_ids=${nine.workflow_id}&workflow_ids=${UNKNOWN}`);
      expect(answered.status).toBe(200);
      expect(answered.json).toEqual({
        [nine.workflow_id]: {
          id: nine.workflow_id,
          tasks: 9,
          PENDING: 5,
          SCHEDULED: 1,
          RUNNING: 1,
          DONE: 1,
          FATAL: 1,
          MAXC: 50,
          num_attempts_avg: 4 / 9,
          num_attempts_min: 0,
          num_attempts_max: 3,
        },
        [UNKNOWN]: {
          id: UNKNOWN,
          tasks: 0,
          PENDING: 0,
          SCHEDULED: 0,
          RUNNING: 0,
          DONE: 0,
          FATAL: 0,
          MAXC: 0,
          num_attempts_avg: 0,
          num_attempts_min: 0,
          num_attempts_max: 0,
        },
      });
    });

    it('C25 C24 C20 tell what another program changed a moment ago', async () => {
      const made = await insertWorkflow(database(), { tasks: 2, task_status: 'G' });
      const look = async () => {
        const bar = (await get(`/workflow_status_viz?workflow_ids=${made.workflow_id}`)).json[made.workflow_id];
        const [status] = rowsOf((await get(`/workflow_status?workflow_id=${made.workflow_id}`)).json.workflows);
        const tasks = rowsOf((await get(`/workflow/${made.workflow_id}/workflow_tasks?limit=0`)).json.workflow_tasks);
        return [bar.DONE, status.DONE, tasks.map((row) => row.STATUS)];
      };
      expect(await look()).toEqual([0, '0 (0.0%)', ['PENDING', 'PENDING']]);
      await sql(`UPDATE task SET status = 'D' WHERE id = ${made.task_ids[0]}`);
      expect(await look()).toEqual([1, '1 (50.0%)', ['PENDING', 'DONE']]);
      await sql(`DELETE FROM task WHERE id = ${made.task_ids[1]}`);
      expect(await look()).toEqual([1, '1 (100.0%)', ['DONE']]);
    });

    it('C25 refuses a request without ids with 400 and an id that is none with 422', async () => {
      expect((await get('/workflow_status_viz')).status).toBe(400);
      expect((await get('/workflow_status_viz?workflow_ids=seven')).status).toBe(422);
    });
  });

  describe('C27', () => {
    const path = (query: string) => `/task_table_viz/${nine.workflow_id}?${query}`;
    const templateName = async () =>
      (await database().read<{ name: string }>('SELECT name FROM task_template WHERE id = ?', [nine.task_template_id]))[0]
        ?.name ?? '';

    it('C27 answers the tasks of a template by id, dates with a space', async () => {
      const answered = await get(path(`tt_name=${await templateName()}`));
      expect(answered.status).toBe(200);
      const names = await database().read<{ name: string }>('SELECT name FROM task WHERE workflow_id = ? ORDER BY id', [
        nine.workflow_id,
      ]);
      expect(answered.json).toEqual({
        tasks: nine.task_ids.map((task_id, at) => ({
          task_id,
          task_name: names[at]?.name,
          task_status: LABELS[at],
          task_command: `run ${at}`,
          task_num_attempts: [0, 0, 0, 0, 0, 1, 3, 0, 0][at],
          task_status_date: '2025-01-31 12:35:10',
          task_max_attempts: 3,
        })),
        next: null,
      });
    });

    it('C27 goes page by page by the cursor, and filters by label', async () => {
      const name = await templateName();
      const ids = async (query: string) => {
        const { json } = await get(path(`tt_name=${name}&${query}`));
        return [json.tasks.map((task: Json) => task.task_id), json.next];
      };
      const [a, b, c, d, e, f, g, h, i] = nine.task_ids;
      expect(await ids('limit=4')).toEqual([[a, b, c, d], d]);
      expect(await ids(`limit=4&cursor=${d}`)).toEqual([[e, f, g, h], h]);
      expect(await ids(`limit=4&cursor=${h}`)).toEqual([[i], null]);
      expect(await ids('limit=9')).toEqual([nine.task_ids, null]);
      expect(await ids('status=DONE&status=FATAL')).toEqual([[f, g], null]);
    });

    it('C27 sorts by a column either way, page by page, tasks without an array among the others', async () => {
      const { workflow_id, task_template_id, task_ids } = await insertWorkflow(database(), { tasks: 5 });
      const [a, b, c, d, e] = task_ids;
      for (const [at, attempts] of [2, 0, 1, 2, 0].entries()) {
        const date = at === 3 ? 'NULL' : `'2025-01-31 12:00:0${9 - at}'`;
        await sql(`UPDATE task SET num_attempts = ${attempts}, status_date = ${date} WHERE id = ${task_ids[at]}`);
      }
      await sql(`UPDATE task SET array_id = NULL WHERE id = ${c}`);
      const ids = async (query: string) => {
        const { json } = await get(`/task_table_viz/${workflow_id}?task_template_id=${task_template_id}&${query}`);
        return [json.tasks.map((task: Json) => task.task_id), json.next];
      };
      expect(await ids('sort=task_num_attempts')).toEqual([[b, e, c, a, d], null]);
      expect(await ids('sort=task_num_attempts&order=DESC&limit=2')).toEqual([[d, a], 2]);
      expect(await ids('sort=task_num_attempts&order=desc&limit=2&cursor=2')).toEqual([[c, e], 4]);
      expect(await ids('sort=task_num_attempts&order=desc&limit=2&cursor=4')).toEqual([[b], null]);
      expect(await ids('sort=task_status_date')).toEqual([[d, e, c, b, a], null]);
      expect(await ids('order=desc&limit=3')).toEqual([[e, d, c], c]);
      expect(await ids(`order=desc&limit=3&cursor=${c}`)).toEqual([[b, a], null]);
      expect((await get(`/task_table_viz/${workflow_id}?tt_name=x&sort=task_command`)).status).toBe(422);
      expect((await get(`/task_table_viz/${workflow_id}?tt_name=x&order=up`)).status).toBe(422);
    });

    it('C27 finds the template by id too, and nothing of a template that the workflow does not use', async () => {
      const other = await insertWorkflow(database());
      const count = async (query: string) => (await get(path(query))).json.tasks.length;
      expect(await count(`task_template_id=${nine.task_template_id}`)).toBe(9);
      expect(await count(`task_template_id=${other.task_template_id}`)).toBe(0);
      expect(await count(`task_template_id=${other.task_template_id}&tt_name=${await templateName()}`)).toBe(0);
      expect(await count('tt_name=nothing')).toBe(0);
    });

    it('C27 finds the tasks that older programs left without an array', async () => {
      const old = await insertWorkflow(database(), { tasks: 3 });
      await sql(`UPDATE task SET array_id = NULL WHERE id = ${old.task_ids[1]}`);
      const { json } = await get(`/task_table_viz/${old.workflow_id}?task_template_id=${old.task_template_id}`);
      expect(json.tasks.map((task: Json) => task.task_id)).toEqual(old.task_ids);
    });

    it('C27 refuses a request without template with 422, an unknown label with 400, an unknown workflow with 404', async () => {
      const answered = await get(path('limit=5'));
      expect(answered.status).toBe(422);
      expect(answered.json.detail[0]).toMatchObject({ type: 'missing', loc: ['query', 'tt_name'] });
      expect((await get(path('tt_name=x&status=LOST'))).status).toBe(400);
      expect((await get(path('tt_name=x&limit=0'))).status).toBe(422);
      expect((await get(`/task_table_viz/${UNKNOWN}?tt_name=x`)).status).toBe(404);
    });
  });

  describe('C28', () => {
    const path = (id: number) => `/workflow_details_viz/${id}`;

    it('C28 answers one element, the latest run of several', async () => {
      const { workflow_id } = nine;
      await sql(
        `UPDATE workflow_run SET heartbeat_date = '2025-01-31 12:00:31', status = 'E' WHERE workflow_id = ${workflow_id}`,
        'INSERT INTO workflow_run (workflow_id, `user`, jobmon_version, jobmon_server_version, status, created_date, status_date, heartbeat_date) ' +
          `VALUES (${workflow_id}, 'rita', '3.6.0', 'x', 'E', '2025-01-31 12:20:00', '2025-01-31 12:40:00', '2025-01-31 12:40:31')`,
        "INSERT INTO workflow_attribute_type (name) VALUES ('colour'), ('size')",
        `INSERT INTO workflow_attribute (workflow_id, workflow_attribute_type_id, value)
           SELECT ${workflow_id}, id, CASE name WHEN 'colour' THEN 'blue' END FROM workflow_attribute_type WHERE name IN ('colour', 'size')`,
      );
      const [row] = await database().read<Record<string, string | number>>(
        `SELECT (SELECT MAX(id) FROM workflow_run WHERE workflow_id = w.id) AS run, t.name AS tool, w.workflow_args AS args,
                s.description AS description
           FROM workflow w JOIN tool_version v ON v.id = w.tool_version_id JOIN tool t ON t.id = v.tool_id
           JOIN workflow_status s ON s.id = w.status WHERE w.id = ?`,
        [workflow_id],
      );
      const answered = await get(path(workflow_id));
      expect(answered.status).toBe(200);
      expect(answered.json).toEqual([
        {
          wf_name: 'nine',
          wf_args: row?.args,
          wf_created_date: '2025-01-31T12:00:00',
          wf_status_date: '2025-01-31T12:40:00',
          tool_name: row?.tool,
          wf_status: 'F',
          wf_status_desc: row?.description,
          wfr_jobmon_version: '3.6.0',
          wfr_heartbeat_date: '2025-01-31T12:40:31',
          wfr_user: 'rita',
          wfr_id: row?.run,
          wfr_status: 'E',
          wf_started_date: '2025-01-31T12:20:00',
          wfr_count: 2,
          wf_finished_date: '2025-01-31T12:40:00',
          attributes: { colour: 'blue', size: null },
          max_concurrently_running: 50,
          resumable: true,
        },
      ]);
    });

    it('C28 answers one element for a workflow that has no run yet', async () => {
      const bare = await insertWorkflow(database(), { workflow_status: 'G' });
      await sql(`DELETE FROM workflow_run WHERE workflow_id = ${bare.workflow_id}`);
      const { json } = await get(path(bare.workflow_id));
      expect(json).toHaveLength(1);
      expect(json[0]).toMatchObject({
        wf_status: 'G',
        wfr_user: null,
        wfr_id: null,
        wfr_heartbeat_date: null,
        wfr_count: 0,
        wf_finished_date: null,
        resumable: false,
        attributes: {},
      });
    });

    it('C28 tells what can be resumed: what was begun, is not done, and has no run that is alive', async () => {
      const resumable = async (status: 'G' | 'R' | 'F' | 'D', run: 'R' | 'T' | 'C'): Promise<boolean> => {
        const { workflow_id } = await insertWorkflow(database(), { workflow_status: status, run_status: run });
        await sql(`UPDATE workflow SET created_date = '2025-01-31 12:00:00' WHERE id = ${workflow_id}`);
        return (await get(path(workflow_id))).json[0].resumable;
      };
      expect([await resumable('F', 'T'), await resumable('G', 'T'), await resumable('R', 'T')]).toEqual([true, true, true]);
      expect([await resumable('D', 'T'), await resumable('R', 'R'), await resumable('F', 'C')]).toEqual([false, false, false]);
    });

    it('C28 answers 404 for an unknown workflow and 422 for an id that is none', async () => {
      expect((await get(path(UNKNOWN))).status).toBe(404);
      expect((await get('/workflow_details_viz/none')).status).toBe(422);
      expect((await get('/workflow_details_viz/99999999999')).status).toBe(422);
    });
  });
});
