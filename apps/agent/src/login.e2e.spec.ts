/** An agent that shows an API token to a house with login on. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Connection, discover, Tool, type WorkflowRun } from '@jobmon/client';
import { createApiToken, JobmonError, listClusters, LOGIN_PROVIDER_AWAY, type Role } from '@jobmon/contracts';
import { loadHouseConfig, startHouse, type House } from '@jobmon/local';
import { until } from '@jobmon/testkit';
import { pino } from 'pino';
import { Agent } from './agent';
import { isServerAway } from './server-away';

const log = pino({ level: 'silent' });
let folder: string;
let house: House;
let admin: Connection;
const agents: Agent[] = [];
beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'jobmon-login-'));
  const env = { HOME: folder, JOBMON__AUTH__MODE: 'on', JOBMON__AGENT__LEASE_SECONDS: '60' };
  const { config } = loadHouseConfig({ db: `sqlite:${path.join(folder, 'jobmon.sqlite')}` }, env);
  house = await startHouse({ config, log, port: 0, without: ['agent'] });
  admin = new Connection(house);
});
afterAll(async () => {
  await Promise.all(agents.map((agent) => agent.stop()));
  await house.stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

async function tokenFor(user: string, role: Role = 'operator'): Promise<string> {
  return (await admin.send(createApiToken, { name: 'of the spec', for_user: user, role })).token;
}

/** An agent of the dummy cluster: what it starts has ended at once. */
function startAgent(
  token: string,
  name: string,
  settings: { any_user?: boolean; onRefused?: (error: Error) => void } = {},
): Agent {
  const agent = new Agent({
    findApi: async () => ({ url: house.url, token }),
    clusters: { dummy: 'dummy' },
    user: 'whoever this process is',
    hostname: name,
    state_directory: path.join(folder, name),
    cores: 4,
    memory_gib: 1,
    any_user: false,
    version: '',
    log,
    ...settings,
  });
  agents.push(agent);
  agent.start();
  return agent;
}

async function submit(token: string, name: string): Promise<WorkflowRun> {
  const connection = new Connection({ url: house.url, token });
  const tool = new Tool(name, { connection, defaultClusterName: 'dummy' });
  const workflow = tool.createWorkflow({ name });
  workflow.addTask(tool.getTaskTemplate('one', 'true {n}').createTask({ n: 1 }));
  return workflow.submit();
}

const agentUsers = (): Promise<{ hostname: string; user: string }[]> =>
  house.database.read('SELECT hostname, user FROM agent WHERE ended_date IS NULL ORDER BY hostname');

it('runs the workflows of its token’s user, and of nobody else', async () => {
  const [ada, eve] = await Promise.all([tokenFor('ada'), tokenFor('eve')]);
  // Earlier, so that it would be taken first.
  const of_eve = await submit(eve, 'of eve');
  const of_ada = await submit(ada, 'of ada');
  startAgent(ada, 'a');
  expect((await of_ada.wait()).status).toBe('DONE');
  expect(await agentUsers()).toEqual([{ hostname: 'a', user: 'ada' }]);
  const taken =
    'SELECT ti.id FROM task_instance ti JOIN task t ON t.id = ti.task_id WHERE t.workflow_id = ? AND ti.agent_id IS NOT NULL';
  expect(await house.database.read(taken, [of_eve.workflowId])).toEqual([]);
  startAgent(eve, 'b');
  expect((await of_eve.wait()).status).toBe('DONE');
  expect(await house.database.read('SELECT user FROM workflow WHERE id = ?', [of_eve.workflowId])).toEqual([{ user: 'eve' }]);
});

it.each<[string, () => Promise<string>, boolean, RegExp]>([
  ['a token that nobody made', async () => `jobmon_${'A'.repeat(43)}`, false, /none of this server/],
  ['a reader’s token', () => tokenFor('ada', 'reader'), false, /needs the role operator/],
  ['an operator’s token for everybody', () => tokenFor('ada'), true, /--any-user/],
])('is refused with %s', async (what, make, any_user, sentence) => {
  const token = await make();
  const error = await new Promise<Error>((onRefused) => startAgent(token, what, { any_user, onRefused }));
  expect(error.message).toMatch(sentence);
  expect((await agentUsers()).map(({ hostname }) => hostname)).toEqual(['a', 'b']);
});

it('runs everybody’s with an admin’s', async () => {
  const token = await tokenFor('root', 'admin');
  startAgent(token, 'c', { any_user: true });
  await until('it has joined', async () => (await agentUsers()).length === 3);
  const run = await submit(await tokenFor('mallory'), 'of mallory');
  expect((await run.wait()).status).toBe('DONE');
});

it('does not take a login provider that is away for a server that is', async () => {
  const away = new JobmonError('UNAVAILABLE', 'the login provider is away', { rule: LOGIN_PROVIDER_AWAY });
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  await new Promise((closed) => listener.close(closed));
  const url = `http://127.0.0.1:${port}`;
  const refused = await discover(url).catch((thrown: unknown) => thrown);
  const unreachable = await new Connection({ url }).send(listClusters, {}, { tries_max: 1 }).catch((thrown: unknown) => thrown);
  expect([isServerAway(away), isServerAway(refused), isServerAway(unreachable)]).toEqual([false, false, true]);
  expect(isServerAway(new JobmonError('UNAVAILABLE', 'the database is away'))).toBe(true);
});
