/** Every way in which a person ends a house while commands run; what runs goes on, and the next start takes it up. */
import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { buildHouse, HouseProcess, until, UserFolder } from '@jobmon/testkit';
import { brokenRules, readStanding, readWitness, submitWitnessed, type Standing } from './witnessed-workflow';

const TASKS = 120;

describe('a house that is told to stop', () => {
  let user: UserFolder;
  let house: HouseProcess;
  let run: number;
  const stops: Standing[] = [];
  /** Commands that have started and not ended, by the independent log. */
  const running = (): number => readWitness(user).reduce((sum, line) => sum + (line.what === 'start' ? 1 : -1), 0);
  const status = (): string => user.rows<{ status: string }>('SELECT status FROM workflow_run WHERE id = ?', run)[0]!.status;

  beforeAll(async () => {
    buildHouse();
    user = new UserFolder({ JOBMON__AGENT__CORES: '6' });
    house = await HouseProcess.start(user);
    const seconds = (position: number): number => (position % 3 === 0 ? 2 : 0.1);
    run = (await submitWitnessed(user, house.connection(), { tasks: TASKS, width: 12, seconds })).workflowRunId!;
  }, 60_000);
  afterAll(async () => {
    await house.end('SIGKILL');
    await user.remove();
  });
  beforeEach(async () => {
    if (house.hasEnded) house = await HouseProcess.start(user);
    await until('three commands run at least', () => running() >= 3);
  });

  /** Reads what stands after the end; that no command ended with the house is seen in the end. */
  const look = (): void => {
    stops.push(readStanding(user));
    expect(status()).toBe('R');
  };

  it('stops in order on Ctrl-C, says so, and takes its profile away', async () => {
    expect(existsSync(user.profileFile)).toBe(true);
    const began = Date.now();
    expect(await house.end('SIGINT')).toBe(0);
    expect(Date.now() - began).toBeLessThan(20_000);
    expect(`${house.stdout}${house.stderr}`).toContain('Stopping; running commands go on');
    expect(existsSync(user.profileFile)).toBe(false);
    look();
  });

  it('ends at once when Ctrl-C is pressed twice', async () => {
    house.kill('SIGINT');
    await pause(250);
    const began = Date.now();
    // 130, or 0 when the orderly stop was quicker than the second press.
    expect([0, 130]).toContain(await house.end('SIGINT'));
    expect(Date.now() - began).toBeLessThan(2_000);
    look();
  });

  it('stops in order when its terminal is closed', async () => {
    house.child.stdout!.destroy();
    house.child.stderr!.destroy();
    expect(await house.end('SIGHUP')).toBe(0);
    expect(existsSync(user.profileFile)).toBe(false);
    look();
  });

  it('stops in order on SIGTERM', async () => {
    expect(await house.end('SIGTERM')).toBe(0);
    look();
  });

  it('has run each command once in the end', async () => {
    await until('the run has ended', () => status() !== 'R', 90_000);
    expect(status()).toBe('D');
    expect(brokenRules(readWitness(user), stops, TASKS)).toEqual([]);
  }, 100_000);
});
