/**
 * Client runs on both databases: queueing, taking, launching, killing and triage, repeated and at once. Two instances of `ClientRuns` stand
 * for two processes, and for one that was started again: they share nothing but the database.
 */
import { HISTORY_REASONS, taskChanged, type HistoryReason } from '@jobmon/contracts';
import type { Procedure, SqlValue } from '@jobmon/entities';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { interposed } from '../test/interposed';
import { countTasks, errorsOf, execute, expectTruth, historyOf, standing, startMachine } from '../test/started-machine';
import { BATCH_SQL, batchAt } from './array';
import { ClientRuns } from './client-run';
import type { StateMachineContext } from './state-machine';
import { SILENCES, silentInstances, triage } from './triage';

describeOnDatabases('client runs', (database) => {
  const started = (writer = 'test', more: Partial<StateMachineContext> = {}): ClientRuns => {
    const { messenger } = startMachine(database(), writer);
    const log = { error: () => undefined, warn: () => undefined } as unknown as StateMachineContext['log'];
    return new ClientRuns({ log, messenger, database: database(), writer, ...more });
  };
  const client = (more: WorkflowToInsert = {}): Promise<InsertedWorkflow> =>
    insertWorkflow(database(), { driver: 'client', ...more });
  const queueing = (made: InsertedWorkflow, task_ids: readonly number[] = made.task_ids) => ({
    array_id: made.array_id,
    task_ids: [...task_ids],
    task_resources_id: made.task_resources_id,
    workflow_run_id: made.workflow_run_id,
  });
  const instancesOf = (made: InsertedWorkflow) =>
    database().read<{ id: number; task_id: number; array_batch_num: number; array_step_id: number; status: string }>(
      'SELECT id, task_id, array_batch_num, array_step_id, status FROM task_instance WHERE workflow_run_id = ? ORDER BY id',
      [made.workflow_run_id],
    );
  const statuses = async (ids: readonly number[]) =>
    (await standing(database(), ids)).map((row) => `${row.status}${row.task_status}`).join(' ');
  const letters = async (made: InsertedWorkflow) => (await instancesOf(made)).map((row) => row.status).join('');
  const set = (sql: string, params: SqlValue[]) => execute(database(), sql, params);
  /** Moves the deadline of instances, and since when they stand where they stand, by seconds from now. */
  const since = (ids: readonly number[], report_by: number, status_seconds = 0) =>
    set(
      `UPDATE task_instance SET report_by_date = ${database().dialect.nowPlusSeconds}, ` +
        `status_date = ${database().dialect.nowPlusSeconds} WHERE id IN (${ids.join(',')})`,
      [report_by, status_seconds],
    );

  describe('E2', () => {
    test('E2 races 12, 23, 34: eight identical calls at once in two processes make one attempt of each task', async () => {
      const made = await client({ tasks: 300 });
      const before = await countTasks(database(), made.workflow_id);
      const both = [started('one'), started('two')];
      const answers = await Promise.all(Array.from({ length: 8 }, (_, at) => both[at % 2]!.queueTaskBatch(queueing(made))));
      for (const answer of answers) expect(answer).toEqual({ tasks_by_status: { Q: [...made.task_ids] } });
      const instances = await instancesOf(made);
      expect(instances.map(({ task_id }) => task_id)).toEqual([...made.task_ids].sort((a, b) => a - b));
      expect(instances.map((row) => [row.array_batch_num, row.array_step_id])).toEqual(instances.map((_, step) => [1, step]));
      const tasks = await database().read<{ n: number; current: number }>(
        'SELECT num_attempts AS n, current_task_instance_id AS current FROM task WHERE workflow_id = ? ORDER BY id',
        [made.workflow_id],
      );
      expect(tasks).toEqual(instances.map(({ id }) => ({ n: 1, current: id })));
      await expectTruth(database(), made.workflow_id, before);
    });

    test('E2 races 9, 11: at most 1,000 tasks in a transaction, each its own batch, numbered under the array’s lock', async () => {
      const made = await client({ tasks: 2_500 });
      const both = [started('one'), started('two')];
      const shuffled = [...made.task_ids].reverse();
      const answers = await Promise.all([
        both[0]!.queueTaskBatch(queueing(made, shuffled)),
        both[1]!.queueTaskBatch(queueing(made, shuffled.slice(0, 1_200))),
      ]);
      expect(answers[0]).toEqual({ tasks_by_status: { Q: shuffled } });
      const sizes = new Map<number, number[]>();
      for (const row of await instancesOf(made)) {
        sizes.set(row.array_batch_num, [...(sizes.get(row.array_batch_num) ?? []), row.array_step_id]);
      }
      const batches = [...sizes.values()];
      expect(batches.reduce((sum, steps) => sum + steps.length, 0)).toBe(2_500);
      for (const steps of batches) {
        expect(steps.length).toBeLessThanOrEqual(1_000);
        // In the order of ids: steps ascend with them, without gaps (trap 12).
        expect(steps).toEqual(steps.map((_, step) => step));
      }
      expect([...sizes.keys()].sort((a, b) => a - b)).toEqual(batches.map((_, at) => at + 1));
    });

    test('E2 moves neither tasks of another array nor of another workflow', async () => {
      const made = await client({ tasks: 2 });
      const other = await client();
      const array = await set('INSERT INTO array (name, workflow_id, max_concurrently_running) VALUES (?, ?, 1)', [
        'second',
        made.workflow_id,
      ]);
      await set('UPDATE task SET array_id = ? WHERE id = ?', [array, made.task_ids[1]!]);
      const all = [...made.task_ids, ...other.task_ids];
      const runs = started();
      expect(await runs.queueTaskBatch(queueing(made, all))).toEqual({
        tasks_by_status: { Q: [all[0]], G: [all[1], all[2]] },
      });
      expect(await runs.queueTaskBatch({ ...queueing(other), workflow_run_id: made.workflow_run_id })).toEqual({
        tasks_by_status: { G: [...other.task_ids] },
      });
      expect(await instancesOf(other)).toEqual([]);
      expect(await letters(made)).toBe('Q');
    });

    test.each(['G', 'C', 'H', 'D', 'E', 'S', 'T', 'A'] as const)(
      'E2 and E30 do nothing for a run in %s, which may not work any more',
      async (run_status) => {
        const made = await client({ tasks: 2, run_status, instance_status: 'Q', task_status: (at) => (at === 0 ? 'Q' : 'G') });
        const runs = started();
        expect(await runs.queueTaskBatch(queueing(made))).toEqual({
          tasks_by_status: { Q: [made.task_ids[0]], G: [made.task_ids[1]] },
        });
        expect(await runs.instantiate({ task_instance_ids: [...made.task_instance_ids] })).toEqual({ batches: [] });
        expect(await letters(made)).toBe('QQ');
      },
    );

    test('E2 enforces no limit: those of client runs are the client’s (design rule 5.8)', async () => {
      const made = await client({ tasks: 3, max_concurrently_running: 1, array_max_concurrently_running: 0 });
      await started().queueTaskBatch(queueing(made));
      expect(await letters(made)).toBe('QQQ');
    });

    test('E2 takes the resources of the request and leaves the task’s own', async () => {
      const made = await client({ task_status: 'A', instance_status: 'Z' });
      const larger = await set(
        "INSERT INTO task_resources (queue_id, task_resources_type_id, requested_resources) VALUES (?, 'A', '{}')",
        [made.queue_id],
      );
      await started().queueTaskBatch({ ...queueing(made), task_resources_id: larger });
      const read = await database().read(
        'SELECT ti.task_resources_id AS attempt, t.task_resources_id AS task, t.num_attempts AS n FROM task_instance AS ti ' +
          "JOIN task AS t ON t.id = ti.task_id WHERE t.id = ? AND ti.status = 'Q'",
        [made.task_ids[0]!],
      );
      expect(read).toEqual([{ attempt: larger, task: made.task_resources_id, n: 2 }]);
    });
  });

  describe('E30', () => {
    const queued = (tasks = 4, more: WorkflowToInsert = {}) => client({ tasks, task_status: 'Q', instance_status: 'Q', ...more });
    const taken = async (runs: ClientRuns, task_instance_ids: number[]) =>
      (await runs.instantiate({ task_instance_ids })).batches.flatMap((batch) => batch.task_instance_ids);

    test('E30 race 33: an attempt that ended or was ordered to stop is not brought back', async () => {
      const made = await client({
        tasks: 5,
        task_status: (at) => (['I', 'I', 'Q', 'I', 'I'] as const)[at]!,
        instance_status: (at) => (['F', 'K', 'Q', 'O', 'I'] as const)[at]!,
      });
      const ids = [...made.task_instance_ids];
      expect(await taken(started(), ids)).toEqual([ids[2]]);
      expect(await letters(made)).toBe('FKIOI');
    });

    test('E30 race 33: of callers with different lists each attempt goes to one', async () => {
      const made = await queued(200);
      const both = [started('one'), started('two')];
      const lists = Array.from({ length: 8 }, (_, at) =>
        made.task_instance_ids.filter((_, i) => i % 3 !== at % 3 || i % 8 === at),
      );
      const answers = await Promise.all(lists.map((list, at) => taken(both[at % 2]!, list)));
      const all = answers.flat();
      expect(new Set(all).size).toBe(all.length);
      expect(all.sort((a, b) => a - b)).toEqual([...made.task_instance_ids].sort((a, b) => a - b));
      expect(await historyOf(database(), made.task_instance_ids[0]!)).toEqual(['I']);
    });

    test('E30: eight identical calls at once in two processes are answered alike, and each attempt is taken once', async () => {
      const made = await queued(150);
      const before = await countTasks(database(), made.workflow_id);
      const both = [started('one'), started('two')];
      const request = { task_instance_ids: [...made.task_instance_ids] };
      const answers = await Promise.all(Array.from({ length: 8 }, (_, at) => both[at % 2]!.instantiate(request)));
      for (const answer of answers) expect(answer).toEqual(answers[0]);
      expect(answers[0]!.batches).toEqual([
        expect.objectContaining({ array_batch_num: 1, task_instance_ids: request.task_instance_ids }),
      ]);
      for (const id of made.task_instance_ids.slice(0, 5)) expect(await historyOf(database(), id)).toEqual(['I']);
      await expectTruth(database(), made.workflow_id, before);
    });

    test('E30: a repeat is known for 60 s by what is stored, also after a restart; then it is nobody’s', async () => {
      const made = await queued(3);
      const ids = [...made.task_instance_ids];
      expect(await taken(started(), ids)).toEqual(ids);
      await set(`UPDATE task_instance SET status_date = ${database().dialect.nowPlusSeconds} WHERE workflow_run_id = ?`, [
        -50,
        made.workflow_run_id,
      ]);
      expect(await taken(started('again'), ids)).toEqual(ids);
      expect(await taken(started('again'), [...ids].reverse())).toEqual([]);
      await set(`UPDATE task_instance SET status_date = ${database().dialect.nowPlusSeconds} WHERE id = ?`, [-70, ids[0]!]);
      expect(await taken(started('again'), ids)).toEqual(ids.slice(1));
      await set("UPDATE task_instance SET status = 'O' WHERE id = ?", [ids[1]!]);
      expect(await taken(started('again'), ids)).toEqual(ids.slice(2));
    });

    test('E30 race 35: attempts of one batch come in the order of their steps, whatever order they were asked in', async () => {
      const made = await client({ tasks: 6 });
      const runs = started();
      await runs.queueTaskBatch(queueing(made, [...made.task_ids].reverse()));
      const instances = await instancesOf(made);
      const part = instances.slice(1, 5).map(({ id }) => id);
      const answer = await runs.instantiate({ task_instance_ids: [part[2]!, part[0]!, part[3]!, part[1]!] });
      expect(answer.batches.map((batch) => batch.task_instance_ids)).toEqual([part]);
      expect(instances.map((row) => row.array_step_id)).toEqual([0, 1, 2, 3, 4, 5]);
    });

    test('E30: more than 1,000 ids are taken in pieces and answered together', async () => {
      const made = await queued(2_200);
      const ids = [...made.task_instance_ids].sort((a, b) => a - b);
      const runs = started();
      expect(await taken(runs, ids)).toEqual(ids);
      expect(await taken(runs, ids)).toEqual(ids);
    });

    test('E30 race 29: an attempt that is not its task’s current one ends instead of being started', async () => {
      const made = await queued(2);
      await set('UPDATE task SET current_task_instance_id = 0 WHERE id = ?', [made.task_ids[0]!]);
      expect(await taken(started(), [...made.task_instance_ids])).toEqual([made.task_instance_ids[1]]);
      expect(await statuses(made.task_instance_ids)).toBe('FQ II');
    });
  });

  describe('E3 and E4', () => {
    test('E3 race 1: the batch is found by its place, and only its rows are looked at', async () => {
      const made = await client({ tasks: 1_000, task_status: 'I', instance_status: 'I' });
      // Fifty batches of twenty.
      await set(
        'UPDATE task_instance SET array_batch_num = 1 + (array_step_id - array_step_id % 20) / 20 WHERE workflow_run_id = ?',
        [made.workflow_run_id],
      );
      expect(await batchAt(database(), made.array_id, 1, 'I')).toEqual(
        [...made.task_instance_ids].sort((a, b) => a - b).slice(0, 20),
      );
      const counted = database().counts.rows_read;
      await started().transitionToLaunched({ array_id: made.array_id, batch_number: 1, next_report_increment: 279 });
      expect(database().counts.rows_read - counted).toBeLessThan(20 * 6);
      if (database().dialect.name !== 'mariadb') return;
      // Not of batch 1: for a while the index keeps the places there that were given up, and they are counted in.
      const [plan] = await database().read<{ key: string }>(`EXPLAIN ${BATCH_SQL}`, [made.array_id, 7, 'I']);
      expect(plan?.key).toBe('uc_task_instance_array_batch_step');
    });

    test('E3: eight identical calls at once launch each attempt once, while its workers start (races 10, 36)', async () => {
      const made = await client({ tasks: 200, task_status: 'I', instance_status: 'I' });
      const before = await countTasks(database(), made.workflow_id);
      const both = [started('one'), started('two')];
      const { machine } = startMachine(database(), 'workers');
      const running = made.task_instance_ids.slice(0, 100).map((task_instance_id) => ({
        name: 'log_running' as const,
        request: { task_instance_id, process_group_id: 77, next_report_increment: 279, nodename: 'n1' },
      }));
      const request = { array_id: made.array_id, batch_number: 1, next_report_increment: 279 };
      const ids = [...made.task_instance_ids];
      const [outcomes] = await Promise.all([
        machine.report(running),
        ...Array.from({ length: 8 }, (_, at) => both[at % 2]!.transitionToLaunched(request)),
        both[0]!.logDistributorIds({ array_id: made.array_id, ...Object.fromEntries(ids.map((id) => [id, `8_${id}`])) }),
        both[1]!.logReportByBatch({ next_report_increment: 279, task_instance_ids: [...ids].reverse() }),
        both[1]!.instantiate({ task_instance_ids: ids }),
      ]);
      for (const outcome of outcomes) expect(outcome).toMatchObject({ ok: { status: 'R' } });
      const rows = await standing(database(), ids);
      expect(rows.map((row) => `${row.status}${row.task_status}`)).toEqual(ids.map((_, at) => (at < 100 ? 'RR' : 'OO')));
      for (const row of rows) expect(row['distributor_id']).toBe(`8_${row.id}`);
      for (const row of rows.slice(100)) expect(row['submitted_date']).toEqual(expect.any(String));
      await expectTruth(database(), made.workflow_id, before);
    });

    test('E4 race 5: a batch of 500 is ended in one transaction of a few statements', async () => {
      const made = await client({ tasks: 500, task_status: 'R', instance_status: 'K' });
      const before = await countTasks(database(), made.workflow_id);
      const { statements, transactions } = database().counts;
      await started().transitionToKilled({ array_id: made.array_id, batch_number: 1 });
      expect(database().counts.transactions - transactions).toBe(1);
      expect(database().counts.statements - statements).toBeLessThan(12);
      expect(await statuses(made.task_instance_ids)).toBe(Array<string>(500).fill('FF').join(' '));
      await expectTruth(database(), made.workflow_id, before);
    });

    test('E4 races 17, 46: what was ordered to stop ends, also when its task was reset or has ended', async () => {
      const tasks = ['O', 'R', 'G', 'A', 'D', 'F'] as const;
      const made = await client({ tasks: 6, task_status: (at) => tasks[at]!, instance_status: 'K' });
      await started().transitionToKilled({ array_id: made.array_id, batch_number: 1 });
      expect(await statuses(made.task_instance_ids)).toBe('FF FF FG FA FD FF');
      expect(await errorsOf(database(), made.task_instance_ids[0]!)).toEqual([]);
    });

    test('race 13: instance and task move together or not at all', async () => {
      const made = await client({ tasks: 3, task_status: 'I', instance_status: 'I' });
      const failing = interposed(database(), (statement, result) => {
        if (statement.sql.startsWith('UPDATE task SET')) throw new Error('the connection broke');
        return result;
      });
      const request = { array_id: made.array_id, batch_number: 1, next_report_increment: 279 };
      await expect(started('one', { database: failing }).transitionToLaunched(request)).rejects.toMatchObject({
        code: 'INTERNAL',
      });
      expect(await statuses(made.task_instance_ids)).toBe('II II II');
      expect(await historyOf(database(), made.task_instance_ids[0]!)).toEqual([]);
      await started().transitionToLaunched(request);
      expect(await statuses(made.task_instance_ids)).toBe('OO OO OO');
    });
  });

  test('E2, E30, E3, E19, E20, E22: the history of an attempt tells who asked for each step, and by what', async () => {
    const made = await client();
    const runs = started();
    const { machine } = startMachine(database());
    await runs.queueTaskBatch(queueing(made));
    const id = (await instancesOf(made))[0]!.id;
    await runs.instantiate({ task_instance_ids: [id] });
    await runs.transitionToLaunched({ array_id: made.array_id, batch_number: 1, next_report_increment: 279 });
    const beat = { task_instance_id: id, next_report_increment: 279 };
    await machine.report([{ name: 'log_running', request: { ...beat, process_group_id: 7 } }]);
    await since([id], -1);
    await runs.setStatusForTriaging({ workflow_run_id: made.workflow_run_id });
    await machine.report([{ name: 'log_report_by', request: beat }]);
    await machine.report([{ name: 'log_done', request: { task_instance_id: id } }]);
    const history = await database().read<{
      from_status: string | null;
      to_status: string;
      actor: string;
      reason: HistoryReason;
    }>('SELECT from_status, to_status, actor, reason FROM task_instance_history WHERE task_instance_id = ? ORDER BY sequence', [
      id,
    ]);
    expect(history.map((row) => [row.from_status, row.to_status, row.actor, HISTORY_REASONS[row.reason]])).toEqual([
      [null, 'Q', 'C', 'array.queue_task_batch'],
      ['Q', 'I', 'D', 'task_instance.instantiate'],
      ['I', 'O', 'D', 'array.transition_to_launched'],
      ['O', 'R', 'W', 'task_instance.log_running'],
      ['R', 'T', 'C', 'workflow_run.set_status_for_triaging'],
      ['T', 'R', 'W', 'task_instance.log_report_by'],
      ['R', 'D', 'W', 'task_instance.log_done'],
    ]);
  });

  test('E2, E30: names the moved tasks after the commit', async () => {
    const made = await client({ tasks: 2 });
    const { messenger } = startMachine(database());
    const told: unknown[] = [];
    const isTold = new Promise<void>((resolve) => {
      messenger.subscribe(taskChanged, (payload) => (told.push(payload), told.length === 2 && resolve()));
    });
    const runs = started('test', { messenger });
    await runs.queueTaskBatch(queueing(made));
    await runs.queueTaskBatch(queueing(made));
    await runs.instantiate({ task_instance_ids: (await instancesOf(made)).map(({ id }) => id) });
    await isTold;
    const { workflow_id, workflow_run_id } = made;
    const moved = { workflow_id, workflow_run_id, task_ids: [...made.task_ids] };
    expect(told).toEqual([moved, moved]);
  });

  describe('E61', () => {
    const triaged = (made: InsertedWorkflow, runs = started()) =>
      runs.setStatusForTriaging({ workflow_run_id: made.workflow_run_id });

    test('E61 races 2, 15: a launch is given up when it is silent and old, and then retried, not killed', async () => {
      const made = await client({ tasks: 4, task_status: 'O', instance_status: 'O' });
      const [fresh, late, old, alive] = made.task_instance_ids as [number, number, number, number];
      await since([fresh], -1, -10);
      await since([late], -1, -557 + 5);
      await since([old], -1, -559);
      await since([alive], 60, -1_000);
      await triaged(made);
      expect(await statuses([fresh, late, old, alive])).toBe('OO OO XO OO');
      const { machine } = startMachine(database());
      const body = { task_instance_id: old, error_state: 'E' as const, error_message: 'never heard of' };
      await machine.report([{ name: 'log_known_error', request: body }]);
      expect(await statuses([old])).toBe('EG');
    });

    test('E61: how long a launch may be silent follows from the heartbeat that is configured', async () => {
      const made = await client({ tasks: 2, task_status: 'O', instance_status: 'O' });
      await since([made.task_instance_ids[0]!], -1, -20);
      await since([made.task_instance_ids[1]!], -1, -10);
      await triaged(made, started('short', { config: { heartbeat: { task_instance_interval: 3, report_by_buffer: 2.5 } } }));
      expect(await statuses(made.task_instance_ids)).toBe('XO OO');
    });

    test('E61 race 14: what was heard of between the look and the write stays', async () => {
      const made = await client({ tasks: 3, task_status: 'R', instance_status: 'R' });
      const ids = [...made.task_instance_ids];
      await since(ids, -1);
      const [silence] = SILENCES;
      const patience = { old_seconds: 558, served_seconds: Infinity };
      const found = await silentInstances(database(), made.workflow_id, silence!, patience, 0);
      expect(found).toEqual(ids);
      await since([ids[0]!], 279);
      await set("UPDATE task_instance SET status = 'D' WHERE id = ?", [ids[1]!]);
      const write = (): Procedure<unknown> => triage(database().dialect, 'test', silence!, found);
      await database().write({ label: 'test' }, write);
      expect(await letters(made)).toBe('RDT');
      // Found in T, heard of, and silent once more: that is another silence, which begins with T again.
      await since([ids[2]!], -1_000, -1_000);
      const givenUp = SILENCES.find(({ from }) => from === 'T')!;
      expect(await silentInstances(database(), made.workflow_id, givenUp, patience, 0)).toEqual([ids[2]]);
      await set("UPDATE task_instance SET status = 'R' WHERE id = ?", [ids[2]!]);
      await database().write({ label: 'test' }, () => triage(database().dialect, 'test', givenUp, [ids[2]!]));
      expect(await letters(made)).toBe('RDR');
    });

    test('E61 race 31: what survived a hot resume carries the older run and is looked after all the same', async () => {
      const made = await client({ tasks: 2, task_status: 'R', instance_status: 'R', run_status: 'T' });
      const run = await set(
        "INSERT INTO workflow_run (workflow_id, `user`, status, driver) SELECT workflow_id, `user`, 'R', driver FROM workflow_run WHERE id = ?",
        [made.workflow_run_id],
      );
      await since([...made.task_instance_ids], -1);
      await started().setStatusForTriaging({ workflow_run_id: run });
      expect(await statuses(made.task_instance_ids)).toBe('TR TR');
    });

    test('E61 race 54: what stood in doubt while nobody could be heard is not given up before its worker has asked again', async () => {
      const letter = ['T', 'X', 'K', 'O', 'R'] as const;
      const doubted = async (served: number): Promise<string> => {
        const made = await client({
          tasks: 5,
          task_status: (at) => (letter[at] === 'X' || letter[at] === 'O' ? 'O' : 'R'),
          instance_status: (at) => letter[at]!,
        });
        await since([...made.task_instance_ids], -600, -1_000);
        await triaged(made, started('back', { clientsServed: async () => served }));
        return letters(made);
      };
      // To be asked after harms nobody: a worker that speaks is R again.
      expect(await doubted(0)).toBe('TXKOT');
      expect(await doubted(149)).toBe('TXKOT');
      expect(await doubted(150)).toBe('UEFXT');
      const made = await client({ task_status: 'R', instance_status: 'T' });
      await since([...made.task_instance_ids], -10, -40);
      const heartbeat = { task_instance_interval: 3, report_by_buffer: 2.5 };
      // What came to stand there after the return is judged as ever.
      await triaged(made, started('back', { config: { heartbeat }, clientsServed: async () => 60 }));
      expect(await letters(made)).toBe('U');
    });

    test('E61 races 7, 17, 51: what nobody can say anything about ends by itself, and its task is tried again', async () => {
      const made = await client({
        tasks: 4,
        task_status: (at) => (at < 2 ? 'R' : 'O'),
        instance_status: (at) => (at < 2 ? 'T' : 'X'),
      });
      const [t, tFresh, x, xFresh] = made.task_instance_ids as [number, number, number, number];
      await since([t, x], -600, -559);
      await since([tFresh, xFresh], -600, -300);
      await triaged(made);
      await triaged(made);
      expect(await statuses([t, tFresh, x, xFresh])).toBe('UG TR EG XO');
      expect(await errorsOf(database(), t)).toHaveLength(1);
      expect(await errorsOf(database(), x)).toHaveLength(1);
    });

    test('E61 race 24: what went silent ends although another program has put its task to G, and the task stays there', async () => {
      const made = await client({ task_status: 'G', instance_status: 'T' });
      await since([...made.task_instance_ids], -600, -559);
      await triaged(made);
      expect(await statuses([...made.task_instance_ids])).toBe('FG');
      expect(await errorsOf(database(), made.task_instance_ids[0]!)).toHaveLength(1);
    });

    test('E61 race 17: an order to stop that nobody carries out ends, also where an ended run left it', async () => {
      const made = await client({ tasks: 3, task_status: (at) => (at === 0 ? 'R' : 'G'), instance_status: 'K', run_status: 'E' });
      const [held, reset, fresh] = made.task_instance_ids as [number, number, number];
      await since([held, reset], -1, -559);
      await since([fresh], 200, -559);
      await triaged(made);
      await triaged(made);
      expect(await statuses([held, reset, fresh])).toBe('FF FG KG');
      expect(await errorsOf(database(), held)).toHaveLength(1);
    });

    test('E61: 1,300 silent attempts in pieces, by many who ask at once; counts and histories agree', async () => {
      const made = await client({ tasks: 1_300, task_status: 'R', instance_status: 'R' });
      const before = await countTasks(database(), made.workflow_id);
      await since([...made.task_instance_ids], -1);
      const both = [started('one'), started('two')];
      await Promise.all(Array.from({ length: 16 }, (_, at) => triaged(made, both[at % 2]!)));
      expect(await letters(made)).toBe('T'.repeat(1_300));
      expect(await historyOf(database(), made.task_instance_ids[0]!)).toEqual(['T']);
      await expectTruth(database(), made.workflow_id, before);
    });
  });
});
