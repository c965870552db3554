/** The reaper as a process of its own: whose silence counts when the api may be away without it, and several reapers at once. */
import { CLIENTS_HEARD, servedSeconds, signOfLife } from '@jobmon/entities';
import { inProcessMessenger, type Messenger } from '@jobmon/messaging';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { pino } from 'pino';
import { Reaper } from './module';
import { look } from './reap';

const log = pino({ level: 'silent' });
const config = { agent: { lease_seconds: 3 } };

describeOnDatabases('a reaper of its own', (database) => {
  let app: INestApplicationContext;
  let messenger: Messenger;
  const reapers: Reaper[] = [];
  beforeEach(async () => {
    messenger = inProcessMessenger({ log });
    app = await NestFactory.createApplicationContext(stateMachineModule({ log, messenger, database: database() }), {
      logger: false,
    });
    await database().change('DELETE FROM service_instance');
  });
  afterEach(async () => {
    await Promise.all(reapers.splice(0).map((reaper) => reaper.beforeApplicationShutdown()));
    await app.close();
  });

  const start = (instance: string): Reaper => {
    const reaper = new Reaper({ config, log, messenger, database: database(), instance });
    reapers.push(reaper);
    reaper.onApplicationBootstrap();
    return reaper;
  };
  const change = (sql: string, ...params: (string | number)[]) => database().change(sql, ...params);
  /** An agent whose lease ended a second ago, with an attempt. */
  const silentAgent = async (): Promise<number> => {
    const { now, nowPlusSeconds } = database().dialect;
    const agent_id = await change(
      'INSERT INTO agent (hostname, `user`, any_user, clusters, state_directory, process_id, version, registered_date, lease_until_date) ' +
        `VALUES ('host', 'ada', 0, '["sequential"]', '/', 1, '', ${now}, ${nowPlusSeconds})`,
      -1,
    );
    await insertWorkflow(database(), { agent_id, instance_status: 'R', task_status: 'R' });
    return agent_id;
  };
  const apiSince = (seconds: number, until = 600) => {
    const { nowPlusSeconds } = database().dialect;
    return change(
      `INSERT INTO service_instance (service, instance, started_date, expires_date) VALUES ('api', 'api-1', ${nowPlusSeconds}, ${nowPlusSeconds})`,
      -seconds,
      until,
    );
  };
  const ended = async (id: number): Promise<string | null> =>
    (await database().read<{ ended_date: string | null }>('SELECT ended_date FROM agent WHERE id = ?', [id]))[0]!.ended_date;
  const until = async (what: string, is: () => Promise<boolean>): Promise<void> => {
    for (const end = Date.now() + 30_000; Date.now() < end;) {
      if (await is()) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`${what}: it did not happen within 30 s`);
  };
  /** Passes of a reaper leave a sign each; two later ones have begun after this call. */
  const twoPasses = async (instance: string): Promise<void> => {
    const signed = async (): Promise<string> =>
      (
        await database().read<{ expires_date: string }>('SELECT expires_date FROM service_instance WHERE instance = ?', [
          instance,
        ])
      )[0]?.expires_date ?? '';
    for (let pass = 0; pass < 2; pass += 1) {
      const before = await signed();
      await until('a pass', async () => (await signed()) > before);
    }
  };

  it('race 54: ends no agent while all apis are away, and none before one has been back for a whole lease', async () => {
    const agent = await silentAgent();
    start('r1');
    await twoPasses('r1');
    expect(await ended(agent)).toBeNull();
    expect((await look({ database: database(), config }))[0]).toMatchObject({
      spared: expect.stringContaining('no api has been there for a whole lease'),
      found: [{ of: 'agent', id: agent }],
    });
    await apiSince(0);
    await until('the end of the agent', async () => (await ended(agent)) !== null);
    const [rows] = [
      await database().read<{ started_date: string }>("SELECT started_date FROM service_instance WHERE service = 'api'"),
    ];
    expect(Date.parse((await ended(agent))!) - Date.parse(rows[0]!.started_date)).toBeGreaterThanOrEqual(3_000);
  }, 60_000);

  it('needs no time of its own: one that starts while an api has been there gives a silent agent up at once', async () => {
    const agent = await silentAgent();
    await apiSince(3_600);
    const began = Date.now();
    start('r1');
    await until('the end of the agent', async () => (await ended(agent)) !== null);
    expect(await servedSeconds(database(), 'api')).toBeGreaterThanOrEqual(3_600);
    expect(Date.now() - began).toBeLessThan(20_000);
  }, 60_000);

  it('counts the silence of a client only when a state machine could hear it, however long the apis were there', async () => {
    const { nowPlusSeconds } = database().dialect;
    const { workflow_run_id } = await insertWorkflow(database(), { driver: 'client', deadline_seconds: -1 });
    await change(`UPDATE workflow_run SET created_date = ${nowPlusSeconds} WHERE id = ?`, -3_600, workflow_run_id);
    await apiSince(3_600);
    const status = async (): Promise<string> =>
      (await database().read<{ status: string }>('SELECT status FROM workflow_run WHERE id = ?', [workflow_run_id]))[0]!.status;
    const heardSince = (seconds: number): Promise<unknown> =>
      change(
        `INSERT INTO service_instance (service, instance, started_date, expires_date) VALUES ('${CLIENTS_HEARD}', 'api-1', ${nowPlusSeconds}, ${nowPlusSeconds})`,
        -seconds,
        600,
      );
    start('r1');
    await twoPasses('r1');
    // No state machine, or no bus, and now both again for a minute: the client asks again after up to 148 s.
    expect(await status()).toBe('R');
    await heardSince(60);
    await twoPasses('r1');
    expect(await status()).toBe('R');
    await change(`DELETE FROM service_instance WHERE service = '${CLIENTS_HEARD}'`);
    await heardSince(200);
    await until('the end of the run', async () => (await status()) === 'E');
  }, 90_000);

  it('works alone beside others, and when it dies another one takes its place', async () => {
    await apiSince(3_600);
    await signOfLife(database(), { service: 'reaper', instance: 'dead', seconds: 2 });
    const waiting = start('elder');
    const agent = await silentAgent();
    // The dead one counts as working for as long as its last sign lasts.
    await until('the end of the agent', async () => (await ended(agent)) !== null);
    start('young');
    await twoPasses('young');
    // The elder one, which waited first, goes on; it leaves, and the younger one works within a pass.
    await waiting.beforeApplicationShutdown();
    const next = await silentAgent();
    await until('the end of the next agent', async () => (await ended(next)) !== null);
  }, 90_000);
});
