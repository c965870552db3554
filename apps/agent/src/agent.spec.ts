/**
 * The agent against a small api over real HTTP that can fall silent, lose answers and forget agents. What the real api makes of
 * its calls is tested where both are there.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  beatAgent,
  drainAgent,
  leaseAssignments,
  leaveAgent,
  orderAgent,
  registerAgent,
  reportAttempts,
  type Assignment,
  type AttemptReport,
  type ClusterRoom,
} from '@jobmon/contracts';
import { createLogger } from '@jobmon/runtime';
import { Agent, type AgentSettings } from './agent';

const OPERATIONS = [registerAgent, leaseAssignments, reportAttempts, beatAgent, orderAgent, leaveAgent, drainAgent];
type Name = 'agent.register' | 'agent.lease' | 'agent.report' | 'agent.beat' | 'agent.orders' | 'agent.leave' | 'agent.drain';
const LIVE = ['I', 'R'];
/** How long the small api keeps a long poll open. */
const WAIT_MS = 2_000;

/** What the agent needs of an api: attempts by id, who holds them, and faults on demand. */
class SmallApi {
  readonly attempts = new Map<number, { assignment: Assignment; status: string; agent_id: number }>();
  readonly reports: AttemptReport[] = [];
  readonly calls: Name[] = [];
  lease_seconds = 60;
  agent_id = 0;
  kill: number[] = [];
  isDraining = false;
  refusal: { code: string; message: string } | null = null;
  hasLeft = false;
  /** What a registration waits for its answer. */
  registration_ms = 0;
  /** The newest lease poll. */
  private polled = 0;
  /** Answers a call in place of the api: `lost` does what it should and drops the connection, `away` drops it at once. */
  fault: (name: Name) => 'lost' | 'away' | null = () => null;
  private readonly server: Server = createServer((request, response) => void this.answer(request, response));
  private wakers = new Set<() => void>();

