/** The signs of life that an api leaves, and what they tell after it was away. */
import { servedSeconds } from '@jobmon/entities';
import { describeOnDatabases } from '@jobmon/testkit';
import { pino } from 'pino';
import { leaveSigns } from './sign-of-life';

const log = pino({ level: 'silent' });

describeOnDatabases("an api's signs of life", (database) => {
  const begin = () => leaveSigns({ database: database(), log, instance: 'api-1', lease_seconds: 3 });
  const rows = () =>
    database().read<{ started_date: string; expires_date: string; is_there: number }>(
      `SELECT started_date, expires_date, expires_date > ${database().dialect.now} AS is_there FROM service_instance`,
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
});
