/** `npm run services` as a person types it: everything starts, it says where everything is, and Ctrl-C leaves nothing running. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Connection } from '@jobmon/client';
import { listWorkflows } from '@jobmon/contracts';
import { describeApart, freePort, ROOT, SERVICES, until, UserFolder } from '@jobmon/testkit';

const START_MS_MAX = 150_000;
/** An orderly stop of the services, and then of MariaDB and NATS. */
const STOP_MS_MAX = 40_000;

/** Processes whose command line or environment names the folder, other than those that have ended. */
function runningIn(folder: string): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    try {
      if (!/^\d+$/.test(pid) || readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ')) return [];
      const [command, environment] = ['cmdline', 'environ'].map((file) => readFileSync(`/proc/${pid}/${file}`, 'latin1'));
      return `${command}\0${environment}`.includes(folder) ? [command!.replaceAll('\0', ' ')] : [];
    } catch {
      return [];
    }
  });
}

describeApart('npm run services', () => {
  let user: UserFolder;
  beforeAll(() => {
    user = new UserFolder();
  });
  afterAll(() => user?.remove());

  it('starts all, says where it is, refuses a second one in its folder, and ends all on Ctrl-C', async () => {
    const data = path.join(user.path, 'around');
    const env = { ...user.env, JOBMON__HTTP__PORT: String(await freePort()) };
    // A group of its own, as of a terminal: Ctrl-C goes to all that is in it.
    const npm = spawn('npm', ['run', '--silent', 'services', '--', '--data', data], {
      cwd: ROOT,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    let said = '';
    for (const stream of [npm.stdout, npm.stderr]) stream.on('data', (part: Buffer) => (said += part.toString()));
    let hasEnded = false;
    const ended = new Promise<number | NodeJS.Signals>((resolve) =>
      npm.on('close', (code, signal) => {
        hasEnded = true;
        resolve(code ?? signal!);
      }),
    );
    try {
      await until('it says how it ends', () => hasEnded || said.includes('Ctrl-C stops everything'), START_MS_MAX);
      expect([hasEnded, said]).toEqual([false, expect.stringContaining('The services run.')]);

      const places = [...said.matchAll(/^ {2}([a-z-]+)-1 +(http\S+\/health\/ready) {2}(http\S+\/metrics)$/gm)];
      expect(places.map(([, name]) => name).sort()).toEqual([...SERVICES].sort());
      for (const [, name, ready, metrics] of places) {
        expect([name, (await fetch(ready!)).status]).toEqual([name, 200]);
        expect(await (await fetch(metrics!)).text()).toContain('jobmon_need_up{need="database"} 1');
        expect(existsSync(path.join(data, 'logs', `${name}-1.log`))).toBe(true);
      }
      const found = (what: string): string => new RegExp(`^ {2}${what} +(\\S+)$`, 'm').exec(said)![1]!;
      expect(found('api')).toBe(`http://127.0.0.1:${env.JOBMON__HTTP__PORT}`);
      expect(said).toContain(`JOBMON__HTTP__SERVICE_URL=${found('api')} JOBMON__HTTP__TOKEN=${found('token')}`);
      const connection = new Connection({ url: found('api'), token: found('token') });
      expect((await connection.send(listWorkflows, {})).workflows).toEqual([]);
      expect([found('database'), found('NATS')]).toEqual([
        expect.stringMatching(/^mariadb:\/\/.+\/jobmon$/),
        expect.stringMatching(/^nats:\/\/127\.0\.0\.1:\d+$/),
      ]);

      const tool = path.join(ROOT, 'tools', 'services.mjs');
      const second = spawnSync(process.execPath, [tool, '--data', data], { cwd: ROOT, env, encoding: 'utf8' });
      expect([second.status, second.stderr]).toEqual([1, expect.stringMatching(/run already \(process \d+\): stop them, or/)]);
      expect((await fetch(places[0]![2]!)).status).toBe(200);

      const since = performance.now();
      process.kill(-npm.pid!, 'SIGINT');
      await ended;
      expect(performance.now() - since).toBeLessThan(STOP_MS_MAX);
      expect(said).toMatch(/^Stopping\.$/m);
      await until('nothing is left running', () => runningIn(data).length === 0, 5_000).catch(() => undefined);
      expect(runningIn(data)).toEqual([]);
      await Promise.all(places.map(([, , ready]) => expect(fetch(ready!)).rejects.toThrow()));
      // Each was told to stop, and none had to be killed.
      for (const name of SERVICES)
        expect(readFileSync(path.join(data, 'logs', `${name}-1.log`), 'utf8')).toMatch(/"message":"stopped"/);
      expect(existsSync(path.join(data, 'pid'))).toBe(false);
    } finally {
      if (!hasEnded) process.kill(-npm.pid!, 'SIGINT');
      await ended;
    }
  }, 240_000);
});