  async listen(port = 0): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(port, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Refuses connections from now on; answers the port. */
  async stopListening(): Promise<number> {
    const { port } = this.server.address() as AddressInfo;
    this.server.closeAllConnections();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
    return port;
  }

  /** Orders that these attempts be killed, or only makes the agent look. */
  order(...ids: number[]): void {
    this.kill.push(...ids);
    this.wake();
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  queue(...assignments: Assignment[]): void {
    for (const assignment of assignments)
      this.attempts.set(assignment.task_instance_id, { assignment, status: 'Q', agent_id: 0 });
    this.wake();
  }

  status(id: number): string | undefined {
    return this.attempts.get(id)?.status;
  }

  /** Resolves when it holds; looked at after each call. */
  until(holds: () => boolean, bound_ms = 20_000): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = () => {
        if (!holds()) return;
        clearTimeout(timer);
        this.wakers.delete(check);
        resolve();
      };
      const seen = () => JSON.stringify([[...this.attempts.values()].map(({ status }) => status), this.calls.slice(-50)]);
      const timer = setTimeout(() => reject(new Error(`not so within ${bound_ms} ms: ${seen()}`)), bound_ms);
      timer.unref();
      this.wakers.add(check);
      check();
    });
  }

  private wake(): void {
    for (const waker of [...this.wakers]) waker();
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) text += chunk;
    const operation = OPERATIONS.find(({ http }) =>
      new RegExp(`^${http?.path.replace(/\{\w+\}/, '\\d+')}$`).test(request.url ?? ''),
    );
    if (operation === undefined) throw new Error(`unexpected ${request.url}`);
    const name = operation.name as Name;
    this.calls.push(name);
    this.wake();
    const fault = this.fault(name);
    if (fault === 'away') return void request.socket.destroy();
    if (this.refusal !== null) return void response.writeHead(401).end(JSON.stringify(this.refusal));
    const agent_id = Number(request.url?.split('/')[4] ?? 0);
    const call = operation.request.parse({ ...JSON.parse(text), agent_id: agent_id || undefined });
    const reply = await this.reply(name, agent_id, call, response);
    if (name === 'agent.register') await new Promise((resolve) => setTimeout(resolve, this.registration_ms));
    if (fault === 'lost') request.socket.destroy();
    else if (reply === null) response.writeHead(404).end(JSON.stringify({ code: 'NOT_FOUND', message: 'no such agent' }));
    else response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(operation.reply.parse(reply)));
    this.wake();
  }

  private async reply(name: Name, agent_id: number, call: unknown, response: ServerResponse): Promise<unknown> {
    if (name === 'agent.register') return this.register();
    const isKnown = agent_id === this.agent_id;
    if (name === 'agent.beat') return { is_known: isKnown, kill: isKnown ? this.kill : [] };
    if (name === 'agent.orders') return this.orders(agent_id, call as { killing: number[]; is_draining: boolean }, response);
    if (name === 'agent.leave') return (this.hasLeft = true) && {};
    if (name === 'agent.drain') return (this.isDraining = true) && { agent_id, state: 'draining' };
    if (name === 'agent.report')
      return { statuses: (call as { reports: AttemptReport[] }).reports.map((report) => this.take(agent_id, report)) };
    return isKnown ? this.lease(agent_id, call as LeaseCall, response) : null;
  }

  private register() {
    const former = this.agent_id++;
    const held = [...this.attempts.values()].filter((attempt) => attempt.agent_id === former && LIVE.includes(attempt.status));
    for (const attempt of held) attempt.agent_id = this.agent_id;
    const adopted = held.map(({ assignment, status }) => ({ ...assignment, status }));
    return { agent_id: this.agent_id, lease_seconds: this.lease_seconds, adopted };
  }

  private take(agent_id: number, report: AttemptReport): string | null {
    const attempt = this.attempts.get(report.task_instance_id);
    if (attempt === undefined) return null;
    if (attempt.agent_id === agent_id && LIVE.includes(attempt.status) && !(report.status === 'W' && attempt.status === 'R')) {
      attempt.status = report.status;
      this.reports.push(report);
    }
    return attempt.status;
  }

  private async orders(agent_id: number, call: { killing: number[]; is_draining: boolean }, response: ServerResponse) {
    const kill = () => this.kill.filter((id) => !call.killing.includes(id));
    const isNews = () => agent_id !== this.agent_id || kill().length > 0 || this.isDraining !== call.is_draining;
    await this.orGone(response, isNews);
    return { is_known: agent_id === this.agent_id, kill: kill(), is_draining: this.isDraining, set_aside_reason: null };
  }

  private async lease(agent_id: number, { wanted, number, wait_seconds }: LeaseCall, response: ServerResponse) {
    this.polled = number;
    this.wake();
    const queued = () =>
      [...this.attempts.values()].filter(
        ({ status, assignment }) => status === 'Q' && (wanted[assignment.cluster]?.slots ?? 0) > 0,
      );
    const isOver = () => this.isDraining || agent_id !== this.agent_id || this.polled > number || wait_seconds === 0;
    await this.orGone(response, () => isOver() || queued().length > 0);
    const given = response.destroyed || isOver() ? [] : queued();
    const left = new Map(Object.entries(wanted).map(([name, { slots }]) => [name, slots]));
    const taken = given.filter(({ assignment }) => {
      left.set(assignment.cluster, (left.get(assignment.cluster) ?? 0) - 1);
      return (left.get(assignment.cluster) ?? 0) >= 0;
    });
    for (const attempt of taken) Object.assign(attempt, { status: 'I', agent_id });
    return { assignments: taken.map(({ assignment }) => ({ ...assignment, status: 'I' })) };
  }

  /** Resolves when it holds, when the caller is gone, or when a long poll has waited enough. */
  private async orGone(response: ServerResponse, holds: () => boolean): Promise<void> {
    const gone = new Promise<void>((resolve) => response.once('close', () => resolve()));
    await Promise.race([gone, this.until(holds, WAIT_MS).catch(() => undefined)]);
  }
}

interface LeaseCall {
  readonly wanted: Record<string, ClusterRoom>;
  readonly number: number;
  readonly wait_seconds: number;
}

let folder: string;
let api: SmallApi;
let agents: Agent[];
let settings: AgentSettings;
let lines: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'jobmon-agent-'));
  api = new SmallApi();
  agents = [];
  lines = '';
  const url = await api.listen();
  settings = {
    findApi: async () => ({ url }),
    clusters: { sequential: 'sequential', multiprocess: 'multiprocess', dummy: 'dummy' },
    cores: 4,
    memory_gib: 4,
    state_directory: join(folder, 'state'),
    any_user: false,
    user: 'somebody',
    hostname: 'node-1',
    version: 'test',
    log: createLogger({ service: 'agent', level: 'info', destination: { write: (line) => void (lines += line) } }),
  };
});

