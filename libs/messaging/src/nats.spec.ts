/** NATS as the bus: what every transport does, and what only a bus between processes can meet. The spec has servers of its own. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { event, operation, subjectOf, subjectOfEvent, type JobmonError } from '@jobmon/contracts';
import { createLogger, loadConfig, metrics, type Logger } from '@jobmon/runtime';
import { describeWithNats, NatsProcess, TcpProxy, until } from '@jobmon/testkit';
import { connect, nkeys } from 'nats';
import { z } from 'zod';
import { send } from './messenger';
import { messengerConformance } from './messenger.conformance';
import { natsMessenger, type NatsMessenger } from './nats';

const echo = operation({
  name: 'nats.echo',
  owner: 'state-machine',
  summary: 'Answers what it is given.',
  request: z.object({ value: z.string() }),
  reply: z.object({ value: z.string() }),
});
const happened = event({ name: 'nats.happened', payload: z.object({ number: z.number() }) });
const said = event({ name: 'nats.said', payload: z.object({ number: z.number(), text: z.string() }) });

type KeyPair = ReturnType<typeof nkeys.createUser>;

/** An operator, its accounts and a user of one, as NATS' own tool would make them: tokens signed by the one above. */
function credentials() {
  const [operator, account, user] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createUser()];
  const system = nkeys.createAccount();
  const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = (by: KeyPair, of: KeyPair, type: string): string => {
    const claims = { jti: type, iat: Math.floor(Date.now() / 1000), iss: by.getPublicKey(), sub: of.getPublicKey(), name: type };
    const limits = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
    const nats = {
      type,
      version: 2,
      ...(type === 'account' ? { limits } : type === 'user' ? { subs: -1, data: -1, payload: -1 } : {}),
    };
    const text = `${encoded({ typ: 'JWT', alg: 'ed25519-nkey' })}.${encoded({ ...claims, nats })}`;
    return `${text}.${Buffer.from(by.sign(Buffer.from(text))).toString('base64url')}`;
  };
  const seed = Buffer.from(user.getSeed()).toString();
  return {
    config: `operator: ${signed(operator, operator, 'operator')}
      system_account: ${system.getPublicKey()}
      resolver: MEMORY
      resolver_preload: {
        ${account.getPublicKey()}: ${signed(operator, account, 'account')}
        ${system.getPublicKey()}: ${signed(operator, system, 'account')}
      }`,
    file: [
      ['-----BEGIN NATS USER JWT-----', signed(account, user, 'user'), '------END NATS USER JWT------'],
      ['-----BEGIN USER NKEY SEED-----', seed, '------END USER NKEY SEED------'],
    ]
      .map((part) => `${part.join('\n')}\n`)
      .join('\n'),
  };
}

