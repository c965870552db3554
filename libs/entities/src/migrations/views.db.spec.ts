/** The views of people with a SQL program. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { taskInstanceMachine, taskMachine, workflowMachine, workflowRunMachine } from '@jobmon/contracts';
import { describeOnDatabases, insertWorkflow, makePythonDatabase, ROOT, runSql } from '@jobmon/testkit';
import { pino } from 'pino';
import { openDatabase } from '../index';
import { VIEWS } from './0015-views';

const PAGE = readFileSync(path.join(ROOT, 'docs', 'schema.md'), 'utf8');
const QUERIES = /## Views for people[^]*?```sql\n([^]*?)```/
  .exec(PAGE)![1]!
  .replace(/^--.*\n/gm, '')
  .split(/;\n/)
  .filter((sql) => sql !== '');

describeOnDatabases('the views', (database, kind) => {
  const read = (sql: string): Promise<Record<string, unknown>[]> => database().read<Record<string, unknown>>(sql);

  it('name what is behind a workflow: its tool, its user, its tasks by status', async () => {
    const letters = ['D', 'F', 'R'] as const;
    const made = await insertWorkflow(database(), {
      tasks: 3,
      task_status: (at) => letters[at]!,
      instance_status: (at) => (['D', 'E', 'R'] as const)[at]!,
    });
    const [id, run_id] = [made.workflow_id, made.workflow_run_id];
    for (const letter of letters)
      await database().change(
        'INSERT INTO task_status_count (workflow_id, array_id, status, writer, n) VALUES (?, ?, ?, ?, 1)',
        ...[id, made.array_id, letter, 'test'],
      );
    const [workflow] = await read(`SELECT * FROM v_workflow WHERE workflow_id = ${id}`);
    expect(workflow).toMatchObject({ workflow_id: id, status: 'RUNNING', user: expect.any(String), tool: expect.any(String) });
    expect([workflow!.tasks, workflow!.tasks_done, workflow!.tasks_fatal].map(Number)).toEqual([3, 1, 1]);
    expect(await read(`SELECT workflow_run_id, status FROM v_workflow_run WHERE workflow_id = ${id}`)).toEqual([
      { workflow_run_id: run_id, status: 'RUNNING' },
    ]);
    const tasks = await read(`SELECT status, task_template FROM v_task WHERE workflow_id = ${id} ORDER BY task_id`);
    expect(tasks.map(({ status }) => status)).toEqual(letters.map((letter) => taskMachine.states[letter].label));
    expect(tasks.map(({ task_template }) => task_template)).not.toContain(null);
    const failed = made.task_instance_ids[1]!;
    await database().change(
      `INSERT INTO task_instance_error_log (task_instance_id, error_time, description) VALUES (?, ${database().dialect.now}, 'no space left')`,
      failed,
    );
    expect(await read(`SELECT * FROM v_task_error WHERE workflow_id = ${id}`)).toEqual([
      expect.objectContaining({
        task_instance_id: failed,
        task_id: made.task_ids[1],
        task_instance_status: taskInstanceMachine.states.E.label,
        task_status: taskMachine.states.F.label,
        description: 'no space left',
      }),
    ]);
  });

  it.each([
    ['workflow_status', workflowMachine],
    ['workflow_run_status', workflowRunMachine],
    ['task_status', taskMachine],
    ['task_instance_status', taskInstanceMachine],
  ] as const)('say for every letter of %s what commands and screens say', async (table, { states }) => {
    const rows = await read(`SELECT id, label FROM ${table}`);
    expect(Object.fromEntries(rows.map(({ id, label }) => [id, label]))).toMatchObject(
      Object.fromEntries(Object.entries(states).map(([letter, { label }]) => [letter, label])),
    );
  });

  it.each(VIEWS.map(([name]) => name))('can be read, and %s is on the page', async (name) => {
    expect(await read(`SELECT COUNT(*) AS n FROM ${name}`)).toEqual([{ n: expect.anything() }]);
    expect(PAGE).toContain(`\`${name}\``);
  });

  it('answer the queries of the page', async () => {
    expect(QUERIES).toHaveLength(4);
    for (const sql of QUERIES) expect(await read(sql)).toEqual(expect.any(Array));
  });

  it('show a row whose letter nobody knows, without a name', async () => {
    const { workflow_id, task_ids } = await insertWorkflow(database(), { task_status: 'G' });
    await database().change(`UPDATE task SET status = '?' WHERE id = ?`, task_ids[0]!);
    expect(await read(`SELECT task_id, status FROM v_task WHERE workflow_id = ${workflow_id}`)).toEqual([
      { task_id: task_ids[0], status: null },
    ]);
  });

  it('find the tasks of a workflow by its index, as a query of the table does', async () => {
    const explain = kind.name === 'sqlite' ? 'EXPLAIN QUERY PLAN' : 'EXPLAIN';
    const plan = JSON.stringify(await read(`${explain} SELECT name, status FROM v_task WHERE workflow_id = 1`));
    expect(plan).toContain('ix_task_workflow_id_status_date_status_num_attempts_array_id');
    expect(plan).not.toMatch(/DERIVED|MATERIALIZE|CO-ROUTINE/);
  });

  it('of a database of the Python server tell its own names, and leave what stands under theirs', async () => {
    const place = await kind.place();
    try {
      await makePythonDatabase(place.url);
      await runSql(place.url, [
        'CREATE TABLE v_task (mine INT)',
        'CREATE VIEW v_workflow AS SELECT 7 AS mine',
        `UPDATE task_instance_status SET label = 'theirs' WHERE id = 'D'`,
      ]);
      await (await openDatabase({ url: place.url, log: pino({ level: 'silent' }) })).close();
      const rows = await runSql(place.url, [
        'SELECT mine FROM v_task',
        'SELECT mine FROM v_workflow',
        `SELECT DISTINCT v.status FROM v_task_instance AS v JOIN task_instance AS ti ON ti.id = v.task_instance_id WHERE ti.status = 'D'`,
      ]);
      expect(rows).toEqual([[], [{ mine: 7 }], [{ status: 'theirs' }]]);
    } finally {
      await place.remove();
    }
  });

  if (kind.name === 'mariadb')
    it('are read with the rights of the reader', async () => {
      const rows = await read(
        'SELECT TABLE_NAME AS name, SECURITY_TYPE AS security FROM information_schema.VIEWS WHERE TABLE_SCHEMA = DATABASE() ORDER BY 1',
      );
      expect(rows).toEqual(VIEWS.map(([name]) => ({ name, security: 'INVOKER' })).sort((a, b) => (a.name < b.name ? -1 : 1)));
    });
});
