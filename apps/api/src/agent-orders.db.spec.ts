import { agentOrdered } from '@jobmon/contracts';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases } from '@jobmon/testkit';
import { joinAgent, submitRun, type SubmittedRun } from '../test/agents';
import { makeTemplate, ok, type Template } from '../test/definitions';
import { call, serve, type Json, type Served } from '../test/serve';

describeOnDatabases('orders to agents', (database) => {
  let served: Served;
  let template: Template;
  let made = 0;
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)], lease_seconds: 60 });
    template = await makeTemplate(served, 'orders');
  });
  afterAll(() => served.close());

  const join = (user: string, changes: Record<string, unknown> = {}): Promise<Json> =>
    joinAgent(served, user, { memory_gib: 8.5, ...changes });
  const post = (agent_id: number, verb: string, body: Record<string, unknown> = {}): Promise<Json> =>
    ok(served, 'POST', `/api/v4/agents/${agent_id}/${verb}`, body);
  const lease = (agent_id: number, slots = 10, more: Record<string, unknown> = {}): Promise<Json> =>
    post(agent_id, 'lease', { wanted: { sequential: { slots, cores: 100, memory_gib: 100 } }, wait_seconds: 0, ...more });
  const orders = (agent_id: number, more: Record<string, unknown> = {}): Promise<Json> =>
    post(agent_id, 'orders', { killing: [], is_draining: false, wait_seconds: 10, ...more });
  const agentOf = async (agent_id: number): Promise<Json> => (await ok(served, 'GET', `/api/v4/agents/${agent_id}`)).agent;

  async function queued(user: string, count: number): Promise<SubmittedRun> {
    const run = await submitRun(served, template, `orders ${(made += 1)}`, count, user);
    await run.queue();
    return run;
  }
  const idsOf = ({ assignments }: Json): number[] => assignments.map((assignment: Json) => assignment.task_instance_id);
  const setStatus = (id: number, status: string): Promise<void> =>
    database().write({ label: 'test.order' }, function* () {
      yield { sql: `UPDATE task_instance SET status = ? WHERE id = ?`, params: [status, id] };
    });

  it('answers a kill as soon as it is told, and not again while it is carried out', async () => {
    await queued('ann', 2);
    const { agent_id } = await join('ann');
    const [first] = idsOf(await lease(agent_id)) as [number];
    const waiting = orders(agent_id);
    await new Promise((resolve) => setTimeout(resolve, 100));
    await setStatus(first, 'K');
    const ordered = performance.now();
    served.messenger.publish(agentOrdered, { agent_id });
    expect(await waiting).toEqual({ is_known: true, kill: [first], is_draining: false, set_aside_reason: null });
    expect(performance.now() - ordered).toBeLessThan(500);
    expect(await orders(agent_id, { killing: [first], wait_seconds: 0.2 })).toMatchObject({ kill: [] });
    const { agent_id: next } = await join('ann');
    expect(await orders(agent_id)).toMatchObject({ is_known: false });
    expect(await orders(next)).toMatchObject({ is_known: true, kill: [first] });
  });

  it('drains: says so at once, leases nothing, lets go when nothing is held, and not before', async () => {
    await queued('bob', 2);
    const { agent_id } = await join('bob');
    const [held] = idsOf(await lease(agent_id, 1)) as [number];
    const waiting = orders(agent_id);
    expect(await post(agent_id, 'drain', { user: 'eve', reason: 'new kernel' })).toEqual({ agent_id, state: 'draining' });
    expect(await waiting).toMatchObject({ is_draining: true });
    expect(await post(agent_id, 'drain', { user: 'bob' })).toEqual({ agent_id, state: 'draining' });
    expect(await agentOf(agent_id)).toMatchObject({
      state: 'draining',
      reason: 'by eve: new kernel',
      attempts: { I: 1 },
      cores: 4,
      cores_in_use: 1,
      memory_gib: 8.5,
      newest: [{ task_instance_id: held, task_name: 'echo_0', status: 'I', cores: 1 }],
    });
    expect(await lease(agent_id)).toEqual({ assignments: [] });
    const early = await call(served, 'POST', `/api/v4/agents/${agent_id}/leave`, {});
    expect([early.status, early.json.error.code]).toEqual([409, 'CONFLICT']);
    // The same process that joins again is draining still; another one is not.
    const { agent_id: again } = await join('bob', { has_joined_before: true });
    expect((await agentOf(again)).state).toBe('draining');
    await post(again, 'report', { reports: [{ task_instance_id: held, status: 'D' }] });
    expect(await post(again, 'leave')).toEqual({});
    expect(await post(again, 'leave')).toEqual({});
    expect((await agentOf(again)).state).toBe('ended');
    const late = await call(served, 'POST', `/api/v4/agents/${again}/restore`, { user: 'eve' });
    expect([late.status, late.json.error.code]).toEqual([409, 'CONFLICT']);
    const { agent_id: anew } = await join('bob');
    expect(await agentOf(anew)).toMatchObject({ state: 'alive', reason: null });
  });

  it('answers an open call for work when another one with more room takes its place', async () => {
    const { agent_id } = await join('cyd');
    const waiting = lease(agent_id, 1, { wait_seconds: 20, number: 1 });
    await new Promise((resolve) => setTimeout(resolve, 100));
    const asked = performance.now();
    expect(await lease(agent_id, 4, { number: 2 })).toEqual({ assignments: [] });
    expect(await waiting).toEqual({ assignments: [] });
    expect(performance.now() - asked).toBeLessThan(1_000);
  });

  describe('a bad host', () => {
    /** Attempts of these agents in turn, the first of which fails what it starts while the other one does its work. */
    async function failing(user: string, tasks: number, other: { hasStarted: boolean }, count: number, error = {}) {
      const bound = await queued(user, tasks);
      const { agent_id } = await join(user);
      const { agent_id: good } = await join(user, { state_directory: '/var/other' });
      if (other.hasStarted) {
        const [id] = idsOf(await lease(good, 1)) as [number];
        await post(good, 'report', { reports: [{ task_instance_id: id, status: 'R' }] });
      }
      const failed_starts = idsOf(await lease(agent_id, count));
      const reports = failed_starts.map((task_instance_id) => ({
        task_instance_id,
        status: 'W',
        error_description: 'no folder',
        ...error,
      }));
      await post(agent_id, 'report', { reports, failed_starts });
      return { bound, agent_id, failed_starts };
    }

    it('is set aside with the reason, and what it did not start counts for no task', async () => {
      const { agent_id, bound } = await failing('dee', 8, { hasStarted: true }, 5);
      expect(await agentOf(agent_id)).toMatchObject({
        state: 'set_aside',
        reason: expect.stringMatching(/^5 attempts in a row of 5 tasks failed at their start, .*: no folder$/),
      });
      const { task } = await ok(served, 'GET', `/api/v4/tasks/${bound.task_ids[1]}`);
      expect(task).toMatchObject({ status: 'G', num_attempts: 0 });
      expect(await lease(agent_id)).toEqual({ assignments: [] });
      expect(await orders(agent_id, { wait_seconds: 0 })).toMatchObject({
        set_aside_reason: expect.stringContaining('no folder'),
      });
      expect(await post(agent_id, 'restore', { user: 'eve' })).toEqual({ agent_id, state: 'alive' });
      expect((await lease(agent_id)).assignments.length).toBeGreaterThan(0);
    });

    it('may fail with the exit status of a command that is not found', async () => {
      const { agent_id } = await failing('eli', 8, { hasStarted: true }, 5, { status: 'E', exit_code: 127 });
      expect((await agentOf(agent_id)).state).toBe('set_aside');
    });

    it.each([
      ['four attempts are too few', 8, { hasStarted: true }, 4, {}],
      ['such tasks start nowhere: it may be the workflow', 8, { hasStarted: false }, 5, {}],
      ['the commands began and failed', 8, { hasStarted: true }, 5, { status: 'E', exit_code: 1 }],
    ])('is not what it is called when %s', async (_, tasks, other, count, error) => {
      const { agent_id } = await failing(`fay ${(made += 1)}`, tasks, other, count, error);
      expect((await agentOf(agent_id)).state).toBe('alive');
    });
  });
});