describeWithNats('NATS', () => {
  let nats: NatsProcess;
  let open: NatsMessenger[] = [];
  let lines: string[] = [];
  const log: Logger = createLogger({ service: 'test', level: 'debug', destination: { write: (line) => void lines.push(line) } });

  const settings = (given: object) => loadConfig({ env: { HOME: '/' }, overrides: { nats: given } }).config.nats;
  async function join(given: object = { url: nats.url }, to: Logger = log): Promise<NatsMessenger> {
    const messenger = await natsMessenger({ ...settings(given), name: 'test', log: to });
    open.push(messenger);
    return messenger;
  }
  const echoes = (messenger: NatsMessenger): void =>
    messenger.handle(echo, async (requests) => requests.map(({ value }) => ({ ok: { value } })));
  const refusalOf = (work: Promise<unknown>): Promise<JobmonError> =>
    work.then(
      () => {
        throw new Error('it was taken');
      },
      (error: unknown) => error as JobmonError,
    );

  beforeAll(async () => {
    nats = await NatsProcess.start();
  }, 60_000);
  afterEach(async () => {
    await Promise.all(open.map((messenger) => messenger.drain()));
    open = [];
    lines = [];
  });
  afterAll(() => nats.remove());

  messengerConformance('NATS', {
    members_max: 3,
    open: async (count, to) => {
      const joining = { ...settings({ url: nats.url }), name: 'test', log: to };
      return Promise.all(Array.from({ length: count }, () => natsMessenger(joining)));
    },
    settle: async (members) => {
      for (const member of members) await (member as NatsMessenger).flush();
    },
  });

  describe('a server that goes away', () => {
    it('is waited for: requests and listeners go on when it is there again, with another store', async () => {
      const [sender, answerer] = [await join(), await join()];
      echoes(answerer);
      const heard: number[] = [];
      answerer.subscribe(happened, ({ number }) => heard.push(number));
      await answerer.flush();
      expect(await send(sender, echo, { value: 'before' })).toEqual({ value: 'before' });
      await nats.kill();
      await until('the loss is seen', () => sender.state() === 'down' && answerer.state() === 'down');
      const waiting = send(sender, echo, { value: 'meanwhile' }, { timeout_ms: 60_000 });
      sender.publish(happened, { number: 1 });
      nats.forgetAll();
      await nats.startAgain();
      await until('both are back', () => sender.state() === 'up' && answerer.state() === 'up', 60_000);
      // Who answers may come back after who asks: the next one finds it.
      await waiting.catch((error: JobmonError) => expect(error.code).toBe('UNAVAILABLE'));
      expect(await send(sender, echo, { value: 'after' })).toEqual({ value: 'after' });
      sender.publish(happened, { number: 2 });
      await until('the event is heard', () => heard.length > 0);
      expect(heard).toEqual([2]);
      expect(lines.filter((line) => line.includes('was lost and is opened again'))).toHaveLength(2);
      expect(lines.filter((line) => line.includes('is there again'))).toHaveLength(2);
    }, 90_000);

    it('ends what was on its way at once, and what waits at its own time', async () => {
      const proxy = await TcpProxy.to(nats.url);
      const sender = await join({ url: proxy.url(nats.url) });
      const answerer = await join();
      const called = new Promise<void>((reached) => {
        answerer.handle(echo, async (requests) => {
          reached();
          await new Promise((go) => setTimeout(go, 200));
          return requests.map(({ value }) => ({ ok: { value } }));
        });
      });
      const began = performance.now();
      const onItsWay = sender.request(echo, [{ value: 'x' }, { value: 'y' }], { timeout_ms: 60_000 });
      await called;
      await proxy.close();
      const lost = { error: { code: 'UNAVAILABLE', message: expect.stringContaining('lost before the answer came') } };
      expect(await onItsWay).toMatchObject([lost, lost]);
      expect(performance.now() - began).toBeLessThan(30_000);
      const late = await sender.request(echo, [{ value: 'z' }], { timeout_ms: 50 });
      expect(late).toMatchObject([{ error: { code: 'UNAVAILABLE', message: 'the connection to NATS is lost' } }]);
      // A bounded number of bytes waits.
      const big = { value: 'x'.repeat(500_000) };
      const all = await Promise.all(Array.from({ length: 40 }, () => sender.request(echo, [big], { timeout_ms: 500 })));
      const refused = all.filter(([outcome]) => JSON.stringify(outcome).includes('too much waits'));
      expect(refused).toHaveLength(40 - Math.floor((16 * 1024 * 1024) / 500_050));
    }, 90_000);

    it('that is silent is no hang: the request ends at its time', async () => {
      const sender = await join();
      const answerer = await join();
      echoes(answerer);
      await send(sender, echo, { value: 'there' });
      nats.signal('SIGSTOP');
      try {
        // A thread of it may run on for a moment.
        const ask = async () => (await sender.request(echo, [{ value: 'x' }], { timeout_ms: 300 }))[0]!;
        let outcome = await ask();
        await until('it stands still', async () => 'error' in (outcome = 'error' in outcome ? outcome : await ask()));
        expect(outcome).toMatchObject({ error: { code: 'UNAVAILABLE' } });
      } finally {
        nats.signal('SIGCONT');
      }
      await until('it answers again', async () => 'ok' in (await sender.request(echo, [{ value: 'x' }]))[0]!, 60_000);
    }, 90_000);
  });

  it('counts one of a group that stands still no longer as one of it, once it was sent nothing for seconds', async () => {
    const sender = await join();
    // A process of its own that takes and never answers.
    const script = `require('nats').connect({ servers: '${nats.url}' }).then((c) => c.subscribe('${subjectOf(echo)}', { queue: '${echo.owner}', callback() {} }))`;
    const other = spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
    const messageOf = async (): Promise<string> =>
      JSON.stringify((await sender.request(echo, [{ value: 'x' }], { timeout_ms: 1_000 }))[0]);
    try {
      await until('it takes', async () => (await messageOf()).includes('not answered within'), 60_000);
      other.kill('SIGSTOP');
      // Each message to it is a sign of life to this server, so they are seldom.
      const isOut = async (): Promise<boolean> => {
        await pause(5_000);
        return !(await messageOf()).includes('not answered within');
      };
      await until('it is out', isOut, 60_000);
      expect(await messageOf()).toContain('UNAVAILABLE');
    } finally {
      other.kill('SIGKILL');
    }
  }, 150_000);

  it('refuses garbage with a code, counts it and lives', async () => {
    const answerer = await join();
    echoes(answerer);
    await send(answerer, echo, { value: 'there' });
    const stranger = await connect({ servers: nats.url });
    const counted = async (): Promise<number> =>
      (await metrics.message_refusals.get()).values.reduce((sum, { value }) => sum + value, 0);
    const before = await counted();
    for (const garbage of ['', 'no JSON', '[]', '{"requests":7}', '{"requests":[]}', '\u{0}\u{ff}']) {
      const { data } = await stranger.request(subjectOf(echo), Buffer.from(garbage, 'latin1'), { timeout: 10_000 });
      expect(JSON.parse(Buffer.from(data).toString())).toMatchObject({ error: { code: 'MALFORMED' } });
    }
    stranger.publish(subjectOf(echo), 'nobody waits for the answer');
    await until('all are counted', async () => (await counted()) >= before + 7);
    // Another version, and an operation that no release has; one member of the service says so.
    echoes(await join());
    for (const subject of ['jobmon.v2.state-machine.nats.echo', 'jobmon.v1.state-machine.task.eat']) {
      const { data } = await stranger.request(subject, '', { timeout: 10_000 });
      const { error } = JSON.parse(Buffer.from(data).toString()) as { error: unknown };
      expect(error).toEqual({ code: 'UNAVAILABLE', message: expect.stringContaining(`answers no "${subject}"`) });
    }
    const nobody = await refusalOf(stranger.request('jobmon.v1.log-sink.log_record.list', '', { timeout: 10_000 }));
    expect(nobody.code).toBe('503');
    await stranger.close();
    expect(await counted()).toBe(before + 9);
    expect(await send(answerer, echo, { value: 'alive' })).toEqual({ value: 'alive' });
  });

  it('answers a bounded number of messages at one time, and refuses more at once', async () => {
    const [sender, answerer] = [await join(), await join()];
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    let begun = 0;
    answerer.handle(echo, async (requests) => {
      begun += 1;
      await released;
      return requests.map(({ value }) => ({ ok: { value } }));
    });
    await answerer.flush();
    const asked = Array.from({ length: 10_000 }, () => sender.request(echo, [{ value: 'x' }], { timeout_ms: 60_000 }));
    await until('all are being answered', () => begun === 10_000, 30_000);
    expect(await sender.request(echo, [{ value: 'x' }])).toMatchObject([
      { error: { code: 'UNAVAILABLE', message: expect.stringMatching(/answering 10000 messages already; send it again/) } },
    ]);
    release();
    expect((await Promise.all(asked)).filter(([outcome]) => 'ok' in outcome!)).toHaveLength(10_000);
    expect(await send(sender, echo, { value: 'room again' })).toEqual({ value: 'room again' });
  }, 90_000);

  it('is left by a member that does not read, which comes back; the others notice nothing', async () => {
    const strict = await NatsProcess.start('max_pending: 1MB\nwrite_deadline: "1s"');
    const proxy = await TcpProxy.to(strict.url);
    try {
      const slow = await join({ url: proxy.url(strict.url) });
      const [speaker, listener] = [await join({ url: strict.url }), await join({ url: strict.url })];
      const numbers: Record<'slow' | 'listener', number[]> = { slow: [], listener: [] };
      slow.subscribe(said, ({ number }) => numbers.slow.push(number));
      listener.subscribe(said, ({ number }) => numbers.listener.push(number));
      echoes(slow);
      await Promise.all([slow.flush(), listener.flush()]);
      proxy.silence('down');
      const text = 'x'.repeat(400_000);
      // More than the proxy, the kernel and the server hold for one that does not read.
      for (let number = 0; number < 100; number += 1) {
        speaker.publish(said, { number, text });
        await speaker.flush();
      }
      await until('all are heard', () => numbers.listener.length === 100, 30_000);
      const [outcome] = await speaker.request(echo, [{ value: 'x' }], { timeout_ms: 2_000 });
      expect(outcome).toMatchObject({ error: { code: 'UNAVAILABLE' } });
      await proxy.mend();
      await until(
        'the slow one has been left',
        () => lines.some((line) => line.includes('was lost and is opened again')),
        30_000,
      );
      await until('it is back', async () => 'ok' in (await speaker.request(echo, [{ value: 'x' }]))[0]!, 60_000);
      expect(numbers.slow.length).toBeLessThan(100);
      speaker.publish(said, { number: 100, text: '' });
      await until('it hears again', () => numbers.slow.at(-1) === 100, 30_000);
      expect(lines.filter((line) => line.includes('was lost and is opened again'))).toHaveLength(1);
    } finally {
      await Promise.all(open.splice(0).map((messenger) => messenger.drain()));
      await proxy.close();
      await strict.remove();
    }
  }, 120_000);

  it('knows that it was left because it did not read, says so and counts it', async () => {
    const strict = await NatsProcess.start('max_pending: 1MB\nwrite_deadline: "1s"');
    const flag = new Int32Array(new SharedArrayBuffer(8));
    // A thread of its own speaks: this one stands still, as a process does that is frozen or computes.
    const speaker = new Worker(
      `const { workerData: { nats, subject, url, flag } } = require('node:worker_threads');
       const { connect } = require(nats);
       void (async () => {
         const connection = await connect({ servers: url });
         for (let n = 0; n < 100; n += 1) {
           connection.publish(subject, Buffer.alloc(400_000, 120));
           await connection.flush();
         }
         await connection.close();
         Atomics.store(flag, 0, 1);
         Atomics.notify(flag, 0);
       })();`,
      { eval: true, workerData: { nats: require.resolve('nats'), subject: subjectOfEvent(said), url: strict.url, flag } },
    );
    const over = once(speaker, 'exit');
    const losses = async (): Promise<number> =>
      (await metrics.bus_losses.get()).values.find(({ labels }) => labels.cause === 'slow')?.value ?? 0;
    try {
      const counted = await losses();
      const slow = await join({ url: strict.url });
      slow.subscribe(said, () => undefined);
      echoes(slow);
      await slow.flush();
      expect(Atomics.wait(flag, 0, 0, 60_000)).not.toBe('timed-out');
      Atomics.wait(flag, 1, 0, 2_000);
      const told = (): string[] => lines.filter((line) => line.includes('the connection to NATS was lost'));
      await until('it knows', () => told().length > 0, 30_000);
      expect(told()).toEqual([
        expect.stringMatching(/this process read nothing for \d+\.\d s, and NATS leaves a slow consumer: start one more/),
      ]);
      expect(await losses()).toBe(counted + 1);
      await until('it is back', () => slow.state() === 'up' && lines.some((line) => line.includes('is there again')), 30_000);
      expect(await send(slow, echo, { value: 'again' })).toEqual({ value: 'again' });
    } finally {
      await over;
      await Promise.all(open.splice(0).map((messenger) => messenger.drain()));
      await strict.remove();
    }
  }, 120_000);

  it('says why it can not join, with the cure', async () => {
    const nobody = await refusalOf(join({ url: 'nats://127.0.0.1:9' }));
    expect([nobody.code, nobody.message]).toEqual(['UNAVAILABLE', expect.stringMatching(/does not answer: start nats-server/)]);
    const guarded = await NatsProcess.start('authorization { users: [ { user: "api", password: "s3cret" } ] }');
    try {
      const refused = await refusalOf(join({ url: guarded.url, user: 'api', password: 'wr0ng' }));
      expect(refused.message).toMatch(/refuses the credentials: see to nats.user/);
      expect(refused.message).not.toContain('wr0ng');
      await refusalOf(join({ url: guarded.url }));
      await join({ url: guarded.url, user: 'api', password: 's3cret' });
      await join({ url: guarded.url.replace('//', '//api:s3cret@') });
    } finally {
      await Promise.all(open.splice(0).map((messenger) => messenger.drain()));
      await guarded.remove();
    }
  }, 60_000);

  it('takes a token, or a file of credentials', async () => {
    const byToken = await NatsProcess.start('authorization { token: "t0ken" }');
    try {
      const refused = await refusalOf(join({ url: byToken.url, token: 'wr0ng' }));
      expect(refused.message).toMatch(/refuses the credentials: see to .*nats.token/);
      const joined = await join({ url: byToken.url, token: 't0ken' });
      echoes(joined);
      expect(await send(joined, echo, { value: 'by token' })).toEqual({ value: 'by token' });
    } finally {
      await Promise.all(open.splice(0).map((messenger) => messenger.drain()));
      await byToken.remove();
    }
    const { config, file } = credentials();
    const byFile = await NatsProcess.start(config);
    try {
      const place = path.join(nats.folder, 'api.creds');
      const missing = await refusalOf(join({ url: byFile.url, credentials_file: place }));
      expect(missing.message).toMatch(/\(nats.credentials_file\) can't be read/);
      writeFileSync(place, file);
      const joined = await join({ url: byFile.url, credentials_file: place });
      echoes(joined);
      expect(await send(joined, echo, { value: 'by file' })).toEqual({ value: 'by file' });
      writeFileSync(place, credentials().file);
      const stranger = await refusalOf(join({ url: byFile.url, credentials_file: place }));
      expect(stranger.message).toMatch(/refuses the credentials: see to .*nats.credentials_file/);
      writeFileSync(place, 'nothing of the kind');
      expect((await refusalOf(join({ url: byFile.url, credentials_file: place }))).message).toMatch(/holds no credentials/);
    } finally {
      await Promise.all(open.splice(0).map((messenger) => messenger.drain()));
      await byFile.remove();
    }
  }, 60_000);

  it('speaks TLS, and trusts the authority that is named and no other', async () => {
    const key = path.join(nats.folder, 'key.pem');
    const certificate = path.join(nats.folder, 'certificate.pem');
    const subject = ['-subj', '/CN=jobmon test', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', ...subject].concat([
        ...['-keyout', key, '-out', certificate],
      ]),
      { stdio: 'pipe' },
    );
    const guarded = await NatsProcess.start(`tls { cert_file: "${certificate}", key_file: "${key}" }`);
    try {
      const tls = `tls://localhost:${guarded.port}`;
      const stranger = await refusalOf(join({ url: tls }));
      expect(stranger.message).toMatch(/can't be trusted .*name the authority of its certificate by nats.tls_ca_file/);
      const trusted = await join({ url: tls, tls_ca_file: certificate });
      echoes(trusted);
      expect(await send(trusted, echo, { value: 'secret' })).toEqual({ value: 'secret' });
      // By number too.
      const byNumber = await join({ url: `tls://127.0.0.1:${guarded.port}`, tls_ca_file: certificate });
      expect(await send(byNumber, echo, { value: 'secret' })).toEqual({ value: 'secret' });
    } finally {
      await Promise.all(open.splice(0).map((messenger) => messenger.drain()));
      await guarded.remove();
    }
  }, 60_000);
});
