/** What is read off a wire: real requests of Node's fetch, which keeps its connections, to a server behind a proxy. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Answers } from './answers';
import { until } from './house-process';
import { TcpProxy } from './tcp-proxy';

describe('answers read off a wire', () => {
  const LATE_MS = 300;
  let server: Server;
  let proxy: TcpProxy;
  let answers: Answers;
  beforeEach(async () => {
    server = createServer((request, answer) => {
      request.resume().on('end', () => {
        const url = request.url!;
        if (url === '/silence') return;
        if (url === '/gone') return request.socket.destroy();
        const status = Number(url.split('/').at(-1)) || 200;
        setTimeout(
          () => answer.writeHead(status).end('x'.repeat(100_000)),
          url.startsWith('/late') || url.endsWith('lease') ? LATE_MS : 0,
        );
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    answers = new Answers();
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    proxy = await TcpProxy.to(url, 0, () => answers.of('a client'));
  });
  afterEach(async () => {
    await proxy.close();
    server.close();
    server.closeAllConnections();
  });
  const ask = async (address: string, options: RequestInit = {}): Promise<void> => {
    const answer = await fetch(`http://127.0.0.1:${proxy.port}${address}`, options);
    await answer.text();
  };

  it('are counted by status, one for each request of a kept connection, with those that got none', async () => {
    for (const address of ['/200', '/404', '/200', '/tasks/12/503', '/tasks/7/503']) await ask(address);
    await ask('/200', { method: 'POST', body: 'y'.repeat(1_000_000) });
    await expect(ask('/gone', { method: 'POST', body: '{}' })).rejects.toThrow('fetch failed');
    await until('the end is seen', () => answers.counts.has('none'));
    expect(Object.fromEntries(answers.counts)).toEqual({ 200: 3, 404: 1, 503: 2, none: 1 });
    expect(Object.fromEntries(answers.refused)).toEqual({
      '404 a client: GET /N': 1,
      '503 a client: GET /tasks/N/N': 2,
      'none a client: POST /gone': 1,
    });
  });

  it('count a try that found nobody, once', async () => {
    server.close();
    await once(server, 'close');
    await expect(ask('/200')).rejects.toThrow('fetch failed');
    await until('the connection is gone', () => proxy.connections === 0);
    expect(Object.fromEntries(answers.counts)).toEqual({ none: 1 });
  });

  it('do not count what a client gave up itself', async () => {
    await expect(ask('/silence', { signal: AbortSignal.timeout(100) })).rejects.toThrow('timeout');
    await until('the connection is gone', () => proxy.connections === 0);
    expect(answers.counts.size).toBe(0);
  });

  it('tell the longest wait, but for long polls', async () => {
    await ask('/200');
    await ask('/api/v4/agents/7/lease', { method: 'POST' });
    expect(answers.longest.seconds).toBeLessThan(LATE_MS / 1_000);
    await ask('/late/200');
    expect(answers.longest.request).toBe('a client: GET /late/200');
    expect(answers.longest.seconds).toBeGreaterThanOrEqual((LATE_MS - 10) / 1_000);
  });
});