afterEach(async () => {
  await Promise.all(agents.map((agent) => agent.stop()));
  api.close();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

function startAgent(more: Partial<AgentSettings> = {}): Agent {
  const agent = new Agent({ ...settings, ...more });
  agent.start();
  agents.push(agent);
  return agent;
}

function attempt(task_instance_id: number, command = 'true', cluster = 'multiprocess'): Assignment {
  return {
    task_instance_id,
    task_id: task_instance_id,
    workflow_id: 1,
    workflow_run_id: 1,
    status: 'I',
    task_name: 'task',
    command: `echo ${task_instance_id} >>diary; ${command}`,
    cluster,
    cluster_type: cluster,
    requested_resources: {},
    working_directory: folder,
  };
}

const diary = () =>
  readFileSync(join(folder, 'diary'), 'utf8')
    .trimEnd()
    .split('\n')
    .map(Number)
    .sort((a, b) => a - b);
const endOf = (id: number) => api.reports.find((report) => report.task_instance_id === id && report.status !== 'R');
const isOver = (id: number) => !['Q', 'I', 'R'].includes(api.status(id) ?? '');

it('leases, runs and reports on all its clusters, each command once, and keeps nothing of what was acknowledged', async () => {
  const ids = Array.from({ length: 60 }, (_, index) => index + 1);
  api.queue(
    ...ids.map((id) => attempt(id, `exit ${id % 3}`, id % 2 === 0 ? 'multiprocess' : 'sequential')),
    attempt(61, '', 'dummy'),
  );
  startAgent();
  await api.until(() => [...ids, 61].every(isOver));
  for (const id of ids)
    expect(endOf(id)).toMatchObject({ status: id % 3 === 0 ? 'D' : 'E', exit_code: id % 3, nodename: 'node-1' });
  expect(api.status(61)).toBe('D');
  expect(diary()).toEqual(ids);
  for (let looks = 0; readdirSync(join(folder, 'state/attempts')).length > 0; looks++) {
    expect(looks).toBeLessThan(200);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

it('has a call for work and one for orders open while nothing happens', async () => {
  startAgent();
  await api.until(() => api.calls.length >= 3);
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(api.calls.sort()).toEqual(['agent.lease', 'agent.orders', 'agent.register']);
});

it('asks for one cluster while it waits for another', async () => {
  startAgent({ cores: 1 });
  api.queue(attempt(1, 'while [ ! -e go ]; do sleep 0.05; done', 'sequential'));
  await api.until(() => api.status(1) === 'R');
  api.queue(attempt(2, '', 'sequential'), attempt(3, 'touch go'));
  await api.until(() => [1, 2, 3].every(isOver));
  expect(diary()).toEqual([1, 2, 3]);
});

it('loses nothing and repeats nothing when answers to any call are lost', async () => {
  let count = 0;
  api.fault = () => (++count % 3 === 0 ? 'lost' : null);
  const ids = Array.from({ length: 25 }, (_, index) => index + 1);
  startAgent();
  for (const id of ids) {
    api.queue(attempt(id));
    if (id % 5 === 0) await api.until(() => isOver(id));
  }
  await api.until(() => ids.every(isOver));
  expect(ids.map((id) => api.status(id))).toEqual(ids.map(() => 'D'));
  expect(diary()).toEqual(ids);
}, 60_000);

it('reports what ended while the server was away', async () => {
  startAgent();
  api.queue(attempt(1, 'while [ ! -e go ]; do sleep 0.05; done; exit 7'));
  await api.until(() => api.status(1) === 'R');
  api.fault = () => 'away';
  api.queue(attempt(2));
  const before = api.calls.length;
  writeFileSync(join(folder, 'go'), '');
  await api.until(() => existsSync(join(folder, 'state/attempts/1/exit')) && api.calls.length >= before + 2);
  api.fault = () => null;
  await api.until(() => isOver(1) && isOver(2));
  expect(endOf(1)).toMatchObject({ status: 'E', exit_code: 7 });
  expect(api.status(2)).toBe('D');
}, 60_000);

it('kills its commands itself when the lease was not renewed for two thirds of it, and joins again', async () => {
  api.lease_seconds = 3;
  startAgent();
  api.queue(attempt(1, 'sleep 300; sleep 300'));
  await api.until(() => api.status(1) === 'R');
  const { process_group_id } = api.reports.find((report) => report.status === 'R') as { process_group_id: number };
  api.fault = () => 'away';
  const silent = performance.now();
  await api.until(() => !groupLives(process_group_id));
  expect(performance.now() - silent).toBeLessThan(3_000);
  api.fault = () => null;
  await api.until(() => isOver(1));
  expect(endOf(1)).toMatchObject({
    status: 'E',
    error_description: expect.stringMatching(/SIGINT.*could not reach the server for 2 s/),
  });
  api.queue(attempt(2));
  await api.until(() => api.status(2) === 'D');
});

it('keeps its commands when the answer to its registration takes longer than a third of its lease', async () => {
  api.lease_seconds = 6;
  const first = startAgent();
  api.queue(attempt(1, 'sleep 7'));
  await api.until(() => api.status(1) === 'R');
  await first.stop();
  api.registration_ms = 2_600;
  startAgent();
  // The lease runs from the asking: two thirds of it are over 1.4 s after the answer, and a third of it before.
  await api.until(() => isOver(1));
  expect(endOf(1)).toMatchObject({ status: 'D' });
});

it('kills everything when a beat says that it is not known, and joins again', async () => {
  api.lease_seconds = 3;
  startAgent();
  api.queue(attempt(1, 'sleep 300'));
  await api.until(() => api.status(1) === 'R');
  api.agent_id++;
  Object.assign(api.attempts.get(1) as object, { status: 'U' });
  const { process_group_id } = api.reports.find((report) => report.status === 'R') as { process_group_id: number };
  await api.until(() => !groupLives(process_group_id));
  api.queue(attempt(2));
  await api.until(() => api.status(2) === 'D');
  expect(api.status(1)).toBe('U');
});

it('starts nothing beside the remains of what was given away', async () => {
  api.lease_seconds = 6;
  startAgent();
  api.queue(attempt(1, `echo $$ >pid; trap '' INT; sleep 300; sleep 300`));
  await api.until(() => api.status(1) === 'R');
  // The server has given the attempt up and forgotten the agent; the task's next attempt waits.
  Object.assign(api.attempts.get(1) as object, { status: 'U', agent_id: 0 });
  api.agent_id++;
  api.queue(attempt(2, '[ ! -e /proc/$(cat pid)/exe ]'));
  await api.until(() => isOver(2));
  expect(endOf(2)).toMatchObject({ status: 'D' });
});

it('looks for the server again at each try to join', async () => {
  const other = new SmallApi();
  const otherUrl = await other.listen();
  let url = (await settings.findApi()).url;
  try {
    startAgent({ findApi: async () => ({ url }) });
    await api.until(() => api.calls.includes('agent.lease'));
    url = otherUrl;
    other.queue(attempt(1));
    api.close();
    await other.until(() => other.status(1) === 'D');
  } finally {
    other.close();
  }
});

it('asks before it kills when it was frozen itself for longer than its lease', async () => {
  api.lease_seconds = 3;
  startAgent();
  api.queue(attempt(1, 'while [ ! -e go ]; do sleep 0.05; done'));
  await api.until(() => api.status(1) === 'R');
  // Nothing of this process runs meanwhile: neither the agent's guard nor its beats.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3_500);
  const beats = () => api.calls.filter((name) => name === 'agent.beat').length;
  const before = beats();
  await api.until(() => beats() >= before + 2);
  writeFileSync(join(folder, 'go'), '');
  await api.until(() => isOver(1));
  expect(api.status(1)).toBe('D');
});

it('keeps its commands while the server refuses connections for longer than a lease', async () => {
  api.lease_seconds = 3;
  startAgent();
  api.queue(attempt(1, 'while [ ! -e go ]; do sleep 0.05; done; exit 5'));
  await api.until(() => api.status(1) === 'R');
  const port = await api.stopListening();
  await new Promise((resolve) => setTimeout(resolve, 1.2 * api.lease_seconds * 1_000));
  writeFileSync(join(folder, 'go'), '');
  await api.listen(port);
  await api.until(() => isOver(1));
  expect(endOf(1)).toMatchObject({ status: 'E', exit_code: 5 });
  expect(diary()).toEqual([1]);
});

it('kills within a second of an order, also when it asks for no work', async () => {
  startAgent({ cores: 1, clusters: { multiprocess: 'multiprocess' } });
  api.queue(attempt(1, 'sleep 300'));
  await api.until(() => api.status(1) === 'R');
  await api.until(() => api.calls.at(-1) !== 'agent.lease');
  const ordered = performance.now();
  api.order(1);
  await api.until(() => isOver(1));
  expect(performance.now() - ordered).toBeLessThan(1_000);
  expect(endOf(1)?.error_description).toContain('the server ordered it');
});

it('drains by order: takes nothing new, waits for what runs, leaves', async () => {
  const left = new Promise<void>((onLeft) => startAgent({ onLeft }));
  api.queue(attempt(1, 'while [ ! -e go ]; do sleep 0.05; done'));
  await api.until(() => api.status(1) === 'R');
  api.isDraining = true;
  api.order();
  await api.until(() => lines.includes('ordered to drain'));
  api.queue(attempt(2));
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect([api.status(1), api.status(2), api.hasLeft]).toEqual(['R', 'Q', false]);
  writeFileSync(join(folder, 'go'), '');
  await left;
  expect([api.status(1), api.status(2), api.hasLeft]).toEqual(['D', 'Q', true]);
});

it('drains by itself when nothing is queued for it, at once', async () => {
  const left = new Promise<void>((onLeft) => startAgent({ onLeft }));
  await api.until(() => api.calls.includes('agent.lease'));
  const asked = performance.now();
  agents[0]!.drain('SIGTERM');
  await left;
  expect(performance.now() - asked).toBeLessThan(1_500);
  expect(api.hasLeft && api.isDraining).toBe(true);
});

it('leaves when it is told to go before any server was there', async () => {
  api.fault = () => 'away';
  const left = new Promise<void>((onLeft) => startAgent({ onLeft }));
  await api.until(() => api.calls.length > 0);
  agents[0]!.drain('SIGTERM');
  await left;
});

it('asks again when it has more room than its open call said', async () => {
  startAgent({ cores: 2, clusters: { multiprocess: 'multiprocess' } });
  api.queue(attempt(1, 'while [ ! -e go ]; do sleep 0.05; done'));
  await api.until(() => api.status(1) === 'R' && api.calls.at(-1) !== 'agent.report');
  const before = api.calls.filter((name) => name === 'agent.lease').length;
  const ended = performance.now();
  writeFileSync(join(folder, 'go'), '');
  await api.until(() => api.calls.filter((name) => name === 'agent.lease').length > before);
  expect(performance.now() - ended).toBeLessThan(1_500);
});

it('ends and says why when the server refuses it', async () => {
  api.refusal = { code: 'UNAUTHORIZED', message: 'wrong token' };
  const refused = await new Promise<Error>((onRefused) => startAgent({ onRefused }));
  expect(refused.message).toBe('wrong token');
  expect(api.calls).toEqual(['agent.register']);
});

it('kills what a beat names', async () => {
  api.lease_seconds = 3;
  startAgent();
  api.queue(attempt(1, 'sleep 300'), attempt(2, 'sleep 300'));
  await api.until(() => api.status(1) === 'R' && api.status(2) === 'R');
  api.kill = [1, 99];
  await api.until(() => isOver(1));
  expect(endOf(1)).toMatchObject({
    status: 'E',
    exit_code: 130,
    error_description: expect.stringContaining('the server ordered it'),
  });
  expect(api.status(2)).toBe('R');
  api.kill = [2];
  await api.until(() => isOver(2));
});

it('kills what does not stand at R when it runs', async () => {
  startAgent();
  api.queue(attempt(1, 'sleep 300'));
  await api.until(() => api.status(1) === 'I');
  Object.assign(api.attempts.get(1) as object, { status: 'F' });
  const group = () => readFileSync(join(folder, 'state/attempts/1/started'), 'latin1').split(' ')[0];
  await api.until(() => existsSync(join(folder, 'state/attempts/1/started')) || api.calls.includes('agent.report'));
  const process_group_id = Number(group());
  for (let looks = 0; groupLives(process_group_id); looks++) {
    expect(looks).toBeLessThan(500);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(api.status(1)).toBe('F');
});

it('leaves its commands running when it stops, and its successor adopts them', async () => {
  const first = startAgent();
  api.queue(attempt(1, 'while [ ! -e go ]; do sleep 0.05; done; exit 4'), attempt(2));
  await api.until(() => api.status(1) === 'R' && isOver(2));
  await first.stop();
  expect(lines).toContain('running commands go on without the agent');
  const before = api.reports.length;
  writeFileSync(join(folder, 'go'), '');
  startAgent();
  await api.until(() => isOver(1));
  expect(api.reports.slice(before).filter((report) => report.status !== 'R')).toHaveLength(1);
  expect(endOf(1)).toMatchObject({ status: 'E', exit_code: 4 });
  expect(diary()).toEqual([1, 2]);
});

it('reports what it still has when it stops', async () => {
  const agent = startAgent();
  api.queue(attempt(1));
  await api.until(() => api.status(1) === 'I');
  await agent.stop();
  startAgent();
  await api.until(() => api.status(1) === 'D');
  expect(diary()).toEqual([1]);
});

it('refuses a state directory that another living agent holds', async () => {
  startAgent();
  expect(() => new Agent(settings).start()).toThrow(/in use by process \d+.*agent\.state_directory/);
});

function groupLives(process_group_id: number): boolean {
  try {
    process.kill(-process_group_id, 0);
    return true;
  } catch {
    return false;
  }
}
