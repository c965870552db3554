/** `kill -9` of the house in the middle of a run of 300 commands, several times, at random moments. */
import { setTimeout as pause } from 'node:timers/promises';
import { buildHouse, HouseProcess, until, UserFolder } from '@jobmon/testkit';
import { brokenRules, mostAtOnce, readStanding, readWitness, submitWitnessed, type Standing } from './witnessed-workflow';

const TASKS = 300;
const KILLS = 4;

describe('a house that is killed', () => {
  let user: UserFolder;
  let house: HouseProcess;

  beforeAll(() => {
    buildHouse();
    user = new UserFolder({ JOBMON__AGENT__CORES: '12' });
  });
  afterAll(async () => {
    await house.end('SIGKILL');
    await user.remove();
  });

  it('goes on by itself when it is started again: each command runs once, and the run ends DONE', async () => {
    house = await HouseProcess.start(user);
    // Every sixth command runs for two seconds, so that at each kill several are running.
    const seconds = (position: number): number => (position % 6 === 0 ? 2 : 0.05);
    const run = await submitWitnessed(user, house.connection(), { tasks: TASKS, width: 50, seconds });
    const status = (): string =>
      user.rows<{ status: string }>('SELECT status FROM workflow_run WHERE id = ?', run.workflowRunId)[0]!.status;
    const began = Date.now();
    const kills: Standing[] = [];
    for (let kill = 1; kill <= KILLS; kill += 1) {
      const enough = Math.floor((TASKS * (kill - 0.5 + Math.random() * 0.5)) / (KILLS + 1));
      await until(
        `${enough} commands have started`,
        () => readWitness(user).filter((line) => line.what === 'start').length >= enough,
      );
      await pause(Math.random() * 300);
      expect(await house.end('SIGKILL')).toBe('SIGKILL');
      kills.push(readStanding(user));
      house = await HouseProcess.start(user);
    }
    await until('the run has ended', () => !['B', 'I', 'O', 'R'].includes(status()), 120_000);
    const log = readWitness(user);
    const attempts = user.rows<{ n: number }>('SELECT COUNT(*) AS n FROM task_instance')[0]!.n;
    const starts = log.filter((line) => line.what === 'start').length;
    console.log(
      `survival: ${TASKS} tasks, ${kills.length} kills, ${((Date.now() - began) / 1_000).toFixed(1)} s; at the kills ` +
        `${kills.map((kill) => `${kill.done.size} done and ${kill.running.size} running`).join(', ')}; ` +
        `${starts} commands started, ${mostAtOnce(log)} at one time at most, ${attempts} attempts`,
    );
    expect(status()).toBe('D');
    expect(readStanding(user).done.size).toBe(TASKS);
    expect(kills.reduce((sum, kill) => sum + kill.running.size, 0)).toBeGreaterThan(0);
    expect(brokenRules(log, kills, TASKS)).toEqual([]);
  }, 300_000);
});
