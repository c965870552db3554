import { request as httpRequest } from 'node:http';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases } from '@jobmon/testkit';
import { joinAgent, submitRun } from '../test/agents';
import { makeTemplate, ok, type Bound, type Template } from '../test/definitions';
import { call, serve, TOKEN, type Served, type Json } from '../test/serve';

describeOnDatabases('agents', (database) => {
  let served: Served;
  let template: Template;
  let made = 0;
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)], lease_seconds: 60 });
    template = await makeTemplate(served, 'agents');
  });
  afterAll(() => served.close());

  const makeRun = (count: number, user: string) => submitRun(served, template, `agents ${(made += 1)}`, count, user);
  const join = (user: string, changes: Record<string, unknown> = {}) => joinAgent(served, user, changes);
  const room = (slots: number) => ({ sequential: { slots, cores: 1_000, memory_gib: 1_000 } });
  const lease = (agent_id: number, count: number, wait_seconds = 0) =>
    ok(served, 'POST', `/api/v4/agents/${agent_id}/lease`, { wanted: room(count), wait_seconds });
  const report = (agent_id: number, ...reports: unknown[]) =>
    ok(served, 'POST', `/api/v4/agents/${agent_id}/report`, { reports });
  const taskOf = async (bound: Bound, position: number) => ok(served, 'GET', `/api/v4/tasks/${bound.task_ids[position]}`);

  it('carries a task from its lease to its end, with all that a view shows of it', async () => {
    const run = await makeRun(2, 'ann');
    await run.queue();
    const { agent_id } = await join('ann');
    const { assignments } = await lease(agent_id, 1);
    expect(assignments).toEqual([
      {
        task_instance_id: expect.any(Number),
        task_id: run.task_ids[0],
        workflow_id: run.workflow_id,
        workflow_run_id: run.workflow_run_id,
        status: 'I',
        task_name: 'echo_0',
        command: 'echo 0 x',
        cluster: 'sequential',
        cluster_type: 'sequential',
        requested_resources: { cores: 1 },
        working_directory: '/tmp',
      },
    ]);
    const { task_instance_id } = assignments[0];
    expect(await report(agent_id, { task_instance_id, status: 'R', nodename: 'node1', process_group_id: 99 })).toEqual({
      statuses: ['R'],
    });
    const end = {
      task_instance_id,
      status: 'D',
      exit_code: 0,
      wallclock_seconds: 1.5,
      stdout: '/o',
      stdout_log: 'out \u0000\u{1F600}',
    };
    expect(await report(agent_id, end)).toEqual({ statuses: ['D'] });
    expect(await report(agent_id, end)).toEqual({ statuses: ['D'] });
    const { task, instances, workflow_id } = await taskOf(run, 0);
    expect(workflow_id).toBe(run.workflow_id);
    expect(task).toMatchObject({ status: 'D', num_attempts: 1, wallclock_seconds: 1.5, error: null, task_template: 'echo' });
    expect(instances).toEqual([
      expect.objectContaining({
        task_instance_id,
        status: 'D',
        exit_code: 0,
        nodename: 'node1',
        process_group_id: 99,
        stdout: '/o',
        stdout_log: 'out \u0000\u{1F600}',
        errors: [],
      }),
    ]);
    expect(instances[0].history.map((step: Json) => [step.from_status, step.to_status, step.actor, step.reason])).toEqual([
      [null, 'Q', 'S', 'task.queue'],
      ['Q', 'I', 'A', 'task_instance.lease'],
      ['I', 'R', 'A', 'task_instance.report_attempt'],
      ['R', 'D', 'A', 'task_instance.report_attempt'],
    ]);
    expect((await ok(served, 'GET', `/api/v4/workflows/${run.workflow_id}`)).tasks).toEqual({ D: 1, Q: 1 });
  });

  it('answers null for an instance that does not exist, and each report of a list by itself', async () => {
    const run = await makeRun(1, 'abe');
    await run.queue();
    const { agent_id } = await join('abe');
    const { assignments } = await lease(agent_id, 5);
    const { task_instance_id } = assignments[0];
    const long = 'é'.repeat(300_000);
    const failed = {
      task_instance_id,
      status: 'E',
      exit_code: 3,
      error_description: `failed ${long} at the end`,
      stdout_log: long,
      stderr_log: long,
    };
    expect(await report(agent_id, { task_instance_id: 2_000_000_000, status: 'D' }, failed)).toEqual({ statuses: [null, 'E'] });
    const { task, instances } = await taskOf(run, 0);
    expect([task.status, instances[0].stdout_log.length, instances[0].errors.length]).toEqual(['G', 10_000, 1]);
    expect(instances[0].errors[0].description).toMatch(/at the end$/);
  });

  it('answers a waiting lease as soon as something is queued', async () => {
    const run = await makeRun(1, 'bea');
    const { agent_id } = await join('bea');
    const started = performance.now();
    const waiting = lease(agent_id, 3, 20);
    await run.queue();
    const { assignments } = await waiting;
    expect(assignments.map((assignment: Json) => assignment.task_id)).toEqual(run.task_ids);
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  it('answers an empty lease when the wait is over, and gives nothing of another user', async () => {
    const run = await makeRun(1, 'cid');
    await run.queue();
    const { agent_id } = await join('dan');
    const started = performance.now();
    expect(await lease(agent_id, 3, 0.3)).toEqual({ assignments: [] });
    expect(performance.now() - started).toBeGreaterThanOrEqual(300);
    const anyone = await join('eve', { any_user: true });
    const { assignments } = await lease(anyone.agent_id, 100);
    expect(assignments.map((assignment: Json) => assignment.task_id)).toContain(run.task_ids[0]);
  });

  it('leases nothing for a caller that has hung up', async () => {
    const run = await makeRun(1, 'fay');
    const { agent_id } = await join('fay');
    const body = JSON.stringify({ wanted: room(1), wait_seconds: 20 });
    const { transactions } = database().counts;
    const sent = httpRequest({
      port: served.port,
      method: 'POST',
      path: `/api/v4/agents/${agent_id}/lease`,
      headers: { authorization: `Bearer ${TOKEN}`, 'content-length': body.length },
    });
    sent.on('error', () => undefined);
    sent.end(body);
    // The poll has arrived when its renewal of the lease is written; it has ended when the api logs it.
    await until(() => database().counts.transactions > transactions);
    sent.destroy();
    await until(() => served.lines.some((line) => line.path === `/api/v4/agents/${agent_id}/lease`));
    await run.queue();
    expect((await lease(agent_id, 1, 5)).assignments).toHaveLength(1);
  });

  it('passes what an agent held to its successor, and lets the former one go', async () => {
    const run = await makeRun(3, 'gus');
    await run.queue();
    const former = await join('gus');
    const { assignments } = await lease(former.agent_id, 2);
    const ids = assignments.map((assignment: Json) => assignment.task_instance_id) as number[];
    await report(former.agent_id, { task_instance_id: ids[0], status: 'R' });
    const successor = await join('gus', { process_id: 18 });
    expect(successor.agent_id).toBeGreaterThan(former.agent_id);
    expect(successor.lease_seconds).toBe(60);
    expect(successor.adopted.map((a: Json) => [a.task_instance_id, a.status])).toEqual([
      [ids[0], 'R'],
      [ids[1], 'I'],
    ]);
    expect(await ok(served, 'POST', `/api/v4/agents/${former.agent_id}/beat`, { running: ids })).toEqual({
      is_known: false,
      kill: ids,
    });
    const refused = await call(served, 'POST', `/api/v4/agents/${former.agent_id}/lease`, {
      wanted: room(1),
      wait_seconds: 0,
    });
    expect([refused.status, refused.json.error.code]).toEqual([404, 'NOT_FOUND']);
    expect((await report(former.agent_id, { task_instance_id: ids[0], status: 'D' })).statuses).toEqual(['R']);
    expect((await report(successor.agent_id, { task_instance_id: ids[0], status: 'D' })).statuses).toEqual(['D']);
    expect(await ok(served, 'POST', `/api/v4/agents/${successor.agent_id}/beat`, { running: [...ids, 2_000_000_000] })).toEqual({
      is_known: true,
      kill: [ids[0], 2_000_000_000],
    });
  });

  it('passes on what went silent and what was ordered to stop, which ends when its end is reported', async () => {
    const run = await makeRun(2, 'gil');
    await run.queue();
    const former = await join('gil');
    const { assignments } = await lease(former.agent_id, 2);
    const ids = assignments.map((assignment: Json) => assignment.task_instance_id) as number[];
    await report(former.agent_id, { task_instance_id: ids[0], status: 'R' }, { task_instance_id: ids[1], status: 'R' });
    await database().write({ label: 'test.end' }, function* () {
      yield { sql: `UPDATE task_instance SET status = 'T' WHERE id = ?`, params: [ids[0] as number] };
      yield { sql: `UPDATE task_instance SET status = 'K' WHERE id = ?`, params: [ids[1] as number] };
    });
    const { agent_id, adopted } = await join('gil', { process_id: 18 });
    expect(adopted.map((a: Json) => [a.task_instance_id, a.status])).toEqual([
      [ids[0], 'T'],
      [ids[1], 'K'],
    ]);
    expect((await ok(served, 'POST', `/api/v4/agents/${agent_id}/beat`, { running: ids })).kill).toEqual([ids[1]]);
    const ends = ids.map((task_instance_id, at) => ({ task_instance_id, status: at === 0 ? 'D' : 'U' }));
    expect((await report(agent_id, ...ends)).statuses).toEqual(['D', 'F']);
  });

  it('lists agents that live and those that ended lately', async () => {
    const { agent_id: former } = await join('hal', { clusters: ['dummy', 'sequential'], any_user: true });
    const { agent_id } = await join('hal');
    const { agents } = await ok(served, 'GET', '/api/v4/agents');
    const own = agents.filter(({ user }: { user: string }) => user === 'hal');
    expect(own).toEqual([
      expect.objectContaining({ agent_id, is_alive: true, any_user: false, clusters: ['sequential'] }),
      expect.objectContaining({ agent_id: former, is_alive: false, any_user: true, clusters: ['dummy', 'sequential'] }),
    ]);
    const until = Date.parse(`${own[0].lease_until_date}Z`) - Date.parse(`${own[0].registered_date}Z`);
    expect(until).toBe(60_000);
  });

  it('asks for a lease ever more rarely while nothing that is queued fits the agent', async () => {
    const run = await makeRun(1, 'ida');
    await run.queue();
    const { agent_id } = await join('ida', { clusters: ['sequential', 'multiprocess'] });
    const { transactions } = database().counts;
    const wanted = { multiprocess: { slots: 1, cores: 1, memory_gib: 1 } };
    const answer = await ok(served, 'POST', `/api/v4/agents/${agent_id}/lease`, { wanted, wait_seconds: 2.5 });
    expect(answer).toEqual({ assignments: [] });
    // The renewal; leases at the start, after 2 s and at the end, where each second would make one more.
    expect(database().counts.transactions - transactions).toBeLessThanOrEqual(4);
    expect((await lease(agent_id, 1)).assignments).toHaveLength(1);
  });

  it('asks the database once for a look of an idle long poll, and writes nothing', async () => {
    await database().write({ label: 'test.end' }, function* () {
      yield { sql: `UPDATE workflow_run SET driver = 'client'` };
    });
    const { agent_id } = await join('ida');
    const { statements, transactions } = { ...database().counts };
    await lease(agent_id, 1, 0.2);
    const { counts } = database();
    // The renewal of the lease, one look at the start and one at the end.
    expect([counts.statements - statements, counts.transactions - transactions]).toEqual([3, 1]);
  });
});

/** Waits until something is so, at most 10 s. */
async function until(isSo: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!isSo()) {
    if (performance.now() > deadline) throw new Error('it did not become so within 10 s');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
