/** What people ask about workflows: lists by filters, templates, runs, errors, and the stream with all of it. */
import type { SqlValue } from '@jobmon/entities';
import { describeOnDatabases, execute, insertWorkflow, type InsertedWorkflow } from '@jobmon/testkit';
import { ok } from '../test/definitions';
import { call, serve, type Json, type Served } from '../test/serve';
import { newestErrors } from './workflow-error';

describeOnDatabases('views of workflows', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database());
  });
  afterAll(() => served.close());

  const run = (sql: string, params: SqlValue[] = []): Promise<number> => execute(database(), sql, params);
  const get = (path: string): Promise<Json> => ok(served, 'GET', `/api/v4/workflows${path}`);
  const refusal = async (path: string): Promise<unknown[]> => {
    const { status, json } = await call(served, 'GET', `/api/v4/workflows${path}`);
    return [status, json.error.message];
  };

  /** A second template in a workflow, to which some of its tasks are moved. */
  async function addTemplate(made: InsertedWorkflow, name: string, task_ids: readonly number[], limit: number): Promise<void> {
    const template = await run('INSERT INTO task_template (tool_version_id, name) VALUES (?, ?)', [made.tool_version_id, name]);
    const version = await run(
      `INSERT INTO task_template_version (task_template_id, command_template, arg_mapping_hash) VALUES (?, 'x', '1')`,
      [template],
    );
    const array = await run(
      'INSERT INTO array (name, task_template_version_id, workflow_id, max_concurrently_running) VALUES (?, ?, ?, ?)',
      [name, version, made.workflow_id, limit],
    );
    for (const id of task_ids) {
      await run('UPDATE task SET array_id = ? WHERE id = ?', [array, id]);
      await run('UPDATE node SET task_template_version_id = ? WHERE id = (SELECT node_id FROM task WHERE id = ?)', [version, id]);
    }
  }

  describe('a list', () => {
    let ids: Record<'plain' | 'tagged' | 'other', number>;
    const listed = async (query: string): Promise<number[]> =>
      (await get(`?${query}`)).workflows.map(({ workflow_id }: Json) => workflow_id);

    beforeAll(async () => {
      const plain = await insertWorkflow(database(), { name: 'filter Plain 100%', user: 'filter_ann' });
      const tagged = await insertWorkflow(database(), { name: 'filter_tagged', user: 'filter_ann', workflow_status: 'F' });
      const other = await insertWorkflow(database(), { name: 'filter other', user: 'filter_bob' });
      ids = { plain: plain.workflow_id, tagged: tagged.workflow_id, other: other.workflow_id };
      await run('UPDATE tool SET name = ? WHERE id = ?', ['filter tool', other.tool_id]);
      for (const [name, value] of [
        ['filter_colour', 'blue=1'],
        ['filter_size', 'x'],
      ] as const) {
        const type = await run('INSERT INTO workflow_attribute_type (name) VALUES (?)', [name]);
        await run('INSERT INTO workflow_attribute (workflow_id, workflow_attribute_type_id, value) VALUES (?, ?, ?)', [
          ids.tagged,
          type,
          value,
        ]);
      }
      const dates: [string, number][] = [
        ['2001-01-01 10:00:00', ids.plain],
        ['2001-01-02 10:00:00', ids.tagged],
        ['2001-01-03 00:00:00', ids.other],
      ];
      for (const date of dates) await run('UPDATE workflow SET created_date = ? WHERE id = ?', date);
    });

    it.each<[string, ('plain' | 'tagged' | 'other')[]]>([
      ['user=filter_ann', ['tagged', 'plain']],
      ['user=filter_ann&user=filter_bob', ['other', 'tagged', 'plain']],
      ['user=filter_ann&status=F', ['tagged']],
      ['user=filter_ann&status=F&status=R', ['tagged', 'plain']],
      ['tool=filter%20tool', ['other']],
      ['name=filter_tagged', ['tagged']],
      ['name=FILTER*', ['other', 'tagged', 'plain']],
      ['name=*_TAGGED', ['tagged']],
      ['name=*100%25', ['plain']],
      ['name=filter', []],
      ['attribute=filter_colour', ['tagged']],
      ['attribute=filter_colour%3Dblue%3D1&attribute=filter_size%3Dx', ['tagged']],
      ['attribute=filter_colour%3Dblue%3D1&attribute=filter_size%3Dy', []],
      ['since=2001-01-02&until=2001-01-03', ['tagged']],
      ['since=2001-01-01T10:00Z&until=2001-01-02%2010:00:00', ['plain']],
      ['name=filter*&limit=2', ['other', 'tagged']],
    ])('by %s', async (query, names) => {
      expect(await listed(query)).toEqual(names.map((name) => ids[name]));
    });

    it('by pages, and with what a person set', async () => {
      await run('UPDATE workflow SET priority = 5 WHERE id = ?', [ids.other]);
      await run('UPDATE workflow_run SET is_paused = 1 WHERE workflow_id = ?', [ids.other]);
      const first = await get('?name=filter*&limit=1');
      expect(first.workflows[0]).toMatchObject({ workflow_id: ids.other, priority: 5, is_paused: true });
      expect(await listed(`name=filter*&limit=1&before=${first.next}`)).toEqual([ids.tagged]);
    });

    it.each(['since=yesterday', 'since=2001-1-1', 'status=RUNNING', 'attribute=%3Dx', 'limit=501'])(
      'refuses %s',
      async (query) => {
        expect((await call(served, 'GET', `/api/v4/workflows?${query}`)).status).toBe(422);
      },
    );
  });

  describe('one workflow', () => {
    let made: InsertedWorkflow;
    let name: string;
    beforeAll(async () => {
      const status = (position: number) => (['D', 'D', 'R', 'G', 'F'] as const)[position]!;
      made = await insertWorkflow(database(), {
        tasks: 5,
        task_status: status,
        instance_status: (position) => (['D', 'D', 'R', 'Q', 'E'] as const)[position]!,
      });
      await addTemplate(made, 'second', made.task_ids.slice(3), 7);
      await run('UPDATE task SET num_attempts = 3 WHERE id = ?', [made.task_ids[4]!]);
      const [first] = await database().read<{ name: string }>('SELECT name FROM task_template WHERE id = ?', [
        made.task_template_id,
      ]);
      name = first!.name;
    });

    it('is told with its attributes, its retries, its runs and what was done to it last', async () => {
      await run(
        `INSERT INTO workflow_event (workflow_id, workflow_run_id, date, microsecond, user, verb, reason, detail)
         VALUES (?, NULL, '2026-01-01 00:00:00', 5, 'eve', 'pause', 'because', '{"x":1}')`,
        [made.workflow_id],
      );
      expect(await get(`/${made.workflow_id}`)).toMatchObject({
        tasks: { D: 2, R: 1, G: 1, F: 1 },
        retries: 2,
        runs: 1,
        attributes: {},
        last_event: { user: 'eve', verb: 'pause', reason: 'because', microsecond: 5, detail: { x: 1 } },
      });
    });

    it('has templates in the order in which they were bound, with counts, retries and limits', async () => {
      expect((await get(`/${made.workflow_id}/task_templates`)).task_templates).toEqual([
        { task_template: name, tasks: { D: 2, R: 1 }, retries: 0, max_concurrently_running: null },
        { task_template: 'second', tasks: { G: 1, F: 1 }, retries: 2, max_concurrently_running: 7 },
      ]);
    });

    it('has tasks by status and template', async () => {
      const ids = async (query: string): Promise<number[]> =>
        (await get(`/${made.workflow_id}/tasks?${query}`)).tasks.map(({ task_id }: Json) => task_id);
      expect(await ids('status=D&status=F')).toEqual([made.task_ids[0], made.task_ids[1], made.task_ids[4]]);
      expect(await ids('task_template=second')).toEqual(made.task_ids.slice(3));
      expect(await ids('task_template=second&status=F')).toEqual([made.task_ids[4]]);
      expect(await ids(`status=D&limit=1&after=${made.task_ids[0]}`)).toEqual([made.task_ids[1]]);
      expect(await refusal(`/${made.workflow_id}/tasks?task_template=third`)).toEqual([
        404,
        `workflow ${made.workflow_id} has no task template 'third': it has second, ${name}`,
      ]);
    });

    it('has runs, newest first, by pages', async () => {
      const second = await run(
        `INSERT INTO workflow_run (workflow_id, user, status, jobmon_version) VALUES (?, 'zoe', 'E', '9')`,
        [made.workflow_id],
      );
      const first = await get(`/${made.workflow_id}/runs?limit=1`);
      expect(first.runs).toMatchObject([
        { workflow_run_id: second, status: 'E', driver: 'client', user: 'zoe', client_version: '9' },
      ]);
      const rest = await get(`/${made.workflow_id}/runs?limit=1&before=${first.next}`);
      expect([rest.runs[0].workflow_run_id, rest.runs[0].driver, rest.next]).toEqual([made.workflow_run_id, 'server', null]);
      await run('DELETE FROM workflow_run WHERE id = ?', [second]);
    });

    it('answers 404 to what is unknown', async () => {
      for (const path of ['', '/task_templates', '/runs', '/error_log', '/error_groups', '/tasks', '/history']) {
        expect(await refusal(`/2000000000${path}`)).toEqual([404, 'there is no workflow 2000000000']);
      }
    });
  });

  describe('errors', () => {
    let made: InsertedWorkflow;
    /** By age. */
    let errors: number[];
    const addError = (task_instance_id: number, second: number, description: string): Promise<number> =>
      run('INSERT INTO task_instance_error_log (task_instance_id, error_time, description) VALUES (?, ?, ?)', [
        task_instance_id,
        `2025-01-31 12:00:0${second}`,
        description,
      ]);

    beforeAll(async () => {
      made = await insertWorkflow(database(), { tasks: 3, task_status: 'F', instance_status: 'E' });
      const stranger = await insertWorkflow(database(), { tasks: 1, task_status: 'F', instance_status: 'E' });
      await addTemplate(made, 'failing', made.task_ids.slice(2), 7);
      const [a, b, c] = made.task_instance_ids as [number, number, number];
      await run('UPDATE task_instance SET stderr_log = ?, nodename = ?, exit_code = 3 WHERE id = ?', [
        'long\nlast 数\n',
        'host7',
        b,
      ]);
      errors = [await addError(c, 0, `ValueError: no place 5`), await addError(a, 1, 'ValueError: no place 77')];
      await addError(stranger.task_instance_ids[0]!, 2, 'of somebody else');
      errors.push(await addError(b, 3, 'x'.repeat(20_000)));
    });

    it('come newest first, by pages, with the end of their output', async () => {
      const first = await get(`/${made.workflow_id}/error_log?limit=2`);
      expect(first.errors).toMatchObject([
        {
          error_id: errors[2],
          task_id: made.task_ids[1],
          task_name: 'task_1',
          nodename: 'host7',
          exit_code: 3,
          description: 'x'.repeat(10_000),
          stderr_tail: 'long\nlast 数\n',
        },
        { error_id: errors[1], stderr_tail: null, error_time: '2025-01-31 12:00:01' },
      ]);
      const rest = await get(`/${made.workflow_id}/error_log?limit=2&before=${first.next}`);
      expect([rest.errors.map(({ error_id }: Json) => error_id), rest.next]).toEqual([[errors[0]], null]);
      const own = await get(`/${made.workflow_id}/error_log?task_template=failing`);
      expect(own.errors).toMatchObject([{ error_id: errors[0], task_template: 'failing' }]);
    });

    it('come together when they are alike', async () => {
      const { groups, groups_total, errors_total } = await get(`/${made.workflow_id}/error_groups`);
      expect([groups_total, errors_total]).toEqual([2, 3]);
      expect(groups[0]).toMatchObject({
        exception_class: 'ValueError',
        errors: 2,
        tasks: 2,
        first_error_time: '2025-01-31 12:00:00',
        last_error_time: '2025-01-31 12:00:01',
        task_ids: [made.task_ids[0], made.task_ids[2]],
        sample_error: 'ValueError: no place 5',
        sample_task_id: made.task_ids[2],
      });
      expect(groups[1]).toMatchObject({ hosts: ['host7'], sample_stderr_tail: 'long\nlast 数\n' });
      expect((await get(`/${made.workflow_id}/error_groups?limit=1&task_template=failing`)).groups_total).toBe(1);
    });

    it('are found when thousands of others came since', async () => {
      const flood = await insertWorkflow(database(), { tasks: 1, task_status: 'F', instance_status: 'E' });
      const rows = JSON.stringify(Array.from({ length: 5_100 }, (_, n) => ({ n })));
      await run(
        `INSERT INTO task_instance_error_log (task_instance_id, description)
         SELECT ?, 'flood' FROM ${database().dialect.jsonRows('given', { n: 'int' })}`,
        [flood.task_instance_ids[0]!, rows],
      );
      const { statements } = database().counts;
      const wanted = { workflow_id: made.workflow_id, limit: 2 };
      expect((await newestErrors(database(), wanted)).map(({ id }) => id)).toEqual([errors[2], errors[1]]);
      expect(database().counts.statements - statements).toBeLessThanOrEqual(3);
      const near = await newestErrors(database(), { workflow_id: flood.workflow_id, limit: 5 });
      expect(near).toHaveLength(5);
    });

    it('come with the stream, those of before and those that come, beside the counts by template', async () => {
      const abort = new AbortController();
      const response = await fetch(`${served.url}/api/v4/workflows/${made.workflow_id}/events?detail=full`, {
        signal: abort.signal,
      });
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      let text = '';
      const next = async (isLookedFor: (event: Json) => boolean): Promise<Json> => {
        for (;;) {
          const lines = text.split('\n\n');
          text = lines.pop()!;
          for (const line of lines) {
            const event = line.startsWith('data: ') ? JSON.parse(line.slice(6)) : undefined;
            if (event !== undefined && isLookedFor(event)) return event;
          }
          const { done, value } = await reader.read();
          if (done) throw new Error('the stream ended');
          text += value;
        }
      };
      const first = await next(() => true);
      expect(first.progress.errors.map(({ error_id }: Json) => error_id)).toEqual([...errors].reverse());
      expect(first.progress.errors[0].description).toHaveLength(500);
      expect(first.progress).toMatchObject({ retries: 0, task_templates_total: 2 });
      expect(first.progress.task_templates[1]).toMatchObject({
        task_template: 'failing',
        tasks: { F: 1 },
        max_concurrently_running: 7,
      });
      const added = await addError(made.task_instance_ids[0]!, 4, 'newest');
      const second = await next(({ progress }) => progress.errors[0].error_id === added);
      expect(second.progress.errors).toHaveLength(4);
      abort.abort();
    });
  });
});
