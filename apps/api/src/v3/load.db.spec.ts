/** The load shape of real sites, small: many connections at one time, large bodies, odd headers, callers that go away. Figures: bench/results/load.md. */
import { connect } from 'node:net';
import { stateMachineModule } from '@jobmon/state-machine';
import { Driver } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { describeOnDatabases, insertWorkflow, runSql, type InsertedWorkflow } from '@jobmon/testkit';
import { digits } from '../../test/definitions';
import { call, serve, type Served } from '../../test/serve';

const MIB = 2 ** 20;
const HEARTBEATS = 500;
/** Together 32 MiB; a command has at most 65,535 bytes. */
const LONG_COMMAND = 65_000;
const LONG_COMMANDS = 516;

/** The same database, whose reads and writes wait while the gate is shut. */
function gated(database: Database) {
  let gate = Promise.resolve();
  let open = (): void => undefined;
  let waiting = 0;
  const pass = async (): Promise<void> => {
    waiting += 1;
    await gate;
    waiting -= 1;
  };
  /** Statements that were read, whoever asked. */
  const reads: string[] = [];
  const read: Database['read'] = async (sql, params) => {
    await pass();
    reads.push(sql);
    return database.read(sql, params);
  };
  const write: Database['write'] = async (options, procedure) => pass().then(() => database.write(options, procedure));
  const shut = (): void => void (gate = new Promise((resolve) => (open = resolve)));
  return {
    database: Object.assign(Object.create(database) as Database, { read, write }),
    shut,
    open: () => open(),
    waiting: () => waiting,
    reads,
  };
}

