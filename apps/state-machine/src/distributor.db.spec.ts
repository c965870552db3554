/**
 * Reports of workers and distributors against each other on both databases: what each table of the protocol says, repeats whose answer
 * was lost, and the two reporting the same attempt.
 */
import type { TaskInstanceStatus, TaskStatus } from '@jobmon/contracts';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { interposed, losingCommits } from '../test/interposed';
import { countTasks, errorsOf, execute, expectTruth, historyOf, replies, standing, startMachine } from '../test/started-machine';
import type { Report, ReportReply } from './task-instance';

const running = (task_instance_id: number, more: object = {}): Report => ({
  name: 'log_running',
  request: { task_instance_id, process_group_id: 77, nodename: 'n1', next_report_increment: 279, ...more },
});
const beat = (task_instance_id: number, more: object = {}): Report => ({
  name: 'log_report_by',
  request: { task_instance_id, next_report_increment: 279, ...more },
});
const done = (task_instance_id: number): Report => ({ name: 'log_done', request: { task_instance_id, stdout_log: 'out' } });
const failed = (task_instance_id: number, error_state: 'E' | 'Z' | 'U' | 'F' = 'E'): Report => ({
  name: 'log_error_worker_node',
  request: { task_instance_id, error_state, error_description: 'exit code 1', stderr_log: 'err' },
});
const known = (task_instance_id: number, error_state: 'E' | 'Z' | 'U' | 'F' = 'E'): Report => ({
  name: 'log_known_error',
  request: { task_instance_id, error_state, error_message: 'the cluster says so', distributor_id: '8' },
});
const unknown = (task_instance_id: number): Report => ({
  name: 'log_unknown_error',
  request: { task_instance_id, error_state: 'U', error_message: 'the cluster does not know' },
});
const launched = (task_instance_id: number): Report => ({
  name: 'log_distributor_id',
  request: { task_instance_id, distributor_id: '8', next_report_increment: 279 },
});
const refused = (task_instance_id: number): Report => ({
  name: 'log_no_distributor_id',
  request: { task_instance_id, no_id_err_msg: 'no such queue' },
});

