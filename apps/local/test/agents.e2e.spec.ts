/** Agents in processes of their own, some on hosts of their own, against one house without an agent. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Tool, type WorkflowRun } from '@jobmon/client';
import { cancelWorkflow, listAgents, type AgentView } from '@jobmon/contracts';
import { buildHouse, freePort, HouseProcess, until, USER, UserFolder } from '@jobmon/testkit';
import { AgentProcess, CLI, relayTo, whyNoNamespaces, type AgentPlace } from './agent-process';

const LEASE_SECONDS = 5;
const TOKEN = 'a-token-for-agents-of-this-test';
const whyNot = whyNoNamespaces();
const onTwoHosts = whyNot === null ? it : it.skip;
if (whyNot !== null) console.log(`stories on several hosts are skipped: this machine makes no namespaces (${whyNot})`);

/** A command that says where and when it begins and ends; `rest` goes between. */
const witness = (rest: string): string =>
  `echo "start {n} $(hostname) $(date +%s.%N)" >>{log}; ${rest}; echo "end {n} $(hostname) $(date +%s.%N)" >>{log}`;

/** Loaded into a process: it takes today for the day after the day after tomorrow. */
const DAYS_AHEAD = `
const Real = Date, ahead = 3 * 86_400_000;
globalThis.Date = class extends Real {
  constructor(...given) { given.length > 0 ? super(...given) : super(Real.now() + ahead); }
  static now() { return Real.now() + ahead; }
};`;

interface Ran {
  readonly n: number;
  readonly host: string;
  readonly start: number;
  readonly end: number;
}