describeOnDatabases('the load of real sites', (database) => {
  let served: Served;
  let made: InsertedWorkflow;
  let gate: ReturnType<typeof gated>;
  const v3 = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
    call(served, method, `/api/v3${path}`, body, headers);

  beforeAll(async () => {
    gate = gated(database());
    served = await serve(gate.database, { modules: (context) => [stateMachineModule(context)] });
    made = await insertWorkflow(database(), { tasks: HEARTBEATS, instance_status: 'R', task_status: 'R', driver: Driver.CLIENT });
  }, 60_000);
  afterAll(() => served.close());

  /** Sends the text over a connection of its own and hangs up once it is handed to the system. */
  const hangUp = (text: string): Promise<void> =>
    new Promise((resolve) => {
      const socket = connect(served.port, '127.0.0.1', () => socket.write(text, () => socket.destroy()));
      socket.on('error', () => undefined);
      socket.on('close', () => resolve());
    });
  const head = (path: string, length: number): string =>
    `PUT /api/v3${path} HTTP/1.1\r\nHost: 127.0.0.1:${served.port}\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`;
  /** A value of so many bytes that is read at once. */
  const padded = (value: unknown, bytes: number): string => {
    const text = JSON.stringify(value);
    return `${text.slice(0, -1)}${' '.repeat(bytes - text.length)}}`;
  };
  const until = async (isTrue: () => boolean): Promise<void> => {
    for (const end = Date.now() + 30_000; !isTrue();) {
      if (Date.now() > end) throw new Error('it did not come to that');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };

  it('E20 answers 500 heartbeats that come at one time, each over a connection of its own', async () => {
    await runSql(database().url, [`UPDATE task_instance SET report_by_date = '2020-01-01 00:00:00'`]);
    const answers = await Promise.all(
      made.task_instance_ids.map((id) => v3('POST', `/task_instance/${id}/log_report_by`, { next_report_increment: 90 })),
    );
    expect(answers.filter(({ status, json }) => status !== 200 || json.status !== 'R').map(({ text }) => text)).toEqual([]);
    const [left] = await database().read<{ n: number }>(
      `SELECT COUNT(*) AS n FROM task_instance WHERE report_by_date < '2021-01-01 00:00:00'`,
    );
    expect(Number(left?.n)).toBe(0);
  }, 60_000);

  it('E47 keeps an idle connection for more than 75 seconds', async () => {
    const { headers } = await v3('GET', `/workflow/${made.workflow_id}/get_max_concurrently_running`, undefined, {
      connection: 'keep-alive',
    });
    expect(Number(/timeout=(\d+)/.exec(String(headers['keep-alive']))?.[1])).toBeGreaterThan(75);
  });

  it.each<[string, Record<string, string>]>([
    ['Content-Encoding: gzip', { 'content-encoding': 'gzip' }],
    ['an unknown Content-Encoding', { 'content-encoding': 'nonsense, br' }],
    ['text as Content-Type', { 'content-type': 'text/plain' }],
    ['a broken Content-Type', { 'content-type': 'application/json; charset=latin-1; charset=' }],
    ['a broken log context', { 'x-server-structlog-context': '{broken' }],
    ['a log context that is a list', { 'x-server-structlog-context': '[1]' }],
    ['an odd request id', { 'x-request-id': 'a b\tc' }],
    ['an Accept that cannot be had', { accept: 'text/html', 'accept-encoding': 'br;q=1, *;q=0' }],
    ['8,000 characters of cookies', { cookie: 'a=b; '.repeat(1_600) }],
    ['an empty user agent', { 'user-agent': '' }],
    ['transfer in chunks', { 'transfer-encoding': 'chunked' }],
    ['Expect: 100-continue', { expect: '100-continue' }],
  ])('E49 looks past %s', async (_, headers) => {
    const { status, json } = await v3('POST', `/workflow/${made.workflow_id}/task_status_updates`, {}, headers);
    expect(status).toBe(200);
    expect(json.tasks_by_status.R).toHaveLength(HEARTBEATS);
  });

  it('E41 tells numbers of 78 digits apart by their last digit, and finds one workflow for 50 callers of each', async () => {
    const { json: dag } = await v3('POST', '/dag', '{"dag_hash": 1152921504606846975}');
    const bind = (last: number) =>
      v3(
        'POST',
        '/workflow',
        `{"tool_version_id":${made.tool_version_id},"dag_id":${dag.dag_id},"workflow_args_hash":${'7'.repeat(77)}${last},` +
          `"task_hash":${'9'.repeat(78)},"description":"","name":"big","workflow_args":"","max_concurrently_running":10,"workflow_attributes":{}}`,
      );
    const answers = await Promise.all(Array.from({ length: 100 }, (_, nth) => bind(nth % 2)));
    expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
    expect(new Set(answers.map(({ json }) => json.workflow_id)).size).toBe(2);
    const hashes = await database().read<{ hash: string }>(
      `SELECT workflow_args_hash AS hash FROM workflow WHERE name = 'big' ORDER BY workflow_args_hash`,
    );
    expect(hashes.map(({ hash }) => hash)).toEqual([`${'7'.repeat(77)}0`, `${'7'.repeat(77)}1`]);
  });

  it('E13 takes a body of 32 MiB', async () => {
    const tasks = Object.fromEntries(
      Array.from({ length: LONG_COMMANDS }, (_, at) => [
        digits('long', at).slice(0, 19),
        [
          made.node_ids[at % HEARTBEATS],
          digits('args', at),
          made.array_id,
          made.task_resources_id,
          `long_${at}`,
          'x'.repeat(LONG_COMMAND),
          3,
          false,
          {},
          [],
        ],
      ]),
    );
    const body = JSON.stringify({ workflow_id: made.workflow_id, tasks, mark_created: false });
    expect(body.length).toBeGreaterThan(32 * MIB);
    const answered = await v3('PUT', '/task/bind_tasks_no_args', body);
    expect(answered.status).toBe(200);
    expect(Object.keys(answered.json.tasks)).toHaveLength(LONG_COMMANDS);
    const [stored] = await database().read<{ n: number }>('SELECT COUNT(*) AS n FROM task WHERE LENGTH(command) = ?', [
      LONG_COMMAND,
    ]);
    expect(Number(stored?.n)).toBe(LONG_COMMANDS);
  }, 60_000);

  it('E14 goes on serving when more callers than may send at one time hang up in the middle', async () => {
    const whole = head('/task/bind_task_args', 1_000_000);
    // One in ten does not even finish its head; of the others 1,170 were receiving, which is more than may at one time.
    const cuts = [whole.slice(0, 40), ...Array<string>(4).fill(whole), ...Array<string>(5).fill(`${whole}{"task_args": [`)];
    for (let round = 0; round < 13; round += 1) {
      await Promise.all(Array.from({ length: 100 }, (_, nth) => hangUp(cuts[nth % cuts.length] as string)));
    }
    expect((await v3('PUT', '/task/bind_task_args', { task_args: [] })).status).toBe(200);
  }, 60_000);

  it('E14 forgets the bytes of callers that hang up in the middle of large bodies', async () => {
    const part = head('/task/bind_task_args', 60 * MIB) + ' '.repeat(16 * MIB);
    for (let round = 0; round < 20; round += 1) await hangUp(part);
    expect((await v3('PUT', '/task/bind_task_args', padded({ task_args: [] }, 60 * MIB))).status).toBe(200);
  }, 60_000);

  it('C25 counts nothing for callers that are gone', async () => {
    const question = `GET /api/v3/workflow_status_viz?workflow_ids=${made.workflow_id} HTTP/1.1\r\nHost: 127.0.0.1:${served.port}\r\n\r\n`;
    const counts = () => gate.reads.filter((sql) => sql.includes('FROM task WHERE')).length;
    gate.shut();
    const before = counts();
    try {
      const gone = Array.from({ length: 20 }, () => hangUp(question));
      await until(() => gate.waiting() === 20);
      await Promise.all(gone);
      // Connections that come after them, one after the other, and need no database: by then the server has seen the others go.
      for (let nth = 0; nth < 3; nth += 1) expect((await v3('GET', '/')).status).toBe(200);
    } finally {
      gate.open();
    }
    expect((await v3('GET', `/workflow_status_viz?workflow_ids=${made.workflow_id}`)).status).toBe(200);
    expect(counts() - before).toBe(1);
  });

  it('E14 counts a large body until its work is done, though its caller hung up, and takes others after that', async () => {
    const args = { task_args: [[made.task_ids[0], 1, 'x']] };
    const body = padded(args, 60 * MIB);
    gate.shut();
    try {
      // One after the other, each once the one before waits for the database: four are within the bound of 256 MiB.
      for (let nth = 1; nth <= 4; nth += 1) {
        const gone = hangUp(head('/task/bind_task_args', body.length) + body);
        await until(() => gate.waiting() >= nth);
        await gone;
      }
      const refused = await v3('PUT', '/task/bind_task_args', body);
      expect([refused.status, refused.json.detail]).toEqual([503, expect.stringMatching(/send it again later/)]);
    } finally {
      gate.open();
    }
    await until(() => gate.waiting() === 0);
    expect((await v3('PUT', '/task/bind_task_args', padded({ task_args: [] }, 60 * MIB))).status).toBe(200);
  }, 60_000);
});
