import { request as httpRequest, type IncomingMessage } from 'node:http';
import { moveWorkflowRun, queueTasks, reportAttempt } from '@jobmon/contracts';
import { send } from '@jobmon/messaging';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases } from '@jobmon/testkit';
import {
  digits,
  edgesOf,
  makeTemplate,
  makeWorkflow,
  ok,
  taskRequest,
  SEQUENTIAL,
  workflowRequest,
  type Template,
} from '../test/definitions';
import { call, serve, type Served, type Json } from '../test/serve';

describeOnDatabases('workflows', (database) => {
  let served: Served;
  let template: Template;
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)] });
    template = await makeTemplate(served, 'workflows');
  });
  afterAll(() => served.close());

  const submit = (workflow_id: number) =>
    call(served, 'POST', `/api/v4/workflows/${workflow_id}/submit`, {
      user: 'ann',
      working_directory: '/tmp',
      client_version: '9',
    });

  it('finds a tool and a template again instead of making them twice, whoever asks at one time', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => makeTemplate(served, 'at one time')));
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
  });

  it('tells templates apart that differ behind their 617th character, in case, or in their arguments', async () => {
    const register = async (changes: Record<string, unknown>) => {
      const request = {
        tool_version_id: template.tool_version_id,
        name: 'long',
        node_args: ['n'],
        task_args: [],
        op_args: ['N'],
        arg_mapping_hash: '5',
      };
      return ok(served, 'POST', '/api/v4/task_templates', { ...request, ...changes });
    };
    const versions = [];
    for (const ending of ['a', 'b', 'B']) versions.push(await register({ command_template: `${'x'.repeat(700)}${ending}` }));
    versions.push(await register({ command_template: 'short', arg_mapping_hash: '5' }));
    versions.push(await register({ command_template: 'short', arg_mapping_hash: '6' }));
    const ids = versions.map(({ task_template_version_id }) => task_template_version_id);
    expect(new Set(ids).size).toBe(5);
    expect(new Set(versions.map(({ task_template_id }) => task_template_id)).size).toBe(1);
    expect(versions[0].arg_ids.n).not.toBe(versions[0].arg_ids.N);
    expect((await register({ command_template: `  ${'x'.repeat(700)}b\n` })).task_template_version_id).toBe(ids[1]);
  });

  it('finds a workflow again by what it is made of, and keeps its newest description', async () => {
    const request = workflowRequest(template, 'found again', { attributes: { colour: 'blue' }, max_concurrently_running: 7 });
    const first = await ok(served, 'POST', '/api/v4/workflows', request);
    expect(first).toMatchObject({ status: 'G', newly_created: true, has_edges: false });
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, nth) =>
        ok(served, 'POST', '/api/v4/workflows', {
          ...request,
          name: 'new name',
          attributes: { colour: `blue ${nth}`, size: 'x' },
        }),
      ),
    );
    expect(new Set(answers.map(({ workflow_id }) => workflow_id))).toEqual(new Set([first.workflow_id]));
    expect(answers.some(({ newly_created }) => newly_created)).toBe(false);
    expect(await ok(served, 'GET', `/api/v4/workflows/${first.workflow_id}`)).toMatchObject({
      name: 'new name',
      tool: 'workflows',
      max_concurrently_running: 7,
      tasks: {},
      workflow_run_id: null,
    });
    const attributes = await database().read('SELECT * FROM workflow_attribute WHERE workflow_id = ?', [first.workflow_id]);
    expect(attributes).toHaveLength(2);
  });

  it('refuses the same arguments with another graph or other tasks, and names the other workflow', async () => {
    const { workflow_id } = await ok(served, 'POST', '/api/v4/workflows', workflowRequest(template, 'taken'));
    for (const changes of [{ dag_hash: '1' }, { task_hash: '1' }]) {
      const { status, json } = await call(served, 'POST', '/api/v4/workflows', workflowRequest(template, 'taken', changes));
      expect([status, json.error.code, json.error.details]).toEqual([
        409,
        'CONFLICT',
        { rule: 'workflow_args_taken', workflow_id },
      ]);
      expect(json.error.message).toContain(`workflow ${workflow_id} `);
    }
  });

  it('submits once, and answers the living run to a repeat', async () => {
    const { workflow_id } = await makeWorkflow(served, template, 'submitted', 3, (position) =>
      position === 0 ? [] : [position - 1],
    );
    const answers = await Promise.all([submit(workflow_id), submit(workflow_id), submit(workflow_id)]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(new Set(answers.map(({ json }) => json.workflow_run_id)).size).toBe(1);
    expect(await ok(served, 'GET', `/api/v4/workflows/${workflow_id}`)).toMatchObject({
      status: 'Q',
      workflow_run_status: 'B',
      user: 'ann',
      tasks: { G: 3 },
      created_date: expect.any(String),
    });
    const found = await ok(served, 'POST', '/api/v4/workflows', workflowRequest(template, 'submitted'));
    expect(found).toMatchObject({ workflow_id, status: 'Q', newly_created: false, has_edges: true });
    const { stored } = await ok(served, 'POST', `/api/v4/workflows/${workflow_id}/edges`, { nodes: [] });
    expect(stored).toBe(0);
  });

  it('refuses to submit what cannot run, naming rule and tasks', async () => {
    const rule = async (workflow_id: number) => {
      const { status, json } = await submit(workflow_id);
      expect(await database().read('SELECT id FROM workflow_run WHERE workflow_id = ?', [workflow_id])).toEqual([]);
      return [status, json.error.details.rule, [...(json.error.details.tasks ?? [])].sort()];
    };
    const empty = await ok(served, 'POST', '/api/v4/workflows', workflowRequest(template, 'empty'));
    expect(await rule(empty.workflow_id)).toEqual([409, 'no_tasks', []]);

    const cyclic = await makeWorkflow(
      served,
      template,
      'cyclic',
      6,
      (position) => [[], [0], [1, 4], [2], [3], [4]][position] as number[],
    );
    expect(await rule(cyclic.workflow_id)).toEqual([409, 'cycle', ['echo_2', 'echo_3', 'echo_4']]);

    const bare = await ok(served, 'POST', '/api/v4/workflows', workflowRequest(template, 'bare'));
    const { tasks } = await ok(served, 'POST', `/api/v4/workflows/${bare.workflow_id}/tasks`, {
      resources: [SEQUENTIAL],
      tasks: [taskRequest(template, 0), taskRequest(template, 1)],
    });
    await ok(served, 'POST', `/api/v4/workflows/${bare.workflow_id}/edges`, { nodes: [[tasks[0][1], [], []]] });
    expect(await rule(bare.workflow_id)).toEqual([409, 'no_edges', ['echo_1']]);
    await ok(served, 'POST', `/api/v4/workflows/${bare.workflow_id}/edges`, { nodes: [[tasks[1][1], [tasks[0][1]], []]] });
    expect(await rule(bare.workflow_id)).toEqual([409, 'edge_of_one_side', ['echo_0']]);
    await ok(served, 'POST', `/api/v4/workflows/${bare.workflow_id}/edges`, { nodes: [[tasks[0][1], [], [tasks[1][1]]]] });
    expect((await submit(bare.workflow_id)).status).toBe(200);
  });

  it('refuses edges of nodes that are of no task of the workflow, or that only one side tells of', async () => {
    const one = await makeWorkflow(served, template, 'edges one', 2);
    const other = await makeWorkflow(served, template, 'edges other', 4);
    const send = (nodes: unknown[]) => call(served, 'POST', `/api/v4/workflows/${one.workflow_id}/edges`, { nodes });
    const [a, b] = one.node_ids as [number, number];
    const stranger = other.node_ids[3] as number;
    const details = async (nodes: unknown[]) => {
      const { status, json } = await send(nodes);
      return [status, json.error.details.rule, json.error.details.node_ids];
    };
    expect(await details([[a, [stranger], []]])).toEqual([400, 'foreign_node', [stranger]]);
    expect(
      await details([
        [a, [], [b]],
        [b, [], []],
      ]),
    ).toEqual([400, 'edge_of_one_side', [a, b]]);
    expect(
      await details([
        [a, [], []],
        [a, [], []],
      ]),
    ).toEqual([400, 'node_twice', undefined]);
    expect((await send(edgesOf(one, () => []))).json).toEqual({ stored: 2 });
  });

  it('lists workflows newest first, by pages and by user', async () => {
    const all: number[] = [];
    for (let before: number | null = null, page = 0; page < 50; page++) {
      const { workflows, next } = await ok(
        served,
        'GET',
        `/api/v4/workflows?limit=3${before === null ? '' : `&before=${before}`}`,
      );
      all.push(...workflows.map(({ workflow_id }: { workflow_id: number }) => workflow_id));
      before = next;
      if (next === null) break;
    }
    expect(all).toEqual([...new Set(all)].sort((a, b) => b - a));
    expect(all.length).toBeGreaterThan(5);
    const own = await ok(served, 'GET', '/api/v4/workflows?user=ann');
    expect(own.workflows.every(({ user }: { user: string }) => user === 'ann')).toBe(true);
    expect(own.workflows.length).toBeGreaterThan(0);
    expect((await ok(served, 'GET', '/api/v4/workflows?user=nobody')).workflows).toEqual([]);
  });

  it('pages through tasks by id and by status', async () => {
    const { workflow_id, task_ids } = await makeWorkflow(served, template, 'pages', 7);
    const first = await ok(served, 'GET', `/api/v4/workflows/${workflow_id}/tasks?limit=4`);
    expect(first.tasks.map((task: Json) => task.task_id)).toEqual(task_ids.slice(0, 4));
    expect(first.tasks[0]).toEqual({
      task_id: task_ids[0],
      name: 'echo_0',
      status: 'G',
      status_date: expect.any(String),
      num_attempts: 0,
      max_attempts: 3,
      command: 'echo 0 x',
      task_template: 'echo',
      wallclock_seconds: null,
      error: null,
    });
    const second = await ok(served, 'GET', `/api/v4/workflows/${workflow_id}/tasks?limit=4&after=${first.next}`);
    expect([second.tasks.map((task: Json) => task.task_id), second.next]).toEqual([task_ids.slice(4), null]);
    expect((await ok(served, 'GET', `/api/v4/workflows/${workflow_id}/tasks?status=D`)).tasks).toEqual([]);
  });

  it('lists tasks by id, whatever array they are of, and those that an older program left without one', async () => {
    const { workflow_id, task_ids } = await makeWorkflow(served, template, 'arrays', 7);
    await database().write({ label: 'test.arrays' }, function* () {
      const { insert_id } = yield {
        sql: `INSERT INTO array (name, task_template_version_id, workflow_id, max_concurrently_running) VALUES ('other', 2000000, ?, 1)`,
        params: [workflow_id],
      };
      yield { sql: 'UPDATE task SET array_id = ? WHERE id IN (?, ?)', params: [insert_id, task_ids[1]!, task_ids[5]!] };
      yield { sql: 'UPDATE task SET array_id = NULL WHERE id = ?', params: [task_ids[3]!] };
    });
    const listed: number[] = [];
    for (let after: number | null = 0; after !== null;) {
      const page: Json = await ok(served, 'GET', `/api/v4/workflows/${workflow_id}/tasks?limit=2&after=${after}`);
      listed.push(...page.tasks.map((task: Json) => task.task_id));
      after = page.next;
    }
    expect(listed).toEqual(task_ids);
  });

  it('streams each change of a workflow until its run has ended', async () => {
    const bound = await makeWorkflow(served, template, 'followed', 1);
    const seen = new Stream(served, `/api/v4/workflows/${bound.workflow_id}/events`);
    expect(await seen.next()).toMatchObject({ is_final: false, workflow: { status: 'G', tasks: { G: 1 } } });
    const { workflow_run_id } = (await submit(bound.workflow_id)).json;
    expect(await seen.until((event) => event.workflow.workflow_run_status === 'B')).toMatchObject({
      workflow: { workflow_run_id },
    });
    await send(served.messenger, moveWorkflowRun, { workflow_run_id, to: 'R' });
    await send(served.messenger, queueTasks, { workflow_run_id, task_ids: bound.task_ids });
    await seen.until((event) => event.workflow.tasks.Q === 1);
    const { agent_id } = await ok(served, 'POST', '/api/v4/agents', {
      hostname: 'h',
      user: 'ann',
      clusters: ['sequential'],
      state_directory: '/s',
      process_id: 1,
      version: '0',
      cores: 1,
      memory_gib: 1,
    });
    const { assignments } = await ok(served, 'POST', `/api/v4/agents/${agent_id}/lease`, {
      wanted: { sequential: { slots: 1, cores: 1, memory_gib: 1 } },
      wait_seconds: 5,
    });
    await send(served.messenger, reportAttempt, {
      agent_id,
      report: { task_instance_id: assignments[0].task_instance_id, status: 'D' },
    });
    await send(served.messenger, moveWorkflowRun, { workflow_run_id, to: 'D' });
    expect(await seen.until((event) => event.is_final)).toMatchObject({
      workflow: { status: 'D', workflow_run_status: 'D', tasks: { D: 1 } },
    });
    await seen.ended;
    expect(seen.headers['content-type']).toBe('text/event-stream; charset=utf-8');
    const again = await submit(bound.workflow_id);
    expect([again.status, again.json.error.details.rule]).toEqual([409, 'workflow_done']);
    const late = new Stream(served, `/api/v4/workflows/${bound.workflow_id}/events`);
    expect(await late.next()).toMatchObject({ is_final: true });
    await late.ended;
  });

  it('answers 404 to a stream of an unknown workflow', async () => {
    const { status, json } = await call(served, 'GET', '/api/v4/workflows/2000000000/events');
    expect([status, json.error.code]).toEqual([404, 'NOT_FOUND']);
  });

  it('ends streams and long polls when it closes', async () => {
    const { workflow_id } = await makeWorkflow(served, template, digits('closing'), 1);
    const own = await serve(database());
    const seen = new Stream(own, `/api/v4/workflows/${workflow_id}/events`);
    await seen.next();
    const { agent_id } = await ok(own, 'POST', '/api/v4/agents', {
      hostname: 'closing',
      user: 'ann',
      clusters: ['sequential'],
      state_directory: '/s',
      process_id: 1,
      version: '0',
      cores: 1,
      memory_gib: 1,
    });
    const polled = call(own, 'POST', `/api/v4/agents/${agent_id}/lease`, {
      wanted: { dummy: { slots: 0, cores: 0, memory_gib: 0 } },
      wait_seconds: 30,
    });
    // The poll has arrived when its renewal of the lease is written.
    const { transactions } = database().counts;
    while (database().counts.transactions === transactions) await new Promise((resolve) => setImmediate(resolve));
    const started = performance.now();
    await own.close();
    expect(performance.now() - started).toBeLessThan(3_000);
    expect((await polled).json).toEqual({ assignments: [] });
    await seen.ended;
  });
});

/** A stream of server-sent events as its reader sees it. */
class Stream {
  headers: Record<string, unknown> = {};
  readonly ended: Promise<void>;
  private readonly events: Json[] = [];
  private wake: () => void = () => undefined;

  constructor(served: Served, path: string) {
    this.ended = new Promise((resolve, reject) => {
      const sent = httpRequest({ port: served.port, path, agent: false }, (response: IncomingMessage) => {
        this.headers = response.headers;
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          const parts = (text + chunk).split('\n\n');
          text = parts.pop() as string;
          for (const part of parts) if (part.startsWith('data: ')) this.events.push(JSON.parse(part.slice(6)));
          this.wake();
        });
        response.on('end', resolve);
        response.on('error', reject);
      });
      sent.on('error', reject);
      sent.end();
    });
  }

  async next(): Promise<Json> {
    while (this.events.length === 0) await new Promise<void>((resolve) => (this.wake = resolve));
    return this.events.shift();
  }

  async until(isIt: (event: Json) => boolean): Promise<Json> {
    for (;;) {
      const event = await this.next();
      if (isIt(event)) return event;
    }
  }
}
