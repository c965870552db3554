/** The scheduler as a process: `node dist/apps/scheduler/main.js`. */
import 'reflect-metadata';
import { databaseNeed } from '@jobmon/entities';
import { startModules, startService } from '@jobmon/messaging/service';
import { schedulerModule } from './module';

void startService({
  name: 'scheduler',
  needs: ({ config, log }) => ({ database: databaseNeed(config, log) }),
  begin: (context) => startModules(context.log, [schedulerModule(context)]),
});
