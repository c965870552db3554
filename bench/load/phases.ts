/** The load of real sites, one phase after the other; each tells what it sent and fails when something is missing afterwards. */
import { Agent } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { seedInstances, seedRun, type RawDatabase } from '../transitions/database';
import { bind, digits, makeTemplate, type Bound, type Template } from './bind';
import { inParallel, Tally, type Caller, type Sent } from './requests';

export interface Place {
  readonly database: RawDatabase;
  readonly call: (tally: Tally) => Caller;
  template?: Template;
  bound?: Bound;
  workflow_run_id?: number;
  last_sync?: string;
  idle?: ReturnType<typeof stayIdle>;
}

export interface Phase {
  readonly name: string;
  /** Before the first of all phases. */
  readonly begin?: (place: Place) => Promise<void>;
  /** What must stand before it; not measured. */
  readonly prepare?: (place: Place) => Promise<void>;
  readonly run: (place: Place, caller: Caller) => Promise<void>;
  /** Throws when the rows are not as they must be. */
  readonly prove?: (place: Place) => Promise<void>;
}

const TASKS = 20_000;
const HELD = 10_000;
const HEARTBEATS = 500;
const POLL_MS = 10_000;
const IDLE_MS = 76_000;
/** E49 answers what changed in the last 10 s once more; after that a poll of a workflow that stands still answers nothing. */
const OVERLAP_MS = 12_000;
/** Together 32 MiB; a command has at most 65,535 bytes. */
const LONG_COMMAND = 65_000;
const LONG_COMMANDS = 516;

async function expectCount(place: Place, sql: string, wanted: number): Promise<void> {
  const { value } = await place.database.run(sql);
  if (Number(value) !== wanted) throw new Error(`${sql}: ${String(value)} instead of ${wanted}`);
}

async function proveBound(place: Place, workflows: number): Promise<void> {
  await expectCount(place, 'SELECT COUNT(*) FROM node', TASKS);
  await expectCount(place, 'SELECT COUNT(*) FROM node_arg', TASKS);
  await expectCount(place, 'SELECT COUNT(*) FROM edge', TASKS);
  await expectCount(place, "SELECT COUNT(*) FROM workflow WHERE name = 'load'", workflows);
  await expectCount(place, 'SELECT COUNT(*) FROM task WHERE array_id <> 1', workflows * TASKS);
  await expectCount(place, 'SELECT COUNT(*) FROM task_arg', workflows * TASKS);
  await expectCount(place, 'SELECT COUNT(*) FROM task_attribute', 2 * workflows * TASKS);
}

/** An E13 with so many tasks whose commands have so many characters, for tasks that the workflow has already or not. */
function tasksBody(place: Place, count: number, characters: number, mark: string): string {
  const { workflow_id, array_id, task_resources_id, node_ids } = place.bound as Bound;
  const tasks = Array.from({ length: count }, (_, at) => [
    digits(61, mark, at),
    [
      node_ids[at % node_ids.length],
      digits(256, mark, at),
      array_id,
      task_resources_id,
      `t_${at}`,
      'x'.repeat(characters),
      3,
      false,
      {},
      [],
    ],
  ]);
  return JSON.stringify({ workflow_id, tasks: Object.fromEntries(tasks), mark_created: false });
}

/** A connection that sends this much of a request and hangs up. */
function hangUp(port: number, text: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text, () => socket.destroy()));
    socket.on('error', () => resolve());
    socket.on('close', () => resolve());
  });
}

/** A request, a long pause, and another one over the same connection. */
async function stayIdle(caller: Caller): Promise<{ isOpen: boolean; sent: Sent }> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  await caller.send('GET', '/', undefined, {}, agent);
  await sleep(IDLE_MS);
  const isOpen = Object.values(agent.freeSockets).some((sockets) => sockets?.some((socket) => !socket.destroyed));
  const sent = await caller.send('GET', '/', undefined, {}, agent);
  agent.destroy();
  return { isOpen, sent };
}

const ODD_HEADERS: Readonly<Record<string, string>>[] = [
  { 'content-encoding': 'gzip' },
  { 'content-encoding': 'nonsense, br' },
  { 'content-type': 'text/plain' },
  { 'content-type': 'application/json; charset=latin-1; charset=' },
  { 'x-server-structlog-context': '{broken' },
  { 'x-server-structlog-context': '{"telemetry_workflow_run_id": 2}' },
  { 'x-request-id': 'a b\tc' },
  { 'accept-encoding': 'br;q=1, zstd, *;q=0' },
  { accept: 'text/html' },
  { cookie: 'a=b; '.repeat(500) },
  { 'user-agent': '' },
  { te: 'trailers' },
];

