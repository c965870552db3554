/** The log sink as a process: `node dist/apps/log-sink/main.js`. */
import 'reflect-metadata';
import { databaseNeed } from '@jobmon/entities';
import { logStreamNeed, startModules, startService } from '@jobmon/messaging/service';
import { logSinkModule } from './module';

void startService({
  name: 'log-sink',
  needs: (settings) => ({
    database: databaseNeed(settings.config, settings.log),
    stream: logStreamNeed('log-sink', settings),
  }),
  begin: (context) => startModules(context.log, [logSinkModule({ ...context, records: context.database })]),
});
