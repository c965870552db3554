/** The signs of life that an api leaves, and what they tell after it was away. */
import { CLIENTS_HEARD, servedSeconds } from '@jobmon/entities';
import { inProcessMessenger } from '@jobmon/messaging';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases } from '@jobmon/testkit';
import { NestFactory } from '@nestjs/core';
import { pino } from 'pino';
import { leaveSigns } from './sign-of-life';

const log = pino({ level: 'silent' });

describeOnDatabases("an api's signs of life", (database) => {
  const begin = (messenger = inProcessMessenger({ log })) =>
    leaveSigns({ database: database(), messenger, log, instance: 'api-1', lease_seconds: 3 });
  const rows = () =>
    database().read<{ service: string; started_date: string; expires_date: string; is_there: number }>(
      `SELECT service, started_date, expires_date, expires_date > ${database().dialect.now} AS is_there FROM service_instance`,
    );
  const until = async (is: () => Promise<boolean>): Promise<void> => {
    const end = Date.now() + 30_000;
    while (!(await is()) && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await is()).toBe(true);
  };

  it('are renewed before they end, end at its stop, and begin anew after it was away', async () => {
    const endSigns = begin();
    await until(async () => (await rows()).length === 1);
    const [first] = await rows();
    await until(async () => (await rows())[0]!.expires_date > first!.expires_date);
    await until(async () => (await servedSeconds(database(), 'api')) >= 1);
    await endSigns();
    expect(await rows()).toEqual([expect.objectContaining({ is_there: 0 })]);
    await until(async () => (await servedSeconds(database(), 'api')) === 0);
    const endNext = begin();
    await until(async () => (await rows())[0]!.is_there === 1);
    expect((await rows())[0]!.started_date > first!.started_date).toBe(true);
    await endNext();
  }, 60_000);

  it('tell that clients of runs can be heard only while a state machine answers', async () => {
    await database().change('DELETE FROM service_instance');
    const isHeard = async (): Promise<boolean> =>
      (await rows()).some((row) => row.service === CLIENTS_HEARD && row.is_there === 1);
    const messenger = inProcessMessenger({ log });
    const endSigns = begin(messenger);
    await until(async () => (await servedSeconds(database(), 'api')) >= 2);
    expect(await isHeard()).toBe(false);
    const machine = await NestFactory.createApplicationContext(stateMachineModule({ log, messenger, database: database() }), {
      logger: false,
    });
    await until(isHeard);
    await endSigns();
    expect(await isHeard()).toBe(false);
    await machine.close();
  }, 60_000);
});
