import { OPERATIONS, type Operation } from '@jobmon/contracts';
import { openLogRecords, type Database } from '@jobmon/entities';
import { logSinkModule } from '@jobmon/log-sink';
import { inProcessLogStream } from '@jobmon/messaging';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases } from '@jobmon/testkit';
import { pino } from 'pino';
import { z } from 'zod';
import { makeTemplate, makeWorkflow } from '../test/definitions';
import { goodBodies, UNKNOWN_ID } from '../test/good-bodies';
import { call, serve, TOKEN, type Answered, type Served, type Json } from '../test/serve';

/** Ids that are none: not numbers, not whole, out of range. */
const WRONG_IDS = ['abc', '-1', '0', '1.5', '1e3', '99999999999', '%00', '%F0%9F%92%A9', 'null', '1;--'];
/** Values that no field accepts, or that some field must not accept; whatever becomes of them, it is no 5xx. */
const ODD_VALUES: unknown[] = [null, true, -1, 0.5, 1e300, '', 'x'.repeat(70_000), '\u0000', '\ud800', [], [null], {}, { a: {} }];

describeOnDatabases('bad input', (database) => {
  let served: Served;
  let records: Database;
  /** A body that each operation with one accepts, but for the ids in it. */
  let good: Record<string, Record<string, unknown>>;
  beforeAll(async () => {
    records = await openLogRecords(database(), { url: database().url, log: pino({ level: 'silent' }) });
    const config = { log: { keep_days: 1 } };
    served = await serve(database(), {
      modules: (context) => [
        stateMachineModule(context),
        logSinkModule({ ...context, config, records, stream: inProcessLogStream() }),
      ],
    });
    const template = await makeTemplate(served, 'bad input');
    await makeWorkflow(served, template, 'bad input', 1);
    good = goodBodies(template);
  });
  afterAll(async () => {
    await served.close();
    await records.close();
  });

  // Those of the Python protocol have a table of their own: v3/bad-input.db.spec.ts.
  const bound = OPERATIONS.flatMap((operation) =>
    operation.http === undefined || operation.protocol !== undefined
      ? []
      : [[operation.name, operation, operation.http] as const],
  );
  const withBody = bound.filter(([, , http]) => http.method !== 'GET');
  const withPath = bound.filter(([, , http]) => http.path.includes('{'));
  const pathOf = (operation: Operation, id: string | number): string => operation.http!.path.replace(/\{\w+\}/g, String(id));

  /** A refusal tells a code and a sentence, and nothing of our insides. */
  function expectRefusal(answered: Answered, path: string, ...statuses: number[]): void {
    expect(statuses).toContain(answered.status);
    expect(answered.headers['content-type']).toBe('application/json; charset=utf-8');
    expect(answered.text).not.toMatch(/\.[jt]s:\d+|node_modules|SELECT|INSERT|SQLITE|ER_[A-Z]/);
    if (path.startsWith('/api/v4'))
      expect(answered.json).toEqual({
        error: expect.objectContaining({ code: expect.stringMatching(/^[A-Z_]+$/), message: expect.stringMatching(/./) }),
      });
    else {
      const { detail, error, ...others } = answered.json as Record<string, Json>;
      expect(others).toEqual({});
      if (error === undefined) expect(detail).toBeDefined();
      else expect(error.exception_message).toBe(detail);
    }
  }

  it('has a good body for each operation that takes one', () => {
    expect(withBody.map(([name]) => name).filter((name) => !(name in good))).toEqual([]);
  });

  it.each(withBody)('%s refuses what is no JSON object', async (_, operation, { method }) => {
    const path = pathOf(operation, 1);
    for (const body of ['{', '{"a":}', '[]', '3', 'null', '"x"', '{} {}', '\u0000', Buffer.from([0xff, 0xfe, 0x00]), '<xml/>']) {
      expectRefusal(await call(served, method, path, body), path, 400);
    }
    expectRefusal(
      await call(served, method, path, '[', { authorization: `Bearer ${TOKEN}`, 'content-type': 'text/plain' }),
      path,
      400,
    );
  });

  it.each(withBody)('%s refuses a body without its required fields', async (name, operation, { method }) => {
    const path = pathOf(operation, 1);
    const { required = [] } = z.toJSONSchema(operation.request, { io: 'input', unrepresentable: 'any' }) as {
      required?: string[];
    };
    for (const field of required.filter((field) => !operation.http!.path.includes(`{${field}}`))) {
      const { [field]: _, ...rest } = good[name] as Record<string, unknown>;
      const answered = await call(served, method, path, rest);
      expectRefusal(answered, path, 400);
      expect(answered.text).toContain(field);
    }
  });

  it.each(withBody)(
    '%s takes no odd value for a field as a reason to fail',
    async (name, operation, { method }) => {
      const path = pathOf(operation, UNKNOWN_ID);
      for (const field of Object.keys(good[name] as object)) {
        for (const value of ODD_VALUES) {
          const answered = await call(served, method, path, JSON.stringify({ ...good[name], [field]: value }));
          if (answered.status !== 200) expectRefusal(answered, path, 400, 404, 409);
        }
      }
      const odd = await call(
        served,
        method,
        path,
        `{"__proto__": {"a": 1}, "constructor": 1, "toString": {}, ${JSON.stringify(good[name]).slice(1)}`,
      );
      if (odd.status !== 200) expectRefusal(odd, path, 400, 404, 409);
    },
    60_000,
  );

  it.each(withPath)('%s refuses wrong ids in its path', async (name, operation, { method }) => {
    for (const id of WRONG_IDS) {
      const path = pathOf(operation, id);
      const answered = await call(served, method, path, method === 'GET' ? undefined : good[name]);
      expectRefusal(answered, path, 422);
    }
    const path = pathOf(operation, 'x'.repeat(5_000));
    expectRefusal(await call(served, method, path, method === 'GET' ? undefined : good[name]), path, 400);
    const broken = pathOf(operation, '%');
    expectRefusal(await call(served, method, broken, method === 'GET' ? undefined : good[name]), broken, 400);
  });

  /** Operations that answer 200 for an unknown agent or instance, by contract. */
  const TELLS_IN_REPLY = ['agent.beat', 'agent.orders', 'agent.report'];
  it.each(withPath.filter(([name]) => !TELLS_IN_REPLY.includes(name)))(
    '%s does not find an unknown id',
    async (name, operation, { method }) => {
      const path = pathOf(operation, UNKNOWN_ID);
      expectRefusal(await call(served, method, path, method === 'GET' ? undefined : good[name]), path, 404);
    },
  );

  const queries: [string, string][] = [
    ['limit', '/api/v4/workflows?limit=0'],
    ['limit', '/api/v4/workflows?limit=x'],
    ['limit', '/api/v4/workflows?limit=501'],
    ['before', '/api/v4/workflows?before=-1'],
    ['before', '/api/v4/workflows?before=1&before=2'],
    ['user', `/api/v4/workflows?user=${'x'.repeat(151)}`],
    ['status', '/api/v4/workflows/1/tasks?status=x'],
    ['limit', '/api/v4/workflows/1/tasks?limit=1e9'],
    ['after', '/api/v4/workflows/1/tasks?after=-1'],
  ];
  it.each(queries)('refuses a wrong %s in %s', async (field, path) => {
    const answered = await call(served, 'GET', path);
    expectRefusal(answered, path, 422);
    // Of a list the place in it stands behind the field.
    expect(answered.json.error.details.faults[0].loc.slice(0, 2)).toEqual(['query', field]);
  });

  it('refuses a body over the limit of its route, declared or not', async () => {
    const big = JSON.stringify({ name: 'x'.repeat(1024 * 1024) });
    expectRefusal(await call(served, 'POST', '/api/v4/tools', big), '/api/v4/tools', 413);
    const chunked = { authorization: `Bearer ${TOKEN}`, 'transfer-encoding': 'chunked' };
    expectRefusal(await call(served, 'POST', '/api/v4/tools', big, chunked), '/api/v4/tools', 413);
    const elder = '/api/v3/tool';
    expect((await call(served, 'POST', elder, big)).json).toEqual({ detail: expect.stringContaining('1048576') });
  });

  it('survives a body that is nested very deeply', async () => {
    const deep = `{"resources":[{"cluster":"dummy","requested":{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}}],"tasks":[${JSON.stringify((good['task.register'] as Json).tasks[0])}]}`;
    expectRefusal(await call(served, 'POST', '/api/v4/workflows/1/tasks', deep), '/api/v4', 400);
    expectRefusal(
      await call(served, 'POST', '/api/v4/tools', `{"name":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}}`),
      '/api/v4',
      400,
    );
  });

  it('refuses the methods that a path does not have, and knows no other paths', async () => {
    for (const method of ['DELETE', 'PATCH', 'PUT', 'OPTIONS']) {
      const answered = await call(served, method, '/api/v4/tools', method === 'OPTIONS' ? undefined : {});
      expectRefusal(answered, '/api/v4', 405);
      expect(answered.headers.allow).toBe('POST');
    }
    expect((await call(served, 'GET', '/api/v3/task_instance/1/log_done')).json).toEqual({ detail: 'Method Not Allowed' });
    for (const path of [
      '/',
      '/health',
      '/api/v3/nothing',
      '/api/v5',
      '/api/v4',
      '/api/v4/',
      '/api/v4/tools/',
      '/api/docs/../../package.json',
      '/api/docs/index.html',
    ]) {
      const answered = await call(served, 'GET', path);
      expect(answered.status).toBe(404);
      if (!path.startsWith('/api/v4')) expect(answered.json).toEqual({ detail: 'Not Found' });
    }
    expectRefusal(await call(served, 'POST', '/api/v4/nothing', '{'), '/api/v4', 404);
  });

  it('gives v3 refusals the shapes of that protocol', async () => {
    const path = '/api/v3/task_instance/1/log_error_worker_node';
    const malformed = await call(served, 'POST', path, { error_state: 'Q', error_description: 'x' });
    const sentence = expect.stringContaining('error_state');
    expect([malformed.status, malformed.json]).toEqual([
      400,
      { error: { type: 'MALFORMED', code: 'MALFORMED', exception_message: sentence, status_code: '400' }, detail: sentence },
    ]);
    const wrong = await call(served, 'POST', '/api/v3/task_instance/x/log_done', {});
    expect([wrong.status, wrong.json]).toEqual([
      422,
      { detail: [{ type: expect.any(String), loc: ['path', 'task_instance_id'], msg: expect.any(String), input: 'x' }] },
    ]);
    const unknown = await call(served, 'POST', `/api/v3/task_instance/${UNKNOWN_ID}/log_done`, {});
    expect([unknown.status, unknown.json.error.status_code]).toEqual([404, '404']);
  });

  it('logs no line above debug for any of it', () => {
    expect(served.lines.filter((line) => Number(line.level) >= 50)).toEqual([]);
  });
});
