/** The disk of the database is full in the middle of a run: said clearly, nothing corrupt, and the run goes on when there is room. */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import path from 'node:path';
import SqliteHandle from 'better-sqlite3';
import { buildHouse, HouseProcess, until, UserFolder } from '@jobmon/testkit';
import { brokenRules, readWitness, submitWitnessed } from './witnessed-workflow';

const TASKS = 60;
const user = new UserFolder({ JOBMON__AGENT__CORES: '4' });
/** A disk of its own of 12 MB; only root can mount one. */
const disk = user.folder('disk');
const isMounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=12m', 'jobmon-test', disk]).status === 0;
const why = isMounted ? '' : ': only root can mount a small disk';

afterAll(async () => {
  await user.remove().catch((error: unknown) => {
    if (!isMounted) throw error;
  });
  if (isMounted) spawnSync('umount', ['-l', disk]);
  rmSync(user.path, { recursive: true, force: true });
});

(isMounted ? it : it.skip)(
  `a full disk${why}`,
  async () => {
    buildHouse();
    const file = path.join(disk, 'jobmon.sqlite');
    const args = ['--port', '0', '--db', `sqlite:${file}`];
    const settings = { env: { JOBMON__AGENT__STATE_DIRECTORY: user.folder('agent') } };
    let house = await HouseProcess.start(user, args, settings);
    const said = (): string => `${house.stdout}\n${house.stderr}`;
    const run = await submitWitnessed(user, house.connection(), { tasks: TASKS, width: 10, seconds: () => 0.3 });
    await until('some commands have ended', () => readWitness(user).length > 20);

    const ballast = path.join(disk, 'ballast');
    spawnSync('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=64k']);
    spawnSync('dd', ['if=/dev/zero', `of=${ballast}.rest`, 'bs=1k']);
    await until('the house says so', () => said().includes('is full: make room'));
    expect(said()).toMatch(/^Warning: the disk of the database .* is full: make room, nothing that was answered is lost\.$/m);
    expect((await fetch(`${house.url}/api/v3/`)).status).toBe(200);

    // Killed on the full disk, and refused there with the same reason, or started again and waiting for room.
    expect(await house.end('SIGKILL')).toBe('SIGKILL');
    const second = new HouseProcess(user, args, settings);
    await until('the second start is decided', () => second.hasEnded || second.url !== undefined);
    if (second.hasEnded) {
      expect([await second.ended, second.stderr]).toEqual([1, expect.stringMatching(/^Error: .*full: make room.*\n$/)]);
    }
    for (const each of [ballast, `${ballast}.rest`]) rmSync(each, { force: true });
    house = second.hasEnded ? await HouseProcess.start(user, args, settings) : second;

    const status = (): string => {
      const handle = new SqliteHandle(file, { readonly: true, timeout: 5_000 });
      const row = handle.prepare('SELECT status FROM workflow_run WHERE id = ?').get(run.workflowRunId) as { status: string };
      handle.close();
      return row.status;
    };
    await until('the run has ended', () => status() !== 'R', 60_000);
    expect(status()).toBe('D');
    expect(brokenRules(readWitness(user), [], TASKS)).toEqual([]);
    expect(await house.end('SIGTERM')).toBe(0);
    const handle = new SqliteHandle(file);
    expect(handle.pragma('integrity_check', { simple: true })).toBe('ok');
    handle.close();
  },
  180_000,
);
