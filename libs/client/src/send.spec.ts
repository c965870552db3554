import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import {
  followWorkflow,
  getWorkflow,
  JobmonError,
  listWorkflows,
  logDone,
  registerTool,
  submitWorkflow,
} from '@jobmon/contracts';
import { Connection, isServerUnreachable } from './send';

interface Seen {
  method?: string;
  url?: string;
  authorization?: string;
  body: string;
  socket: Socket;
}

let server: Server;
let seen: Seen[];
let answer: (request: Seen, response: ServerResponse) => void;
let connection: Connection;

function bodyOf(request: IncomingMessage): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    request.on('data', (piece: Buffer) => (text += piece.toString()));
    request.on('end', () => resolve(text));
  });
}

beforeEach(async () => {
  seen = [];
  server = createServer((request, response) => {
    void bodyOf(request).then((body) => {
      const { authorization } = request.headers;
      seen.push({ method: request.method, url: request.url, authorization, body, socket: request.socket });
      answer(seen.at(-1)!, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  connection = new Connection({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, token: 'secret' });
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const json = (response: ServerResponse, status: number, value: unknown): void => {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
};

const view = (done: number) => ({
  workflow_id: 7,
  name: 'w',
  tool: 't',
  status: 'R' as const,
  created_date: null,
  status_date: null,
  max_concurrently_running: 1,
  tasks: { D: done },
  workflow_run_id: 1,
  workflow_run_status: 'R',
  user: 'me',
});

describe('Connection.send', () => {
  test('a POST fills the path, sends the rest as its body, and carries the token', async () => {
    answer = (_, response) => json(response, 200, { workflow_run_id: 3, status: 'B' });
    const reply = await connection.send(submitWorkflow, { workflow_id: 7, user: 'me', working_directory: '/tmp' });
    expect(reply).toEqual({ workflow_run_id: 3, status: 'B' });
    expect(seen[0]).toMatchObject({
      method: 'POST',
      url: '/api/v4/workflows/7/submit',
      authorization: 'Bearer secret',
      body: JSON.stringify({ user: 'me', working_directory: '/tmp' }),
    });
  });

  test('a GET puts what is not in the path into the query', async () => {
    answer = (_, response) => json(response, 200, { workflows: [], next: null });
    await connection.send(listWorkflows, { limit: 5, user: ['a b&c'], before: undefined });
    expect(seen[0]?.url).toBe('/api/v4/workflows?limit=5&user=a+b%26c');
    expect(seen[0]?.body).toBe('');
  });

  test('calls one after the other share connections', async () => {
    answer = (_, response) => json(response, 200, { tool_id: 1, tool_version_id: 2 });
    for (let i = 0; i < 20; i++) await connection.send(registerTool, { name: 'x' });
    expect(new Set(seen.map((one) => one.socket)).size).toBeLessThanOrEqual(2);
  });

  test.each([
    ['bare', { code: 'NOT_FOUND', message: 'no workflow 7', details: { workflow_id: 7 } }],
    ['under error', { error: { code: 'NOT_FOUND', message: 'no workflow 7', details: { workflow_id: 7 } } }],
  ])('a 4xx ends the call at once with the code and message of the server (%s)', async (_, body) => {
    answer = (__, response) => json(response, 404, body);
    const call = connection.send(getWorkflow, { workflow_id: 7 });
    await expect(call).rejects.toMatchObject({ code: 'NOT_FOUND', message: 'no workflow 7', details: { workflow_id: 7 } });
    expect(seen).toHaveLength(1);
  });

  test('a 503 and a lost connection are repeated until the answer comes', async () => {
    answer = (request, response) => {
      if (seen.length === 1) json(response, 503, { code: 'UNAVAILABLE', message: 'full' });
      else if (seen.length === 2) request.socket.destroy();
      else json(response, 200, { tool_id: 1, tool_version_id: 2 });
    };
    expect(await connection.send(registerTool, { name: 'x' })).toEqual({ tool_id: 1, tool_version_id: 2 });
    expect(seen).toHaveLength(3);
  });

  test('tries are bounded and the last failure is thrown', async () => {
    answer = (_, response) => json(response, 503, { code: 'UNAVAILABLE', message: 'full' });
    await expect(connection.send(registerTool, { name: 'x' }, { tries_max: 3 })).rejects.toMatchObject({ message: 'full' });
    expect(seen).toHaveLength(3);
  });

  test('a try that takes longer than its time is given up', async () => {
    answer = () => undefined;
    const call = connection.send(registerTool, { name: 'x' }, { tries_max: 2, timeout_ms: 500 });
    await expect(call).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining('no answer') });
    expect(seen).toHaveLength(2);
  });

  test('the caller’s signal ends the call, waits included, with its own reason', async () => {
    const ended = new AbortController();
    answer = (_, response) => {
      json(response, 503, {});
      ended.abort(new Error('stopped by hand'));
    };
    await expect(connection.send(registerTool, { name: 'x' }, { signal: ended.signal })).rejects.toThrow('stopped by hand');
    expect(seen).toHaveLength(1);
  });

  test('nobody at the address, and somebody who is not a Jobmon server, are told from an answer', async () => {
    answer = (_, response) => response.end('<html>');
    const stranger = await connection.send(getWorkflow, { workflow_id: 7 }, { tries_max: 1 }).catch((error: unknown) => error);
    expect(stranger).toBeInstanceOf(JobmonError);
    expect(isServerUnreachable(stranger)).toBe(true);
    const nobody = new Connection({ url: 'http://127.0.0.1:1' });
    const silence = await nobody.send(getWorkflow, { workflow_id: 7 }, { tries_max: 1 }).catch((error: unknown) => error);
    expect(silence).toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining('http://127.0.0.1:1') });
    expect(isServerUnreachable(silence)).toBe(true);
    answer = (_, response) => json(response, 503, { code: 'UNAVAILABLE', message: 'full' });
    const answered = await connection.send(getWorkflow, { workflow_id: 7 }, { tries_max: 1 }).catch((error: unknown) => error);
    expect(isServerUnreachable(answered)).toBe(false);
  });

  test('an answer that breaks the reply schema is an error, not a value', async () => {
    answer = (_, response) => json(response, 200, { tool_id: 'one' });
    await expect(connection.send(registerTool, { name: 'x' })).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  test('operations with a wire form of their own, and addresses that are none, are refused', async () => {
    await expect(connection.send(followWorkflow, { workflow_id: 7 })).rejects.toThrow(TypeError);
    expect(logDone.http?.path).toContain('/api/v3/');
    expect(() => new Connection({ url: 'localhost' })).toThrow('not a URL');
    expect(() => new Connection({ url: 'ftp://x' })).toThrow('http://');
  });
});

describe('Connection.stream', () => {
  const event = (done: number, is_final: boolean): string =>
    `event: workflow\r\ndata: ${JSON.stringify({ workflow: view(done), is_final })}\r\n\r\n`;

  test('events cut anywhere, comments between them, and a broken stream make one sequence', async () => {
    answer = (request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      if (seen.length > 1) return response.end(event(3, true));
      const text = `: hello\n\n${event(1, false)}${event(2, false)}data: {"cut`;
      const middle = text.indexOf('\r\n\r\n') + 1;
      response.write(text.slice(0, middle), () =>
        response.write(text.slice(middle), () => setImmediate(() => request.socket.destroy())),
      );
    };
    const done: (number | undefined)[] = [];
    for await (const { workflow } of connection.stream(followWorkflow, { workflow_id: 7 })) done.push(workflow.tasks.D);
    expect(done).toEqual([1, 2, 3]);
    expect(seen).toHaveLength(2);
    expect(seen[0]?.url).toBe('/api/v4/workflows/7/events');
  });

  test('leaving the loop closes the connection', async () => {
    let closed!: () => void;
    const isClosed = new Promise<void>((resolve) => (closed = resolve));
    answer = (request, response) => {
      request.socket.on('close', closed);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(event(1, false));
    };
    for await (const { workflow } of connection.stream(followWorkflow, { workflow_id: 7 })) {
      expect(workflow.tasks.D).toBe(1);
      break;
    }
    await isClosed;
  });

  test('an unknown workflow ends it at once', async () => {
    answer = (_, response) => json(response, 404, { code: 'NOT_FOUND', message: 'no workflow 7' });
    await expect(connection.stream(followWorkflow, { workflow_id: 7 }).next()).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(seen).toHaveLength(1);
  });
});

describe('a server of several addresses', () => {
  const urlOf = (one: Server): string => `http://127.0.0.1:${(one.address() as AddressInfo).port}`;
  const other = createServer((request, response) => {
    void bodyOf(request).then((body) => {
      otherSeen.push(body);
      answerOfOther(response);
    });
  });
  let otherSeen: string[] = [];
  let answerOfOther: (response: ServerResponse) => void;
  let gone: string;
  const options = { tries_max: 1, timeout_ms: 5_000 };
  const ask = (at: Connection) => at.send(registerTool, { name: 't' }, options);
  const tool = { tool_id: 1, tool_version_id: 2 };

  beforeAll(async () => {
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
    gone = urlOf(closed);
    await new Promise((resolve) => closed.close(resolve));
  });
  beforeEach(() => {
    otherSeen = [];
    answerOfOther = (response) => json(response, 200, tool);
    answer = (_, response) => json(response, 200, tool);
  });
  afterAll(async () => {
    other.closeAllConnections();
    await new Promise((resolve) => other.close(resolve));
  });

  it('is asked at the next one at once when nobody listens at one, and there from then on', async () => {
    const several = new Connection({ url: `${gone} , ${urlOf(other)}/`, token: 'x' });
    expect([several.addresses, several.url]).toEqual([2, gone]);
    await ask(several);
    expect([several.url, otherSeen.length]).toEqual([urlOf(other), 1]);
    expect(new Connection({ url: `${gone},${urlOf(other)}`, first: urlOf(other) }).url).toBe(urlOf(other));
  });

  it('is asked at the next one with the next call when one answers 503, and is away only when all did', async () => {
    const several = new Connection({ url: `${urlOf(server)},${urlOf(other)}` });
    const away = (_: unknown, response: ServerResponse): void => json(response, 503, { code: 'UNAVAILABLE', message: 'no bus' });
    answer = away;
    const failed = async (): Promise<boolean> =>
      ask(several).then(
        () => {
          throw new Error('it answered');
        },
        (error: unknown) => isServerUnreachable(error),
      );
    expect([await failed(), several.url]).toEqual([true, urlOf(other)]);
    await ask(several);
    expect([otherSeen.length, several.url]).toEqual([1, urlOf(other)]);
    answerOfOther = (response) => away(undefined, response);
    // The first one may have come back since the other one answered.
    expect([await failed(), several.url]).toEqual([true, urlOf(server)]);
    expect([await failed(), several.url]).toEqual([false, urlOf(other)]);
  });

  it('is asked at the next one with the next call when one does not answer in time', async () => {
    answer = () => undefined;
    const several = new Connection({ url: `${urlOf(server)},${urlOf(other)}` });
    const late = await several
      .send(registerTool, { name: 't' }, { tries_max: 1, timeout_ms: 50 })
      .catch((error: unknown) => error);
    expect([isServerUnreachable(late), several.url]).toEqual([true, urlOf(other)]);
    await several.send(registerTool, { name: 't' }, { tries_max: 2, timeout_ms: 5_000 });
    expect(otherSeen).toHaveLength(1);
  });

  it('has addresses of http alone', () => {
    expect(() => new Connection({ url: 'http://a,b' })).toThrow(/'b' is not a URL/);
    expect(() => new Connection({ url: 'http://a,' })).toThrow(/'' is not a URL/);
  });
});
