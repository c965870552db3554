/** What a pass does beside agents: lost client runs and commands that were cut off, and for how long it waits after it was away. */
import { reapWorkflowRun, type WorkflowRunStatus, type WorkflowStatus } from '@jobmon/contracts';
import { inProcessMessenger, send } from '@jobmon/messaging';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases, insertWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { pino } from 'pino';
import { reap, type ReaperContext } from './reap';

const log = pino({ level: 'silent' });

describeOnDatabases('a pass of the reaper over client runs', (database) => {
  let app: INestApplicationContext;
  let context: ReaperContext;
  let pass: (there_seconds?: number, withRare?: boolean) => Promise<number>;
  beforeAll(async () => {
    const messenger = inProcessMessenger({ log });
    context = { config: { agent: { lease_seconds: 15 } }, log, messenger, database: database() };
    pass = (served_seconds = 100_000, withRare = false) =>
      reap(context, {
        served_seconds,
        clients_served_seconds: served_seconds,
        lease_seconds: 15,
        of: withRare ? ['pass', 'hour'] : ['pass'],
      });
    app = await NestFactory.createApplicationContext(stateMachineModule({ log, messenger, database: database() }), {
      logger: false,
    });
  });
  afterAll(() => app.close());

  const overdue = (more: WorkflowToInsert = {}) =>
    insertWorkflow(database(), { driver: 'client', deadline_seconds: -5, ...more });
  const write = (sql: string) =>
    database().write({ label: 'test' }, function* () {
      yield { sql };
    });
  const stands = async (made: readonly { readonly workflow_run_id: number }[]) =>
    (
      await database().read<{ run: string; workflow: string }>(
        `SELECT r.status AS run, w.status AS workflow FROM workflow_run AS r JOIN workflow AS w ON w.id = r.workflow_id
          WHERE r.id IN (${made.map(({ workflow_run_id }) => workflow_run_id).join(',')}) ORDER BY r.id`,
      )
    ).map(({ run, workflow }) => `${run} ${workflow}`);

  it('P4 ends each lost client run by its rule, whoever made it, and leaves the others (races 20, 43, 44)', async () => {
    const lost = [
      await overdue({ run_status: 'L', workflow_status: 'G' }),
      await overdue({ run_status: 'B', workflow_status: 'Q' }),
      await overdue({ run_status: 'O', workflow_status: 'O' }),
      await overdue({ run_status: 'R' }),
      await overdue({ run_status: 'H', instance_status: 'I', task_status: 'I' }),
    ];
    const others = [await overdue({ driver: 'server' }), await overdue({ deadline_seconds: 60 })];
    await write(`UPDATE workflow_run SET driver = NULL, jobmon_server_version = '1' WHERE id = ${lost[3]!.workflow_run_id}`);
    await Promise.all([pass(), pass()]);
    expect(await stands(lost)).toEqual(['A A', 'E F', 'E F', 'E F', 'T H']);
    expect(await stands(others)).toEqual(['R R', 'R R']);
  });

  it('P4 waits for clients that found the house away, but not for those that have only known it there (race 54)', async () => {
    const elder = await overdue();
    await write(`UPDATE workflow_run SET created_date = '2020-01-01 00:00:00' WHERE id = ${elder.workflow_run_id}`);
    const younger = await overdue();
    await pass(60);
    expect(await stands([elder, younger])).toEqual(['R R', 'E F']);
    await pass(150);
    expect(await stands([elder])).toEqual(['E F']);
  });

  it('E18 that was cut off is brought to its end, one that is being done is left to whoever does it', async () => {
    const cut = await overdue({ run_status: 'E', workflow_status: 'F', tasks: 3, task_status: 'F' });
    const done = await overdue({ run_status: 'E', workflow_status: 'F', tasks: 3, task_status: 'F' });
    const command = (workflow_id: number, moved: string) =>
      write(
        'INSERT INTO workflow_command (workflow_id, operation, request, after_array_id, after_task_id, tasks, attempts, started_date, moved_date) ' +
          `VALUES (${workflow_id}, 'workflow.set_resume_state', '{"workflow_id": ${workflow_id}, "reset_if_running": true}', 0, 0, 0, 0, ` +
          `'2020-01-01 00:00:00', ${moved})`,
      );
    await command(cut.workflow_id, "'2020-01-01 00:00:00'");
    await command(done.workflow_id, database().dialect.now);
    await pass();
    const tasks = async (workflow_id: number) =>
      (await database().read<{ status: string }>(`SELECT status FROM task WHERE workflow_id = ${workflow_id}`))
        .map(({ status }) => status)
        .join('');
    expect([await tasks(cut.workflow_id), await tasks(done.workflow_id)]).toEqual(['GGG', 'FFF']);
    expect(await database().read('SELECT workflow_id FROM workflow_command')).toEqual([{ workflow_id: done.workflow_id }]);
  });

  it('a workflow that no run holds ends after a week of binding, or a day in any other state (races 41, 52)', async () => {
    const { nowPlusSeconds } = database().dialect;
    const day = 86_400;
    const stood = async (workflow_status: WorkflowStatus, seconds: number, run_status: WorkflowRunStatus = 'E') => {
      const made = await insertWorkflow(database(), { driver: 'client', run_status, workflow_status });
      const { workflow_id } = made;
      await database().change(`UPDATE workflow SET status_date = ${nowPlusSeconds} WHERE id = ?`, -seconds, workflow_id);
      return workflow_id;
    };
    const binding = await stood('G', 8 * day);
    // The binding died before there was a run.
    await database().change('DELETE FROM workflow_run WHERE workflow_id = ?', binding);
    const ids = [
      binding,
      await stood('Q', 2 * day),
      await stood('R', 2 * day),
      await stood('G', 6 * day),
      await stood('R', day / 2),
      await stood('R', 2 * day, 'R'),
      await stood('D', 9 * day),
    ];
    await Promise.all([pass(100_000, true), pass(100_000, true)]);
    const rows = await database().read<{ status: string }>(
      `SELECT status FROM workflow WHERE id IN (${ids.join(',')}) ORDER BY id`,
    );
    expect(rows.map(({ status }) => status).join('')).toBe('AFFGRRD');
  });

  it('does what it does beside a Python reaper that asks for the same (P4), each lost run once (race 20)', async () => {
    const lost = await Promise.all(Array.from({ length: 5 }, () => overdue()));
    const python = lost.map(({ workflow_run_id }) => send(context.messenger, reapWorkflowRun, { workflow_run_id }));
    await Promise.all([pass(), ...python]);
    expect(await stands(lost)).toEqual(lost.map(() => 'E F'));
  });

  it('workers that outlive their client under a server run are asked after when they are silent (race 31)', async () => {
    const insert = () =>
      overdue({ tasks: 3, run_status: 'T', instance_status: (at) => (at === 0 ? 'T' : 'R'), task_status: 'R', max_attempts: 3 });
    const [taken, alone] = [await insert(), await insert()];
    const { now, nowPlusSeconds } = database().dialect;
    const after = (seconds: number): string => nowPlusSeconds.replace('?', String(seconds));
    await write(
      'INSERT INTO workflow_run (workflow_id, `user`, status, driver, heartbeat_date) ' +
        `VALUES (${taken.workflow_id}, 'ada', 'R', 'server', ${after(90)})`,
    );
    for (const { task_instance_ids } of [taken, alone]) {
      const [given_up, silent, heard] = task_instance_ids;
      await write(
        `UPDATE task_instance SET report_by_date = ${now}, status_date = ${after(-600)} WHERE id IN (${given_up}, ${silent})`,
      );
      await write(`UPDATE task_instance SET report_by_date = ${after(60)} WHERE id = ${heard}`);
    }
    await pass();
    const stand = async ({ workflow_id }: { workflow_id: number }) =>
      (
        await database().read<{ s: string; t: string }>(
          'SELECT ti.status AS s, t.status AS t FROM task_instance AS ti JOIN task AS t ON t.id = ti.task_id ' +
            `WHERE t.workflow_id = ${workflow_id} ORDER BY ti.id`,
        )
      )
        .map(({ s, t }) => s + t)
        .join(' ');
    expect([await stand(taken), await stand(alone)]).toEqual(['UG TR RR', 'TR RR RR']);
  });

  it('attempts that an ended client run left behind end a day later, past their deadlines; others stay (design rule 5.10)', async () => {
    const letters = ['Q', 'I', 'O', 'R', 'T', 'X', 'K', 'R'] as const;
    const left = (more: WorkflowToInsert = {}) =>
      overdue({
        tasks: letters.length,
        run_status: 'E',
        workflow_status: 'F',
        deadline_seconds: -100_000,
        instance_status: (at) => letters[at]!,
        task_status: (at) => ('QIO'.includes(letters[at]!) ? (letters[at] as 'Q') : letters[at] === 'X' ? 'O' : 'R'),
        ...more,
      });
    const [made, young, live, ours] = [
      await left(),
      await left({ deadline_seconds: -60 }),
      await left({ run_status: 'R', deadline_seconds: 60 }),
      await left({ driver: 'server' }),
    ];
    // The last one is still heard of.
    const { now, nowPlusSeconds } = database().dialect;
    await write(`UPDATE task_instance SET report_by_date = ${now} WHERE status IN ('O', 'R', 'T')`);
    const heard = made.task_instance_ids.at(-1)!;
    await write(`UPDATE task_instance SET report_by_date = ${nowPlusSeconds.replace('?', '60')} WHERE id = ${heard}`);
    const stand = async ({ task_instance_ids }: { task_instance_ids: readonly number[] }) =>
      (
        await database().read<{ s: string; t: string }>(
          `SELECT ti.status AS s, t.status AS t FROM task_instance AS ti JOIN task AS t ON t.id = ti.task_id ` +
            `WHERE ti.id IN (${task_instance_ids.join(',')}) ORDER BY ti.id`,
        )
      )
        .map(({ s, t }) => s + t)
        .join(' ');
    expect(await pass(100_000, true)).toBe(7);
    expect(await pass(100_000, true)).toBe(0);
    expect(await stand(made)).toBe('FF FF FF FF FF FF FF RR');
    for (const other of [young, live, ours]) expect(await stand(other)).toBe('QQ II OO RR TR XO KR RR');
  });
});
