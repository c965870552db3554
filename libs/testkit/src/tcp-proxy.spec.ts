/** The wire that breaks: what is passed, held, delayed and cut, seen from both of its ends. */
import { once } from 'node:events';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { TcpProxy } from './tcp-proxy';

/** Waits for a state; at most 10 s. */
async function until(what: () => boolean): Promise<void> {
  for (let look = 0; look < 1_000 && !what(); look += 1) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(what()).toBe(true);
}

describe('a wire that breaks', () => {
  let server: Server;
  let proxy: TcpProxy;
  let heard = '';
  let ends = 0;
  beforeEach(async () => {
    [heard, ends] = ['', 0];
    // Answers each text in capitals.
    server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('close', () => (ends += 1));
      socket.on('data', (data) => {
        heard += String(data);
        socket.write(String(data).toUpperCase());
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    proxy = await TcpProxy.to(`tcp://127.0.0.1:${(server.address() as { port: number }).port}`);
  });
  afterEach(async () => {
    await proxy.close();
    server.close();
  });
  const connect = async (): Promise<{ socket: Socket; got: () => string; isClosed: () => boolean }> => {
    const socket = createConnection(proxy.port, '127.0.0.1');
    let got = '';
    let isClosed = false;
    socket.on('error', () => undefined);
    socket.on('data', (data) => (got += String(data)));
    socket.on('close', () => (isClosed = true));
    await once(socket, 'connect');
    return { socket, got: () => got, isClosed: () => isClosed };
  };

  it('holds one direction and then delivers what was held, in order', async () => {
    const client = await connect();
    client.socket.write('a');
    await until(() => client.got() === 'A');
    proxy.silence('down');
    client.socket.write('b');
    await until(() => heard === 'ab');
    expect(client.got()).toBe('A');
    await proxy.mend();
    proxy.silence('up');
    client.socket.write('c');
    await until(() => client.got() === 'AB');
    client.socket.destroy();
    await until(client.isClosed);
    expect([heard, ends]).toEqual(['ab', 0]);
    await proxy.mend();
    await until(() => heard === 'abc' && ends === 1 && proxy.connections === 0);
  });

  it('delays, and drops what is open without refusing what is new', async () => {
    const client = await connect();
    proxy.delay(50);
    const began = performance.now();
    client.socket.write('a');
    await until(() => client.got() === 'A');
    expect(performance.now() - began).toBeGreaterThan(95);
    proxy.drop();
    await until(client.isClosed);
    await proxy.mend();
    const next = await connect();
    next.socket.write('b');
    await until(() => next.got() === 'B');
  });

  it('passes a request on whose answer nobody gets', async () => {
    const client = await connect();
    proxy.breakAfter('commit');
    client.socket.write('commit');
    await until(() => client.isClosed() && heard === 'commit');
    expect(client.got()).toBe('');
  });

  it('refuses while it is cut, and is at the same port when it is mended', async () => {
    const client = await connect();
    await proxy.cut();
    await until(client.isClosed);
    await expect(connect()).rejects.toThrow();
    await proxy.mend();
    const next = await connect();
    next.socket.write('a');
    await until(() => next.got() === 'A');
  });
});
