/** Who did it: after each change that somebody makes who is logged in, a row of the database names him. */
import { accessOf, HISTORY_REASONS, OPERATIONS, settleWorkflowRun, type Operation } from '@jobmon/contracts';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import { callAs, tokenOf } from '../test/bearer';
import { edgesOf, makeTemplate, makeWorkflow, workflowRequest, type Template } from '../test/definitions';
import { goodBodies } from '../test/good-bodies';
import { serve, type Served } from '../test/serve';

/** What an agent hands on of its commands' logs is no act of a person. */
const CHANGING = OPERATIONS.filter(
  (operation) =>
    !['network', 'anyone', 'reader'].includes(accessOf(operation)) &&
    operation.http?.method !== 'GET' &&
    operation.owner !== 'log-sink',
);

/** The columns that say who. */
const NAMING: readonly (readonly [table: string, column: string])[] = [
  ['api_token', 'created_by'],
  ['api_token', 'revoked_by'],
  ['workflow', 'user'],
  ['workflow_run', 'user'],
  ['workflow_event', 'user'],
  ['person_event', 'user'],
  ['agent', 'user'],
];
/** Calls of an agent about itself: its row says whose it is. */
const OF_AGENT = ['agent.lease', 'agent.orders', 'agent.report', 'agent.beat', 'agent.leave'];

