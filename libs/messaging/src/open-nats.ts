/** The bus between processes for those that need nothing else of a service (a thread). */
import type { NatsMessenger, NatsOptions } from './nats';

/** Loads the client of NATS when it is first wanted: the house in one process has no such bus. As `natsMessenger`. */
export async function openNatsMessenger(options: NatsOptions): Promise<NatsMessenger> {
  // eslint-disable-next-line @typescript-eslint/no-require-imports -- an import() of a neighbour would have to name a built file
  const { natsMessenger } = require('./nats') as typeof import('./nats');
  return natsMessenger(options);
}