export const PHASES: readonly Phase[] = [
  {
    name: '500 heartbeats at one time, ten times (E20)',
    async prepare(place) {
      await seedRun(place.database);
      await seedInstances(place.database, 1_000_000, HELD);
      const caller = place.call(new Tally());
      let next = 0;
      await inParallel(64, () => {
        if (next >= HEARTBEATS) return undefined;
        const body = { process_group_id: '4711', next_report_increment: 90, nodename: 'node-1' };
        return caller.json('POST', `/task_instance/${1_000_000 + next++}/log_running`, body) as Promise<void>;
      });
      if (caller.tally.failed > 0) throw new Error([...caller.tally.failures.keys()].join('; '));
    },
    async run(_, caller) {
      for (let round = 0; round < 10; round += 1) {
        await Promise.all(
          Array.from({ length: HEARTBEATS }, async (_, at) => {
            const path = `/task_instance/${1_000_000 + at}/log_report_by`;
            const { status } = await caller.json<{ status: string }>('POST', path, { next_report_increment: 90 });
            if (status !== 'R') caller.tally.fail(`a heartbeat was answered ${status}`);
          }),
        );
      }
    },
  },
  {
    name: 'one script started by four clients: the same 20,000 tasks bound by all at once',
    async prepare(place) {
      place.template = await makeTemplate(place.call(new Tally()));
    },
    async run(place, caller) {
      const all = await Promise.all(Array.from({ length: 4 }, () => bind(caller, place.template as Template, TASKS, 'the same')));
      // Resources are a row of its own for each request, by contract (E16).
      const ids = all.map((bound) => JSON.stringify({ ...bound, task_resources_id: 0 }));
      if (new Set(ids).size !== 1) throw new Error('the four clients were given different ids');
      place.bound = all[0];
    },
    prove: (place) => proveBound(place, 1),
  },
  {
    name: 'four workflows of 20,000 tasks on one graph, bound at once by four clients',
    async run(place, caller) {
      await Promise.all([1, 2, 3, 4].map((nth) => bind(caller, place.template as Template, TASKS, `other ${nth}`)));
    },
    prove: (place) => proveBound(place, 5),
  },
  {
    name: '200 polls at one time without pause for 10 s (E49, E61, E47, E6)',
    async prepare(place) {
      const caller = place.call(new Tally());
      const { workflow_id } = place.bound as Bound;
      const linked = await caller.json<{ workflow_run_id: number }>('POST', '/workflow_run', {
        workflow_id,
        user: 'ada',
        jobmon_version: '3.6.0',
        next_report_increment: 600,
      });
      place.workflow_run_id = linked.workflow_run_id;
      for (const status of ['B', 'I', 'O', 'R']) {
        await caller.json('PUT', `/workflow_run/${linked.workflow_run_id}/update_status`, { status });
      }
      await sleep(OVERLAP_MS);
      const { time } = await caller.json<{ time: string }>('POST', `/workflow/${workflow_id}/task_status_updates`, {});
      place.last_sync = time;
    },
    async run(place, caller) {
      const { workflow_id, array_id } = place.bound as Bound;
      const polls: [string, string, unknown?][] = [
        ['POST', `/workflow/${workflow_id}/task_status_updates`, { last_sync: place.last_sync }],
        ['POST', `/workflow_run/${place.workflow_run_id}/set_status_for_triaging`, {}],
        ['GET', `/workflow/${workflow_id}/get_max_concurrently_running`],
        ['GET', `/array/${array_id}/get_array_max_concurrently_running`],
      ];
      const end = performance.now() + POLL_MS;
      let sent = 0;
      await inParallel(200, () => {
        if (performance.now() > end) return undefined;
        const [method, path, body] = polls[sent++ % polls.length] as [string, string, unknown?];
        return caller.json(method, path, body) as Promise<void>;
      });
    },
  },
  {
    name: 'sync_status with 10,000 ids, 100 times by four distributors (E60)',
    async run(_, caller) {
      const task_instance_ids = Array.from({ length: HELD }, (_, at) => 1_000_000 + at);
      const body = JSON.stringify({ task_instance_ids, status: 'O' });
      let sent = 0;
      await inParallel(4, () => {
        if (sent++ >= 100) return undefined;
        return caller
          .json<{ status_updates: Record<string, number[]> }>('POST', '/workflow_run/1/sync_status', body)
          .then(({ status_updates }) => {
            if (status_updates?.['R']?.length !== HEARTBEATS) caller.tally.fail('a difference was not told');
          });
      });
    },
  },
  {
    name: 'integers of 78 digits: 2,000 workflows looked for by 50 clients (E41)',
    async run(place, caller) {
      const { dag_id } = place.bound as Bound;
      let sent = 0;
      await inParallel(50, () => {
        const nth = sent++;
        if (nth >= 2_000) return undefined;
        const text =
          `{"tool_version_id":${place.template?.tool_version_id},"dag_id":${dag_id},"workflow_args_hash":${digits(256, 'big', nth % 200)},` +
          `"task_hash":${'9'.repeat(78)},"description":"","name":"big","workflow_args":"{}","max_concurrently_running":10,"workflow_attributes":{}}`;
        return caller.json('POST', '/workflow', text) as Promise<void>;
      });
    },
    prove: (place) => expectCount(place, `SELECT COUNT(*) FROM workflow WHERE task_hash = '${'9'.repeat(78)}'`, 200),
  },
  {
    name: 'bodies of 32 MiB, commands of 65,000 characters: one, then four at once (E13)',
    async run(place, caller) {
      const body = tasksBody(place, LONG_COMMANDS, LONG_COMMAND, 'long');
      await caller.json('PUT', '/task/bind_tasks_no_args', body);
      const bodies = [1, 2, 3, 4].map((nth) => tasksBody(place, LONG_COMMANDS, LONG_COMMAND, `long ${nth}`));
      await Promise.all(bodies.map((one) => caller.json('PUT', '/task/bind_tasks_no_args', one)));
    },
    prove: (place) => expectCount(place, `SELECT COUNT(*) FROM task WHERE LENGTH(command) = ${LONG_COMMAND}`, 5 * LONG_COMMANDS),
  },
  {
    name: 'a body of 27 MB that holds 100,000 tasks (E13)',
    async run(place, caller) {
      const body = tasksBody(place, 100_000, 130, 'many');
      await caller.json('PUT', '/task/bind_tasks_no_args', body);
    },
    prove: (place) => expectCount(place, 'SELECT COUNT(*) FROM task WHERE LENGTH(command) = 130', 100_000),
  },
  {
    name: 'odd headers: 12 kinds, 2,400 heartbeats by 50 clients (E20)',
    async run(_, caller) {
      let sent = 0;
      await inParallel(50, () => {
        const nth = sent++;
        if (nth >= 2_400) return undefined;
        const path = `/task_instance/${1_000_000 + (nth % HEARTBEATS)}/log_report_by`;
        return caller.json('POST', path, { next_report_increment: 90 }, ODD_HEADERS[nth % ODD_HEADERS.length]) as Promise<void>;
      });
    },
  },
  {
    name: '1,000 clients that hang up in the middle, then as many that wait for their answer',
    async run(place, caller) {
      const { workflow_id } = place.bound as Bound;
      const body = tasksBody(place, 500, 2_000, 'gone');
      const host = `Host: 127.0.0.1:${caller.port}\r\n`;
      const head = `PUT /api/v3/task/bind_tasks_no_args HTTP/1.1\r\n${host}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
      const cuts = [head.slice(0, 40), head, head + body.slice(0, 300_000)];
      const question = `GET /api/v3/workflow_status_viz?workflow_ids=${workflow_id} HTTP/1.1\r\n${host}\r\n`;
      let sent = 0;
      await inParallel(100, () => {
        const nth = sent++;
        if (nth >= 1_000) return undefined;
        return hangUp(caller.port, nth % 4 === 3 ? question : (cuts[nth % 4] as string));
      });
      let asked = 0;
      await inParallel(100, () => {
        if (asked++ >= 1_000) return undefined;
        return caller.json('GET', `/workflow/${workflow_id}/get_max_concurrently_running`) as Promise<void>;
      });
    },
    prove: (place) => expectCount(place, 'SELECT COUNT(*) FROM task WHERE LENGTH(command) = 2000', 0),
  },
  {
    name: 'a connection that was idle for 76 s meanwhile is still open (keep-alive)',
    begin: async (place) => void (place.idle = stayIdle(place.call(new Tally()))),
    async run({ idle }, caller) {
      const { isOpen, sent } = (await idle) ?? { isOpen: false, sent: { status: 0, ms: 0, text: 'nothing was sent' } };
      if (!isOpen) caller.tally.fail('the idle connection was closed');
      caller.tally.add('the request after it', sent);
    },
  },
];
