/**
 * What two apis tell alike: a log that is followed, and news of workflows, whichever of them is asked. And what a service does that says more than
 * NATS takes, because it was stopped: the second copy of its records is shed and counted, and whoever asks it for something notices nothing.
 */
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { followLogs, Tool, WorkflowRun } from '@jobmon/client';
import type { Database } from '@jobmon/entities';
import {
  describeApart,
  freePort,
  SystemApart,
  until,
  type NatsProcess,
  type ServiceProcess,
  type Services,
  type UserFolder,
} from '@jobmon/testkit';
import { AgentProcess } from './agent-process';

const TOKEN = 'token-of-logs-and-hints';
const CALLERS = 8;
/** What a client attaches to the log lines of a call: with an attempt in it the line goes to the sink too. */
const CONTEXT = JSON.stringify({ task_instance_id: 77, said: 'x'.repeat(1_900) });
const MARK = '"task_instance_id":77,';
/** A queue of 16 MiB holds fewer such lines. */
const CALLS_MAX = 12_000;
/** Commands one after the other, each longer than a follower rests between two looks, and much shorter than without a hint (2 s). */
const STEPS = 12;

describeApart('two apis', (mariadb) => {
  let system: SystemApart;
  let user: UserFolder;
  let nats: NatsProcess;
  let services: Services;
  let apis: [ServiceProcess, ServiceProcess];
  let database: Database;

  beforeAll(async () => {
    system = await SystemApart.open(mariadb);
    ({ user, nats, database } = system);
    services = system.services({ token: TOKEN });
    const port = await freePort();
    // It writes a line for each request.
    const first = services.begin('api', { JOBMON__HTTP__PORT: String(port), JOBMON__LOG__LEVEL: 'debug' });
    apis = [first, services.begin('api')];
    await services.start({ 'state-machine': 1, scheduler: 1, 'log-sink': 1 });
    await Promise.all(apis.map((api) => api.ready()));
    const agent = AgentProcess.begin({ user, port, token: TOKEN }, 'agent', ['--cores', '4']);
    system.alsoEnd(() => agent.end('SIGKILL'));
    await agent.joined();
  }, 120_000);
  afterAll(async () => {
    sockets.destroy();
    await system?.remove();
  }, 120_000);

  const sockets = new http.Agent({ keepAlive: true, maxSockets: CALLERS });
  /** Has a line written that names an attempt, without asking anybody else. `url`: of an api. */
  const say = (url: string, context = CONTEXT): Promise<number> =>
    new Promise((resolve, reject) => {
      const options = { agent: sockets, headers: { 'x-server-structlog-context': context } };
      const request = http.get(`${url}/api/v3/`, options, (answer) => {
        answer.resume();
        answer.on('end', () => resolve(answer.statusCode!));
      });
      request.on('error', reject);
    });

  it('tell those who follow the log of either what a service says, each record once', async () => {
    const stop = new AbortController();
    const heard: unknown[][] = [[], []];
    const follows = apis.map(async (api, index) => {
      const connection = services.connection(api);
      const said = followLogs({ connection, service: 'api', text: 'spoken', signal: stop.signal });
      for await (const { detail } of said) heard[index]!.push((detail.client_context as { n: number }).n);
    });
    const ended = Promise.allSettled(follows);
    const speak = (n: number): Promise<number> => say(apis[0].url!, JSON.stringify({ task_instance_id: 77, spoken: 'yes', n }));
    // What was said before a follower was heard is not told to it.
    await until('both hear', async () => (await speak(-1)) === 200 && heard.every((said) => said.length > 0));
    for (let n = 0; n < 20; n += 1) await speak(n);
    const all = Array.from({ length: 20 }, (_, n) => n);
    const spoken = (said: readonly unknown[]): unknown[] => said.filter((n) => n !== -1);
    await until('both have heard all', () => heard.every((said) => spoken(said).length >= all.length));
    expect(heard.map((said) => spoken(said).sort((a, b) => Number(a) - Number(b)))).toEqual([all, all]);
    stop.abort('enough');
    await ended;
  }, 60_000);

  it('hear alike of what happens to a workflow: by hints, not by the clock', async () => {
    const tool = new Tool('hints', { connection: services.connection(apis[1]), defaultClusterName: 'multiprocess' });
    const workflow = tool.createWorkflow({ name: 'one after the other' });
    const template = tool.getTaskTemplate('step', 'sleep 0.2; true {n}');
    let before: ReturnType<typeof template.createTask> | undefined;
    for (let n = 0; n < STEPS; n += 1) {
      const upstreams = before === undefined ? [] : [before];
      before = workflow.addTask(template.createTask({ n }, { name: `step_${n}`, upstreams }));
    }
    // Its agent asks the first api, it was given to the second.
    const run = await workflow.submit({ workingDirectory: user.path });
    const since = performance.now();
    const seen = await Promise.all(
      apis.map(async (api) => {
        const done: number[] = [];
        const followed = new WorkflowRun(services.connection(api), run.workflowId, run.workflowRunId);
        for await (const { counts } of followed.follow()) done.push(counts.done);
        return { done, ms: performance.now() - since };
      }),
    );
    for (const { done, ms } of seen) {
      expect(done.at(-1)).toBe(STEPS);
      // Of each step somebody was told: it was seen while it was the last one, not passed over.
      expect(new Set(done).size).toBeGreaterThan(STEPS / 2);
      // A clock alone would have needed seconds for each.
      expect(ms).toBeLessThan(STEPS * 2_000);
    }
  }, 60_000);

  it('shed and count the second copy of what they say while NATS is stopped; no caller waits for it', async () => {
    const [api] = apis;
    const url = api.url!;
    const outcome = (what: string): Promise<number> => api.metric('jobmon_log_records_total', { outcome: what });
    const lines = (): number => readFileSync(api.log_file, 'utf8').split(MARK).length - 1;
    const stored = async (): Promise<number> =>
      (await database.read(`SELECT 1 AS one FROM log_record WHERE detail LIKE '%${MARK}%'`)).length;
    /** Some callers at one time; the time of each call, sorted. */
    const load = async (goesOn: (calls: number) => Promise<boolean>): Promise<number[]> => {
      const times: number[] = [];
      let isOver = false;
      const caller = async (): Promise<void> => {
        while (!isOver) {
          const since = performance.now();
          expect(await say(url)).toBe(200);
          times.push(performance.now() - since);
          if (times.length % 500 === 0 && !(await goesOn(times.length))) isOver = true;
        }
      };
      await Promise.all(Array.from({ length: CALLERS }, caller));
      return times.sort((a, b) => a - b);
    };
    const median = (times: readonly number[]): number => times[times.length >> 1]!;
    const usual = await load(async (calls) => calls < 500);
    await until('all are stored', async () => (await stored()) >= lines());
    const [written, sent] = [lines(), await outcome('sent')];
    expect(await outcome('shed')).toBe(0);

    await nats.kill();
    const times = await load(async (calls) => calls < CALLS_MAX && (await outcome('shed')) < 500);
    const shed = await outcome('shed');
    expect(shed).toBeGreaterThanOrEqual(500);
    // Whoever waits for NATS waits for seconds, and most calls came when there was no room.
    expect(median(times)).toBeLessThan(4 * median(usual) + 20);
    expect(times.at(-1)).toBeLessThan(2_000);
    // The first copy has all of them.
    await until('its own log has all', () => lines() === written + times.length);
    expect(services.processes.filter(({ hasEnded }) => hasEnded)).toEqual([]);

    await nats.startAgain();
    await Promise.all(services.processes.map((one) => one.ready()));
    await until('what was kept is sent', async () => (await outcome('sent')) >= sent + times.length - shed, 60_000);
    await until('and is stored', async () => (await stored()) >= written + times.length - shed, 60_000);
    expect((await api.said(/^there was no room for log records/)).shed).toBeGreaterThanOrEqual(500);
  }, 120_000);
});