describe('agents beside a house', () => {
  let user: UserFolder;
  let house: HouseProcess;
  let place: AgentPlace;
  let relay: Server;
  let socket: string;
  const started: AgentProcess[] = [];

  const startHouse = () => HouseProcess.start(user, ['--port', String(place.port), '--without', 'agent']);
  const start = (name: string, args: string[] = [], more: Parameters<typeof AgentProcess.begin>[3] = {}) => {
    const agent = AgentProcess.begin(place, name, ['--cluster', 'multiprocess', ...args], more);
    started.push(agent);
    return agent.joined();
  };
  /** What `jobmon` prints. Not at once, but by a promise: the relay lives in this process. */
  const jobmon = async (...args: string[]): Promise<string> => {
    const env = { ...user.env, JOBMON__HTTP__SERVICE_URL: `http://127.0.0.1:${place.port}` };
    return (await promisify(execFile)(process.execPath, [CLI, ...args], { env })).stdout;
  };
  const agents = async (): Promise<AgentView[]> => (await house.connection().send(listAgents, {})).agents;
  const viewOf = async (agent: AgentProcess) => (await agents()).find(({ agent_id }) => agent_id === agent.agent_id)!;
  const statuses = (run: WorkflowRun): string =>
    user
      .rows<{ status: string; n: number }>(
        'SELECT status, COUNT(*) AS n FROM task WHERE workflow_id = ? GROUP BY status ORDER BY status',
        run.workflowId,
      )
      .map(({ status, n }) => `${n} ${status}`)
      .join(', ');

  /** Submits tasks numbered from 0 that run `rest`, each with its cores. */
  async function submit(name: string, rest: string, cores: readonly number[], maxAttempts = 3): Promise<WorkflowRun> {
    const tool = new Tool('agents', { connection: house.connection(), defaultClusterName: 'multiprocess' });
    const workflow = tool.createWorkflow({ name });
    const template = tool.getTaskTemplate(name, witness(rest));
    for (const [n, count] of cores.entries()) {
      const computeResources = { cores: count, memory: 0.01 };
      const log = path.join(user.path, `${name}.witness`);
      workflow.addTask(template.createTask({ n, log }, { name: `${name}_${n}`, maxAttempts, computeResources }));
    }
    return workflow.submit({ workingDirectory: user.folder('shared/work') });
  }

  /** What ran of a workflow by its own account; what has not ended ends in the future. */
  function ran(name: string): Ran[] {
    const file = path.join(user.path, `${name}.witness`);
    const lines = existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n') : [];
    const words = lines.map((line) => line.split(' '));
    return words
      .filter(([what]) => what === 'start')
      .map(([, n, host, at]) => {
        const end = words.find((line) => line[0] === 'end' && line[1] === n && line[2] === host && Number(line[3]) >= Number(at));
        return { n: Number(n), host: host!, start: Number(at), end: end === undefined ? Infinity : Number(end[3]) };
      });
  }
  const go = (name: string): void => writeFileSync(path.join(user.path, `${name}.go`), '');
  const untilGo = (name: string): string => `while [ ! -e ${path.join(user.path, `${name}.go`)} ]; do sleep 0.05; done`;

  beforeAll(async () => {
    buildHouse();
    user = new UserFolder({ JOBMON__AGENT__LEASE_SECONDS: String(LEASE_SECONDS) });
    user.env.JOBMON__HTTP__TOKEN = TOKEN;
    place = { user, port: await freePort(), token: TOKEN };
    socket = path.join(user.path, 'relay');
    [house, relay] = await Promise.all([startHouse(), relayTo(place.port, socket)]);
  }, 60_000);
  afterAll(async () => {
    relay.close();
    await house.end('SIGKILL');
    await user.remove();
  });

  // What a failed story left behind must not work for the next one.
  afterEach(async () => {
    for (const agent of started) if (!agent.hasEnded) await agent.end('SIGKILL');
  });

  onTwoHosts(
    'two hosts share a workflow; on neither do tasks ask for more cores together than it has',
    async () => {
      const [a, b] = await Promise.all(['node-a', 'node-b'].map((name) => start(name, ['--cores', '2'], { socket })));
      // The third asks for more than any host has: it runs alone.
      const cores = [1, 2, 16, 1, 1, 2, 1, 1, 2, 1, 1, 1];
      const run = await submit('shared', 'sleep 0.3', cores);
      await until('both run something', async () => (await agents()).filter((agent) => agent.attempts.R! > 0).length === 2);
      const seen = (await agents()).filter(({ state }) => state === 'alive');
      for (const agent of seen) {
        expect(agent.cores_in_use).toBeLessThanOrEqual(2);
        expect(agent.newest[0]).toMatchObject({ workflow_id: run.workflowId, task_name: expect.stringMatching(/^shared_/) });
      }
      expect(await jobmon('agent', 'list')).toMatch(/^ID +STATE +HOST(?=[^]*ALIVE +node-a)(?=[^]*ALIVE +node-b)/);
      await until('the workflow is done', () => statuses(run) === '12 D');
      const history = ran('shared');
      expect(new Set(history.map(({ host }) => host))).toEqual(new Set(['node-a', 'node-b']));
      expect(history.map(({ n }) => n).sort((x, y) => x - y)).toEqual(cores.map((_, n) => n));
      for (const { host, start: at } of history) {
        const atOnce = history.filter((other) => other.host === host && other.start <= at && at < other.end);
        expect(atOnce.reduce((sum, { n }) => sum + Math.min(2, cores[n]!), 0)).toBeLessThanOrEqual(2);
      }
      expect(`${a!.log}${b!.log}`).toContain('a task asks for more than this agent has: it runs alone');
      expect([await a!.end('SIGTERM'), await b!.end('SIGTERM')]).toEqual([0, 0]);
      expect((await agents()).map(({ state }) => state)).toEqual(['ended', 'ended']);
    },
    60_000,
  );

  it('SIGTERM drains: it takes nothing new, waits for what runs, and leaves; that its clock is days ahead changes nothing', async () => {
    const clock = path.join(user.path, 'clock.js');
    writeFileSync(clock, DAYS_AHEAD);
    const env = { NODE_OPTIONS: `--require ${clock}` };
    const agent = await start('drains', ['--cores', '1'], { env });
    expect(agent.log).toContain(`"time":"${new Date(Date.now() + 3 * 86_400_000).toISOString().slice(0, 10)}`);
    const run = await submit('drained', untilGo('drained'), [1, 1]);
    await until('a command runs', () => ran('drained').length === 1);
    agent.kill('SIGTERM');
    await until('the server knows', async () => (await viewOf(agent)).state === 'draining');
    expect(agent.stderr).toMatch(/Draining: 1 running commands are waited for/);
    go('drained');
    expect(await agent.ended).toBe(0);
    expect([await viewOf(agent), statuses(run)]).toMatchObject([{ state: 'ended' }, '1 D, 1 Q']);
    const [attempt] = user.rows<{ wallclock: string; is_now: number }>(
      `SELECT wallclock, ABS(strftime('%s', status_date) - strftime('%s', 'now')) < 300 AS is_now FROM task_instance
        WHERE workflow_run_id = ? AND status = 'D'`,
      run.workflowRunId,
    );
    expect([attempt!.is_now, Number(attempt!.wallclock) < 60]).toEqual([1, true]);
    const next = await start('drains', ['--cores', '1'], { env });
    await until('the other one is done too', () => statuses(run) === '2 D');
    expect(await next.end('SIGTERM')).toBe(0);
  }, 60_000);

  it('an order to kill reaches it within a second, with all its cores taken', async () => {
    const agent = await start('killed', ['--cores', '2']);
    const run = await submit('ordered', 'sleep 300', [1, 1, 1]);
    await until('its cores are taken', async () => (await viewOf(agent)).attempts.R === 2);
    const ordered = performance.now();
    await house.connection().send(cancelWorkflow, { workflow_id: run.workflowId, user: USER });
    await until('nothing runs', () => !statuses(run).includes('R') && !/[KIR]/.test(instances(run)), 5_000);
    expect(performance.now() - ordered).toBeLessThan(1_500);
    expect(await agent.end('SIGTERM')).toBe(0);
  }, 60_000);

  const instances = (run: WorkflowRun): string =>
    user
      .rows<{ status: string }>('SELECT status FROM task_instance WHERE workflow_run_id = ?', run.workflowRunId)
      .map(({ status }) => status)
      .join('');

  it('killed with -9 it is replaced: what ran goes on, and the next one reports it', async () => {
    const first = await start('replaced', ['--cores', '2']);
    const run = await submit('adopted', untilGo('adopted'), [1, 1], 1);
    await until('both run', async () => (await viewOf(first)).attempts.R === 2);
    await first.end('SIGKILL');
    const second = await start('replaced', ['--cores', '2']);
    await until('it is another one', () => second.agent_id > first.agent_id || /"adopted":2/.test(second.log));
    go('adopted');
    await until('both are done', () => statuses(run) === '2 D');
    expect(
      ran('adopted')
        .map(({ n }) => n)
        .sort(),
    ).toEqual([0, 1]);
    expect(await second.end('SIGTERM')).toBe(0);
  }, 60_000);

  it('a server away for two leases ends nothing: commands go on, ends are reported, nothing runs twice', async () => {
    const agent = await start('patient', ['--cores', '2']);
    const run = await submit('away', `${untilGo('away')}; exit {n}`, [1, 1, 1], 1);
    await until('two run', async () => (await viewOf(agent)).attempts.R === 2);
    await house.end('SIGKILL');
    await pause(LEASE_SECONDS * 1_000);
    go('away');
    await pause(LEASE_SECONDS * 1_000);
    house = await startHouse();
    await until('all have ended', () => statuses(run) === '1 D, 2 F');
    expect(
      ran('away')
        .map(({ n }) => n)
        .sort(),
    ).toEqual([0, 1, 2]);
    const ends = user.rows<{ exit_code: number }>(
      'SELECT exit_code FROM task_instance WHERE workflow_run_id = ? ORDER BY exit_code',
      run.workflowRunId,
    );
    expect(ends.map(({ exit_code }) => exit_code)).toEqual([0, 1, 2]);
    expect(agent.log).not.toContain('killing');
    expect(await agent.end('SIGTERM')).toBe(0);
  }, 90_000);

  onTwoHosts(
    'a host on which no task starts is set aside with the reason, no task fails by it, and restore brings it back',
    async () => {
      // The good one shows first that such tasks start: until then nothing could be said of the bad one, which would eat on.
      const good = await start('good', ['--cores', '1'], { socket });
      const run = await submit('hosts', untilGo('hosts'), Array<number>(20).fill(1), 2);
      await until('the good one has started one', () => ran('hosts').length > 0);
      const bad = await start('bad', ['--cores', '1'], { socket, hides: user.folder('shared') });
      await until('the bad one is set aside', async () => (await viewOf(bad)).state === 'set_aside');
      expect((await viewOf(bad)).reason).toMatch(
        /^\d+ attempts in a row of \d+ tasks failed at their start, and other agents start such tasks; .*directory/,
      );
      // Both say so, and both are heard: the house itself, and the agent, which sends its log over HTTP.
      await until('the log tells of it', async () => {
        const lines = (await jobmon('log', '--grep', 'aside', '-o', 'jsonl')).split('\n').filter((line) => line !== '');
        const services = lines.map((line) => (JSON.parse(line) as { service: string }).service);
        return services.includes('local') && services.includes('agent');
      });
      go('hosts');
      await until('the workflow is done', () => statuses(run) === '20 D');
      expect(new Set(ran('hosts').map(({ host }) => host))).toEqual(new Set(['good']));
      expect(await jobmon('agent', 'list')).toMatch(/SET_ASIDE +bad/);
      await jobmon('agent', 'restore', String(bad.agent_id));
      expect((await viewOf(bad)).state).toBe('alive');
      // By order of the server it leaves as well.
      await jobmon('agent', 'drain', String(bad.agent_id), '--reason', 'no disk');
      expect(await bad.ended).toBe(0);
      expect(await good.end('SIGTERM')).toBe(0);
    },
    60_000,
  );

  it('says what is wrong, each with an exit code of its own', async () => {
    const said = async (args: string[], env: NodeJS.ProcessEnv = {}) => {
      const agent = AgentProcess.begin(place, 'wrong', args, { env });
      return [await agent.ended, agent.stderr.trim()];
    };
    const held = await start('holds', ['--cores', '4000', '--state', user.folder('held')]);
    expect(held.stderr).toMatch(/Warning: --cores 4000 is more than the \d+ of this machine/);
    const [cores, memory, cluster, token, folder, nowhere] = await Promise.all([
      said(['--cores', '0']),
      said(['--memory', '-4G']),
      said(['--cluster', 'nowhere']),
      said([], { JOBMON__HTTP__TOKEN: 'another-token-that-is-wrong' }),
      said(['--state', user.folder('held')]),
      said(['--state', '/proc/nowhere/state']),
    ]);
    expect(cores).toEqual([2, expect.stringMatching(/--cores.*whole number from 1/)]);
    expect(memory).toEqual([2, expect.stringMatching(/--memory.*size like 32G/)]);
    expect(cluster).toEqual([1, expect.stringMatching(/no cluster 'nowhere'.*multiprocess/)]);
    expect(token).toEqual([4, expect.stringMatching(/JOBMON__HTTP__TOKEN/)]);
    expect(folder).toEqual([1, expect.stringMatching(/in use by process \d+/)]);
    expect(nowhere).toEqual([1, expect.stringMatching(/folder \/proc\/nowhere\/state can't be used/)]);
    expect(await held.end('SIGTERM')).toBe(0);
  }, 60_000);
});
