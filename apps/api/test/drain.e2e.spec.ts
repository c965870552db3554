/** An api that is told to stop while clients go on to open connections, as they do behind an address that has not heard of it yet. */
import http from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { describeApart, SystemApart, type Services } from '@jobmon/testkit';

const DRAIN_SECONDS = 2;
const STOP_MS_MAX = 20_000;

describeApart('an api that is told to stop', (mariadb) => {
  let system: SystemApart;
  let services: Services;
  /** Of the last answer: whether its connection may be used again. */
  let isKept: boolean;

  beforeAll(async () => {
    system = await SystemApart.open(mariadb);
    services = system.services({ token: 'a'.repeat(32), env: { JOBMON__SERVICE__DRAIN_SECONDS: String(DRAIN_SECONDS) } });
    await services.start({ api: 1 });
  }, 120_000);
  afterAll(() => system?.remove(), 120_000);

  /** The status of an answer, if not said else over a connection of its own; 0 when there was none. */
  const ask = (url: string, agent: http.Agent | false = false): Promise<number> =>
    new Promise((resolve) => {
      http
        .get(url, { agent }, (answer) => {
          isKept = answer.headers.connection !== 'close';
          answer.resume();
          answer.on('end', () => resolve(answer.statusCode!));
          answer.on('error', () => resolve(0));
        })
        .on('error', () => resolve(0));
    });

  it('is not ready at once, answers new connections for the time that is set, ends those that are kept, and then itself', async () => {
    const [api] = services.alive('api');
    const workflows = `${api!.url}/api/v4/workflows`;
    const kept = new http.Agent({ keepAlive: true, maxSockets: 1 });
    expect(await ask(workflows, kept)).toBe(200);
    expect(isKept).toBe(true);
    const told = performance.now();
    const ended = api!.end('SIGTERM');
    await api!.said(/^stopping$/);
    expect((await api!.readiness())?.details).toMatchObject({ service: { status: 'down', cause: 'it is stopping' } });
    // Whoever kept his connection is sent on to another api before this one closes it while he asks.
    expect(await ask(workflows, kept)).toBe(200);
    expect(isKept).toBe(false);
    kept.destroy();
    const statuses = new Set<number>();
    let served_ms = 0;
    for (;;) {
      const status = await ask(workflows);
      // What is asked when the time is over may find nobody, or somebody who closes.
      if (performance.now() - told >= DRAIN_SECONDS * 1_000) break;
      served_ms = performance.now() - told;
      statuses.add(status);
      await pause(20);
    }
    expect([...statuses]).toEqual([200]);
    expect(served_ms).toBeGreaterThan(DRAIN_SECONDS * 500);
    expect(await ended).toBe(0);
    expect(performance.now() - told).toBeLessThan(STOP_MS_MAX);
    expect(await ask(workflows)).toBe(0);
  }, 120_000);
});
