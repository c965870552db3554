/** An agent in a process of its own against a house without one: killed in the middle of a workflow, and another takes over. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Connection, Tool, writeProfile } from '@jobmon/client';
import { listTasks } from '@jobmon/contracts';
import { startHouse, type House } from '@jobmon/local';
import { createLogger, loadConfig } from '@jobmon/runtime';
import { buildSync } from 'esbuild';

const ROOT = resolve(__dirname, '../../..');
let folder: string;
let house: House;
let agents: ChildProcess[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'jobmon-agent-main-'));
  agents = [];
  const env = { HOME: folder, JOBMON__DB__URL: `sqlite:${join(folder, 'jobmon.sqlite')}`, JOBMON__AGENT__LEASE_SECONDS: '30' };
  const log = createLogger({ service: 'local', level: 'info', destination: join(folder, 'house.log') });
  house = await startHouse({ config: loadConfig({ env }).config, log, without: ['agent'], port: 0 });
  buildSync({
    entryPoints: [join(__dirname, 'main.ts')],
    outfile: join(folder, 'main.js'),
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    packages: 'external',
    tsconfig: join(ROOT, 'tsconfig.base.json'),
  });
});

afterEach(async () => {
  for (const agent of agents.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)) {
    agent.kill('SIGTERM');
    await once(agent, 'exit');
  }
  await house.stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

function startAgent(env: Record<string, string> = {}): ChildProcess {
  const agent = spawn(process.execPath, [join(folder, 'main.js')], {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      HOME: folder,
      NODE_PATH: join(ROOT, 'node_modules'),
      JOBMON__HTTP__SERVICE_URL: house.url,
      JOBMON__HTTP__TOKEN: house.token,
      JOBMON__AGENT__CORES: '4',
      JOBMON__LOG__FILE: join(folder, 'agent.log'),
      ...env,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  agents.push(agent);
  return agent;
}

const diary = () => (existsSync(join(folder, 'diary')) ? readFileSync(join(folder, 'diary'), 'utf8').trimEnd().split('\n') : []);

it('goes on where a killed agent was: each command runs once, and each end counts', async () => {
  const connection = new Connection({ url: house.url, token: house.token });
  const tool = new Tool('survey', { connection, defaultClusterName: 'multiprocess' });
  const workflow = tool.createWorkflow({ name: 'forty' });
  const wait = 'while [ {number} -gt 20 ] && [ ! -e go ]; do sleep 0.05; done';
  const template = tool.getTaskTemplate('visit', `echo {number} >>diary; ${wait}; exit $(({number} == 7))`);
  for (let number = 1; number <= 40; number++) {
    workflow.addTask(template.createTask({ number }, { name: `visit_${number}`, maxAttempts: 1 }));
  }
  const first = startAgent();
  const run = await workflow.submit({ workingDirectory: folder });
  await until(() => diary().length >= 22);
  first.kill('SIGKILL');
  await once(first, 'exit');
  writeFileSync(join(folder, 'go'), '');
  startAgent();
  const tasks = async () => (await connection.send(listTasks, { workflow_id: run.workflowId })).tasks;
  await until(async () => (await tasks()).every(({ status }) => status === 'D' || status === 'F'));
  const failed = (await tasks()).filter(({ status }) => status === 'F');
  expect(failed).toMatchObject([{ name: 'visit_7', error: 'the command ended with exit status 1' }]);
  expect(
    diary()
      .map(Number)
      .sort((a, b) => a - b),
  ).toEqual(Array.from({ length: 40 }, (_, index) => index + 1));
}, 90_000);

it('waits for a server that is not there yet', async () => {
  const agent = startAgent({ JOBMON__HTTP__SERVICE_URL: '', JOBMON__HTTP__TOKEN: '', XDG_CONFIG_HOME: join(folder, 'config') });
  const log = () => (existsSync(join(folder, 'agent.log')) ? readFileSync(join(folder, 'agent.log'), 'utf8') : '');
  await until(() => log().includes('no Jobmon server is known'));
  writeProfile({ url: house.url, token: house.token }, { HOME: folder, XDG_CONFIG_HOME: join(folder, 'config') });
  await until(() => log().includes('the agent has joined'));
  expect(agent.exitCode).toBeNull();
}, 60_000);

it('says in one sentence why it cannot start', async () => {
  writeFileSync(join(folder, 'file'), '');
  const agent = startAgent({ JOBMON__AGENT__STATE_DIRECTORY: join(folder, 'file') });
  let said = '';
  agent.stderr?.setEncoding('utf8').on('data', (text: string) => void (said += text));
  const [code] = (await once(agent, 'close')) as [number];
  expect(code).toBe(1);
  expect(said.trimEnd().split('\n')).toEqual([expect.stringMatching(/folder .*\/file can't be used .*agent\.state_directory/)]);
});

it('counts a holder of its folder on another machine as living', async () => {
  const state = join(folder, 'shared');
  mkdirSync(state);
  writeFileSync(join(state, 'agent.lock'), '1 1/x some-other-host\n');
  const agent = startAgent({ JOBMON__AGENT__STATE_DIRECTORY: state });
  let said = '';
  agent.stderr?.setEncoding('utf8').on('data', (text: string) => void (said += text));
  const [code] = (await once(agent, 'close')) as [number];
  expect([code, said]).toEqual([1, expect.stringMatching(/in use by process 1 on some-other-host: .*remove .*agent\.lock/)]);
});

/** Waits until something holds, at most 60 s. */
async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const bound = performance.now() + 60_000;
  while (!(await holds())) {
    if (performance.now() > bound) throw new Error('not so within 60 s');
    await new Promise((again) => setTimeout(again, 50));
  }
}
