/** Signs of life: since when a service has been there without a break, and which of its processes works. */
import { describeOnDatabases } from '@jobmon/testkit';
import { isEldest, servedSeconds, signOff, signOfLife } from './index';

describeOnDatabases('signs of life', (database) => {
  const sign = (instance: string, seconds = 60) => signOfLife(database(), { service: 'api', instance, seconds });
  const change = (sql: string, ...params: (string | number)[]) => database().change(sql, ...params);
  /** A process that came and went (or goes) so many seconds from now. */
  const stood = async (instance: string, from: number, to: number): Promise<void> => {
    const { nowPlusSeconds } = database().dialect;
    await change(
      `INSERT INTO service_instance (service, instance, started_date, expires_date) VALUES ('api', ?, ${nowPlusSeconds}, ${nowPlusSeconds})`,
      instance,
      from,
      to,
    );
  };
  const served = () => servedSeconds(database(), 'api');
  beforeEach(() => change('DELETE FROM service_instance'));
  /** A test may take seconds itself on a slow machine. */
  const about = async (seconds: number): Promise<void> => {
    const found = await served();
    expect(found).toBeGreaterThanOrEqual(seconds);
    expect(found).toBeLessThan(seconds + 30);
  };

  it('counts the time without a break, whoever of them was there', async () => {
    expect(await served()).toBe(0);
    await stood('a', -3_000, -2_000);
    expect(await served()).toBe(0);
    await stood('b', -1_900, -500);
    await stood('c', -600, 60);
    await about(1_900);
    await stood('d', -2_500, -1_000);
    await about(3_000);
    expect(await servedSeconds(database(), 'reaper')).toBe(0);
  });

  it('begins anew when its sign had expired, and goes on when it had not', async () => {
    await stood('a', -1_000, 60);
    await sign('a');
    await about(1_000);
    await stood('b', -1_000, -500);
    await change("DELETE FROM service_instance WHERE instance = 'a'");
    await sign('b');
    await about(0);
  });

  it('forgets what has been away for a day, and lets the eldest that is there work', async () => {
    const isWorking = async (instance: string) => isEldest(database(), { service: 'api', instance });
    await stood('gone', -200_000, -90_000);
    await stood('old', -1_000, 60);
    await sign('young');
    expect(await database().read('SELECT instance FROM service_instance ORDER BY instance')).toEqual([
      { instance: 'old' },
      { instance: 'young' },
    ]);
    expect([await isWorking('old'), await isWorking('young')]).toEqual([true, false]);
    await signOff(database(), { service: 'api', instance: 'old' });
    expect([await isWorking('old'), await isWorking('young')]).toEqual([false, true]);
    await about(1_000);
  });
});
