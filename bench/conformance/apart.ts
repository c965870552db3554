/** The services apart in the place of a house: two of each, over a NATS of their own, the apis asked in turn. */
import { NatsProcess, Services, SERVICES, type UserFolder } from '@jobmon/testkit';
import type { Served } from '../../apps/local/test/python/stage';

const EACH = 2;

export async function servicesApart(user: UserFolder, database_url: string): Promise<Served> {
  const nats = await NatsProcess.start();
  const place = { folder: user.folder('services'), database_url, nats_url: nats.url, token: 'token-of-the-conformance' };
  const services = new Services(place);
  await services.migrate();
  await services.start(Object.fromEntries(SERVICES.map((name) => [name, EACH])));
  const urls = services.alive('api').map(({ url }) => url!);
  return {
    urls: urls as [string, ...string[]],
    connection: () => services.connection(),
    async close() {
      await services.stop();
      await nats.remove();
    },
  };
}
