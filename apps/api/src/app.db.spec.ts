import { connect } from 'node:net';
import { OPERATIONS } from '@jobmon/contracts';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases } from '@jobmon/testkit';
import { call, serve, TOKEN, type Served } from '../test/serve';

describeOnDatabases('the api over HTTP', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database(), {
      modules: (context) => [stateMachineModule(context)],
      http: { allowed_hosts: ['jobs.example.org', 'other.example.org:81'], allowed_origins: ['https://pages.example.org'] },
    });
  });
  afterAll(() => served.close());

  it('answers the shared routes of the Python protocol', async () => {
    expect((await call(served, 'GET', '/api/v3/')).json).toEqual({ msg: expect.any(String) });
    expect((await call(served, 'GET', '/api/v3/time')).json).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/),
    });
    expect((await call(served, 'GET', '/api/v3/health')).json).toEqual({ status: 'OK' });
    const redirect = await call(served, 'GET', '/api/v3');
    expect([redirect.status, redirect.headers.location]).toEqual([307, '/api/v3/']);
  });

  it('bears what Python clients send beside the request', async () => {
    const headers = { 'content-type': 'application/json', 'x-server-structlog-context': '{"telemetry_workflow_run_id": 2}' };
    expect((await call(served, 'GET', '/api/v3/?client_jobmon_version=3.6.0', undefined, headers)).status).toBe(200);
    // Elder clients put the context into body or query, and it is in nobody's way there.
    const body = { server_structlog_context: { telemetry_array_id: '3' }, stdout: null };
    const answered = await call(
      served,
      'POST',
      '/api/v3/task_instance/2000000000/log_done?client_jobmon_version=3.6.0&server_structlog_context=%7B%22a%22:1%7D',
      body,
      headers,
    );
    expect(answered.status).toBe(404);
    const lines = await linesOf(answered.headers['x-request-id'] as string);
    expect(lines).toEqual([
      expect.objectContaining({
        client_context: { telemetry_workflow_run_id: 2, telemetry_array_id: '3', a: 1 },
        status: 404,
        code: 'NOT_FOUND',
      }),
    ]);
    const broken = { 'content-type': 'text/plain', 'x-server-structlog-context': '{broken' };
    expect((await call(served, 'POST', '/api/v3/task_instance/2000000000/log_done', '{}', broken)).status).toBe(404);
    expect((await call(served, 'POST', '/api/v3/task_instance/2000000000/log_done', undefined, {})).status).toBe(404);
  });

  /** The lines of one request; the log is written when the connection is done with it, shortly after its answer. */
  async function linesOf(request_id: string): Promise<Record<string, unknown>[]> {
    for (let look = 0; look < 200; look++) {
      const lines = served.lines.filter((line) => line.request_id === request_id && line.msg === 'request');
      if (lines.length > 0) return lines;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return [];
  }

  it('answers the id of the caller when it is sane, else one of its own, and logs one line', async () => {
    const own = await call(served, 'GET', '/api/v3/', undefined, { 'x-request-id': 'trace-1.2:3' });
    expect(own.headers['x-request-id']).toBe('trace-1.2:3');
    expect(await linesOf('trace-1.2:3')).toEqual([
      expect.objectContaining({ method: 'GET', route: '/api/v3/', status: 200, level: 20 }),
    ]);
    for (const insane of ['a b', 'x'.repeat(200), '{"a":1}', '']) {
      const answered = await call(served, 'GET', '/api/v3/', undefined, { 'x-request-id': insane });
      expect(answered.headers['x-request-id']).toMatch(/^[\w-]+-\d+$/);
    }
  });

  it('tells the trace of the caller in its log line, and heeds no header that is none', async () => {
    const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
    const traceOf = async (traceparent: string): Promise<unknown> => {
      const { headers } = await call(served, 'GET', '/api/v3/', undefined, { traceparent });
      return (await linesOf(headers['x-request-id'] as string))[0]?.trace_id;
    };
    for (const good of [`00-${trace}-00f067aa0ba902b7-01`, `01-${trace}-00f067aa0ba902b7-00-more`]) {
      expect([good, await traceOf(good)]).toEqual([good, trace]);
    }
    const nothing = '0'.repeat(32);
    for (const bad of [
      `ff-${trace}-00f067aa0ba902b7-01`,
      `00-${nothing}-00f067aa0ba902b7-01`,
      trace,
      `00-${trace}-${'0'.repeat(16)}-01`,
      'x',
    ]) {
      expect([bad, await traceOf(bad)]).toEqual([bad, undefined]);
    }
  });

  it('sends the fixed headers with every answer, and no CORS headers', async () => {
    for (const path of ['/api/v3/', '/api/v4/workflows', '/nothing', '/api/v4/workflows/x', '/api/docs']) {
      const { headers } = await call(served, 'GET', path);
      expect(headers).toMatchObject({
        'content-security-policy': expect.stringContaining("default-src 'self'"),
        'cross-origin-opener-policy': 'same-origin',
        'referrer-policy': 'strict-origin-when-cross-origin',
        'strict-transport-security': 'max-age=31536000; includeSubDomains',
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        'x-xss-protection': '1; mode=block',
      });
      expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
    }
  });

  describe('who may ask', () => {
    const status = async (headers: Record<string, string>, method = 'GET', path = '/api/v4/workflows') =>
      (await call(served, method, path, method === 'GET' ? undefined : {}, headers)).status;

    it('serves its own names and the configured ones', async () => {
      const { port } = served;
      for (const host of [
        `localhost:${port}`,
        `127.0.0.1:${port}`,
        `[::1]:${port}`,
        `LOCALHOST:${port}`,
        'jobs.example.org',
        'jobs.example.org:9',
        'other.example.org:81',
      ]) {
        expect([host, await status({ host })]).toEqual([host, 200]);
      }
      for (const host of [
        'localhost',
        'localhost:1',
        `evil.example.org:${port}`,
        `localhost.evil.example.org:${port}`,
        'other.example.org:82',
        `127.0.0.2:${port}`,
        `localhost:${port}:${port}`,
        'x'.repeat(500),
      ]) {
        for (const path of ['/api/v4/workflows', '/api/v3/', '/nothing', '/api/openapi.json']) {
          expect([host, await status({ host }, 'GET', path)]).toEqual([host, 403]);
        }
        expect(await status({ host }, 'GET', '/health/live')).toBe(200);
      }
    });

    it('refuses pages of other origins, on both protocols', async () => {
      const own = `http://127.0.0.1:${served.port}`;
      expect(await status({ origin: own })).toBe(200);
      for (const origin of [
        'http://evil.example.org',
        'null',
        'http://localhost:3000',
        `${own}0`,
        'https://pages.example.org.evil.org',
      ]) {
        expect([origin, await status({ origin })]).toEqual([origin, 403]);
        expect(await status({ origin, authorization: `Bearer ${TOKEN}` }, 'POST', '/api/v4/tools')).toBe(403);
        expect(await status({ origin, 'content-type': 'text/plain' }, 'POST', '/api/v3/task_instance/1/log_done')).toBe(403);
        expect(await status({ origin, 'access-control-request-method': 'POST' }, 'OPTIONS', '/api/v4/tools')).toBe(403);
      }
    });

    it('lets a configured origin call', async () => {
      const origin = 'https://pages.example.org';
      const answered = await call(served, 'GET', '/api/v4/workflows', undefined, { origin });
      expect([answered.status, answered.headers['access-control-allow-origin'], answered.headers.vary]).toEqual([
        200,
        origin,
        'Origin',
      ]);
      const asked = await call(served, 'OPTIONS', '/api/v4/tools', undefined, {
        origin,
        'access-control-request-method': 'POST',
      });
      expect([asked.status, asked.headers['access-control-allow-methods']]).toEqual([204, 'GET, POST, PUT']);
    });

    const mutating = OPERATIONS.flatMap(({ name, http }) =>
      http !== undefined && http.method !== 'GET' && http.path.startsWith('/api/v4/') ? [[name, http] as const] : [],
    );
    it.each(mutating)('%s needs the token', async (_, { method, path }) => {
      const url = path.replace(/\{\w+\}/g, '1');
      const wrong = [
        '',
        'Bearer',
        'Bearer ',
        'Bearer wrong',
        `Bearer ${TOKEN}x`,
        `Bearer ${TOKEN.slice(1)}`,
        TOKEN,
        `Basic ${TOKEN}`,
        `Bearer x ${TOKEN}`,
      ];
      for (const authorization of [undefined, ...wrong]) {
        const answered = await call(served, method, url, '{', authorization === undefined ? {} : { authorization });
        expect([authorization, answered.status, answered.json.error.code]).toEqual([authorization, 401, 'UNAUTHORIZED']);
        expect(answered.headers['www-authenticate']).toBe('Bearer');
      }
      expect((await call(served, method, url, '{', { authorization: `bearer ${TOKEN}` })).status).toBe(400);
    });
  });

  it('documents every operation that HTTP reaches', async () => {
    const { json } = await call(served, 'GET', '/api/openapi.json');
    const documented = Object.entries(json.paths as Record<string, Record<string, { operationId: string }>>).flatMap(
      ([path, methods]) => Object.entries(methods).map(([method, { operationId }]) => `${operationId} ${method} ${path}`),
    );
    const bound = OPERATIONS.flatMap(({ name, http }) =>
      http === undefined ? [] : [`${name} ${http.method.toLowerCase()} ${http.path}`],
    );
    expect(documented.sort()).toEqual(bound.sort());
    expect(json.openapi).toBe('3.1.0');
    const bind = json.paths['/api/v4/workflows/{workflow_id}/tasks'];
    expect(bind.post.parameters).toEqual([expect.objectContaining({ name: 'workflow_id', in: 'path', required: true })]);
    expect(Object.keys(bind.post.requestBody.content['application/json'].schema.properties)).toEqual([
      'resources',
      'limits',
      'tasks',
    ]);
    expect(bind.get.parameters.map((parameter: { name: string }) => parameter.name)).toEqual([
      'workflow_id',
      'after',
      'limit',
      'status',
      'task_template',
    ]);
    expect(bind.post.security).toEqual([{ token: [] }]);
  });

  it('shows the documentation with assets of its own and no script inside the page', async () => {
    const page = await call(served, 'GET', '/api/docs');
    expect([page.status, page.headers['content-type']]).toEqual([200, 'text/html; charset=utf-8']);
    expect(page.text).not.toMatch(/<script(?![^>]* src=)|https?:|onload=/);
    const assets = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path as string);
    expect(assets).toHaveLength(4);
    for (const path of assets) {
      const asset = await call(served, 'GET', path);
      expect([path, asset.status, asset.text.length > 50]).toEqual([path, 200, true]);
    }
  });

  it('is live and ready, and says which part is not', async () => {
    expect((await call(served, 'GET', '/health/live')).json).toEqual({ status: 'ok' });
    const ready = await call(served, 'GET', '/health/ready');
    expect([ready.status, Object.keys(ready.json.details)]).toEqual([200, ['database', 'migrations', 'bus', 'event_loop']]);
    const alone = await serve(database());
    const answered = await call(alone, 'GET', '/health/ready');
    expect([answered.status, Object.keys(answered.json.error)]).toEqual([503, ['bus']]);
    await alone.close();
  });

  it('answers 503 when nobody answers on the bus', async () => {
    const alone = await serve(database());
    const elder = await call(alone, 'POST', '/api/v3/task_instance/1/log_done', {});
    expect([elder.status, elder.json]).toEqual([503, { detail: expect.any(String) }]);
    await alone.close();
  });

  it('drops what is no HTTP, and goes on', async () => {
    for (const noise of ['\u0000\u0001\u0002\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n', 'GET /api/v4/workflows HTTP/1.1\r\n\r\n']) {
      const answer = await new Promise<string>((resolve) => {
        const socket = connect(served.port, '127.0.0.1', () => socket.end(noise));
        let text = '';
        socket.on('data', (chunk) => (text += String(chunk)));
        socket.on('error', () => undefined);
        socket.on('close', () => resolve(text));
      });
      expect(answer).not.toMatch(/HTTP\/1\.1 (2|5)/);
    }
    expect((await call(served, 'GET', '/api/v3/')).status).toBe(200);
  });
});
