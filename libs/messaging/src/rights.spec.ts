/** The accounts against a real server: who has no right to a subject can neither say nor hear anything there. */
import {
  agentOrdered,
  fixStatusInconsistency,
  moveWorkflowRun,
  queueTasks,
  taskChanged,
  type Operation,
} from '@jobmon/contracts';
import { createLogger, loadConfig } from '@jobmon/runtime';
import { describeWithNats, NatsProcess, until } from '@jobmon/testkit';
import { connect, type NatsConnection } from 'nats';
import { LOG_CONSUMER, LOG_STREAM, LOG_SUBJECT } from './log-subjects';
import { natsMessenger, type NatsMessenger } from './nats';
import { BUS_SERVICES, natsAccounts, type BusService } from './rights';

describeWithNats('rights on the bus', () => {
  let nats: NatsProcess;
  const members = {} as Record<BusService, NatsMessenger>;
  const strangers: NatsConnection[] = [];
  let lines: string[] = [];
  const log = createLogger({ service: 'test', level: 'debug', destination: { write: (line) => void lines.push(line) } });

  beforeAll(async () => {
    nats = await NatsProcess.start(natsAccounts(Object.fromEntries(BUS_SERVICES.map((name) => [name, `of ${name}`])) as never));
    for (const name of BUS_SERVICES) {
      const { nats: settings } = loadConfig({
        env: { HOME: '/' },
        overrides: { nats: { url: nats.url, user: name, password: `of ${name}` } },
      }).config;
      members[name] = await natsMessenger({ ...settings, name, log });
    }
  }, 60_000);
  afterEach(() => void (lines = []));
  afterAll(async () => {
    await Promise.all([...Object.values(members).map((member) => member.drain()), ...strangers.map((one) => one.close())]);
    await nats.remove();
  });

  const codeOf = async (member: NatsMessenger, operation: Operation): Promise<string> => {
    const [outcome] = await member.request(operation, [{}], { timeout_ms: 5_000 });
    return 'error' in outcome! ? outcome.error.code : 'ok';
  };

  it('let each service ask for what it needs, and for nothing else', async () => {
    for (const operation of [queueTasks, fixStatusInconsistency]) {
      members['state-machine'].handle(operation as Operation, async (requests) => requests.map(() => ({ ok: {} })));
    }
    await members['state-machine'].flush();
    // Empty requests: those that arrive are refused for their form.
    expect(await codeOf(members.scheduler, queueTasks)).toBe('MALFORMED');
    expect(await codeOf(members.api, queueTasks)).toBe('FORBIDDEN');
    expect(await codeOf(members.reaper, fixStatusInconsistency)).toBe('MALFORMED');
    expect(await codeOf(members.reaper, queueTasks)).toBe('FORBIDDEN');
    expect(await codeOf(members.scheduler, fixStatusInconsistency)).toBe('FORBIDDEN');
    expect(await codeOf(members['log-sink'], queueTasks)).toBe('FORBIDDEN');
  });

  it('keep others from answering in the place of the owner, and from telling or hearing what is none of theirs', async () => {
    members.scheduler.handle(moveWorkflowRun, async () => {
      throw new Error('it was asked');
    });
    await until('it is refused', () => lines.some((line) => line.includes('does not let this process answer')));
    expect(await codeOf(members.scheduler, moveWorkflowRun)).toBe('UNAVAILABLE');
    const heard: string[] = [];
    members.scheduler.subscribe(taskChanged, () => void heard.push('scheduler'));
    members.api.subscribe(agentOrdered, () => void heard.push('api'));
    members.reaper.subscribe(taskChanged, () => void heard.push('reaper'));
    await until('it is refused', () => lines.some((line) => line.includes('does not let this process listen')));
    await Promise.all([members.scheduler.flush(), members.api.flush()]);
    members.reaper.publish(agentOrdered, { agent_id: 1 });
    await members.reaper.flush();
    members['state-machine'].publish(taskChanged, { workflow_id: 1, workflow_run_id: 1, task_ids: [1] });
    members['state-machine'].publish(agentOrdered, { agent_id: 2 });
    await until('both are told', () => heard.length >= 2);
    expect(heard.sort()).toEqual(['api', 'scheduler']);
  });

  it('refuse who has no account, and let no service hear the answers to another', async () => {
    await expect(connect({ servers: nats.url })).rejects.toThrow(/Authorization/i);
    const spy = await connect({ servers: nats.url, user: 'reaper', pass: 'of reaper' });
    strangers.push(spy);
    for (const subject of ['>', '_INBOX.>', '_INBOX.scheduler.>', 'jobmon.v1.state-machine.>']) {
      const refused = new Promise<string>((resolve) =>
        spy.subscribe(subject, { callback: (error) => resolve(error?.code ?? 'a message') }),
      );
      expect([subject, await refused]).toEqual([subject, 'PERMISSIONS_VIOLATION']);
    }
  });

  it('let every service send log records, and the sink alone keep them', async () => {
    const open = async (name: BusService): Promise<NatsConnection> => {
      const connection = await connect({ servers: nats.url, user: name, pass: `of ${name}`, inboxPrefix: `_INBOX.${name}` });
      strangers.push(connection);
      return connection;
    };
    const sink = await open('log-sink');
    const manager = await sink.jetstreamManager();
    await manager.streams.add({ name: LOG_STREAM, subjects: [LOG_SUBJECT] });
    await manager.consumers.add(LOG_STREAM, { durable_name: LOG_CONSUMER, ack_policy: 'explicit' as never });
    await (await open('api')).jetstream().publish(LOG_SUBJECT, 'a record');
    const kept: string[] = [];
    for await (const message of sink.jetstream().fetch(LOG_STREAM, LOG_CONSUMER, { batch: 1, expires: 10_000 })) {
      kept.push(message.string());
      expect(await message.ackAck()).toBe(true);
    }
    expect(kept).toEqual(['a record']);
    await expect((await open('scheduler')).jetstreamManager({ timeout: 1_000 })).rejects.toThrow(
      /Permissions Violation|PERMISSION/i,
    );
  });
});
