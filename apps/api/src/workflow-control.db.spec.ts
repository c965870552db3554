/** The verbs and their record over HTTP: what is read back, a page at a time, and what is refused before anything is written. */
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import { call, serve, type Served } from '../test/serve';

describeOnDatabases('control over HTTP', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)] });
  });
  afterAll(() => served.close());

  const at = (workflow_id: number, verb: string): string => `/api/v4/workflows/${workflow_id}/${verb}`;

  it('the record tells who, when, why and what, newest first, in pages', async () => {
    const { workflow_id, workflow_run_id } = await insertWorkflow(database());
    const act = (verb: string, more: object) => call(served, 'POST', at(workflow_id, verb), { user: 'ada', ...more });
    for (const [verb, more] of [
      ['pause', { reason: 'no room\ud83d\ude80' }],
      ['resume', {}],
      ['priority', { priority: -3, reason: 'it can wait' }],
      ['limits', { max_concurrently_running: null }],
      ['limits', { max_concurrently_running: 5 }],
      ['cancel', { user: 'bo' }],
      ['cancel', {}],
    ] as const) {
      expect((await act(verb, more)).status).toBe(200);
    }
    const first = (await call(served, 'GET', `${at(workflow_id, 'history')}?limit=2`)).json;
    const second = (await call(served, 'GET', `${at(workflow_id, 'history')}?limit=3&before=${first.next}`)).json;
    expect(second.next).toBeNull();
    const events = [...first.events, ...second.events];
    expect(events.map(({ user, verb, reason }) => [user, verb, reason])).toEqual([
      ['bo', 'cancel', ''],
      ['ada', 'set_limits', ''],
      ['ada', 'set_priority', 'it can wait'],
      ['ada', 'resume', ''],
      ['ada', 'pause', 'no room🚀'],
    ]);
    expect(events[1].detail).toEqual({ before: { workflow: null }, after: { workflow: 5 } });
    for (const event of events) {
      expect(event.workflow_run_id).toBe(workflow_run_id);
      expect(Math.abs(Date.parse(`${event.date.replace(' ', 'T')}Z`) - Date.now())).toBeLessThan(60_000);
      expect(event.microsecond).toBeLessThan(1e6);
    }
    expect((await call(served, 'GET', at(2_000_000_000, 'history'))).status).toBe(404);
  });

  it.each([
    ['pause', {}, 'user'],
    ['pause', { user: '' }, 'user'],
    ['pause', { user: 'ada', reason: 'x'.repeat(2_001) }, 'reason'],
    ['resume', { user: 'ada', mode: 'warm' }, 'mode'],
    ['resume', { user: 'ada', working_directory: 'here' }, 'absolute'],
    ['resume', { user: 'ada', resources: [{}] }, 'something to set'],
    ['resume', { user: 'ada', resources: [{ set: { memory: '4G' } }] }, 'memory'],
    ['resume', { user: 'ada', resources: [{ set: { memory: -1 } }] }, 'memory'],
    ['resume', { user: 'ada', resources: [{ set: { cores: 1.5 } }] }, 'cores'],
    ['resume', { user: 'ada', resources: [{ set: { queue: 'all.q' } }] }, 'cluster'],
    ['resume', { user: 'ada', resources: [{ times: { memory: 0 } }] }, 'memory'],
    ['resume', { user: 'ada', resources: [{ set: { disk: 1 } }] }, 'disk'],
    ['retry', { user: 'ada', task_ids: [] }, 'task_ids'],
    ['retry', { user: 'ada', task_ids: 'all' }, 'task_ids'],
    ['limits', { user: 'ada', max_concurrently_running: -1 }, 'max_concurrently_running'],
    ['limits', { user: 'ada', max_concurrently_running: '5x' }, 'max_concurrently_running'],
    ['limits', { user: 'ada', task_templates: { step: 1.5 } }, 'step'],
    ['priority', { user: 'ada', priority: 1_001 }, 'priority'],
    ['priority', { user: 'ada', priority: 0.5 }, 'priority'],
  ])('%s refuses %j', async (verb, body, named) => {
    const answered = await call(served, 'POST', at(1, verb), body);
    expect([answered.status, answered.json.error.code]).toEqual([400, 'MALFORMED']);
    expect(answered.text).toContain(named);
  });

  it('a verb needs the token', async () => {
    expect((await call(served, 'POST', at(1, 'cancel'), { user: 'ada' }, {})).status).toBe(401);
  });
});
