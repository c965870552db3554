/** Client runs over HTTP on both databases: linked once, moved with their workflow or not at all, kept alive, aborted when nobody learned of them. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases, insertWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import { call, serve, type Answered, type Served } from '../../test/serve';

describeOnDatabases('client runs', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)] });
  });
  afterAll(() => served.close());

  const post = (path: string, body: unknown = {}): Promise<Answered> => call(served, 'POST', `/api/v3/${path}`, body, {});
  const put = (path: string, body: unknown = {}): Promise<Answered> => call(served, 'PUT', `/api/v3/${path}`, body, {});
  const link = (workflow_id: number): Promise<Answered> =>
    post('workflow_run', { workflow_id, user: 'ann', jobmon_version: '3.6.0', next_report_increment: 93.0 });
  const insert = (more: WorkflowToInsert = {}) => insertWorkflow(database(), { driver: 'client', ...more });
  /** A workflow without a live run. */
  const free = (more: WorkflowToInsert = {}) => insert({ run_status: 'E', workflow_status: 'F', ...more });
  const write = (sql: string) =>
    database().write({ label: 'test' }, function* () {
      yield { sql };
    });
  const stands = async (workflow_id: number) => {
    const rows = await database().read<{ run: string | null; workflow: string }>(
      'SELECT r.status AS run, w.status AS workflow FROM workflow AS w LEFT JOIN workflow_run AS r ON r.workflow_id = w.id WHERE w.id = ? ORDER BY r.id',
      [workflow_id],
    );
    return `${rows.map(({ run }) => run).join('')} ${rows[0]!.workflow}`;
  };
  /** Seconds from now to a run's deadline, to the nearest ten. */
  const deadline = async (run_id: number) => {
    const [row] = await database().read<{ heartbeat_date: string; now: string }>(
      `SELECT heartbeat_date, ${database().dialect.now} AS now FROM workflow_run WHERE id = ?`,
      [run_id],
    );
    return Math.round((Date.parse(row!.heartbeat_date) - Date.parse(row!.now)) / 10_000) * 10;
  };

  it('E56 makes and links a run, with its first deadline', async () => {
    const { workflow_id } = await free();
    const { status, json } = await link(workflow_id);
    expect([status, json]).toEqual([200, { workflow_run_id: expect.any(Number), status: 'L' }]);
    expect(await stands(workflow_id)).toBe('EL G');
    const [row] = await database().read(
      'SELECT `user`, jobmon_version, driver, working_directory, created_date IS NOT NULL AS is_created FROM workflow_run WHERE id = ?',
      [json.workflow_run_id],
    );
    expect(row).toEqual({ user: 'ann', jobmon_version: '3.6.0', driver: 'client', working_directory: null, is_created: 1 });
    expect(await deadline(json.workflow_run_id)).toBe(90);
  });

  it('E56 links exactly one of eight starts at once, and hands it to nobody else (race 43)', async () => {
    const { workflow_id } = await free();
    const answers = await Promise.all(Array.from({ length: 8 }, () => link(workflow_id)));
    expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(200));
    const linked = answers.filter(({ json }) => json.workflow_run_id !== null);
    expect(linked.map(({ json }) => json.status)).toEqual(['L']);
    for (const { json } of answers.filter((answer) => !linked.includes(answer))) {
      expect(json).toEqual({ workflow_run_id: null, err_msg: expect.stringMatching(/held by its run/) });
    }
    expect(await stands(workflow_id)).toBe('EL G');
  });

  it.each(['L', 'B', 'I', 'O', 'R', 'C', 'H'] as const)(
    'E56 is refused in words while a run is in %s (race 43)',
    async (run_status) => {
      const { workflow_id } = await insert({ run_status, workflow_status: 'F' });
      const { status, json } = await link(workflow_id);
      expect([status, json]).toEqual([200, { workflow_run_id: null, err_msg: expect.any(String) }]);
      expect(await stands(workflow_id)).toBe(`${run_status} F`);
    },
  );

  it.each(['D', 'Q', 'I', 'O', 'R'] as const)(
    'E56 is refused in words by a workflow in %s (race 43)',
    async (workflow_status) => {
      const { workflow_id } = await free({ workflow_status });
      expect((await link(workflow_id)).json).toEqual({ workflow_run_id: null, err_msg: expect.any(String) });
      expect(await stands(workflow_id)).toBe(`E ${workflow_status}`);
    },
  );

  it('E56 is refused in words by an unknown workflow, and by one that is not bound until it is (race 52)', async () => {
    expect((await link(2_000_000_000)).json).toEqual({ workflow_run_id: null, err_msg: 'there is no workflow 2000000000' });
    const { workflow_id } = await free({ workflow_status: 'G' });
    await write(`UPDATE workflow SET created_date = NULL WHERE id = ${workflow_id}`);
    expect((await link(workflow_id)).json).toEqual({ workflow_run_id: null, err_msg: expect.stringMatching(/bound/) });
    await write(`UPDATE workflow SET created_date = status_date WHERE id = ${workflow_id}`);
    expect((await link(workflow_id)).json).toMatchObject({ status: 'L' });
  });

  it('E56 aborts the run of a client that hung up before its answer, and its repeat links anew', async () => {
    const { workflow_id } = await free();
    const body = JSON.stringify({ workflow_id, user: 'ann', jobmon_version: '3', next_report_increment: 93 });
    let isHeld = (): void => undefined;
    const held = new Promise<void>((resolve) => (isHeld = resolve));
    const { request } = served.messenger;
    // The link is answered only when the client has gone.
    served.messenger.request = async (operation, requests, options) => {
      const outcomes = await request.call(served.messenger, operation, requests, options);
      if (operation.name === 'workflow_run.link') await held;
      return outcomes as never;
    };
    try {
      const gone = nextResponseClosed();
      const socket = connect(served.port, '127.0.0.1');
      socket.write(
        `POST /api/v3/workflow_run HTTP/1.1\r\nHost: 127.0.0.1:${served.port}\r\nContent-Type: application/json\r\n` +
          `Content-Length: ${body.length}\r\n\r\n${body}`,
      );
      await until(async () => (await stands(workflow_id)) === 'EL G');
      socket.destroy();
      await gone;
      isHeld();
      await until(async () => (await stands(workflow_id)) === 'EA A');
    } finally {
      served.messenger.request = request;
    }
    expect((await link(workflow_id)).json).toMatchObject({ status: 'L' });
    expect(await stands(workflow_id)).toBe('EAL G');
  });

  it('E59 takes a run from L to D, its workflow with it, each step twice', async () => {
    const { workflow_id } = await free();
    const { workflow_run_id } = (await link(workflow_id)).json;
    const seen: string[] = [];
    for (const status of ['B', 'I', 'O', 'R', 'D']) {
      for (let times = 0; times < 2; times += 1) {
        const { status: code, json } = await put(`workflow_run/${workflow_run_id}/update_status`, { status });
        expect([code, json]).toEqual([200, { status }]);
      }
      seen.push(await stands(workflow_id));
      // A client is silent while its distributor starts, for which it waits 180 s.
      if (status !== 'D') expect([status, await deadline(workflow_run_id)]).toEqual([status, status === 'R' ? 90 : 270]);
    }
    expect(seen).toEqual(['EB Q', 'EI I', 'EO O', 'ER R', 'ED D']);
  });

  it.each([
    ['L', 'G', 'R', 'L'],
    ['B', 'Q', 'R', 'B'],
    ['R', 'R', 'B', 'R'],
    ['R', 'R', 'nonsense', 'R'],
    ['R', 'R', 'toString', 'R'],
    ['R', 'R', 'E', 'E'],
    ['R', 'R', 'S', 'S'],
    ['C', 'R', 'T', 'T'],
    ['H', 'R', 'T', 'T'],
    ['E', 'F', 'R', 'E'],
  ] as const)(
    'E59 answers a run in %s (workflow in %s) that is to be %s with %s',
    async (run_status, workflow_status, to, stands_at) => {
      const made = await insert({ run_status, workflow_status });
      const { status, json } = await put(`workflow_run/${made.workflow_run_id}/update_status`, { status: to });
      expect([status, json]).toEqual([200, { status: stands_at }]);
    },
  );

  it('E59 moves neither half when one of them cannot (race 41), and a run that the server drives not at all', async () => {
    const torn = await insert({ run_status: 'R', workflow_status: 'H' });
    const server = await insertWorkflow(database(), { driver: 'server' });
    for (const [made, expected] of [
      [torn, 'R H'],
      [server, 'R R'],
    ] as const) {
      const { json } = await put(`workflow_run/${made.workflow_run_id}/update_status`, { status: 'D' });
      expect([json, await stands(made.workflow_id)]).toEqual([{ status: 'R' }, expected]);
    }
    expect((await put('workflow_run/2000000000/update_status', { status: 'D' })).status).toBe(404);
    expect((await put(`workflow_run/${torn.workflow_run_id}/update_status`)).status).toBe(400);
    expect((await put('workflow_run/x/update_status', { status: 'D' })).status).toBe(422);
  });

  it('E59 lets a run that was told to stop be done when all its tasks are (race 45)', async () => {
    for (const run_status of ['C', 'H'] as const) {
      const made = await insert({ run_status, task_status: 'D' });
      expect((await put(`workflow_run/${made.workflow_run_id}/update_status`, { status: 'D' })).json).toEqual({ status: 'D' });
      expect(await stands(made.workflow_id)).toBe('D D');
    }
  });

  it.each([
    ['R', 'R', 'R', 'R'],
    ['L', 'L', 'G', 'L'],
    ['B', 'B', 'Q', 'B'],
    ['I', 'B', 'I', 'I'],
    ['O', 'B', 'O', 'O'],
    ['O', 'R', 'O', 'R'],
  ] as const)(
    'E58 moves the deadline of a run in %s whose client says %s (race 43)',
    async (run_status, says, workflow_status, answer) => {
      const made = await insert({ run_status, workflow_status, deadline_seconds: -60 });
      const body = { status: says, next_report_increment: 93.0 };
      const { status, json } = await post(`workflow_run/${made.workflow_run_id}/log_heartbeat`, body);
      expect([status, json]).toEqual([200, { status: answer }]);
      expect(await deadline(made.workflow_run_id)).toBe(90);
    },
  );

  it.each([
    ['C', 'R'],
    ['C', 'C'],
    ['H', 'R'],
    ['H', 'H'],
  ] as const)(
    'E58 leaves the deadline of a run in %s whose client says %s: it is told to stop (race 44)',
    async (run_status, says) => {
      const made = await insert({ run_status, workflow_status: 'R', deadline_seconds: -60 });
      const body = { status: says, next_report_increment: 93.0 };
      const { status, json } = await post(`workflow_run/${made.workflow_run_id}/log_heartbeat`, body);
      expect([status, json]).toEqual([200, { status: run_status }]);
      expect(await deadline(made.workflow_run_id)).toBe(-60);
    },
  );

  it('E58 changes nothing on a run that has ended or that the server drives, and on no status at all', async () => {
    const cases = [
      [await insert({ run_status: 'E', workflow_status: 'F', deadline_seconds: -60 }), 'R', 'E'],
      [await insert({ run_status: 'T', workflow_status: 'H', deadline_seconds: -60 }), 'R', 'T'],
      [await insertWorkflow(database(), { deadline_seconds: -60 }), 'R', 'R'],
      [await insert({ deadline_seconds: -60 }), 'nonsense', 'R'],
    ] as const;
    for (const [made, says, answer] of cases) {
      const body = { status: says, next_report_increment: 93.0 };
      expect((await post(`workflow_run/${made.workflow_run_id}/log_heartbeat`, body)).json).toEqual({ status: answer });
      expect(await deadline(made.workflow_run_id)).toBe(-60);
    }
    const known = cases[0][0].workflow_run_id;
    expect((await post('workflow_run/2000000000/log_heartbeat', { status: 'R', next_report_increment: 1 })).status).toBe(404);
    expect((await post(`workflow_run/${known}/log_heartbeat`, { status: 'R' })).status).toBe(400);
    expect((await post(`workflow_run/${known}/log_heartbeat`, { status: 'R', next_report_increment: -1 })).status).toBe(400);
  });

  it('E58 500 at once are answered, in a few transactions', async () => {
    const made = await Promise.all(Array.from({ length: 5 }, () => insert({ deadline_seconds: -60 })));
    const before = database().counts.transactions;
    const answers = await Promise.all(
      Array.from({ length: 500 }, (_, at) =>
        post(`workflow_run/${made[at % 5]!.workflow_run_id}/log_heartbeat`, { status: 'R', next_report_increment: 93.0 }),
      ),
    );
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`))).toEqual(new Set(['200 {"status":"R"}']));
    expect(database().counts.transactions - before).toBeLessThan(450);
    for (const { workflow_run_id } of made) expect(await deadline(workflow_run_id)).toBe(90);
  });
});

/** Resolves when the server has noticed that the connection of the next request is gone. */
function nextResponseClosed(): Promise<void> {
  return new Promise((resolve) => {
    const onRequest = (message: unknown): void => {
      unsubscribe('http.server.request.start', onRequest);
      (message as { response: ServerResponse }).response.once('close', () => resolve());
    };
    subscribe('http.server.request.start', onRequest);
  });
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 10_000;
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error('it never came to be');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
