/** The reaper as a process: `node dist/apps/reaper/main.js`. */
import 'reflect-metadata';
import { databaseNeed } from '@jobmon/entities';
import { startModules, startService } from '@jobmon/messaging/service';
import { reaperModule } from './module';

void startService({
  name: 'reaper',
  needs: ({ config, log }) => ({ database: databaseNeed(config, log) }),
  begin: (context) => startModules(context.log, [reaperModule(context)]),
});
