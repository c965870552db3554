/** The bus as a need of a service: NATS, by the settings of `nats`. */
import { JobmonError } from '@jobmon/contracts';
import type { Need } from '@jobmon/runtime';
import type { NatsMessenger } from '../nats';
import { openNatsMessenger } from '../open-nats';
import type { ServiceSettings } from './service';

export function busNeed(name: string, { config, log }: ServiceSettings): Need<NatsMessenger> {
  return {
    name: 'bus',
    open: () => openNatsMessenger({ log, name, ...config.nats }),
    checks: {
      bus: async (messenger) => {
        if (messenger.state() === 'up') return;
        throw new JobmonError(
          'UNAVAILABLE',
          'the connection to NATS is lost: start NATS, or see to the network; it connects again by itself',
        );
      },
    },
    close: (messenger) => messenger.drain(),
  };
}
