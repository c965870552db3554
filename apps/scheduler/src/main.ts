/** The scheduler as a process: `node dist/apps/scheduler/main.js`. */
import 'reflect-metadata';
import path from 'node:path';
import { databaseNeed } from '@jobmon/entities';
import { startModules, startService } from '@jobmon/messaging/service';
import { schedulerModule } from './module';
import type { RenewalTerms } from './renewal';
import { RenewalThread } from './renewal-thread';

void startService({
  name: 'scheduler',
  needs: ({ config, log }) => ({ database: databaseNeed(config, log) }),
  begin: (context) => {
    const { config, log } = context;
    // Beside the bundle of this file.
    const worker = path.join(__dirname, 'renewal-worker.js');
    const renew = (terms: RenewalTerms) => new RenewalThread(log, worker, { terms, nats: config.nats, log: config.log });
    return startModules(log, [schedulerModule({ ...context, renew })]);
  },
});
