import { gunzipSync } from 'node:zlib';
import { request as httpRequest } from 'node:http';
import { OPERATIONS, PYTHON_OPERATIONS } from '@jobmon/contracts';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases } from '@jobmon/testkit';
import { call, serve, type Served, type Json } from '../test/serve';

/** How many operations of each kind the Python server publishes; spec/http-api-execution.md section 0, the other's section 0. */
const PUBLISHED = { S: 5, E: 61, L: 3, C: 25, P: 4 } as const;

describeOnDatabases('the wire of the Python protocol', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)] });
  });
  afterAll(() => served.close());

  it('has every operation that the Python server publishes, and documents each with its number', async () => {
    const published = PYTHON_OPERATIONS.flatMap(({ protocol, http }) => (http === undefined ? [] : [protocol ?? '']));
    const numbers = [...new Set(published)].sort();
    const expected = Object.entries(PUBLISHED).flatMap(([kind, count]) =>
      kind === 'C' ? [] : Array.from({ length: count }, (_, at) => `${kind}${at + 1}`),
    );
    // C7, C8 and C15 are L2, L1 and L3 by other names.
    const inspection = Array.from({ length: 28 }, (_, at) => `C${at + 1}`).filter((n) => !['C7', 'C8', 'C15'].includes(n));
    expect(numbers).toEqual([...expected, ...inspection].sort());
    expect(numbers).toHaveLength(98);
    // E15 has two methods; nothing else has a second operation.
    expect(published.filter((number, at) => published.indexOf(number) !== at)).toEqual(['E15']);

    const { paths } = (await call(served, 'GET', '/api/openapi.json')).json as Json;
    const documented = Object.entries(paths as Record<string, Record<string, Json>>).flatMap(([path, methods]) =>
      Object.entries(methods).flatMap(([method, operation]) =>
        path.startsWith('/api/v3') ? [`${operation['x-protocol']} ${operation.operationId} ${method.toUpperCase()} ${path}`] : [],
      ),
    );
    const bound = OPERATIONS.flatMap(({ protocol, name, http }) =>
      http?.path.startsWith('/api/v3') ? [`${protocol} ${name} ${http.method} ${http.path}`] : [],
    );
    expect(documented.sort()).toEqual(bound.sort());
  });

  it('documents the form of an answer that goes out, not the one inside', async () => {
    const { paths } = (await call(served, 'GET', '/api/openapi.json')).json as Json;
    const answer = paths['/api/v3/task_instance/{task_instance_id}/log_running'].post.responses;
    const { schema } = answer['200'].content['application/json'];
    expect(schema.properties.task_instance.type).toBe('array');
    expect(schema.properties.task_instance.prefixItems).toHaveLength(9);
    expect(answer.default.content['application/json'].schema).toEqual({ $ref: '#/components/schemas/PythonError' });
    for (const { http, name } of PYTHON_OPERATIONS)
      expect([name, http?.wire === undefined]).toEqual([name, http?.toWire === undefined]);
  });

  it('S1 S2 answers the same under the prefix of elder clients, but for L3', async () => {
    expect((await call(served, 'GET', '/api/v2/time')).json).toEqual({ time: expect.any(String) });
    const redirect = await call(served, 'GET', '/api/v2');
    expect([redirect.status, redirect.headers.location]).toEqual([307, '/api/v2/']);
    expect((await call(served, 'POST', '/api/v2/task_instance/2000000000/log_done', {})).json.error.code).toBe('NOT_FOUND');
    expect((await call(served, 'GET', '/api/v2/task_instance/1/log_done')).status).toBe(405);
    expect((await call(served, 'POST', '/api/v2/task_template_resource_usage', {})).json).toEqual({ detail: 'Not Found' });
    expect((await call(served, 'GET', '/api/v1/time')).json).toEqual({ detail: 'Not Found' });
  });

  it('S2 ignores the body of a GET, and a version and unknown keys in the query', async () => {
    for (const body of ['{"a": 1}', '{', 'x'.repeat(100_000)]) {
      expect([body.length, (await call(served, 'GET', '/api/v3/time', body)).status]).toEqual([body.length, 200]);
    }
    const path = '/api/v3/time?client_jobmon_version=3.4.8&client_jobmon_version=x&__proto__=1&a[b]=2';
    expect((await call(served, 'GET', path)).status).toBe(200);
  });

  it('E22 takes no field from the query that is another for the operation', async () => {
    const answered = await call(served, 'POST', '/api/v3/task_instance/2000000000/log_done?task_instance_id=1&stdout_log=1', {});
    expect([answered.status, answered.json.error.exception_message]).toEqual([404, expect.stringContaining('2000000000')]);
  });

  it('E22 says of a wrong path that the path is wrong, whatever the body is', async () => {
    const answered = await call(served, 'POST', '/api/v3/task_instance/x/log_done', { stdout: 1 });
    expect([answered.status, answered.json]).toEqual([
      422,
      { detail: [{ type: expect.any(String), loc: ['path', 'task_instance_id'], msg: expect.any(String), input: 'x' }] },
    ]);
  });

  it('C2 C11 answers a wrong or missing parameter with a list of faults', async () => {
    const faultsOf = async (path: string): Promise<unknown[]> => {
      const { status, json } = await call(served, 'GET', path);
      return [status, (json.detail as Json[]).map(({ type, loc, input }) => ({ type, loc, input }))];
    };
    const missing = (name: string) => ({ type: 'missing', loc: ['query', name], input: null });
    const details = '/api/v3/get_task_template_details';
    expect(await faultsOf(details)).toEqual([422, [missing('workflow_id'), missing('task_template_id')]]);
    expect(await faultsOf(`${details}?workflow_id=1&task_template_id=x`)).toEqual([
      422,
      [{ type: expect.stringMatching(/^[a-z_]+$/), loc: ['query', 'task_template_id'], input: 'x' }],
    ]);
    expect((await call(served, 'GET', '/api/v3/task_status?task_ids=1&task_ids=x')).json.detail[0].loc).toEqual([
      'query',
      'task_ids',
      1,
    ]);
    // One key is a list of one, a key that is there twice a list of two.
    expect((await call(served, 'GET', '/api/v3/task_status?task_ids=1')).status).toBe(200);
    expect((await call(served, 'GET', '/api/v3/task_status?task_ids=1&task_ids=2')).status).toBe(200);
  });

  it('S2 answers HEAD with 405, as the Python server does, and OPTIONS too where no origin is allowed', async () => {
    for (const method of ['HEAD', 'OPTIONS', 'DELETE']) {
      const answered = await call(served, method, '/api/v3/time');
      expect([method, answered.status, answered.headers.allow]).toEqual([method, 405, 'GET']);
    }
  });

  it('E8 finds nothing under the longest name that there can be, and refuses one beyond', async () => {
    const path = (chars: number): string => `/api/v3/cluster/${encodeURIComponent('💩'.repeat(chars))}`;
    expect((await call(served, 'GET', path(255))).json).toEqual({ cluster: null });
    expect((await call(served, 'GET', path(256))).status).toBe(400);
  });

  it('E15 has two methods on one path, and 405 for the others', async () => {
    const answered = await call(served, 'GET', '/api/v3/task/bind_task_attributes');
    expect([answered.status, answered.headers.allow?.split(', ').sort()]).toEqual([405, ['POST', 'PUT']]);
  });

  /** The bytes of an answer and how they are coded. */
  function raw(path: string, accept: string | undefined): Promise<{ coding: unknown; vary: unknown; bytes: Buffer }> {
    const headers = accept === undefined ? {} : { 'accept-encoding': accept };
    return new Promise((resolve, reject) => {
      const sent = httpRequest({ host: '127.0.0.1', port: served.port, path, agent: false, headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const { 'content-encoding': coding, vary } = response.headers;
          resolve({ coding, vary, bytes: Buffer.concat(chunks) });
        });
      });
      sent.on('error', reject);
      sent.end();
    });
  }

  it('E37 compresses a long answer for those who accept it, and no short one', async () => {
    const { json } = await call(served, 'POST', '/api/v3/tool', { name: 'many versions' });
    const tool_id = json.tool[0] as number;
    for (let version = 0; version < 150; version++) await call(served, 'POST', '/api/v3/tool_version', { tool_id });
    const path = `/api/v3/tool/${tool_id}/tool_versions`;
    const plain = await raw(path, undefined);
    expect([plain.coding, plain.vary, plain.bytes.length > 1_000]).toEqual([undefined, 'Accept-Encoding', true]);
    for (const accept of ['gzip', 'gzip, deflate', 'deflate;q=0.5, GZIP;q=0.1']) {
      const { coding, vary, bytes } = await raw(path, accept);
      expect([accept, coding, vary, gunzipSync(bytes).equals(plain.bytes)]).toEqual([accept, 'gzip', 'Accept-Encoding', true]);
      expect(bytes.length).toBeLessThan(plain.bytes.length / 2);
    }
    for (const accept of ['deflate', 'gzip;q=0', 'gzip; q=0.0', 'x-gzip', '']) {
      expect([accept, (await raw(path, accept)).coding]).toEqual([accept, undefined]);
    }
    expect(await raw('/api/v3/time', 'gzip')).toMatchObject({ coding: undefined, vary: undefined });
  });
});
