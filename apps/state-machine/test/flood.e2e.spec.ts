/**
 * A state machine on a bus that somebody floods with what is no message of ours: each is counted, who asked is told a code, those who ask for
 * something real are served meanwhile, and neither memory nor the log grows with the flood.
 */
import {
  describeApart,
  insertWorkflow,
  SystemApart,
  type ServiceProcess,
  type Services,
  type TestDatabase,
} from '@jobmon/testkit';
import { connect, StringCodec, type NatsConnection } from 'nats';

const text = StringCodec();
const SUBJECT = 'jobmon.v1.state-machine.task_instance.log_done';
/** Strangers that ask at one time, how often all of them at least, and the calls that are served meanwhile. */
const MANY = { asking: 40, asked_min: 2_000, calls: 100 };
/** The same where each message takes long to read. */
const LARGE = { asking: 10, asked_min: 50, calls: 20 };
/** Of one call, while the flood is there. */
const SERVED_MS_MAX = 5_000;
const MEMORY_BYTES_MAX = 700 * 1024 * 1024;

describeApart('a state machine in a flood', (mariadb) => {
  let system: SystemApart;
  let database: TestDatabase;
  let services: Services;
  let machine: ServiceProcess;
  let stranger: NatsConnection;

  beforeAll(async () => {
    system = await SystemApart.open(mariadb);
    database = system.database;
    services = await system.services({ token: 'token-of-the-flood' }).start({ api: 1, 'state-machine': 1 });
    [machine] = services.alive('state-machine') as [ServiceProcess];
    stranger = await connect({ servers: system.nats.url });
    system.alsoEnd(() => stranger.close());
  }, 120_000);
  afterAll(() => system?.remove(), 120_000);

  const refusals = (reason: string): Promise<number> => machine.metric('jobmon_message_refusals_total', { reason });

  /** Asks for the same again and again, many at one time, while workers report what they have done. */
  const flood = async (
    subject: string,
    message: Uint8Array,
    { asking, asked_min, calls }: typeof MANY,
  ): Promise<{ asked: number; codes: Set<string> }> => {
    const all = { driver: 'client', task_status: 'R', instance_status: 'R', workflow_status: 'R' } as const;
    const { task_instance_ids, workflow_run_id } = await insertWorkflow(database, { tasks: calls, ...all });
    const url = services.alive('api')[0]!.url!;
    let isOver = false;
    let asked = 0;
    const codes = new Set<string>();
    const strangers = Promise.all(
      Array.from({ length: asking }, async () => {
        while (!isOver || asked < asked_min) {
          asked += 1;
          const { data } = await stranger.request(subject, message, { timeout: 60_000 });
          const answer = JSON.parse(text.decode(data)) as { error: { code: string } } | { error: { code: string } }[];
          for (const { error } of Array.isArray(answer) ? answer : [answer]) codes.add(error.code);
        }
      }),
    );
    strangers.catch(() => undefined);
    let slowest_ms = 0;
    try {
      for (const id of task_instance_ids) {
        const since = performance.now();
        const headers = { 'content-type': 'application/json' };
        const answer = await fetch(`${url}/api/v3/task_instance/${id}/log_done`, { method: 'POST', headers, body: '{}' });
        expect([answer.status, await answer.json()]).toEqual([200, { status: 'D' }]);
        slowest_ms = Math.max(slowest_ms, performance.now() - since);
      }
    } finally {
      isOver = true;
    }
    await strangers;
    expect(slowest_ms).toBeLessThan(SERVED_MS_MAX);
    const open = "SELECT COUNT(*) AS n FROM task_instance WHERE workflow_run_id = ? AND status <> 'D'";
    expect(Number((await database.read<{ n: number }>(open, [workflow_run_id]))[0]!.n)).toBe(0);
    return { asked, codes };
  };

  it.each([
    ['of short garbage', MANY, text.encode('no message of ours')],
    ['of garbage as long as NATS takes', LARGE, text.encode(`{"requests":"${'y'.repeat(900_000)}"}`)],
  ])(
    '%s answers each with a code and counts it',
    async (_, much, garbage) => {
      const before = await refusals('garbage');
      const { asked, codes } = await flood(SUBJECT, garbage, much);
      expect([...codes]).toEqual(['MALFORMED']);
      expect(await refusals('garbage')).toBe(before + asked);
    },
    60_000,
  );

  it('of messages with far too many calls in them refuses each', async () => {
    const before = await refusals('garbage');
    const many = text.encode(`{"requests":[${'7,'.repeat(250_000)}7],"context":{}}`);
    const { asked, codes } = await flood(SUBJECT, many, LARGE);
    expect([...codes]).toEqual(['MALFORMED']);
    expect(await refusals('garbage')).toBe(before + asked);
  }, 60_000);

  it.each([
    ['of another version', 'jobmon.v7.state-machine.task_instance.log_done'],
    ['for an operation that nobody has', 'jobmon.v1.state-machine.task_instance.paint'],
  ])(
    '%s is told so, after the time that a newer release has to answer',
    async (_, subject) => {
      const before = await refusals('unknown');
      const { asked, codes } = await flood(subject, text.encode('{"requests":[{}],"context":{}}'), { ...MANY, asked_min: 100 });
      expect([...codes]).toEqual(['UNAVAILABLE']);
      expect(await refusals('unknown')).toBe(before + asked);
    },
    60_000,
  );

  it('lives on, has told of it in few lines, and holds no more memory than it may', async () => {
    // What nobody waits for: counted all the same.
    const [garbage, unknown] = [await refusals('garbage'), await refusals('unknown')];
    for (let n = 0; n < 20_000; n += 1) {
      stranger.publish(SUBJECT, text.encode('nobody waits'));
      stranger.publish('jobmon.v1.state-machine.nothing', text.encode('nobody waits'));
    }
    await stranger.flush();
    expect([...(await flood(SUBJECT, text.encode('[]'), { ...MANY, asked_min: 100 })).codes]).toEqual(['MALFORMED']);
    expect((await refusals('garbage')) - garbage).toBeGreaterThan(20_000);
    expect((await refusals('unknown')) - unknown).toBe(20_000);
    expect(await machine.metric('jobmon_process_resident_memory_bytes')).toBeLessThan(MEMORY_BYTES_MAX);
    expect([machine.hasEnded, (await machine.readiness())?.status]).toEqual([false, 200]);
    const told = machine.lines.filter(({ message }) => /^a message on the bus is/.test(message)).length;
    expect(told).toBeGreaterThan(0);
    expect(told).toBeLessThan(2_000);
    expect(machine.lines.filter(({ level }) => ['error', 'fatal', 'none'].includes(level))).toEqual([]);
  }, 60_000);
});
