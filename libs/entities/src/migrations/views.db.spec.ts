/** The views of people with a SQL program. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { taskInstanceMachine, taskMachine, workflowMachine, workflowRunMachine } from '@jobmon/contracts';
import { describeOnDatabases, insertWorkflow, ROOT } from '@jobmon/testkit';
import { VIEWS } from './0015-views';

const PAGE = readFileSync(path.join(ROOT, 'docs', 'schema.md'), 'utf8');
const QUERIES = /## Views for people[^]*?```sql\n([^]*?)```/
  .exec(PAGE)![1]!
  .replace(/^--.*\n/gm, '')
  .split(/;\n/)
  .filter((sql) => sql !== '');

describeOnDatabases('the views', (database) => {
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
});
