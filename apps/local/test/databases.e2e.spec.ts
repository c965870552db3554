/** The whole house on each kind of database. */
import { WorkflowRun } from '@jobmon/client';
import { buildHouse, describeOnDatabaseKinds, HouseProcess, UserFolder, type DatabaseKind } from '@jobmon/testkit';
import { brokenRules, readWitness, submitWitnessed } from './witnessed-workflow';

const TASKS = 60;

describeOnDatabaseKinds('a house', (kind) => {
  let user: UserFolder;
  let house: HouseProcess;
  let place: Awaited<ReturnType<DatabaseKind['place']>>;

  beforeAll(async () => {
    buildHouse();
    user = new UserFolder({ JOBMON__AGENT__CORES: '8' });
    place = await kind.place();
    house = await HouseProcess.start(user, ['--port', '0', '--db', place.url]);
  }, 60_000);
  afterAll(async () => {
    await house.end('SIGTERM');
    await user.remove();
    await place.remove();
  });

  it('runs a workflow to its end, and goes on after kill -9', async () => {
    const workflow = { tasks: TASKS, width: 12, seconds: (position: number) => (position % 4 === 0 ? 0.5 : 0.05) };
    const run = await submitWitnessed(user, house.connection(), workflow);
    for await (const { counts } of run.follow()) if (counts.done >= 12) break;
    await house.end('SIGKILL');
    house = await HouseProcess.start(user, ['--port', '0', '--db', place.url]);
    const result = await new WorkflowRun(house.connection(), run.workflowId, run.workflowRunId).wait();
    expect([result.status, result.counts.done]).toEqual(['DONE', TASKS]);
    expect(brokenRules(readWitness(user), [], TASKS)).toEqual([]);
  }, 120_000);
});