describeOnDatabases('reports of workers and distributors', (database) => {
  const one = async (instance: TaskInstanceStatus, task: TaskStatus, more: WorkflowToInsert = {}) => {
    const made = await insertWorkflow(database(), { driver: 'client', instance_status: instance, task_status: task, ...more });
    return { made, id: made.task_instance_ids[0]! };
  };
  const report = async (...reports: Report[]): Promise<ReportReply[]> =>
    replies(await startMachine(database()).machine.report<ReportReply>(reports));
  const stands = async (made: InsertedWorkflow) =>
    (await standing(database(), made.task_instance_ids)).map((row) => `${row.status}${row.task_status}`).join(' ');
  const overdue = (id: number) =>
    execute(database(), `UPDATE task_instance SET report_by_date = ${database().dialect.now} WHERE id = ?`, [id]);
  const deadlineOf = async (id: number) =>
    (await database().read<{ at: string | null }>('SELECT report_by_date AS at FROM task_instance WHERE id = ?', [id]))[0]!.at;

  // The table of spec/http-api-execution.md, entry E19: instance, task, what they become, what is answered.
  test.each([
    ['I', 'I', 'RR', 'R'],
    ['I', 'O', 'RR', 'R'],
    ['O', 'I', 'RR', 'R'],
    ['O', 'O', 'RR', 'R'],
    ['K', 'I', 'FF', 'F'],
    ['K', 'O', 'FF', 'F'],
    ['K', 'R', 'FF', 'F'],
    ['X', 'I', 'EG', 'E'],
    ['X', 'O', 'EG', 'E'],
    ['X', 'R', 'EG', 'E'],
    ['K', 'D', 'FD', 'F'],
    ['K', 'F', 'FF', 'F'],
    ['X', 'D', 'FD', 'F'],
    ['X', 'F', 'FF', 'F'],
    // Unlike the reference, an order to end needs no task (race 46).
    ['K', 'G', 'FG', 'F'],
    ['K', 'A', 'FA', 'F'],
    ['X', 'G', 'EG', 'E'],
    ['X', 'A', 'EA', 'E'],
    // R and T belong to who set R; this caller is somebody else.
    ['R', 'R', 'RR', 'F'],
    ['T', 'R', 'TR', 'F'],
    ['Q', 'Q', 'QQ', 'Q'],
    ['D', 'D', 'DD', 'D'],
    ['E', 'G', 'EG', 'E'],
    ['E', 'R', 'ER', 'E'],
    ['F', 'F', 'FF', 'F'],
    ['U', 'G', 'UG', 'U'],
    ['Z', 'A', 'ZA', 'Z'],
    ['W', 'G', 'WG', 'W'],
  ] as const)('E19 on instance %s and task %s: %s, answered %s', async (instance, task, becomes, answered) => {
    const { made, id } = await one(instance, task);
    expect(await report(running(id))).toMatchObject([{ status: answered }]);
    expect(await stands(made)).toBe(becomes);
    expect((await deadlineOf(id)) !== null).toBe(becomes === 'RR' && answered === 'R');
    expect(await report(running(id))).toMatchObject([{ status: answered }]);
    expect(await stands(made)).toBe(becomes);
  });

  test('E19 on X with no attempt left is fatal for the task', async () => {
    const { made, id } = await one('X', 'O', { max_attempts: 1 });
    expect(await report(running(id))).toMatchObject([{ status: 'E' }]);
    expect(await stands(made)).toBe('EF');
  });

  test('E19 of forty callers at once tells one of them R', async () => {
    const { made, id } = await one('O', 'O');
    const both = [startMachine(database(), 'one').machine, startMachine(database(), 'two').machine];
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, at) => both[at % 2]!.report([running(id, { process_group_id: 100 + at })])),
    );
    const told = answers.map(([outcome]) => replies([outcome!])[0]!.status);
    expect(told.filter((status) => status === 'R')).toHaveLength(1);
    expect(told.filter((status) => status === 'F')).toHaveLength(39);
    const [row] = await standing(database(), made.task_instance_ids);
    expect(row?.['process_group_id']).toBe(100 + told.indexOf('R'));
    expect(await historyOf(database(), id)).toEqual(['R']);
  });

  test('E19 brings its own holder back from T (race 27)', async () => {
    const { made, id } = await one('O', 'O');
    await report(running(id));
    await execute(database(), "UPDATE task_instance SET status = 'T', report_by_date = '2020-01-01 00:00:00' WHERE id = ?", [id]);
    expect(await report(running(id, { nodename: 'n2' }), running(id))).toMatchObject([{ status: 'F' }, { status: 'R' }]);
    expect(await stands(made)).toBe('RR');
    expect(await deadlineOf(id)).not.toBe('2020-01-01 00:00:00');
  });

  test.each(['R', 'T', 'K'] as const)('E22 races 4, 16, 27: work that finished counts from %s', async (status) => {
    const { made, id } = await one(status, 'R');
    expect(await report(done(id))).toEqual([{ status: 'D' }]);
    expect(await stands(made)).toBe('DD');
  });

  test('E22 race 4: a success does not count any more when the task was reset', async () => {
    const { made, id } = await one('K', 'G');
    expect(await report(done(id))).toEqual([{ status: 'K' }]);
    expect(await stands(made)).toBe('KG');
  });

  test.each([
    ['E', 'EG'],
    ['Z', 'ZA'],
    ['U', 'UG'],
    ['F', 'FF'],
  ] as const)('E23 races 16, 27: %s is accepted from T', async (state, becomes) => {
    const { made, id } = await one('T', 'R');
    expect(await report(failed(id, state))).toEqual([{ status: state }]);
    expect(await stands(made)).toBe(becomes);
    expect(await errorsOf(database(), id)).toEqual(['exit code 1']);
  });

  test('E20 race 27: a heartbeat gives R back, and moves the deadline', async () => {
    const { made, id } = await one('T', 'R');
    await overdue(id);
    const before = await deadlineOf(id);
    expect(await report(beat(id))).toEqual([{ status: 'R' }]);
    expect(await stands(made)).toBe('RR');
    expect((await deadlineOf(id))! > before!).toBe(true);
    expect(await report(done(id))).toEqual([{ status: 'D' }]);
  });

  test('E20 race 38: a heartbeat without paths or cluster id erases nothing', async () => {
    const { made, id } = await one('R', 'R');
    await report(beat(id, { stdout: '/o', stderr: '/e', distributor_id: '8' }), beat(id), beat(id, { stdout: null }));
    expect(await standing(database(), made.task_instance_ids)).toMatchObject([
      { stdout: '/o', stderr: '/e', distributor_id: '8' },
    ]);
  });

  test('E23, E28, E29 race 3: worker and distributor report one failure; the first word stands, in any order', async () => {
    const orders: [Report['name'][], string][] = [
      [['log_error_worker_node', 'log_known_error', 'log_unknown_error'], 'EG'],
      [['log_known_error', 'log_error_worker_node', 'log_unknown_error'], 'ZA'],
      [['log_unknown_error', 'log_error_worker_node', 'log_known_error'], 'UG'],
    ];
    for (const [order, becomes] of orders) {
      const { made, id } = await one('T', 'R');
      await overdue(id);
      const all: Partial<Record<Report['name'], Report>> = {
        log_error_worker_node: failed(id),
        log_known_error: known(id, 'Z'),
        log_unknown_error: unknown(id),
      };
      for (const name of order) await report(all[name]!);
      expect(await stands(made)).toBe(becomes);
      expect(await historyOf(database(), id)).toEqual([becomes[0]]);
      expect(await report(failed(id, becomes[0] as 'E'), known(id, becomes[0] as 'E'))).toMatchObject([
        { status: becomes[0] },
        {},
      ]);
      expect(await stands(made)).toBe(becomes);
    }
  });

  test('E29 race 39: a heartbeat in the same batch wins, a missing deadline is no passed one', async () => {
    const { made, id } = await one('T', 'R');
    expect(await report(unknown(id))).toEqual([{ message: expect.stringContaining('heard of again') }]);
    await overdue(id);
    expect(await report(beat(id), unknown(id))).toEqual([
      { status: 'R' },
      { message: expect.stringContaining('heard of again') },
    ]);
    expect(await stands(made)).toBe('RR');
    expect(await errorsOf(database(), id)).toEqual([]);
  });

  test.each([
    ['X', 'D', 'FD'],
    ['X', 'F', 'FF'],
    ['T', 'D', 'FD'],
    ['T', 'F', 'FF'],
  ] as const)('E28 race 24: %s with its task at %s is closed without the task', async (instance, task, becomes) => {
    const { made, id } = await one(instance, task);
    await report(known(id));
    expect(await stands(made)).toBe(becomes);
    expect(await errorsOf(database(), id)).toEqual(['the cluster says so']);
  });

  test('E19, E23, E28 race 46: K and X end although their task was reset', async () => {
    for (const [instance, sent, becomes] of [
      ['X', known, 'EG'],
      ['X', running, 'EG'],
      ['K', running, 'FG'],
      ['K', (id: number) => failed(id, 'F'), 'FG'],
    ] as const) {
      const { made, id } = await one(instance, 'G');
      await report(sent(id));
      expect(await stands(made)).toBe(becomes);
    }
  });

  test('E22, E23, E26, E28 race 29: an older attempt is recorded and its task stays with the newer one', async () => {
    for (const [instance, sent, becomes] of [
      ['R', done, 'D'],
      ['R', failed, 'E'],
      ['I', refused, 'W'],
      ['X', known, 'E'],
      ['I', launched, 'F'],
      ['O', running, 'F'],
    ] as const) {
      const { made, id } = await one(instance, 'R');
      await execute(database(), 'UPDATE task SET current_task_instance_id = ? WHERE id = ?', [id + 1_000_000, made.task_ids[0]!]);
      await report(sent(id));
      expect([instance, await stands(made)]).toEqual([instance, `${becomes}R`]);
    }
  });

  test('E23, E26, E28, E29 races 25, 40: a repeat writes no second error row, also when nobody knows whether the first was committed', async () => {
    const cases = [
      ['R', 'R', failed, 'EG'],
      ['I', 'I', refused, 'WG'],
      ['X', 'O', known, 'EG'],
      ['T', 'R', unknown, 'UG'],
    ] as const;
    for (const [instance, task, sent, becomes] of cases) {
      const { made, id } = await one(instance, task);
      await overdue(id);
      const before = await countTasks(database(), made.workflow_id);
      const { machine } = startMachine(losingCommits(database(), 1));
      replies(await machine.report<ReportReply>([sent(id)]));
      const others = [startMachine(database(), 'one').machine, startMachine(database(), 'two').machine];
      await Promise.all(Array.from({ length: 8 }, (_, at) => others[at % 2]!.report<ReportReply>([sent(id)])));
      expect(await stands(made)).toBe(becomes);
      expect(await errorsOf(database(), id)).toHaveLength(1);
      expect(await historyOf(database(), id)).toEqual([becomes[0]]);
      await expectTruth(database(), made.workflow_id, before);
    }
  });

  test.each(['Q', 'I'] as const)(
    'E23, E28 race 26: F from %s is refused; only a stop ends what nobody has started',
    async (status) => {
      const { made, id } = await one(status, status);
      expect(await report(failed(id, 'F'), known(id, 'F'))).toEqual([{ status }, { message: expect.stringMatching(/./) }]);
      expect(await stands(made)).toBe(`${status}${status}`);
    },
  );

  test('E26 race 40: refused reports of one text are one row', async () => {
    const { made, id } = await one('R', 'R');
    await Promise.all([report(refused(id)), report(refused(id), refused(id)), report(refused(id))]);
    expect(await stands(made)).toBe('RR');
    expect(await errorsOf(database(), id)).toEqual(['no such queue']);
  });

  test('E28: a refused move leaves no error row', async () => {
    const { made, id } = await one('D', 'D');
    expect(await report(known(id), known(id))).toEqual([
      { message: expect.stringMatching(/D/) },
      { message: expect.stringMatching(/D/) },
    ]);
    expect(await stands(made)).toBe('DD');
    expect(await errorsOf(database(), id)).toEqual([]);
  });

  test('E23 race 37: what a failed try meant to write is written by the next one, whole', async () => {
    const { made, id } = await one('R', 'R');
    let failures = 0;
    const failing = interposed(database(), (statement, result) => {
      if (statement.sql.startsWith('INSERT INTO task_instance_error_log') && failures < 1) {
        failures += 1;
        throw Object.assign(new Error('deadlock'), { errno: 1213, code: 'SQLITE_BUSY' });
      }
      return result;
    });
    expect(replies(await startMachine(failing).machine.report([failed(id)]))).toEqual([{ status: 'E' }]);
    expect(failures).toBe(1);
    expect(await standing(database(), made.task_instance_ids)).toMatchObject([
      { status: 'E', task_status: 'G', stderr_log: 'err', num_attempts: 1 },
    ]);
    expect(await errorsOf(database(), id)).toEqual(['exit code 1']);
    expect(await historyOf(database(), id)).toEqual(['E']);
  });

  test('E27 race 55: a single launch is dated like a launched batch, one that came late leaves the date unset', async () => {
    const { made, id } = await one('I', 'I');
    const late = await one('R', 'R');
    await report(launched(id), launched(late.id));
    const [row] = await standing(database(), [id]);
    expect(row).toMatchObject({ status: 'O', task_status: 'O', distributor_id: '8', submitted_date: expect.any(String) });
    expect(await standing(database(), [late.id])).toMatchObject([{ status: 'R', submitted_date: null, distributor_id: '8' }]);
    const first = row!['submitted_date'];
    await report(running(id), done(id), launched(id));
    expect(await standing(database(), [id])).toMatchObject([{ status: 'D', submitted_date: first }]);
    expect(made.task_instance_ids).toEqual([id]);
  });

  test('race 36: single reports and batches of the same attempts at once; all are answered, both databases agree with themselves', async () => {
    const made = await insertWorkflow(database(), { driver: 'client', tasks: 120, task_status: 'O', instance_status: 'O' });
    const before = await countTasks(database(), made.workflow_id);
    const both = [startMachine(database(), 'one').machine, startMachine(database(), 'two').machine];
    const ids = [...made.task_instance_ids];
    const backwards = [...ids].reverse();
    const sent = await Promise.all([
      both[0]!.report<ReportReply>(ids.map((id) => running(id))),
      both[1]!.report<ReportReply>(backwards.map((id) => launched(id))),
      both[1]!.report<ReportReply>(ids.map((id) => beat(id))),
      both[0]!.report<ReportReply>(backwards.map((id) => known(id))),
      both[1]!.report<ReportReply>(ids.map((id, at) => (at % 2 === 0 ? done(id) : failed(id)))),
    ]);
    for (const outcomes of sent) replies(outcomes);
    await expectTruth(database(), made.workflow_id, before);
  });
});