describeOnDatabases('who did it', (database) => {
  let served: Served;
  let template: Template;
  let good: Record<string, Record<string, unknown>>;
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)], auth: {} });
    template = await makeTemplate(served, 'who');
    good = goodBodies(template);
  });
  afterAll(() => served.close());

  /** Rows that name a user, as `table.column`. */
  async function rowsOf(user: string): Promise<string[]> {
    const found = await Promise.all(
      NAMING.map(async ([table, column]) => {
        const rows = await database().read<{ n: number }>(`SELECT COUNT(*) AS n FROM ${table} WHERE \`${column}\` = ?`, [user]);
        return Number(rows[0]!.n) > 0 ? [`${table}.${column}`] : [];
      }),
    );
    return found.flat();
  }

  const ended = { workflow_status: 'F', run_status: 'E', task_status: 'F' } as const;
  const live = async (): Promise<number> => (await insertWorkflow(database())).workflow_id;
  const bound = async (name: string): Promise<number> => (await makeWorkflow(served, template, name, 1)).workflow_id;
  const agentOf = async (token: string): Promise<number> =>
    (await callAs(served, token, 'POST', '/api/v4/agents', good['agent.register'])).json.agent_id as number;
  const ADMIN = 'admin of the spec';

  /** What the operation's path names, made by somebody else; and its body where the usual one changes nothing. */
  async function target(name: string, token: string): Promise<{ id?: number; body?: Record<string, unknown> }> {
    if (OF_AGENT.includes(name)) return { id: await agentOf(token) };
    switch (name) {
      case 'agent.drain':
      case 'agent.restore':
        return { id: await agentOf(await tokenOf(database(), { user: ADMIN, role: 'admin' })) };
      case 'api_token.revoke': {
        await tokenOf(database(), { user: ADMIN });
        return { id: (await database().read<{ id: number }>('SELECT MAX(id) AS id FROM api_token'))[0]!.id };
      }
      case 'tool.add_version':
        return { id: (await database().read<{ id: number }>('SELECT MAX(id) AS id FROM tool'))[0]!.id };
      case 'task.register':
        return { id: await bound('tasks') };
      case 'dag.register_edges': {
        const made = await makeWorkflow(served, template, 'edges', 1);
        return { id: made.workflow_id, body: { nodes: edgesOf(made, () => []) } };
      }
      case 'workflow.submit':
        return { id: await bound('submitted') };
      case 'workflow.resume':
        return { id: (await insertWorkflow(database(), ended)).workflow_id, body: { user: 'x', working_directory: '/' } };
      case 'workflow.retry': {
        const { workflow_id, task_ids } = await insertWorkflow(database(), ended);
        return { id: workflow_id, body: { user: 'x', task_ids, working_directory: '/' } };
      }
      case 'workflow.start_over':
        return { id: (await insertWorkflow(database(), ended)).workflow_id };
      case 'workflow.set_limits':
        return { id: await live(), body: { user: 'x', max_concurrently_running: 3 } };
      case 'workflow.pause':
      case 'workflow.drain':
      case 'workflow.cancel':
      case 'workflow.set_priority':
        return { id: await live() };
      default:
        return {};
    }
  }

  it.each(CHANGING.map((operation) => [operation.name, operation] as const))(
    '%s leaves a row that names him',
    async (name, operation) => {
      const user = `who did ${name}`;
      const token = await tokenOf(database(), { user, role: 'admin' });
      const { id, body } = await target(name, token);
      const before = await rowsOf(user);
      expect(before).toEqual(OF_AGENT.includes(name) ? ['agent.user'] : []);
      const path = operation.http!.path.replace(/\{\w+\}/, String(id));
      const { status, text } = await callAs(served, token, operation.http!.method, path, body ?? good[name]);
      expect([status, text]).toEqual([200, expect.any(String)]);
      expect(await rowsOf(user)).not.toEqual([]);
    },
  );

  it('records a definition when it is made, and not when it is found', async () => {
    const token = await tokenOf(database(), { user: 'finder' });
    const events = (): Promise<{ operation: string; subject_id: number }[]> =>
      database().read(`SELECT operation, subject_id FROM person_event WHERE user = 'finder' ORDER BY id`);
    const tool = async (): Promise<number> =>
      (await callAs(served, token, 'POST', '/api/v4/tools', { name: 'found' })).json.tool_id as number;
    const tool_id = await tool();
    expect(await tool()).toBe(tool_id);
    expect(await events()).toEqual([{ operation: 'tool.register', subject_id: tool_id }]);
    // A change that is refused leaves none.
    await callAs(served, token, 'POST', '/api/v4/tools/2000000000/versions', {});
    expect(await events()).toHaveLength(1);
  });

  it('finds who caused a transition: by the event of its reason', async () => {
    const user = 'who cancelled';
    const token = await tokenOf(database(), { user, role: 'admin' });
    const made = await insertWorkflow(database(), { tasks: 3, task_status: 'R', instance_status: 'R' });
    const path = `/api/v4/workflows/${made.workflow_id}/cancel`;
    expect((await callAs(served, token, 'POST', path, { user: 'x', reason: 'enough' })).status).toBe(200);
    await served.messenger.request(settleWorkflowRun, [{ workflow_run_id: made.workflow_run_id }]);
    const rows = await database().read<{ actor: string; reason: keyof typeof HISTORY_REASONS; verb: string; user: string }>(
      `SELECT h.actor AS actor, h.reason AS reason, e.verb AS verb, e.user AS user
         FROM task_instance_history h JOIN task_instance ti ON ti.id = h.task_instance_id
              JOIN workflow_run r ON r.id = ti.workflow_run_id
              LEFT JOIN workflow_event e ON e.id = (SELECT MAX(id) FROM workflow_event
                WHERE workflow_id = r.workflow_id AND date <= h.date)
        WHERE r.workflow_id = ?`,
      [made.workflow_id],
    );
    expect(rows).toHaveLength(3);
    for (const row of rows) {
      expect([row.actor, HISTORY_REASONS[row.reason], row.verb, row.user]).toEqual(['U', 'workflow.cancel', 'cancel', user]);
    }
  });

  it('binds and submits for another: it is his, and the record says who did it', async () => {
    const [root, eve] = [await tokenOf(database(), { user: 'root', role: 'admin' }), await tokenOf(database(), { user: 'eve' })];
    const request = workflowRequest(template, 'for the service', { for_user: 'svc' });
    const refused = await callAs(served, eve, 'POST', '/api/v4/workflows', request);
    expect([refused.status, refused.json.error.message]).toEqual([
      403,
      expect.stringMatching(/only an admin binds workflows for others: eve can't bind one for svc; leave for_user away/),
    ]);
    const { workflow_id } = (await callAs(served, root, 'POST', '/api/v4/workflows', request)).json as { workflow_id: number };
    const tasks = { resources: good['task.register']!.resources, tasks: good['task.register']!.tasks };
    const [bind, submit] = [`/api/v4/workflows/${workflow_id}/tasks`, `/api/v4/workflows/${workflow_id}/submit`];
    const [[task_id]] = (await callAs(served, root, 'POST', bind, tasks)).json.tasks as [[number]];
    const [{ node_id }] = (await database().read('SELECT node_id FROM task WHERE id = ?', [task_id])) as [{ node_id: number }];
    await callAs(served, root, 'POST', `/api/v4/workflows/${workflow_id}/edges`, { nodes: [[node_id, [], []]] });
    expect((await callAs(served, eve, 'POST', submit, { user: 'svc', working_directory: '/' })).status).toBe(403);
    expect((await callAs(served, root, 'POST', submit, { user: 'x', working_directory: '/' })).status).toBe(200);
    const read = (sql: string): Promise<unknown[]> => database().read(sql, [workflow_id]);
    expect(await read('SELECT user FROM workflow_run WHERE workflow_id = ?')).toEqual([{ user: 'svc' }]);
    expect(await read('SELECT user, verb FROM workflow_event WHERE workflow_id = ?')).toEqual([{ user: 'root', verb: 'submit' }]);
    // Agents of the service's account take it.
    const svc = await tokenOf(database(), { user: 'svc' });
    const path = `/api/v4/workflows/${workflow_id}/priority`;
    expect((await callAs(served, svc, 'POST', path, { user: 'x', priority: 1 })).status).toBe(200);
  });
});

test('every operation that changes something is looked at', () => {
  expect(CHANGING.length).toBeGreaterThan(20);
  expect(OF_AGENT.filter((name) => !CHANGING.some((operation: Operation) => operation.name === name))).toEqual([]);
});
