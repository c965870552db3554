/** What people ask of workflows: each verb's effect, its row in the record, its repeat, and what it refuses. */
import type { TaskInstanceStatus, TaskStatus } from '@jobmon/contracts';
import { describeOnDatabases, insertWorkflow, until, type InsertedWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { countTasks, execute, expectTruth, insertAgent, standing } from '../test/started-machine';
import { letters, startOperator, tasksAt, verbs } from '../test/started-operator';

const LIVE: readonly (readonly [TaskInstanceStatus, TaskStatus])[] = [
  ['Q', 'Q'],
  ['I', 'I'],
  ['O', 'O'],
  ['R', 'R'],
  ['T', 'R'],
];

describeOnDatabases('people and workflows', (database) => {
  const who = (made: InsertedWorkflow, reason = 'because') => ({ workflow_id: made.workflow_id, user: 'ada', reason });
  const terms = { mode: 'cold' as const, resources: [], client_version: '1' };
  const live = async (more: WorkflowToInsert = {}) => {
    const agent_id = await insertAgent(database());
    const made = await insertWorkflow(database(), {
      tasks: LIVE.length,
      working_directory: '/home/ada',
      instance_status: (at) => LIVE[at % LIVE.length]![0],
      task_status: (at) => LIVE[at % LIVE.length]![1],
      agent_id,
      ...more,
    });
    return { ...made, agent_id, before: await countTasks(database(), made.workflow_id) };
  };
  /** A workflow of ten tasks, of which 4 are done, 3 have failed and 3 wait, and whose run has ended. */
  const ended = (more: WorkflowToInsert = {}) =>
    insertWorkflow(database(), {
      tasks: 10,
      run_status: 'E',
      workflow_status: 'F',
      working_directory: '/home/ada',
      task_status: (at) => (at < 4 ? 'D' : at < 7 ? 'F' : 'G'),
      ...more,
    });
  const attempts = async (made: InsertedWorkflow) =>
    (await standing(database(), made.task_instance_ids)).map(({ status }) => status).join('');
  /** What an agent says when everything that it was ordered to kill is dead. */
  const killed = (made: InsertedWorkflow & { agent_id: number }, machine: ReturnType<typeof startOperator>['machine']) =>
    machine.report(
      made.task_instance_ids.map((task_instance_id) => ({
        name: 'report_attempt',
        request: { agent_id: made.agent_id, report: { task_instance_id, status: 'E', exit_code: 130 } as never },
      })),
    );
  const refused = async (asked: Promise<unknown>, code: string, words: RegExp) => {
    await expect(asked).rejects.toMatchObject({ code, message: expect.stringMatching(words) as string });
  };

  test('pause: nothing is queued until a resume lifts it; each is recorded once with who and why', async () => {
    const made = await insertWorkflow(database(), { tasks: 2, working_directory: '/home/ada' });
    const { operator, machine, told } = startOperator(database());
    const queue = async () => {
      const [answer] = await Promise.all([
        machine.queueTasks({ workflow_run_id: made.workflow_run_id, task_ids: [...made.task_ids] }),
      ]);
      return 'ok' in answer ? answer.ok.statuses.map(([, status]) => status).join('') : answer.error.message;
    };
    expect(await operator.pause(who(made, 'the disk is full'))).toMatchObject({
      is_paused: true,
      is_changed: true,
      is_pending: false,
    });
    expect(await operator.pause(who(made))).toMatchObject({ is_paused: true, is_changed: false });
    expect(await queue()).toBe('GG');
    expect(await operator.resume({ ...who(made), ...terms })).toMatchObject({ is_paused: false, is_changed: true });
    expect(await operator.resume({ ...who(made), ...terms })).toMatchObject({ is_changed: false });
    expect(await queue()).toBe('QQ');
    expect(await verbs(database(), made.workflow_id)).toEqual(['ada pause', 'ada resume']);
    const [event] = await database().read(
      'SELECT reason, workflow_run_id FROM workflow_event WHERE workflow_id = ? ORDER BY id',
      [made.workflow_id],
    );
    expect(event).toEqual({ reason: 'the disk is full', workflow_run_id: made.workflow_run_id });
    await until('pause and resume are told', () => told.controlled >= 2);
  });

  test('drain: what nobody has taken is given back uncounted, what runs may finish, then the run is T and the workflow HALTED', async () => {
    const made = await live();
    const { operator, machine, told } = startOperator(database());
    expect(await operator.stop(who(made), 'drain')).toMatchObject({
      workflow_run_status: 'H',
      is_changed: true,
      is_pending: true,
    });
    expect(await attempts(made)).toBe('FIORT');
    expect(await tasksAt(database(), made.workflow_id)).toEqual({ G0: 1, I1: 1, O1: 1, R1: 2 });
    expect(await operator.stop(who(made), 'drain')).toMatchObject({ is_changed: false, is_pending: true });
    await machine.report(
      made.task_instance_ids.slice(1).map((task_instance_id) => ({
        name: 'report_attempt',
        request: { agent_id: made.agent_id, report: { task_instance_id, status: 'D', exit_code: 0 } as never },
      })),
    );
    expect(await operator.settle(made.workflow_run_id)).toMatchObject({ status: 'T' });
    expect(await operator.settle(made.workflow_run_id)).toMatchObject({ status: 'T' });
    expect(await letters(database(), made.workflow_id)).toEqual(['H', 'T']);
    expect(await tasksAt(database(), made.workflow_id)).toEqual({ G0: 1, D1: 4 });
    expect(told.agents).toEqual([]);
    expect(await verbs(database(), made.workflow_id)).toEqual(['ada drain']);
    await expectTruth(database(), made.workflow_id, made.before);
  });

  test('drain of a run whose last tasks finish meanwhile ends DONE', async () => {
    const made = await live({ tasks: 1, instance_status: 'R', task_status: 'R' });
    const { operator, machine } = startOperator(database());
    await operator.stop(who(made), 'drain');
    await machine.report([
      {
        name: 'report_attempt',
        request: { agent_id: made.agent_id, report: { task_instance_id: made.task_instance_ids[0]!, status: 'D' } as never },
      },
    ]);
    expect(await operator.settle(made.workflow_run_id)).toMatchObject({ status: 'D' });
    expect(await letters(database(), made.workflow_id)).toEqual(['D', 'D']);
  });

  test('cancel: what agents hold is ordered to stop and its agent told; a drain becomes a cancel, never the other way', async () => {
    const made = await live();
    const { operator, machine, told } = startOperator(database());
    await operator.stop(who(made), 'drain');
    expect(await operator.stop(who(made), 'cancel')).toMatchObject({
      workflow_run_status: 'C',
      is_changed: true,
      is_pending: true,
    });
    expect(await operator.stop(who(made), 'drain')).toMatchObject({ workflow_run_status: 'C', is_changed: false });
    expect(await attempts(made)).toBe('FKKKK');
    await until('the agent is told', () => told.agents.join() === String(made.agent_id));
    await killed(made, machine);
    expect(await attempts(made)).toBe('FFFFF');
    await operator.settle(made.workflow_run_id);
    expect(await letters(database(), made.workflow_id)).toEqual(['H', 'T']);
    expect(await operator.stop(who(made), 'cancel')).toMatchObject({ is_changed: false, is_pending: false });
    expect(await verbs(database(), made.workflow_id)).toEqual(['ada drain', 'ada cancel']);
    await expectTruth(database(), made.workflow_id, made.before);
  });

  test('resume after the end: what is not done is ready with no attempts counted, and a new run is linked', async () => {
    const made = await ended();
    const { operator, told } = startOperator(database());
    const reply = await operator.resume({ ...who(made), ...terms });
    expect(reply).toMatchObject({ workflow_status: 'Q', workflow_run_status: 'B', is_changed: true, is_pending: false });
    expect(reply.workflow_run_id).toBeGreaterThan(made.workflow_run_id);
    expect(await tasksAt(database(), made.workflow_id)).toEqual({ D0: 4, G0: 6 });
    await until('the new run is told', () => told.runs.join('') === 'B');
    const [run] = await database().read('SELECT user, driver, working_directory FROM workflow_run WHERE id = ?', [
      reply.workflow_run_id!,
    ]);
    expect(run).toEqual({ user: 'ada', driver: 'server', working_directory: '/home/ada' });
    expect(await operator.resume({ ...who(made), ...terms })).toMatchObject({ is_changed: false, is_pending: false });
    expect(await verbs(database(), made.workflow_id)).toEqual(['ada resume']);
  });

  test('resume with other resources: new rows for what is not done; the old rows, and what is done, stay', async () => {
    const made = await ended();
    await execute(database(), 'UPDATE task_resources SET requested_resources = ? WHERE id = ?', [
      '{"cores": 1, "memory": 1.5, "runtime": 60, "stdout": "/logs"}',
      made.task_resources_id,
    ]);
    const { operator } = startOperator(database());
    const resources = [{ times: { memory: 1.3, runtime: 2, cores: 1.5 } }, { set: { runtime: 90, cluster: 'multiprocess' } }];
    await operator.resume({ ...who(made), ...terms, resources });
    const rows = await database().read(
      'SELECT tr.requested_resources AS asked, tr.task_resources_type_id AS type, c.name AS cluster, MIN(t.status) AS status, COUNT(*) AS n ' +
        'FROM task AS t JOIN task_resources AS tr ON tr.id = t.task_resources_id JOIN queue AS q ON q.id = tr.queue_id ' +
        'JOIN cluster AS c ON c.id = q.cluster_id WHERE t.workflow_id = ? GROUP BY tr.id ORDER BY tr.id',
      [made.workflow_id],
    );
    expect(rows.map((row) => ({ ...row, asked: JSON.parse(String(row.asked)) as unknown, n: Number(row.n) }))).toEqual([
      { asked: { cores: 1, memory: 1.5, runtime: 60, stdout: '/logs' }, type: 'O', cluster: 'sequential', status: 'D', n: 4 },
      // 1.5 GiB times 1.3 are 1996.8 MiB, rounded up.
      {
        asked: { cores: 2, memory: 1_997 / 1_024, runtime: 90, stdout: '/logs' },
        type: 'A',
        cluster: 'multiprocess',
        status: 'G',
        n: 6,
      },
    ]);
  });

  test.each(['hot', 'cold'] as const)(
    'a %s resume of a run that is being drained waits for its end, then links another',
    async (mode) => {
      const made = await live();
      const { operator, machine, wide } = startOperator(database());
      await operator.stop(who(made), 'drain');
      expect(await operator.resume({ ...who(made), ...terms, mode })).toMatchObject({ is_changed: true, is_pending: true });
      expect(await operator.resume({ ...who(made), ...terms, mode })).toMatchObject({ is_changed: false, is_pending: true });
      await refused(
        operator.resume({ ...who(made), ...terms, mode, resources: [{ set: { cores: 2 } }] }),
        'CONFLICT',
        /on other terms and waits/,
      );
      expect(await letters(database(), made.workflow_id)).toEqual(['R', mode === 'cold' ? 'C' : 'H']);
      await operator.settle(made.workflow_run_id);
      expect(await wide.continueCommand(made.workflow_id)).toEqual({ is_ended: false });
      await killed(made, machine);
      await operator.settle(made.workflow_run_id);
      expect(await wide.continueCommand(made.workflow_id)).toEqual({ is_ended: true });
      expect(await wide.continueCommand(made.workflow_id)).toEqual({ is_ended: true });
      expect(await letters(database(), made.workflow_id)).toEqual(['Q', 'T', 'B']);
      expect(await tasksAt(database(), made.workflow_id)).toEqual({ G0: 5 });
      expect(await verbs(database(), made.workflow_id)).toEqual(['ada drain', 'ada resume']);
    },
  );

  test('a resume that waits is withdrawn by a cancel', async () => {
    const made = await live();
    const { operator, machine, wide } = startOperator(database());
    await operator.stop(who(made), 'drain');
    await operator.resume({ ...who(made), ...terms, mode: 'hot' });
    expect(await operator.stop(who(made), 'cancel')).toMatchObject({ is_changed: true });
    await killed(made, machine);
    await operator.settle(made.workflow_run_id);
    expect(await wide.continueCommand(made.workflow_id)).toEqual({ is_ended: true });
    expect(await letters(database(), made.workflow_id)).toEqual(['H', 'T']);
  });

  test('the server takes over a live client run: told to stop, waited for, then linked when its attempts have ended too', async () => {
    const made = await live({ driver: 'client', instance_status: 'R', task_status: 'R', tasks: 2 });
    const { operator, machine, wide } = startOperator(database());
    await execute(
      database(),
      `UPDATE task_instance SET report_by_date = ${database().dialect.nowPlusSeconds} WHERE task_id IN (?, ?)`,
      [60, ...made.task_ids],
    );
    await refused(operator.pause(who(made)), 'CONFLICT', /run by a client .* take it over/);
    const reply = await operator.resume({ ...who(made), ...terms, working_directory: '/home/bo' });
    expect(reply).toMatchObject({ workflow_run_status: 'C', is_pending: true });
    // Its client has settled what it could and ends; one worker has not heard of it yet.
    expect(await wide.terminate({ workflow_run_id: made.workflow_run_id })).toMatchObject({ num_terminated: 2 });
    expect(await wide.report({ workflow_run_id: made.workflow_run_id, status: 'T', seconds: null })).toEqual({ status: 'T' });
    const [first, second] = made.task_instance_ids as [number, number];
    const error = (task_instance_id: number) => ({
      name: 'log_error_worker_node' as const,
      request: { task_instance_id, error_state: 'F', error_description: 'told to stop' } as never,
    });
    await machine.report([error(first)]);
    expect(await wide.continueCommand(made.workflow_id)).toEqual({ is_ended: false });
    expect(await letters(database(), made.workflow_id)).toEqual(['H', 'T']);
    await machine.report([error(second)]);
    expect(await wide.continueCommand(made.workflow_id)).toEqual({ is_ended: true });
    expect(await letters(database(), made.workflow_id)).toEqual(['Q', 'T', 'B']);
    expect(await tasksAt(database(), made.workflow_id)).toEqual({ G0: 2 });
  });

  test('a cold resume of what a client left behind kills it first, and gives up waiting when its deadline has passed', async () => {
    const made = await live({
      driver: 'client',
      run_status: 'E',
      workflow_status: 'F',
      instance_status: 'R',
      task_status: 'R',
      tasks: 2,
    });
    const deadline = (seconds: number) =>
      execute(database(), `UPDATE task_instance SET report_by_date = ${database().dialect.nowPlusSeconds} WHERE id = ?`, [
        seconds,
        made.task_instance_ids[1]!,
      ]);
    await deadline(60);
    const { operator, wide } = startOperator(database());
    expect(await operator.resume({ ...who(made), ...terms })).toMatchObject({ workflow_status: 'F', is_pending: true });
    expect(await attempts(made)).toBe('KK');
    // The first has no deadline to come, the second one may be heard of yet.
    expect(await wide.continueCommand(made.workflow_id)).toEqual({ is_ended: false });
    expect(await attempts(made)).toBe('FK');
    await deadline(-1);
    expect(await wide.continueCommand(made.workflow_id)).toEqual({ is_ended: true });
    expect(await attempts(made)).toBe('FF');
    expect(await letters(database(), made.workflow_id)).toEqual(['Q', 'E', 'B']);
    expect(await tasksAt(database(), made.workflow_id)).toEqual({ G0: 2 });
  });

  test('a hot resume of what a client left behind leaves what runs to its worker, and links beside it', async () => {
    const made = await live({ driver: 'client', run_status: 'E', workflow_status: 'F' });
    const { operator, wide } = startOperator(database());
    expect(await operator.resume({ ...who(made), ...terms, mode: 'hot' })).toMatchObject({ is_pending: true });
    // Taken and launched ones are ordered to stop; R stays, and with it its task.
    expect(await attempts(made)).toBe('FFKRK');
    expect(await tasksAt(database(), made.workflow_id)).toEqual({ G0: 4, R1: 1 });
    expect(await wide.continueCommand(made.workflow_id)).toEqual({ is_ended: true });
    expect(await attempts(made)).toBe('FFFRF');
    expect(await letters(database(), made.workflow_id)).toEqual(['Q', 'E', 'B']);
  });

  test('a Python client takes over from the server by set_resume, which is recorded; then it may link', async () => {
    const made = await live();
    const { operator, machine, wide, told } = startOperator(database());
    const { workflow_id } = made;
    await wide.setResume({ workflow_id, reset_running_jobs: true });
    await wide.setResume({ workflow_id, reset_running_jobs: true });
    await until('the stop is told once', () => told.runs.join('') === 'C');
    await operator.settle(made.workflow_run_id);
    await killed(made, machine);
    await operator.settle(made.workflow_run_id);
    expect(await verbs(database(), workflow_id)).toEqual(['a Python client take_over']);
    const linked = await wide.link({ workflow_id, user: 'bo', jobmon_version: '3', next_report_increment: 93 });
    expect(linked.workflow_run_id).toBeGreaterThan(made.workflow_run_id);
    expect(await letters(database(), workflow_id)).toEqual(['G', 'T', 'L']);
  });

  test('retry: chosen tasks run again in the live run, or in a new one; the others stay', async () => {
    const made = await ended();
    const { operator, told } = startOperator(database());
    const chosen = { with_downstream: false, client_version: '1' };
    const first = await operator.retry({ ...who(made), ...chosen, task_ids: [made.task_ids[4]!, made.task_ids[8]!] });
    expect(first).toMatchObject({ tasks: 1, is_changed: true, workflow_run_status: 'B' });
    expect(await tasksAt(database(), made.workflow_id)).toEqual({ D0: 4, F0: 2, G0: 4 });
    expect(await operator.retry({ ...who(made), ...chosen, task_ids: [made.task_ids[4]!] })).toMatchObject({
      tasks: 0,
      is_changed: false,
    });
    await refused(
      operator.retry({ ...who(made), ...chosen, task_ids: [made.task_ids[0]!, made.task_ids[5]!] }),
      'CONFLICT',
      new RegExp(`DONE run again only when no run is live \\(task ${made.task_ids[0]}\\)`),
    );
    told.tasks.length = 0;
    expect(await operator.retry({ ...who(made), ...chosen, task_ids: 'failed' })).toMatchObject({ tasks: 2, is_changed: true });
    await until('the retried tasks are told', () => told.tasks.join() === made.task_ids.slice(5, 7).join());
    expect(await letters(database(), made.workflow_id)).toEqual(['Q', 'E', 'B']);
    expect(await verbs(database(), made.workflow_id)).toEqual(['ada retry', 'ada retry']);
  });

  test('retry of a task that is done, with all behind it, when no run is live', async () => {
    const made = await ended({
      tasks: 4,
      task_status: 'D',
      run_status: 'D',
      workflow_status: 'D',
      upstreams: (at) => (at === 0 || at === 3 ? [] : [at - 1]),
    });
    const { operator } = startOperator(database());
    const reply = await operator.retry({
      ...who(made),
      task_ids: [made.task_ids[0]!],
      with_downstream: true,
      client_version: '1',
    });
    expect(reply).toMatchObject({ tasks: 3, workflow_status: 'Q', workflow_run_status: 'B' });
    expect(await tasksAt(database(), made.workflow_id)).toEqual({ D0: 1, G0: 3 });
  });

  test('a run does not end in error past a retry that its scheduler has not seen', async () => {
    const made = await live({ tasks: 2, instance_status: 'E', task_status: 'F' });
    const { operator, machine } = startOperator(database());
    await operator.retry({ ...who(made), task_ids: 'failed', with_downstream: false, client_version: '1' });
    const [event] = await database().read<{ id: number }>('SELECT MAX(id) AS id FROM workflow_event WHERE workflow_id = ?', [
      made.workflow_id,
    ]);
    const move = { workflow_run_id: made.workflow_run_id, to: 'E' } as const;
    expect(await machine.moveWorkflowRun({ ...move, seen_event_id: event!.id - 1 })).toMatchObject({ ok: { status: 'R' } });
    expect(await machine.moveWorkflowRun({ ...move, seen_event_id: event!.id })).toMatchObject({ ok: { status: 'E' } });
  });

  test('reset: all, or all but what is done, back to the beginning; refused by a live run', async () => {
    const made = await ended();
    const { operator } = startOperator(database());
    expect(await operator.startOver({ ...who(made), keep_done: true })).toMatchObject({
      tasks: 3,
      workflow_status: 'G',
      is_changed: true,
    });
    expect(await operator.startOver({ ...who(made), keep_done: true })).toMatchObject({ tasks: 0, is_changed: false });
    expect(await operator.startOver({ ...who(made), keep_done: false })).toMatchObject({ tasks: 4 });
    expect(await tasksAt(database(), made.workflow_id)).toEqual({ G0: 10 });
    expect(await operator.resume({ ...who(made), ...terms })).toMatchObject({ workflow_run_status: 'B' });
    await refused(operator.startOver({ ...who(made), keep_done: false }), 'CONFLICT', /held by its run \d+: cancel or drain it/);
    expect(await verbs(database(), made.workflow_id)).toEqual(['ada reset', 'ada reset', 'ada resume']);
  });

  test('limits and priority: what changes is recorded with before and after, what stands is left', async () => {
    const made = await insertWorkflow(database(), { max_concurrently_running: 7 });
    const { operator } = startOperator(database());
    const [template] = await database().read<{ name: string }>('SELECT name FROM task_template WHERE id = ?', [
      made.task_template_id,
    ]);
    const { name } = template!;
    expect(await operator.setLimits({ ...who(made), max_concurrently_running: 3, task_templates: { [name]: 2 } })).toMatchObject({
      is_changed: true,
    });
    expect(await operator.setLimits({ ...who(made), max_concurrently_running: 3, task_templates: {} })).toMatchObject({
      is_changed: false,
    });
    expect(await operator.setLimits({ ...who(made), task_templates: { [name]: null } })).toMatchObject({ is_changed: true });
    expect(await operator.setPriority({ ...who(made), priority: 5 })).toMatchObject({ is_changed: true });
    expect(await operator.setPriority({ ...who(made), priority: 5 })).toMatchObject({ is_changed: false });
    await refused(operator.setLimits({ ...who(made), task_templates: {} }), 'MALFORMED', /nothing to limit/);
    await refused(
      operator.setLimits({ ...who(made), task_templates: { nosuch: 1 } }),
      'MALFORMED',
      new RegExp(`'nosuch' \\(it has: ${name}\\)`),
    );
    const events = await database().read<{ detail: string }>(
      'SELECT detail FROM workflow_event WHERE workflow_id = ? ORDER BY id',
      [made.workflow_id],
    );
    expect(events.map(({ detail }) => JSON.parse(detail) as unknown)).toEqual([
      { before: { workflow: 7, [`task_template ${name}`]: null }, after: { workflow: 3, [`task_template ${name}`]: 2 } },
      { before: { [`task_template ${name}`]: 2 }, after: { [`task_template ${name}`]: null } },
      { before: 0, after: 5 },
    ]);
  });

  test.each([
    ['pause without a live run', { run_status: 'E', workflow_status: 'F' }, 'pause', /there is nothing to hold/],
    ['resume of a workflow that is DONE', { run_status: 'D', workflow_status: 'D' }, 'resume', /is DONE/],
    ['resume of what no server run has run', { run_status: 'E', workflow_status: 'F' }, 'resume', /give working_directory/],
    [
      'retry under a client',
      { driver: 'client', working_directory: '/home/ada', task_status: 'F' },
      'retry',
      /driven by a client: resume the workflow/,
    ],
    ['other resources under a live run', { working_directory: '/home/ada' }, 'raise', /is live: drain or cancel it, then resume/],
  ] as const)('refused with the cure, and nothing written: %s', async (_, more, verb, words) => {
    const made = await insertWorkflow(database(), { tasks: 2, ...more });
    const { operator } = startOperator(database());
    if (verb === 'resume') {
      await execute(database(), 'UPDATE workflow_run SET working_directory = NULL WHERE workflow_id = ?', [made.workflow_id]);
    }
    const before = [await letters(database(), made.workflow_id), await tasksAt(database(), made.workflow_id)];
    const asked = {
      pause: () => operator.pause(who(made)),
      resume: () => operator.resume({ ...who(made), ...terms }),
      raise: () => operator.resume({ ...who(made), ...terms, resources: [{ set: { cores: 2 } }] }),
      retry: () => operator.retry({ ...who(made), task_ids: 'failed', with_downstream: false, client_version: '1' }),
    };
    await refused(asked[verb](), 'CONFLICT', words);
    expect([await letters(database(), made.workflow_id), await tasksAt(database(), made.workflow_id)]).toEqual(before);
    expect(await verbs(database(), made.workflow_id)).toEqual([]);
    expect(await database().read('SELECT * FROM workflow_command WHERE workflow_id = ?', [made.workflow_id])).toEqual([]);
  });

  test('a workflow bound by a Python client is resumed natively when its tasks have resources, else the cure is named', async () => {
    const made = await ended({ driver: 'client', tasks: 3, task_status: 'F' });
    await execute(database(), 'UPDATE task SET task_resources_id = NULL WHERE id = ?', [made.task_ids[1]!]);
    const { operator } = startOperator(database());
    const request = { ...who(made), ...terms, working_directory: '/home/ada' };
    await refused(
      operator.resume(request),
      'CONFLICT',
      new RegExp(`1 tasks .* have no resources.*\\(task ${made.task_ids[1]}\\): give resources with a cluster`),
    );
    await refused(
      operator.resume({ ...request, resources: [{ set: { cluster: 'nosuch' } }] }),
      'MALFORMED',
      /no cluster 'nosuch'/,
    );
    expect(await operator.resume({ ...request, resources: [{ set: { cluster: 'sequential' } }] })).toMatchObject({
      workflow_run_status: 'B',
    });
    expect(
      await database().read('SELECT id FROM task WHERE workflow_id = ? AND task_resources_id IS NULL', [made.workflow_id]),
    ).toEqual([]);
  });
});
