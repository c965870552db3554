/** Who gets the next connection: servers that say of themselves whether they are ready. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Balancer } from './balancer';
import { until } from './house-process';

describe('a balancer', () => {
  const servers: { readonly server: Server; readonly url: string; isReady: boolean }[] = [];
  let balancer: Balancer;
  beforeEach(async () => {
    balancer = new Balancer();
    for (let count = 0; count < 2; count += 1) {
      const server = createServer((_, answer) => answer.writeHead(one.isReady ? 200 : 503).end()).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const one = { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, isReady: true };
      servers.push(one);
    }
    void balancer.watch();
  });
  afterEach(() => {
    balancer.stop();
    for (const { server } of servers.splice(0)) {
      server.close();
      server.closeAllConnections();
    }
  });
  const named = (): string[] => [...new Set(Array.from({ length: 8 }, () => balancer.next()))].sort();

  it('passes by who is not ready, who was not looked at yet, and who was taken out', async () => {
    const [first, second] = servers as [(typeof servers)[0], (typeof servers)[0]];
    expect(() => balancer.next()).toThrow('nobody');
    balancer.add(first.url);
    await until('the first one is seen', () => balancer.ready.length === 1);
    balancer.add(second.url);
    // As it can't have been looked at within this turn.
    expect(named()).toEqual([first.url]);
    await until('both are seen', () => balancer.ready.length === 2);
    expect(named()).toEqual([first.url, second.url].sort());
    first.isReady = false;
    await until('the first one is left out', () => named().join() === second.url);
    second.isReady = false;
    // Nobody is ready: as good as all.
    await until('all are tried', () => named().length === 2);
    balancer.remove(first.url);
    expect(named()).toEqual([second.url]);
  });
});
